//! The audit chain: computing it again from the tables, and signing its head.

use std::collections::HashMap;

use pix_domain::{EndToEndId, ServiceLevel, Timestamp};
use pix_xmldsig::{Signer, VerifyingKey};
use sqlx::{PgPool, Row as _};
use time::OffsetDateTime;

use spi_core::audit::{Line, record};
use spi_core::outgoing::priority_of;

use super::pg::{StoreError, bytes32, ispb, parsed, resource_id};
use super::pg_book::{SHARD, funding_id};

/// Batches read at once.
const PAGE: i64 = 500;

/// What a check of the chain found.
pub(crate) struct Checked {
    /// Batches whose hash follows from their rows and the batch before.
    pub(crate) batches: i64,
    /// Signed heads that are in the chain.
    pub(crate) heads: usize,
    /// What does not hold.
    pub(crate) fault: Option<String>,
}

/// Computes the whole chain again, and checks every signed head against it: rows that were changed together
/// with their hashes, or cut off at the end, contradict what was signed.
pub(crate) async fn check(pool: &PgPool, key: &VerifyingKey) -> Result<Checked, StoreError> {
    let mut heads = signed_heads(pool).await?;
    let mut checked = Checked {
        batches: 0,
        heads: 0,
        fault: None,
    };
    let mut head = [0; 32];
    loop {
        let batches = sqlx::query(
            "SELECT number, first_seq, last_seq, audit_hash FROM batch
             WHERE shard = $1 AND number > $2 ORDER BY number LIMIT $3",
        )
        .bind(SHARD)
        .bind(checked.batches)
        .bind(PAGE)
        .fetch_all(pool)
        .await?;
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else {
            break;
        };
        let mut lines = lines(pool, first.try_get(1)?, last.try_get(2)?)
            .await?
            .into_iter()
            .peekable();
        for row in &batches {
            let (number, last_seq): (i64, i64) = (row.try_get(0)?, row.try_get(2)?);
            let mut own = Vec::new();
            while let Some(line) = lines.next_if(|line| line.seq() <= last_seq) {
                own.push(line);
            }
            let hash = pix_xmldsig::digest(&[&head, &record(number, own)]);
            if number != checked.batches + 1 || hash != bytes32("batch", row.try_get(3)?)? {
                checked.fault = Some(format!("batch {} is not what was written", checked.batches + 1));
                return Ok(checked);
            }
            if let Some(Head {
                hash: signed,
                signature,
                serial,
            }) = heads.remove(&number)
            {
                // One signed with another certificate, before a rotation say, still has to be in the chain.
                let ours = serial == key.issuer_serial().serial();
                if signed != hash || (ours && !key.verifies(&hash, &signature)) {
                    checked.fault = Some(format!("the signed head at batch {number} does not hold"));
                    return Ok(checked);
                }
                checked.heads += 1;
            }
            head = hash;
            checked.batches = number;
        }
    }
    if let Some(missing) = heads.keys().min() {
        checked.fault = Some(format!("batch {missing} was signed and is gone"));
    }
    Ok(checked)
}

struct Head {
    hash: [u8; 32],
    signature: Vec<u8>,
    serial: String,
}

async fn signed_heads(pool: &PgPool) -> Result<HashMap<i64, Head>, StoreError> {
    let rows = sqlx::query("SELECT number, hash, signature, serial FROM audit_head WHERE shard = $1")
        .bind(SHARD)
        .fetch_all(pool)
        .await?;
    let head = |row: &sqlx::postgres::PgRow| {
        let hash = bytes32("audit_head", row.try_get(1)?)?;
        Ok((
            row.try_get(0)?,
            Head {
                hash,
                signature: row.try_get(2)?,
                serial: row.try_get(3)?,
            },
        ))
    };
    rows.iter().map(head).collect()
}

