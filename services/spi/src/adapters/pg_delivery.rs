//! The tables of outgoing messages: what waits, what was formed, what was read.

use std::sync::Arc;

use bytes::Bytes;
use pix_domain::{EndToEndId, MsgId, Timestamp};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{Connection as _, Row as _};
use time::OffsetDateTime;

use spi_core::former::Group;
use spi_core::outgoing::{Form, Mailbox, Parcel};
use spi_core::streams::Delivery;

use super::pg::{Exclusive, Lock, StoreError, Target, day, index_paths_only, ispb, parsed, resource_id};
use super::pg_book::channel;
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
             WHERE d.id >= $1 AND NOT EXISTS (
                 SELECT 1 FROM confirmation c WHERE c.delivery_day = d.day AND c.delivery_id = d.id)
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
        let mut tx = self.pg.connection.begin().await?;
        if !formed.is_empty() {
            let text = |f: &dyn Fn(&Formed) -> String| formed.iter().map(f).collect::<Vec<_>>();
            sqlx::query(
                "INSERT INTO delivery
                     (day, id, destination, channel, form, resource_id, message_id, created_at, bytes)
                 SELECT * FROM UNNEST($1::date[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bytea[],
                                      $7::text[], $8::timestamptz[], $9::bytea[])",
            )
            .bind(formed.iter().map(|f| day(f.delivery.formed_at)).collect::<Vec<_>>())
            .bind(formed.iter().map(|f| f.delivery.id).collect::<Vec<_>>())
            .bind(text(&|f| f.group.mailbox.destination.to_string()))
            .bind(text(&|f| f.group.mailbox.channel.as_str().to_owned()))
            .bind(text(&|f| f.group.form.as_str().to_owned()))
            .bind(formed.iter().map(|f| f.delivery.resource_id.as_bytes().to_vec()).collect::<Vec<_>>())
            .bind(text(&|f| f.message_id.to_string()))
            .bind(formed.iter().map(|f| OffsetDateTime::from(f.delivery.formed_at)).collect::<Vec<_>>())
            .bind(formed.iter().map(|f| f.bytes.to_vec()).collect::<Vec<_>>())
            .execute(&mut *tx)
            .await?;
            let items: Vec<_> = formed
                .iter()
                .flat_map(|f| {
                    f.parcels
                        .iter()
                        .zip(0_i16..)
                        .map(move |(parcel, position)| (f, parcel, position))
                })
                .collect();
            // The key refuses an outbox item that already belongs to a message.
            sqlx::query(
                "INSERT INTO delivery_item
                     (outbox_day, outbox_id, delivery_day, delivery_id, position, end_to_end_id)
                 SELECT * FROM UNNEST($1::date[], $2::bigint[], $3::date[], $4::bigint[], $5::smallint[], $6::text[])",
            )
            .bind(items.iter().map(|(_, (_, created_at, _), _)| day(*created_at)).collect::<Vec<_>>())
            .bind(items.iter().map(|(_, (id, _, _), _)| *id).collect::<Vec<_>>())
            .bind(items.iter().map(|(f, ..)| day(f.delivery.formed_at)).collect::<Vec<_>>())
            .bind(items.iter().map(|(f, ..)| f.delivery.id).collect::<Vec<_>>())
            .bind(items.iter().map(|(_, _, position)| *position).collect::<Vec<_>>())
            .bind(items.iter().map(|(_, (_, _, id), _)| id.map(|id| id.to_string())).collect::<Vec<_>>())
            .execute(&mut *tx)
            .await?;
        }
        if !confirmed.is_empty() {
            fn noted<T>(of: &[(Delivery, Option<Times>)], what: impl Fn(Times) -> T) -> Vec<Option<T>> {
                of.iter().map(|(_, times)| times.map(&what)).collect()
            }
            sqlx::query(
                "INSERT INTO confirmation (delivery_day, delivery_id, at, delivered_at, attempts)
                 SELECT d, i, $3, f, n
                 FROM UNNEST($1::date[], $2::bigint[], $4::timestamptz[], $5::integer[]) AS q (d, i, f, n)
                 ON CONFLICT DO NOTHING",
            )
            .bind(
                confirmed
                    .iter()
                    .map(|(d, _)| day(d.formed_at))
                    .collect::<Vec<_>>(),
            )
            .bind(confirmed.iter().map(|(d, _)| d.id).collect::<Vec<_>>())
            .bind(OffsetDateTime::from(now))
            .bind(noted(confirmed, |t| OffsetDateTime::from(t.first_at)))
            .bind(noted(confirmed, |t| t.attempts))
            .execute(&mut *tx)
            .await?;
        }
        if let Some(checkpoint) = checkpoint {
            sqlx::query(
                "UPDATE delivery_checkpoint SET outbox_from = $1, delivery_from = $2, last_delivery_id = $3",
            )
            .bind(checkpoint.outbox_from)
            .bind(checkpoint.delivery_from)
            .bind(checkpoint.last_delivery_id)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

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
    let rows = sqlx::query(
        "SELECT o.id, o.destination, o.channel, o.form, o.created_at, o.end_to_end_id,
                COALESCE(o.fragment, p.transaction)
         FROM outbox o LEFT JOIN payment p
           ON o.fragment IS NULL AND p.month = o.month AND p.end_to_end_id = o.end_to_end_id
         WHERE o.id >= $1 AND NOT EXISTS (
             SELECT 1 FROM delivery_item i WHERE i.outbox_day = o.day AND i.outbox_id = o.id)
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
