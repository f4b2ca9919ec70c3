//! Thresholds of participants, and which side of them was told.

use std::collections::BTreeMap;

use pix_domain::{Ispb, Timestamp};
use pix_runtime::outbox::{self, Event};
use settlement_core::balances::Crossing;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use time::OffsetDateTime;

use super::pg::{self, StoreError, parsed};

/// Every threshold there is, in centavos.
pub(crate) async fn thresholds(pool: &PgPool) -> Result<BTreeMap<Ispb, i64>, StoreError> {
    let rows = sqlx::query(
        "SELECT ispb, low_liquidity_centavos FROM participant WHERE low_liquidity_centavos IS NOT NULL",
    )
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| Ok((ispb("participant", row)?, row.try_get(1)?)))
        .collect()
}

/// Who was told to be low, and who not any more.
pub(crate) async fn told(pool: &PgPool) -> Result<BTreeMap<Ispb, bool>, StoreError> {
    let rows = sqlx::query("SELECT ispb, is_low FROM liquidity")
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| Ok((ispb("liquidity", row)?, row.try_get(1)?)))
        .collect()
}

/// Notes a crossing, with the event that tells of it; false when it was noted before.
pub(crate) async fn note(
    pool: &PgPool,
    crossing: &Crossing,
    event: Option<&Event>,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let mut transaction = pg::begin(pool).await?;
    let noted = sqlx::query(
        "INSERT INTO liquidity AS l (ispb, is_low, at) VALUES ($1, $2, $3)
         ON CONFLICT (ispb) DO UPDATE SET is_low = EXCLUDED.is_low, at = EXCLUDED.at WHERE l.is_low <> EXCLUDED.is_low",
    )
    .bind(crossing.ispb.as_str())
    .bind(crossing.is_low)
    .bind(OffsetDateTime::from(at))
    .execute(&mut *transaction)
    .await?;
    if noted.rows_affected() == 0 {
        return Ok(false);
    }
    if let Some(event) = event {
        outbox::write(&mut transaction, event, at).await?;
    }
    transaction.commit().await.map_err(StoreError::Unknown)?;
    Ok(true)
}

fn ispb(table: &'static str, row: &PgRow) -> Result<Ispb, StoreError> {
    parsed(table, Ispb::parse(row.try_get::<&str, _>(0)?.as_bytes()))
}
