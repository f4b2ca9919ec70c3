//! Levels of buckets in Redis: one script, whose arithmetic is that of `dict_core::buckets`.
//!
//! Redis may be emptied at any time, and an empty one must not say that every bucket is full. So a marker tells since
//! when levels are lost (0: never, they began full) and names this filling; without the marker that the process knows
//! the script does nothing. What is not stored holds what it would, had it held a tenth at that time.
//!
//! Names of payers are keyed hashes: no CPF or CNPJ reaches Redis, its logs, its dumps.

use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::hmac;
use dict_core::buckets::{Level, Rate};
use pix_domain::{EndToEndId, TaxId};
use redis::aio::ConnectionManager;
use redis::{RedisError, Script, ScriptInvocation};

use crate::buckets::{Bucket, Note, Told};

/// How long a lookup waits for the order of payment that it was for.
const LOOKUP_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Octets of a payer's name in Redis: enough that no two of all payers meet.
const NAME_OCTETS: usize = 16;

/// Why Redis did not do what it was asked; a command that timed out may have been done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Away {
    /// It does not answer.
    #[error("Redis does not answer: {0}")]
    Silent(#[from] RedisError),
    /// It did not answer in time.
    #[error("Redis did not answer in time")]
    Slow,
    /// It answers, and is not what it was: it was emptied, or emptied and filled again.
    #[error("Redis was emptied")]
    Emptied,
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
    /// Tokens that an order of payment will bring: held with a take, held no more with a change.
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

/// What Redis says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Names the server's process: another one may have forgotten something.
    pub(crate) run: String,
    /// None when it was emptied.
    pub(crate) marker: Option<String>,
    /// What it does when its memory is full; only `noeviction` forgets nothing.
    pub(crate) policy: String,
}

/// The buckets in Redis; clones share a connection.
#[derive(Clone)]
pub(crate) struct RedisBuckets {
    connection: ConnectionManager,
    prefix: String,
    script: Script,
    secret: hmac::Key,
    within: Duration,
}

impl RedisBuckets {
    /// Buckets whose keys begin with `prefix`, and whose payers are named with `secret`. An answer that takes longer
    /// than `within` is none.
    pub(crate) fn new(
        connection: ConnectionManager,
        prefix: String,
        secret: &[u8],
        within: Duration,
    ) -> Self {
        Self {
            connection,
            prefix,
            script: Script::new(include_str!("redis_buckets.lua")),
            secret: hmac::Key::new(hmac::HMAC_SHA256, secret),
            within,
        }
    }

    /// Takes from, changes or looks at some buckets at once.
    pub(crate) async fn touch(
        &self,
        marker: &str,
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
        let mut call = self.begin(marker, mode, lookup, now_ms);
        for touch in touches {
            let credit = lookup.map_or(0, |_| touch.credit);
            call.key(self.level(&touch.bucket));
            arg_rate(&mut call, touch.rate).arg(&[touch.change, credit]);
        }
        let answer = self.call(&call).await?;
        parse(&answer, touches.len()).ok_or(Away::Nonsense)
    }

    /// Tells levels that the process knows: none is higher afterwards. Gives what they are.
    pub(crate) async fn lower(&self, marker: &str, told: &[Told], now_ms: i64) -> Result<Vec<Level>, Away> {
        let mut call = self.begin(marker, "lower", None, now_ms);
        for told in told {
            call.key(self.level(&told.bucket));
            let Level { units, at_ms } = told.level;
            arg_rate(&mut call, told.rate).arg(&[units, at_ms, i64::from(told.sure)]);
        }
        let answer = self.call(&call).await?;
        let touched = parse(&answer, told.len()).ok_or(Away::Nonsense)?;
        Ok(touched.levels)
    }

    /// Tells of lookups that the process admitted on its own. What is known of such a one already stays.
    pub(crate) async fn note(&self, marker: &str, note: &Note, now_ms: i64) -> Result<(), Away> {
        let lookup = Lookup {
            end_to_end_id: note.end_to_end_id,
            payer: note.payer,
        };
        let mut call = self.begin(marker, "note", Some(lookup), now_ms);
        call.key(self.level(&note.bucket));
        arg_rate(&mut call, note.rate).arg(&[note.credit, note.holders]);
        self.call(&call).await.map(drop)
    }

