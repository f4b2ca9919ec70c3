//! Tokens of an input that is already canonical, so that its slices can be digested as they stand.

use std::borrow::Cow;
use std::ops::Range;

use quick_xml::Reader;
use quick_xml::events::Event;

/// The input is not in the profile that [`Cursor`] reads, or not what its reader expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCanonical {
    /// Offset of the token, in bytes.
    pub at: usize,
}

/// One token, as it stands in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// What is between `<` and `>` of a start tag: the name and, canonically written, its attributes.
    Open(&'a str),
    /// The name between `</` and `>`.
    Close(&'a str),
    /// Character data between two tags, still escaped.
    Text(&'a str),
    /// Nothing is left.
    End,
}

/// Walks over canonical XML: no declaration, DOCTYPE, PI, comment, CDATA section or empty-element tag. Its user
/// compares every tag with the literal it expects, attributes included, and takes text through [`unescape`],
/// which refuses what C14N would have written otherwise. So whatever passes is its own canonical form.
///
/// Elements and attributes are counted; more than it was granted are refused.
pub struct Cursor<'a> {
    input: &'a str,
    nodes_left: usize,
    reader: Reader<&'a [u8]>,
    next: Lexed<'a>,
    /// The token after `next`, when looking for the end of text has read it already.
    after: Option<Lexed<'a>>,
}

#[derive(Clone, Copy)]
struct Lexed<'a> {
    token: Token<'a>,
    start: usize,
    end: usize,
}

#[derive(PartialEq)]
enum Kind {
    Open,
    Close,
    Text,
    End,
}

impl<'a> Cursor<'a> {
    /// Starts before the first token of `input`, which may have `nodes` elements and attributes.
    ///
    /// # Errors
    /// [`NotCanonical`] when there is none.
    pub fn new(input: &'a str, nodes: usize) -> Result<Self, NotCanonical> {
        let mut reader = Reader::from_str(input);
        let config = reader.config_mut();
        config.check_end_names = false; // whoever asks compares the name
        config.allow_unmatched_ends = true;
        config.trim_markup_names_in_closing_tags = false;
        let nothing = Lexed {
            token: Token::End,
            start: 0,
            end: 0,
        };
        let mut cursor = Self {
            input,
            nodes_left: nodes,
            reader,
            next: nothing,
            after: None,
        };
        cursor.next = cursor.lex(0)?;
        Ok(cursor)
    }

    /// Allows `nodes` more elements and attributes.
    pub fn grant(&mut self, nodes: usize) {
        self.nodes_left = self.nodes_left.saturating_add(nodes);
    }

    /// The token ahead.
    #[must_use]
    pub fn peek(&self) -> Token<'a> {
        self.next.token
    }

    /// Offset of the token ahead, in bytes.
    #[must_use]
    pub fn position(&self) -> usize {
        self.next.start
    }

    /// Takes the token ahead.
    ///
    /// # Errors
    /// [`NotCanonical`] when what follows it is no token of the profile.
    pub fn take(&mut self) -> Result<Token<'a>, NotCanonical> {
        let taken = self.next;
        self.next = match self.after.take() {
            Some(read) => read,
            None => self.lex(taken.end)?,
        };
        Ok(taken.token)
    }

    /// Passes white space between tags.
    ///
    /// # Errors
    /// [`NotCanonical`] as [`Self::take`]; text that is not white space stays ahead.
    pub fn skip_space(&mut self) -> Result<(), NotCanonical> {
        match self.next.token {
            Token::Text(text) if text.bytes().all(|b| matches!(b, b' ' | b'\t' | b'\n')) => {
                self.take().map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Takes the start tag that reads exactly `tag`; gives its span.
    ///
    /// # Errors
    /// [`NotCanonical`] when something else is ahead.
    pub fn open(&mut self, tag: &str) -> Result<Range<usize>, NotCanonical> {
        self.skip_space()?;
        if self.next.token == Token::Open(tag) {
            self.taken()
        } else {
            Err(self.refuse())
        }
    }

    /// Takes the end tag of `name`; gives its span.
    ///
    /// # Errors
    /// [`NotCanonical`] when something else is ahead.
    pub fn close(&mut self, name: &str) -> Result<Range<usize>, NotCanonical> {
        self.skip_space()?;
        if self.next.token == Token::Close(name) {
            self.taken()
        } else {
            Err(self.refuse())
        }
    }

    /// Takes `<tag>text</tag>` and gives the text; for elements without attributes.
    ///
    /// # Errors
    /// [`NotCanonical`] when something else is ahead, or the text is not written canonically.
    pub fn leaf(&mut self, tag: &str) -> Result<Cow<'a, str>, NotCanonical> {
        self.open(tag)?;
        let text = self.text()?;
        if self.next.token != Token::Close(tag) {
            return Err(self.refuse());
        }
        self.take()?;
        Ok(text)
    }

    /// Takes the text ahead, which may be none.
    ///
    /// # Errors
    /// [`NotCanonical`] when it is not written canonically.
    pub fn text(&mut self) -> Result<Cow<'a, str>, NotCanonical> {
        let Token::Text(raw) = self.next.token else {
            return Ok(Cow::Borrowed(""));
        };
        let text = unescape(raw).ok_or_else(|| self.refuse())?;
        self.take()?;
        Ok(text)
    }

    /// The refusal of the token ahead.
    #[must_use]
    pub fn refuse(&self) -> NotCanonical {
        NotCanonical { at: self.next.start }
    }

    fn taken(&mut self) -> Result<Range<usize>, NotCanonical> {
        let span = self.next.start..self.next.end;
        self.take()?;
        Ok(span)
    }

    /// Reads the token that starts at `start`. Tokens are slices between two positions of the reader, so
    /// nothing that it might pass over in silence is lost to us.
    fn lex(&mut self, start: usize) -> Result<Lexed<'a>, NotCanonical> {
        let (kind, mut end) = self.event(start)?;
        if kind != Kind::Text {
            return self.tag(&kind, start, end);
        }
        loop {
            let (kind, next_end) = self.event(end)?;
            if kind != Kind::Text {
                self.after = Some(self.tag(&kind, end, next_end)?);
                return Ok(Lexed {
                    token: Token::Text(&self.input[start..end]),
                    start,
                    end,
                });
            }
            end = next_end;
        }
    }

    fn tag(&mut self, kind: &Kind, start: usize, end: usize) -> Result<Lexed<'a>, NotCanonical> {
        let raw = &self.input[start..end];
        let token = match kind {
            Kind::Open => raw
                .strip_prefix('<')
                .and_then(|r| r.strip_suffix('>'))
                .map(Token::Open),
            Kind::Close => raw
                .strip_prefix("</")
                .and_then(|r| r.strip_suffix('>'))
                .map(Token::Close),
            Kind::Text | Kind::End => raw.is_empty().then_some(Token::End),
        };
        if *kind == Kind::Open {
            let nodes = 1 + raw.bytes().filter(|b| *b == b'"').count() / 2;
            self.nodes_left = self
                .nodes_left
                .checked_sub(nodes)
                .ok_or(NotCanonical { at: start })?;
        }
        token
            .map(|token| Lexed { token, start, end })
            .ok_or(NotCanonical { at: start })
    }

    fn event(&mut self, start: usize) -> Result<(Kind, usize), NotCanonical> {
        let refuse = NotCanonical { at: start };
        let kind = match self.reader.read_event().map_err(|_| refuse)? {
            Event::Start(_) => Kind::Open,
            Event::End(_) => Kind::Close,
            Event::Text(_) | Event::GeneralRef(_) => Kind::Text,
            Event::Eof => Kind::End,
            Event::Empty(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_) => return Err(refuse),
        };
        let end = usize::try_from(self.reader.buffer_position()).map_err(|_| refuse)?;
        Ok((kind, end))
    }
}

