//! How often each unconfirmed message was handed to its reader, for whoever asks where a payment is.
//!
//! Kept by this process and written with the confirmation: a restart forgets what was handed over before it, which
//! costs a line in an answer to an operator and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pix_domain::Timestamp;
use spi_core::streams::Delivery;

/// By number of the message. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct HandedOver(Arc<Mutex<HashMap<i64, Times>>>);

/// How often, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) first_at: Timestamp,
    pub(crate) attempts: i32,
}

impl HandedOver {
    /// One answer left with these messages.
    pub(crate) fn note(&self, deliveries: &[Delivery], now: Timestamp) {
        if deliveries.is_empty() {
            return;
        }
        let mut all = self.all();
        for delivery in deliveries {
            let times = all.entry(delivery.id).or_insert(Times {
                first_at: now,
                attempts: 0,
            });
            times.attempts = times.attempts.saturating_add(1);
        }
    }

    /// What is known of a message that is not confirmed.
    pub(crate) fn of(&self, id: i64) -> Option<Times> {
        self.all().get(&id).copied()
    }

    /// A message that is confirmed needs no counting any more.
    pub(crate) fn forget(&self, id: i64) {
        self.all().remove(&id);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<i64, Times>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use pix_domain::ResourceId;

    use super::*;

    #[test]
    fn a_message_is_counted_until_it_is_confirmed() {
        let at = Timestamp::from_micros;
        let delivery = Delivery {
            id: 7,
            resource_id: ResourceId::from_bytes([1; 24]),
            formed_at: at(1),
        };
        let handed = HandedOver::default();
        assert_eq!(handed.of(7), None);
        handed.note(&[delivery], at(10));
        handed.note(&[delivery], at(20));
        let times = Times {
            first_at: at(10),
            attempts: 2,
        };
        assert_eq!(handed.of(7), Some(times));
        handed.forget(7);
        assert_eq!(handed.of(7), None);
    }
}
