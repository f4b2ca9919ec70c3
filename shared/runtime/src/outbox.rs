//! The outbox of a service with many writers: its events are rows of `outbox_event (sequence, subject, payload, at)`,
//! written in the transaction of what they tell of, claimed by lock, and gone once they are acknowledged.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use pix_domain::Timestamp;
use sqlx::{PgConnection, PgPool, Postgres, Row as _, Transaction};
use time::OffsetDateTime;
use tokio::sync::Notify;

use crate::Stopping;
use crate::events::{CloudEvent, EventError, EventStream};

/// Events published in one round.
const PUBLISH_MAX: i64 = 256;
/// How long a round of publishing may take.
const PUBLISH_WITHIN: Duration = Duration::from_secs(10);
/// How often the table is looked at without being told: NATS may have been away.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// An event that is about to be written.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its subject: `pix.dict.entry_created.v1`.
    pub subject: &'static str,
    /// Protobuf.
    pub payload: Vec<u8>,
}

/// Whose events they are.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The service: `dict`.
    pub service: &'static str,
    /// The stream that keeps them: `PIX_DICT`.
    pub stream: &'static str,
    /// Its subjects: `pix.dict.*.v1`.
    pub subjects: &'static str,
    /// Metric: events that were acknowledged.
    pub published: &'static str,
    /// Metric: rounds that failed.
    pub failures: &'static str,
    /// Metric: age of the oldest that waits.
    pub age: &'static str,
}

/// Writes an event in the transaction of what it tells of; the table gives it its number.
///
/// # Errors
/// What Postgres says.
pub async fn write(connection: &mut PgConnection, event: &Event, at: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO outbox_event (subject, payload, at) VALUES ($1, $2, $3)")
        .bind(event.subject)
        .bind(&event.payload)
        .bind(OffsetDateTime::from(at))
        .execute(connection)
        .await?;
    Ok(())
}

/// How many events nobody has acknowledged.
///
/// # Errors
/// What Postgres says.
pub async fn waiting(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query("SELECT count(*) FROM outbox_event")
        .fetch_one(pool)
        .await?
        .try_get(0)
}

/// Publishes what is in the outbox.
pub struct Relay {
    origin: &'static Origin,
    pool: PgPool,
    stream: EventStream,
    database: String,
    told: Arc<Notify>,
}

impl Relay {
    /// `database` names the database that numbers the events: they begin anew in another. `told` wakes the relay.
    #[must_use]
    pub fn new(
        origin: &'static Origin,
        pool: PgPool,
        client: Client,
        database: String,
        told: Arc<Notify>,
    ) -> Self {
        Self {
            origin,
            pool,
            stream: EventStream::new(client, origin.stream, origin.subjects),
            database,
            told,
        }
    }

    /// Publishes until the stop. JetStream drops what it has seen by `Nats-Msg-Id`; beyond its window a consumer's own
    /// key does.
    pub async fn run(self, stopping: Stopping) {
        let mut failing = false;
        loop {
            let published = tokio::select! {
                () = stopping.stopped() => return,
                published = tokio::time::timeout(PUBLISH_WITHIN, self.round()) => published,
            };
            let failure = match published {
                Ok(Ok(0)) => None,
                Ok(Ok(_)) => {
                    failing = false;
                    continue;
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no acknowledgement in time".to_owned()),
            };
            if let Some(error) = failure {
                metrics::counter!(self.origin.failures).increment(1);
                if !failing {
                    tracing::warn!(error, "events wait until NATS and Postgres are there");
                }
                failing = true;
            }
            tokio::select! {
                () = stopping.stopped() => return,
                () = self.told.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// One round; how many were published.
    async fn round(&self) -> Result<usize, EventError> {
        let claim = claim(&self.pool).await?;
        let age_s = claim.events.first().map_or(0.0, |oldest| oldest.age_s);
        metrics::gauge!(self.origin.age).set(age_s);
        if claim.events.is_empty() {
            return Ok(0);
        }
        let sequences: Vec<i64> = claim.events.iter().map(|event| event.sequence).collect();
        let mut acknowledgements = Vec::with_capacity(claim.events.len());
        for event in &claim.events {
            acknowledgements.push(self.stream.publish(self.on_wire(event)).await?);
        }
        for acknowledgement in acknowledgements {
            if let Err(error) = acknowledgement.await {
                // A stream that is not there, because its store was deleted say, is made again.
                self.stream.ensure().await?;
                return Err(error);
            }
        }
        claim.published(&sequences).await?;
        metrics::counter!(self.origin.published).increment(sequences.len() as u64);
        Ok(sequences.len())
    }

    fn on_wire(&self, event: &Unpublished) -> CloudEvent {
        let service = self.origin.service;
        CloudEvent {
            id: format!("{service}-{}-{}", self.database, event.sequence),
            source: format!("/pix/{service}"),
            subject: event.subject.clone(),
            at: event.at,
            payload: event.payload.clone(),
        }
    }
}

/// An event that nobody has acknowledged.
struct Unpublished {
    sequence: i64,
    subject: String,
    payload: Vec<u8>,
    at: Timestamp,
    /// How long it waits.
    age_s: f64,
}

/// Some events, locked: other copies of the service publish others meanwhile.
struct Claim {
    transaction: Transaction<'static, Postgres>,
    events: Vec<Unpublished>,
}

/// Takes the next events that nobody else has taken, in the order of their numbers.
async fn claim(pool: &PgPool) -> Result<Claim, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let rows = sqlx::query(
        "SELECT sequence, subject, payload, at, EXTRACT(EPOCH FROM clock_timestamp() - at)::float8
           FROM outbox_event ORDER BY sequence LIMIT $1 FOR UPDATE SKIP LOCKED",
    )
    .bind(PUBLISH_MAX)
    .fetch_all(&mut *transaction)
    .await?;
    let event = |row: &sqlx::postgres::PgRow| {
        Ok(Unpublished {
            sequence: row.try_get(0)?,
            subject: row.try_get(1)?,
            payload: row.try_get(2)?,
            at: row.try_get::<OffsetDateTime, _>(3)?.into(),
            age_s: row.try_get(4)?,
        })
    };
    let events = rows.iter().map(event).collect::<Result<_, sqlx::Error>>()?;
    Ok(Claim { transaction, events })
}

impl Claim {
    /// Notes that they are published. Without it they are somebody's again: a repeat has the same number.
    async fn published(mut self, sequences: &[i64]) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM outbox_event WHERE sequence = ANY($1)")
            .bind(sequences)
            .execute(&mut *self.transaction)
            .await?;
        self.transaction.commit().await
    }
}
