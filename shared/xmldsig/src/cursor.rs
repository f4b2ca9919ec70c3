//! Tokens of an input that is already canonical, so that its slices can be digested as they stand.

use std::borrow::Cow;
use std::ops::Range;

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
    next: Lexed<'a>,
}

#[derive(Clone, Copy)]
struct Lexed<'a> {
    token: Token<'a>,
    start: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    /// Starts before the first token of `input`, which may have `nodes` elements and attributes.
    ///
    /// # Errors
    /// [`NotCanonical`] when there is none.
    pub fn new(input: &'a str, nodes: usize) -> Result<Self, NotCanonical> {
        let nothing = Lexed {
            token: Token::End,
            start: 0,
            end: 0,
        };
        let mut cursor = Self {
            input,
            nodes_left: nodes,
            next: nothing,
        };
        if input.starts_with('\u{feff}') {
            return Err(cursor.refuse());
        }
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
        self.next = self.lex(taken.end)?;
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

    /// Reads the token that starts at `start`: they follow each other without a gap, so nothing is passed over.
    fn lex(&mut self, start: usize) -> Result<Lexed<'a>, NotCanonical> {
        let rest = &self.input.as_bytes()[start..];
        let (token, end) = match rest {
            [] => (Token::End, start),
            [b'<', b'/', ..] => {
                let length = find(b'>', rest).ok_or(NotCanonical { at: start })?;
                (
                    Token::Close(&self.input[start + 2..start + length]),
                    start + length + 1,
                )
            }
            [b'<', b'!' | b'?', ..] => return Err(NotCanonical { at: start }),
            [b'<', tag @ ..] => {
                let (length, nodes) = start_tag(tag).ok_or(NotCanonical { at: start })?;
                self.nodes_left = self
                    .nodes_left
                    .checked_sub(nodes)
                    .ok_or(NotCanonical { at: start })?;
                let end = start + 1 + length;
                (Token::Open(&self.input[start + 1..end]), end + 1)
            }
            text => {
                let end = start + find(b'<', text).unwrap_or(text.len());
                (Token::Text(&self.input[start..end]), end)
            }
        };
        Ok(Lexed { token, start, end })
    }
}

fn find(wanted: u8, bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|b| *b == wanted)
}

/// How long a start tag is up to its `>`, and how many nodes it makes: itself and its attributes. Nothing when it has
/// no end, or is that of an empty element.
fn start_tag(tag: &[u8]) -> Option<(usize, usize)> {
    // Nearly all have no attributes.
    let special = |b: &u8| matches!(b, b'>' | b'<' | b'"' | b'\'');
    let first = tag.iter().position(special)?;
    if tag[first] == b'>' {
        let is_empty_element = tag[..first].ends_with(b"/");
        return (!is_empty_element).then_some((first, 1));
    }
    let (mut open_quote, mut quotes) = (None, 0);
    for (length, b) in tag.iter().enumerate() {
        match (b, open_quote) {
            (b'>', None) => {
                let is_empty_element = tag[..length].ends_with(b"/");
                return (!is_empty_element).then_some((length, 1 + quotes / 2));
            }
            (b'<', _) => return None,
            (b'"' | b'\'', None) => open_quote = Some(b),
            (_, Some(quote)) if quote == b => open_quote = None,
            _ => {}
        }
        quotes += usize::from(*b == b'"');
    }
    None
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
        assert_eq!(
            tokens("<a x='\"/>' y=\"'\">ção</a>&"),
            Ok(vec![
                Open("a x='\"/>' y=\"'\""),
                Text("ção"),
                Close("a"),
                Text("&")
            ])
        );
        assert_eq!(tokens(""), Ok(vec![]));
    }

    #[test]
    fn what_c14n_would_not_have_written_is_no_token() {
        for other in [
            "<a/>",
            "<?xml version=\"1.0\"?><a></a>",
            "<a><!-- --></a>",
            "<a><![CDATA[x]]></a>",
            "<!DOCTYPE a><a></a>",
            "<a b=\"/\"/>",
            "<a b=\"<\"></a>",
            "<a",
            "<a b=\"></a>",
            "</a",
            "<",
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
