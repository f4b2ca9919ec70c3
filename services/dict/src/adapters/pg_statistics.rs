//! Settlements counted by day, and the figures of a key and its owner.

use std::collections::BTreeMap;

use dict_core::statistics::{Day, Windows};
use pix_dict_api::Windowed;
use pix_domain::{Key, TaxId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use time::OffsetDateTime;

use super::pg::StoreError;

/// A batch of settlements that the SPI told of.
#[derive(Clone)]
pub(crate) struct Settled {
    /// Names the book.
    pub(crate) source: String,
    pub(crate) shard: i32,
    pub(crate) batch: i64,
    pub(crate) decided_at: Timestamp,
    /// Who was paid, once for each payment.
    pub(crate) persons: Vec<TaxId>,
    /// Which keys were used, likewise.
    pub(crate) keys: Vec<Key>,
}

/// What is known of a key and its owner.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Last batch that was counted.
    pub(crate) settled_until: Option<Timestamp>,
    pub(crate) settled_to_owner: Windowed,
    pub(crate) settled_to_key: Windowed,
    pub(crate) accounts_of_owner: u64,
    pub(crate) accounts_of_key: Windowed,
}

/// Counts batches in one transaction, but for those that were counted before. Tells how many were new.
pub(crate) async fn count(pool: &PgPool, batches: &[Settled]) -> Result<usize, StoreError> {
    // Each once, and in one order everywhere: two processes that count at once wait for each other, and never both.
    let batches: BTreeMap<_, _> = batches
        .iter()
        .map(|settled| ((settled.source.as_str(), settled.shard, settled.batch), settled))
        .collect();
    let mut tx = pool.begin().await?;
    let new = sqlx::query(
        "INSERT INTO settled_batch (source, shard, batch, decided_at)
         SELECT * FROM UNNEST($1::text[], $2::int[], $3::bigint[], $4::timestamptz[])
         ON CONFLICT DO NOTHING RETURNING source, shard, batch",
    )
    .bind(batches.keys().map(|(source, ..)| *source).collect::<Vec<_>>())
    .bind(batches.keys().map(|(_, shard, _)| *shard).collect::<Vec<_>>())
    .bind(batches.keys().map(|(.., batch)| *batch).collect::<Vec<_>>())
    .bind(
        batches
            .values()
            .map(|settled| OffsetDateTime::from(settled.decided_at))
            .collect::<Vec<_>>(),
    )
    .fetch_all(&mut *tx)
    .await?;
    if new.is_empty() {
        return Ok(0);
    }
    let mut counted = Vec::with_capacity(new.len());
    for row in &new {
        let key = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let settled = batches.get(&key).copied();
        counted.push(settled.ok_or_else(|| StoreError::Corrupt {
            table: "settled_batch",
            what: "a batch that nobody told of".to_owned(),
        })?);
    }
    let days = || {
        counted
            .iter()
            .map(|settled| (Day::of(settled.decided_at).get(), settled))
    };
    let persons = days().flat_map(|(day, settled)| {
        let persons = settled.persons.iter();
        persons.map(move |person| (person.as_str(), day))
    });
    let (persons, counts) = counts(persons);
    let (persons, person_days): (Vec<_>, Vec<_>) = persons.into_iter().unzip();
    sqlx::query(
        "INSERT INTO settled_to_person AS s (tax_id, day, count)
         SELECT q.tax_id, date '1970-01-01' + q.day, q.count
         FROM UNNEST($1::text[], $2::int[], $3::bigint[]) AS q (tax_id, day, count)
         ON CONFLICT (tax_id, day) DO UPDATE SET count = s.count + EXCLUDED.count",
    )
    .bind(persons)
    .bind(person_days)
    .bind(counts)
    .execute(&mut *tx)
    .await?;
    let keys = days().flat_map(|(day, settled)| {
        let keys = settled.keys.iter();
        keys.map(move |key| (key.kind().as_str(), key.as_str(), day))
    });
    let (keys, counts) = self::counts(keys);
    if !keys.is_empty() {
        sqlx::query(
            "INSERT INTO settled_to_key AS s (key_type, key, day, count)
             SELECT q.key_type, q.key, date '1970-01-01' + q.day, q.count
             FROM UNNEST($1::text[], $2::text[], $3::int[], $4::bigint[]) AS q (key_type, key, day, count)
             ON CONFLICT (key_type, key, day) DO UPDATE SET count = s.count + EXCLUDED.count",
        )
        .bind(keys.iter().map(|(kind, ..)| *kind).collect::<Vec<_>>())
        .bind(keys.iter().map(|(_, key, _)| *key).collect::<Vec<_>>())
        .bind(keys.iter().map(|(.., day)| *day).collect::<Vec<_>>())
        .bind(counts)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(new.len())
}

/// Each value once, in order, and how often it was there.
fn counts<T: Ord>(values: impl Iterator<Item = T>) -> (Vec<T>, Vec<i64>) {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_insert(0) += 1;
    }
    counts.into_iter().unzip()
}

