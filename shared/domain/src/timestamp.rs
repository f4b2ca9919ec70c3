//! Instants, UTC.

use std::fmt;
use std::time::Duration;

use time::{Date, OffsetDateTime};

/// An instant in UTC, in microseconds since 1970. On the wire: exactly three fractional digits and `Z`.
///
/// Rule: XSD `ISONormalisedDateTime`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// Why characters are not `YYYY-MM-DDThh:mm:ss.sssZ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTimestamp {
    /// The pattern does not hold.
    #[error("a time is written YYYY-MM-DDThh:mm:ss.sssZ")]
    Pattern,
    /// The pattern holds, the calendar does not.
    #[error("there is no such instant")]
    Calendar,
}

impl Timestamp {
    /// Length on the wire, in characters.
    pub const WIRE_LEN: usize = 24;

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`InvalidTimestamp`] by pattern or calendar.
    pub fn parse(wire: &[u8]) -> Result<Self, InvalidTimestamp> {
        const SHAPE: &[u8; 24] = b"dddd-dd-ddTdd:dd:dd.dddZ";
        let holds = wire.len() == SHAPE.len()
            && wire
                .iter()
                .zip(SHAPE)
                .all(|(b, s)| if *s == b'd' { b.is_ascii_digit() } else { b == s });
        if !holds {
            return Err(InvalidTimestamp::Pattern);
        }
        let n = |from: usize, to: usize| {
            wire[from..to]
                .iter()
                .fold(0_u16, |n, b| n * 10 + u16::from(b - b'0'))
        };
        let small = |from, to| u8::try_from(n(from, to)).map_err(|_| InvalidTimestamp::Calendar);
        let date = small(5, 7)
            .ok()
            .and_then(|m| time::Month::try_from(m).ok())
            .and_then(|m| Date::from_calendar_date(i32::from(n(0, 4)), m, small(8, 10).ok()?).ok())
            .ok_or(InvalidTimestamp::Calendar)?;
        let at = date
            .with_hms_milli(small(11, 13)?, small(14, 16)?, small(17, 19)?, n(20, 23))
            .map_err(|_| InvalidTimestamp::Calendar)?;
        Ok(Self::from(at.assume_utc()))
    }

    /// From microseconds since 1970.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The same instant without its microseconds, as the wire can carry it.
    #[must_use]
    pub const fn to_millis(self) -> Self {
        Self(self.0.div_euclid(1000) * 1000)
    }

    /// `self + span`, stopping at the end of time instead of wrapping.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// `self - span`, stopping at the beginning of time instead of wrapping.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Year, month (1..=12) and day, UTC.
    #[must_use]
    pub fn date(self) -> (i32, u8, u8) {
        let at = OffsetDateTime::from(self);
        (at.year(), u8::from(at.month()), at.day())
    }

    /// The date as `YYYY-MM-DD`, UTC.
    #[must_use]
    pub fn date_text(self) -> String {
        let (year, month, day) = self.date();
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// `yyyyMMddHHmm`.
    pub(crate) fn minute_digits(self) -> [u8; 12] {
        let at = OffsetDateTime::from(self);
        let (year, month, day) = self.date();
        let text = format!("{year:04}{month:02}{day:02}{:02}{:02}", at.hour(), at.minute());
        text.into_bytes()
            .try_into()
            .expect("years have four digits until 9999")
    }

    /// The 24 characters of the wire form.
    #[must_use]
    pub fn to_wire(self) -> [u8; 24] {
        let at = OffsetDateTime::from(self);
        let (year, month, day) = self.date();
        let (hour, minute, second, milli) = at.to_hms_milli();
        let mut out = *b"0000-00-00T00:00:00.000Z";
        let mut put = |from: usize, to: usize, mut n: u32| {
            for slot in out[from..to].iter_mut().rev() {
                *slot = b'0' + u8::try_from(n % 10).expect("below 10");
                n /= 10;
            }
        };
        put(0, 4, u32::try_from(year.clamp(0, 9999)).expect("clamped"));
        put(5, 7, u32::from(month));
        put(8, 10, u32::from(day));
        put(11, 13, u32::from(hour));
        put(14, 16, u32::from(minute));
        put(17, 19, u32::from(second));
        put(20, 23, u32::from(milli));
        out
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(at: OffsetDateTime) -> Self {
        let micros = at.unix_timestamp_nanos() / 1000;
        Self(i64::try_from(micros).expect("years -9999..=9999 fit 63 bits of microseconds"))
    }
}

impl From<Timestamp> for OffsetDateTime {
    fn from(at: Timestamp) -> Self {
        let nanos = i128::from(at.0) * 1000;
        Self::from_unix_timestamp_nanos(nanos).unwrap_or(Self::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.to_wire()).expect("ASCII"))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_round_trips() {
        for wire in [
            "2020-01-01T08:30:12.000Z",
            "2026-02-28T23:59:59.999Z",
            "1969-12-31T23:59:59.001Z",
        ] {
            assert_eq!(Timestamp::parse(wire.as_bytes()).expect(wire).to_string(), wire);
        }
    }

    #[test]
    fn wrong_shapes_and_dates_that_do_not_exist_are_told_apart() {
        use InvalidTimestamp::{Calendar, Pattern};
        for (wire, why) in [
            ("2020-01-01T08:30:12Z", Pattern),
            ("2020-01-01T08:30:12.000+00:00", Pattern),
            ("2020-02-30T08:30:12.000Z", Calendar),
            ("2020-13-01T08:30:12.000Z", Calendar),
            ("2020-01-01T24:30:12.000Z", Calendar),
        ] {
            assert_eq!(Timestamp::parse(wire.as_bytes()), Err(why), "{wire}");
        }
    }
}
