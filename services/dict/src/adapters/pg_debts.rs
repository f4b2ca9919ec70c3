//! Debts of buckets, and whether buckets ever began: what must outlive Redis.

use dict_core::buckets::{Level, Policy, Rate};
use pix_domain::{Ispb, TaxId};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};

use crate::buckets::Bucket;

/// Whether no DICT with this database ever had buckets. From now on one has.
pub(crate) async fn is_first_start(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let began = sqlx::query("INSERT INTO buckets_began (id) VALUES (1) ON CONFLICT DO NOTHING")
        .execute(pool)
        .await?;
    Ok(began.rows_affected() == 1)
}

/// Keeps the level of a bucket that is in debt.
pub(crate) async fn keep(
    pool: &PgPool,
    bucket: &Bucket,
    rate: Rate,
    level: Level,
) -> Result<(), sqlx::Error> {
    // Of two that are written out of order the later counts, and of the same time the deeper.
    sqlx::query(
        "INSERT INTO bucket_debt (policy, participant, payer, units, at_ms, tokens, period_ms, capacity, full_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (policy, participant, payer) DO UPDATE SET
             units = EXCLUDED.units, at_ms = EXCLUDED.at_ms, tokens = EXCLUDED.tokens,
             period_ms = EXCLUDED.period_ms, capacity = EXCLUDED.capacity, full_at_ms = EXCLUDED.full_at_ms
         WHERE (EXCLUDED.at_ms, -EXCLUDED.units) > (bucket_debt.at_ms, -bucket_debt.units)",
    )
    .bind(bucket.policy.as_str())
    .bind(bucket.participant.as_str())
    .bind(bucket.payer.as_ref().map_or("", TaxId::as_str))
    .bind(level.units)
    .bind(level.at_ms)
    .bind(rate.tokens)
    .bind(rate.period_ms)
    .bind(rate.capacity)
    .bind(level.at_ms + rate.until(level.units, rate.full()))
    .execute(pool)
    .await?;
    Ok(())
}

/// The debts whose buckets are not full again. What is not one of ours, after a change of policies say, is left out.
pub(crate) async fn all(pool: &PgPool, now_ms: i64) -> Result<Vec<(Bucket, Rate, Level)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT policy, participant, payer, units, at_ms, tokens, period_ms, capacity FROM bucket_debt
         WHERE full_at_ms > $1",
    )
    .bind(now_ms)
    .fetch_all(pool)
    .await?;
    let debts = rows.iter().map(|row| debt(row, now_ms));
    debts.filter_map(Result::transpose).collect()
}

/// A debt as it is now, never more than a bucket of which nothing is known: since it was kept, tokens may have been
/// taken that made no debt.
fn debt(row: &PgRow, now_ms: i64) -> Result<Option<(Bucket, Rate, Level)>, sqlx::Error> {
    let payer: &str = row.try_get(2)?;
    let bucket = Policy::parse(row.try_get(0)?)
        .zip(Ispb::parse(row.try_get::<&str, _>(1)?.as_bytes()).ok())
        .map(|(policy, participant)| Bucket {
            policy,
            participant,
            payer: TaxId::parse(payer.as_bytes()).ok(),
        });
    let rate = Rate {
        tokens: row.try_get(5)?,
        period_ms: row.try_get(6)?,
        capacity: row.try_get(7)?,
    };
    let kept = Level {
        units: row.try_get(3)?,
        at_ms: row.try_get(4)?,
    };
    let level = kept.refilled(rate, now_ms);
    let level = Level {
        units: level.units.min(rate.unknown()),
        ..level
    };
    Ok(bucket.map(|bucket| (bucket, rate, level)))
}

/// Removes the debts whose buckets are full again.
pub(crate) async fn forget(pool: &PgPool, now_ms: i64) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM bucket_debt WHERE full_at_ms <= $1")
        .bind(now_ms)
        .execute(pool)
        .await?;
    Ok(())
}
