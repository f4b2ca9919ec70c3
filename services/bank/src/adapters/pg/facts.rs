//! Gathering: what a batch names, one query per table.

use std::collections::HashMap;

use bank_core::{Account, EarlyStatus, Facts, KeyFacts, Lookup, OrderKey, Payment, Registration};
use pix_domain::{AccountNumber, EndToEndId, Ispb, Key, MsgId, RequestId, ResourceId, StatusReason, TaxId};
use sqlx::types::time::OffsetDateTime;
use sqlx::{Postgres, Transaction};

use super::StoreError;
use super::rows::{AccountRow, LookupRow, PaymentRow, RegistrationRow, corrupt, end_to_end_id, key, tax_id};

/// The names in a batch.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Payments.
    pub(crate) payments: Vec<EndToEndId>,
    /// Numbers of accounts; branches are told apart by the core.
    pub(crate) accounts: Vec<AccountNumber>,
    /// Participants that orders name: those that this bank settles for have an account.
    pub(crate) participants: Vec<Ispb>,
    /// Idempotency keys.
    pub(crate) keys: Vec<OrderKey>,
    /// Messages from the stream.
    pub(crate) inbound: Vec<ResourceId>,
    /// Our messages that an admi.002 or the door tells of.
    pub(crate) outbound: Vec<MsgId>,
    /// PI-ResourceIds that an admi.002 tells of.
    pub(crate) references: Vec<ResourceId>,
    /// PI-ResourceIds that the door gave our messages.
    pub(crate) taken: Vec<ResourceId>,
    /// What orders by key were shown.
    pub(crate) lookups: Vec<EndToEndId>,
    /// Registrations of keys, by request.
    pub(crate) registrations: Vec<RequestId>,
    /// Registrations of keys, by the caller's own name.
    pub(crate) wishes: Vec<OrderKey>,
    /// Keys whose live registrations and confirmed owners matter.
    pub(crate) dict_keys: Vec<Key>,
}

/// What there is under those names.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// For the core.
    pub(crate) facts: Facts,
    /// For the core's keyring.
    pub(crate) keys: KeyFacts,
    /// Messages from the stream that were applied before.
    pub(crate) inbound: Vec<ResourceId>,
    /// Our messages: kind, and payments they carry.
    pub(crate) outbound: HashMap<MsgId, OutboundMessage>,
    /// Our messages by the PI-ResourceId that the door gave them.
    pub(crate) by_resource: HashMap<ResourceId, MsgId>,
    /// PI-ResourceIds refused before we knew whose they are.
    pub(crate) early_refusals: Vec<ResourceId>,
}

/// A message of ours.
#[derive(Debug, Default)]
pub(crate) struct OutboundMessage {
    /// Whether it carries orders of payment.
    pub(crate) orders: bool,
    /// The payments it carries, in order.
    pub(crate) payments: Vec<EndToEndId>,
}

/// Reads all of it and locks the accounts in the order of their ids.
pub(super) async fn gather(
    tx: &mut Transaction<'_, Postgres>,
    mut names: Names,
) -> Result<Known, StoreError> {
    let mut known = Known {
        inbound: known_inbound(tx, &names.inbound).await?,
        by_resource: by_resource(tx, &names.references).await?,
        early_refusals: early_refusals(tx, &names.taken).await?,
        keys: KeyFacts {
            registrations: registrations(tx, &names).await?,
            contacts: contacts(tx, &names.dict_keys).await?,
        },
        ..Known::default()
    };
    names.outbound.extend(known.by_resource.values());
    known.outbound = outbound(tx, &names.outbound).await?;
    names
        .payments
        .extend(known.outbound.values().flat_map(|message| &message.payments));
    let keys = keys(tx, &names.keys).await?;
    names.payments.extend(keys.iter().map(|(_, id)| *id));
    let payments = payments(tx, &names.payments).await?;
    let early = early_statuses(tx, &names.payments).await?;
    let lookups = lookups(tx, &names.lookups).await?;
    names
        .accounts
        .extend(lookups.iter().map(|lookup| lookup.to.number));
    names
        .participants
        .extend(lookups.iter().map(|lookup| lookup.to.ispb));
    let accounts = accounts(tx, &names.accounts, &names.participants, &payments).await?;
    known.facts = Facts {
        accounts,
        payments,
        early,
        keys,
        lookups,
    };
    Ok(known)
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

async fn known_inbound(
    tx: &mut Transaction<'_, Postgres>,
    ids: &[ResourceId],
) -> Result<Vec<ResourceId>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<String> =
        sqlx::query_scalar("SELECT resource_id FROM inbound WHERE resource_id = ANY($1)")
            .bind(texts(ids))
            .fetch_all(&mut **tx)
            .await?;
    found.iter().map(|id| resource_id(id)).collect()
}

