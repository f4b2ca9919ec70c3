//! Which certificate: its issuer's distinguished name and its serial number.

use std::fmt;

use x509_parser::asn1_rs::{Any, FromDer, Tag};
use x509_parser::certificate::X509Certificate;
use x509_parser::x509::X509Name;

use crate::KeyError;

/// Issuer and serial number of a certificate: what `X509IssuerSerial` says and what a channel
/// certificate is looked up by.
///
/// Names are compared by their parsed attributes, never as text: `CN=AC, O=Org, C=BR` (Java),
/// `CN=AC,O=Org,C=BR` (RFC 2253) and `C = BR, O = Org, CN = AC` (OpenSSL) are one issuer. Case and runs of
/// spaces do not count (RFC 5280, caseIgnoreMatch), nor does the order of the attributes, because tools write
/// both directions. The serial number is decimal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IssuerSerial {
    /// `oid=value` of every attribute, folded, sorted, joined by U+001F.
    issuer: Box<str>,
    serial: Box<str>,
}

/// Serial numbers have at most 20 octets (RFC 5280, 4.1.2.2): 49 digits.
const SERIAL_DIGITS_MAX: usize = 49;
/// Longest issuer name that is read, in bytes.
const NAME_BYTES_MAX: usize = 2048;

/// The keywords that RFC 4514, Java and OpenSSL write, with their object identifiers. The first keyword of an
/// identifier is the one we write.
const KEYWORDS: &[(&str, &str)] = &[
    ("CN", "2.5.4.3"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("S", "2.5.4.8"),
    ("STREET", "2.5.4.9"),
    ("SERIALNUMBER", "2.5.4.5"),
    ("T", "2.5.4.12"),
    ("TITLE", "2.5.4.12"),
    ("SURNAME", "2.5.4.4"),
    ("SN", "2.5.4.4"),
    ("GIVENNAME", "2.5.4.42"),
    ("GN", "2.5.4.42"),
    ("INITIALS", "2.5.4.43"),
    ("GENERATION", "2.5.4.44"),
    ("DNQ", "2.5.4.46"),
    ("DNQUALIFIER", "2.5.4.46"),
    ("ORGANIZATIONIDENTIFIER", "2.5.4.97"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("EMAILADDRESS", "1.2.840.113549.1.9.1"),
    ("E", "1.2.840.113549.1.9.1"),
];

impl IssuerSerial {
    /// Reads issuer and serial number out of a certificate.
    ///
    /// # Errors
    /// [`KeyError::Certificate`] when the DER is none.
    pub fn from_certificate_der(der: &[u8]) -> Result<Self, KeyError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| KeyError::Certificate)?;
        if !rest.is_empty() {
            return Err(KeyError::Certificate);
        }
        Ok(Self::of(&certificate)?.0)
    }

    /// Issuer and serial of `certificate`, and the issuer's name as we write it.
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Result<(Self, String), KeyError> {
        let attributes = attributes(certificate.issuer())?;
        let serial = certificate.tbs_certificate.serial.to_string();
        let written = write_name(&attributes);
        let issuer = fold(attributes.into_iter().map(|a| (a.oid, a.value)).collect());
        Ok((
            Self {
                issuer,
                serial: serial.into(),
            },
            written,
        ))
    }

    /// Reads the two texts of an `X509IssuerSerial`; nothing when they are no name or no number.
    #[must_use]
    pub fn from_text(issuer_name: &str, serial_number: &str) -> Option<Self> {
        let digits = serial_number.trim_matches(is_space);
        let significant = digits.trim_start_matches('0');
        if digits.is_empty()
            || significant.len() > SERIAL_DIGITS_MAX
            || !digits.bytes().all(|b| b.is_ascii_digit())
        {
            return None;
        }
        let serial = if significant.is_empty() { "0" } else { significant };
        Some(Self {
            issuer: fold(read_name(issuer_name)?),
            serial: serial.into(),
        })
    }

    /// The serial number, decimal.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }
}

impl fmt::Display for IssuerSerial {
    /// For logs: certificates of participants name institutions, not people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "serial {} of {}",
            self.serial,
            self.issuer.replace('\u{1f}', ",")
        )
    }
}

