//! Which waiting transactions go into one outgoing message, and when.
//!
//! A message is formed when it has as many transactions as its form takes, or when its oldest one has
//! waited [`form_wait`]: nothing while signers idle, growing with their utilisation to [`FORM_WAIT_MAX`].
//! A signature is the dearest step, so a busy switch waits a little for company and an idle one does not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use pix_domain::Timestamp;

use crate::outgoing::{Form, Mailbox, Parcel};

/// The longest a transaction waits for company.
pub const FORM_WAIT_MAX: Duration = Duration::from_millis(25);
/// Below this share of busy signers nothing waits.
const UTILISATION_LOW: f64 = 0.5;

/// How long the oldest transaction of a message may wait, by the share of signers that is busy (0 to 1).
#[must_use]
pub fn form_wait(utilisation: f64) -> Duration {
    let share = ((utilisation - UTILISATION_LOW) / (1.0 - UTILISATION_LOW)).clamp(0.0, 1.0);
    FORM_WAIT_MAX.mul_f64(share)
}

/// Transactions that share a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    /// Who reads it, and where.
    pub mailbox: Mailbox,
    /// Its form.
    pub form: Form,
}

/// What waits to be formed.
#[derive(Debug, Default)]
pub struct Former {
    waiting: BTreeMap<Group, VecDeque<Parcel>>,
    oldest: BTreeSet<(Timestamp, Group)>,
    full: BTreeSet<(Timestamp, Group)>,
    count: usize,
}

impl Former {
    /// Takes a transaction in.
    pub fn push(&mut self, parcel: Parcel) {
        let group = Group {
            mailbox: parcel.mailbox,
            form: parcel.form,
        };
        let queue = self.waiting.entry(group).or_default();
        queue.push_back(parcel);
        self.count += 1;
        let since = queue.front().expect("just pushed").created_at;
        self.oldest.insert((since, group));
        if queue.len() >= group.form.transactions_max() {
            self.full.insert((since, group));
        }
    }

    /// The next message to form at `now`, when one is due: it is full, or its oldest transaction has waited
    /// `wait`. The one that waits longest goes first, so that full messages of some never starve the others.
    pub fn pop(&mut self, now: Timestamp, wait: Duration) -> Option<(Group, Vec<Parcel>)> {
        let due = self.oldest.first().copied();
        let due = due.filter(|(since, _)| since.plus(wait) <= now);
        let full = self.full.first().copied();
        let (since, group) = due.into_iter().chain(full).min()?;
        let queue = self
            .waiting
            .get_mut(&group)
            .expect("every index entry has its queue");
        let taken: Vec<_> = queue
            .drain(..queue.len().min(group.form.transactions_max()))
            .collect();
        self.count -= taken.len();
        self.oldest.remove(&(since, group));
        self.full.remove(&(since, group));
        match queue.front().map(|first| first.created_at) {
            None => {
                self.waiting.remove(&group);
            }
            Some(since) => {
                self.oldest.insert((since, group));
                if queue.len() >= group.form.transactions_max() {
                    self.full.insert((since, group));
                }
            }
        }
        Some((group, taken))
    }

    /// When [`Self::pop`] will give something without more coming in.
    #[must_use]
    pub fn due_at(&self, wait: Duration) -> Option<Timestamp> {
        let full = self.full.first().map(|(since, _)| *since);
        full.or_else(|| self.oldest.first().map(|(since, _)| since.plus(wait)))
    }

    /// Since when the oldest transaction waits.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        self.oldest.first().map(|(since, _)| *since)
    }

    /// How many transactions wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use pix_domain::Ispb;

    use super::*;
    use crate::outgoing::Channel;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_micros(ms * 1000)
    }

    fn status(id: i64, to: &[u8; 8], ms: i64) -> Parcel {
        let destination = Ispb::parse(to).expect("valid");
        Parcel {
            id,
            mailbox: Mailbox {
                destination,
                channel: Channel::Primary,
            },
            form: Form::Status,
            created_at: at(ms),
            end_to_end_id: None,
            fragment: Vec::new().into(),
        }
    }

    #[test]
    fn an_idle_signer_waits_for_nobody_and_a_busy_one_a_little() {
        assert_eq!(form_wait(0.0), Duration::ZERO);
        assert_eq!(form_wait(0.5), Duration::ZERO);
        assert_eq!(form_wait(1.0), FORM_WAIT_MAX);
        let mut former = Former::default();
        former.push(status(1, b"11111111", 0));
        assert!(former.pop(at(10), Duration::from_millis(25)).is_none());
        assert_eq!(former.due_at(Duration::from_millis(25)), Some(at(25)));
        let (_, taken) = former.pop(at(10), Duration::ZERO).expect("due at once");
        assert_eq!(taken.len(), 1);
        assert!(former.is_empty() && former.due_at(Duration::ZERO).is_none());
    }

    #[test]
    fn a_full_message_waits_for_nobody_but_those_that_are_due_before_it() {
        let mut former = Former::default();
        former.push(status(1, b"11111111", 0));
        for id in 2..=13 {
            former.push(status(id, b"22222222", 5));
        }
        let (group, taken) = former.pop(at(6), Duration::from_millis(25)).expect("full");
        assert_eq!(
            (group.mailbox.destination.as_str(), taken.len()),
            ("22222222", 10)
        );
        assert!(
            former.pop(at(6), Duration::from_millis(25)).is_none(),
            "two are left, and young"
        );
        let left: Vec<_> = std::iter::from_fn(|| former.pop(at(40), Duration::from_millis(25))).collect();
        assert_eq!(
            left.iter().map(|(_, taken)| taken.len()).collect::<Vec<_>>(),
            [1, 2]
        );
    }

    #[test]
    fn order_within_a_group_is_kept_and_nothing_is_lost() {
        let mut former = Former::default();
        for id in 0..25 {
            former.push(status(id, b"11111111", id));
        }
        let mut ids = Vec::new();
        while let Some((_, taken)) = former.pop(at(1000), Duration::ZERO) {
            assert!(taken.len() <= 10);
            ids.extend(taken.iter().map(|parcel| parcel.id));
        }
        assert_eq!(ids, (0..25).collect::<Vec<_>>());
    }

    #[test]
    fn full_messages_do_not_starve_what_is_due() {
        let mut former = Former::default();
        former.push(status(1, b"11111111", 0));
        for id in 2..=30 {
            former.push(status(id, b"22222222", 5));
        }
        let (group, _) = former.pop(at(30), Duration::from_millis(25)).expect("due");
        assert_eq!(group.mailbox.destination.as_str(), "11111111");
    }
}
