//! The tables of outgoing messages: what waits, what was formed, what was read.

use std::sync::Arc;

use bytes::Bytes;
use pix_domain::{EndToEndId, MsgId, Timestamp};
use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgRow};
use time::OffsetDateTime;

use spi_core::former::Group;
use spi_core::outgoing::{Form, Mailbox, Parcel};
use spi_core::streams::Delivery;

use super::pg::{Exclusive, Lock, StoreError, Target, day, index_paths_only, ispb, parsed, resource_id};
use super::pg_book::{channel, column};
use crate::handed::Times;

/// A message, formed and signed, not yet committed.
#[derive(Clone)]
pub(crate) struct Formed {
    pub(crate) delivery: Delivery,
    pub(crate) group: Group,
    pub(crate) message_id: MsgId,
    pub(crate) parcels: Vec<(i64, Timestamp, Option<EndToEndId>)>,
    pub(crate) bytes: Bytes,
}

/// What is left to do at start.
pub(crate) struct Backlog {
    pub(crate) unformed: Vec<Parcel>,
    pub(crate) unread: Vec<(Mailbox, Delivery)>,
    pub(crate) last_delivery_id: i64,
}

/// Nothing below these numbers is unformed or unconfirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) outbox_from: i64,
    pub(crate) delivery_from: i64,
    pub(crate) last_delivery_id: i64,
}

/// The writer's connection.
pub(crate) struct DeliveryStore {
    pg: Exclusive,
}

impl DeliveryStore {
    pub(crate) async fn connect(target: &Target) -> Result<Self, StoreError> {
        Ok(Self {
            pg: Exclusive::connect(target, Lock::Desk).await?,
        })
    }

    /// After a lost connection; see [`Exclusive::reconnect`].
    pub(crate) async fn reconnect(&mut self) -> Result<(), StoreError> {
        self.pg.reconnect().await
    }

    /// Everything that waits to be formed or read.
    pub(crate) async fn backlog(&mut self) -> Result<Backlog, StoreError> {
        let row = sqlx::query("SELECT outbox_from, delivery_from, last_delivery_id FROM delivery_checkpoint")
            .fetch_one(&mut self.pg.connection)
            .await?;
        let (outbox_from, delivery_from) = (row.try_get::<i64, _>(0)?, row.try_get::<i64, _>(1)?);
        let last = sqlx::query("SELECT id FROM delivery ORDER BY id DESC LIMIT 1")
            .fetch_optional(&mut self.pg.connection)
            .await?;
        let last: i64 = last.map_or(Ok(0), |row| row.try_get(0))?;
        let rows = sqlx::query(
            "SELECT d.id, d.destination, d.channel, d.resource_id, d.created_at FROM delivery d
             LEFT JOIN LATERAL (
                 SELECT true AS is_there FROM confirmation c
                 WHERE c.delivery_day = d.day AND c.delivery_id = d.id LIMIT 1) AS confirmed ON true
             WHERE d.id >= $1 AND confirmed.is_there IS NULL
             ORDER BY d.id",
        )
        .bind(delivery_from)
        .fetch_all(&mut self.pg.connection)
        .await?;
        let unread = rows.iter().map(unread).collect::<Result<Vec<_>, _>>()?;
        let unformed = unformed(&mut self.pg.connection, outbox_from).await?;
        Ok(Backlog {
            unformed,
            unread,
            last_delivery_id: last.max(row.try_get(2)?),
        })
    }

