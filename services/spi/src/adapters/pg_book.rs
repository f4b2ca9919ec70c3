//! The tables of the book: facts in, one transaction a batch out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pix_domain::{EndToEndId, Money, MsgId, ServiceLevel, StatusReason, TaxId, Text, Timestamp};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection as _, Row as _};
use time::OffsetDateTime;

use spi_core::book::{
    Account, Batch, Closed, Content, End, Facts, FactsNeeded, Funded, FundingId, Inbound, KnownFunding,
    KnownMessage, Latest, Open, Snapshot, StepRow,
};
use spi_core::order::{Creditor, Refusal};
use spi_core::outgoing::{Channel, Form, Parcel};

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
             FROM payment_step s
             LEFT JOIN LATERAL (
                 SELECT true AS is_there FROM payment_step e
                 WHERE e.month = s.month AND e.end_to_end_id = s.end_to_end_id AND e.step = 2 LIMIT 1) AS ended ON true,
             LATERAL (
                 SELECT * FROM payment p
                 WHERE p.month = s.month AND p.end_to_end_id = s.end_to_end_id LIMIT 1) AS p
             WHERE s.seq >= $1 AND s.step = 1 AND s.shard = $2 AND ended.is_there IS NULL",
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
        if !needed.messages.is_empty() || !needed.payments.is_empty() {
            let (messages, payments) = (&needed.messages, &needed.payments);
            let rows = sqlx::query(FACTS)
                .bind(
                    messages
                        .iter()
                        .map(|(sender, _)| sender.as_str())
                        .collect::<Vec<_>>(),
                )
                .bind(messages.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>())
                .bind(day(now.minus(MESSAGE_KEY_LIFE)))
                .bind(payments.iter().map(|(month, _)| month.get()).collect::<Vec<_>>())
                .bind(payments.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>())
                .fetch_all(&mut self.pg.connection)
                .await?;
            for row in &rows {
                match row.try_get::<Option<&str>, _>(0)? {
                    Some(sender) => {
                        let id: &str = row.try_get(1)?;
                        let key = (
                            ispb("message_key", sender)?,
                            parsed("message_key", MsgId::parse(id.as_bytes()))?,
                        );
                        let known = KnownMessage {
                            digest: bytes32("message_key", row.try_get(2)?)?,
                            resource_id: resource_id("message_key", row.try_get(3)?)?,
                        };
                        facts.messages.insert(key, known);
                    }
                    None => {
                        let (id, closed) = closed_payment(row)?;
                        facts.payments.insert(id, closed);
                    }
                }
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

    /// Writes a batch in one transaction; `raw` holds the bytes of each command's message. Almost always that is one
    /// statement, whose success is the COMMIT: one exchange, however much there is to write.
    pub(crate) async fn commit(
        &mut self,
        batch: &Batch,
        raw: &[Bytes],
        parcels: &[Parcel],
        events: &[Event],
        audit_hash: &[u8; 32],
    ) -> Result<(), StoreError> {
        let connection = &mut self.pg.connection;
        let complaints = complaints(batch);
        let opened: Vec<_> = batch.balances.iter().filter(|(_, row)| row.opened).collect();
        if complaints.is_empty() && batch.fundings.is_empty() && opened.is_empty() {
            return write(connection, batch, raw, parcels, events, audit_hash).await;
        }
        let mut tx = connection.begin().await?;
        if !complaints.is_empty() {
            write_complaints(&mut tx, batch, &complaints).await?;
        }
        if !batch.fundings.is_empty() {
            write_fundings(&mut tx, batch).await?;
        }
        if !opened.is_empty() {
            sqlx::query("INSERT INTO account (account, available, blocked) SELECT UNNEST($1::text[]), 0, 0")
                .bind(column(&opened, |(account, _)| account.as_str()))
                .execute(&mut *tx)
                .await?;
        }
        write(&mut tx, batch, raw, parcels, events, audit_hash).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Notes that a message could not be decided. Its bytes went in with the batch that refused it.
    pub(crate) async fn dead_letter(
        &mut self,
        message: &Inbound,
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

/// Messages that were taken in before, and payments with their ends (which have no sender), in one exchange. Each is
/// looked up by a `LATERAL` with a limit: joined freely, a plan made while the table was empty walks its whole index for
/// every row.
const FACTS: &str = "
    SELECT k.sender, k.message_id, k.digest, k.resource_id, NULL AS payer, NULL AS receiver, NULL AS service_level,
           NULL AS outcome, NULL AS reason, NULL AS detail, NULL::timestamptz AS at
    FROM UNNEST($1::text[], $2::text[]) AS q (sender, message_id), LATERAL (
        SELECT * FROM message_key
        WHERE sender = q.sender AND message_id = q.message_id AND day >= $3 LIMIT 1) AS k
    UNION ALL
    SELECT NULL, p.end_to_end_id, p.fingerprint, NULL, p.payer, p.receiver, p.service_level,
           s.outcome, s.reason, s.detail, s.at
    FROM UNNEST($4::int[], $5::text[]) AS q (month, end_to_end_id), LATERAL (
        SELECT * FROM payment
        WHERE month = q.month AND end_to_end_id = q.end_to_end_id LIMIT 1) AS p
    LEFT JOIN LATERAL (
        SELECT * FROM payment_step
        WHERE month = q.month AND end_to_end_id = q.end_to_end_id AND step = 2 LIMIT 1) AS s ON true";

/// The rows of a batch. The batch's own row comes last: it has its audit hash, which may not be NULL, only when every
/// account is what the book says it is afterwards, so a row that somebody else changed undoes all of it.
const WRITE: &str = "
    WITH taken_in AS (
        INSERT INTO message_in
            (day, shard, seq, resource_id, sender, channel, message_id, received_at, digest, kind, raw)
        SELECT $4, $1, UNNEST($14::bigint[]), UNNEST($15::bytea[]), UNNEST($16::text[]), UNNEST($17::text[]),
               UNNEST($18::text[]), UNNEST($19::timestamptz[]), UNNEST($20::bytea[]), UNNEST($21::text[]),
               UNNEST($22::bytea[])
    ), keyed AS (
        INSERT INTO message_key (day, sender, message_id, digest, resource_id)
        SELECT * FROM (SELECT $4::date, UNNEST($16::text[]), UNNEST($18::text[]) AS message_id,
                              UNNEST($20::bytea[]), UNNEST($15::bytea[])) AS key
        WHERE message_id IS NOT NULL
    ), named AS (
        INSERT INTO payment
            (shard, seq, month, end_to_end_id, payer, receiver, debtor_agent, creditor_agent, amount, service_level,
             accepted_at, received_at, deadline, fingerprint, resource_id, transaction, creditor_tax_id,
             creditor_key)
        SELECT $1, UNNEST($23::bigint[]), UNNEST($24::int[]), UNNEST($25::text[]), UNNEST($26::text[]),
               UNNEST($27::text[]), UNNEST($28::text[]), UNNEST($29::text[]), UNNEST($30::bigint[]),
               UNNEST($31::text[]), UNNEST($32::timestamptz[]), UNNEST($33::timestamptz[]),
               UNNEST($34::timestamptz[]), UNNEST($35::bytea[]), UNNEST($36::bytea[]), UNNEST($37::bytea[]),
               UNNEST($38::text[]), UNNEST($39::text[])
    ), stepped AS (
        INSERT INTO payment_step (shard, at, seq, month, end_to_end_id, step, outcome, reason, detail)
        SELECT $1, $3, UNNEST($40::bigint[]), UNNEST($41::int[]), UNNEST($42::text[]), UNNEST($43::smallint[]),
               UNNEST($44::text[]), UNNEST($45::text[]), UNNEST($46::text[])
    ), posted AS (
        INSERT INTO posting (day, shard, at, seq, debit, credit, amount, end_to_end_id)
        SELECT $4, $1, $3, UNNEST($47::bigint[]), UNNEST($48::text[]), UNNEST($49::text[]), UNNEST($50::bigint[]),
               UNNEST($51::text[])
    ), leaving AS (
        INSERT INTO outbox (day, shard, created_at, id, destination, channel, form, end_to_end_id, month, fragment)
        SELECT $4, $1, $3, UNNEST($52::bigint[]), UNNEST($53::text[]), UNNEST($54::text[]), UNNEST($55::text[]),
               UNNEST($56::text[]), UNNEST($57::int[]), UNNEST($58::bytea[])
    ), told AS (
        INSERT INTO event (shard, batch, at, subject, payload)
        SELECT $1, $2, $3, UNNEST($59::text[]), UNNEST($60::bytea[])
    ), moved AS (
        UPDATE account a SET available = a.available + q.da, blocked = a.blocked + q.db
        FROM UNNEST($61::text[], $62::bigint[], $63::bigint[], $64::bigint[], $65::bigint[])
             AS q (account, da, db, available, blocked)
        WHERE a.account = q.account
          AND a.available + q.da = q.available AND a.blocked + q.db = q.blocked
        RETURNING 1
    )
    INSERT INTO batch (shard, number, decided_at, first_seq, last_seq, open_from_seq, last_outbox_id, audit_hash,
                       latest_received, latest_settled, latest_refused)
    SELECT $1, $2, $3, $5, $6, $7, $8, CASE WHEN (SELECT count(*) FROM moved) = $9 THEN $10 END, $11, $12, $13";

async fn write(
    connection: &mut PgConnection,
    batch: &Batch,
    raw: &[Bytes],
    parcels: &[Parcel],
    events: &[Event],
    audit_hash: &[u8; 32],
) -> Result<(), StoreError> {
    let now = batch.decided_at.expect("a decided batch says when");
    let (messages, payments) = (&batch.messages, &batch.payments);
    let (steps, postings) = (&batch.steps, &batch.postings);
    let changed: Vec<_> = batch
        .balances
        .iter()
        .filter(|(_, row)| row.available_delta != 0 || row.blocked_delta != 0)
        .collect();
    let message_ids: Vec<_> = column(messages, |row| row.inbound.content.message_id());
    fn refusal<'a, T>(row: &'a StepRow, what: impl Fn(&'a Refusal) -> T) -> Option<T> {
        row.end.as_ref().and_then(End::refusal).map(what)
    }
    let written = sqlx::query(WRITE)
        .bind(SHARD)
        .bind(batch.number)
        .bind(OffsetDateTime::from(now))
        .bind(day(now))
        .bind(batch.first_seq)
        .bind(batch.last_seq)
        .bind(batch.open_from_seq)
        .bind(batch.last_outbox_id)
        .bind(i64::try_from(changed.len()).expect("few accounts"))
        .bind(&audit_hash[..])
        .bind(batch.latest.received)
        .bind(batch.latest.settled)
        .bind(batch.latest.refused)
        // message_in and message_key
        .bind(column(messages, |row| row.seq))
        .bind(column(messages, |row| &row.inbound.resource_id.as_bytes()[..]))
        .bind(column(messages, |row| row.inbound.sender.as_str()))
        .bind(column(messages, |row| row.inbound.channel.as_str()))
        .bind(column(&message_ids, |id| id.as_ref().map(MsgId::as_str)))
        .bind(column(messages, |row| {
            OffsetDateTime::from(row.inbound.received_at)
        }))
        .bind(column(messages, |row| &row.inbound.digest[..]))
        .bind(column(messages, |row| kind(&row.inbound.content)))
        .bind(column(messages, |row| &raw[row.command][..]))
        // payment
        .bind(column(payments, |row| row.seq))
        .bind(column(payments, |row| row.month.get()))
        .bind(column(payments, |row| row.order.end_to_end_id.as_str()))
        .bind(column(payments, |row| row.order.payer.as_str()))
        .bind(column(payments, |row| row.order.receiver.as_str()))
        .bind(column(payments, |row| row.order.debtor_agent.as_str()))
        .bind(column(payments, |row| row.order.creditor_agent.as_str()))
        .bind(column(payments, |row| row.order.amount.to_i64()))
        .bind(column(payments, |row| row.order.service_level.as_str()))
        .bind(column(payments, |row| {
            OffsetDateTime::from(row.order.accepted_at)
        }))
        .bind(column(payments, |row| OffsetDateTime::from(row.received_at)))
        .bind(column(payments, |row| OffsetDateTime::from(row.order.deadline)))
        .bind(column(payments, |row| &row.order.fingerprint[..]))
        .bind(column(payments, |row| &row.resource_id.as_bytes()[..]))
        .bind(column(payments, |row| &row.order.transaction[..]))
        .bind(column(payments, |row| row.order.creditor.tax_id.as_str()))
        .bind(column(payments, |row| {
            row.order.creditor.key.as_ref().map(Text::as_str)
        }))
        // payment_step
        .bind(column(steps, |row| row.seq))
        .bind(column(steps, |row| row.month.get()))
        .bind(column(steps, |row| row.end_to_end_id.as_str()))
        .bind(column(steps, |row| if row.end.is_some() { 2_i16 } else { 1 }))
        .bind(column(steps, |row| {
            row.end.as_ref().map_or("blocked", End::as_str)
        }))
        .bind(column(steps, |row| refusal(row, |r| r.reason.as_str())))
        .bind(column(steps, |row| refusal(row, |r| r.detail.as_str())))
        // posting
        .bind(column(postings, |row| row.seq))
        .bind(column(postings, |row| row.debit.as_str()))
        .bind(column(postings, |row| row.credit.as_str()))
        .bind(column(postings, |row| row.amount.to_i64()))
        .bind(column(postings, |row| {
            row.end_to_end_id.as_ref().map(EndToEndId::as_str)
        }))
        // outbox
        .bind(column(parcels, |p| p.id))
        .bind(column(parcels, |p| p.mailbox.destination.as_str()))
        .bind(column(parcels, |p| p.mailbox.channel.as_str()))
        .bind(column(parcels, |p| p.form.as_str()))
        .bind(column(parcels, |p| {
            p.end_to_end_id.as_ref().map(EndToEndId::as_str)
        }))
        .bind(column(parcels, |p| Some(p.end_to_end_id?.month().ok()?.get())))
        .bind(column(parcels, |p| match p.form {
            Form::Order(_) => None, // stored once, with its payment
            Form::Status | Form::Refusal => Some(&p.fragment[..]),
        }))
        // event
        .bind(column(events, |event| event.subject))
        .bind(column(events, |event| &event.payload[..]))
        // account
        .bind(column(&changed, |(account, _)| account.as_str()))
        .bind(column(&changed, |(_, row)| row.available_delta))
        .bind(column(&changed, |(_, row)| row.blocked_delta))
        .bind(column(&changed, |(_, row)| row.after.available))
        .bind(column(&changed, |(_, row)| row.after.blocked))
        .execute(connection)
        .await;
    match written {
        Ok(_) => Ok(()),
        Err(error) if is_batch_without_hash(&error) => Err(StoreError::Corrupt {
            table: "account",
            what: "an account that differs from the book".to_owned(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// See [`WRITE`].
fn is_batch_without_hash(error: &sqlx::Error) -> bool {
    const NOT_NULL_VIOLATION: &str = "23502";
    error.as_database_error().is_some_and(|refused| {
        refused.code().as_deref() == Some(NOT_NULL_VIOLATION) && refused.table() == Some("batch")
    })
}

/// A message that complains, about what, and why.
type Complaint<'a> = (&'a Inbound, &'a Text<33>, &'a Text<35>);

async fn write_complaints(
    connection: &mut PgConnection,
    batch: &Batch,
    complaints: &[Complaint<'_>],
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO complaint (at, resource_id, sender, reference, reason)
         SELECT $1, UNNEST($2::bytea[]), UNNEST($3::text[]), UNNEST($4::text[]), UNNEST($5::text[])",
    )
    .bind(batch.decided_at.map(OffsetDateTime::from))
    .bind(column(complaints, |(inbound, ..)| {
        &inbound.resource_id.as_bytes()[..]
    }))
    .bind(column(complaints, |(inbound, ..)| inbound.sender.as_str()))
    .bind(column(complaints, |(_, reference, _)| reference.as_str()))
    .bind(column(complaints, |(.., reason)| reason.as_str()))
    .execute(connection)
    .await?;
    Ok(())
}

fn complaints(batch: &Batch) -> Vec<Complaint<'_>> {
    let messages = batch.messages.iter().map(|row| &*row.inbound);
    let complaints = messages.filter_map(|inbound| match &inbound.content {
        Content::Complaint {
            reference, reason, ..
        } => Some((inbound, reference, reason)),
        _ => None,
    });
    complaints.collect()
}

async fn write_fundings(connection: &mut PgConnection, batch: &Batch) -> Result<(), StoreError> {
    let rows = &batch.fundings;
    sqlx::query(
        "INSERT INTO funding (shard, batch, at, id, seq, posting, account, amount, ordered_by, available_after)
         SELECT $1, $2, $3, UNNEST($4::text[]), UNNEST($5::bigint[]), UNNEST($6::bigint[]), UNNEST($7::text[]),
                UNNEST($8::bigint[]), UNNEST($9::text[]), UNNEST($10::bigint[])",
    )
    .bind(SHARD)
    .bind(batch.number)
    .bind(batch.decided_at.map(OffsetDateTime::from))
    .bind(column(rows, |row| row.funding.id.to_string()))
    .bind(column(rows, |row| row.seq))
    .bind(column(rows, |row| row.posting))
    .bind(column(rows, |row| row.funding.account.as_str()))
    .bind(column(rows, |row| row.funding.amount))
    .bind(column(rows, |row| row.funding.ordered_by.to_string()))
    .bind(column(rows, |row| row.available_after))
    .execute(connection)
    .await?;
    Ok(())
}

/// One value of each row, as the array of a column.
pub(super) fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
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
    let id = parsed(TABLE, EndToEndId::parse(row.try_get::<&str, _>(1)?.as_bytes()))?;
    let refusal = || -> Result<Refusal, StoreError> {
        let reason = row.try_get::<Option<&str>, _>(8)?.unwrap_or_default();
        let reason = parsed(TABLE, StatusReason::parse(reason.as_bytes()))?;
        Ok(Refusal::new(
            reason,
            row.try_get::<Option<String>, _>(9)?.unwrap_or_default(),
        ))
    };
    let end = match row.try_get::<Option<&str>, _>(7)? {
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
        payer: ispb("payment", row.try_get(4)?)?,
        receiver: ispb("payment", row.try_get(5)?)?,
        service_level: parsed(
            "payment",
            ServiceLevel::parse(row.try_get::<&str, _>(6)?.as_bytes()),
        )?,
        fingerprint: bytes32("payment", row.try_get(2)?)?,
        end,
        at: row.try_get::<OffsetDateTime, _>(10)?.into(),
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
