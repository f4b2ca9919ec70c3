//! `POST /api/v1/in/{ispb}/msgs`: one message or up to ten; 201 once they are committed, whatever they are worth.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use pix_domain::{ResourceId, Timestamp};
use pix_runtime::Clock as _;
use pix_runtime::http::{BodyError, read_body};
use pix_runtime::problem::Problem;
use spi_core::book::Command;
use spi_core::gunzip::{GunzipError, gunzip};
use spi_core::multipart;
use spi_core::outgoing::{Channel, Mailbox};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::respond::XML;
use super::{RETRY_AFTER_SECONDS, header, respond, unavailable};
use crate::app::App;
use crate::book::{Job, Reply};
use crate::intake::{self, Posted};

/// One message, after gunzip.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// All messages of one multipart request, after gunzip.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long a sender is kept waiting while Postgres is away.
const COMMIT_WITHIN: Duration = Duration::from_secs(30);

/// Takes one message in, or up to ten. Each stands for itself: a bad one is answered on the stream, and harms no
/// other.
pub(super) async fn post(
    app: &Arc<App>,
    mailbox: Mailbox,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Problem> {
    let sender = mailbox.destination;
    let place = app.shares.take(sender, 1).ok_or_else(too_many)?;
    admit(app, mailbox)?;
    let headers = request.headers();
    if !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING) {
        return Err(length_required());
    }
    let form = form(header(headers, &CONTENT_TYPE))?;
    let gzipped = is_gzipped(headers)?;
    if !gzipped && mailbox.channel == Channel::Secondary {
        return Err(unsupported(
            "on the secondary channel the body has to be compressed with gzip",
        ));
    }
    let max = form.bytes_max();
    let body = read_body(request.into_body(), max)
        .await
        .map_err(|error| body_problem(&error))?;
    let received_at = app.clock.now();
    let body = if gzipped { unpack(&body, max)? } else { body };
    let messages = match form {
        Form::Single => vec![body],
        Form::Multipart { boundary } => split(&body, &boundary)?,
    };
    let others = messages.len() - 1;
    let _places = (place, app.shares.take(sender, others).ok_or_else(too_many)?);
    let ids = take_in(app, mailbox, messages, received_at).await?;
    metrics::histogram!("spi_post_seconds").record(app.clock.now().since(received_at).as_secs_f64());
    Ok(respond::created(&ids))
}

/// How a body is made up.
enum Form {
    Single,
    Multipart { boundary: String },
}

impl Form {
    fn bytes_max(&self) -> usize {
        match self {
            Self::Single => MESSAGE_BYTES_MAX,
            Self::Multipart { .. } => REQUEST_BYTES_MAX,
        }
    }
}

/// The messages of a multipart body: parts of application/xml in UTF-8.
fn split(body: &Bytes, boundary: &str) -> Result<Vec<Bytes>, Problem> {
    let parts = multipart::split(body, boundary).map_err(|error| bad_request(error.to_string()))?;
    parts
        .into_iter()
        .map(|part| {
            // The type of a part is that of the request when the part does not say (RFC 2046 says text/plain, which
            // nobody means here).
            check_xml(part.content_type.as_deref().unwrap_or(XML))?;
            if part.body.len() > MESSAGE_BYTES_MAX {
                return Err(too_large("a message has at most 1 MiB"));
            }
            Ok(part.body)
        })
        .collect()
}

/// Gives every message to the book; their ids in order, once all of them are committed.
async fn take_in(
    app: &Arc<App>,
    mailbox: Mailbox,
    messages: Vec<Bytes>,
    received_at: Timestamp,
) -> Result<Vec<ResourceId>, Problem> {
    let mut taken: Vec<Taken> = Vec::with_capacity(messages.len());
    for bytes in messages {
        let digest = pix_xmldsig::digest(&[&bytes]);
        taken.push(match app.hits.recall(mailbox.destination, &digest).await {
            Some(seen) => Taken::Seen(seen),
            None => Taken::New { bytes, digest },
        });
    }
    let new = taken
        .iter()
        .filter(|one| matches!(one, Taken::New { .. }))
        .count();
    metrics::counter!("spi_messages_total", "outcome" => "seen").increment((taken.len() - new) as u64);
    // Places in the queue first, for all or for none: what cannot be taken is not worth verifying.
    let mut places = app.book.try_reserve_many(new).map_err(|error| match error {
        TrySendError::Full(()) => unavailable("too many messages wait; send it again"),
        TrySendError::Closed(()) => unavailable("the SPI is stopping; send it again"),
    })?;
    let registry = app.registry.load_full();
    let mut waiting = Vec::with_capacity(taken.len());
    for one in taken {
        let (bytes, digest) = match one {
            Taken::Seen(id) => {
                waiting.push(Waiting::Known(id));
                continue;
            }
            Taken::New { bytes, digest } => (bytes, digest),
        };
        let posted = Posted {
            bytes: &bytes,
            digest,
            sender: mailbox.destination,
            channel: mailbox.channel,
            received_at,
            resource_id: ResourceId::new(app.ids.bytes()),
        };
        let inbound = intake::read(&posted, &registry);
        app.allowances.charge(mailbox, inbound.cost(), received_at);
        let (reply, committed) = oneshot::channel();
        let place = places.next().expect("one was reserved for each new message");
        place.send(Job {
            command: Command::Message(Arc::new(inbound)),
            raw: bytes,
            reply: Reply::Message(reply),
        });
        waiting.push(Waiting::Committing(committed));
    }
    let committed = tokio::time::timeout(COMMIT_WITHIN, committed(waiting)).await;
    let ids = committed.ok().flatten().ok_or_else(|| {
        // No answer means that it is unknown whether the messages were committed: the sender sends them again.
        unavailable("the message may not have been stored; send it again")
    })?;
    metrics::counter!("spi_messages_total", "outcome" => "committed").increment(new as u64);
    tracing::debug!(participant.ispb = %mailbox.destination, messages = ids.len(), "messages were taken in");
    Ok(ids)
}

