//! Writing: what a batch changed, one set-based statement per table.

use std::collections::BTreeMap;

use bank_core::{Changes, KeyChanges, Lookup, Payment, Pocket, Registration};
use pix_domain::{EndToEndId, MsgId, ResourceId, Timestamp};
use pix_icom::Channel;
use sqlx::types::time::OffsetDateTime;
use sqlx::{Postgres, Transaction};

use super::StoreError;
use super::rows::{PaymentRow, RegistrationRow, pocket};
use crate::work::Posted;

/// Everything that one batch writes.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// From the core.
    pub(crate) changes: Changes,
    /// From the core's keyring.
    pub(crate) keys: KeyChanges,
    /// What payers are about to be shown.
    pub(crate) lookups: Vec<Lookup>,
    /// New messages of ours, signed.
    pub(crate) outbound: Vec<Outbound>,
    /// Messages from the stream.
    pub(crate) inbound: Vec<Inbound>,
    /// Ends at the door, and after how many attempts.
    pub(crate) posted: Vec<(MsgId, Posted, i32)>,
    /// PI-ResourceIds refused before we know whose they are.
    pub(crate) early_refusals: Vec<ResourceId>,
}

/// A message of ours, signed.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) message_id: MsgId,
    pub(crate) kind: &'static str,
    pub(crate) channel: Channel,
    pub(crate) body: Vec<u8>,
    pub(crate) payments: Vec<EndToEndId>,
}

/// A message from the stream.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) resource_id: ResourceId,
    pub(crate) channel: Channel,
    pub(crate) message_id: Option<MsgId>,
    pub(crate) kind: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) detail: Option<String>,
    pub(crate) stored: bytes::Bytes,
}

/// Writes the batch; the caller commits.
pub(super) async fn write(
    tx: &mut Transaction<'_, Postgres>,
    batch: &Batch,
    now: Timestamp,
) -> Result<(), StoreError> {
    let at: OffsetDateTime = now.into();
    write_inbound(tx, &batch.inbound, at).await?;
    write_balances(tx, &batch.changes).await?;
    write_payments(tx, &batch.changes.created, at).await?;
    update_payments(tx, &batch.changes.updated).await?;
    write_postings(tx, &batch.changes, at).await?;
    write_steps(tx, &batch.changes).await?;
    write_oddities(tx, &batch.changes).await?;
    write_outbound(tx, &batch.outbound, at).await?;
    write_posted(tx, &batch.posted, at).await?;
    write_lookups(tx, &batch.lookups).await?;
    write_keys(tx, &batch.keys, at).await?;
    write_early_refusals(tx, &batch.early_refusals, at).await
}

