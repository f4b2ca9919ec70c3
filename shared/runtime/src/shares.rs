//! No participant takes alone what all of them share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pix_domain::Ispb;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many places for each participant; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Shares<const PLACES: usize>(Arc<Mutex<HashMap<Ispb, Arc<Semaphore>>>>);

impl<const PLACES: usize> Shares<PLACES> {
    /// So many places at once, given back when they are dropped; `None` when the participant has not as many left.
    #[must_use]
    pub fn take(&self, participant: Ispb, places: usize) -> Option<OwnedSemaphorePermit> {
        let places = u32::try_from(places).ok()?;
        self.of(participant).try_acquire_many_owned(places).ok()
    }

    /// One place, when the participant has one left; those who wait are served in order.
    ///
    /// # Panics
    /// Never: no share is closed.
    pub async fn wait(&self, participant: Ispb) -> OwnedSemaphorePermit {
        let share = self.of(participant);
        share.acquire_owned().await.expect("never closed")
    }

    fn of(&self, participant: Ispb) -> Arc<Semaphore> {
        let mut shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let share = shares
            .entry(participant)
            .or_insert_with(|| Arc::new(Semaphore::new(PLACES)));
        Arc::clone(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_participant_with_all_its_places_taken_leaves_the_others_theirs() {
        let [a, b] = [b"11111111", b"22222222"].map(|ispb| Ispb::parse(ispb).expect("valid"));
        let shares = Shares::<3>::default();
        let mut taken: Vec<_> = (0..3).map(|_| shares.take(a, 1).expect("a place")).collect();
        assert!(shares.take(a, 1).is_none());
        assert!(shares.take(b, 4).is_none(), "more than a share");
        drop(shares.wait(b).await);
        taken.pop();
        assert!(shares.take(a, 1).is_some(), "a place that was given back");
    }
}
