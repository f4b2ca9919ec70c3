//! Reading canonical XML straight into domain types: element by element in the order of the schema, each value
//! through the one constructor of its type. Whatever the schema says is here or in `pix-domain`.

use std::fmt::Display;

use pix_domain::{EndToEndId, Money, Text, Timestamp};
use pix_xmldsig::{Cursor, NotCanonical, Token};

/// Elements and attributes that a message of up to ten transactions may have (DESIGN 4.15).
pub(crate) const NODES_MAX: usize = 10_000;
/// Elements and attributes for each further transaction. One has about 80.
pub(crate) const NODES_PER_TRANSACTION: usize = 1_000;
const TRANSACTIONS_OF_NODES_MAX: usize = NODES_MAX / NODES_PER_TRANSACTION;

/// What does not fit, and where. Never what was there instead: that may be anybody's data.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) location: String,
    pub(crate) why: String,
    pub(crate) end_to_end_id: Option<EndToEndId>,
    pub(crate) unknown_definition: bool,
}

/// Reads one message or fragment.
pub(crate) struct Read<'a> {
    pub(crate) cursor: Cursor<'a>,
    path: Vec<&'static str>,
    transactions: usize,
    /// Of the transaction being read.
    end_to_end_id: Option<EndToEndId>,
}

type Result<T> = std::result::Result<T, Fault>;

impl<'a> Read<'a> {
    pub(crate) fn new(input: &'a str) -> std::result::Result<Self, NotCanonical> {
        let cursor = Cursor::new(input, NODES_MAX)?;
        Ok(Self {
            cursor,
            path: Vec::with_capacity(16),
            transactions: 0,
            end_to_end_id: None,
        })
    }

    /// Whether `<name>` is ahead.
    pub(crate) fn ahead(&mut self, name: &str) -> Result<bool> {
        self.cursor.skip_space().map_err(|_| self.broken())?;
        Ok(self.cursor.peek() == Token::Open(name))
    }

    /// Takes `<name>`.
    pub(crate) fn enter(&mut self, name: &'static str) -> Result<std::ops::Range<usize>> {
        let span = self.cursor.open(name).map_err(|_| self.missing(name))?;
        self.path.push(name);
        Ok(span)
    }

    /// Takes the end tag of the innermost element entered.
    pub(crate) fn leave(&mut self) -> Result<std::ops::Range<usize>> {
        let name = self.path.last().copied().unwrap_or_default();
        let span = self
            .cursor
            .close(name)
            .map_err(|_| self.fault("holds something that its type does not have"))?;
        self.path.pop();
        Ok(span)
    }

