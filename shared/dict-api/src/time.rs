//! Date and time as participants may write it.

use std::ops::Range;
use std::time::Duration;

use pix_domain::Timestamp;

/// Years 0001 to 9999, in microseconds since 1970: four digits write no others, and there is no year 0.
const YEARS: Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;

/// Reads a `date-time` of RFC 3339: any fraction or none, `Z` or an offset. Only milliseconds are kept, because
/// that is what is written again.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let (seconds, rest) = text.split_at_checked(19)?;
    let (milliseconds, zone) = fraction(rest)?;
    let local = Timestamp::parse(format!("{seconds}.{milliseconds}Z").as_bytes()).ok()?;
    let at = match zone {
        "Z" => local,
        _ => match (zone.split_at_checked(1)?, offset(zone.get(1..)?)?) {
            (("+", _), ahead) => local.minus(ahead),
            (("-", _), behind) => local.plus(behind),
            _ => return None,
        },
    };
    YEARS.contains(&at.as_micros()).then_some(at)
}

/// The first three digits after the point, and what follows all of them.
fn fraction(rest: &str) -> Option<(String, &str)> {
    let Some(rest) = rest.strip_prefix('.') else {
        return Some(("000".to_owned(), rest));
    };
    let end = rest.bytes().position(|b| !b.is_ascii_digit())?;
    (end > 0).then(|| (format!("{:0<3.3}", &rest[..end]), &rest[end..]))
}

/// `03:00`
fn offset(text: &str) -> Option<Duration> {
    let [h1, h2, b':', m1, m2] = *text.as_bytes() else {
        return None;
    };
    let number = |tens: u8, ones: u8| {
        let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
        digits.then(|| u64::from(tens - b'0') * 10 + u64::from(ones - b'0'))
    };
    let (hours, minutes) = (number(h1, h2)?, number(m1, m2)?);
    (hours < 24 && minutes < 60).then(|| Duration::from_secs(hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn every_form_of_an_instant_is_the_same_instant() {
        for text in [
            "2010-01-10T03:00:00Z",
            "2010-01-10T03:00:00.0Z",
            "2010-01-10T03:00:00.000Z",
            "2010-01-10T03:00:00.000999999Z",
            "2010-01-10T00:00:00-03:00",
            "2010-01-10T05:30:00.000+02:30",
        ] {
            let at = parse(text).expect(text);
            assert_eq!(at.to_string(), "2010-01-10T03:00:00.000Z", "{text}");
        }
        let fraction = parse("2010-01-10T03:00:00.5Z").expect("half a second");
        assert_eq!(fraction.to_string(), "2010-01-10T03:00:00.500Z");
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "2010-01-10",
            "2010-01-10T03:00:00",
            "2010-01-10T03:00:00.Z",
            "2010-01-10T03:00:00.",
            "2010-01-10T03:00:00z",
            "2010-01-10 03:00:00Z",
            "2010-02-30T03:00:00Z",
            "2010-01-10T24:00:00Z",
            "2010-01-10T03:00:00+24:00",
            "2010-01-10T03:00:00+0300",
            "2010-01-10T03:00:00 03:00",
            "2010-01-10T03:00:00Z ",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-00:01",
            "0000-01-10T03:00:00Z",
            "2010-01-10T03:00:0çZ",
            "2010-01-10T03:00:00ç",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
