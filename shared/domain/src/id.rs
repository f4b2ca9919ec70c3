//! Identifiers of participants, messages and payments.

use std::fmt;

use crate::Timestamp;

/// ISPB: the eight characters that name a participant, e.g. `12345678`.
///
/// Rule: XSD `ISPBType`, `[0-9A-Z]{8}`; letters arrived with the alphanumeric CNPJ.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ispb([u8; 8]);

/// The SPI itself, as `Fr` or `To` of every message (`00038166`, the Central Bank).
pub const SPI_ISPB: Ispb = Ispb(*b"00038166");

/// Why eight characters are not an ISPB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIspb {
    /// Not eight characters.
    #[error("an ISPB has 8 characters, this has {0}")]
    Length(usize),
    /// A character outside `0-9A-Z`.
    #[error("character {index} of the ISPB is not 0-9 or A-Z")]
    Character {
        /// Position from zero.
        index: usize,
    },
}

impl Ispb {
    /// Reads the eight characters as they stand on the wire.
    ///
    /// # Errors
    /// [`InvalidIspb`] tells length or character.
    pub fn parse(wire: &[u8]) -> Result<Self, InvalidIspb> {
        let raw: [u8; 8] = wire.try_into().map_err(|_| InvalidIspb::Length(wire.len()))?;
        match raw.iter().position(|b| !matches!(b, b'0'..=b'9' | b'A'..=b'Z')) {
            Some(index) => Err(InvalidIspb::Character { index }),
            None => Ok(Self(raw)),
        }
    }
}

/// Why characters are not the identifier they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Not the fixed length.
    #[error("{what} has {expected} characters, this has {found}")]
    Length {
        /// Name of the identifier.
        what: &'static str,
        /// Its length.
        expected: usize,
        /// The length seen.
        found: usize,
    },
    /// A character that the pattern does not allow there.
    #[error("character {index} of {what} breaks its pattern")]
    Character {
        /// Name of the identifier.
        what: &'static str,
        /// Position from zero.
        index: usize,
    },
    /// The pattern holds, but year, month, day, hour and minute are no instant.
    #[error("the minute inside {what} does not exist")]
    Minute {
        /// Name of the identifier.
        what: &'static str,
    },
}

fn ascii(raw: &[u8]) -> &str {
    std::str::from_utf8(raw).expect("constructors admit ASCII only")
}

fn is_alphanumeric(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}

fn check(
    what: &'static str,
    raw: &[u8],
    from: usize,
    allowed: impl Fn(usize, u8) -> bool,
) -> Result<(), InvalidId> {
    match raw.iter().enumerate().skip(from).find(|(i, b)| !allowed(*i, **b)) {
        Some((index, _)) => Err(InvalidId::Character { what, index }),
        None => Ok(()),
    }
}

fn fixed<const N: usize>(what: &'static str, wire: &[u8]) -> Result<[u8; N], InvalidId> {
    wire.try_into().map_err(|_| InvalidId::Length {
        what,
        expected: N,
        found: wire.len(),
    })
}

/// Pattern shared by `EndToEndId` and `RtrId`: letter, ISPB, `yyyyMMddHHmm`, eleven alphanumerics.
fn check_dated(what: &'static str, raw: &[u8; 32], letters: &[u8]) -> Result<(), InvalidId> {
    check(what, raw, 0, |i, b| match i {
        0 => letters.contains(&b),
        1..=8 => matches!(b, b'0'..=b'9' | b'A'..=b'Z'),
        13 => matches!(b, b'0' | b'1'),
        15 => matches!(b, b'0'..=b'3'),
        17 => matches!(b, b'0'..=b'2'),
        19 => matches!(b, b'0'..=b'5'),
        9..=20 => b.is_ascii_digit(),
        _ => is_alphanumeric(b),
    })
}