fn resource_id(text: &str) -> Result<ResourceId, StoreError> {
    ResourceId::parse(text.as_bytes()).map_err(|_| StoreError::Corrupt("resource_id"))
}

fn message_id(text: &str) -> Result<MsgId, StoreError> {
    MsgId::parse(text.as_bytes()).map_err(|_| StoreError::Corrupt("message_id"))
}

async fn by_resource(
    tx: &mut Transaction<'_, Postgres>,
    ids: &[ResourceId],
) -> Result<HashMap<ResourceId, MsgId>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let found: Vec<(String, String)> =
        sqlx::query_as("SELECT resource_id, message_id FROM outbound WHERE resource_id = ANY($1)")
            .bind(texts(ids))
            .fetch_all(&mut **tx)
            .await?;
    found
        .iter()
        .map(|(resource, message)| Ok((resource_id(resource)?, message_id(message)?)))
        .collect()
}

async fn early_refusals(
    tx: &mut Transaction<'_, Postgres>,
    ids: &[ResourceId],
) -> Result<Vec<ResourceId>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<String> =
        sqlx::query_scalar("SELECT reference FROM early_refusal WHERE reference = ANY($1)")
            .bind(texts(ids))
            .fetch_all(&mut **tx)
            .await?;
    found.iter().map(|id| resource_id(id)).collect()
}

async fn outbound(
    tx: &mut Transaction<'_, Postgres>,
    ids: &[MsgId],
) -> Result<HashMap<MsgId, OutboundMessage>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let found: Vec<(String, String, Option<String>)> = sqlx::query_as(
        "SELECT o.message_id, o.kind, i.end_to_end_id
           FROM outbound o LEFT JOIN outbound_item i USING (message_id)
          WHERE o.message_id = ANY($1)
          ORDER BY o.message_id, i.position",
    )
    .bind(texts(ids))
    .fetch_all(&mut **tx)
    .await?;
    let mut messages: HashMap<MsgId, OutboundMessage> = HashMap::new();
    for (id, kind, payment) in found {
        let message = messages.entry(message_id(&id)?).or_default();
        message.orders = kind == "pacs.008";
        message
            .payments
            .extend(payment.as_deref().map(end_to_end_id).transpose()?);
    }
    Ok(messages)
}

async fn keys(
    tx: &mut Transaction<'_, Postgres>,
    keys: &[OrderKey],
) -> Result<Vec<(OrderKey, EndToEndId)>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<(String, String)> =
        sqlx::query_as("SELECT key, end_to_end_id FROM order_key WHERE key = ANY($1)")
            .bind(texts(keys))
            .fetch_all(&mut **tx)
            .await?;
    let read = |(key, id): &(String, String)| {
        Ok((
            OrderKey::parse(key).map_err(|_| StoreError::Corrupt("key"))?,
            end_to_end_id(id)?,
        ))
    };
    found.iter().map(read).collect()
}

