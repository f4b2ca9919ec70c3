//! Subjects and stream of the settlement service's events.

use std::future::IntoFuture;
use std::time::Duration;

use async_nats::header::{HeaderMap, NATS_MESSAGE_ID};
use async_nats::jetstream;

use super::pg_events::Unpublished;

/// A participant joined, or is another than before.
pub(crate) const PARTICIPANT_CHANGED: &str = "pix.settlement.participant_changed.v1";
/// A window closed, with its proof.
pub(crate) const WINDOW_CLOSED: &str = "pix.settlement.window_closed.v1";
/// A participant went below its threshold.
pub(crate) const LIQUIDITY_LOW: &str = "pix.settlement.liquidity_low.v1";
/// The stream that keeps the events.
const STREAM: &str = "PIX_SETTLEMENT";
/// Its subjects.
const SUBJECTS: &str = "pix.settlement.*.v1";
/// How long events are kept for consumers; the tables keep what they tell of for good.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);
/// How far back JetStream recognises a repeat.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// How long an acknowledgement may take.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(2);

/// Publishes events.
#[derive(Clone)]
pub(crate) struct Publisher {
    context: jetstream::Context,
    /// The registry's name: numbers begin anew in another database.
    registry: String,
}

impl Publisher {
    /// `registry` is part of every event's id.
    pub(crate) fn new(client: async_nats::Client, registry: String) -> Self {
        let mut context = jetstream::new(client);
        context.set_timeout(ACKNOWLEDGE_WITHIN);
        Self { context, registry }
    }

    /// Sends one event; the future it gives is the acknowledgement. A stream that is not there, because its
    /// store was deleted say, is made again.
    pub(crate) async fn publish(
        &self,
        event: &Unpublished,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + use<>> {
        let id = format!("settlement-{}-{}", self.registry, event.sequence);
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, id.as_str());
        // CloudEvents 1.0, NATS binding, binary mode.
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-id", id.as_str());
        headers.insert("ce-source", "/pix/settlement");
        headers.insert("ce-type", event.subject.as_str());
        headers.insert("ce-time", event.at.to_string().as_str());
        headers.insert("ce-datacontenttype", "application/protobuf");
        let sent = self
            .context
            .publish_with_headers(event.subject.clone(), headers, event.payload.clone().into())
            .await?;
        let context = self.context.clone();
        Ok(async move {
            match sent.into_future().await {
                Ok(_) => Ok(()),
                Err(error) => {
                    ensure_stream(&context).await?;
                    Err(error.into())
                }
            }
        })
    }
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
