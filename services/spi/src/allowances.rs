//! The buckets of all participants, as the ICOM manual limits what they send.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pix_domain::Timestamp;
use spi_core::allowance::{Allowance, Rates};
use spi_core::outgoing::Mailbox;

/// One bucket per participant and channel; clones share them. In this process only: they begin full after a restart.
#[derive(Clone)]
pub(crate) struct Allowances {
    rates: Rates,
    buckets: Arc<Mutex<HashMap<Mailbox, Allowance>>>,
}

impl Allowances {
    pub(crate) fn new(rates: Rates) -> Self {
        Self {
            rates,
            buckets: Arc::default(),
        }
    }

    /// Whether the participant may send; else how long it has to wait.
    pub(crate) fn admit(&self, mailbox: Mailbox, now: Timestamp) -> Result<(), Duration> {
        let rate = self.rates.at(mailbox.channel, now);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets
            .entry(mailbox)
            .or_insert_with(|| Allowance::full(rate, now));
        bucket.admits(rate, now)
    }

    /// Takes what a message cost, in units.
    pub(crate) fn charge(&self, mailbox: Mailbox, units: i64, now: Timestamp) {
        let rate = self.rates.at(mailbox.channel, now);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets
            .entry(mailbox)
            .or_insert_with(|| Allowance::full(rate, now));
        bucket.charge(units);
    }
}