    /// Takes the elements `names` one inside the other, with what `inside` reads.
    pub(crate) fn within<T, const N: usize>(
        &mut self,
        names: [&'static str; N],
        inside: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        for name in names {
            self.enter(name)?;
        }
        let value = inside(self)?;
        for _ in names {
            self.leave()?;
        }
        Ok(value)
    }

    /// What [`Self::within`] reads, when the outermost of `names` is ahead.
    pub(crate) fn optional<T, const N: usize>(
        &mut self,
        names: [&'static str; N],
        inside: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Option<T>> {
        if self.ahead(names[0])? {
            self.within(names, inside).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Takes `<name>value</name>`.
    pub(crate) fn value<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&[u8]) -> std::result::Result<T, E>,
    ) -> Result<T> {
        self.enter(name)?;
        let text = self.cursor.text().map_err(|_| self.broken())?;
        let value = parse(text.as_bytes()).map_err(|why| self.fault(&why.to_string()))?;
        self.leave_leaf(name)?;
        Ok(value)
    }

    /// [`Self::value`], when it is ahead.
    pub(crate) fn optional_value<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&[u8]) -> std::result::Result<T, E>,
    ) -> Result<Option<T>> {
        if self.ahead(name)? {
            self.value(name, parse).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Takes `<name>word</name>`.
    pub(crate) fn fixed(&mut self, name: &'static str, word: &'static str) -> Result<()> {
        self.value(name, |wire| {
            if wire == word.as_bytes() {
                Ok(())
            } else {
                Err(format!("the only value allowed is {word}"))
            }
        })
    }

    /// Takes free text.
    pub(crate) fn text<const MAX: usize>(&mut self, name: &'static str) -> Result<Text<MAX>> {
        self.value(name, |wire| {
            Text::parse(std::str::from_utf8(wire).unwrap_or_default())
        })
    }

    /// [`Self::text`], when it is ahead.
    pub(crate) fn optional_text<const MAX: usize>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Text<MAX>>> {
        if self.ahead(name)? {
            self.text(name).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Takes an `ISONormalisedDateTime`.
    pub(crate) fn time(&mut self, name: &'static str) -> Result<Timestamp> {
        self.value(name, timestamp)
    }

    /// Takes `<name Ccy="BRL">amount</name>`, given the name and the whole tag.
    pub(crate) fn amount(&mut self, name: &'static str, tag: &'static str) -> Result<Money> {
        self.cursor.open(tag).map_err(|_| self.missing(name))?;
        self.path.push(name);
        let text = self.cursor.text().map_err(|_| self.broken())?;
        let amount = money(text.as_bytes()).map_err(|why| self.fault(&why.to_string()))?;
        self.leave_leaf(name)?;
        Ok(amount)
    }

    /// Begins one of the transactions of a message.
    pub(crate) fn begin_transaction(&mut self) {
        self.transactions += 1;
        self.end_to_end_id = None;
        if self.transactions > TRANSACTIONS_OF_NODES_MAX {
            self.cursor.grant(NODES_PER_TRANSACTION);
        }
    }

    /// Names the transaction that later faults belong to.
    pub(crate) fn of_payment(&mut self, id: EndToEndId) {
        self.end_to_end_id = Some(id);
    }

    /// Nothing but white space is left.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.cursor.skip_space().map_err(|_| self.broken())?;
        if self.cursor.peek() == Token::End {
            Ok(())
        } else {
            Err(self.fault("something follows the message"))
        }
    }

    pub(crate) fn fault(&self, why: &str) -> Fault {
        let mut location = String::new();
        for name in &self.path {
            if !location.is_empty() {
                location.push('/');
            }
            location.push_str(name);
            if matches!(*name, "CdtTrfTxInf" | "TxInfAndSts") {
                location.push_str(&format!("[{}]", self.transactions));
            }
        }
        let name = self.path.last().copied().unwrap_or("message");
        Fault {
            why: format!("{name}: {why}"),
            location,
            end_to_end_id: self.end_to_end_id,
            unknown_definition: false,
        }
    }

    pub(crate) fn unknown_definition(&self) -> Fault {
        Fault {
            unknown_definition: true,
            ..self.fault("not of this catalogue")
        }
    }

    fn leave_leaf(&mut self, name: &str) -> Result<()> {
        if self.cursor.peek() != Token::Close(name) {
            return Err(self.fault("holds something else than a value"));
        }
        self.cursor.take().map_err(|_| self.broken())?;
        self.path.pop();
        Ok(())
    }

    fn missing(&self, name: &str) -> Fault {
        self.fault(&format!(
            "{name} is missing, out of order or has wrong attributes"
        ))
    }

    fn broken(&self) -> Fault {
        self.fault("is not written canonically")
    }
}

/// White space around a number, date or time does not count (`whiteSpace="collapse"` of their XSD types).
fn collapse(wire: &[u8]) -> &[u8] {
    wire.trim_ascii()
}

pub(crate) fn timestamp(wire: &[u8]) -> std::result::Result<Timestamp, pix_domain::InvalidTimestamp> {
    let wire = collapse(wire);
    // There is no year 0000 in XSD 1.0.
    if wire.starts_with(b"0000") {
        return Err(pix_domain::InvalidTimestamp::Calendar);
    }
    Timestamp::parse(wire)
}

/// `xs:date`, without the time zone that the schema admits and the fill-in sheet (`YYYY-MM-DD`) does not.
pub(crate) fn date(wire: &[u8]) -> std::result::Result<Timestamp, pix_domain::InvalidTimestamp> {
    let mut whole = *b"0000-00-00T00:00:00.000Z";
    let wire = collapse(wire);
    if wire.len() != 10 {
        return Err(pix_domain::InvalidTimestamp::Pattern);
    }
    whole[..10].copy_from_slice(wire);
    timestamp(&whole)
}

/// `xs:decimal` with a sign, as the schema admits it; only zero may be negative.
pub(crate) fn money(wire: &[u8]) -> std::result::Result<Money, pix_domain::InvalidMoney> {
    let wire = collapse(wire);
    match wire.split_first() {
        Some((b'+', digits)) => Money::parse(digits),
        Some((b'-', digits)) => match Money::parse(digits)? {
            Money::ZERO => Ok(Money::ZERO),
            _ => Err(pix_domain::InvalidMoney::Shape),
        },
        _ => Money::parse(wire),
    }
}

/// `Max15Numeric`.
pub(crate) fn count(wire: &[u8]) -> std::result::Result<u64, &'static str> {
    let digits = std::str::from_utf8(collapse(wire)).unwrap_or_default();
    let fits = (1..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| digits.parse().ok())
        .flatten()
        .ok_or("a count is 1 to 15 digits")
}

/// `Max4Numeric`.
pub(crate) fn branch(wire: &[u8]) -> std::result::Result<pix_domain::Branch, pix_domain::InvalidAccount> {
    pix_domain::Branch::parse(collapse(wire))
}
