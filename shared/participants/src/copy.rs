//! The copy of the registry that a service keeps in its own database, and how it follows the settlement service: it
//! starts and judges by the copy alone, and every change is stored before it takes effect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use pix_domain::Ispb;
use pix_proto::settlement_v1::participants_client::ParticipantsClient;
use pix_proto::settlement_v1::{self, Change, ChangesRequest, ListRequest};
use pix_runtime::ops::Readiness;
use pix_runtime::{Ids, Stopping};
use prost::Message as _;
use sqlx::{PgPool, Row as _};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::current::Resident;
use crate::source::READY;
use crate::standing::Telling;
use crate::{Contradictions, Directory, Record, RecordFault};

/// The first pause before the settlement service is called again.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest: a change is learnt within a second of the service's return.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How long the settlement service may take for the first word of an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// How long our own database may take for a change: one that vanished without a word is as good as away.
const STORE_WITHIN: Duration = Duration::from_secs(5);
/// Changes that are stored in one transaction when they come faster than it commits.
const CHANGES_MAX: usize = 256;
/// A change, or all participants at once: a thousand of them are some 4 MiB.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The copy, as it is stored.
#[derive(Clone, Debug, Default)]
pub struct Copy {
    /// `None` in a copy that holds nothing yet.
    registry: Option<String>,
    version: i64,
    /// Whether it ever held as much as the registry did.
    filled: bool,
    held: BTreeMap<Ispb, Arc<Held>>,
}

/// A participant, as a change told it.
#[derive(Debug)]
struct Held {
    version: i64,
    at_micros: i64,
    told: Vec<u8>,
    record: Record,
}

