//! What a service tells the rest of the switch: CloudEvents 1.0 on JetStream (NATS binding, binary mode).

use std::future::IntoFuture as _;
use std::time::Duration;

use async_nats::Client;
use async_nats::header::{HeaderMap, NATS_MESSAGE_ID};
use async_nats::jetstream;
use async_nats::jetstream::context::{CreateStreamError, GetStreamError, GetStreamErrorKind};
use pix_domain::Timestamp;

/// How long events are kept for consumers; a service's tables keep what they tell of for good.
pub const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);
/// How far back JetStream recognises a repeat.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// How long an acknowledgement may take.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(2);

/// Why events wait.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// It could not be sent, or nobody acknowledged it.
    #[error("an event is not acknowledged: {0}")]
    Publish(#[from] jetstream::context::PublishError),
    /// The stream cannot be made.
    #[error("the stream of events cannot be made: {0}")]
    Create(#[from] CreateStreamError),
    /// The stream cannot be asked for.
    #[error("the stream of events does not answer: {0}")]
    Get(#[from] GetStreamError),
    /// Somebody else made it, otherwise.
    #[error("the stream {stream} is configured otherwise: {subjects:?}")]
    Otherwise {
        /// Its name.
        stream: &'static str,
        /// Its subjects.
        subjects: Vec<String>,
    },
    /// The table of events.
    #[error("Postgres: {0}")]
    Store(#[from] sqlx::Error),
}

/// An event on its way.
#[derive(Clone, Debug)]
pub struct CloudEvent {
    /// The same for every repeat, and never another event's.
    pub id: String,
    /// Who tells it.
    pub source: String,
    /// Subject and type: `pix.spi.payment_settled.v1`.
    pub subject: String,
    /// When it happened.
    pub at: Timestamp,
    /// Protobuf.
    pub payload: Vec<u8>,
}

/// The stream that keeps a service's events.
#[derive(Clone)]
pub struct EventStream {
    context: jetstream::Context,
    name: &'static str,
    subjects: &'static str,
}

impl EventStream {
    /// A stream of this name over these subjects. Nothing is asked of NATS yet.
    #[must_use]
    pub fn new(client: Client, name: &'static str, subjects: &'static str) -> Self {
        let mut context = jetstream::new(client);
        context.set_timeout(ACKNOWLEDGE_WITHIN);
        Self {
            context,
            name,
            subjects,
        }
    }

    /// Whether the server knows it.
    ///
    /// # Errors
    /// When the server does not say.
    pub async fn exists(&self) -> Result<bool, EventError> {
        match self.context.get_stream(self.name).await {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes it when it is missing and checks what the server made of it.
    ///
    /// # Errors
    /// When it cannot be made, or is another.
    pub async fn ensure(&self) -> Result<(), EventError> {
        let wanted = jetstream::stream::Config {
            name: self.name.to_owned(),
            subjects: vec![self.subjects.to_owned()],
            max_age: KEEP,
            duplicate_window: DUPLICATE_WINDOW,
            ..jetstream::stream::Config::default()
        };
        let stream = self.context.get_or_create_stream(wanted).await?;
        let echoed = &stream.cached_info().config;
        if echoed.subjects == [self.subjects] && echoed.duplicate_window == DUPLICATE_WINDOW {
            return Ok(());
        }
        Err(EventError::Otherwise {
            stream: self.name,
            subjects: echoed.subjects.clone(),
        })
    }

    /// Sends one event; the future it gives is the acknowledgement.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub async fn publish(
        &self,
        event: CloudEvent,
    ) -> Result<impl Future<Output = Result<(), EventError>> + use<>, EventError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, event.id.as_str());
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-id", event.id.as_str());
        headers.insert("ce-source", event.source.as_str());
        headers.insert("ce-type", event.subject.as_str());
        headers.insert("ce-time", event.at.to_string().as_str());
        headers.insert("ce-datacontenttype", "application/protobuf");
        let sent = self
            .context
            .publish_with_headers(event.subject, headers, event.payload.into())
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
    told.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND
}
