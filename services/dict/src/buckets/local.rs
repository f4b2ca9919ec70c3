//! What the process itself knows of levels: the last that Redis told, and what happened while Redis was away.

use std::collections::HashMap;
use std::hash::Hash;

use dict_core::buckets::{Level, Rate};
use pix_domain::{EndToEndId, TaxId};

use super::Bucket;

/// Entries of one age; with those of the age before, twice as many are kept. A level has about 150 octets.
const ENTRIES_MAX: usize = 100_000;

/// Forgets what was not touched for longest: when the young age is full, it becomes the old one.
struct Ages<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    max: usize,
}

impl<K: Hash + Eq + Copy, V> Ages<K, V> {
    fn new(max: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            max,
        }
    }

    /// The entry, made by `make` when there is none; young from now on.
    fn touch(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if !self.young.contains_key(&key) {
            let value = self.old.remove(&key).unwrap_or_else(make);
            if self.young.len() >= self.max {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(key, value);
        }
        self.young.get_mut(&key).expect("just inserted")
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let Self { young, old, .. } = self;
        young.get_mut(key).or_else(|| old.get_mut(key))
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.young.iter_mut().chain(&mut self.old)
    }
}

struct Known {
    rate: Rate,
    level: Level,
    /// Tokens in `level` that Redis has not been told of.
    pending: i64,
}

/// A credit that an order of payment brings once.
struct Noted {
    payer: TaxId,
    bucket: Bucket,
    rate: Rate,
    credit: i64,
    spent: bool,
}

/// Levels and lookups in the process.
pub(super) struct Local {
    levels: Ages<Bucket, Known>,
    lookups: Ages<EndToEndId, Vec<Noted>>,
    /// Since when levels that are not known are lost; 0 when there never were any, and they are full.
    lost_since_ms: i64,
}

impl Local {
    pub(super) fn new(lost_since_ms: i64) -> Self {
        Self {
            levels: Ages::new(ENTRIES_MAX),
            lookups: Ages::new(ENTRIES_MAX),
            lost_since_ms,
        }
    }

    /// From `now_ms` on the process is on its own: what it does not know may be anything.
    pub(super) fn lost(&mut self, now_ms: i64) {
        self.lost_since_ms = now_ms;
    }

    /// The level now.
    pub(super) fn level(&mut self, bucket: Bucket, rate: Rate, now_ms: i64) -> Level {
        self.known(bucket, rate, now_ms).level
    }

    fn known(&mut self, bucket: Bucket, rate: Rate, now_ms: i64) -> &mut Known {
        let lost_since_ms = self.lost_since_ms;
        let known = self.levels.touch(bucket, || Known {
            rate,
            level: Level::unknown(rate, lost_since_ms),
            pending: 0,
        });
        known.rate = rate; // the category may be another
        known.level = known.level.refilled(rate, now_ms);
        known
    }

    /// Adds tokens of which Redis knows nothing.
    pub(super) fn change(&mut self, bucket: Bucket, rate: Rate, tokens: i64, now_ms: i64) -> Level {
        let known = self.known(bucket, rate, now_ms);
        known.level = known.level.changed(rate, tokens);
        known.pending += tokens;
        known.level
    }

    /// Remembers what Redis or Postgres told.
    pub(super) fn learn(&mut self, bucket: Bucket, rate: Rate, level: Level) {
        let known = self.levels.touch(bucket, || Known {
            rate,
            level,
            pending: 0,
        });
        known.rate = rate;
        known.level = level.changed(rate, known.pending);
    }

    /// Whether anything is known of the bucket.
    pub(super) fn knows(&mut self, bucket: &Bucket) -> bool {
        self.levels.get_mut(bucket).is_some()
    }

    /// Hands out what Redis has not been told of the bucket; give it back when telling fails.
    pub(super) fn hand_out(&mut self, bucket: &Bucket) -> i64 {
        let known = self.levels.get_mut(bucket);
        known.map_or(0, |known| std::mem::take(&mut known.pending))
    }

    /// Takes back what was handed out.
    pub(super) fn take_back(&mut self, bucket: &Bucket, pending: i64) {
        if let Some(known) = self.levels.get_mut(bucket) {
            known.pending += pending;
        }
    }

    /// Buckets of which Redis has not been told everything.
    pub(super) fn untold(&mut self) -> Vec<(Bucket, Rate)> {
        let untold = self.levels.iter_mut().filter(|(_, known)| known.pending != 0);
        untold.map(|(bucket, known)| (*bucket, known.rate)).collect()
    }

    /// Every level, for a Redis that has none; from now on it is told.
    pub(super) fn tell_all(&mut self) -> Vec<(Bucket, Rate, Level)> {
        let all = self.levels.iter_mut().map(|(bucket, known)| {
            known.pending = 0;
            (*bucket, known.rate, known.level)
        });
        all.collect()
    }

    /// Notes a credit; false when it was noted before.
    pub(super) fn note(
        &mut self,
        id: EndToEndId,
        payer: TaxId,
        bucket: Bucket,
        rate: Rate,
        credit: i64,
    ) -> bool {
        let noted = self.lookups.touch(id, Vec::new);
        let known = noted
            .iter()
            .any(|note| note.payer == payer && note.bucket == bucket);
        if !known {
            noted.push(Noted {
                payer,
                bucket,
                rate,
                credit,
                spent: false,
            });
        }
        !known
    }

    /// Takes a note back, unless it was spent.
    pub(super) fn unnote(&mut self, id: &EndToEndId, payer: &TaxId, bucket: &Bucket) {
        if let Some(noted) = self.lookups.get_mut(id) {
            noted.retain(|note| note.spent || note.payer != *payer || note.bucket != *bucket);
        }
    }

    /// Spends what was noted for this order.
    pub(super) fn spend(&mut self, id: &EndToEndId, payer: &TaxId) -> Vec<(Bucket, Rate, i64)> {
        let noted = self.lookups.get_mut(id).map_or(&mut [][..], Vec::as_mut_slice);
        let due = noted
            .iter_mut()
            .filter(|note| !note.spent && note.payer == *payer);
        due.map(|note| {
            note.spent = true;
            (note.bucket, note.rate, note.credit)
        })
        .collect()
    }
}