/// Why there is no copy to begin with.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The database.
    #[error("the database cannot be asked: {0}")]
    Store(#[from] sqlx::Error),
    /// A row holds no participant.
    #[error("participant_copy holds something else than was told: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A row holds a participant that cannot be understood.
    #[error("participant_copy: {0}")]
    Record(#[from] RecordFault),
    /// The rows are no whole.
    #[error("participant_copy: {0}")]
    Contradictions(#[from] Contradictions),
}

impl Copy {
    /// The copy in this database.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn load(pool: &PgPool) -> Result<Self, CopyError> {
        // One statement sees one state, also while another process of the service stores a change.
        let rows = sqlx::query(
            "SELECT state.registry, state.version, state.filled, held.version, held.at_micros, held.record
             FROM participant_copy_state AS state LEFT JOIN participant_copy AS held ON true",
        );
        let mut copy = Self::default();
        for row in rows.fetch_all(pool).await? {
            copy.registry = Some(row.try_get(0)?);
            copy.version = row.try_get(1)?;
            copy.filled = row.try_get(2)?;
            if let Some(version) = row.try_get(3)? {
                copy.hold(version, row.try_get(4)?, row.try_get(5)?)?;
            }
        }
        Ok(copy)
    }

    /// The registry that it is a copy of; none while it is empty.
    #[must_use]
    pub fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    /// The change up to which it is complete.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Whether it can be judged by: one whose first fill was cut off holds the beginning of a history, with
    /// certificates that were revoked since.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.filled
    }

    /// Who is who in it.
    ///
    /// # Errors
    /// When its participants contradict each other.
    pub fn directory(&self) -> Result<Directory, Contradictions> {
        let records = self.held.values().map(|held| &held.record);
        Directory::of(records, self.version.to_string())
    }

    fn hold(&mut self, version: i64, at_micros: i64, told: Vec<u8>) -> Result<(), CopyError> {
        let participant = settlement_v1::Participant::decode(told.as_slice())?;
        let record = Record::try_from(&participant)?;
        let held = Held {
            version,
            at_micros,
            told,
            record,
        };
        self.held.insert(held.record.ispb, Arc::new(held));
        Ok(())
    }

    /// The copy after these changes, which have to follow it one by one.
    fn after(&self, changes: &[Change]) -> Result<Self, Fault> {
        let mut next = self.clone();
        for change in changes {
            next.belongs(&change.registry)?;
            if change.version != next.version + 1 {
                return Err(Fault::Gap {
                    held: next.version,
                    told: change.version,
                });
            }
            let participant = change.participant.as_ref();
            let told = participant.map(prost::Message::encode_to_vec).unwrap_or_default();
            next.hold(change.version, change.at_micros, told)
                .map_err(|e| Fault::Unreadable(e.to_string()))?;
            next.version = change.version;
        }
        Ok(next)
    }

    /// Whether what this registry tells belongs here; a copy of none becomes one of it.
    fn belongs(&mut self, registry: &str) -> Result<(), Fault> {
        if registry.is_empty() {
            return Err(Fault::Unreadable("a registry without a name".to_owned()));
        }
        let own = self.registry.get_or_insert_with(|| registry.to_owned());
        match own == registry {
            true => Ok(()),
            false => Err(Fault::Foreign(format!(
                "it names itself {registry:?}, and the copy is of {own:?}"
            ))),
        }
    }

    /// Whether the registry still knows the last change that we hold as we were told it.
    fn agrees(&self, told: &Change) -> bool {
        let last = self.held.values().find(|held| held.version == self.version);
        let ispb = told.participant.as_ref().map_or("", |one| one.ispb.as_str());
        last.is_some_and(|last| {
            let own = (last.version, last.at_micros, last.record.ispb.as_str());
            own == (told.version, told.at_micros, ispb) && self.registry() == Some(told.registry.as_str())
        })
    }

    /// Makes the stored copy this one; `before` is the version that is there. Several processes of a service may
    /// follow: the newest stays.
    async fn store(&self, pool: &PgPool, before: i64) -> Result<(), Fault> {
        let stored = tokio::time::timeout(STORE_WITHIN, self.commit(pool, before));
        stored
            .await
            .unwrap_or(Err(Fault::Store(sqlx::Error::PoolTimedOut)))
    }

    async fn commit(&self, pool: &PgPool, before: i64) -> Result<(), Fault> {
        let (mut ispbs, mut versions, mut times, mut records) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for held in self.held.values().filter(|held| held.version > before) {
            ispbs.push(held.record.ispb.to_string());
            versions.push(held.version);
            times.push(held.at_micros);
            records.push(held.told.clone());
        }
        let mut transaction = pool.begin().await?;
        let state = sqlx::query(
            "INSERT INTO participant_copy_state AS state (registry, version, filled) VALUES ($1, $2, $3)
             ON CONFLICT (only_one) DO UPDATE
             SET version = greatest(state.version, excluded.version), filled = state.filled OR excluded.filled
             WHERE state.registry = excluded.registry",
        );
        let state = state.bind(self.registry()).bind(self.version).bind(self.filled);
        if state.execute(&mut *transaction).await?.rows_affected() != 1 {
            return Err(Fault::Foreign(
                "the stored copy is of another registry".to_owned(),
            ));
        }
        sqlx::query(
            "INSERT INTO participant_copy AS held (ispb, version, at_micros, record)
             SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bytea[])
             ON CONFLICT (ispb) DO UPDATE
             SET version = excluded.version, at_micros = excluded.at_micros, record = excluded.record
             WHERE held.version < excluded.version",
        )
        .bind(ispbs)
        .bind(versions)
        .bind(times)
        .bind(records)
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }
}

/// Why the copy does not follow.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the settlement service does not answer: {0}")]
    Away(String),
    #[error(
        "the settlement service has another registry, or one older than the copy: {0}; the last good copy stays \
         (to follow it instead, delete the rows of participant_copy and participant_copy_state and restart)"
    )]
    Foreign(String),
    #[error("the settlement service told change {told} after change {held}")]
    Gap { held: i64, told: i64 },
    #[error("the settlement service tells what makes no sense: {0}")]
    Unreadable(String),
    #[error("a change cannot be stored: {0}")]
    Store(#[from] sqlx::Error),
}