    /// Whether the COMMIT that was to hold this message happened; it holds all or nothing.
    pub(crate) async fn has(&mut self, formed: &Formed) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT resource_id FROM delivery WHERE id = $1 AND day = $2")
            .bind(formed.delivery.id)
            .bind(day(formed.delivery.formed_at))
            .fetch_optional(&mut self.pg.connection)
            .await?;
        let Some(row) = row else { return Ok(false) };
        if resource_id("delivery", row.try_get(0)?)? == formed.delivery.resource_id {
            return Ok(true);
        }
        let what = format!(
            "message {} of somebody else: another spi process forms messages",
            formed.delivery.id
        );
        Err(StoreError::Corrupt {
            table: "delivery",
            what,
        })
    }

    /// Commits messages before their first byte leaves, and confirmations before the next batch is answered.
    pub(crate) async fn commit(
        &mut self,
        formed: &[Formed],
        confirmed: &[(Delivery, Option<Times>)],
        checkpoint: Option<Checkpoint>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let items: Vec<_> = formed
            .iter()
            .flat_map(|f| {
                let parcels = f.parcels.iter().zip(0_i16..);
                parcels.map(move |(parcel, position)| (f, parcel, position))
            })
            .collect();
        sqlx::query(WRITE)
            // delivery
            .bind(column(formed, |f| day(f.delivery.formed_at)))
            .bind(column(formed, |f| f.delivery.id))
            .bind(column(formed, |f| f.group.mailbox.destination.as_str()))
            .bind(column(formed, |f| f.group.mailbox.channel.as_str()))
            .bind(column(formed, |f| f.group.form.as_str()))
            .bind(column(formed, |f| &f.delivery.resource_id.as_bytes()[..]))
            .bind(column(formed, |f| f.message_id.as_str()))
            .bind(column(formed, |f| OffsetDateTime::from(f.delivery.formed_at)))
            .bind(column(formed, |f| &f.bytes[..]))
            // delivery_item
            .bind(column(&items, |(_, (_, created_at, _), _)| day(*created_at)))
            .bind(column(&items, |(_, (id, _, _), _)| *id))
            .bind(column(&items, |(f, ..)| day(f.delivery.formed_at)))
            .bind(column(&items, |(f, ..)| f.delivery.id))
            .bind(column(&items, |(_, _, position)| *position))
            .bind(column(&items, |(_, (_, _, id), _)| {
                id.as_ref().map(EndToEndId::as_str)
            }))
            // confirmation
            .bind(OffsetDateTime::from(now))
            .bind(column(confirmed, |(d, _)| day(d.formed_at)))
            .bind(column(confirmed, |(d, _)| d.id))
            .bind(column(confirmed, |(_, t)| {
                t.map(|t| OffsetDateTime::from(t.first_at))
            }))
            .bind(column(confirmed, |(_, t)| t.map(|t| t.attempts)))
            // delivery_checkpoint
            .bind(checkpoint.map(|c| c.outbox_from))
            .bind(checkpoint.map(|c| c.delivery_from))
            .bind(checkpoint.map(|c| c.last_delivery_id))
            .execute(&mut self.pg.connection)
            .await?;
        Ok(())
    }
}

/// One statement, whose success is the COMMIT. The key of `delivery_item` refuses an outbox item that already belongs to
/// a message.
const WRITE: &str = "
    WITH formed AS (
        INSERT INTO delivery (day, id, destination, channel, form, resource_id, message_id, created_at, bytes)
        SELECT UNNEST($1::date[]), UNNEST($2::bigint[]), UNNEST($3::text[]), UNNEST($4::text[]), UNNEST($5::text[]),
               UNNEST($6::bytea[]), UNNEST($7::text[]), UNNEST($8::timestamptz[]), UNNEST($9::bytea[])
    ), items AS (
        INSERT INTO delivery_item (outbox_day, outbox_id, delivery_day, delivery_id, position, end_to_end_id)
        SELECT UNNEST($10::date[]), UNNEST($11::bigint[]), UNNEST($12::date[]), UNNEST($13::bigint[]),
               UNNEST($14::smallint[]), UNNEST($15::text[])
    ), confirmed AS (
        INSERT INTO confirmation (at, delivery_day, delivery_id, delivered_at, attempts)
        SELECT $16, UNNEST($17::date[]), UNNEST($18::bigint[]), UNNEST($19::timestamptz[]), UNNEST($20::integer[])
        ON CONFLICT DO NOTHING
    )
    UPDATE delivery_checkpoint SET outbox_from = $21, delivery_from = $22, last_delivery_id = $23
    WHERE $21::bigint IS NOT NULL";