impl fmt::Debug for IssuerSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct Attribute {
    oid: String,
    value: String,
    /// DER of the value, for those types that are written `#hex`.
    der: Vec<u8>,
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Sorted, case folded, inner runs of spaces made one.
fn fold(attributes: Vec<(String, String)>) -> Box<str> {
    let mut folded: Vec<String> = Vec::with_capacity(attributes.len());
    for (oid, value) in attributes {
        let mut one = oid;
        one.push('=');
        for (i, word) in value.split(is_space).filter(|w| !w.is_empty()).enumerate() {
            if i > 0 {
                one.push(' ');
            }
            // The separator cannot come in by a value: control characters become spaces.
            one.extend(
                word.chars()
                    .flat_map(char::to_lowercase)
                    .map(|c| if c < ' ' { ' ' } else { c }),
            );
        }
        folded.push(one);
    }
    folded.sort_unstable();
    folded.join("\u{1f}").into()
}

fn attributes(name: &X509Name<'_>) -> Result<Vec<Attribute>, KeyError> {
    let all = name.iter_attributes().map(|a| {
        let any = a.attr_value();
        let der = der_of(any).ok_or(KeyError::Certificate)?;
        let value = text_of(any).unwrap_or_else(|| hex(&der));
        Ok(Attribute {
            oid: a.attr_type().to_id_string(),
            value,
            der,
        })
    });
    all.collect()
}

/// Tag, length and content of `any`: what `#hex` stands for in a name.
fn der_of(any: &Any<'_>) -> Option<Vec<u8>> {
    let content = any.as_bytes();
    let mut der = vec![u8::try_from(any.tag().0).ok()?];
    match u8::try_from(content.len()) {
        Ok(short @ ..0x80) => der.push(short),
        Ok(long) => der.extend([0x81, long]),
        Err(_) => {
            der.push(0x82);
            der.extend(u16::try_from(content.len()).ok()?.to_be_bytes());
        }
    }
    der.extend(content);
    Some(der)
}

/// The text of a DirectoryString or IA5String.
fn text_of(any: &Any<'_>) -> Option<String> {
    let raw = any.as_bytes();
    match any.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            std::str::from_utf8(raw).ok().map(Into::into)
        }
        // In practice T61 strings of certificates are Latin-1.
        Tag::T61String => Some(raw.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let units = raw
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::from("#");
    for b in bytes {
        out.push_str(&format!("{b:02x}"));
    }
    out
}

/// RFC 4514 with the comma and space of Java's `getIssuerDN().toString()`, most specific attribute first.
fn write_name(attributes: &[Attribute]) -> String {
    let mut out = String::new();
    for attribute in attributes.iter().rev() {
        if !out.is_empty() {
            out.push_str(", ");
        }
        match KEYWORDS.iter().find(|(_, oid)| *oid == attribute.oid) {
            Some((keyword, _)) => {
                out.push_str(keyword);
                out.push('=');
                write_value(&mut out, &attribute.value);
            }
            None => {
                out.push_str(&attribute.oid);
                out.push('=');
                out.push_str(&hex(&attribute.der));
            }
        }
    }
    out
}

fn write_value(out: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (i, c) in value.chars().enumerate() {
        let edge = (c == ' ' && (i == 0 || i == last)) || (c == '#' && i == 0);
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => out.extend(['\\', c]),
            _ if edge => out.extend(['\\', c]),
            // XML cannot carry them.
            '\0'..'\u{20}' => out.push_str(&format!("\\{:02X}", u32::from(c))),
            _ => out.push(c),
        }
    }
}

/// Reads a name in any of the usual writings into (object identifier, value).
fn read_name(text: &str) -> Option<Vec<(String, String)>> {
    if text.len() > NAME_BYTES_MAX {
        return None;
    }
    let mut attributes = Vec::with_capacity(8);
    let mut rest = text.trim_matches(is_space);
    loop {
        let (keyword, after) = rest.split_once('=')?;
        let oid = read_keyword(keyword.trim_matches(is_space))?;
        let (value, after) = read_value(after.trim_start_matches(is_space))?;
        attributes.push((oid, value));
        match after {
            None => return Some(attributes),
            Some(next) => rest = next.trim_start_matches(is_space),
        }
    }
}

fn read_keyword(keyword: &str) -> Option<String> {
    if let Some((_, oid)) = KEYWORDS.iter().find(|(k, _)| k.eq_ignore_ascii_case(keyword)) {
        return Some((*oid).to_owned());
    }
    let dotted = keyword
        .strip_prefix("OID.")
        .or_else(|| keyword.strip_prefix("oid."))
        .unwrap_or(keyword);
    let holds = dotted.split('.').count() > 1
        && dotted
            .split('.')
            .all(|arc| !arc.is_empty() && arc.bytes().all(|b| b.is_ascii_digit()));
    holds.then(|| dotted.to_owned())
}

