//! Limits of requests: token buckets that a request is admitted by before any work is done for it.
//!
//! [`Buckets::admit`] takes one token from every bucket of a request, or none; [`Buckets::settle`] charges what the
//! answer costs beyond it, or gives it back. The arithmetic is `dict_core::buckets`.
//!
//! Levels are in Redis, for all processes alike. When it is away, slow or emptied, the process goes on from the last
//! level it knows, and takes a bucket of which it knows nothing for a tenth full; when Redis is back, it is told what
//! happened. A command whose answer was lost may be charged twice, never not at all. Debts are kept in Postgres too,
//! and honoured when Redis comes back empty. Only a DICT that never ran begins with full buckets; Postgres knows.

mod local;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dict_core::buckets::{Level, Policy, Rate, Scope};
use pix_domain::{Category, EndToEndId, Ispb, KeyType, TaxId};
use pix_runtime::Clock;
use redis::aio::ConnectionManager;
use sqlx::PgPool;

use self::local::Local;
use crate::adapters::pg_debts;
use crate::adapters::redis_buckets::{Away, Lookup, Mode, RedisBuckets, Touch, Touched};

/// How often a Redis that is away is asked again.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// How long the first look at Redis may take: it has to connect.
const FIRST_LOOK_WITHIN: Duration = Duration::from_secs(1);

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
    taken: Vec<Taken>,
    lookup: Option<Lookup>,
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    bucket: Bucket,
    rate: Rate,
    /// What an order will bring, if this request was the first to have it noted.
    credit: i64,
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
    /// Below zero in debt.
    pub(crate) available: i64,
    pub(crate) capacity: i64,
    pub(crate) refill_tokens: i64,
    pub(crate) refill_period_s: i64,
}

/// The order was not credited: Redis, which knows its lookups, is away. Ask again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotNow;

/// The buckets; clones share them.
#[derive(Clone)]
pub(crate) struct Buckets(Arc<Inner>);

struct Inner {
    redis: Option<RedisBuckets>,
    pool: PgPool,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    local: Local,
    /// Whether Redis is asked. While it is not, a task asks it now and then.
    here: bool,
    /// Whether this DICT never ran before: then an empty Redis is not one that lost anything.
    first_start: bool,
}

impl Buckets {
    /// Buckets as they were left. Redis may be away; Postgres may not.
    ///
    /// # Errors
    /// When Postgres does not tell of debts.
    pub(crate) async fn new(parts: Parts) -> Result<Self, sqlx::Error> {
        Self::with_patience(parts, pix_runtime::redis::ANSWER_WITHIN).await
    }

    /// With another span after which an answer of Redis is none.
    pub(crate) async fn with_patience(parts: Parts, within: Duration) -> Result<Self, sqlx::Error> {
        let now_ms = now_ms(&*parts.clock);
        let first_start = pg_debts::is_first_start(&parts.pool).await?;
        let mut local = Local::new(if first_start { 0 } else { now_ms });
        for (bucket, rate, level) in pg_debts::all(&parts.pool, now_ms).await? {
            local.learn(bucket, rate, level);
        }
        let redis = |connection| RedisBuckets::new(connection, parts.prefix, within);
        let buckets = Self(Arc::new(Inner {
            redis: parts.redis.map(redis),
            pool: parts.pool,
            clock: parts.clock,
            state: Mutex::new(State {
                local,
                here: false,
                first_start,
            }),
        }));
        if buckets.0.redis.is_some() {
            let looked = tokio::time::timeout(FIRST_LOOK_WITHIN, buckets.0.come_back()).await;
            if !matches!(looked, Ok(Ok(()))) {
                tracing::warn!("Redis is away: buckets begin with the debts that Postgres knows");
                buckets.0.look_for_redis();
            }
        }
        Ok(buckets)
    }