/// The lines of these sequence numbers, in their order.
async fn lines(pool: &PgPool, first: i64, last: i64) -> Result<Vec<Line>, StoreError> {
    let mut lines = Vec::new();
    let messages = "SELECT seq, resource_id, raw FROM message_in WHERE seq BETWEEN $1 AND $2 AND shard = $3";
    for row in &rows(pool, messages, first, last).await? {
        lines.push(Line::Message {
            seq: row.try_get(0)?,
            resource_id: resource_id("message_in", row.try_get(1)?)?,
            // Of the bytes that are there, not of the column that says so.
            digest: pix_xmldsig::digest(&[row.try_get(2)?]),
        });
    }
    let payments =
        "SELECT seq, end_to_end_id, payer, receiver, amount, service_level, transaction FROM payment
                    WHERE seq BETWEEN $1 AND $2 AND shard = $3";
    for row in &rows(pool, payments, first, last).await? {
        let level = parsed(
            "payment",
            ServiceLevel::parse(row.try_get::<&str, _>(5)?.as_bytes()),
        )?;
        lines.push(Line::Payment {
            seq: row.try_get(0)?,
            end_to_end_id: id("payment", row.try_get(1)?)?,
            payer: ispb("payment", row.try_get(2)?)?,
            receiver: ispb("payment", row.try_get(3)?)?,
            amount: row.try_get(4)?,
            // Likewise: what the receiver is sent is the stored transaction.
            fingerprint: fingerprint(level, row.try_get(6)?),
        });
    }
    let steps = "SELECT seq, end_to_end_id, outcome, reason FROM payment_step
                 WHERE seq BETWEEN $1 AND $2 AND shard = $3";
    for row in &rows(pool, steps, first, last).await? {
        let end_to_end_id = id("payment_step", row.try_get(1)?)?;
        lines.push(Line::Step {
            seq: row.try_get(0)?,
            month: parsed("payment_step", end_to_end_id.month())?,
            end_to_end_id,
            outcome: row.try_get(2)?,
            reason: row.try_get::<Option<String>, _>(3)?.unwrap_or_default(),
        });
    }
    let postings =
        "SELECT seq, debit, credit, amount FROM posting WHERE seq BETWEEN $1 AND $2 AND shard = $3";
    for row in &rows(pool, postings, first, last).await? {
        lines.push(Line::Posting {
            seq: row.try_get(0)?,
            debit: ispb("posting", row.try_get(1)?)?,
            credit: ispb("posting", row.try_get(2)?)?,
            amount: row.try_get(3)?,
        });
    }
    let fundings = "SELECT seq, posting, id, account, amount, available_after, ordered_by FROM funding
                    WHERE seq BETWEEN $1 AND $2 AND shard = $3";
    for row in &rows(pool, fundings, first, last).await? {
        lines.push(Line::Funding {
            seq: row.try_get(0)?,
            posting: row.try_get(1)?,
            id: funding_id(row.try_get(2)?)?,
            account: ispb("funding", row.try_get(3)?)?,
            amount: row.try_get(4)?,
            available_after: row.try_get(5)?,
            ordered_by: row.try_get(6)?,
        });
    }
    lines.sort_by_key(Line::seq);
    Ok(lines)
}

async fn rows(
    pool: &PgPool,
    sql: &'static str,
    first: i64,
    last: i64,
) -> Result<Vec<sqlx::postgres::PgRow>, StoreError> {
    Ok(sqlx::query(sql)
        .bind(first)
        .bind(last)
        .bind(SHARD)
        .fetch_all(pool)
        .await?)
}

/// As `spi_core::order::examine` makes it; no payment is stored whose priority is not that of its level.
fn fingerprint(level: ServiceLevel, transaction: &[u8]) -> [u8; 32] {
    let priority = priority_of(level);
    pix_xmldsig::digest(&[
        level.as_str().as_bytes(),
        priority.as_str().as_bytes(),
        transaction,
    ])
}

fn id(table: &'static str, text: &str) -> Result<EndToEndId, StoreError> {
    parsed(table, EndToEndId::parse(text.as_bytes()))
}

/// Signs the present head of the chain, unless that was done; tells which batch it is.
pub(crate) async fn sign_head(
    pool: &PgPool,
    signer: &Signer,
    now: Timestamp,
) -> Result<Option<i64>, StoreError> {
    let head =
        sqlx::query("SELECT number, audit_hash FROM batch WHERE shard = $1 ORDER BY number DESC LIMIT 1")
            .bind(SHARD)
            .fetch_optional(pool)
            .await?;
    let Some(head) = head else { return Ok(None) };
    let (number, hash): (i64, Vec<u8>) = (head.try_get(0)?, head.try_get(1)?);
    let signed = sqlx::query("SELECT 1 FROM audit_head WHERE shard = $1 AND number = $2")
        .bind(SHARD)
        .bind(number)
        .fetch_optional(pool)
        .await?;
    if signed.is_some() {
        return Ok(None);
    }
    sqlx::query(
        "INSERT INTO audit_head (shard, number, hash, signature, signed_at, serial) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT DO NOTHING",
    )
    .bind(SHARD)
    .bind(number)
    .bind(&hash)
    .bind(signer.sign(&hash))
    .bind(OffsetDateTime::from(now))
    .bind(signer.issuer_serial().serial())
    .execute(pool)
    .await?;
    Ok(Some(number))
}