pub(crate) fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r')
}

/// The text that `raw` stands for, when `raw` is how C14N writes it: `&amp;`, `&lt;`, `&gt;` and `&#xD;` are
/// the only references, `>` and CR do not stand for themselves, and what XML 1.0 cannot carry is not there.
#[must_use]
pub fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    let (mut plain, mut ascii) = (true, true);
    for b in raw.bytes() {
        match b {
            b'>' | b'<' => return None,
            b'&' => plain = false,
            0x80.. => ascii = false,
            b'\t' | b'\n' | b' '.. => {}
            _ => return None,
        }
    }
    if !ascii && raw.contains(['\u{FFFE}', '\u{FFFF}']) {
        return None;
    }
    if plain {
        return Some(Cow::Borrowed(raw));
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>'), ("&#xD;", '\r')];
        let (written, c) = known.iter().find(|(written, _)| rest.starts_with(written))?;
        out.push(*c);
        rest = &rest[written.len()..];
    }
    out.push_str(rest);
    Some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(input: &str) -> Result<Vec<Token<'_>>, NotCanonical> {
        let mut cursor = Cursor::new(input, 10)?;
        let mut all = Vec::new();
        loop {
            match cursor.take()? {
                Token::End => return Ok(all),
                token => all.push(token),
            }
        }
    }

    #[test]
    fn tokens_are_slices_of_the_input() {
        use Token::{Close, Open, Text};
        assert_eq!(
            tokens("<a x=\"1>2\"> <b>q&amp;r&lt;</b></a>"),
            Ok(vec![
                Open("a x=\"1>2\""),
                Text(" "),
                Open("b"),
                Text("q&amp;r&lt;"),
                Close("b"),
                Close("a")
            ])
        );
    }

    #[test]
    fn what_c14n_would_not_have_written_is_no_token() {
        for other in [
            "<a/>",
            "<?xml version=\"1.0\"?><a></a>",
            "<a><!-- --></a>",
            "<a><![CDATA[x]]></a>",
            "<!DOCTYPE a><a></a>",
        ] {
            assert!(tokens(other).is_err(), "{other}");
        }
        assert_eq!(
            tokens("</a >"),
            Ok(vec![Token::Close("a ")]),
            "whoever asks compares the name"
        );
        assert_eq!(
            tokens("\u{feff}<a></a>").map(|t| t[0]),
            Err(NotCanonical { at: 0 })
        );
    }

    #[test]
    fn more_nodes_than_granted_are_refused() {
        assert!(tokens(&"<a></a>".repeat(10)).is_ok());
        assert!(tokens(&"<a></a>".repeat(11)).is_err());
        assert!(tokens(&"<a b=\"\"></a>".repeat(6)).is_err());
    }

    #[test]
    fn text_is_taken_only_as_c14n_writes_it() {
        assert_eq!(unescape("a&amp;b&lt;&gt;&#xD;").as_deref(), Some("a&b<>\r"));
        for other in [
            "&quot;", "&#13;", "&#xd;", "&#x41;", "a>b", "a\rb", "&amp", "&x;", "a\u{1}", "\u{ffff}",
        ] {
            assert_eq!(unescape(other), None, "{other}");
        }
    }
}
