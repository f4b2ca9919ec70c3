//! What the rest of the switch is told: one event for each change of an entry.

use std::sync::Arc;
use std::time::Duration;

use pix_domain::Cid;
use pix_proto::dict_v1 as proto;
use pix_runtime::Stopping;
use prost::Message as _;
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::adapters::nats_events::{ENTRY_CREATED, ENTRY_DELETED, ENTRY_UPDATED, Publisher};
use crate::adapters::pg_entries::{Change, Version};
use crate::adapters::pg_events::{self, Event};

/// How long a round of publishing may take.
const PUBLISH_WITHIN: Duration = Duration::from_secs(10);
/// How often the table is looked at without being told: NATS may have been away.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The event of a version; `before` is the identifier that it replaces.
pub(crate) fn of(version: &Version<'_>, before: Option<&Cid>) -> Event {
    let entry = &version.stored.entry;
    let cid = version.stored.cid.to_string();
    let (subject, cid_before, cid_after) = match version.change {
        Change::Created => (ENTRY_CREATED, None, Some(cid)),
        Change::Updated => (ENTRY_UPDATED, before.map(Cid::to_string), Some(cid)),
        Change::Deleted => (ENTRY_DELETED, Some(cid), None),
    };
    let changed = proto::EntryChanged {
        sequence: version.sequence,
        changed_at_micros: version.at.as_micros(),
        key_type: entry.key.kind().as_str().to_owned(),
        key: entry.key.as_str().to_owned(),
        participant: entry.account.participant.to_string(),
        reason: version.reason.to_owned(),
        cid_before,
        cid_after,
    };
    Event {
        subject,
        payload: changed.encode_to_vec(),
    }
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
            metrics::counter!("dict_event_failures_total").increment(1);
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
    metrics::gauge!("dict_outbox_age_seconds").set(age_s);
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
    metrics::counter!("dict_events_published_total").increment(sequences.len() as u64);
    Ok(sequences.len())
}
