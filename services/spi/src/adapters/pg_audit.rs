//! The audit chain: computing it again from the tables, and signing its head.

use pix_domain::{EndToEndId, Timestamp};
use sqlx::{PgPool, Row as _};
use time::OffsetDateTime;

use spi_core::audit::{Line, record};

use super::pg::{StoreError, bytes32, ispb, parsed, resource_id};
use super::pg_book::SHARD;

/// What a check of the chain found.
pub(crate) struct Checked {
    /// Batches whose hash follows from their rows and the batch before.
    pub(crate) batches: i64,
    /// The first batch whose hash does not.
    pub(crate) broken_at: Option<i64>,
}

/// Computes the whole chain again.
pub(crate) async fn check(pool: &PgPool) -> Result<Checked, StoreError> {
    let batches = sqlx::query(
        "SELECT number, first_seq, last_seq, audit_hash FROM batch WHERE shard = $1 ORDER BY number",
    )
    .bind(SHARD)
    .fetch_all(pool)
    .await?;
    let mut head = [0; 32];
    let mut expected = 1;
    for row in &batches {
        let number: i64 = row.try_get(0)?;
        let record = record(number, lines(pool, row.try_get(1)?, row.try_get(2)?).await?);
        let hash = pix_xmldsig::digest(&[&head, &record]);
        if number != expected || hash != bytes32("batch", row.try_get(3)?)? {
            return Ok(Checked {
                batches: expected - 1,
                broken_at: Some(number.min(expected)),
            });
        }
        head = hash;
        expected += 1;
    }
    Ok(Checked {
        batches: expected - 1,
        broken_at: None,
    })
}

async fn lines(pool: &PgPool, first: i64, last: i64) -> Result<Vec<Line>, StoreError> {
    let mut lines = Vec::new();
    let messages = sqlx::query(
        "SELECT seq, resource_id, digest, raw FROM message_in WHERE seq BETWEEN $1 AND $2 AND shard = $3",
    )
    .bind(first)
    .bind(last)
    .bind(SHARD)
    .fetch_all(pool)
    .await?;
    for row in &messages {
        lines.push(Line::Message {
            seq: row.try_get(0)?,
            resource_id: resource_id("message_in", row.try_get(1)?)?,
            // Of the bytes that are there, not of the column that says so.
            digest: pix_xmldsig::digest(&[row.try_get(3)?]),
        });
    }
    let payments = sqlx::query(
        "SELECT seq, end_to_end_id, payer, receiver, amount, fingerprint FROM payment
         WHERE seq BETWEEN $1 AND $2 AND shard = $3",
    )
    .bind(first)
    .bind(last)
    .bind(SHARD)
    .fetch_all(pool)
    .await?;
    for row in &payments {
        lines.push(Line::Payment {
            seq: row.try_get(0)?,
            end_to_end_id: id("payment", row.try_get(1)?)?,
            payer: ispb("payment", row.try_get(2)?)?,
            receiver: ispb("payment", row.try_get(3)?)?,
            amount: row.try_get(4)?,
            fingerprint: bytes32("payment", row.try_get(5)?)?,
        });
    }
    let steps = sqlx::query(
        "SELECT seq, end_to_end_id, outcome, reason FROM payment_step
         WHERE seq BETWEEN $1 AND $2 AND shard = $3",
    )
    .bind(first)
    .bind(last)
    .bind(SHARD)
    .fetch_all(pool)
    .await?;
    for row in &steps {
        let end_to_end_id = id("payment_step", row.try_get(1)?)?;
        lines.push(Line::Step {
            seq: row.try_get(0)?,
            month: parsed("payment_step", end_to_end_id.month())?,
            end_to_end_id,
            outcome: row.try_get(2)?,
            reason: row.try_get::<Option<String>, _>(3)?.unwrap_or_default(),
        });
    }
    let postings = sqlx::query(
        "SELECT seq, debit, credit, amount FROM posting WHERE seq BETWEEN $1 AND $2 AND shard = $3",
    )
    .bind(first)
    .bind(last)
    .bind(SHARD)
    .fetch_all(pool)
    .await?;
    for row in &postings {
        lines.push(Line::Posting {
            seq: row.try_get(0)?,
            debit: ispb("posting", row.try_get(1)?)?,
            credit: ispb("posting", row.try_get(2)?)?,
            amount: row.try_get(3)?,
        });
    }
    Ok(lines)
}

fn id(table: &'static str, text: &str) -> Result<EndToEndId, StoreError> {
    parsed(table, EndToEndId::parse(text.as_bytes()))
}

/// Signs the present head of the chain, unless that was done; tells which batch it is.
pub(crate) async fn sign_head(
    pool: &PgPool,
    sign: impl Fn(&[u8]) -> Vec<u8>,
    now: Timestamp,
) -> Result<Option<i64>, StoreError> {
    let head = sqlx::query(
        "SELECT b.number, b.audit_hash FROM batch b
         WHERE b.shard = $1 AND NOT EXISTS (
             SELECT 1 FROM audit_head h WHERE h.shard = b.shard AND h.number = b.number)
         ORDER BY b.number DESC LIMIT 1",
    )
    .bind(SHARD)
    .fetch_optional(pool)
    .await?;
    let Some(head) = head else { return Ok(None) };
    let (number, hash): (i64, Vec<u8>) = (head.try_get(0)?, head.try_get(1)?);
    let newest = sqlx::query("SELECT COALESCE(max(number), 0) FROM audit_head WHERE shard = $1")
        .bind(SHARD)
        .fetch_one(pool)
        .await?;
    if newest.try_get::<i64, _>(0)? >= number {
        return Ok(None);
    }
    sqlx::query(
        "INSERT INTO audit_head (shard, number, hash, signature, signed_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
    )
    .bind(SHARD)
    .bind(number)
    .bind(&hash)
    .bind(sign(&hash))
    .bind(OffsetDateTime::from(now))
    .execute(pool)
    .await?;
    Ok(Some(number))
}
