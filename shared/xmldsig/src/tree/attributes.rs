//! What stands behind the name in a start tag, and references: strictly by XML 1.0.

use super::TreeError;

/// Name as written and normalised value.
pub(super) type RawAttribute<'a> = (&'a str, String);

/// Reads `name="value"` as often as it comes; `raw` begins behind the element's name.
pub(super) fn read(mut raw: &str, at: usize, max: usize) -> Result<Vec<RawAttribute<'_>>, TreeError> {
    let ill = |why| TreeError::IllFormed { why, at };
    let mut all = Vec::new();
    loop {
        let trimmed = raw.trim_start_matches(is_space);
        if trimmed.is_empty() {
            return Ok(all);
        }
        if trimmed.len() == raw.len() {
            return Err(ill("no white space before an attribute"));
        }
        let (name, rest) = trimmed
            .split_once('=')
            .ok_or_else(|| ill("an attribute without value"))?;
        let name = name.trim_end_matches(is_space);
        if !is_qualified_name(name) {
            return Err(ill("an attribute's name is none"));
        }
        let rest = rest.trim_start_matches(is_space);
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let quote = quote.ok_or_else(|| ill("an attribute's value without quotes"))?;
        let (value, rest) = rest[1..]
            .split_once(quote)
            .ok_or_else(|| ill("an attribute's value without end"))?;
        if all.len() == max {
            return Err(TreeError::Limit {
                what: "attributes in one element",
                max,
            });
        }
        if all.iter().any(|(known, _)| *known == name) {
            return Err(ill("an attribute twice"));
        }
        all.push((
            name,
            normalize(value).ok_or_else(|| ill("an attribute's value with '<' or a bad reference"))?,
        ));
        raw = rest;
    }
}

/// XML 1.0, 3.3.3: white space becomes a space, references stand for themselves.
fn normalize(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '<' => return None,
            '\t' | '\n' | '\r' => out.push(' '),
            '&' => {
                let (name, after) = rest.split_once(';')?;
                out.push(resolve(name)?);
                rest = after;
            }
            _ => out.push(c),
        }
    }
    Some(out)
}

/// The character that `&name;` stands for: the five predefined entities and character references.
pub(super) fn resolve(name: &str) -> Option<char> {
    match name {
        "amp" => return Some('&'),
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        _ => {}
    }
    let digits = name.strip_prefix('#')?;
    let (digits, radix) = digits.strip_prefix('x').map_or((digits, 10), |hex| (hex, 16));
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let code = plain.then(|| u32::from_str_radix(digits, radix).ok()).flatten()?;
    char::from_u32(code).filter(|c| is_char(*c))
}

/// `Char` of XML 1.0.
pub(super) fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// `QName` of Namespaces in XML 1.0: one name, or two with a colon.
pub(super) fn is_qualified_name(name: &str) -> bool {
    match name.split_once(':') {
        Some((prefix, local)) => is_name(prefix) && is_name(local),
        None => is_name(name),
    }
}

/// `NCName`.
fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(is_name_start) && chars.all(is_name_char)
}

fn is_name_start(c: char) -> bool {
    matches!(c,
        'A'..='Z' | '_' | 'a'..='z' | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}'
        | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}'
        | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}'
        | '\u{10000}'..='\u{EFFFF}')
}

fn is_name_char(c: char) -> bool {
    is_name_start(c)
        || matches!(c, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}
