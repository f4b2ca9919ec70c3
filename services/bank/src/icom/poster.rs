//! Brings stored messages to the door of ICOM, a few at a time, until each is taken or refused for good.
//!
//! The bytes are those of the store, however often they go: the switch knows a repeated MsgId. While the
//! fate of an attempt is unknown the debit block stays; an order is released only by what the switch
//! says, or when no attempt can have been stored.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pix_domain::MsgId;
use pix_icom::{Icom, Said};
use pix_runtime::{Ids, Stopping};
use tokio::task::{Id, JoinSet};

use super::trying::Trying;
use crate::adapters::pg::{self, Waiting};
use crate::backoff::Backoff;
use crate::work::{Outcome, Posted, Work};
use crate::writer::{Bells, Bookkeeper};

/// Messages on their way at once, on one channel.
const AT_ONCE: usize = 16;
/// From this attempt on, each failure is worth a warning.
const WARN_FROM: i32 = 3;
/// Whatever waits and rings no bell is found within a second: a customer's money is blocked until it goes.
const SWEEP: Duration = Duration::from_secs(1);
/// Before a message whose end cannot be booked goes again.
const POISON_PAUSE: Duration = Duration::from_secs(60);

/// The poster of one channel.
#[derive(Clone)]
pub(crate) struct Poster {
    pub(crate) icom: Icom,
    pub(crate) store: pg::Reader,
    pub(crate) books: Bookkeeper,
    pub(crate) bells: Bells,
    pub(crate) trying: Trying,
    pub(crate) ids: Ids,
}

impl Poster {
    /// Posts until the stop. What is on its way then goes again after the next start.
    pub(crate) async fn run(self, stopping: Stopping) {
        let mut backoff = Backoff::new(self.ids.clone());
        let Some(recovered) = self.newest(&mut backoff, &stopping).await else {
            return;
        };
        let this = Arc::new(self);
        let mut tasks = JoinSet::new();
        let mut in_flight: HashMap<Id, (i64, Instant)> = HashMap::new();
        while !stopping.is_stopped() {
            let free = AT_ONCE - in_flight.len();
            let held: Vec<i64> = in_flight.values().map(|(id, _)| *id).collect();
            let waiting = match this.store.waiting(this.icom.channel, &held, free).await {
                Ok(waiting) => waiting,
                Err(e) => {
                    tracing::warn!(error = %e, "cannot read the messages that wait to go out");
                    backoff.wait(None, &stopping).await;
                    continue;
                }
            };
            backoff.reset();
            for message in waiting {
                let (id, since) = (message.id, message.since);
                let tried_before = id <= recovered;
                let task = tasks.spawn(this.clone().bring(message, tried_before, stopping.clone()));
                in_flight.insert(task.id(), (id, since));
            }
            let channel = this.icom.channel.as_str();
            metrics::gauge!("bank_messages_on_their_way", "channel" => channel)
                .set(u32::try_from(in_flight.len()).unwrap_or(u32::MAX));
            let oldest = in_flight.values().map(|(_, since)| since.elapsed()).max();
            metrics::gauge!("bank_outbox_age_seconds", "channel" => channel)
                .set(oldest.unwrap_or_default().as_secs_f64());
            tokio::select! {
                () = stopping.stopped() => {}
                () = this.bells.of(this.icom.channel).notified(), if in_flight.len() < AT_ONCE => {}
                () = tokio::time::sleep(SWEEP) => {}
                Some(ended) = tasks.join_next_with_id() => {
                    in_flight.remove(&ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, ())| *id));
                    while let Some(ended) = tasks.try_join_next_with_id() {
                        in_flight.remove(&ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, ())| *id));
                    }
                }
            }
        }
    }

    /// Messages up to this one may have been posted by an earlier process.
    async fn newest(&self, backoff: &mut Backoff, stopping: &Stopping) -> Option<i64> {
        loop {
            match self.store.newest_outbound().await {
                Ok(newest) => return Some(newest),
                Err(e) => tracing::warn!(error = %e, "cannot read the messages that wait to go out"),
            }
            if !backoff.wait(None, stopping).await {
                return None;
            }
        }
    }

    /// One message, until its end at the door is in the book.
    #[tracing::instrument(name = "post", skip_all, fields(message.id = %message.message_id))]
    async fn bring(self: Arc<Self>, message: Waiting, tried_before: bool, stopping: Stopping) {
        if let Some((posted, attempts)) = self
            .post(message.message_id, message.body, tried_before, &stopping)
            .await
        {
            let end = if matches!(posted, Posted::Taken(_)) {
                "taken"
            } else {
                "refused"
            };
            metrics::counter!("bank_messages_posted_total", "kind" => message.kind, "end" => end)
                .increment(1);
            let work = Work::Posted {
                message_id: message.message_id,
                posted,
                attempts,
            };
            if matches!(
                self.books.book(vec![work]).await.as_deref(),
                Some([Outcome::Poisoned])
            ) {
                // It still waits in the store and goes again, to the same answer: not at full speed.
                Backoff::new(self.ids.clone())
                    .wait(Some(POISON_PAUSE), &stopping)
                    .await;
            }
            self.trying.ended(message.message_id);
        }
    }

    /// Its end at the door, and how many attempts it took.
    async fn post(
        &self,
        id: MsgId,
        body: Bytes,
        tried_before: bool,
        stopping: &Stopping,
    ) -> Option<(Posted, i32)> {
        let mut backoff = Backoff::new(self.ids.clone());
        let mut unknown = tried_before;
        let mut attempts = 0_i32;
        loop {
            attempts = attempts.saturating_add(1);
            let said = tokio::select! {
                () = stopping.stopped() => return None,
                said = self.icom.post(body.clone()) => said,
            };
            let (why, asked) = match said {
                Said::Taken(resource_id) => return Some((Posted::Taken(resource_id), attempts)),
                Said::Refused(status) if !unknown => {
                    tracing::error!(message.id = %id, status = status.as_u16(), "the switch does not take a message");
                    let status = status.as_u16();
                    return Some((Posted::Refused { status }, attempts));
                }
                // An earlier attempt may have been stored: only the switch can tell, so ask on.
                Said::Refused(status) => (format!("HTTP {status}"), None),
                Said::NotNow(status, asked) => (format!("HTTP {status}"), asked),
                Said::Away(why) => (why, None),
                Said::Unknown(why, asked) => {
                    unknown = true;
                    (why, asked)
                }
            };
            self.trying.failed(id, attempts, &why);
            if attempts >= WARN_FROM {
                tracing::warn!(message.id = %id, attempts, why, "a message is not out yet");
            }
            if !backoff.wait(asked, stopping).await {
                return None;
            }
        }
    }
}
