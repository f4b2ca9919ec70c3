//! Events on their way to NATS: written with the change they tell of, gone once they are acknowledged.

use pix_domain::Timestamp;
use sqlx::{PgConnection, PgPool, Postgres, Row as _, Transaction};
use time::OffsetDateTime;

use super::pg::StoreError;

/// Events published in one round.
const PUBLISH_MAX: i64 = 256;

/// An event that is about to be written.
pub(crate) struct Event {
    pub(crate) subject: &'static str,
    pub(crate) payload: Vec<u8>,
}

/// An event that nobody has acknowledged.
pub(crate) struct Unpublished {
    pub(crate) sequence: i64,
    pub(crate) subject: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) at: Timestamp,
    /// How long it waits.
    pub(crate) age_s: f64,
}

/// Some events, locked: other copies of the service publish others meanwhile.
pub(crate) struct Claim {
    transaction: Transaction<'static, Postgres>,
    pub(crate) events: Vec<Unpublished>,
}

/// Writes an event in the transaction of what it tells of.
pub(crate) async fn write(
    connection: &mut PgConnection,
    event: &Event,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO outbox_event (subject, payload, at) VALUES ($1, $2, $3)")
        .bind(event.subject)
        .bind(&event.payload)
        .bind(OffsetDateTime::from(at))
        .execute(connection)
        .await?;
    Ok(())
}

/// How many events nobody has acknowledged.
pub(crate) async fn waiting(pool: &PgPool) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT count(*) FROM outbox_event")
        .fetch_one(pool)
        .await?;
    Ok(row.try_get(0)?)
}

/// Takes the next events that nobody else has taken, in the order of their numbers.
pub(crate) async fn claim(pool: &PgPool) -> Result<Claim, StoreError> {
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
    let events = rows.iter().map(event).collect::<Result<_, StoreError>>()?;
    Ok(Claim { transaction, events })
}

impl Claim {
    /// Notes that they are published. Without it they are somebody's again: a repeat has the same number.
    pub(crate) async fn published(mut self, sequences: &[i64]) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM outbox_event WHERE sequence = ANY($1)")
            .bind(sequences)
            .execute(&mut *self.transaction)
            .await?;
        self.transaction.commit().await.map_err(StoreError::Unknown)
    }
}
