//! Reading canonical XML element by element, in the order of the API's document.

use std::ops::Range;

use pix_domain::Timestamp;
use pix_xmldsig::{CanonicalSignature, Cursor, NotCanonical, Token};

use crate::{Windowed, time};

/// Elements and attributes that a message may have: a checkKeys of 200 keys has 400, with its signature 450.
pub(crate) const NODES_MAX: usize = 2_000;

/// What does not fit. Never what was there instead: that may be anybody's data.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The structure, or the form of a value.
    Form(String),
    /// A value of an enumeration, in this element, that may have been added to it.
    Value(&'static str),
}

impl Fault {
    pub(crate) fn new(why: &str) -> Self {
        Self::Form(why.to_owned())
    }

    /// `name` cannot be read.
    pub(crate) fn in_element(name: &str) -> Self {
        Self::Form(format!(
            "{name} is missing, out of order or holds something that its type does not have"
        ))
    }
}

impl From<NotCanonical> for Fault {
    fn from(_: NotCanonical) -> Self {
        Self::new("the message is not written canonically")
    }
}

type Result<T> = std::result::Result<T, Fault>;

/// Whether the signature stands in the message, or was taken out of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signed {
    Yes,
    No,
}

/// A message, and where it stands in the input.
pub(crate) struct Parsed<T> {
    pub(crate) value: T,
    /// The root with all its content.
    pub(crate) span: Range<usize>,
    pub(crate) signature: Option<CanonicalSignature>,
}

pub(crate) struct Read<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Read<'a> {
    pub(crate) fn new(input: &'a str) -> Result<Self> {
        let cursor = Cursor::new(input, NODES_MAX)?;
        Ok(Self { cursor })
    }

    /// Of a text that was counted before, as a tree.
    pub(crate) fn counted(input: &'a str) -> Result<Self> {
        let cursor = Cursor::new(input, usize::MAX)?;
        Ok(Self { cursor })
    }

    /// The start tag ahead.
    pub(crate) fn root(&mut self) -> Result<&'a str> {
        self.cursor.skip_space()?;
        match self.cursor.peek() {
            Token::Open(tag) => Ok(tag),
            Token::Close(_) | Token::Text(_) | Token::End => Err(Fault::new("there is no element")),
        }
    }

    /// The whole input: the root `name`, whose start tag reads `tag`, with what `body` reads.
    pub(crate) fn message<T>(
        mut self,
        tag: &str,
        name: &'static str,
        signed: Signed,
        body: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Parsed<T>> {
        let start = self.cursor.open(tag).map_err(|_| Fault::in_element(name))?.start;
        let signature = match signed {
            Signed::Yes => Some(CanonicalSignature::read_enveloped(&mut self.cursor)?),
            Signed::No => None,
        };
        let value = body(&mut self)?;
        let end = self.leave(name)?;
        self.cursor.skip_space()?;
        if self.cursor.peek() != Token::End {
            return Err(Fault::new("something follows the message"));
        }
        Ok(Parsed {
            value,
            span: start..end,
            signature,
        })
    }

    /// Whether `<name>` is ahead.
    pub(crate) fn ahead(&mut self, name: &str) -> Result<bool> {
        self.cursor.skip_space()?;
        Ok(self.cursor.peek() == Token::Open(name))
    }

    /// Takes `<name>` with what `inside` reads.
    pub(crate) fn within<T>(
        &mut self,
        name: &'static str,
        inside: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.cursor.open(name).map_err(|_| Fault::in_element(name))?;
        let value = inside(self)?;
        self.leave(name)?;
        Ok(value)
    }

    /// [`Self::within`], when `<name>` is ahead.
    pub(crate) fn optional<T>(
        &mut self,
        name: &'static str,
        inside: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Option<T>> {
        if self.ahead(name)? {
            self.within(name, inside).map(Some)
        } else {
            Ok(None)
        }
    }

    fn leave(&mut self, name: &'static str) -> Result<usize> {
        let span = self.cursor.close(name).map_err(|_| Fault::in_element(name))?;
        Ok(span.end)
    }

    /// Takes `<name>text</name>`.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<String> {
        let text = self.cursor.leaf(name).map_err(|_| Fault::in_element(name))?;
        Ok(text.into_owned())
    }

    /// [`Self::text`], when it is ahead.
    pub(crate) fn optional_text(&mut self, name: &'static str) -> Result<Option<String>> {
        if self.ahead(name)? {
            self.text(name).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Takes `<name>value</name>`.
    pub(crate) fn value<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T> {
        let text = self.cursor.leaf(name).map_err(|_| Fault::in_element(name))?;
        parse(&text).ok_or_else(|| Fault::in_element(name))
    }

    /// Takes a number.
    pub(crate) fn number<T: std::str::FromStr>(&mut self, name: &'static str) -> Result<T> {
        self.value(name, |text| text.trim().parse().ok())
    }

    /// Takes a time.
    pub(crate) fn time(&mut self, name: &'static str) -> Result<Timestamp> {
        self.value(name, |text| time::parse(text.trim()))
    }

    /// Takes `<name d90="1" m12="2" m60="3"></name>`.
    pub(crate) fn windowed(&mut self, name: &'static str) -> Result<Windowed> {
        self.cursor.skip_space()?;
        let Token::Open(tag) = self.cursor.peek() else {
            return Err(Fault::in_element(name));
        };
        let windowed = tag.strip_prefix(name).and_then(windows);
        let windowed = windowed.ok_or_else(|| Fault::in_element(name))?;
        self.cursor.take()?;
        self.leave(name)?;
        Ok(windowed)
    }

    /// Takes `<Key hasEntry="true">text</Key>`.
    pub(crate) fn checked_key(&mut self) -> Result<(String, bool)> {
        self.cursor.skip_space()?;
        let has_entry = match self.cursor.peek() {
            Token::Open("Key hasEntry=\"true\"") => true,
            Token::Open("Key hasEntry=\"false\"") => false,
            _ => return Err(Fault::in_element("Key")),
        };
        self.cursor.take()?;
        let text = self.cursor.text()?.into_owned();
        self.leave("Key")?;
        Ok((text, has_entry))
    }

    /// Whether an end tag is ahead.
    pub(crate) fn at_end(&mut self) -> Result<bool> {
        self.cursor.skip_space()?;
        Ok(matches!(self.cursor.peek(), Token::Close(_)))
    }
}

fn windows(attributes: &str) -> Option<Windowed> {
    let rest = attributes.strip_prefix(" d90=\"")?.strip_suffix('"')?;
    let (d90, rest) = rest.split_once("\" m12=\"")?;
    let (m12, m60) = rest.split_once("\" m60=\"")?;
    Some(Windowed {
        d90: d90.parse().ok()?,
        m12: m12.parse().ok()?,
        m60: m60.parse().ok()?,
    })
}
