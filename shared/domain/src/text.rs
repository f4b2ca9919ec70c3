//! Free text with a length.

use std::fmt;

/// Text of 1 to `MAX` characters (Unicode scalar values, as XSD counts them) that XML 1.0 can carry.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text<const MAX: usize>(Box<str>);

/// Why characters are not such a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Nothing there.
    #[error("the text is empty")]
    Empty,
    /// Too much there.
    #[error("the text has {found} characters of at most {max}")]
    TooLong {
        /// Characters seen.
        found: usize,
        /// Characters allowed.
        max: usize,
    },
    /// A character that XML 1.0 does not allow (`Char` production).
    #[error("the text holds a character that XML 1.0 does not allow")]
    Character,
}

impl<const MAX: usize> Text<MAX> {
    /// Takes `text` when it has 1 to `MAX` characters.
    ///
    /// # Errors
    /// [`InvalidText`] tells which bound or character.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        let found = text.chars().count();
        if found == 0 {
            return Err(InvalidText::Empty);
        }
        if found > MAX {
            return Err(InvalidText::TooLong { found, max: MAX });
        }
        let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..);
        if text.chars().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidText::Character)
        }
    }

    /// The first `MAX` characters of `text`, with what XML cannot carry replaced by `?`; `-` when empty.
    /// For texts of our own that must not fail, such as the detail of a refusal.
    #[must_use]
    pub fn truncated(text: &str) -> Self {
        let fit = text.chars().take(MAX).map(|c| {
            if c < ' ' || matches!(c, '\u{FFFE}' | '\u{FFFF}') {
                '?'
            } else {
                c
            }
        });
        let fit: String = fit.collect();
        Self(if fit.is_empty() { "-".into() } else { fit.into() })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    /// Names and free text are personal data: their length is all that a log may show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_counted_not_bytes() {
        assert!(Text::<4>::parse("ação").is_ok());
        assert_eq!(
            Text::<3>::parse("ação"),
            Err(InvalidText::TooLong { found: 4, max: 3 })
        );
        assert_eq!(Text::<3>::parse(""), Err(InvalidText::Empty));
        assert_eq!(Text::<3>::parse("a\u{0}"), Err(InvalidText::Character));
        assert_eq!(Text::<3>::truncated("aç\u{1}o").as_str(), "aç?");
    }
}
