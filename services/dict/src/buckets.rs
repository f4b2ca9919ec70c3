//! Limits of requests: token buckets that a request is admitted by before any work is done for it.
//!
//! [`Buckets::admit`] takes one token from every bucket of a request, or none; [`Buckets::settle`] charges what the
//! answer costs beyond it, or gives it back. The arithmetic is `dict_core::buckets`.
//!
//! Levels are in Redis, for all processes alike. When it is away, slow or emptied, the process goes on from the last
//! level it knows, and takes a bucket of which it knows nothing for a tenth full. Debts are kept in Postgres too. One
//! rule holds whenever Redis is there again, kept, emptied or gone back to an older state: every level becomes the
//! lowest of what Redis stored, what the process knows and what Postgres has a debt of, each refilled to now. So
//! telling it twice is telling it once, and whatever had an unknown outcome is safe to make in the process as well.
//! A guess is not knowledge: it bounds what the process admits, and tells Redis only what was taken. Only a DICT that
//! never ran begins with full buckets; Postgres knows.
//!
//! What that costs: of what several processes take from one bucket while each is on its own, the most that one of
//! them took counts; tokens given back in such a time, or between a process's last look and it, may be lost to the
//! payer. An emptied Redis loses the lookups that wait for their orders, and with them the credits, but for those
//! that were admitted while it was away; full buckets come back with time.

mod local;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dict_core::buckets::{Level, Policy, Rate, Scope};
use futures::StreamExt as _;
use pix_domain::{Category, EndToEndId, Ispb, KeyType, TaxId};
use pix_runtime::{Clock, Ids};
use redis::aio::ConnectionManager;
use sqlx::PgPool;

use self::local::Local;
pub(crate) use self::local::{Note, Told};
use crate::adapters::pg_debts;
use crate::adapters::redis_buckets::{Away, Lookup, Mode, RedisBuckets, Touch, Touched};

/// How often a Redis that is away is asked again.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// How often, in probes, the debts that other processes kept are read meanwhile.
const PROBES_PER_DEBTS: u32 = 10;
/// Levels told to Redis at once: it does that well within the time of an answer.
const TOLD_AT_ONCE: usize = 100;
/// Orders told to Redis at once: credited all of them, it is done within a millisecond, and nobody else waits longer.
const CREDITED_AT_ONCE: usize = 32;
/// Lookups told to Redis at once.
const NOTES_AT_ONCE: usize = 32;
/// How long the first look at Redis may take: it has to connect.
const FIRST_LOOK_WITHIN: Duration = Duration::from_secs(1);

/// What the buckets are made of.
pub(crate) struct Parts {
    /// Where the levels are kept for all processes.
    pub(crate) redis: ConnectionManager,
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
    /// What an order will bring.
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
    redis: RedisBuckets,
    pool: PgPool,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    local: Local,
    /// The marker of the Redis that is asked. While there is none, a task looks for it.
    here: Option<Arc<str>>,
    /// The Redis that nothing but the untold is kept from: its process and its marker.
    met: Option<(String, Arc<str>)>,
}

