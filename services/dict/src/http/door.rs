//! How many requests are under way: what waits for a processor or the store is bounded, and shared out.

use std::sync::Arc;

use pix_domain::Ispb;
use pix_runtime::Shares;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Refusal;

/// Requests of all participants at once. Each waits for one signature at a time, so that it is the longest queue for
/// those, too.
const REQUESTS_MAX: usize = 1024;
/// Requests of one participant at once: as many as a processor signs in a few tenths of a second.
const REQUESTS_OF_ONE_MAX: usize = 128;

/// Lets requests in; clones are one.
#[derive(Clone)]
pub(crate) struct Door {
    all: Arc<Semaphore>,
    of_one: Shares<REQUESTS_OF_ONE_MAX>,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(REQUESTS_MAX)),
            of_one: Shares::default(),
        }
    }
}

/// The place of one request, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _of_one: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Door {
    /// A place for a request of `participant`.
    pub(super) fn enter(&self, participant: Ispb) -> Result<Place, Refusal> {
        let refuse = |why: &'static str, detail: &str| {
            metrics::counter!("dict_turned_away_total", "why" => why).increment(1);
            Refusal::busy(detail)
        };
        let of_one = self.of_one.take(participant, 1);
        let of_one =
            of_one.ok_or_else(|| refuse("share", "the participant has too many requests under way"))?;
        let of_all = Arc::clone(&self.all).try_acquire_owned();
        let of_all = of_all.map_err(|_| refuse("full", "too many requests are under way"))?;
        Ok(Place {
            _of_one: of_one,
            _of_all: of_all,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ispb(number: usize) -> Ispb {
        Ispb::parse(format!("{number:08}").as_bytes()).expect("an ISPB")
    }

    #[test]
    fn one_participant_fills_its_share_and_all_of_them_fill_the_house() {
        let door = Door::default();
        let mut places: Vec<Place> = Vec::new();
        for participant in 0..REQUESTS_MAX / REQUESTS_OF_ONE_MAX {
            for _ in 0..REQUESTS_OF_ONE_MAX {
                places.push(door.enter(ispb(participant)).expect("a place"));
            }
            let refusal = door.enter(ispb(participant)).expect_err("its share is taken");
            assert_eq!(refusal.kind, pix_dict_api::ProblemKind::ServiceUnavailable);
        }
        assert!(door.enter(ispb(99)).is_err(), "the house is full");
        places.pop();
        assert!(door.enter(ispb(99)).is_ok(), "a place that was given back");
    }
}