async fn payments(
    tx: &mut Transaction<'_, Postgres>,
    ids: &[EndToEndId],
) -> Result<Vec<Payment>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<PaymentRow> = sqlx::query_as("SELECT * FROM payment WHERE end_to_end_id = ANY($1)")
        .bind(texts(ids))
        .fetch_all(&mut **tx)
        .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

async fn lookups(tx: &mut Transaction<'_, Postgres>, ids: &[EndToEndId]) -> Result<Vec<Lookup>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<LookupRow> = sqlx::query_as("SELECT * FROM lookup WHERE end_to_end_id = ANY($1)")
        .bind(texts(ids))
        .fetch_all(&mut **tx)
        .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

async fn registrations(
    tx: &mut Transaction<'_, Postgres>,
    names: &Names,
) -> Result<Vec<Registration>, StoreError> {
    if names.registrations.is_empty() && names.wishes.is_empty() && names.dict_keys.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<RegistrationRow> = sqlx::query_as(
        "SELECT * FROM key_registration
          WHERE request_id = ANY($1) OR wish = ANY($2)
             OR (state IN ('requested', 'active', 'removing')
                 AND (key = ANY($3)
                      OR key IN (SELECT key FROM key_registration WHERE request_id = ANY($1))))",
    )
    .bind(texts(&names.registrations))
    .bind(names.wishes.iter().map(OrderKey::as_str).collect::<Vec<_>>())
    .bind(names.dict_keys.iter().map(Key::as_str).collect::<Vec<_>>())
    .fetch_all(&mut **tx)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

async fn contacts(tx: &mut Transaction<'_, Postgres>, keys: &[Key]) -> Result<Vec<(TaxId, Key)>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT tax_id, contact FROM contact WHERE contact = ANY($1)")
            .bind(keys.iter().map(Key::as_str).collect::<Vec<_>>())
            .fetch_all(&mut **tx)
            .await?;
    rows.iter()
        .map(|(holder, contact)| Ok((tax_id(holder)?, key(contact)?)))
        .collect()
}

async fn early_statuses(
    tx: &mut Transaction<'_, Postgres>,
    ids: &[EndToEndId],
) -> Result<Vec<EarlyStatus>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(String, String, OffsetDateTime)> =
        sqlx::query_as("SELECT end_to_end_id, reason, at FROM early_status WHERE end_to_end_id = ANY($1)")
            .bind(texts(ids))
            .fetch_all(&mut **tx)
            .await?;
    let read = |(id, reason, at): &(String, String, OffsetDateTime)| {
        let reason = StatusReason::parse(reason.as_bytes()).map_err(|_| corrupt("reason")())?;
        Ok(EarlyStatus {
            end_to_end_id: end_to_end_id(id)?,
            reason,
            at: (*at).into(),
        })
    };
    rows.iter().map(read).collect()
}

async fn accounts(
    tx: &mut Transaction<'_, Postgres>,
    numbers: &[AccountNumber],
    participants: &[Ispb],
    payments: &[Payment],
) -> Result<Vec<Account>, StoreError> {
    use bank_core::Course;
    let ids: Vec<i64> = payments
        .iter()
        .flat_map(|payment| match payment.course {
            Course::Outgoing { account, .. } => [Some(account.0), None],
            Course::Incoming { account, .. } => [account.map(|id| id.0), None],
            Course::Book { from, to, .. } => [Some(from.0), Some(to.0)],
        })
        .flatten()
        .collect();
    if ids.is_empty() && numbers.is_empty() && participants.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<AccountRow> = sqlx::query_as(
        "SELECT id, indirect, branch, number, kind, holder, tax_id, state, available, blocked, provisional
           FROM account WHERE number = ANY($1) OR id = ANY($2) OR indirect = ANY($3) ORDER BY id FOR UPDATE",
    )
    .bind(texts(numbers))
    .bind(ids)
    .bind(texts(participants))
    .fetch_all(&mut **tx)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}
