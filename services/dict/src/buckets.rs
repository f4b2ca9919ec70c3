//! Limits of requests: token buckets that a request is admitted by before any work is done for it.
//!
//! [`Buckets::admit`] takes one token from every bucket of a request, or none; [`Buckets::settle`] charges what the
//! answer costs beyond it, or gives it back. The arithmetic is `dict_core::buckets`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use dict_core::buckets::{Level, Policy, Rate, Scope};
use pix_domain::{Category, EndToEndId, Ispb, KeyType, TaxId};
use pix_runtime::Clock;
use redis::aio::ConnectionManager;
use sqlx::PgPool;

/// What the buckets are made of.
pub(crate) struct Parts {
    /// Where the levels are kept for all processes; without it each process keeps its own.
    pub(crate) redis: Option<ConnectionManager>,
    /// What its keys begin with.
    pub(crate) prefix: String,
    /// Where debts are kept.
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A request that wants to be admitted.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// getEntry: a bucket of the payer and one of the participant, and credit when an order follows.
    Lookup {
        /// The participant of `PI-RequestingParticipant`.
        participant: Ispb,
        category: Category,
        payer: TaxId,
        key: KeyType,
        end_to_end_id: EndToEndId,
    },
    /// Any other operation: one bucket of the participant.
    One {
        participant: Ispb,
        category: Category,
        policy: Policy,
    },
}

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bucket {
    pub(crate) policy: Policy,
    pub(crate) participant: Ispb,
    /// Of policies that count users.
    pub(crate) payer: Option<TaxId>,
}

/// What was taken for a request that was admitted: to be settled when its answer is known.
#[must_use = "settle it when the answer is known"]
#[derive(Debug)]
pub(crate) struct Admission {
    taken: Vec<(Bucket, Rate)>,
}

/// The bucket that is empty: 429 `RateLimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted {
    pub(crate) policy: Policy,
    /// Whole seconds until it holds a token again, at least 1.
    pub(crate) retry_after_s: u64,
}

/// A policy and what its bucket holds, for `/policies/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PolicyState {
    pub(crate) name: String,
    pub(crate) available: i64,
    pub(crate) capacity: i64,
    pub(crate) refill_tokens: i64,
    pub(crate) refill_period_s: i64,
}

/// The buckets; clones share them.
#[derive(Clone)]
pub(crate) struct Buckets {
    clock: Arc<dyn Clock>,
    levels: Arc<Mutex<HashMap<Bucket, Level>>>,
}

impl Buckets {
    /// # Errors
    /// When Postgres does not tell of debts.
    pub(crate) async fn new(parts: Parts) -> Result<Self, sqlx::Error> {
        Ok(Self {
            clock: parts.clock,
            levels: Arc::default(),
        })
    }

    /// Takes one token from every bucket of the request, or none.
    ///
    /// # Errors
    /// [`Exhausted`] names the first that has none.
    pub(crate) async fn admit(&self, ask: &Ask) -> Result<Admission, Exhausted> {
        let taken = ask.buckets();
        let now = self.now_ms();
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let level = |levels: &HashMap<Bucket, Level>, bucket: &Bucket, rate: Rate| {
            let known = levels.get(bucket).copied();
            known.unwrap_or(Level::full(rate, now)).refilled(rate, now)
        };
        for (bucket, rate) in &taken {
            let level = level(&levels, bucket, *rate);
            if !level.admits(*rate) {
                return Err(Exhausted {
                    policy: bucket.policy,
                    retry_after_s: seconds(level.wait_ms(*rate)),
                });
            }
        }
        for (bucket, rate) in &taken {
            let level = level(&levels, bucket, *rate);
            levels.insert(*bucket, level.changed(*rate, -1));
        }
        Ok(Admission { taken })
    }

    /// Charges what the answer costs beyond the token taken, or gives that back.
    pub(crate) async fn settle(&self, admission: Admission, status: u16) {
        let now = self.now_ms();
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        for (bucket, rate) in admission.taken {
            let level = levels.entry(bucket).or_insert(Level::full(rate, now));
            *level = level
                .refilled(rate, now)
                .changed(rate, 1 - bucket.policy.cost(status));
        }
    }

    /// Every policy of a participant and what its bucket holds.
    pub(crate) async fn state(&self, participant: Ispb, category: Category) -> Vec<PolicyState> {
        let now = self.now_ms();
        let levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let of_participants = Policy::ALL
            .iter()
            .filter(|policy| policy.scope() == Scope::Participant);
        of_participants
            .map(|policy| {
                let rate = policy.rate(category, None);
                let bucket = Bucket {
                    policy: *policy,
                    participant,
                    payer: None,
                };
                let level = levels.get(&bucket).copied();
                state(*policy, rate, level.unwrap_or(Level::full(rate, now)).refilled(rate, now))
            })
            .collect()
    }

    fn now_ms(&self) -> i64 {
        self.clock.now().as_micros().div_euclid(1000)
    }
}

impl Ask {
    /// The buckets that have to admit it, each with its rate.
    fn buckets(&self) -> Vec<(Bucket, Rate)> {
        match *self {
            Self::Lookup {
                participant,
                category,
                payer,
                key,
                ..
            } => {
                let user = Policy::of_lookups_by_user(key);
                let of_user = Bucket {
                    policy: user,
                    participant,
                    payer: Some(payer),
                };
                let all = Policy::EntriesReadParticipantAntiscan;
                let of_participant = Bucket {
                    policy: all,
                    participant,
                    payer: None,
                };
                vec![
                    (of_user, user.rate(category, Some(&payer))),
                    (of_participant, all.rate(category, None)),
                ]
            }
            Self::One {
                participant,
                category,
                policy,
            } => {
                let bucket = Bucket {
                    policy,
                    participant,
                    payer: None,
                };
                vec![(bucket, policy.rate(category, None))]
            }
        }
    }
}

fn state(policy: Policy, rate: Rate, level: Level) -> PolicyState {
    PolicyState {
        name: policy.as_str().to_owned(),
        available: level.tokens(rate),
        capacity: rate.capacity,
        refill_tokens: rate.tokens,
        refill_period_s: rate.period_ms / 1000,
    }
}

/// Whole seconds, never too few.
fn seconds(wait_ms: i64) -> u64 {
    u64::try_from((wait_ms + 999) / 1000).map_or(1, |seconds| seconds.max(1))
}
