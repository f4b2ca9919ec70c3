//! What the rest of the switch is told: one event per COMMIT and subject, published in order.

use std::sync::Arc;
use std::time::Duration;

use pix_proto::spi_v1 as proto;
use pix_runtime::Stopping;
use prost::Message as _;
use spi_core::book::{Batch, End};
use sqlx::{PgPool, Row as _};
use tokio::sync::Notify;

use crate::adapters::nats::Publisher;
use crate::adapters::pg_book::{Event, SHARD};

/// Orders of payment that were taken in.
pub(crate) const ORDER_RECEIVED: &str = "pix.spi.order_received.v1";
/// Payments whose money moved.
pub(crate) const PAYMENT_SETTLED: &str = "pix.spi.payment_settled.v1";
/// Payments that ended without money moving.
pub(crate) const PAYMENT_REFUSED: &str = "pix.spi.payment_refused.v1";

/// Events published before their number is noted.
const PUBLISH_MAX: i64 = 256;
/// How often the table is looked at without being told: NATS may have been away.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The events of a batch.
pub(crate) fn of(batch: &Batch) -> Vec<Event> {
    let position = || {
        Some(proto::Position {
            shard: u32::try_from(SHARD).expect("shards count from zero"),
            batch: batch.number,
            decided_at_micros: batch.decided_at.map_or(0, pix_domain::Timestamp::as_micros),
        })
    };
    let mut events = Vec::new();
    let orders: Vec<_> = batch
        .payments
        .iter()
        .map(|row| proto::Order {
            end_to_end_id: row.order.end_to_end_id.to_string(),
            debtor_agent: row.order.debtor_agent.to_string(),
            creditor_agent: row.order.creditor_agent.to_string(),
            amount_centavos: row.order.amount.to_i64(),
        })
        .collect();
    if !orders.is_empty() {
        let payload = proto::OrdersReceived {
            position: position(),
            orders,
        }
        .encode_to_vec();
        events.push(Event {
            subject: ORDER_RECEIVED,
            payload,
        });
    }
    let payments: Vec<_> = batch
        .postings
        .iter()
        .filter_map(|row| {
            Some(proto::Payment {
                sequence: row.seq,
                end_to_end_id: row.end_to_end_id?.to_string(),
                debited: row.debit.to_string(),
                credited: row.credit.to_string(),
                amount_centavos: row.amount.to_i64(),
            })
        })
        .collect();
    if !payments.is_empty() {
        let payload = proto::PaymentsSettled {
            position: position(),
            payments,
        }
        .encode_to_vec();
        events.push(Event {
            subject: PAYMENT_SETTLED,
            payload,
        });
    }
    let refusals: Vec<_> = batch
        .steps
        .iter()
        .filter_map(|row| {
            Some(proto::Refusal {
                sequence: row.seq,
                end_to_end_id: row.end_to_end_id.to_string(),
                reason: row.end.as_ref().and_then(End::refusal)?.reason.to_string(),
            })
        })
        .collect();
    if !refusals.is_empty() {
        let payload = proto::PaymentsRefused {
            position: position(),
            refusals,
        }
        .encode_to_vec();
        events.push(Event {
            subject: PAYMENT_REFUSED,
            payload,
        });
    }
    events
}

/// Publishes events in the order of their numbers until the stop. The numbers are given by the one writer
/// of the shard, in the order of its COMMITs, so a cursor over them has no gaps. JetStream drops what it
/// has seen by `Nats-Msg-Id`; beyond its window a consumer's own key does.
pub(crate) async fn relay(pool: PgPool, publisher: Publisher, told: Arc<Notify>, stopping: Stopping) {
    loop {
        match publish_next(&pool, &publisher).await {
            Ok(published) if published > 0 => continue,
            Ok(_) => {}
            Err(error) => {
                metrics::counter!("spi_event_failures_total").increment(1);
                tracing::debug!(%error, "events wait");
            }
        }
        tokio::select! {
            () = stopping.stopped() => return,
            () = told.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn publish_next(pool: &PgPool, publisher: &Publisher) -> anyhow::Result<usize> {
    let rows = sqlx::query(
        "SELECT id, batch, subject, payload, at FROM event
         WHERE shard = $1 AND id > COALESCE((SELECT published_id FROM event_cursor WHERE shard = $1), 0)
         ORDER BY id LIMIT $2",
    )
    .bind(SHARD)
    .bind(PUBLISH_MAX)
    .fetch_all(pool)
    .await?;
    let Some(last) = rows.last() else { return Ok(0) };
    let last: i64 = last.try_get(0)?;
    let mut acknowledgements = Vec::with_capacity(rows.len());
    for row in &rows {
        let (batch, subject): (i64, String) = (row.try_get(1)?, row.try_get(2)?);
        let at: time::OffsetDateTime = row.try_get(4)?;
        let id = format!("spi-{SHARD}-{batch}-{subject}");
        acknowledgements.push(
            publisher
                .publish(subject, &id, at.into(), row.try_get(3)?)
                .await?,
        );
    }
    for acknowledgement in acknowledgements {
        acknowledgement.await?;
    }
    sqlx::query(
        "INSERT INTO event_cursor (shard, published_id) VALUES ($1, $2)
         ON CONFLICT (shard) DO UPDATE SET published_id = EXCLUDED.published_id",
    )
    .bind(SHARD)
    .bind(last)
    .execute(pool)
    .await?;
    metrics::counter!("spi_events_published_total").increment(rows.len() as u64);
    Ok(rows.len())
}
