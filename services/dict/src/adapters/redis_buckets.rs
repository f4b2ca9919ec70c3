//! Levels of buckets in Redis: one script, whose arithmetic is that of `dict_core::buckets`.
//!
//! Redis may be emptied at any time, and an empty one must not say that every bucket is full. So a key tells since
//! when levels are lost (0: never, they began full); without it the script does nothing. What is not stored holds
//! what it would, had it held a tenth at that time.

use std::time::Duration;

use dict_core::buckets::{Level, Rate};
use pix_domain::{EndToEndId, TaxId};
use redis::aio::ConnectionManager;
use redis::{RedisError, Script};

use crate::buckets::Bucket;

/// How long a lookup waits for the order of payment that it was for.
const LOOKUP_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long one of the steps that fill an emptied store may take.
const REFILL_WITHIN: Duration = Duration::from_secs(1);
/// How long others wait for the process that fills it; far longer than that takes.
const REFILL_LOCK: Duration = Duration::from_secs(5);
/// Levels sent in one of them.
const REFILL_LEVELS: usize = 500;

/// Why Redis did not do what it was asked; a command that timed out may have been done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Away {
    /// It does not answer.
    #[error("Redis does not answer: {0}")]
    Silent(#[from] RedisError),
    /// It did not answer in time.
    #[error("Redis did not answer in time")]
    Slow,
    /// It answers, and has lost what it kept.
    #[error("Redis was emptied")]
    Emptied,
    /// It was emptied, and another process fills it.
    #[error("another process fills Redis")]
    Filling,
    /// It answers something else than the script does.
    #[error("Redis answers something else")]
    Nonsense,
}

/// What is done to one bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touch {
    pub(crate) bucket: Bucket,
    pub(crate) rate: Rate,
    /// Tokens to add; negative to take.
    pub(crate) change: i64,
    /// Tokens that were added while Redis was away.
    pub(crate) pending: i64,
    /// Tokens that an order of payment will bring: noted with a take, noted no more with a change.
    pub(crate) credit: i64,
}

/// The lookup behind a take or a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookup {
    pub(crate) end_to_end_id: EndToEndId,
    pub(crate) payer: TaxId,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Touched {
    /// Whether the changes were made; only a take may be refused.
    pub(crate) done: bool,
    /// Which of the buckets had their credit noted for the first time.
    pub(crate) noted: Vec<bool>,
    /// The levels of the buckets after it.
    pub(crate) levels: Vec<Level>,
}

/// What the script is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// Make the changes if every bucket holds a token.
    Take,
    /// Make the changes.
    Change,
    /// Look.
    Peek,
}

/// The buckets in Redis; clones share a connection.
#[derive(Clone)]
pub(crate) struct RedisBuckets {
    connection: ConnectionManager,
    prefix: String,
    script: Script,
    within: Duration,
}

impl RedisBuckets {
    /// Buckets whose keys begin with `prefix`. An answer that takes longer than `within` is none.
    pub(crate) fn new(connection: ConnectionManager, prefix: String, within: Duration) -> Self {
        Self {
            connection,
            prefix,
            script: Script::new(include_str!("redis_buckets.lua")),
            within,
        }
    }

    /// Runs the script on some buckets at once.
    pub(crate) async fn touch(
        &self,
        mode: Mode,
        touches: &[Touch],
        lookup: Option<Lookup>,
        now_ms: i64,
    ) -> Result<Touched, Away> {
        let mode = match mode {
            Mode::Take => "take",
            Mode::Change => "change",
            Mode::Peek => "peek",
        };
        let mut call = self.script.prepare_invoke();
        call.key(self.marker());
        call.key(lookup.map_or_else(|| self.marker(), |lookup| self.lookup(&lookup.end_to_end_id)));
        call.arg(mode).arg(now_ms);
        call.arg(lookup.as_ref().map_or("", |lookup| lookup.payer.as_str()));
        call.arg(LOOKUP_LIFE.as_millis().to_string());
        for touch in touches {
            let Rate {
                tokens,
                period_ms,
                capacity,
            } = touch.rate;
            let credit = lookup.map_or(0, |_| touch.credit);
            call.key(self.level(&touch.bucket));
            call.arg(&[tokens, period_ms, capacity, touch.change, touch.pending, credit]);
        }
        let answer = self.call(&call).await?;
        parse(&answer, touches.len()).ok_or(Away::Nonsense)
    }