    /// Takes one token from every bucket of the request, or none.
    ///
    /// # Errors
    /// [`Exhausted`] names the first that has none.
    pub(crate) async fn admit(&self, ask: &Ask) -> Result<Admission, Exhausted> {
        let inner = &self.0;
        let (touches, lookup) = ask.touches();
        let now_ms = now_ms(&*inner.clock);
        let touched = match inner.ask_redis(Mode::Take, &touches, lookup, now_ms).await {
            Some(touched) => touched,
            None => inner.take_locally(&touches, lookup, now_ms),
        };
        if touched.done {
            let taken = touches.iter().zip(touched.noted);
            let taken = taken.map(|(touch, noted)| Taken {
                bucket: touch.bucket,
                rate: touch.rate,
                credit: if noted { touch.credit } else { 0 },
            });
            let taken = taken.collect();
            return Ok(Admission { taken, lookup });
        }
        let levels = touches.iter().zip(&touched.levels);
        let mut empty = levels.filter(|(touch, level)| !level.admits(touch.rate));
        let empty = empty.next();
        let (touch, level) = empty.unwrap_or((&touches[0], &touched.levels[0]));
        let policy = touch.bucket.policy;
        metrics::counter!("dict_rate_limited_total", "policy" => policy.as_str()).increment(1);
        Err(Exhausted {
            policy,
            retry_after_s: seconds(level.wait_ms(touch.rate)),
        })
    }

    /// Charges what the answer costs beyond the token taken, or gives that back.
    pub(crate) async fn settle(&self, admission: Admission, status: u16) {
        let mut touches: Vec<Touch> = Vec::new();
        for taken in &admission.taken {
            let change = 1 - taken.bucket.policy.cost(status);
            if change != 0 {
                touches.push(Touch {
                    bucket: taken.bucket,
                    rate: taken.rate,
                    change,
                    pending: 0,
                    // A lookup that told nothing earns nothing; one that found nothing does.
                    credit: if change > 0 { taken.credit } else { 0 },
                });
            }
        }
        if !touches.is_empty() {
            self.0.change(&touches, admission.lookup).await;
        }
    }

    /// Credits the lookups that led to an order of payment, once, however often the order is told.
    ///
    /// # Errors
    /// [`NotNow`] when that cannot be known.
    pub(crate) async fn credit(&self, end_to_end_id: EndToEndId, payer: TaxId) -> Result<(), NotNow> {
        let inner = &self.0;
        if inner.redis.is_some() && !inner.state().here {
            return Err(NotNow);
        }
        let lookup = Lookup { end_to_end_id, payer };
        let due = inner.state().local.spend(&end_to_end_id, &payer);
        let touches: Vec<Touch> = due
            .into_iter()
            .map(|(bucket, rate, change)| Touch {
                bucket,
                rate,
                change,
                pending: 0,
                credit: 0,
            })
            .collect();
        if !touches.is_empty() {
            inner.change(&touches, None).await;
        }
        let Some(redis) = &inner.redis else {
            return Ok(());
        };
        match redis.credit(lookup, now_ms(&*inner.clock)).await {
            Ok(credited) => {
                metrics::counter!("dict_bucket_credits_total")
                    .increment(u64::try_from(credited).unwrap_or(0));
                Ok(())
            }
            Err(away) => {
                inner.lose(&away);
                Err(NotNow)
            }
        }
    }

