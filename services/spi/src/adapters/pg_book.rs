//! The tables of the book: facts in, one transaction a batch out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pix_domain::{EndToEndId, Money, MsgId, ServiceLevel, StatusReason, TaxId, Text, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, Row as _};
use time::OffsetDateTime;

use spi_core::book::{
    Account, Batch, Closed, Content, End, Facts, FactsNeeded, Funded, FundingId, KnownFunding, KnownMessage,
    Latest, Open, Snapshot,
};
use spi_core::order::{Creditor, Refusal};
use spi_core::outgoing::{Channel, Parcel};

use super::pg::{Exclusive, Lock, StoreError, Target, bytes32, day, ispb, parsed, resource_id};

/// How long a repeat of a message is recognised by its MsgId (the SPI promises 24 h; a day of margin).
const MESSAGE_KEY_LIFE: Duration = Duration::from_secs(48 * 3600);
/// The only shard of this build; every row carries it.
pub(crate) const SHARD: i16 = 0;

/// The writer's connection.
pub(crate) struct BookStore {
    pg: Exclusive,
}

/// An event of a batch, ready for its subject.
pub(crate) struct Event {
    pub(crate) subject: &'static str,
    pub(crate) payload: Vec<u8>,
}

impl BookStore {
    pub(crate) async fn connect(target: &Target) -> Result<Self, StoreError> {
        Ok(Self {
            pg: Exclusive::connect(target, Lock::Book).await?,
        })
    }

    /// After a lost connection; see [`Exclusive::reconnect`].
    pub(crate) async fn reconnect(&mut self) -> Result<(), StoreError> {
        self.pg.reconnect().await
    }