/// Forgets which batches were counted that were decided before `before`.
pub(crate) async fn forget(pool: &PgPool, before: Timestamp) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM settled_batch WHERE decided_at < $1")
        .bind(OffsetDateTime::from(before))
        .execute(pool)
        .await?;
    Ok(())
}

/// The time in the database.
pub(crate) async fn now(pool: &PgPool) -> Result<Timestamp, StoreError> {
    let row = sqlx::query("SELECT clock_timestamp()").fetch_one(pool).await?;
    Ok(row.try_get::<OffsetDateTime, _>(0)?.into())
}

/// The figures of a key and its owner at `now`, in one exchange.
pub(crate) async fn figures(
    pool: &PgPool,
    key: &Key,
    owner: &TaxId,
    now: Timestamp,
) -> Result<Figures, StoreError> {
    let windows = Windows::at(now);
    let row = sqlx::query(FIGURES)
        .bind(key.kind().as_str())
        .bind(key.as_str())
        .bind(owner.as_str())
        .bind(windows.d90_from.get())
        .bind(windows.m12_from.get())
        .bind(windows.m60_from.get())
        .bind(windows.month.get())
        .fetch_one(pool)
        .await?;
    Ok(Figures {
        settled_until: row.try_get::<Option<OffsetDateTime>, _>(0)?.map(Timestamp::from),
        settled_to_owner: windowed(&row, 1)?,
        settled_to_key: windowed(&row, 4)?,
        accounts_of_owner: whole(row.try_get(7)?),
        accounts_of_key: windowed(&row, 8)?,
    })
}

/// Days count from 1970; an account is the same however its branch is written. Versions of an entry that were made
/// and those that it was changed to are registrations; the one that was removed is not.
const FIGURES: &str = "
    WITH windows AS (
        SELECT date '1970-01-01' + $4::int AS d90, date '1970-01-01' + $5::int AS m12,
               date '1970-01-01' + $6::int AS m60, date '1970-01-01' + $7::int AS month
    ), owner AS (
        SELECT COALESCE(sum(count) FILTER (WHERE day >= d90), 0)::bigint AS d90,
               COALESCE(sum(count) FILTER (WHERE day >= m12 AND day < month), 0)::bigint AS m12,
               COALESCE(sum(count) FILTER (WHERE day >= m60 AND day < month), 0)::bigint AS m60
        FROM settled_to_person, windows WHERE tax_id = $3 AND day >= m60
    ), used AS (
        SELECT COALESCE(sum(count) FILTER (WHERE day >= d90), 0)::bigint AS d90,
               COALESCE(sum(count) FILTER (WHERE day >= m12 AND day < month), 0)::bigint AS m12,
               COALESCE(sum(count) FILTER (WHERE day >= m60 AND day < month), 0)::bigint AS m60
        FROM settled_to_key, windows WHERE key_type = $1 AND key = $2 AND day >= m60
    ), registered AS (
        SELECT (participant, COALESCE(branch::int, -1), account_number, account_type) AS account,
               (at AT TIME ZONE 'UTC' - interval '3 hours')::date AS day
        FROM entry_history WHERE key_type = $1 AND key = $2 AND change <> 'DELETED'
    ), accounts AS (
        SELECT count(DISTINCT account) FILTER (WHERE day >= d90) AS d90,
               count(DISTINCT account) FILTER (WHERE day >= m12 AND day < month) AS m12,
               count(DISTINCT account) FILTER (WHERE day >= m60 AND day < month) AS m60
        FROM registered, windows
    )
    SELECT (SELECT max(decided_at) FROM settled_batch), owner.d90, owner.m12, owner.m60, used.d90, used.m12, used.m60,
           (SELECT count(DISTINCT (participant, branch_number, account_number, account_type)) FROM entry
            WHERE tax_id = $3),
           accounts.d90, accounts.m12, accounts.m60
    FROM owner, used, accounts";

/// Three columns from `first` on.
fn windowed(row: &PgRow, first: usize) -> Result<Windowed, StoreError> {
    Ok(Windowed {
        d90: whole(row.try_get(first)?),
        m12: whole(row.try_get(first + 1)?),
        m60: whole(row.try_get(first + 2)?),
    })
}

/// A count is never below zero.
fn whole(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