/// One message of a request, before the book.
enum Taken {
    /// The same bytes were taken in before.
    Seen(ResourceId),
    New {
        bytes: Bytes,
        digest: [u8; 32],
    },
}

/// And behind it.
enum Waiting {
    Known(ResourceId),
    Committing(oneshot::Receiver<ResourceId>),
}

/// The id of each, in order; nothing when the book went away.
async fn committed(waiting: Vec<Waiting>) -> Option<Vec<ResourceId>> {
    let mut ids = Vec::with_capacity(waiting.len());
    for one in waiting {
        ids.push(match one {
            Waiting::Known(id) => id,
            Waiting::Committing(committed) => committed.await.ok()?,
        });
    }
    Some(ids)
}

/// Refuses while the participant's bucket is empty.
fn admit(app: &App, mailbox: Mailbox) -> Result<(), Problem> {
    app.allowances.admit(mailbox, app.clock.now()).map_err(|wait| {
        metrics::counter!("spi_bucket_refusals_total", "channel" => mailbox.channel.as_str()).increment(1);
        let seconds = u32::try_from(wait.as_secs())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let detail = "the participant's bucket for this channel is empty";
        let status = StatusCode::TOO_MANY_REQUESTS;
        Problem::icom(status, "tooManyRequests", "Too many requests", detail).retry_after(seconds)
    })
}

fn too_many() -> Problem {
    let detail = "too many of your messages are under way; wait for some answers";
    Problem::icom(
        StatusCode::TOO_MANY_REQUESTS,
        "tooManyRequests",
        "Too many requests",
        detail,
    )
    .retry_after(RETRY_AFTER_SECONDS)
}

/// Single or multipart, by the `Content-Type` of the request.
fn form(content_type: Option<&str>) -> Result<Form, Problem> {
    let content_type = content_type.unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("multipart/mixed") {
        let boundary = multipart::boundary(content_type).map_err(|error| bad_request(error.to_string()))?;
        return Ok(Form::Multipart {
            boundary: boundary.to_owned(),
        });
    }
    check_xml(content_type)?;
    Ok(Form::Single)
}

fn check_xml(content_type: &str) -> Result<(), Problem> {
    let value = content_type.to_ascii_lowercase();
    let mut parts = value.split(';').map(str::trim);
    if parts.next() != Some("application/xml") {
        return Err(unsupported(
            "the body has to be application/xml; charset=utf-8, or multipart/mixed with such parts",
        ));
    }
    let charset = parts.find_map(|parameter| parameter.strip_prefix("charset="));
    match charset.map(|charset| charset.trim_matches('"')) {
        None | Some("utf-8") => Ok(()),
        Some(_) => Err(Problem::icom(
            StatusCode::BAD_REQUEST,
            "charset",
            "Bad charset",
            "the charset has to be utf-8",
        )),
    }
}

fn is_gzipped(headers: &HeaderMap) -> Result<bool, Problem> {
    match header(headers, &CONTENT_ENCODING)
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        None | Some("identity") => Ok(false),
        Some("gzip") => Ok(true),
        Some(_) => Err(unsupported("the only Content-Encoding is gzip")),
    }
}

fn unsupported(detail: &'static str) -> Problem {
    Problem::icom(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupportedMediaType",
        "Unsupported media type",
        detail,
    )
}

fn length_required() -> Problem {
    Problem::icom(
        StatusCode::LENGTH_REQUIRED,
        "lengthRequired",
        "Length required",
        "a body has a Content-Length or comes in chunks",
    )
}

fn bad_request(detail: impl Into<String>) -> Problem {
    Problem::icom(StatusCode::BAD_REQUEST, "badRequest", "Bad request", detail)
}

fn unpack(body: &[u8], bytes_max: usize) -> Result<Bytes, Problem> {
    gunzip(body, bytes_max)
        .map(Bytes::from)
        .map_err(|error| match error {
            GunzipError::Invalid => bad_request("the body is not gzip"),
            GunzipError::TooLarge => too_large(
                "the body is longer than its cap (1 MiB, multipart 8 MiB), or than 50 times its gzip",
            ),
        })
}

fn too_large(detail: &'static str) -> Problem {
    Problem::icom(
        StatusCode::PAYLOAD_TOO_LARGE,
        "payloadTooLarge",
        "Payload too large",
        detail,
    )
}

fn body_problem(error: &BodyError) -> Problem {
    match error {
        BodyError::TooLarge { .. } => too_large("a message has at most 1 MiB, a multipart request 8 MiB"),
        BodyError::Slow => Problem::icom(
            StatusCode::REQUEST_TIMEOUT,
            "requestTimeout",
            "Request timeout",
            "the body took too long",
        ),
        BodyError::Broken(_) => bad_request("the body broke off"),
    }
}