/// One value and what follows its separator, if there is one.
fn read_value(text: &str) -> Option<(String, Option<&str>)> {
    if let Some(quoted) = text.strip_prefix('"') {
        return read_quoted(quoted);
    }
    let mut bytes: Vec<u8> = Vec::with_capacity(32);
    // Spaces at the end do not belong to the value, unless escaped.
    let mut keep = 0;
    let mut at = 0;
    let raw = text.as_bytes();
    let mut rest = None;
    while let Some(b) = raw.get(at) {
        match b {
            b'\\' => {
                at += read_escape(raw.get(at + 1..)?, &mut bytes)?;
                keep = bytes.len();
            }
            b',' | b';' | b'+' => {
                rest = Some(&text[at + 1..]);
                break;
            }
            b'"' | b'<' | b'>' => return None,
            _ => {
                bytes.push(*b);
                if !is_space(char::from(*b)) {
                    keep = bytes.len();
                }
            }
        }
        at += 1;
    }
    bytes.truncate(keep);
    let value = String::from_utf8(bytes).ok()?;
    Some((decode_hex_value(text, value)?, rest))
}

/// A value written `#hex` (the first character not escaped) is DER: the text inside counts.
fn decode_hex_value(written: &str, value: String) -> Option<String> {
    if !written.starts_with('#') {
        return Some(value);
    }
    let digits = &value[1..];
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let der: Vec<u8> = (0..digits.len())
        .step_by(2)
        .filter_map(|i| u8::from_str_radix(&digits[i..i + 2], 16).ok())
        .collect();
    let (rest, any) = Any::from_der(&der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    Some(text_of(&any).unwrap_or_else(|| hex(&der)))
}

/// RFC 1779 and Java write values with special characters between quotes.
fn read_quoted(text: &str) -> Option<(String, Option<&str>)> {
    let raw = text.as_bytes();
    let mut bytes = Vec::with_capacity(32);
    let mut at = 0;
    loop {
        match raw.get(at)? {
            b'\\' => at += read_escape(raw.get(at + 1..)?, &mut bytes)?,
            b'"' => break,
            b => bytes.push(*b),
        }
        at += 1;
    }
    let after = text[at + 1..].trim_start_matches(is_space);
    let rest = match after.chars().next() {
        None => None,
        Some(',' | ';' | '+') => Some(&after[1..]),
        Some(_) => return None,
    };
    Some((String::from_utf8(bytes).ok()?, rest))
}

/// What stands after a backslash: two hexadecimal digits or one character. Gives how many bytes it took.
fn read_escape(after: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    if let [high, low, ..] = after
        && let (Some(high), Some(low)) = (digit(high), digit(low))
    {
        out.push(high << 4 | low);
        return Some(2);
    }
    out.push(*after.first().filter(|b| b.is_ascii())?);
    Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> Option<IssuerSerial> {
        IssuerSerial::from_text(name, "10")
    }

    #[test]
    fn one_issuer_has_many_writings() {
        let java = id("CN=AC Pix, OU=Raiz, O=\"Banco, S.A.\", C=BR").expect("a name");
        for same in [
            "CN=AC Pix,OU=Raiz,O=Banco\\, S.A.,C=BR",
            "C=BR,O=Banco\\2C S.A.,OU=Raiz,CN=AC Pix",
            "cn = ac  pix ; ou=RAIZ; o=\"banco, s.a.\" ; c=br ",
        ] {
            assert_eq!(id(same).as_ref(), Some(&java), "{same}");
        }
        assert_eq!(id("2.5.4.3=#0c06414320506978"), id("CN=AC Pix"));
        assert_eq!(id("OID.2.5.4.3=AC Pix"), id("CN=AC Pix"));
        assert_ne!(id("CN=AC Pix,O=Outro,C=BR"), Some(java));
    }

    #[test]
    fn serial_numbers_are_decimal() {
        let is = |serial| IssuerSerial::from_text("CN=x", serial);
        assert_eq!(is("0010"), is(" 10\n"));
        assert_ne!(is("10"), is("16"));
        assert_eq!(is("00"), is("0"));
        for wrong in ["", " ", "-1", "0x10", "1e3", &"9".repeat(50)] {
            assert_eq!(is(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for wrong in [
            "",
            "CN",
            "=x",
            "CN=x,",
            "CN=a<b",
            "X Y=z",
            "CN=\"a",
            "CN=\"a\"b",
            "CN=#0",
            "CN=a\\",
        ] {
            assert_eq!(id(wrong), None, "{wrong}");
        }
    }
}