macro_rules! fixed_ascii {
    ($name:ident, $n:literal) => {
        impl $name {
            /// The characters as they stand on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                ascii(&self.0)
            }
            /// The raw bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; $n] {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// `MsgId` and `BizMsgIdr`: `M`, the sender's ISPB, 23 alphanumerics; never repeats.
///
/// Rule: XSD `MsgIdType`, `M[0-9A-Z]{8}[a-zA-Z0-9]{23}`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MsgId([u8; 32]);

impl MsgId {
    /// Reads 32 characters.
    ///
    /// # Errors
    /// [`InvalidId`] by length or character.
    pub fn parse(wire: &[u8]) -> Result<Self, InvalidId> {
        const WHAT: &str = "MsgId";
        let raw = fixed::<32>(WHAT, wire)?;
        check(WHAT, &raw, 0, |i, b| match i {
            0 => b == b'M',
            1..=8 => matches!(b, b'0'..=b'9' | b'A'..=b'Z'),
            _ => is_alphanumeric(b),
        })?;
        Ok(Self(raw))
    }

    /// Builds the id that `sender` gives its next message. `entropy` must not repeat per sender.
    #[must_use]
    pub fn new(sender: Ispb, entropy: u128) -> Self {
        let mut raw = [b'0'; 32];
        raw[0] = b'M';
        raw[1..9].copy_from_slice(&sender.0);
        base62(entropy, &mut raw[9..]);
        Self(raw)
    }

    /// The sender's ISPB inside the id.
    #[must_use]
    pub fn sender(&self) -> Ispb {
        Ispb(self.0[1..9].try_into().expect("32 bytes hold 1..9"))
    }
}

/// `EndToEndId`: `E`, the agent that made it, the UTC minute, eleven alphanumerics. Names a payment for life.
///
/// Rule: XSD `EndToEndIdType`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndToEndId([u8; 32]);

impl EndToEndId {
    /// Reads 32 characters by the pattern of the XSD; the minute may still be impossible (see [`Self::minute`]).
    ///
    /// # Errors
    /// [`InvalidId`] by length or character.
    pub fn parse(wire: &[u8]) -> Result<Self, InvalidId> {
        const WHAT: &str = "EndToEndId";
        let raw = fixed::<32>(WHAT, wire)?;
        check_dated(WHAT, &raw, b"E")?;
        Ok(Self(raw))
    }

    /// Builds the id of a payment that `agent` submits at `at`. `entropy` must not repeat within the minute.
    #[must_use]
    pub fn new(agent: Ispb, at: Timestamp, entropy: u128) -> Self {
        let mut raw = [b'0'; 32];
        dated(&mut raw, b'E', agent, at, entropy);
        Self(raw)
    }

    /// The agent that made the id: a participant, or the first eight of an initiator's CNPJ.
    #[must_use]
    pub fn agent(&self) -> Ispb {
        Ispb(self.0[1..9].try_into().expect("32 bytes hold 1..9"))
    }

    /// The UTC minute inside the id.
    ///
    /// # Errors
    /// [`InvalidId::Minute`] when the pattern holds but the calendar does not (month 13, say): FF08.
    pub fn minute(&self) -> Result<Timestamp, InvalidId> {
        minute("EndToEndId", &self.0)
    }

    /// The month inside the id: the partition that holds the payment.
    ///
    /// # Errors
    /// [`InvalidId::Minute`] as [`Self::minute`].
    pub fn month(&self) -> Result<Month, InvalidId> {
        self.minute()?;
        let n = |r: std::ops::Range<usize>| self.0[r].iter().fold(0_i32, |n, b| n * 10 + i32::from(b - b'0'));
        Ok(Month(n(9..13) * 100 + n(13..15)))
    }
}

/// `RtrId`: as [`EndToEndId`] with `D`, naming a return.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReturnId([u8; 32]);

impl ReturnId {
    /// Reads 32 characters.
    ///
    /// # Errors
    /// [`InvalidId`] by length or character.
    pub fn parse(wire: &[u8]) -> Result<Self, InvalidId> {
        const WHAT: &str = "RtrId";
        let raw = fixed::<32>(WHAT, wire)?;
        check_dated(WHAT, &raw, b"D")?;
        Ok(Self(raw))
    }
}

/// `InstrId` and `OrgnlInstrId`: an [`EndToEndId`] or a [`ReturnId`].
///
/// The XSD pattern starts `[E|D]`, which also admits `|`; that is a slip of the schema and refused here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstructionId([u8; 32]);

impl InstructionId {
    /// Reads 32 characters.
    ///
    /// # Errors
    /// [`InvalidId`] by length or character.
    pub fn parse(wire: &[u8]) -> Result<Self, InvalidId> {
        const WHAT: &str = "InstrId";
        let raw = fixed::<32>(WHAT, wire)?;
        check_dated(WHAT, &raw, b"ED")?;
        Ok(Self(raw))
    }

    /// The payment named, when this is not the id of a return.
    #[must_use]
    pub fn end_to_end_id(&self) -> Option<EndToEndId> {
        (self.0[0] == b'E').then_some(EndToEndId(self.0))
    }
}

impl From<EndToEndId> for InstructionId {
    fn from(id: EndToEndId) -> Self {
        Self(id.0)
    }
}

/// `TxId`: the receiver's reconciliation id, 1 to 35 alphanumerics (XSD `TxIdType`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TxId(Box<str>);

impl TxId {
    /// Reads 1 to 35 alphanumerics.
    ///
    /// # Errors
    /// [`InvalidId`] by length or character.
    pub fn parse(wire: &[u8]) -> Result<Self, InvalidId> {
        const WHAT: &str = "TxId";
        if wire.is_empty() || wire.len() > 35 {
            return Err(InvalidId::Length {
                what: WHAT,
                expected: 35,
                found: wire.len(),
            });
        }
        check(WHAT, wire, 0, |_, b| is_alphanumeric(b))?;
        Ok(Self(ascii(wire).into()))
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `PI-ResourceId`: 24 bytes, the first two `PI` and the third 1, shown as 32 base64 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceId([u8; 24]);

impl ResourceId {
    /// Length on the wire, in characters.
    pub const WIRE_LEN: usize = 32;
    const MAGIC: [u8; 3] = *b"PI\x01";

    /// Builds an id from 21 bytes that must not repeat.
    #[must_use]
    pub fn new(unique: [u8; 21]) -> Self {
        let mut raw = [0; 24];
        raw[..3].copy_from_slice(&Self::MAGIC);
        raw[3..].copy_from_slice(&unique);
        Self(raw)
    }

    /// The 24 bytes as they are stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 24] {
        &self.0
    }

    /// Takes back what [`Self::as_bytes`] gave.
    #[must_use]
    pub fn from_bytes(raw: [u8; 24]) -> Self {
        Self(raw)
    }

    /// Reads the 32 base64 characters. Foreign prefixes are accepted: the id is opaque to its reader.
    ///
    /// # Errors
    /// [`InvalidId`] by length or character.
    pub fn parse(wire: &[u8]) -> Result<Self, InvalidId> {
        const WHAT: &str = "PI-ResourceId";
        let text = fixed::<32>(WHAT, wire)?;
        let mut raw = [0; 24];
        for (group, out) in text.chunks_exact(4).zip(raw.chunks_exact_mut(3)) {
            let mut bits = 0_u32;
            for b in group {
                let value = BASE64.iter().position(|c| c == b);
                let value = value.ok_or(InvalidId::Character { what: WHAT, index: 0 })?;
                bits = bits << 6 | u32::try_from(value).expect("below 64");
            }
            out.copy_from_slice(&bits.to_be_bytes()[1..]);
        }
        Ok(Self(raw))
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        for (bytes, out) in self.0.chunks_exact(3).zip(text.chunks_exact_mut(4)) {
            let bits = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
            for (i, c) in out.iter_mut().enumerate() {
                *c = BASE64[(bits >> (18 - 6 * i) & 63) as usize];
            }
        }
        f.pad(ascii(&text))
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A calendar month as `yyyyMM`, the partition key of payments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Month(i32);

impl Month {
    /// `yyyyMM` as an integer.
    #[must_use]
    pub fn get(self) -> i32 {
        self.0
    }

    /// The month that `at` falls in, UTC.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        let (year, month, _) = at.date();
        Self(year * 100 + i32::from(month))
    }

    /// The month after this one.
    #[must_use]
    pub fn next(self) -> Self {
        if self.0 % 100 == 12 {
            Self(self.0 + 89)
        } else {
            Self(self.0 + 1)
        }
    }

    /// The month before this one.
    #[must_use]
    pub fn previous(self) -> Self {
        if self.0 % 100 == 1 {
            Self(self.0 - 89)
        } else {
            Self(self.0 - 1)
        }
    }
}

fixed_ascii!(Ispb, 8);
fixed_ascii!(MsgId, 32);
fixed_ascii!(EndToEndId, 32);
fixed_ascii!(ReturnId, 32);
fixed_ascii!(InstructionId, 32);

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn dated(raw: &mut [u8; 32], letter: u8, agent: Ispb, at: Timestamp, entropy: u128) {
    raw[0] = letter;
    raw[1..9].copy_from_slice(&agent.0);
    raw[9..21].copy_from_slice(&at.minute_digits());
    base62(entropy, &mut raw[21..]);
}

/// Fills `out` with the low base-62 digits of `n`, most significant first.
fn base62(mut n: u128, out: &mut [u8]) {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for slot in out.iter_mut().rev() {
        *slot = DIGITS[usize::try_from(n % 62).expect("below 62")];
        n /= 62;
    }
}

fn minute(what: &'static str, raw: &[u8; 32]) -> Result<Timestamp, InvalidId> {
    let mut text = *b"0000-00-00T00:00:00.000Z";
    text[0..4].copy_from_slice(&raw[9..13]);
    text[5..7].copy_from_slice(&raw[13..15]);
    text[8..10].copy_from_slice(&raw[15..17]);
    text[11..13].copy_from_slice(&raw[17..19]);
    text[14..16].copy_from_slice(&raw[19..21]);
    Timestamp::parse(&text).map_err(|_| InvalidId::Minute { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_official_examples_parse() {
        let e2e = EndToEndId::parse(b"E9999901012341234123412345678900");
        assert!(
            e2e.is_ok(),
            "the sample's month 12, day 34 holds the pattern: {e2e:?}"
        );
        assert_eq!(
            e2e.expect("parsed").minute(),
            Err(InvalidId::Minute { what: "EndToEndId" }),
            "but it is no instant"
        );
        assert!(MsgId::parse(b"M0003816612345678901234567890123").is_ok());
    }

    #[test]
    fn ids_we_build_parse_and_carry_their_parts() {
        let bank = Ispb::parse(b"1234567A").expect("valid");
        let at = Timestamp::parse(b"2026-11-21T23:59:58.123Z").expect("valid");
        let e2e = EndToEndId::new(bank, at, u128::MAX);
        assert_eq!(EndToEndId::parse(e2e.as_bytes()), Ok(e2e));
        assert_eq!(e2e.agent(), bank);
        assert_eq!(
            e2e.minute().expect("real").to_string(),
            "2026-11-21T23:59:00.000Z"
        );
        assert_eq!(e2e.month().expect("real").get(), 202_611);
        let msg = MsgId::new(bank, 7);
        assert_eq!(MsgId::parse(msg.as_bytes()), Ok(msg));
        assert_eq!(msg.sender(), bank);
    }

    #[test]
    fn the_schema_slip_that_admits_a_bar_is_refused() {
        assert_eq!(
            InstructionId::parse(b"|9999901012341234123412345678900"),
            Err(InvalidId::Character {
                what: "InstrId",
                index: 0
            })
        );
    }

    #[test]
    fn resource_ids_look_like_the_real_ones_and_round_trip() {
        let id = ResourceId::new([0xA5; 21]);
        let wire = id.to_string();
        assert!(wire.starts_with("UEkB"), "{wire}");
        assert_eq!(ResourceId::parse(wire.as_bytes()), Ok(id));
        assert!(ResourceId::parse(b"UEkBbgR78VqKK/uvuq9O0r9bqXyBH9Ur").is_ok());
    }

    #[test]
    fn months_roll_over() {
        let dec = Month(202_612);
        assert_eq!((dec.next().get(), dec.next().previous()), (202_701, dec));
    }
}