/// What the sweeper finds: outbox items from `outbox_from` on that belong to no message.
pub(crate) async fn sweep(pool: &PgPool, outbox_from: i64) -> Result<Vec<Parcel>, StoreError> {
    let mut connection = pool.acquire().await?;
    // It stays so for whoever has the connection next: the other questions of this pool go by key as well.
    index_paths_only(&mut connection).await?;
    unformed(&mut connection, outbox_from).await
}

/// The bytes of messages that are no longer in memory.
pub(crate) async fn bodies(pool: &PgPool, deliveries: &[Delivery]) -> Result<Vec<(i64, Bytes)>, StoreError> {
    let rows = sqlx::query(
        "SELECT d.id, d.bytes FROM UNNEST($1::date[], $2::bigint[]) AS q (day, id)
         JOIN delivery d ON d.day = q.day AND d.id = q.id",
    )
    .bind(deliveries.iter().map(|d| day(d.formed_at)).collect::<Vec<_>>())
    .bind(deliveries.iter().map(|d| d.id).collect::<Vec<_>>())
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, Bytes::from(row.try_get::<Vec<u8>, _>(1)?))))
        .collect()
}

async fn unformed(connection: &mut sqlx::PgConnection, outbox_from: i64) -> Result<Vec<Parcel>, StoreError> {
    // One look into the index for each item. An anti-join may compare every item with every other.
    let rows = sqlx::query(
        "SELECT o.id, o.destination, o.channel, o.form, o.created_at, o.end_to_end_id,
                COALESCE(o.fragment, p.transaction)
         FROM outbox o
         LEFT JOIN LATERAL (
             SELECT true AS is_there FROM delivery_item i
             WHERE i.outbox_day = o.day AND i.outbox_id = o.id LIMIT 1) AS formed ON true
         LEFT JOIN LATERAL (
             SELECT transaction FROM payment
             WHERE o.fragment IS NULL AND month = o.month AND end_to_end_id = o.end_to_end_id LIMIT 1) AS p ON true
         WHERE o.id >= $1 AND formed.is_there IS NULL
         ORDER BY o.id",
    )
    .bind(outbox_from)
    .fetch_all(connection)
    .await?;
    rows.iter().map(parcel).collect()
}

fn parcel(row: &PgRow) -> Result<Parcel, StoreError> {
    const TABLE: &str = "outbox";
    let form: &str = row.try_get(3)?;
    let form = Form::from_stored(form).ok_or_else(|| StoreError::Corrupt {
        table: TABLE,
        what: format!("form {form}"),
    })?;
    let end_to_end_id = row
        .try_get::<Option<&str>, _>(5)?
        .map(|id| EndToEndId::parse(id.as_bytes()));
    let fragment: Vec<u8> = row
        .try_get::<Option<_>, _>(6)?
        .ok_or_else(|| StoreError::Corrupt {
            table: TABLE,
            what: "an item without content".to_owned(),
        })?;
    Ok(Parcel {
        id: row.try_get(0)?,
        mailbox: Mailbox {
            destination: ispb(TABLE, row.try_get(1)?)?,
            channel: channel(TABLE, row.try_get(2)?)?,
        },
        form,
        created_at: row.try_get::<OffsetDateTime, _>(4)?.into(),
        end_to_end_id: parsed(TABLE, end_to_end_id.transpose())?,
        fragment: Arc::from(fragment),
    })
}

fn unread(row: &PgRow) -> Result<(Mailbox, Delivery), StoreError> {
    const TABLE: &str = "delivery";
    let mailbox = Mailbox {
        destination: ispb(TABLE, row.try_get(1)?)?,
        channel: channel(TABLE, row.try_get(2)?)?,
    };
    let delivery = Delivery {
        id: row.try_get(0)?,
        resource_id: resource_id(TABLE, row.try_get(3)?)?,
        formed_at: row.try_get::<OffsetDateTime, _>(4)?.into(),
    };
    Ok((mailbox, delivery))
}
