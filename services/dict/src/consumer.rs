//! Hears what the SPI tells: an order gives tokens back for the lookups that led to it, a settlement counts.
//!
//! An event may come any number of times: a credit is spent once, a batch is counted once.

use std::convert::Infallible;
use std::time::Duration;

use pix_runtime::Stopping;
use sqlx::{PgPool, Row as _};

use crate::adapters::nats::{Event, Subscription, Topic};
use crate::adapters::{pg_debts, pg_statistics};
use crate::buckets::{Buckets, NotNow};

/// How long before a topic is tried again: NATS is away, or the SPI has made no stream yet.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often what is of no use any more is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// How long it is remembered which batches were counted: the SPI's stream keeps 7 days.
const COUNTED_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Hears orders and settlements until the stop.
pub(crate) async fn run(client: async_nats::Client, buckets: Buckets, pool: PgPool, stopping: Stopping) {
    let ears = Ears {
        client,
        buckets,
        pool,
    };
    tokio::select! {
        () = stopping.stopped() => {}
        () = ears.hear(Topic::Orders) => {}
        () = ears.hear(Topic::Settlements) => {}
        () = sweep(&ears.pool) => {}
    }
}

struct Ears {
    client: async_nats::Client,
    buckets: Buckets,
    pool: PgPool,
}

/// What became of an event.
enum Handled {
    Done,
    Again,
}

impl Ears {
    /// Hears a topic for ever.
    async fn hear(&self, topic: Topic) {
        let mut failing = false;
        loop {
            let Err(error) = self.follow(topic, &mut failing).await;
            if !failing {
                let error = format!("{error:#}");
                tracing::warn!(error, ?topic, "what the SPI tells is not heard for now");
            }
            failing = true;
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Hears a topic until NATS or Postgres fails.
    async fn follow(&self, topic: Topic, failing: &mut bool) -> anyhow::Result<Infallible> {
        let row = sqlx::query("SELECT id FROM directory")
            .fetch_one(&self.pool)
            .await?;
        let directory: String = row.try_get(0)?;
        let subscription = Subscription::open(self.client.clone(), &directory, topic).await?;
        loop {
            let events = subscription.next().await?;
            if std::mem::take(failing) {
                tracing::info!(?topic, "what the SPI tells is heard again");
            }
            // All that came together has its effect together; when it cannot, the others do not wait for the one.
            let mut wait = false;
            if let Handled::Done = self.handle(topic, &events).await {
                for event in &events {
                    event.done().await;
                }
            } else {
                for event in &events {
                    match self.handle(topic, std::slice::from_ref(event)).await {
                        Handled::Done => event.done().await,
                        Handled::Again => {
                            wait = true;
                            event.again().await;
                        }
                    }
                }
            }
            if wait {
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }

    async fn handle(&self, topic: Topic, events: &[Event]) -> Handled {
        match topic {
            Topic::Orders => credit(&self.buckets, events).await,
            Topic::Settlements => count(&self.pool, events).await,
        }
    }
}

async fn credit(buckets: &Buckets, events: &[Event]) -> Handled {
    let orders: Vec<_> = readable(events, Event::orders).flatten().collect();
    match buckets.credit(&orders).await {
        Ok(()) => Handled::Done,
        Err(NotNow) => Handled::Again,
    }
}

async fn count(pool: &PgPool, events: &[Event]) -> Handled {
    let settled: Vec<_> = readable(events, Event::settled).collect();
    if settled.is_empty() {
        return Handled::Done;
    }
    match pg_statistics::count(pool, &settled).await {
        Ok(_) => Handled::Done,
        Err(error) => {
            tracing::warn!(%error, "settlements could not be counted; they come again");
            Handled::Again
        }
    }
}

/// What they tell. One that cannot be read would come again for ever: it is left out.
fn readable<T>(events: &[Event], read: impl Fn(&Event) -> anyhow::Result<T>) -> impl Iterator<Item = T> {
    events.iter().filter_map(move |event| {
        let told = read(event);
        if let Err(error) = &told {
            metrics::counter!("dict_unreadable_events_total").increment(1);
            tracing::error!(
                error = format!("{error:#}"),
                "an event of the SPI cannot be read; it is left out"
            );
        }
        told.ok()
    })
}

/// Removes debts that were paid and batches that cannot come again.
async fn sweep(pool: &PgPool) {
    loop {
        let swept = async {
            let now = pg_statistics::now(pool).await?;
            pg_debts::forget(pool, now.as_micros().div_euclid(1000)).await?;
            pg_statistics::forget(pool, now.minus(COUNTED_KEPT)).await
        };
        if let Err(error) = swept.await {
            tracing::warn!(%error, "old debts and batches could not be removed");
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

#[cfg(test)]
mod tests;
