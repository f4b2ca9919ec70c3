//! How long to wait before trying again.

use std::time::Duration;

use pix_runtime::{Ids, Stopping};

/// The first pause.
const FIRST: Duration = Duration::from_millis(50);
/// The longest pause that we choose ourselves.
const LONGEST: Duration = Duration::from_secs(5);
/// The longest pause that the other side may ask for.
const ASKED_MAX: Duration = Duration::from_secs(60);

/// Doubles the pause up to a limit; each between half of it and all of it, so that clients drift apart.
pub(crate) struct Backoff {
    ids: Ids,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(ids: Ids) -> Self {
        Self { ids, next: FIRST }
    }

    /// All is well again.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// How long to wait now: what the other side asked for, or our own next pause.
    pub(crate) fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let [chance] = self.ids.bytes::<1>();
        let own = self.next / 2 + self.next / 2 * u32::from(chance) / 255;
        self.next = (self.next * 2).min(LONGEST);
        asked.map_or(own, |asked| asked.min(ASKED_MAX).max(own))
    }

    /// Waits; false when the stop came first.
    pub(crate) async fn wait(&mut self, asked: Option<Duration>, stopping: &Stopping) -> bool {
        let pause = self.pause(asked);
        tokio::select! {
            () = stopping.stopped() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_obey_the_other_side_within_reason() {
        let mut backoff = Backoff::new(Ids::seeded(1));
        let first = backoff.pause(None);
        assert!(first >= FIRST / 2 && first <= FIRST, "{first:?}");
        for _ in 0..20 {
            assert!(backoff.pause(None) <= LONGEST);
        }
        assert!(backoff.pause(None) >= LONGEST / 2);
        backoff.reset();
        assert_eq!(
            backoff.pause(Some(Duration::from_secs(7))),
            Duration::from_secs(7)
        );
        assert_eq!(backoff.pause(Some(Duration::from_secs(3600))), ASKED_MAX);
    }
}
