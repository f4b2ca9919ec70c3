//! What the rest of the switch is told: written with what it tells of, published until it is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use pix_proto::settlement_v1 as proto;
use pix_runtime::Stopping;
use prost::Message as _;
use settlement_core::balances::Crossing;
use settlement_core::registry::Participant;
use settlement_core::windows::{Proof, Window};
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::adapters::nats_events::{LIQUIDITY_LOW, PARTICIPANT_CHANGED, Publisher, WINDOW_CLOSED};
use crate::adapters::pg_events::{self, Event};

/// How long a round of publishing may take.
const PUBLISH_WITHIN: Duration = Duration::from_secs(10);
/// How often the table is looked at without being told: NATS may have been away.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The event of a change in the registry.
pub(crate) fn participant_changed(participant: &Participant) -> Event {
    let changed = proto::ParticipantChanged {
        version: participant.version,
        ispb: participant.ispb.to_string(),
    };
    Event {
        subject: PARTICIPANT_CHANGED,
        payload: changed.encode_to_vec(),
    }
}

/// The event of a window that closes.
pub(crate) fn window_closed(window: &Window, proof: &Proof) -> Event {
    let closed = proto::WindowClosed {
        number: window.number,
        settlement_date: window.settlement_date(),
        count: window.gross.count,
        gross_centavos: window.gross.centavos,
        proof_holds: proof.holds(),
    };
    Event {
        subject: WINDOW_CLOSED,
        payload: closed.encode_to_vec(),
    }
}

/// The event of a participant that went below its threshold; none of one that went above it.
pub(crate) fn liquidity_low(crossing: &Crossing) -> Option<Event> {
    let low = proto::LiquidityLow {
        ispb: crossing.ispb.to_string(),
        available_centavos: crossing.available,
        threshold_centavos: crossing.threshold?,
    };
    crossing.is_low.then(|| Event {
        subject: LIQUIDITY_LOW,
        payload: low.encode_to_vec(),
    })
}

/// Publishes events until the stop. JetStream drops what it has seen by `Nats-Msg-Id`; beyond its window a
/// consumer's own key does.
pub(crate) async fn relay(pool: PgPool, publisher: Publisher, told: Arc<Notify>, stopping: Stopping) {
    let mut failing = false;
    loop {
        let published = tokio::select! {
            () = stopping.stopped() => return,
            published = tokio::time::timeout(PUBLISH_WITHIN, publish_next(&pool, &publisher)) => published,
        };
        let failure = match published {
            Ok(Ok(0)) => None,
            Ok(Ok(_)) => {
                failing = false;
                continue;
            }
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => Some("no acknowledgement in time".to_owned()),
        };
        if let Some(error) = failure {
            metrics::counter!("settlement_event_failures_total").increment(1);
            if !failing {
                tracing::warn!(error, "events wait until NATS and Postgres are there");
            }
            failing = true;
        }
        tokio::select! {
            () = stopping.stopped() => return,
            () = told.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn publish_next(pool: &PgPool, publisher: &Publisher) -> anyhow::Result<usize> {
    let claim = pg_events::claim(pool).await?;
    let age_s = claim.events.first().map_or(0.0, |oldest| oldest.age_s);
    metrics::gauge!("settlement_outbox_age_seconds").set(age_s);
    if claim.events.is_empty() {
        return Ok(0);
    }
    let mut acknowledgements = Vec::with_capacity(claim.events.len());
    let sequences: Vec<i64> = claim.events.iter().map(|event| event.sequence).collect();
    for event in &claim.events {
        acknowledgements.push(publisher.publish(event).await?);
    }
    for acknowledgement in acknowledgements {
        acknowledgement.await?;
    }
    claim.published(&sequences).await?;
    metrics::counter!("settlement_events_published_total").increment(sequences.len() as u64);
    Ok(sequences.len())
}
