//! When a process that ended is started again.

use std::time::Duration;

/// The first restart comes at once: a kill costs the payments in flight as little as possible.
const FIRST: Duration = Duration::from_millis(20);
/// The second one, from which waits double.
const SECOND: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);
/// A process that stayed up this long has recovered: its next end counts as the first again.
const RECOVERED: Duration = Duration::from_secs(20);

/// Waits between the end of a process and its next start.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// How many times in a row it ended soon after its start.
    early_ends: u32,
}

impl Backoff {
    /// The wait after an end that came `uptime` after the start.
    pub(crate) fn wait_after(&mut self, uptime: Duration) -> Duration {
        if uptime >= RECOVERED {
            self.early_ends = 0;
        }
        let wait = match self.early_ends {
            0 => FIRST,
            n => SECOND.saturating_mul(1 << (n - 1).min(16)).min(LONGEST),
        };
        self.early_ends = self.early_ends.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(5);

    #[test]
    fn the_first_restart_comes_within_100_ms_then_waits_double_up_to_a_cap() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..9).map(|_| backoff.wait_after(SOON).as_millis()).collect();
        assert_eq!(waits, [20, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert!(FIRST < Duration::from_millis(100));
    }

    #[test]
    fn a_process_that_stayed_up_starts_over() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.wait_after(SOON);
        }
        assert_eq!(backoff.wait_after(RECOVERED), FIRST);
        assert_eq!(backoff.wait_after(SOON), SECOND);
        assert_eq!(backoff.early_ends, 2);
    }

    #[test]
    fn a_thousand_ends_do_not_overflow() {
        let mut backoff = Backoff::default();
        for _ in 0..1000 {
            assert!(backoff.wait_after(SOON) <= LONGEST);
        }
    }
}
