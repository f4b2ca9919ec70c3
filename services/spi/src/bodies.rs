//! Bytes of formed messages, kept in memory until they are read, within a budget.
//!
//! Whatever does not fit is read from its table when it is asked for, so a participant that does not read
//! costs the others no memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use spi_core::streams::Delivery;
use sqlx::PgPool;

use crate::adapters::pg::StoreError;
use crate::adapters::pg_delivery;

/// Octets of messages kept in memory.
const BUDGET_BYTES: usize = 64 * 1024 * 1024;

#[derive(Default)]
struct Kept {
    bytes: BTreeMap<i64, Bytes>,
    total: usize,
}

/// The cache; clones share it.
#[derive(Clone)]
pub(crate) struct Bodies {
    kept: Arc<Mutex<Kept>>,
    pool: PgPool,
}

impl Bodies {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self {
            kept: Arc::default(),
            pool,
        }
    }

    /// Keeps a message; when the budget is spent, the oldest go, which are those that nobody comes to read.
    pub(crate) fn insert(&self, id: i64, bytes: Bytes) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.total += bytes.len();
        kept.bytes.insert(id, bytes);
        while kept.total > BUDGET_BYTES {
            let Some((_, oldest)) = kept.bytes.pop_first() else {
                break;
            };
            kept.total -= oldest.len();
        }
    }

    /// Forgets a message that was read.
    pub(crate) fn remove(&self, id: i64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = kept.bytes.remove(&id) {
            kept.total -= bytes.len();
        }
    }

    /// The bytes of a batch, in its order.
    ///
    /// # Errors
    /// When the table cannot be read, or has not what was committed.
    pub(crate) async fn of(&self, batch: &[Delivery]) -> Result<Vec<Bytes>, StoreError> {
        let mut found: HashMap<i64, Bytes> = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            batch
                .iter()
                .filter_map(|d| Some((d.id, kept.bytes.get(&d.id)?.clone())))
                .collect()
        };
        let missing: Vec<_> = batch
            .iter()
            .filter(|d| !found.contains_key(&d.id))
            .copied()
            .collect();
        if !missing.is_empty() {
            found.extend(pg_delivery::bodies(&self.pool, &missing).await?);
        }
        let lost = |d: &Delivery| StoreError::Corrupt {
            table: "delivery",
            what: format!("message {} is not there", d.resource_id),
        };
        batch
            .iter()
            .map(|d| found.remove(&d.id).ok_or_else(|| lost(d)))
            .collect()
    }
}
