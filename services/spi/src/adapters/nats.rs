//! Subjects and streams of the SPI.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use pix_runtime::Stopping;
use pix_runtime::events::{CloudEvent, EventError, EventStream, KEEP};
use spi_core::outgoing::Mailbox;
use tokio::sync::mpsc;

use super::pg_book::SHARD;
use super::pg_events::Unpublished;

/// Orders of payment that were taken in.
pub(crate) const ORDER_RECEIVED: &str = "pix.spi.order_received.v1";
/// Payments whose money moved.
pub(crate) const PAYMENT_SETTLED: &str = "pix.spi.payment_settled.v1";
/// Payments that ended without money moving.
pub(crate) const PAYMENT_REFUSED: &str = "pix.spi.payment_refused.v1";
/// The stream that keeps the SPI's events.
const STREAM: &str = "PIX_SPI";
/// Its subjects.
const SUBJECTS: &str = "pix.spi.*.v1";
/// Wake-ups that may wait for NATS.
const WAKEUPS_MAX: usize = 64;
/// Where hand-overs between processes are told: `pix.out.<ispb>`, ids only.
const WAKEUP_PREFIX: &str = "pix.out.";

/// Publishes the events of one book.
#[derive(Clone)]
pub(crate) struct Publisher {
    stream: EventStream,
    /// Names the database that numbers the batches.
    book: String,
}

impl Publisher {
    pub(crate) fn new(client: async_nats::Client, book: String) -> Self {
        let stream = EventStream::new(client, STREAM, SUBJECTS);
        Self { stream, book }
    }

    /// Makes the stream when it is missing, as it is once NATS lost its store, and checks what the server made of it.
    /// A new stream has forgotten everything: `rewind` runs before it is there, so that a crash in between only means
    /// that it is made, and rewound to, once more.
    pub(crate) async fn keep_stream<E>(
        &self,
        rewind: impl AsyncFnOnce(Duration) -> Result<(), E>,
    ) -> anyhow::Result<()>
    where
        anyhow::Error: From<E>,
    {
        if !self.stream.exists().await? {
            rewind(KEEP).await?;
        }
        Ok(self.stream.ensure().await?)
    }

    /// Sends one event; the future it gives is the acknowledgement.
    pub(crate) async fn publish(
        &self,
        event: Unpublished,
    ) -> Result<impl Future<Output = Result<(), EventError>> + use<>, EventError> {
        let Unpublished { batch, subject, .. } = event;
        let book = &self.book;
        self.stream
            .publish(CloudEvent {
                // The numbers alone would be those of another book with this NATS, or of one that was purged.
                id: format!("spi-{book}-{SHARD}-{batch}-{subject}"),
                source: format!("/pix/spi/{book}"),
                subject,
                at: event.at,
                payload: event.payload,
            })
            .await
    }
}

/// Tells other processes that messages for a participant were formed, and hears of theirs.
#[derive(Clone)]
pub(crate) struct Wakeups {
    client: async_nats::Client,
    told: mpsc::Sender<BTreeMap<Mailbox, i64>>,
}

impl Wakeups {
    /// The handle, and what [`Self::tell`] passes on.
    pub(crate) fn new(client: async_nats::Client) -> (Self, mpsc::Receiver<BTreeMap<Mailbox, i64>>) {
        let (told, telling) = mpsc::channel(WAKEUPS_MAX);
        (Self { client, told }, telling)
    }

    /// The last outbox number handled, per mailbox. Nobody waits for it, and it may get lost.
    pub(crate) fn publish(&self, handled: BTreeMap<Mailbox, i64>) {
        if !handled.is_empty() {
            let _ = self.told.try_send(handled); // full means that NATS is away; the sweeper goes on
        }
    }

    /// Publishes until the stop.
    pub(crate) async fn tell(self, mut telling: mpsc::Receiver<BTreeMap<Mailbox, i64>>, stopping: Stopping) {
        let publish = async {
            while let Some(handled) = telling.recv().await {
                for (mailbox, outbox_id) in handled {
                    let subject = format!("{WAKEUP_PREFIX}{}", mailbox.destination);
                    drop(self.client.publish(subject, outbox_id.to_string().into()).await);
                }
            }
        };
        tokio::select! {
            () = stopping.stopped() => {}
            () = publish => {}
        }
    }

    /// Passes on what is heard until the stop.
    pub(crate) async fn listen(self, woken: mpsc::Sender<i64>, stopping: Stopping) {
        let Ok(mut heard) = self.client.subscribe(format!("{WAKEUP_PREFIX}*")).await else {
            tracing::warn!("no wake-ups: NATS refuses the subscription; the sweeper goes on");
            return stopping.stopped().await;
        };
        loop {
            let message = tokio::select! {
                () = stopping.stopped() => return,
                message = heard.next() => message,
            };
            let Some(message) = message else {
                return stopping.stopped().await;
            };
            let id = std::str::from_utf8(&message.payload)
                .ok()
                .and_then(|text| text.parse().ok());
            if let Some(id) = id {
                let _ = woken.try_send(id); // full means that the desk is being woken already
            }
        }
    }
}
