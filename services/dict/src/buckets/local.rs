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

    /// The entry, made by `make` when there is none; young from now on. What `keep` says outlives its age.
    fn touch(&mut self, key: K, make: impl FnOnce() -> V, keep: impl Fn(&V) -> bool) -> &mut V {
        if !self.young.contains_key(&key) {
            let value = self.old.remove(&key).unwrap_or_else(make);
            if self.young.len() >= self.max {
                self.old.retain(|_, value| keep(value));
                self.old.extend(self.young.drain());
            }
            self.young.insert(key, value);
        }
        self.young.get_mut(&key).expect("just inserted")
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let Self { young, old, .. } = self;
        young.get_mut(key).or_else(|| old.get_mut(key))
    }

    fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.young.iter().chain(&self.old)
    }

    fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.young.values_mut().chain(self.old.values_mut())
    }

    fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

struct Known {
    rate: Rate,
    /// What the process admits by.
    level: Level,
    /// What the bucket holds at most: the same, unless the level is a guess.
    at_most: Level,
    /// Of what happened last that Redis does not know.
    untold: Option<u64>,
}

impl Known {
    fn refill(&mut self, now_ms: i64) {
        self.level = self.level.refilled(self.rate, now_ms);
        self.at_most = self.at_most.refilled(self.rate, now_ms);
    }

    /// A bucket that is full again has nothing to tell.
    fn must_be_told(&self, now_ms: i64) -> bool {
        self.untold.is_some() && self.at_most.refilled(self.rate, now_ms).units < self.rate.full()
    }
}

/// What Redis is to be told of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) bucket: Bucket,
    pub(crate) rate: Rate,
    /// No more than that.
    pub(crate) level: Level,
    /// Whether it is that much, should Redis know nothing.
    pub(crate) sure: bool,
    /// Stands for what happened until now.
    pub(crate) until: u64,
}

/// A credit that an order of payment will bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) end_to_end_id: EndToEndId,
    pub(crate) payer: TaxId,
    pub(crate) bucket: Bucket,
    pub(crate) rate: Rate,
    pub(crate) credit: i64,
    /// Lookups that earn it, together.
    pub(crate) holders: i64,
}

impl Note {
    fn is_of(&self, payer: &TaxId, bucket: &Bucket) -> bool {
        self.payer == *payer && self.bucket == *bucket
    }
}

/// Levels and lookups in the process.
pub(super) struct Local {
    levels: Ages<Bucket, Known>,
    /// Lookups that Redis has not been told of.
    notes: Ages<EndToEndId, Vec<Note>>,
    /// Since when levels that are not known are lost; 0 when there never were any, and they are full.
    lost_since_ms: i64,
    /// Numbers what happens.
    events: u64,
}

impl Local {
    pub(super) fn new(lost_since_ms: i64) -> Self {
        Self {
            levels: Ages::new(ENTRIES_MAX),
            notes: Ages::new(ENTRIES_MAX),
            lost_since_ms,
            events: 0,
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
        let guess = || Known {
            rate,
            level: Level::unknown(rate, lost_since_ms),
            at_most: Level::full(rate, lost_since_ms),
            untold: None,
        };
        let keep = |known: &Known| known.must_be_told(now_ms);
        let known = self.levels.touch(bucket, guess, keep);
        known.rate = rate; // the category may be another
        known.refill(now_ms);
        known
    }

    /// Adds tokens of which Redis knows nothing; tells what the bucket holds at most.
    pub(super) fn change(&mut self, bucket: Bucket, rate: Rate, tokens: i64, now_ms: i64) -> Level {
        self.events += 1;
        let events = self.events;
        let known = self.known(bucket, rate, now_ms);
        known.level = known.level.changed(rate, tokens);
        known.at_most = known.at_most.changed(rate, tokens);
        known.untold = Some(events);
        known.at_most
    }

    /// Remembers what Redis told, which may not know all yet.
    pub(super) fn learn(&mut self, bucket: Bucket, rate: Rate, level: Level) {
        let known = self.known(bucket, rate, level.at_ms);
        known.level = match known.untold {
            Some(_) => level.lower(known.at_most, rate, level.at_ms),
            None => level,
        };
        known.at_most = known.level;
    }

    /// Remembers a debt that Postgres told: the level is no higher.
    pub(super) fn owe(&mut self, bucket: Bucket, rate: Rate, debt: Level, now_ms: i64) {
        self.events += 1;
        let events = self.events;
        let known = self.known(bucket, rate, now_ms);
        let debt = debt.refilled(rate, now_ms);
        if debt.units < known.at_most.units {
            known.at_most = debt;
            known.level = known.level.lower(debt, rate, now_ms);
            known.untold = Some(events);
        }
    }

    /// Redis has lost everything: what the process guessed is all that anybody knows.
    pub(super) fn believe_guesses(&mut self) {
        for known in self.levels.values_mut() {
            known.at_most = known.level;
        }
    }

    /// Redis may have lost anything: all is to be told.
    pub(super) fn tell_all(&mut self) {
        self.events += 1;
        for known in self.levels.values_mut() {
            known.untold = Some(self.events);
        }
    }

    /// What Redis has not been told; it counts as told with [`Self::told`].
    pub(super) fn untold(&self) -> Vec<Told> {
        let untold = self.levels.iter().filter_map(|(bucket, known)| {
            let level = known.at_most;
            Some(Told {
                bucket: *bucket,
                rate: known.rate,
                level,
                sure: known.level == level,
                until: known.untold?,
            })
        });
        untold.collect()
    }

    /// Redis was told, and answered with what it makes of it.
    pub(super) fn told(&mut self, told: &Told, level: Level) {
        if let Some(known) = self.levels.get_mut(&told.bucket)
            && known.untold == Some(told.until)
        {
            known.untold = None;
        }
        self.learn(told.bucket, told.rate, level);
    }

    /// Notes that a lookup earns a credit.
    pub(super) fn note(&mut self, note: Note) {
        let notes = self.notes.touch(note.end_to_end_id, Vec::new, |_| false);
        let known = notes
            .iter_mut()
            .find(|known| known.is_of(&note.payer, &note.bucket));
        match known {
            Some(known) => known.holders += note.holders,
            None => notes.push(note),
        }
    }

    /// A lookup earns nothing after all; false when its note is not here.
    pub(super) fn unnote(&mut self, id: &EndToEndId, payer: &TaxId, bucket: &Bucket) -> bool {
        let Some(notes) = self.notes.get_mut(id) else {
            return false;
        };
        let known = notes.iter_mut().find(|note| note.is_of(payer, bucket));
        let Some(known) = known else {
            return false;
        };
        known.holders -= 1;
        notes.retain(|note| note.holders > 0);
        if notes.is_empty() {
            self.notes.remove(id);
        }
        true
    }

    /// Whether Redis has yet to hear of lookups with this name.
    pub(super) fn has_notes(&mut self, id: &EndToEndId) -> bool {
        self.notes.get_mut(id).is_some()
    }

    /// The lookups that Redis has not been told of.
    pub(super) fn notes(&self) -> Vec<Note> {
        self.notes.iter().flat_map(|(_, notes)| notes).copied().collect()
    }

    /// Redis was told of a lookup.
    pub(super) fn noted(&mut self, told: &Note) {
        for _ in 0..told.holders {
            self.unnote(&told.end_to_end_id, &told.payer, &told.bucket);
        }
    }
}

#[cfg(test)]
mod tests;
