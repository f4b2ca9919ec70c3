//! What the rest of the switch is told: one event per COMMIT and subject, published in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pix_proto::spi_v1 as proto;
use pix_runtime::Stopping;
use prost::Message as _;
use spi_core::book::Batch;
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::adapters::nats::{ORDER_RECEIVED, PAYMENT_REFUSED, PAYMENT_SETTLED, Publisher};
use crate::adapters::pg_book::{Event, SHARD};
use crate::adapters::pg_events;

/// How long a round of publishing may take.
const PUBLISH_WITHIN: Duration = Duration::from_secs(10);
/// Between rounds: whatever happens meanwhile shares the next one, with its question and its cursor's COMMIT.
const ROUND_EVERY: Duration = Duration::from_millis(50);
/// How often it is noted up to where they are published. A relay that starts anew tells the rest once more.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// How often the table is looked at without being told: NATS may have been away.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The events of a batch.
pub(crate) fn of(batch: &Batch) -> Vec<Event> {
    let position = |previous: i64| {
        Some(proto::Position {
            shard: u32::try_from(SHARD).expect("shards count from zero"),
            batch: batch.number,
            decided_at_micros: batch.decided_at.map_or(0, pix_domain::Timestamp::as_micros),
            previous: Some(previous),
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
            debtor_tax_id: row.order.debtor.as_str().to_owned(),
        })
        .collect();
    if !orders.is_empty() {
        let payload = proto::OrdersReceived {
            position: position(batch.previous.received),
            orders,
        }
        .encode_to_vec();
        events.push(Event {
            subject: ORDER_RECEIVED,
            payload,
        });
    }
    let payments: Vec<_> = batch
        .settled()
        .map(|(row, end_to_end_id)| proto::Payment {
            sequence: row.seq,
            end_to_end_id: end_to_end_id.to_string(),
            debited: row.debit.to_string(),
            credited: row.credit.to_string(),
            amount_centavos: row.amount.to_i64(),
            creditor_tax_id: row
                .creditor
                .as_ref()
                .map_or_else(String::new, |creditor| creditor.tax_id.as_str().to_owned()),
            creditor_key: row
                .creditor
                .as_ref()
                .and_then(|creditor| Some(creditor.key.as_ref()?.as_str().to_owned())),
        })
        .collect();
    if !payments.is_empty() {
        let payload = proto::PaymentsSettled {
            position: position(batch.previous.settled),
            payments,
        }
        .encode_to_vec();
        events.push(Event {
            subject: PAYMENT_SETTLED,
            payload,
        });
    }
    let refusals: Vec<_> = batch
        .refused()
        .map(|(row, refusal)| proto::Refusal {
            sequence: row.seq,
            end_to_end_id: row.end_to_end_id.to_string(),
            reason: refusal.reason.to_string(),
        })
        .collect();
    if !refusals.is_empty() {
        let payload = proto::PaymentsRefused {
            position: position(batch.previous.refused),
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
/// has seen by `Nats-Msg-Id`; beyond its window a consumer's own key does. A stream that is gone is made
/// again and told what it kept: consumers that had not heard it yet hear it then.
pub(crate) async fn relay(pool: PgPool, publisher: Publisher, told: Arc<Notify>, stopping: Stopping) {
    let mut failing = false;
    let mut seen: Option<Instant> = None;
    let mut place = Place::default();
    loop {
        let round = async {
            if seen.is_none_or(|seen| seen.elapsed() >= LOOK_EVERY) {
                let rewind = async |span| {
                    place = Place::default();
                    pg_events::rewind(&pool, span).await
                };
                publisher.keep_stream(rewind).await?;
                seen = Some(Instant::now());
            }
            publish_next(&pool, &publisher, &mut place).await
        };
        let published = tokio::select! {
            () = stopping.stopped() => None,
            published = tokio::time::timeout(PUBLISH_WITHIN, round) => Some(published),
        };
        let failure = match published {
            None => return,
            Some(Ok(Ok(0))) => None,
            Some(Ok(Ok(count))) => {
                failing = false;
                if count < pg_events::PUBLISH_MAX {
                    tokio::time::sleep(ROUND_EVERY).await;
                }
                continue;
            }
            Some(Ok(Err(error))) => Some(format!("{error:#}")),
            Some(Err(_)) => Some("no acknowledgement in time".to_owned()),
        };
        if let Some(error) = failure {
            metrics::counter!("spi_event_failures_total").increment(1);
            if !failing {
                tracing::warn!(error, "events wait until NATS and Postgres are there");
            }
            failing = true;
            seen = None;
            place = Place::default();
        }
        tokio::select! {
            () = stopping.stopped() => return,
            () = told.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Up to where events are published; by the table unless it is known.
#[derive(Default)]
struct Place {
    published: Option<i64>,
    noted: Option<(i64, Instant)>,
}

impl Place {
    /// What has to be noted now, if anything: not each round, and not again.
    fn due(&self) -> Option<i64> {
        let is_old = |(_, at): (i64, Instant)| at.elapsed() >= NOTE_EVERY;
        let is_new = |number: &i64| self.noted.is_none_or(|(noted, _)| noted != *number);
        self.published
            .filter(is_new)
            .filter(|_| self.noted.is_none_or(is_old))
    }
}

async fn publish_next(pool: &PgPool, publisher: &Publisher, place: &mut Place) -> anyhow::Result<usize> {
    let events = pg_events::unpublished(pool, place.published).await?;
    let count = events.len();
    let mut acknowledgements = Vec::with_capacity(count);
    let last = events.last().map(|event| event.id);
    for event in events {
        acknowledgements.push(publisher.publish(event).await?);
    }
    for acknowledgement in acknowledgements {
        acknowledgement.await?;
    }
    place.published = last.or(place.published);
    if let Some(number) = place.due() {
        pg_events::published(pool, number).await?;
        place.noted = Some((number, Instant::now()));
    }
    metrics::counter!("spi_events_published_total").increment(count as u64);
    Ok(count)
}

#[cfg(test)]
mod tests {
    //! With a Postgres and a NATS that loses its store.

    use std::collections::BTreeSet;

    use async_nats::jetstream;
    use futures::StreamExt as _;
    use pix_testkit::{OwnParts, StopSwitch, eventually};

    use super::*;

    static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/spi");
    const SOON: Duration = Duration::from_secs(20);

    async fn happen(pool: &PgPool, batch: i64, days_ago: i32) {
        sqlx::query(
            "INSERT INTO event (shard, batch, subject, payload, at)
             VALUES ($1, $2, $3, '', now() - make_interval(days => $4))",
        )
        .bind(SHARD)
        .bind(batch)
        .bind(PAYMENT_SETTLED)
        .bind(days_ago)
        .execute(pool)
        .await
        .expect("Postgres is there");
    }

    /// The batches in the stream, once there are so many.
    async fn kept(client: &async_nats::Client, wanted: usize) -> BTreeSet<String> {
        let context = jetstream::new(client.clone());
        let batches = async || {
            let stream = context.get_stream("PIX_SPI").await.ok()?;
            let config = jetstream::consumer::pull::Config::default();
            let consumer = stream.create_consumer(config).await.ok()?;
            let fetched = consumer.fetch().max_messages(10).messages().await.ok()?;
            let ids = fetched.filter_map(async |message| {
                let id = message.ok()?.headers.as_ref()?.get("ce-id")?.to_string();
                Some(id.rsplit('-').nth(1)?.to_owned())
            });
            let ids: BTreeSet<String> = ids.collect().await;
            (ids.len() >= wanted).then_some(ids)
        };
        eventually("the stream keeps them", SOON, batches).await
    }

    #[tokio::test]
    async fn a_stream_that_was_lost_is_told_again_what_it_kept() {
        let mut parts = OwnParts::start().await;
        let database = pix_testkit::database("spi", &MIGRATIONS).await;
        let pool = pix_runtime::pg::pool(&database.url(), 2).await;
        let pool = pool.expect("Postgres is there");
        let client = pix_runtime::nats::connect("test", &parts.nats.url()).await;
        let client = client.expect("a client");
        for (batch, days_ago) in [(1, 8), (2, 6), (3, 0)] {
            happen(&pool, batch, days_ago).await;
        }
        let (switch, stopping) = StopSwitch::new();
        let book = crate::adapters::pg_settlements::book_name(&pool).await;
        let publisher = Publisher::new(client.clone(), book.expect("it has a name"));
        let task = tokio::spawn(relay(pool.clone(), publisher, Arc::new(Notify::new()), stopping));
        assert_eq!(kept(&client, 3).await.len(), 3);

        // Nothing happens afterwards that would have to be published.
        parts.nats_process.kill().await;
        std::fs::remove_dir_all(parts.folder().join("nats")).expect("its store goes");
        parts.nats_process.start().await;
        let again = kept(&client, 2).await;
        assert_eq!(
            again,
            BTreeSet::from(["2".to_owned(), "3".to_owned()]),
            "of seven days"
        );
        switch.stop();
        task.await.expect("it stops");
        parts.stop().await;
    }
}
