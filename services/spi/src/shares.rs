//! No participant fills the book's queue alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pix_domain::Ispb;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::book::QUEUE_MAX;

/// Messages of one participant under way at once, from the first byte read to the 201: a quarter of the
/// book's queue, so that one that floods it leaves room for the others.
pub(crate) const POSTS_MAX: usize = QUEUE_MAX / 4;

/// The shares of all participants; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Shares(Arc<Mutex<HashMap<Ispb, Arc<Semaphore>>>>);

impl Shares {
    /// Places for so many messages, given back when they are dropped; `None` when the participant has not as many
    /// left.
    pub(crate) fn take(&self, participant: Ispb, messages: usize) -> Option<OwnedSemaphorePermit> {
        let mut shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let share = shares
            .entry(participant)
            .or_insert_with(|| Arc::new(Semaphore::new(POSTS_MAX)));
        let places = u32::try_from(messages).ok()?;
        Arc::clone(share).try_acquire_many_owned(places).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_participant_with_all_its_places_taken_leaves_the_others_theirs() {
        let [a, b] = [b"11111111", b"22222222"].map(|ispb| Ispb::parse(ispb).expect("valid"));
        let shares = Shares::default();
        let mut taken: Vec<_> = (0..POSTS_MAX)
            .map(|_| shares.take(a, 1).expect("a place"))
            .collect();
        assert!(shares.take(a, 1).is_none());
        assert!(shares.take(b, 1).is_some());
        taken.pop();
        assert!(shares.take(a, 1).is_some(), "a place that was given back");
    }
}
