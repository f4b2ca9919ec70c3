//! How many operations a participant may send: one token bucket per participant and channel (ICOM manual).
//!
//! An operation costs one token, in a pacs.002 a fifth. What a message costs is known once it has been read, so the
//! bucket is charged while the message is processed and may go below zero; while it is empty nothing is read.

use std::time::Duration;

use pix_domain::Timestamp;

use crate::outgoing::Channel;

/// Units of one token: an operation of a pacs.002 costs a fifth of it.
pub const UNITS: i64 = 5;

/// Size and refill of a bucket, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that fit.
    pub capacity: u32,
    /// Tokens a second.
    pub per_second: u32,
}

/// The buckets of a participant: values of the Central Bank unless configured otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Primary channel, always.
    pub primary: Rate,
    /// Secondary channel, 08:00 to 23:59:59 in Brasília.
    pub secondary_by_day: Rate,
    /// Secondary channel, 00:00 to 07:59:59.
    pub secondary_by_night: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        let rate = |capacity, per_second| Rate { capacity, per_second };
        Self {
            primary: rate(3750, 750),
            secondary_by_day: rate(350, 35),
            secondary_by_night: rate(5000, 350),
        }
    }
}

/// Brasília is three hours behind UTC, all year.
const BRASILIA_BEHIND: Duration = Duration::from_secs(3 * 3600);
const MICROS_PER_DAY: i64 = 86_400_000_000;
const DAY_BEGINS: i64 = 8 * 3_600_000_000;

impl Rates {
    /// The rate of a channel at an instant.
    #[must_use]
    pub fn at(&self, channel: Channel, now: Timestamp) -> Rate {
        let time_of_day = now.minus(BRASILIA_BEHIND).as_micros().rem_euclid(MICROS_PER_DAY);
        match channel {
            Channel::Primary => self.primary,
            Channel::Secondary if time_of_day < DAY_BEGINS => self.secondary_by_night,
            Channel::Secondary => self.secondary_by_day,
        }
    }
}

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// In millionths of a unit, so that a microsecond's refill is whole.
    level: i64,
    at: Timestamp,
}

const MICRO: i64 = 1_000_000;

impl Allowance {
    /// A full bucket.
    #[must_use]
    pub fn full(rate: Rate, now: Timestamp) -> Self {
        Self {
            level: full(rate),
            at: now,
        }
    }

    /// Nothing while the bucket is above zero; else how long until it is.
    ///
    /// # Errors
    /// The wait.
    pub fn admits(&mut self, rate: Rate, now: Timestamp) -> Result<(), Duration> {
        self.refill(rate, now);
        if self.level > 0 {
            return Ok(());
        }
        let per_micro = i64::from(rate.per_second.max(1)) * UNITS;
        let micros = (per_micro - self.level) / per_micro;
        Err(Duration::from_micros(micros.unsigned_abs()))
    }

    /// Takes what a message costs, in units.
    pub fn charge(&mut self, units: i64) {
        self.level -= units.saturating_mul(MICRO);
    }

    fn refill(&mut self, rate: Rate, now: Timestamp) {
        let elapsed = i64::try_from(now.since(self.at).as_micros()).unwrap_or(i64::MAX);
        let refilled = elapsed.saturating_mul(i64::from(rate.per_second) * UNITS);
        // The capacity may have become smaller, at 08:00.
        self.level = self.level.saturating_add(refilled).min(full(rate));
        self.at = self.at.max(now);
    }
}

fn full(rate: Rate) -> i64 {
    i64::from(rate.capacity) * UNITS * MICRO
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_micros(ms * 1000)
    }

    const RATE: Rate = Rate {
        capacity: 10,
        per_second: 5,
    };

    #[test]
    fn a_bucket_goes_below_zero_once_and_fills_again() {
        let mut bucket = Allowance::full(RATE, at(0));
        assert_eq!(bucket.admits(RATE, at(0)), Ok(()));
        bucket.charge(20 * UNITS);
        let wait = bucket.admits(RATE, at(0)).expect_err("ten below");
        assert!(
            wait > Duration::from_secs(2) && wait < Duration::from_millis(2_001),
            "{wait:?}"
        );
        assert!(bucket.admits(RATE, at(1_999)).is_err());
        assert_eq!(bucket.admits(RATE, at(2_001)), Ok(()));
        assert_eq!(bucket.admits(RATE, at(1_000_000)), Ok(()));
        bucket.charge(10 * UNITS);
        assert!(
            bucket.admits(RATE, at(1_000_000)).is_err(),
            "it never holds more than its capacity"
        );
    }

    #[test]
    fn five_answers_cost_as_much_as_one_order() {
        let mut bucket = Allowance::full(RATE, at(0));
        for _ in 0..50 {
            assert_eq!(bucket.admits(RATE, at(0)), Ok(()));
            bucket.charge(1);
        }
        assert!(bucket.admits(RATE, at(0)).is_err());
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut bucket = Allowance::full(RATE, at(10_000));
        bucket.charge(10 * UNITS);
        assert!(bucket.admits(RATE, at(0)).is_err());
        assert!(bucket.admits(RATE, at(10_000)).is_err());
        assert_eq!(bucket.admits(RATE, at(10_001)), Ok(()));
    }

    #[test]
    fn the_secondary_channel_is_wide_at_night_in_brasilia() {
        let rates = Rates::default();
        let hour = |utc: i64| rates.at(Channel::Secondary, at(utc * 3_600_000)).capacity;
        assert_eq!((hour(2), hour(3), hour(10), hour(11)), (350, 5000, 5000, 350));
        assert_eq!(rates.at(Channel::Primary, at(0)).capacity, 3750);
    }
}
