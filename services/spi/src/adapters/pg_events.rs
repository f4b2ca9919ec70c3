//! The table of events, and how far they are published.

use std::time::Duration;

use pix_domain::Timestamp;
use sqlx::{PgPool, Row as _};
use time::OffsetDateTime;

use super::pg::StoreError;
use super::pg_book::SHARD;

/// Events of a round.
pub(crate) const PUBLISH_MAX: usize = 256;

/// An event on its way to its subject.
pub(crate) struct Unpublished {
    pub(crate) id: i64,
    pub(crate) batch: i64,
    pub(crate) subject: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) at: Timestamp,
}

/// The next events, in the order of their numbers: those behind `after`, or behind what was noted last.
pub(crate) async fn unpublished(pool: &PgPool, after: Option<i64>) -> Result<Vec<Unpublished>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, batch, subject, payload, at FROM event
         WHERE shard = $1 AND id > COALESCE($3, (SELECT published_id FROM event_cursor WHERE shard = $1), 0)
         ORDER BY id LIMIT $2",
    )
    .bind(SHARD)
    .bind(i64::try_from(PUBLISH_MAX).expect("small"))
    .bind(after)
    .fetch_all(pool)
    .await?;
    let event = |row: &sqlx::postgres::PgRow| {
        Ok(Unpublished {
            id: row.try_get(0)?,
            batch: row.try_get(1)?,
            subject: row.try_get(2)?,
            payload: row.try_get(3)?,
            at: row.try_get::<OffsetDateTime, _>(4)?.into(),
        })
    };
    rows.iter().map(event).collect()
}

/// Goes back to the first event of the last `span`: from there on everything is unpublished again.
pub(crate) async fn rewind(pool: &PgPool, span: Duration) -> Result<(), StoreError> {
    // From the newest backwards: it meets no more than what is to be published again.
    sqlx::query(
        "UPDATE event_cursor SET published_id = LEAST(published_id, COALESCE((
             SELECT id FROM event WHERE shard = $1 AND at < now() - make_interval(secs => $2)
             ORDER BY id DESC LIMIT 1), 0))
         WHERE shard = $1",
    )
    .bind(SHARD)
    .bind(span.as_secs_f64())
    .execute(pool)
    .await?;
    Ok(())
}

/// Notes that everything up to `last` is published.
pub(crate) async fn published(pool: &PgPool, last: i64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO event_cursor (shard, published_id) VALUES ($1, $2)
         ON CONFLICT (shard) DO UPDATE SET published_id = EXCLUDED.published_id",
    )
    .bind(SHARD)
    .bind(last)
    .execute(pool)
    .await?;
    Ok(())
}