    /// Adds what lookups with this EndToEndId and payer noted, once; tells to how many buckets.
    pub(crate) async fn credit(&self, lookup: Lookup, now_ms: i64) -> Result<i64, Away> {
        let mut call = self.script.prepare_invoke();
        call.key(self.marker()).key(self.lookup(&lookup.end_to_end_id));
        call.arg("credit").arg(now_ms).arg(lookup.payer.as_str());
        let answer = self.call(&call).await?;
        answer.first().copied().ok_or(Away::Nonsense)
    }

    async fn call(&self, call: &redis::ScriptInvocation<'_>) -> Result<Vec<i64>, Away> {
        let mut connection = self.connection.clone();
        let answer = tokio::time::timeout(self.within, call.invoke_async::<Vec<i64>>(&mut connection));
        let answer = answer.await.map_err(|_| Away::Slow)??;
        if answer.first() == Some(&-1) {
            return Err(Away::Emptied);
        }
        Ok(answer)
    }

    /// Since when levels are lost; none when the store was emptied.
    pub(crate) async fn lost_since(&self) -> Result<Option<i64>, Away> {
        let mut connection = self.connection.clone();
        let mut get = redis::cmd("GET");
        get.arg(self.marker());
        let asked = tokio::time::timeout(self.within, get.query_async::<Option<i64>>(&mut connection));
        Ok(asked.await.map_err(|_| Away::Slow)??)
    }

    /// Fills an emptied store with what is known. Only one process does, and the others find it filled.
    pub(crate) async fn refill(
        &self,
        levels: &[(Bucket, Rate, Level)],
        lost_since_ms: i64,
        now_ms: i64,
    ) -> Result<(), Away> {
        let mut connection = self.connection.clone();
        let mut lock = redis::cmd("SET");
        lock.arg(self.lock())
            .arg(1)
            .arg("NX")
            .arg("PX")
            .arg(REFILL_LOCK.as_millis().to_string());
        let locked = tokio::time::timeout(self.within, lock.query_async::<Option<String>>(&mut connection));
        if locked.await.map_err(|_| Away::Slow)??.is_none() {
            return Err(Away::Filling);
        }
        for chunk in levels.chunks(REFILL_LEVELS) {
            let mut pipeline = redis::pipe();
            for (bucket, rate, level) in chunk {
                let unknown = Level::unknown(*rate, lost_since_ms);
                let life = life(*level, *rate, now_ms).max(life(unknown, *rate, now_ms));
                if life > 0 {
                    let text = format!("{} {}", level.units, level.at_ms);
                    let set = pipeline.cmd("SET").arg(self.level(bucket)).arg(text);
                    set.arg("PX").arg(life + 1000).ignore();
                }
            }
            self.send(&pipeline).await?;
        }
        // Last: until it is there, nobody takes what is not stored yet for lost.
        let mut pipeline = redis::pipe();
        pipeline.cmd("SET").arg(self.marker()).arg(lost_since_ms).ignore();
        pipeline.cmd("DEL").arg(self.lock()).ignore();
        self.send(&pipeline).await
    }

    async fn send(&self, pipeline: &redis::Pipeline) -> Result<(), Away> {
        let mut connection = self.connection.clone();
        let within = self.within.max(REFILL_WITHIN);
        let sent = tokio::time::timeout(within, pipeline.query_async::<()>(&mut connection));
        Ok(sent.await.map_err(|_| Away::Slow)??)
    }

    fn marker(&self) -> String {
        format!("{}levels-lost-since", self.prefix)
    }

    fn lock(&self) -> String {
        format!("{}levels-filling", self.prefix)
    }

    fn lookup(&self, end_to_end_id: &EndToEndId) -> String {
        format!("{}lookup:{end_to_end_id}", self.prefix)
    }

    fn level(&self, bucket: &Bucket) -> String {
        let Bucket {
            policy,
            participant,
            payer,
        } = bucket;
        let payer = payer.as_ref().map_or("", TaxId::as_str);
        format!("{}bucket:{}:{participant}:{payer}", self.prefix, policy.as_str())
    }
}

/// Milliseconds until a level is full; none when it is.
fn life(level: Level, rate: Rate, now_ms: i64) -> i64 {
    match rate.until(level.units, rate.full()) {
        0 => 0,
        span => level.at_ms - now_ms + span,
    }
}

fn parse(answer: &[i64], buckets: usize) -> Option<Touched> {
    let (done, bits, levels) = match answer {
        [done, bits, levels @ ..] if levels.len() == 2 * buckets => (*done, *bits, levels),
        _ => return None,
    };
    Some(Touched {
        done: done == 1,
        noted: (0..buckets).map(|i| bits >> i & 1 == 1).collect(),
        levels: levels
            .chunks_exact(2)
            .map(|level| Level {
                units: level[0],
                at_ms: level[1],
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests;
