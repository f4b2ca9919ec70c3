//! Subjects and streams of the SPI.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::time::Duration;

use async_nats::header::{HeaderMap, NATS_MESSAGE_ID};
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use futures::StreamExt as _;
use pix_runtime::Stopping;
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
/// How long events are kept for consumers; the tables keep them for good.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);
/// How far back JetStream recognises a repeat.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// How long an acknowledgement may take.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(2);
/// Wake-ups that may wait for NATS.
const WAKEUPS_MAX: usize = 64;
/// Where hand-overs between processes are told: `pix.out.<ispb>`, ids only.
const WAKEUP_PREFIX: &str = "pix.out.";

/// Publishes events.
#[derive(Clone)]
pub(crate) struct Publisher(jetstream::Context);

impl Publisher {
    pub(crate) fn new(client: async_nats::Client) -> Self {
        let mut context = jetstream::new(client);
        context.set_timeout(ACKNOWLEDGE_WITHIN);
        Self(context)
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
        match self.0.get_stream(STREAM).await {
            Ok(_) => {}
            Err(error) if is_missing(&error) => rewind(KEEP).await?,
            Err(error) => return Err(error.into()),
        }
        ensure_stream(&self.0).await
    }

    /// Sends one event; the future it gives is the acknowledgement.
    pub(crate) async fn publish(
        &self,
        event: Unpublished,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + use<>> {
        let Unpublished {
            book,
            batch,
            subject,
            payload,
            at,
            ..
        } = event;
        // The numbers alone would be those of another book with this NATS, or of one that was purged.
        let id = format!("spi-{book}-{SHARD}-{batch}-{subject}");
        let source = format!("/pix/spi/{book}");
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, id.as_str());
        // CloudEvents 1.0, NATS binding, binary mode.
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-id", id.as_str());
        headers.insert("ce-source", source.as_str());
        headers.insert("ce-type", subject.as_str());
        headers.insert("ce-time", at.to_string().as_str());
        headers.insert("ce-datacontenttype", "application/protobuf");
        let sent = self
            .0
            .publish_with_headers(subject, headers, payload.into())
            .await?;
        Ok(async move {
            sent.into_future().await?;
            Ok(())
        })
    }
}

/// Whether the server says that there is no such stream.
fn is_missing(error: &GetStreamError) -> bool {
    let GetStreamErrorKind::JetStream(told) = error.kind() else {
        return false;
    };
    told.error_code() == ErrorCode::STREAM_NOT_FOUND
}

/// Makes the stream when it is missing and checks what the server made of it.
async fn ensure_stream(context: &jetstream::Context) -> anyhow::Result<()> {
    let wanted = jetstream::stream::Config {
        name: STREAM.to_owned(),
        subjects: vec![SUBJECTS.to_owned()],
        max_age: KEEP,
        duplicate_window: DUPLICATE_WINDOW,
        ..jetstream::stream::Config::default()
    };
    let stream = context.get_or_create_stream(wanted).await?;
    let echoed = &stream.cached_info().config;
    anyhow::ensure!(
        echoed.subjects == [SUBJECTS] && echoed.duplicate_window == DUPLICATE_WINDOW,
        "the stream {STREAM} is configured otherwise: {:?}",
        echoed.subjects
    );
    Ok(())
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
