//! Keys of the DICT (chaves Pix) and what names and fingerprints their entries.

use std::fmt;

use crate::code::{InvalidCode, code};
use crate::{Cnpj, TaxId};

code! {
    /// Kind of key (`KeyType`).
    KeyType, "KeyType",
    /// CPF of a person.
    Cpf = "CPF",
    /// CNPJ of a company.
    Cnpj = "CNPJ",
    /// Mobile phone.
    Phone = "PHONE",
    /// E-mail address.
    Email = "EMAIL",
    /// Random key (endereço virtual de pagamento), drawn by the DICT.
    Evp = "EVP",
}

code! {
    /// Category of a participant (`PolicyCategory`): how large its anti-scan bucket is (DICT API, limits).
    Category, "Category",
    /// 25,000 a minute, 50,000 at most.
    A = "A",
    /// 20,000 and 40,000.
    B = "B",
    /// 15,000 and 30,000.
    C = "C",
    /// 8,000 and 16,000.
    D = "D",
    /// 2,500 and 5,000.
    E = "E",
    /// 250 and 500.
    F = "F",
    /// 25 and 250.
    G = "G",
    /// 2 and 50.
    H = "H",
}

/// Longest key, in characters (`Key`, `maxLength`).
pub const KEY_CHARS_MAX: usize = 77;

/// A key in its canonical form: CNPJ in capitals, everything else as its pattern has it.
///
/// Rule: DICT API 2.12.1, tag Key. Only the pattern: [`Self::has_valid_check_digits`] judges CPF and CNPJ.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    kind: KeyType,
    text: Box<str>,
}

/// Why characters are no key of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The pattern of that kind does not hold.
    #[error("the key does not match the pattern {pattern} of {0}", pattern = pattern(*.0))]
    Pattern(KeyType),
    /// No kind has such keys.
    #[error("the key is no CPF, CNPJ, phone (+5561999990000), e-mail in lower case or random key")]
    NoKind,
}

/// The regular expression of a kind, as the API's document writes it.
#[must_use]
pub fn pattern(kind: KeyType) -> &'static str {
    match kind {
        KeyType::Cpf => "^[0-9]{11}$",
        KeyType::Cnpj => "^(?i)[a-z0-9]{14}$",
        KeyType::Phone => r"^\+[1-9]\d{1,14}$",
        KeyType::Email => {
            r"^[a-z0-9.!#$'*+\/=?^_`{|}~-]+@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$"
        }
        KeyType::Evp => "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    }
}

impl Key {
    /// Reads a key whose kind is known.
    ///
    /// # Errors
    /// [`InvalidKey::Pattern`].
    pub fn parse(kind: KeyType, text: &str) -> Result<Self, InvalidKey> {
        let raw = text.as_bytes();
        let holds = match kind {
            KeyType::Cpf => raw.len() == 11 && raw.iter().all(u8::is_ascii_digit),
            KeyType::Cnpj => raw.len() == 14 && raw.iter().all(u8::is_ascii_alphanumeric),
            KeyType::Phone => is_phone(raw),
            KeyType::Email => is_email(raw),
            KeyType::Evp => is_evp(raw),
        };
        if !holds {
            return Err(InvalidKey::Pattern(kind));
        }
        let text = if kind == KeyType::Cnpj {
            text.to_ascii_uppercase().into()
        } else {
            text.into()
        };
        Ok(Self { kind, text })
    }

    /// Reads a key whose kind its form tells: 11 digits are a CPF, 14 characters a CNPJ, `+` begins a phone,
    /// `@` is in an e-mail, a UUID is an EVP (Manual Operacional do DICT, 1).
    ///
    /// # Errors
    /// [`InvalidKey::NoKind`] when it has the form of none, [`InvalidKey::Pattern`] when it breaks that of one.
    pub fn guess(text: &str) -> Result<Self, InvalidKey> {
        let raw = text.as_bytes();
        let kind = match raw {
            // First: an e-mail may begin with `+`.
            _ if raw.contains(&b'@') => KeyType::Email,
            [b'+', ..] => KeyType::Phone,
            _ if raw.len() == 36 => KeyType::Evp,
            _ if raw.len() == 14 => KeyType::Cnpj,
            _ if raw.len() == 11 => KeyType::Cpf,
            _ => return Err(InvalidKey::NoKind),
        };
        Self::parse(kind, text)
    }