    /// Adds what lookups with these EndToEndIds and payers hold, once; tells to how many buckets.
    pub(crate) async fn credit(&self, marker: &str, lookups: &[Lookup], now_ms: i64) -> Result<i64, Away> {
        let mut call = self.script.prepare_invoke();
        call.key(self.marker());
        call.arg("credit").arg(now_ms).arg(marker).arg("").arg("");
        for lookup in lookups {
            call.key(self.lookup(&lookup.end_to_end_id));
            call.arg(self.name(&lookup.payer));
        }
        let answer = self.call(&call).await?;
        answer.first().copied().ok_or(Away::Nonsense)
    }

    fn begin(&self, marker: &str, mode: &str, lookup: Option<Lookup>, now_ms: i64) -> ScriptInvocation<'_> {
        let mut call = self.script.prepare_invoke();
        call.key(self.marker());
        call.key(lookup.map_or_else(|| self.marker(), |lookup| self.lookup(&lookup.end_to_end_id)));
        call.arg(mode).arg(now_ms).arg(marker);
        call.arg(lookup.map_or_else(String::new, |lookup| self.name(&lookup.payer)));
        call.arg(LOOKUP_LIFE.as_millis().to_string());
        call
    }

    async fn call(&self, call: &ScriptInvocation<'_>) -> Result<Vec<i64>, Away> {
        let mut connection = self.connection.clone();
        let answer = tokio::time::timeout(self.within, call.invoke_async::<Vec<i64>>(&mut connection));
        let answer = answer.await.map_err(|_| Away::Slow)??;
        if answer.first() == Some(&-1) {
            return Err(Away::Emptied);
        }
        Ok(answer)
    }

    /// Asks Redis what it is.
    pub(crate) async fn look(&self) -> Result<Seen, Away> {
        let mut connection = self.connection.clone();
        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg(self.marker());
        pipeline.cmd("INFO").arg("server");
        pipeline.cmd("INFO").arg("memory");
        let asked = pipeline.query_async::<(Option<String>, String, String)>(&mut connection);
        let asked = tokio::time::timeout(self.within, asked).await;
        let (marker, server, memory) = asked.map_err(|_| Away::Slow)??;
        Ok(Seen {
            run: line(&server, "run_id:"),
            marker,
            policy: line(&memory, "maxmemory_policy:"),
        })
    }

    /// Marks an emptied store as one whose levels were lost then; gives the marker, be it another process's.
    pub(crate) async fn fill(&self, lost_since_ms: i64, name: u128) -> Result<String, Away> {
        let mut connection = self.connection.clone();
        let mut pipeline = redis::pipe();
        let wanted = format!("{lost_since_ms} {name:032x}");
        pipeline
            .cmd("SET")
            .arg(self.marker())
            .arg(wanted)
            .arg("NX")
            .ignore();
        pipeline.cmd("GET").arg(self.marker());
        let asked = tokio::time::timeout(self.within, pipeline.query_async::<(String,)>(&mut connection));
        Ok(asked.await.map_err(|_| Away::Slow)??.0)
    }

    fn marker(&self) -> String {
        format!("{}levels-lost-since", self.prefix)
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
        let payer = payer.as_ref().map_or_else(String::new, |payer| self.name(payer));
        format!("{}bucket:{}:{participant}:{payer}", self.prefix, policy.as_str())
    }

    /// What a payer is called in Redis.
    fn name(&self, payer: &TaxId) -> String {
        let tag = hmac::sign(&self.secret, payer.as_str().as_bytes());
        let mut name = String::with_capacity(2 * NAME_OCTETS);
        for octet in tag.as_ref().iter().take(NAME_OCTETS) {
            write!(name, "{octet:02x}").expect("a String takes everything");
        }
        name
    }
}

fn arg_rate<'a, 'b>(call: &'a mut ScriptInvocation<'b>, rate: Rate) -> &'a mut ScriptInvocation<'b> {
    let Rate {
        tokens,
        period_ms,
        capacity,
    } = rate;
    call.arg(&[tokens, period_ms, capacity])
}

/// The value of a line of `INFO`; empty when it is not there.
fn line(info: &str, name: &str) -> String {
    let line = info.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default().trim().to_owned()
}

fn parse(answer: &[i64], buckets: usize) -> Option<Touched> {
    let (done, levels) = answer.split_first()?;
    if levels.len() != 2 * buckets {
        return None;
    }
    let levels = levels.chunks_exact(2).map(|level| Level {
        units: level[0],
        at_ms: level[1],
    });
    Some(Touched {
        done: *done == 1,
        levels: levels.collect(),
    })
}

#[cfg(test)]
mod tests;
