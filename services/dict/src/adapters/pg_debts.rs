//! What must outlive Redis: debts of buckets, whether buckets ever began, and the secret behind payers' names.

use dict_core::buckets::{Level, Policy, Rate};
use pix_domain::{Ispb, TaxId};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};

use crate::buckets::Bucket;

/// Whether Redis was ever filled for this database.
pub(crate) async fn have_begun(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("SELECT EXISTS (SELECT FROM buckets_began)")
        .fetch_one(pool)
        .await?;
    row.try_get(0)
}

/// Notes that Redis was filled.
pub(crate) async fn begin(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO buckets_began (id) VALUES (1) ON CONFLICT DO NOTHING")
        .execute(pool)
        .await?;
    Ok(())
}

/// What payers' names in Redis are made with.
pub(crate) async fn secret(pool: &PgPool) -> Result<Vec<u8>, sqlx::Error> {
    let row = sqlx::query("SELECT secret FROM bucket_secret")
        .fetch_one(pool)
        .await?;
    row.try_get(0)
}

/// Keeps the levels of buckets that are in debt.
pub(crate) async fn keep(pool: &PgPool, debts: &[(Bucket, Rate, Level)]) -> Result<(), sqlx::Error> {
    let mut debts: Vec<_> = debts.iter().collect();
    // In one order everywhere: two that keep debts at once wait for each other, and never both.
    debts.sort_by(|(one, _, _), (other, _, _)| key(one).cmp(&key(other)));
    let keys: Vec<_> = debts.iter().map(|(bucket, _, _)| key(bucket)).collect();
    let policies: Vec<&str> = keys.iter().map(|key| key.0).collect();
    let participants: Vec<&str> = keys.iter().map(|key| key.1).collect();
    let payers: Vec<&str> = keys.iter().map(|key| key.2).collect();
    let numbers = |number: fn(&Rate, &Level) -> i64| {
        let numbers = debts.iter().map(|(_, rate, level)| number(rate, level));
        numbers.collect::<Vec<_>>()
    };
    // Several processes may keep one bucket's, out of order and each as it knows it: the lower counts, both refilled.
    sqlx::query(
        "INSERT INTO bucket_debt AS kept
             (policy, participant, payer, units, at_ms, tokens, period_ms, capacity, full_at_ms)
         SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[],
                              $7::bigint[], $8::bigint[], $9::bigint[])
         ON CONFLICT (policy, participant, payer) DO UPDATE SET
             units = EXCLUDED.units, at_ms = EXCLUDED.at_ms, tokens = EXCLUDED.tokens,
             period_ms = EXCLUDED.period_ms, capacity = EXCLUDED.capacity, full_at_ms = EXCLUDED.full_at_ms
         WHERE EXCLUDED.full_at_ms > kept.full_at_ms",
    )
    .bind(policies)
    .bind(participants)
    .bind(payers)
    .bind(numbers(|_, level| level.units))
    .bind(numbers(|_, level| level.at_ms))
    .bind(numbers(|rate, _| rate.tokens))
    .bind(numbers(|rate, _| rate.period_ms))
    .bind(numbers(|rate, _| rate.capacity))
    .bind(numbers(|rate, level| {
        level.at_ms + rate.until(level.units, rate.full())
    }))
    .execute(pool)
    .await?;
    Ok(())
}

fn key(bucket: &Bucket) -> (&str, &str, &str) {
    let payer = bucket.payer.as_ref().map_or("", TaxId::as_str);
    (bucket.policy.as_str(), bucket.participant.as_str(), payer)
}

/// The debts whose buckets are not full again, as they were kept. What is not one of ours, after a change of policies
/// say, is left out.
pub(crate) async fn all(pool: &PgPool, now_ms: i64) -> Result<Vec<(Bucket, Rate, Level)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT policy, participant, payer, units, at_ms, tokens, period_ms, capacity FROM bucket_debt
         WHERE full_at_ms > $1",
    )
    .bind(now_ms)
    .fetch_all(pool)
    .await?;
    rows.iter().map(debt).filter_map(Result::transpose).collect()
}

fn debt(row: &PgRow) -> Result<Option<(Bucket, Rate, Level)>, sqlx::Error> {
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
    let level = Level {
        units: row.try_get(3)?,
        at_ms: row.try_get(4)?,
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