    /// The random key that 128 bits of chance make: a UUID of version 4.
    #[must_use]
    pub fn random(entropy: u128) -> Self {
        Self {
            kind: KeyType::Evp,
            text: RequestId::new(entropy).to_string().into(),
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> KeyType {
        self.kind
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The CPF or CNPJ that this key is. A CNPJ key whose last two characters are letters is none.
    #[must_use]
    pub fn tax_id(&self) -> Option<TaxId> {
        match self.kind {
            KeyType::Cpf => TaxId::parse(self.text.as_bytes()).ok(),
            KeyType::Cnpj => Cnpj::parse(self.text.as_bytes()).ok().map(TaxId::Cnpj),
            KeyType::Phone | KeyType::Email | KeyType::Evp => None,
        }
    }

    /// Whether the check digits of a CPF or CNPJ are right; other kinds have none.
    #[must_use]
    pub fn has_valid_check_digits(&self) -> bool {
        match self.kind {
            KeyType::Cpf | KeyType::Cnpj => self.tax_id().is_some_and(|id| id.has_valid_check_digits()),
            KeyType::Phone | KeyType::Email | KeyType::Evp => true,
        }
    }

    /// The form that may be shown where the whole may not.
    #[must_use]
    pub fn masked(&self) -> String {
        let text = &*self.text;
        match self.kind {
            KeyType::Cpf | KeyType::Cnpj => self.tax_id().map_or_else(|| "***".to_owned(), |id| id.masked()),
            KeyType::Phone if text.len() < 8 => "***".to_owned(),
            KeyType::Phone => format!("{}***{}", &text[..3], &text[text.len() - 2..]),
            KeyType::Email => {
                let (name, host) = text.split_once('@').expect("the pattern has an @");
                format!("{}***@{host}", &name[..1])
            }
            KeyType::Evp => format!("{}-***", &text[..8]),
        }
    }
}

impl fmt::Debug for Key {
    /// Masked: a key never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.kind, self.masked())
    }
}

fn is_phone(raw: &[u8]) -> bool {
    let [b'+', b'1'..=b'9', rest @ ..] = raw else {
        return false;
    };
    matches!(rest.len(), 1..=14) && rest.iter().all(u8::is_ascii_digit)
}

fn is_email(raw: &[u8]) -> bool {
    let Some(at) = raw.iter().position(|b| *b == b'@') else {
        return false;
    };
    let (local, domain) = (&raw[..at], &raw[at + 1..]);
    let in_local = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9') || b".!#$'*+/=?^_`{|}~-".contains(b);
    let is_label = |label: &[u8]| {
        let ends = |b: Option<&u8>| b.is_some_and(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9'));
        label.len() <= 63
            && ends(label.first())
            && ends(label.last())
            && label
                .iter()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    raw.len() <= KEY_CHARS_MAX
        && !local.is_empty()
        && local.iter().all(in_local)
        && domain.split(|b| *b == b'.').all(is_label)
}

fn is_evp(raw: &[u8]) -> bool {
    raw.len() == 36
        && raw.iter().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// `RequestId` of a DICT request: a UUID of version 4, once per participant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId([u8; 16]);

/// Not a UUID of version 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a RequestId is a UUID of version 4, like a946d533-7f22-42a5-9a9b-e87cd55c0f4d")]
pub struct InvalidRequestId;

impl RequestId {
    /// Reads the 36 characters, hexadecimal digits in either case.
    ///
    /// # Errors
    /// [`InvalidRequestId`], also for a UUID of another version or variant (RFC 9562, 4).
    pub fn parse(text: &str) -> Result<Self, InvalidRequestId> {
        let text = text.to_ascii_lowercase();
        if !is_evp(text.as_bytes()) {
            return Err(InvalidRequestId);
        }
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let raw = u128::from_str_radix(&digits, 16)
            .map_err(|_| InvalidRequestId)?
            .to_be_bytes();
        if raw[6] >> 4 == 4 && raw[8] >> 6 == 0b10 {
            Ok(Self(raw))
        } else {
            Err(InvalidRequestId)
        }
    }

    /// The id that 128 bits of chance make.
    #[must_use]
    pub fn new(entropy: u128) -> Self {
        let mut raw = entropy.to_be_bytes();
        raw[6] = raw[6] & 0x0f | 0x40;
        raw[8] = raw[8] & 0x3f | 0x80;
        Self(raw)
    }

    /// The 16 bytes: the key of the HMAC that makes a [`Cid`].
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// From 16 bytes that were such an id before.
    ///
    /// # Errors
    /// [`InvalidRequestId`] when version or variant is another.
    pub fn from_bytes(raw: [u8; 16]) -> Result<Self, InvalidRequestId> {
        let id = Self::new(u128::from_be_bytes(raw));
        if id.0 == raw {
            Ok(id)
        } else {
            Err(InvalidRequestId)
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Content identifier of an entry: 256 bits over its essential attributes (DICT API, Reconciliation).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cid([u8; 32]);

/// Not 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a CID is 64 hexadecimal digits in lower case")]
pub struct InvalidCid;

impl Cid {
    /// Reads 64 hexadecimal digits in lower case.
    ///
    /// # Errors
    /// [`InvalidCid`].
    pub fn parse(text: &str) -> Result<Self, InvalidCid> {
        let raw = text.as_bytes();
        if raw.len() != 64 || !raw.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(InvalidCid);
        }
        let nibble = |b: u8| {
            if b.is_ascii_digit() {
                b - b'0'
            } else {
                b - b'a' + 10
            }
        };
        Ok(Self(std::array::from_fn(|i| {
            nibble(raw[2 * i]) << 4 | nibble(raw[2 * i + 1])
        })))
    }

    /// From its 32 bytes.
    #[must_use]
    pub fn from_bytes(raw: [u8; 32]) -> Self {
        Self(raw)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Synchronism verifier of a set of CIDs: their XOR.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct VSync([u8; 32]);

impl VSync {
    /// Of the empty set.
    pub const EMPTY: Self = Self([0; 32]);

    /// After `cid` was added, or removed: it is the same.
    #[must_use]
    pub fn toggled(self, cid: &Cid) -> Self {
        Self(std::array::from_fn(|i| self.0[i] ^ cid.0[i]))
    }

    /// From its 32 bytes.
    #[must_use]
    pub fn from_bytes(raw: [u8; 32]) -> Self {
        Self(raw)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

macro_rules! hexadecimal {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}
hexadecimal!(Cid);
hexadecimal!(VSync);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_key_tells_its_kind() {
        for (text, kind) in [
            ("12345678901", KeyType::Cpf),
            ("12345678901234", KeyType::Cnpj),
            ("12ABC34501DE35", KeyType::Cnpj),
            ("+5510998765432", KeyType::Phone),
            ("pix@bcb.gov.br", KeyType::Email),
            ("+pix@bcb.gov.br", KeyType::Email),
            ("123e4567-e89b-12d3-a456-426655440000", KeyType::Evp),
        ] {
            assert_eq!(Key::guess(text).expect(text).kind(), kind, "{text}");
        }
        assert_eq!(Key::guess("1234"), Err(InvalidKey::NoKind));
        assert_eq!(Key::guess("+0123"), Err(InvalidKey::Pattern(KeyType::Phone)));
    }

    #[test]
    fn patterns_are_those_of_the_document() {
        let email = |text: &str| Key::parse(KeyType::Email, text).is_ok();
        assert!(email("a.b+c@x.com") && email("a@localhost") && email("a@1-2.br"));
        assert!(!email("A@x.com") && !email("a@x..com") && !email("a@-x.com") && !email("@x.com"));
        assert!(!email("a@x.com@y.com") && !email("a b@x.com") && !email("a@x-.com"));
        assert!(email(&format!("{}@x.com", "a".repeat(71))) && !email(&format!("{}@x.com", "a".repeat(72))));
        let phone = |text: &str| Key::parse(KeyType::Phone, text).is_ok();
        assert!(phone("+12") && phone("+123456789012345"));
        assert!(!phone("+1") && !phone("+1234567890123456") && !phone("61988887777") && !phone("+55 61"));
        assert!(Key::parse(KeyType::Evp, "123E4567-e89b-12d3-a456-426655440000").is_err());
        let cnpj = Key::parse(KeyType::Cnpj, "12abc34501de35").expect("either case");
        assert_eq!(cnpj.as_str(), "12ABC34501DE35");
        assert!(cnpj.has_valid_check_digits());
        assert!(
            !Key::parse(KeyType::Cnpj, "12ABC34501DEAB")
                .expect("pattern")
                .has_valid_check_digits()
        );
    }

    #[test]
    fn a_request_id_is_a_uuid_of_version_4() {
        let text = "a946d533-7f22-42a5-9a9b-e87cd55c0f4d";
        assert_eq!(
            RequestId::parse(text).expect("official example").to_string(),
            text
        );
        assert!(RequestId::parse("a946d533-7f22-12a5-9a9b-e87cd55c0f4d").is_err());
        assert!(RequestId::parse("a946d5337f2242a59a9be87cd55c0f4d").is_err());
        let made = RequestId::new(u128::MAX);
        assert_eq!(RequestId::parse(&made.to_string()), Ok(made));
        assert_eq!(RequestId::from_bytes(*made.as_bytes()), Ok(made));
        assert!(RequestId::from_bytes([0; 16]).is_err());
    }

    #[test]
    fn what_is_shown_of_a_key_is_not_the_key() {
        for text in [
            "52998224725",
            "12ABC34501DE35",
            "+5510998765432",
            "+12",
            "pix@bcb.gov.br",
            "123e4567-e89b-12d3-a456-426655440000",
        ] {
            let key = Key::guess(text).expect(text);
            assert!(!format!("{key:?}").contains(text), "{key:?}");
        }
    }
}
