//! What becomes of messages on their way to the switch, for whoever asks where a payment is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pix_domain::MsgId;

/// Attempts that failed so far, by message. Kept by this process alone: a restart counts from zero again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trying(Arc<Mutex<HashMap<MsgId, Failed>>>);

/// How often, and why the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) attempts: i32,
    pub(crate) why: String,
}

impl Trying {
    /// An attempt failed.
    pub(crate) fn failed(&self, id: MsgId, attempts: i32, why: &str) {
        let why = why.to_owned();
        self.with(|all| all.insert(id, Failed { attempts, why }));
    }

    pub(crate) fn of(&self, id: MsgId) -> Option<Failed> {
        self.with(|all| all.get(&id).cloned())
    }

    /// It has come to its end.
    pub(crate) fn ended(&self, id: MsgId) {
        self.with(|all| all.remove(&id));
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<MsgId, Failed>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_failure_is_known_until_the_end() {
        let id = MsgId::parse(b"M1111111100000000000000000000001").expect("an id");
        let trying = Trying::default();
        trying.failed(id, 1, "HTTP 503");
        trying.failed(id, 2, "nobody answers");
        let failed = trying.of(id).expect("it failed");
        assert_eq!((failed.attempts, failed.why.as_str()), (2, "nobody answers"));
        trying.ended(id);
        assert_eq!(trying.of(id), None);
    }
}
