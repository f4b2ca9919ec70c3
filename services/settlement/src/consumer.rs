//! Hears the SPI's events of settlements. They only make windows faster: what is lost on the way, the next look at the
//! book finds.

use std::convert::Infallible;
use std::time::Duration;

use pix_runtime::Stopping;

use crate::adapters::nats_settled::{Event, Subscription};
use crate::windows::Windows;

/// How long before it is tried again: NATS is away, or the SPI has made no stream yet.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Hears until the stop; `database` names our place.
pub(crate) async fn run(client: async_nats::Client, database: String, windows: Windows, stopping: Stopping) {
    tokio::select! {
        () = stopping.stopped() => {}
        () = hear(&client, &database, &windows) => {}
    }
}

async fn hear(client: &async_nats::Client, database: &str, windows: &Windows) {
    let mut failing = false;
    loop {
        let Err(error) = follow(client, database, windows, &mut failing).await;
        if !failing {
            let error = format!("{error:#}");
            tracing::warn!(
                error,
                "settlements are not heard for now; windows learn of them from the book"
            );
        }
        failing = true;
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Hears until NATS fails.
async fn follow(
    client: &async_nats::Client,
    database: &str,
    windows: &Windows,
    failing: &mut bool,
) -> anyhow::Result<Infallible> {
    let mut subscription = Subscription::open(client.clone(), database).await?;
    loop {
        let events = subscription.next().await?;
        if std::mem::take(failing) {
            tracing::info!("settlements are heard again");
        }
        if events.is_empty() {
            continue;
        }
        // One transaction for all that came together; acknowledged after its COMMIT.
        match windows.hear(&read(&events)).await {
            Ok(()) => {
                for event in &events {
                    event.done().await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "settlements could not be counted; they come again");
                for event in &events {
                    event.again().await;
                }
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// What they tell, in the order of the book. One that cannot be read is left out: it is a gap, and is fetched.
fn read(events: &[Event]) -> Vec<(String, settlement_core::windows::Batch)> {
    let read = events.iter().filter_map(|event| match event.read() {
        Ok(told) => told,
        Err(error) => {
            metrics::counter!("settlement_unreadable_events_total").increment(1);
            let error = format!("{error:#}");
            tracing::error!(
                error,
                "an event of the SPI cannot be read; its batch is fetched from the book"
            );
            None
        }
    });
    let mut told: Vec<_> = read.collect();
    told.sort_by_key(|(_, batch)| batch.number);
    told
}