    /// Whether this very batch was committed: its number may be another's.
    pub(crate) async fn has_batch(&mut self, number: i64, audit_hash: &[u8; 32]) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT audit_hash FROM batch WHERE shard = $1 AND number = $2")
            .bind(SHARD)
            .bind(number)
            .fetch_optional(&mut self.pg.connection)
            .await?;
        let Some(row) = row else { return Ok(false) };
        if bytes32("batch", row.try_get(0)?)? == *audit_hash {
            return Ok(true);
        }
        let what = format!("batch {number} of somebody else: another spi process has written this shard");
        Err(StoreError::Corrupt { table: "batch", what })
    }

    /// The state the tables lead to, and the head of the audit chain.
    pub(crate) async fn snapshot(&mut self) -> Result<(Snapshot, [u8; 32]), StoreError> {
        let connection = &mut self.pg.connection;
        let last = sqlx::query(
            "SELECT number, last_seq, open_from_seq, last_outbox_id, audit_hash,
                    latest_received, latest_settled, latest_refused FROM batch
             WHERE shard = $1 ORDER BY number DESC LIMIT 1",
        )
        .bind(SHARD)
        .fetch_optional(&mut *connection)
        .await?;
        let Some(last) = last else {
            return Ok((Snapshot::default(), [0; 32]));
        };
        let mut accounts = BTreeMap::new();
        for row in sqlx::query("SELECT account, available, blocked FROM account")
            .fetch_all(&mut *connection)
            .await?
        {
            let account = Account {
                available: row.try_get(1)?,
                blocked: row.try_get(2)?,
            };
            accounts.insert(ispb("account", row.try_get(0)?)?, account);
        }
        // The blocks after the last checkpoint that have no end. BRIN on seq keeps this to the tail.
        let rows = sqlx::query(
            "SELECT p.end_to_end_id, p.payer, p.receiver, p.amount, p.service_level, p.deadline, p.fingerprint, s.seq,
                    p.creditor_tax_id, p.creditor_key
             FROM payment_step s JOIN payment p USING (month, end_to_end_id)
             WHERE s.seq >= $1 AND s.step = 1 AND s.shard = $2 AND NOT EXISTS (
                 SELECT 1 FROM payment_step e
                 WHERE e.month = s.month AND e.end_to_end_id = s.end_to_end_id AND e.step = 2)",
        )
        .bind(last.try_get::<i64, _>(2)?)
        .bind(SHARD)
        .fetch_all(&mut *connection)
        .await?;
        let open = rows
            .iter()
            .map(open_payment)
            .collect::<Result<HashMap<_, _>, _>>()?;
        let snapshot = Snapshot {
            accounts,
            open,
            last_batch: last.try_get(0)?,
            last_seq: last.try_get(1)?,
            last_outbox_id: last.try_get(3)?,
            latest: Latest {
                received: last.try_get(5)?,
                settled: last.try_get(6)?,
                refused: last.try_get(7)?,
            },
        };
        Ok((snapshot, bytes32("batch", last.try_get(4)?)?))
    }

    /// Reads what the book asked for.
    pub(crate) async fn facts(&mut self, needed: &FactsNeeded, now: Timestamp) -> Result<Facts, StoreError> {
        let mut facts = Facts::default();
        if !needed.messages.is_empty() {
            let (senders, ids): (Vec<_>, Vec<_>) = needed
                .messages
                .iter()
                .map(|(sender, id)| (sender.as_str(), id.as_str()))
                .unzip();
            let rows = sqlx::query(
                "SELECT k.sender, k.message_id, k.digest, k.resource_id
                 FROM UNNEST($1::text[], $2::text[]) AS q (sender, message_id)
                 JOIN message_key k ON k.sender = q.sender AND k.message_id = q.message_id AND k.day >= $3",
            )
            .bind(senders)
            .bind(ids)
            .bind(day(now.minus(MESSAGE_KEY_LIFE)))
            .fetch_all(&mut self.pg.connection)
            .await?;
            for row in rows {
                let key = (
                    ispb("message_key", row.try_get(0)?)?,
                    parsed("message_key", MsgId::parse(row.try_get::<&str, _>(1)?.as_bytes()))?,
                );
                let known = KnownMessage {
                    digest: bytes32("message_key", row.try_get(2)?)?,
                    resource_id: resource_id("message_key", row.try_get(3)?)?,
                };
                facts.messages.insert(key, known);
            }
        }
        if !needed.payments.is_empty() {
            let (months, ids): (Vec<_>, Vec<_>) = needed
                .payments
                .iter()
                .map(|(month, id)| (month.get(), id.as_str()))
                .unzip();
            let rows = sqlx::query(
                "SELECT p.end_to_end_id, p.payer, p.receiver, p.service_level, p.fingerprint,
                        s.outcome, s.reason, s.detail, s.at
                 FROM UNNEST($1::int[], $2::text[]) AS q (month, end_to_end_id)
                 JOIN payment p ON p.month = q.month AND p.end_to_end_id = q.end_to_end_id
                 LEFT JOIN payment_step s
                   ON s.month = q.month AND s.end_to_end_id = q.end_to_end_id AND s.step = 2",
            )
            .bind(months)
            .bind(ids)
            .fetch_all(&mut self.pg.connection)
            .await?;
            for row in rows {
                let (id, closed) = closed_payment(&row)?;
                facts.payments.insert(id, closed);
            }
        }
        if !needed.fundings.is_empty() {
            let ids: Vec<_> = needed.fundings.iter().map(FundingId::to_string).collect();
            let rows = sqlx::query(
                "SELECT id, account, amount, posting, batch, available_after FROM funding WHERE id = ANY($1)",
            )
            .bind(ids)
            .fetch_all(&mut self.pg.connection)
            .await?;
            for row in rows {
                let known = KnownFunding {
                    account: ispb("funding", row.try_get(1)?)?,
                    amount: row.try_get(2)?,
                    funded: Funded {
                        sequence: row.try_get(3)?,
                        batch: row.try_get(4)?,
                        available: row.try_get(5)?,
                    },
                };
                facts.fundings.insert(funding_id(row.try_get(0)?)?, known);
            }
        }
        Ok(facts)
    }

    /// Writes a batch in one transaction; `raw` holds the bytes of each command's message.
    pub(crate) async fn commit(
        &mut self,
        batch: &Batch,
        raw: &[Bytes],
        parcels: &[Parcel],
        events: &[Event],
        audit_hash: &[u8; 32],
    ) -> Result<(), StoreError> {
        let now = batch.decided_at.expect("a decided batch says when");
        let today = day(now);
        let at = OffsetDateTime::from(now);
        let mut tx = self.pg.connection.begin().await?;
        sqlx::query(
            "INSERT INTO batch (shard, number, first_seq, last_seq, open_from_seq, last_outbox_id, decided_at, audit_hash,
                                latest_received, latest_settled, latest_refused)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(SHARD)
        .bind(batch.number)
        .bind(batch.first_seq)
        .bind(batch.last_seq)
        .bind(batch.open_from_seq)
        .bind(batch.last_outbox_id)
        .bind(at)
        .bind(&audit_hash[..])
        .bind(batch.latest.received)
        .bind(batch.latest.settled)
        .bind(batch.latest.refused)
        .execute(&mut *tx)
        .await?;

        if !batch.messages.is_empty() {
            let rows = &batch.messages;
            let column = |f: &dyn Fn(&spi_core::book::Inbound) -> String| -> Vec<String> {
                rows.iter().map(|row| f(&row.inbound)).collect()
            };
            let ids: Vec<Option<String>> = rows
                .iter()
                .map(|row| row.inbound.content.message_id().map(|id| id.to_string()))
                .collect();
            sqlx::query(
                "INSERT INTO message_in
                     (day, shard, seq, resource_id, sender, channel, message_id, received_at, digest, kind, raw)
                 SELECT $1, $2, * FROM UNNEST($3::bigint[], $4::bytea[], $5::text[], $6::text[], $7::text[],
                                              $8::timestamptz[], $9::bytea[], $10::text[], $11::bytea[])",
            )
            .bind(today)
            .bind(SHARD)
            .bind(rows.iter().map(|row| row.seq).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.inbound.resource_id.as_bytes().to_vec()).collect::<Vec<_>>())
            .bind(column(&|m| m.sender.to_string()))
            .bind(column(&|m| m.channel.as_str().to_owned()))
            .bind(&ids)
            .bind(rows.iter().map(|row| OffsetDateTime::from(row.inbound.received_at)).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.inbound.digest.to_vec()).collect::<Vec<_>>())
            .bind(column(&|m| kind(&m.content).to_owned()))
            .bind(rows.iter().map(|row| raw[row.command].to_vec()).collect::<Vec<_>>())
            .execute(&mut *tx)
            .await?;
            sqlx::query(
                "INSERT INTO message_key (day, sender, message_id, digest, resource_id)
                 SELECT $1, q.* FROM UNNEST($2::text[], $3::text[], $4::bytea[], $5::bytea[])
                        AS q (sender, message_id, digest, resource_id)
                 WHERE q.message_id IS NOT NULL",
            )
            .bind(today)
            .bind(column(&|m| m.sender.to_string()))
            .bind(&ids)
            .bind(
                rows.iter()
                    .map(|row| row.inbound.digest.to_vec())
                    .collect::<Vec<_>>(),
            )
            .bind(
                rows.iter()
                    .map(|row| row.inbound.resource_id.as_bytes().to_vec())
                    .collect::<Vec<_>>(),
            )
            .execute(&mut *tx)
            .await?;
        }

        let complaints = || {
            let messages = batch.messages.iter().map(|row| &row.inbound);
            messages.filter_map(|inbound| match &inbound.content {
                Content::Complaint {
                    reference, reason, ..
                } => Some((inbound, reference, reason)),
                _ => None,
            })
        };
        if complaints().next().is_some() {
            sqlx::query(
                "INSERT INTO complaint (at, resource_id, sender, reference, reason)
                 SELECT $1, * FROM UNNEST($2::bytea[], $3::text[], $4::text[], $5::text[])",
            )
            .bind(at)
            .bind(
                complaints()
                    .map(|(inbound, ..)| inbound.resource_id.as_bytes().to_vec())
                    .collect::<Vec<_>>(),
            )
            .bind(
                complaints()
                    .map(|(inbound, ..)| inbound.sender.to_string())
                    .collect::<Vec<_>>(),
            )
            .bind(
                complaints()
                    .map(|(_, reference, _)| reference.to_string())
                    .collect::<Vec<_>>(),
            )
            .bind(
                complaints()
                    .map(|(.., reason)| reason.to_string())
                    .collect::<Vec<_>>(),
            )
            .execute(&mut *tx)
            .await?;
        }

        if !batch.payments.is_empty() {
            let rows = &batch.payments;
            let text = |f: &dyn Fn(&spi_core::order::Order) -> String| -> Vec<String> {
                rows.iter().map(|row| f(&row.order)).collect()
            };
            let time = |f: &dyn Fn(&spi_core::book::PaymentRow) -> Timestamp| -> Vec<OffsetDateTime> {
                rows.iter().map(|row| f(row).into()).collect()
            };
            sqlx::query(
                "INSERT INTO payment
                     (shard, seq, month, end_to_end_id, payer, receiver, debtor_agent, creditor_agent, amount,
                      service_level, accepted_at, received_at, deadline, fingerprint, resource_id, transaction,
                      creditor_tax_id, creditor_key)
                 SELECT $1, * FROM UNNEST($2::bigint[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[],
                     $8::text[], $9::bigint[], $10::text[], $11::timestamptz[], $12::timestamptz[],
                     $13::timestamptz[], $14::bytea[], $15::bytea[], $16::bytea[], $17::text[], $18::text[])",
            )
            .bind(SHARD)
            .bind(rows.iter().map(|row| row.seq).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.month.get()).collect::<Vec<_>>())
            .bind(text(&|o| o.end_to_end_id.to_string()))
            .bind(text(&|o| o.payer.to_string()))
            .bind(text(&|o| o.receiver.to_string()))
            .bind(text(&|o| o.debtor_agent.to_string()))
            .bind(text(&|o| o.creditor_agent.to_string()))
            .bind(rows.iter().map(|row| row.order.amount.to_i64()).collect::<Vec<_>>())
            .bind(text(&|o| o.service_level.to_string()))
            .bind(time(&|row| row.order.accepted_at))
            .bind(time(&|row| row.received_at))
            .bind(time(&|row| row.order.deadline))
            .bind(rows.iter().map(|row| row.order.fingerprint.to_vec()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.resource_id.as_bytes().to_vec()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.order.transaction.to_vec()).collect::<Vec<_>>())
            .bind(text(&|o| o.creditor.tax_id.as_str().to_owned()))
            .bind(rows.iter().map(|row| row.order.creditor.key.as_ref().map(Text::as_str)).collect::<Vec<_>>())
            .execute(&mut *tx)
            .await?;
        }

        if !batch.steps.is_empty() {
            let rows = &batch.steps;
            let refusal = |f: &dyn Fn(&Refusal) -> String| -> Vec<Option<String>> {
                rows.iter()
                    .map(|row| row.end.as_ref().and_then(End::refusal).map(f))
                    .collect()
            };
            sqlx::query(
                "INSERT INTO payment_step (shard, at, seq, month, end_to_end_id, step, outcome, reason, detail)
                 SELECT $1, $2, * FROM UNNEST($3::bigint[], $4::int[], $5::text[], $6::smallint[], $7::text[],
                                              $8::text[], $9::text[])",
            )
            .bind(SHARD)
            .bind(at)
            .bind(rows.iter().map(|row| row.seq).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.month.get()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.end_to_end_id.to_string()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| if row.end.is_some() { 2_i16 } else { 1 }).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.end.as_ref().map_or("blocked", End::as_str)).collect::<Vec<_>>())
            .bind(refusal(&|r| r.reason.to_string()))
            .bind(refusal(&|r| r.detail.clone()))
            .execute(&mut *tx)
            .await?;
        }

        if !batch.postings.is_empty() {
            let rows = &batch.postings;
            sqlx::query(
                "INSERT INTO posting (day, shard, at, seq, debit, credit, amount, end_to_end_id)
                 SELECT $1, $2, $3, * FROM UNNEST($4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::text[])",
            )
            .bind(today)
            .bind(SHARD)
            .bind(at)
            .bind(rows.iter().map(|row| row.seq).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.debit.to_string()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.credit.to_string()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.amount.to_i64()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.end_to_end_id.map(|id| id.to_string())).collect::<Vec<_>>())
            .execute(&mut *tx)
            .await?;
        }

        if !batch.fundings.is_empty() {
            let rows = &batch.fundings;
            sqlx::query(
                "INSERT INTO funding
                     (shard, batch, at, id, seq, posting, account, amount, ordered_by, available_after)
                 SELECT $1, $2, $3, * FROM UNNEST($4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[],
                                                  $9::text[], $10::bigint[])",
            )
            .bind(SHARD)
            .bind(batch.number)
            .bind(at)
            .bind(rows.iter().map(|row| row.funding.id.to_string()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.seq).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.posting).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.funding.account.to_string()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.funding.amount).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.funding.ordered_by.to_string()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.available_after).collect::<Vec<_>>())
            .execute(&mut *tx)
            .await?;
        }

        let opened: Vec<_> = batch
            .balances
            .iter()
            .filter(|(_, row)| row.opened)
            .map(|(account, _)| account.to_string())
            .collect();
        if !opened.is_empty() {
            sqlx::query(
                "INSERT INTO account (account, available, blocked) SELECT a, 0, 0 FROM UNNEST($1::text[]) a",
            )
            .bind(opened)
            .execute(&mut *tx)
            .await?;
        }
        let changed: Vec<_> = batch
            .balances
            .iter()
            .filter(|(_, row)| row.available_delta != 0 || row.blocked_delta != 0)
            .collect();
        if !changed.is_empty() {
            // The expected result is part of the condition: a row that somebody else changed is not updated.
            let updated = sqlx::query(
                "UPDATE account a SET available = a.available + q.da, blocked = a.blocked + q.db
                 FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
                      AS q (account, da, db, available, blocked)
                 WHERE a.account = q.account
                   AND a.available + q.da = q.available AND a.blocked + q.db = q.blocked",
            )
            .bind(
                changed
                    .iter()
                    .map(|(account, _)| account.to_string())
                    .collect::<Vec<_>>(),
            )
            .bind(
                changed
                    .iter()
                    .map(|(_, row)| row.available_delta)
                    .collect::<Vec<_>>(),
            )
            .bind(
                changed
                    .iter()
                    .map(|(_, row)| row.blocked_delta)
                    .collect::<Vec<_>>(),
            )
            .bind(
                changed
                    .iter()
                    .map(|(_, row)| row.after.available)
                    .collect::<Vec<_>>(),
            )
            .bind(
                changed
                    .iter()
                    .map(|(_, row)| row.after.blocked)
                    .collect::<Vec<_>>(),
            )
            .execute(&mut *tx)
            .await?;
            if updated.rows_affected() != changed.len() as u64 {
                let what = "an account that differs from the book".to_owned();
                return Err(StoreError::Corrupt {
                    table: "account",
                    what,
                });
            }
        }

        if !parcels.is_empty() {
            let fragments: Vec<Option<Vec<u8>>> = parcels
                .iter()
                .map(|parcel| match parcel.form {
                    spi_core::outgoing::Form::Order(_) => None, // stored once, with its payment
                    spi_core::outgoing::Form::Status | spi_core::outgoing::Form::Refusal => {
                        Some(parcel.fragment.to_vec())
                    }
                })
                .collect();
            sqlx::query(
                "INSERT INTO outbox
                     (day, shard, created_at, id, destination, channel, form, end_to_end_id, month, fragment)
                 SELECT $1, $2, $3, * FROM UNNEST($4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
                                                  $9::int[], $10::bytea[])",
            )
            .bind(today)
            .bind(SHARD)
            .bind(at)
            .bind(parcels.iter().map(|p| p.id).collect::<Vec<_>>())
            .bind(parcels.iter().map(|p| p.mailbox.destination.to_string()).collect::<Vec<_>>())
            .bind(parcels.iter().map(|p| p.mailbox.channel.as_str()).collect::<Vec<_>>())
            .bind(parcels.iter().map(|p| p.form.as_str()).collect::<Vec<_>>())
            .bind(parcels.iter().map(|p| p.end_to_end_id.map(|id| id.to_string())).collect::<Vec<_>>())
            .bind(parcels.iter().map(|p| Some(p.end_to_end_id?.month().ok()?.get())).collect::<Vec<_>>())
            .bind(fragments)
            .execute(&mut *tx)
            .await?;
        }

        if !events.is_empty() {
            sqlx::query(
                "INSERT INTO event (shard, batch, at, subject, payload)
                 SELECT $1, $2, $3, * FROM UNNEST($4::text[], $5::bytea[])",
            )
            .bind(SHARD)
            .bind(batch.number)
            .bind(at)
            .bind(events.iter().map(|event| event.subject).collect::<Vec<_>>())
            .bind(
                events
                    .iter()
                    .map(|event| event.payload.clone())
                    .collect::<Vec<_>>(),
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Notes that a message could not be decided. Its bytes went in with the batch that refused it.
    pub(crate) async fn dead_letter(
        &mut self,
        message: &spi_core::book::Inbound,
        why: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO dead_letter (resource_id, sender, why, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(message.resource_id.as_bytes().to_vec())
        .bind(message.sender.as_str())
        .bind(why)
        .bind(OffsetDateTime::from(at))
        .execute(&mut self.pg.connection)
        .await?;
        Ok(())
    }
}

fn kind(content: &Content) -> &'static str {
    match content {
        Content::Orders { .. } => "pacs.008",
        Content::Answers { .. } => "pacs.002",
        Content::Complaint { .. } => "admi.002",
        Content::Unreadable(_) => "refused",
    }
}

fn open_payment(row: &PgRow) -> Result<(EndToEndId, Open), StoreError> {
    const TABLE: &str = "payment";
    let id = parsed(TABLE, EndToEndId::parse(row.try_get::<&str, _>(0)?.as_bytes()))?;
    Ok((
        id,
        Open {
            month: parsed(TABLE, id.month())?,
            payer: ispb(TABLE, row.try_get(1)?)?,
            receiver: ispb(TABLE, row.try_get(2)?)?,
            amount: money(TABLE, row.try_get(3)?)?,
            service_level: parsed(TABLE, ServiceLevel::parse(row.try_get::<&str, _>(4)?.as_bytes()))?,
            deadline: row.try_get::<OffsetDateTime, _>(5)?.into(),
            fingerprint: bytes32(TABLE, row.try_get(6)?)?,
            seq: row.try_get(7)?,
            creditor: creditor(row)?,
        },
    ))
}

/// Who is paid, unless the payment is older than those columns.
fn creditor(row: &PgRow) -> Result<Option<Arc<Creditor>>, StoreError> {
    const TABLE: &str = "payment";
    let Some(tax_id) = row.try_get::<Option<&str>, _>(8)? else {
        return Ok(None);
    };
    let key = row.try_get::<Option<&str>, _>(9)?.map(Text::parse).transpose();
    Ok(Some(Arc::new(Creditor {
        tax_id: parsed(TABLE, TaxId::parse(tax_id.as_bytes()))?,
        key: parsed(TABLE, key)?,
    })))
}

fn closed_payment(row: &PgRow) -> Result<(EndToEndId, Closed), StoreError> {
    const TABLE: &str = "payment_step";
    let id = parsed(TABLE, EndToEndId::parse(row.try_get::<&str, _>(0)?.as_bytes()))?;
    let refusal = || -> Result<Refusal, StoreError> {
        let reason = row.try_get::<Option<&str>, _>(6)?.unwrap_or_default();
        let reason = parsed(TABLE, StatusReason::parse(reason.as_bytes()))?;
        Ok(Refusal::new(
            reason,
            row.try_get::<Option<String>, _>(7)?.unwrap_or_default(),
        ))
    };
    let end = match row.try_get::<Option<&str>, _>(5)? {
        Some("settled") => End::Settled,
        Some("released") => End::Released(refusal()?),
        Some("refused") => End::Refused(refusal()?),
        other => {
            // Open payments are in memory, so one that is open here and not there has another owner.
            return Err(StoreError::Corrupt {
                table: TABLE,
                what: format!("{id} has the end {other:?}"),
            });
        }
    };
    let closed = Closed {
        payer: ispb("payment", row.try_get(1)?)?,
        receiver: ispb("payment", row.try_get(2)?)?,
        service_level: parsed(
            "payment",
            ServiceLevel::parse(row.try_get::<&str, _>(3)?.as_bytes()),
        )?,
        fingerprint: bytes32("payment", row.try_get(4)?)?,
        end,
        at: row.try_get::<OffsetDateTime, _>(8)?.into(),
    };
    Ok((id, closed))
}

/// For what is stored as a funding's id.
pub(crate) fn funding_id(text: &str) -> Result<FundingId, StoreError> {
    parsed("funding", FundingId::parse(text))
}

fn money(table: &'static str, centavos: i64) -> Result<Money, StoreError> {
    parsed(table, u64::try_from(centavos)).map(Money::from_centavos)
}

/// For what is stored as `P` or `S`.
pub(crate) fn channel(table: &'static str, text: &str) -> Result<Channel, StoreError> {
    Channel::from_stored(text).ok_or_else(|| StoreError::Corrupt {
        table,
        what: format!("channel {text}"),
    })
}