    /// Every policy of a participant and what its bucket holds.
    pub(crate) async fn state(&self, participant: Ispb, category: Category) -> Vec<PolicyState> {
        let inner = &self.0;
        let of_participants = Policy::ALL
            .iter()
            .filter(|policy| policy.scope() == Scope::Participant);
        let touches: Vec<_> = of_participants
            .map(|policy| touch(*policy, participant, None, category))
            .collect();
        let now_ms = now_ms(&*inner.clock);
        let levels = match inner.ask_redis(Mode::Peek, &touches, None, now_ms).await {
            Some(touched) => touched.levels,
            None => {
                let mut state = inner.state();
                let level = |touch: &Touch| state.local.level(touch.bucket, touch.rate, now_ms);
                touches.iter().map(level).collect()
            }
        };
        touches
            .iter()
            .zip(levels)
            .map(|(touch, level)| PolicyState {
                name: touch.bucket.policy.as_str().to_owned(),
                available: level.tokens(touch.rate),
                capacity: touch.rate.capacity,
                refill_tokens: touch.rate.tokens,
                refill_period_s: touch.rate.period_ms / 1000,
            })
            .collect()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the script, with what Redis has not been told yet; none when Redis is away.
    async fn ask_redis(
        self: &Arc<Self>,
        mode: Mode,
        touches: &[Touch],
        lookup: Option<Lookup>,
        now_ms: i64,
    ) -> Option<Touched> {
        let redis = self.redis.as_ref()?;
        let mut touches = touches.to_vec();
        {
            let mut state = self.state();
            if !state.here {
                return None;
            }
            if !matches!(mode, Mode::Peek) {
                for touch in &mut touches {
                    touch.pending = state.local.hand_out(&touch.bucket);
                }
            }
        }
        let asked = redis.touch(mode, &touches, lookup, now_ms).await;
        let mut state = self.state();
        match asked {
            Ok(touched) => {
                for (touch, level) in touches.iter().zip(&touched.levels) {
                    state.local.learn(touch.bucket, touch.rate, *level);
                }
                Some(touched)
            }
            Err(away) => {
                for touch in &touches {
                    state.local.take_back(&touch.bucket, touch.pending);
                }
                drop(state);
                self.lose(&away);
                None
            }
        }
    }

    fn take_locally(&self, touches: &[Touch], lookup: Option<Lookup>, now_ms: i64) -> Touched {
        let mut state = self.state();
        let local = &mut state.local;
        let mut level = |touch: &Touch| local.level(touch.bucket, touch.rate, now_ms);
        let mut levels: Vec<Level> = touches.iter().map(&mut level).collect();
        let done = touches
            .iter()
            .zip(&levels)
            .all(|(touch, level)| level.admits(touch.rate));
        let mut noted = vec![false; touches.len()];
        if done {
            for ((touch, level), noted) in touches.iter().zip(&mut levels).zip(&mut noted) {
                *level = local.change(touch.bucket, touch.rate, touch.change, now_ms);
                if let Some(Lookup { end_to_end_id, payer }) = lookup.filter(|_| touch.credit > 0) {
                    *noted = local.note(end_to_end_id, payer, touch.bucket, touch.rate, touch.credit);
                }
            }
        }
        Touched { done, noted, levels }
    }

    /// Makes changes that are not for refusing, and keeps the debts that they lead to.
    async fn change(self: &Arc<Self>, touches: &[Touch], lookup: Option<Lookup>) {
        let now_ms = now_ms(&*self.clock);
        let levels = match self.ask_redis(Mode::Change, touches, lookup, now_ms).await {
            Some(touched) => touched.levels,
            None => {
                let mut state = self.state();
                let change = |touch: &Touch| {
                    if let Some(Lookup { end_to_end_id, payer }) = lookup.filter(|_| touch.credit > 0) {
                        state.local.unnote(&end_to_end_id, &payer, &touch.bucket);
                    }
                    state.local.change(touch.bucket, touch.rate, touch.change, now_ms)
                };
                touches.iter().map(change).collect()
            }
        };
        let in_debt = touches.iter().zip(levels).filter(|(_, level)| level.units < 0);
        for (touch, level) in in_debt {
            let kept = pg_debts::keep(&self.pool, &touch.bucket, touch.rate, level).await;
            if let Err(error) = kept {
                metrics::counter!("dict_bucket_debt_failures_total").increment(1);
                tracing::warn!(%error, "a debt could not be kept in Postgres");
            }
        }
    }

    /// From now on the process is on its own, until Redis answers again.
    fn lose(self: &Arc<Self>, why: &Away) {
        metrics::counter!("dict_redis_failures_total").increment(1);
        let mut state = self.state();
        if !state.here {
            return;
        }
        state.here = false;
        state.local.lost(now_ms(&*self.clock));
        drop(state);
        tracing::warn!(%why, "buckets go on in the process until Redis is back");
        self.look_for_redis();
    }

    /// Asks Redis now and then until it answers.
    fn look_for_redis(self: &Arc<Self>) {
        let inner = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PROBE_EVERY).await;
                let Some(inner) = inner.upgrade() else {
                    return; // nobody has the buckets any more
                };
                if inner.come_back().await.is_ok() {
                    tracing::info!("buckets are in Redis again");
                    inner.tell_rest().await;
                    return;
                }
            }
        });
    }

    /// Makes Redis the place of the levels again, filled with what is known when it was emptied.
    async fn come_back(&self) -> anyhow::Result<()> {
        let redis = self.redis.as_ref().ok_or_else(|| anyhow::anyhow!("no Redis"))?;
        if redis.lost_since().await?.is_none() {
            let now_ms = now_ms(&*self.clock);
            let debts = pg_debts::all(&self.pool, now_ms).await?;
            let (known, lost_since_ms) = {
                let mut state = self.state();
                for (bucket, rate, level) in debts {
                    if !state.local.knows(&bucket) {
                        state.local.learn(bucket, rate, level);
                    }
                }
                let lost_since_ms = if state.first_start { 0 } else { now_ms };
                (state.local.tell_all(), lost_since_ms)
            };
            redis.refill(&known, lost_since_ms, now_ms).await?;
            tracing::info!(levels = known.len(), "an empty Redis was told the levels known");
        }
        let mut state = self.state();
        state.here = true;
        state.first_start = false;
        Ok(())
    }

    /// Tells Redis what happened while it was away, bucket by bucket; requests do the same with theirs.
    async fn tell_rest(self: &Arc<Self>) {
        let untold = self.state().local.untold();
        for (bucket, rate) in untold {
            let touch = Touch {
                bucket,
                rate,
                change: 0,
                pending: 0,
                credit: 0,
            };
            let now_ms = now_ms(&*self.clock);
            if self
                .ask_redis(Mode::Change, &[touch], None, now_ms)
                .await
                .is_none()
            {
                return; // away again; the next return tells it
            }
        }
    }
}