impl Buckets {
    /// Buckets as they were left. Redis may be away; Postgres may not. An answer of Redis that takes longer than
    /// `within` is none.
    ///
    /// # Errors
    /// When Postgres does not tell of debts.
    pub(crate) async fn new(parts: Parts, within: Duration) -> Result<Self, sqlx::Error> {
        let have_begun = pg_debts::have_begun(&parts.pool).await?;
        let secret = pg_debts::secret(&parts.pool).await?;
        let lost_since_ms = if have_begun { now_ms(&*parts.clock) } else { 0 };
        let buckets = Self(Arc::new(Inner {
            redis: RedisBuckets::new(parts.redis, parts.prefix, &secret, within),
            pool: parts.pool,
            clock: parts.clock,
            state: Mutex::new(State {
                local: Local::new(lost_since_ms),
                here: None,
                met: None,
            }),
        }));
        buckets.0.learn_debts().await?;
        let looked = tokio::time::timeout(FIRST_LOOK_WITHIN, buckets.0.come_back()).await;
        if matches!(looked, Ok(Ok(()))) {
            buckets.0.tell_rest().await;
        } else {
            tracing::warn!("Redis is away: buckets begin with the debts that Postgres knows");
            buckets.0.look_for_redis();
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
            let taken = touches.iter().map(|touch| Taken {
                bucket: touch.bucket,
                rate: touch.rate,
                credit: touch.credit,
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
                    // A lookup that told nothing earns nothing; one that found nothing does.
                    credit: if change > 0 { taken.credit } else { 0 },
                });
            }
        }
        if !touches.is_empty() {
            self.0.change(touches, admission.lookup).await;
        }
    }

    /// Credits the lookups that led to an order of payment, once, however often the order is told.
    ///
    /// # Errors
    /// [`NotNow`] when that cannot be known.
    pub(crate) async fn credit(&self, orders: &[(EndToEndId, TaxId)]) -> Result<(), NotNow> {
        let inner = &self.0;
        let (marker, known): (_, Vec<_>) = {
            let state = &mut *inner.state();
            let marker = state.here.clone().ok_or(NotNow)?;
            // Of the others Redis is about to be told.
            let known = orders.iter().filter(|(id, _)| !state.local.has_notes(id));
            (marker, known.copied().collect())
        };
        for some in known.chunks(CREDITED_AT_ONCE) {
            let lookups: Vec<_> = some
                .iter()
                .map(|&(end_to_end_id, payer)| Lookup { end_to_end_id, payer })
                .collect();
            let credited = inner.redis.credit(&marker, &lookups, now_ms(&*inner.clock)).await;
            let credited = credited.map_err(|away| {
                inner.lose(&away);
                NotNow
            })?;
            metrics::counter!("dict_bucket_credits_total").increment(u64::try_from(credited).unwrap_or(0));
        }
        if known.len() < orders.len() {
            Err(NotNow)
        } else {
            Ok(())
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

    /// Asks Redis; none when it is away.
    async fn ask_redis(
        self: &Arc<Self>,
        mode: Mode,
        touches: &[Touch],
        lookup: Option<Lookup>,
        now_ms: i64,
    ) -> Option<Touched> {
        let marker = self.state().here.clone()?;
        match self.redis.touch(&marker, mode, touches, lookup, now_ms).await {
            Ok(touched) => {
                let mut state = self.state();
                for (touch, level) in touches.iter().zip(&touched.levels) {
                    state.local.learn(touch.bucket, touch.rate, *level);
                }
                Some(touched)
            }
            Err(away) => {
                self.lose(&away);
                None
            }
        }
    }

    fn take_locally(&self, touches: &[Touch], lookup: Option<Lookup>, now_ms: i64) -> Touched {
        let mut state = self.state();
        let local = &mut state.local;
        let level = |touch: &Touch| local.level(touch.bucket, touch.rate, now_ms);
        let levels: Vec<Level> = touches.iter().map(level).collect();
        let done = touches
            .iter()
            .zip(&levels)
            .all(|(touch, level)| level.admits(touch.rate));
        if done {
            for touch in touches {
                local.change(touch.bucket, touch.rate, touch.change, now_ms);
                if let Some(Lookup { end_to_end_id, payer }) = lookup.filter(|_| touch.credit > 0) {
                    local.note(Note {
                        end_to_end_id,
                        payer,
                        bucket: touch.bucket,
                        rate: touch.rate,
                        credit: touch.credit,
                        holders: 1,
                    });
                }
            }
        }
        Touched { done, levels }
    }

    /// Makes changes that are not for refusing, and keeps the debts that they lead to.
    async fn change(self: &Arc<Self>, mut touches: Vec<Touch>, lookup: Option<Lookup>) {
        let now_ms = now_ms(&*self.clock);
        if let Some(Lookup { end_to_end_id, payer }) = lookup {
            let mut state = self.state();
            for touch in touches.iter_mut().filter(|touch| touch.credit > 0) {
                if state.local.unnote(&end_to_end_id, &payer, &touch.bucket) {
                    touch.credit = 0; // Redis does not know of it
                }
            }
        }
        let levels = match self.ask_redis(Mode::Change, &touches, lookup, now_ms).await {
            Some(touched) => touched.levels,
            None => {
                let mut state = self.state();
                let change =
                    |touch: &Touch| state.local.change(touch.bucket, touch.rate, touch.change, now_ms);
                touches.iter().map(change).collect()
            }
        };
        let levels = touches.iter().zip(levels);
        self.keep_debts(levels.map(|(touch, level)| (touch.bucket, touch.rate, level)))
            .await;
    }

    /// Keeps those levels that are debts in Postgres.
    async fn keep_debts(&self, levels: impl Iterator<Item = (Bucket, Rate, Level)>) {
        let debts: Vec<_> = levels.filter(|(_, _, level)| level.units < 0).collect();
        if debts.is_empty() {
            return;
        }
        if let Err(error) = pg_debts::keep(&self.pool, &debts).await {
            metrics::counter!("dict_bucket_debt_failures_total").increment(1);
            tracing::warn!(%error, "debts could not be kept in Postgres");
        }
    }

    /// Learns the debts that Postgres knows, of whichever process.
    async fn learn_debts(&self) -> Result<(), sqlx::Error> {
        let now_ms = now_ms(&*self.clock);
        let debts = pg_debts::all(&self.pool, now_ms).await?;
        let mut state = self.state();
        for (bucket, rate, debt) in debts {
            state.local.owe(bucket, rate, debt, now_ms);
        }
        Ok(())
    }

    /// From now on the process is on its own, until Redis answers again.
    fn lose(self: &Arc<Self>, why: &Away) {
        metrics::counter!("dict_redis_failures_total").increment(1);
        let mut state = self.state();
        if state.here.take().is_none() {
            return;
        }
        state.local.lost(now_ms(&*self.clock));
        drop(state);
        tracing::warn!(%why, "buckets go on in the process until Redis is back");
        self.look_for_redis();
    }

    /// Asks Redis now and then until it answers.
    fn look_for_redis(self: &Arc<Self>) {
        let inner = Arc::downgrade(self);
        tokio::spawn(async move {
            for probe in 0_u32.. {
                let Some(inner) = inner.upgrade() else {
                    return; // nobody has the buckets any more
                };
                if probe % PROBES_PER_DEBTS == 0 {
                    drop(inner.learn_debts().await); // no return of Redis goes without
                }
                if inner.come_back().await.is_ok() {
                    tracing::info!("buckets are in Redis again");
                    inner.tell_rest().await;
                    return;
                }
                drop(inner);
                tokio::time::sleep(PROBE_EVERY).await;
            }
        });
    }

    /// Makes Redis the place of the levels again, once it knows what the process and Postgres know.
    async fn come_back(self: &Arc<Self>) -> anyhow::Result<()> {
        let seen = self.redis.look().await?;
        if seen.policy != "noeviction" {
            tracing::error!(
                policy = seen.policy,
                "Redis may forget levels when its memory is full: set maxmemory-policy to noeviction"
            );
        }
        let may_evict = if seen.policy == "noeviction" { 0.0 } else { 1.0 };
        metrics::gauge!("dict_redis_may_evict").set(may_evict);
        self.learn_debts().await?;
        let emptied = seen.marker.is_none();
        let marker: Arc<str> = match seen.marker {
            Some(marker) => marker.into(),
            None => self.fill().await?.into(),
        };
        let met = (seen.run, Arc::clone(&marker));
        {
            let mut state = self.state();
            if emptied || state.met.as_ref().is_some_and(|known| known.1 != marker) {
                state.local.believe_guesses();
            }
            if state.met.as_ref() != Some(&met) {
                state.local.tell_all();
            }
            state.met = Some(met);
        }
        self.tell(&marker).await?;
        self.state().here = Some(marker);
        Ok(())
    }

    /// Marks an emptied Redis as such; the first of all has lost nothing.
    async fn fill(&self) -> anyhow::Result<String> {
        let lost_since_ms = if pg_debts::have_begun(&self.pool).await? {
            now_ms(&*self.clock)
        } else {
            0
        };
        let marker = self.redis.fill(lost_since_ms, Ids::system().u128()).await?;
        pg_debts::begin(&self.pool).await?;
        tracing::info!("an empty Redis is told the levels known");
        Ok(marker)
    }

    /// Tells Redis what it does not know; gives how much that was.
    async fn tell(&self, marker: &str) -> Result<usize, Away> {
        let now_ms = now_ms(&*self.clock);
        let (untold, notes) = {
            let state = self.state();
            (state.local.untold(), state.local.notes())
        };
        for told in untold.chunks(TOLD_AT_ONCE) {
            let levels = self.redis.lower(marker, told, now_ms).await?;
            {
                let mut state = self.state();
                for (told, level) in told.iter().zip(&levels) {
                    state.local.told(told, *level);
                }
            }
            let levels = told.iter().zip(levels);
            self.keep_debts(levels.map(|(told, level)| (told.bucket, told.rate, level)))
                .await;
        }
        let count = untold.len() + notes.len();
        let telling = notes.into_iter().map(|note| async move {
            self.redis.note(marker, &note, now_ms).await?;
            self.state().local.noted(&note);
            Ok::<_, Away>(())
        });
        let mut telling = futures::stream::iter(telling).buffer_unordered(NOTES_AT_ONCE);
        while let Some(told) = telling.next().await {
            told?;
        }
        Ok(count)
    }

    /// Tells Redis what happened while it was being told.
    async fn tell_rest(self: &Arc<Self>) {
        loop {
            let Some(marker) = self.state().here.clone() else {
                return; // away again; the next return tells it
            };
            match self.tell(&marker).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(away) => self.lose(&away),
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
