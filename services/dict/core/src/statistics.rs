//! Windows of the anti-fraud counters (DICT API, tag Antifraud).
//!
//! Days and months are those of Brasília, three hours behind UTC since there is no summer time (Decreto 9.772/2019).

use std::time::Duration;

use pix_domain::Timestamp;

const BRASILIA_BEHIND: Duration = Duration::from_secs(3 * 3600);
const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

/// A day in Brasília, counted from 1 January 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(i32);

impl Day {
    /// The day that `at` falls in.
    ///
    /// # Panics
    /// Some millions of years from now.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        let days = at.minus(BRASILIA_BEHIND).as_micros().div_euclid(DAY_MICROS);
        Self(i32::try_from(days).expect("a day of this era"))
    }

    /// Days since 1 January 1970.
    #[must_use]
    pub fn get(self) -> i32 {
        self.0
    }

    /// When it begins.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp::from_micros(i64::from(self.0) * DAY_MICROS).plus(BRASILIA_BEHIND)
    }
}

/// Where the windows begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// First day of d90, which ends now: the 89 days before today, and today.
    pub d90_from: Day,
    /// First day of m12, which ends with the last month.
    pub m12_from: Day,
    /// First day of m60, likewise.
    pub m60_from: Day,
    /// First day of this month, which m12 and m60 leave out.
    pub month: Day,
}

impl Windows {
    /// The windows at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        let today = Day::of(now);
        let (year, month, _) = now.minus(BRASILIA_BEHIND).date();
        let begins = |years_before| first_of_month(i64::from(year) - years_before, i64::from(month));
        Self {
            d90_from: Day(today.0 - 89),
            m12_from: begins(1),
            m60_from: begins(5),
            month: begins(0),
        }
    }
}

/// The first of a month, by the civil calendar (the year taken to begin in March, so that leap days end it).
fn first_of_month(year: i64, month: i64) -> Day {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let of_year = (153 * month + 2) / 5;
    let since_march_of_year_0 = 365 * year + leap_days + of_year;
    Day(i32::try_from(since_march_of_year_0 - 719_468).expect("a day of this era"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(wire: &str) -> Timestamp {
        Timestamp::parse(wire.as_bytes()).expect(wire)
    }

    #[test]
    fn the_documents_example() {
        let windows = Windows::at(at("2023-11-17T17:00:00.000Z"));
        assert_eq!(windows.d90_from.start(), at("2023-08-20T03:00:00.000Z"));
        assert_eq!(windows.m12_from.start(), at("2022-11-01T03:00:00.000Z"));
        assert_eq!(windows.m60_from.start(), at("2018-11-01T03:00:00.000Z"));
        assert_eq!(windows.month.start(), at("2023-11-01T03:00:00.000Z"));
    }

    #[test]
    fn a_day_begins_at_three_utc() {
        let before = Day::of(at("2026-03-01T02:59:59.999Z"));
        let after = Day::of(at("2026-03-01T03:00:00.000Z"));
        assert_eq!(after.get() - before.get(), 1);
        assert_eq!(
            Windows::at(at("2026-03-01T02:59:59.999Z")).month.start(),
            at("2026-02-01T03:00:00.000Z"),
            "still February"
        );
    }

    proptest! {
        #[test]
        fn months_begin_on_their_first(micros in 0_i64..6_000_000_000_000_000) {
            let now = Timestamp::from_micros(micros);
            let windows = Windows::at(now);
            let local = |day: Day| day.start().minus(BRASILIA_BEHIND).date();
            let (year, month, _) = now.minus(BRASILIA_BEHIND).date();
            prop_assert_eq!(local(windows.month), (year, month, 1));
            prop_assert_eq!(local(windows.m12_from), (year - 1, month, 1));
            prop_assert_eq!(local(windows.m60_from), (year - 5, month, 1));
            prop_assert!(windows.month <= Day::of(now));
            prop_assert!(Day::of(now).start() <= now && now < Day(Day::of(now).get() + 1).start());
        }
    }
}