impl Ask {
    /// The buckets that have to admit it, and the lookup that it is.
    fn touches(&self) -> (Vec<Touch>, Option<Lookup>) {
        match *self {
            Self::Lookup {
                participant,
                category,
                payer,
                key,
                end_to_end_id,
            } => {
                let user = Policy::of_lookups_by_user(key);
                let mut touches = vec![
                    touch(user, participant, Some(payer), category),
                    touch(
                        Policy::EntriesReadParticipantAntiscan,
                        participant,
                        None,
                        category,
                    ),
                ];
                for touch in &mut touches {
                    touch.credit = touch.bucket.policy.credit(&payer);
                }
                let lookup = Lookup { end_to_end_id, payer };
                (touches, Some(lookup))
            }
            Self::One {
                participant,
                category,
                policy,
            } => (vec![touch(policy, participant, None, category)], None),
        }
    }
}

/// Takes one token from a bucket.
fn touch(policy: Policy, participant: Ispb, payer: Option<TaxId>, category: Category) -> Touch {
    Touch {
        bucket: Bucket {
            policy,
            participant,
            payer,
        },
        rate: policy.rate(category, payer.as_ref()),
        change: -1,
        pending: 0,
        credit: 0,
    }
}

fn now_ms(clock: &dyn Clock) -> i64 {
    clock.now().as_micros().div_euclid(1000)
}

/// Whole seconds, never too few.
fn seconds(wait_ms: i64) -> u64 {
    u64::try_from((wait_ms + 999) / 1000).map_or(1, |seconds| seconds.max(1))
}

#[cfg(test)]
mod tests;