async fn write_inbound(
    tx: &mut Transaction<'_, Postgres>,
    messages: &[Inbound],
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    if messages.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&Inbound) -> String| messages.iter().map(of).collect::<Vec<_>>();
    let maybe = |of: fn(&Inbound) -> Option<String>| messages.iter().map(of).collect::<Vec<_>>();
    let bodies: Vec<&[u8]> = messages.iter().map(|m| m.stored.as_ref()).collect();
    sqlx::query(
        "INSERT INTO inbound (resource_id, channel, message_id, kind, outcome, detail, body, received_at)
         SELECT *, $8 FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[])",
    )
    .bind(column(|m| m.resource_id.to_string()))
    .bind(column(|m| m.channel.as_str().to_owned()))
    .bind(maybe(|m| m.message_id.map(|id| id.to_string())))
    .bind(column(|m| m.kind.to_owned()))
    .bind(column(|m| m.outcome.to_owned()))
    .bind(maybe(|m| m.detail.clone()))
    .bind(bodies)
    .bind(at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// One UPDATE per account, and one per pocket of the bank's own.
async fn write_balances(tx: &mut Transaction<'_, Postgres>, changes: &Changes) -> Result<(), StoreError> {
    if !changes.accounts.is_empty() {
        let ids: Vec<i64> = changes.accounts.iter().map(|account| account.id.0).collect();
        let balances = changes.accounts.iter().map(|account| account.balances);
        let available: Vec<i64> = balances.clone().map(|held| held.available.to_i64()).collect();
        let blocked: Vec<i64> = balances.clone().map(|held| held.blocked.to_i64()).collect();
        let provisional: Vec<i64> = balances.map(|held| held.provisional.to_i64()).collect();
        sqlx::query(
            "UPDATE account a SET available = n.available, blocked = n.blocked, provisional = n.provisional
               FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
                    AS n (id, available, blocked, provisional)
              WHERE a.id = n.id",
        )
        .bind(ids)
        .bind(available)
        .bind(blocked)
        .bind(provisional)
        .execute(&mut **tx)
        .await?;
    }
    let mut own: BTreeMap<&'static str, i64> = BTreeMap::new();
    for (_, posting) in &changes.postings {
        for (side, sign) in [(posting.from, -1), (posting.to, 1)] {
            if matches!(side, Pocket::Settlement | Pocket::InTransit | Pocket::Opening) {
                let delta = own.entry(pocket(side).0).or_default();
                *delta = delta
                    .checked_add(sign * posting.amount.to_i64())
                    .ok_or(StoreError::Overflow)?;
            }
        }
    }
    let (names, deltas): (Vec<&str>, Vec<i64>) = own.into_iter().filter(|(_, delta)| *delta != 0).unzip();
    if names.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE own_account o SET balance = o.balance + n.delta
           FROM UNNEST($1::text[], $2::bigint[]) AS n (name, delta) WHERE o.name = n.name",
    )
    .bind(names)
    .bind(deltas)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn write_payments(
    tx: &mut Transaction<'_, Postgres>,
    payments: &[Payment],
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    if payments.is_empty() {
        return Ok(());
    }
    let rows: Vec<PaymentRow> = payments.iter().map(PaymentRow::from).collect();
    fn column<'a, T>(rows: &'a [PaymentRow], of: impl Fn(&'a PaymentRow) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    sqlx::query(
        "INSERT INTO payment (end_to_end_id, course, account, receiver, amount, accepted_at, counterparty_ispb,
                              counterparty_branch, counterparty_number, counterparty_kind, counterparty_tax_id,
                              counterparty_name, key, description, state, ended_at, refusal, refused_by_us,
                              behalf_ispb, behalf_branch, behalf_number, behalf_kind, behalf_tax_id, behalf_name,
                              created_at)
         SELECT *, $25 FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[],
                                   $6::timestamptz[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
                                   $12::text[], $13::text[], $14::text[], $15::text[], $16::timestamptz[], $17::text[],
                                   $18::boolean[], $19::text[], $20::text[], $21::text[], $22::text[], $23::text[],
                                   $24::text[])",
    )
    .bind(column(&rows, |r| r.end_to_end_id.as_str()))
    .bind(column(&rows, |r| r.course.as_str()))
    .bind(column(&rows, |r| r.account))
    .bind(column(&rows, |r| r.receiver))
    .bind(column(&rows, |r| r.amount))
    .bind(column(&rows, |r| r.accepted_at))
    .bind(column(&rows, |r| r.counterparty_ispb.as_str()))
    .bind(column(&rows, |r| r.counterparty_branch.as_deref()))
    .bind(column(&rows, |r| r.counterparty_number.as_str()))
    .bind(column(&rows, |r| r.counterparty_kind.as_str()))
    .bind(column(&rows, |r| r.counterparty_tax_id.as_str()))
    .bind(column(&rows, |r| r.counterparty_name.as_deref()))
    .bind(column(&rows, |r| r.key.as_deref()))
    .bind(column(&rows, |r| r.description.as_deref()))
    .bind(column(&rows, |r| r.state.as_str()))
    .bind(column(&rows, |r| r.ended_at))
    .bind(column(&rows, |r| r.refusal.as_deref()))
    .bind(column(&rows, |r| r.refused_by_us))
    .bind(column(&rows, |r| r.behalf_ispb.as_deref()))
    .bind(column(&rows, |r| r.behalf_branch.as_deref()))
    .bind(column(&rows, |r| r.behalf_number.as_deref()))
    .bind(column(&rows, |r| r.behalf_kind.as_deref()))
    .bind(column(&rows, |r| r.behalf_tax_id.as_deref()))
    .bind(column(&rows, |r| r.behalf_name.as_deref()))
    .bind(at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// `state = 'pending'` in the condition: an end is final even if this program were wrong.
async fn update_payments(tx: &mut Transaction<'_, Postgres>, payments: &[Payment]) -> Result<(), StoreError> {
    if payments.is_empty() {
        return Ok(());
    }
    let rows: Vec<PaymentRow> = payments.iter().map(PaymentRow::from).collect();
    let changed = sqlx::query(
        "UPDATE payment p SET state = n.state, ended_at = n.ended_at, refusal = n.refusal,
                              refused_by_us = n.refused_by_us
           FROM UNNEST($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::boolean[])
                AS n (end_to_end_id, state, ended_at, refusal, refused_by_us)
          WHERE p.end_to_end_id = n.end_to_end_id AND p.state = 'pending'",
    )
    .bind(rows.iter().map(|r| r.end_to_end_id.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.state.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.ended_at).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.refusal.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.refused_by_us).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    if usize::try_from(changed.rows_affected()).ok() == Some(payments.len()) {
        Ok(())
    } else {
        Err(StoreError::Corrupt("a payment that ended was to end again"))
    }
}

async fn write_postings(
    tx: &mut Transaction<'_, Postgres>,
    changes: &Changes,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let postings = &changes.postings;
    if postings.is_empty() {
        return Ok(());
    }
    let (source, source_account): (Vec<_>, Vec<_>) = postings.iter().map(|(_, p)| pocket(p.from)).unzip();
    let (target, target_account): (Vec<_>, Vec<_>) = postings.iter().map(|(_, p)| pocket(p.to)).unzip();
    sqlx::query(
        "INSERT INTO posting (end_to_end_id, source, source_account, target, target_account, amount, at)
         SELECT *, $7 FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[])",
    )
    .bind(postings.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>())
    .bind(source)
    .bind(source_account)
    .bind(target)
    .bind(target_account)
    .bind(postings.iter().map(|(_, p)| p.amount.to_i64()).collect::<Vec<_>>())
    .bind(at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn write_steps(tx: &mut Transaction<'_, Postgres>, changes: &Changes) -> Result<(), StoreError> {
    let steps = &changes.steps;
    if steps.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO payment_step (end_to_end_id, stage, at, detail)
         SELECT * FROM UNNEST($1::text[], $2::text[], $3::timestamptz[], $4::text[])",
    )
    .bind(steps.iter().map(|s| s.end_to_end_id.as_str()).collect::<Vec<_>>())
    .bind(steps.iter().map(|s| s.stage.as_str()).collect::<Vec<_>>())
    .bind(steps.iter().map(|s| s.at.into()).collect::<Vec<OffsetDateTime>>())
    .bind(steps.iter().map(|s| s.detail.as_deref()).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Refusals that overtook their order, keys of orders, anomalies: rare, or one each.
async fn write_oddities(tx: &mut Transaction<'_, Postgres>, changes: &Changes) -> Result<(), StoreError> {
    let (early, keys, anomalies) = (&changes.early, &changes.keys, &changes.anomalies);
    if !early.is_empty() {
        sqlx::query(
            "INSERT INTO early_status (end_to_end_id, reason, at)
             SELECT * FROM UNNEST($1::text[], $2::text[], $3::timestamptz[]) ON CONFLICT DO NOTHING",
        )
        .bind(early.iter().map(|e| e.end_to_end_id.as_str()).collect::<Vec<_>>())
        .bind(early.iter().map(|e| e.reason.as_str()).collect::<Vec<_>>())
        .bind(early.iter().map(|e| e.at.into()).collect::<Vec<OffsetDateTime>>())
        .execute(&mut **tx)
        .await?;
    }
    if !keys.is_empty() {
        sqlx::query(
            "INSERT INTO order_key (key, end_to_end_id) SELECT * FROM UNNEST($1::text[], $2::text[])",
        )
        .bind(keys.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>())
        .bind(keys.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    }
    if !anomalies.is_empty() {
        sqlx::query(
            "INSERT INTO anomaly (end_to_end_id, kind, at)
             SELECT * FROM UNNEST($1::text[], $2::text[], $3::timestamptz[])",
        )
        .bind(
            anomalies
                .iter()
                .map(|a| a.end_to_end_id.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(anomalies.iter().map(|a| a.kind.as_str()).collect::<Vec<_>>())
        .bind(
            anomalies
                .iter()
                .map(|a| a.at.into())
                .collect::<Vec<OffsetDateTime>>(),
        )
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

async fn write_outbound(
    tx: &mut Transaction<'_, Postgres>,
    messages: &[Outbound],
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    if messages.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO outbound (message_id, kind, channel, body, created_at)
         SELECT *, $5 FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bytea[])",
    )
    .bind(messages.iter().map(|m| m.message_id.as_str()).collect::<Vec<_>>())
    .bind(messages.iter().map(|m| m.kind).collect::<Vec<_>>())
    .bind(messages.iter().map(|m| m.channel.as_str()).collect::<Vec<_>>())
    .bind(messages.iter().map(|m| m.body.as_slice()).collect::<Vec<_>>())
    .bind(at)
    .execute(&mut **tx)
    .await?;
    let items = messages.iter().flat_map(|m| {
        (0_i32..)
            .zip(&m.payments)
            .map(|(i, id)| (m.message_id.as_str(), i, id.as_str()))
    });
    let (mut ids, mut positions, mut payments) = (Vec::new(), Vec::new(), Vec::new());
    for (id, position, payment) in items {
        ids.push(id);
        positions.push(position);
        payments.push(payment);
    }
    sqlx::query(
        "INSERT INTO outbound_item (message_id, position, end_to_end_id)
         SELECT * FROM UNNEST($1::text[], $2::integer[], $3::text[])",
    )
    .bind(ids)
    .bind(positions)
    .bind(payments)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The end of a message's way out, once, and for orders a line in each timeline.
async fn write_posted(
    tx: &mut Transaction<'_, Postgres>,
    posted: &[(MsgId, Posted, i32)],
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    if posted.is_empty() {
        return Ok(());
    }
    let resource = |posted: &Posted| match posted {
        Posted::Taken(id) => Some(id.to_string()),
        Posted::Refused { .. } => None,
    };
    let status = |posted: &Posted| match posted {
        Posted::Taken(_) => None,
        Posted::Refused { status } => Some(i32::from(*status)),
    };
    sqlx::query(
        "WITH ended AS (
            UPDATE outbound o SET state = CASE WHEN n.status IS NULL THEN 'taken' ELSE 'refused' END,
                                  ended_at = $4, resource_id = n.resource_id, status = n.status,
                                  attempts = n.attempts
              FROM UNNEST($1::text[], $2::text[], $3::integer[], $5::integer[])
                   AS n (message_id, resource_id, status, attempts)
             WHERE o.message_id = n.message_id AND o.state = 'waiting'
         RETURNING o.message_id, o.kind, o.state, o.resource_id)
         INSERT INTO payment_step (end_to_end_id, stage, at, detail)
         SELECT i.end_to_end_id, 'sent', $4, e.resource_id
           FROM ended e JOIN outbound_item i USING (message_id)
          WHERE e.kind = 'pacs.008' AND e.state = 'taken'",
    )
    .bind(posted.iter().map(|(id, ..)| id.as_str()).collect::<Vec<_>>())
    .bind(
        posted
            .iter()
            .map(|(_, posted, _)| resource(posted))
            .collect::<Vec<_>>(),
    )
    .bind(
        posted
            .iter()
            .map(|(_, posted, _)| status(posted))
            .collect::<Vec<_>>(),
    )
    .bind(at)
    .bind(posted.iter().map(|(.., attempts)| *attempts).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Rare enough for one statement each; one that was in already is the same.
async fn write_lookups(tx: &mut Transaction<'_, Postgres>, lookups: &[Lookup]) -> Result<(), StoreError> {
    for lookup in lookups {
        let to = &lookup.to;
        let at: OffsetDateTime = lookup.at.into();
        sqlx::query(
            "INSERT INTO lookup (end_to_end_id, account, kind, key, ispb, branch, number, account_kind, tax_id,
                                 name, at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
        )
        .bind(lookup.end_to_end_id.as_str())
        .bind(lookup.account.0)
        .bind(lookup.key.kind().as_str())
        .bind(lookup.key.as_str())
        .bind(to.ispb.as_str())
        .bind(to.branch.map(|branch| branch.to_string()))
        .bind(to.number.as_str())
        .bind(to.kind.as_str())
        .bind(to.tax_id.as_str())
        .bind(to.name.as_ref().map_or("", |name| name.as_str()))
        .bind(at)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Registrations, their timelines, and contacts.
async fn write_keys(
    tx: &mut Transaction<'_, Postgres>,
    keys: &KeyChanges,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    // First what frees a key, then what takes one.
    for next in &keys.updated {
        update_registration(tx, next).await?;
    }
    for new in &keys.created {
        insert_registration(tx, new).await?;
    }
    if !keys.steps.is_empty() {
        let steps = &keys.steps;
        sqlx::query(
            "INSERT INTO key_step (request_id, stage, at, detail)
             SELECT * FROM UNNEST($1::text[], $2::text[], $3::timestamptz[], $4::text[])",
        )
        .bind(steps.iter().map(|s| s.request_id.to_string()).collect::<Vec<_>>())
        .bind(steps.iter().map(|s| s.stage.as_str()).collect::<Vec<_>>())
        .bind(steps.iter().map(|s| s.at.into()).collect::<Vec<OffsetDateTime>>())
        .bind(steps.iter().map(|s| s.detail.as_deref()).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    }
    if !keys.contacts.is_empty() {
        sqlx::query(
            "INSERT INTO contact (tax_id, contact, confirmed_at)
             SELECT *, $3 FROM UNNEST($1::text[], $2::text[]) ON CONFLICT DO NOTHING",
        )
        .bind(
            keys.contacts
                .iter()
                .map(|(id, _)| id.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(
            keys.contacts
                .iter()
                .map(|(_, key)| key.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(at)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

async fn insert_registration(
    tx: &mut Transaction<'_, Postgres>,
    new: &Registration,
) -> Result<(), StoreError> {
    let row = RegistrationRow::from(new);
    sqlx::query(
        "INSERT INTO key_registration (request_id, account, kind, key, wish, requested_at, state, sent, refusal,
                                       repairs)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(row.request_id)
    .bind(row.account)
    .bind(row.kind)
    .bind(row.key)
    .bind(row.wish)
    .bind(row.requested_at)
    .bind(row.state)
    .bind(row.sent)
    .bind(row.refusal)
    .bind(row.repairs)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The condition says again what the core does: what ended goes on only when the DICT has the key all the same, and
/// a key is never another one.
async fn update_registration(
    tx: &mut Transaction<'_, Postgres>,
    next: &Registration,
) -> Result<(), StoreError> {
    let row = RegistrationRow::from(next);
    let changed = sqlx::query(
        "UPDATE key_registration SET key = $2, state = $3, sent = $4, refusal = $5
          WHERE request_id = $1 AND (key IS NULL OR key = $2)
            AND (state IN ('requested', 'active', 'removing')
                 OR (state IN ('refused', 'lost') AND $3 = 'active')
                 OR (state IN ('refused', 'removed') AND $3 = 'removing')
                 OR (state = 'refused' AND $3 = 'refused'))",
    )
    .bind(row.request_id)
    .bind(row.key)
    .bind(row.state)
    .bind(row.sent)
    .bind(row.refusal)
    .execute(&mut **tx)
    .await?;
    match changed.rows_affected() {
        1 => Ok(()),
        _ => Err(StoreError::Corrupt("registration that goes on after its end")),
    }
}

async fn write_early_refusals(
    tx: &mut Transaction<'_, Postgres>,
    references: &[ResourceId],
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    if references.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO early_refusal (reference, at) SELECT *, $2 FROM UNNEST($1::text[]) ON CONFLICT DO NOTHING",
    )
    .bind(references.iter().map(ToString::to_string).collect::<Vec<_>>())
    .bind(at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