impl Fault {
    /// One word for the counter.
    fn why(&self) -> &'static str {
        match self {
            Self::Away(_) => "away",
            Self::Foreign(_) => "foreign",
            Self::Gap { .. } => "gap",
            Self::Unreadable(_) => "unreadable",
            Self::Store(_) => "store",
        }
    }

    /// Whether nobody has to do anything about it.
    fn passes(&self) -> bool {
        matches!(self, Self::Away(_))
    }
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        let text = format!("{:?}: {}", status.code(), status.message());
        match status.code() {
            Code::OutOfRange | Code::FailedPrecondition => Self::Foreign(text),
            _ => Self::Away(text),
        }
    }
}

/// What following takes.
pub(crate) struct Parts {
    pub(crate) channel: Channel,
    pub(crate) pool: PgPool,
    pub(crate) ids: Ids,
    pub(crate) telling: Telling,
    pub(crate) readiness: Readiness,
}

/// Follows the settlement service from `copy` on until the stop.
pub(crate) async fn follow(copy: Copy, parts: Parts, resident: impl Resident, stopping: Stopping) {
    let ids = parts.ids.clone();
    metrics::gauge!("participants_version").set(gauge(copy.version));
    let mut following = Following {
        copy,
        parts,
        resident,
        head: 0,
        last_fault: String::new(),
        in_doubt: false,
    };
    let mut pause = PAUSE_MIN;
    loop {
        let begun = Instant::now();
        let fault = tokio::select! {
            () = stopping.stopped() => return,
            fault = following.session() => fault,
        };
        following.lost(&fault);
        if begun.elapsed() >= PAUSE_MAX {
            pause = PAUSE_MIN;
        }
        let [chance] = ids.bytes::<1>();
        let wait = pause / 2 + pause / 2 * u32::from(chance) / 255;
        pause = (pause * 2).min(PAUSE_MAX);
        tokio::select! {
            () = stopping.stopped() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

struct Following<R> {
    copy: Copy,
    parts: Parts,
    resident: R,
    /// What the registry held when it was asked, which is what a first fill has to reach.
    head: i64,
    /// What was said of it when it was lost, until it is followed again.
    last_fault: String,
    /// Whether what was told did not fit, or could not be stored: a call that is answered does not end that.
    in_doubt: bool,
}

impl<R: Resident> Following<R> {
    /// One call to the settlement service, until it fails.
    async fn session(&mut self) -> Fault {
        let Err(fault) = self.attend().await else {
            return Fault::Away("it ended the stream".to_owned());
        };
        fault
    }

    async fn attend(&mut self) -> Result<(), Fault> {
        let client = ParticipantsClient::new(self.parts.channel.clone());
        let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
        if !self.parts.telling.is_known() {
            // Until it holds as much as there is now, the copy would take participants for strangers.
            let list = in_time(client.list(ListRequest {})).await?.into_inner();
            self.copy.belongs(&list.registry)?;
            self.copy.store(&self.parts.pool, self.copy.version).await?;
            self.head = list.version;
        }
        let request = ChangesRequest {
            registry: self.copy.registry.clone().unwrap_or_default(),
            // The last one that we hold comes again: a registry that was restored may have given its number anew.
            after_version: (self.copy.version - 1).max(0),
        };
        let mut changes = in_time(client.changes(request)).await?.into_inner();
        if self.copy.version > 0 {
            let last = in_time(changes.message()).await?;
            let last = last.ok_or_else(|| Fault::Away("it ended the stream".to_owned()))?;
            if !self.copy.agrees(&last) {
                let why = format!("it does not tell change {} as the copy has it", self.copy.version);
                return Err(Fault::Foreign(why));
            }
        }
        if !self.in_doubt {
            self.followed();
        }
        self.look_around().await?;
        let mut changes = changes.ready_chunks(CHANGES_MAX);
        loop {
            let next = match self.in_doubt {
                false => changes.next().await,
                true => match tokio::time::timeout(STORE_WITHIN, changes.next()).await {
                    Ok(next) => next,
                    Err(_) => {
                        // What did not fit is not told any more.
                        self.followed();
                        continue;
                    }
                },
            };
            let Some(chunk) = next else { return Ok(()) };
            let (told, failure) = until_failure(chunk);
            self.apply(&told).await?;
            if self.in_doubt && !told.is_empty() {
                self.followed();
            }
            self.look_around().await?;
            if let Some(status) = failure {
                return Err(status.into());
            }
        }
    }

    /// Says why nothing is followed any more; the same reason once.
    fn lost(&mut self, fault: &Fault) {
        metrics::counter!("participants_follow_faults_total", "why" => fault.why()).increment(1);
        let text = fault.to_string();
        if self.last_fault != text {
            match fault.passes() {
                true => tracing::warn!(fault = text, "participants are not followed at present"),
                false => tracing::error!(fault = text, "participants are not followed"),
            }
        }
        self.parts.telling.tell(|state| {
            state.followed = false;
            state.fault = Some(text.clone());
        });
        self.last_fault = text;
        self.in_doubt |= !fault.passes();
    }

    fn followed(&mut self) {
        tracing::info!(version = self.copy.version, "participants are followed");
        self.last_fault.clear();
        self.in_doubt = false;
        let registry = &self.copy.registry;
        self.parts.telling.tell(|state| {
            state.registry.clone_from(registry);
            state.followed = true;
            state.fault = None;
        });
    }

    /// Stores changes and lets them take effect, up to the first that does not fit.
    async fn apply(&mut self, changes: &[Change]) -> Result<(), Fault> {
        let applied = self.apply_at_once(changes).await;
        match applied {
            Err(Fault::Foreign(_) | Fault::Gap { .. } | Fault::Unreadable(_)) if changes.len() > 1 => {}
            _ => return applied,
        }
        for change in changes {
            self.apply_at_once(std::slice::from_ref(change)).await?;
        }
        Ok(())
    }

    /// All of them or none.
    async fn apply_at_once(&mut self, changes: &[Change]) -> Result<(), Fault> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut next = self.copy.after(changes)?;
        next.filled |= next.version >= self.head;
        let directory = next.directory().map_err(|e| Fault::Unreadable(e.to_string()))?;
        next.store(&self.parts.pool, self.copy.version).await?;
        self.copy = next;
        self.resident.take(directory).await;
        metrics::gauge!("participants_version").set(gauge(self.copy.version));
        tracing::info!(version = self.copy.version, "participants changed");
        Ok(())
    }

    /// Says that participants are known once the copy holds as much as the registry did.
    async fn look_around(&mut self) -> Result<(), Fault> {
        if self.parts.telling.is_known() || self.copy.version < self.head {
            return Ok(());
        }
        // Nothing came after what an earlier fill had stored. An empty copy stays one that is to be filled.
        if !self.copy.filled && self.copy.version > 0 {
            let whole = Copy {
                filled: true,
                ..self.copy.clone()
            };
            whole.store(&self.parts.pool, whole.version).await?;
            self.copy = whole;
        }
        self.parts.telling.tell(|state| state.known = true);
        self.parts.readiness.set(READY, true);
        Ok(())
    }
}

/// What was told before the call failed, and how it failed.
fn until_failure(chunk: Vec<Result<Change, Status>>) -> (Vec<Change>, Option<Status>) {
    let mut told = Vec::with_capacity(chunk.len());
    for change in chunk {
        match change {
            Ok(change) => told.push(change),
            Err(status) => return (told, Some(status)),
        }
    }
    (told, None)
}

async fn in_time<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Fault> {
    match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(answered) => Ok(answered?),
        Err(_) => Err(Fault::Away("it says nothing".to_owned())),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge; there will not be 2^52 changes"
)]
fn gauge(version: i64) -> f64 {
    version as f64
}
