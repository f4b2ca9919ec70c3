//! `POST /api/v1/in/{ispb}/msgs`: one message; 201 once it is committed, whatever it is worth.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use pix_domain::ResourceId;
use pix_runtime::Clock as _;
use pix_runtime::http::{BodyError, read_body};
use pix_runtime::problem::Problem;
use spi_core::book::Command;
use spi_core::outgoing::Mailbox;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::{RETRY_AFTER_SECONDS, header, respond, unavailable};
use crate::app::App;
use crate::book::Job;
use crate::intake::{self, Posted};

/// One message, after gunzip.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// How much gzip may blow a message up.
const GZIP_RATIO_MAX: usize = 50;
/// How long a sender is kept waiting while Postgres is away.
const COMMIT_WITHIN: Duration = Duration::from_secs(30);

/// Takes a message in.
pub(super) async fn post(
    app: &Arc<App>,
    mailbox: Mailbox,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Problem> {
    let sender = mailbox.destination;
    let _place = app.shares.take(sender).ok_or_else(too_many)?;
    check_content_type(request.headers())?;
    let gzipped = is_gzipped(request.headers())?;
    let body = read_body(request.into_body(), MESSAGE_BYTES_MAX)
        .await
        .map_err(|error| body_problem(&error))?;
    let received_at = app.clock.now();
    let bytes = if gzipped { gunzip(&body)? } else { body };
    let digest = pix_xmldsig::digest(&[&bytes]);
    if let Some(seen) = app.hits.recall(sender, &digest).await {
        metrics::counter!("spi_messages_total", "outcome" => "seen").increment(1);
        return Ok(respond::created(seen));
    }
    // A place in the queue first: what cannot be taken is not worth verifying.
    let place = app.book.try_reserve().map_err(|error| match error {
        TrySendError::Full(()) => unavailable("too many messages wait; send it again"),
        TrySendError::Closed(()) => unavailable("the SPI is stopping; send it again"),
    })?;
    let posted = Posted {
        bytes: &bytes,
        digest,
        sender,
        channel: mailbox.channel,
        received_at,
        resource_id: ResourceId::new(app.ids.bytes()),
    };
    let inbound = intake::read(&posted, &app.registry.load());
    let (reply, committed) = oneshot::channel();
    let command = Command::Message(Arc::new(inbound));
    place.send(Job {
        command,
        raw: bytes,
        reply: Some(reply),
    });
    // No answer means that it is unknown whether the message was committed: the sender sends it again.
    let unknown = || unavailable("the message may not have been stored; send it again");
    let committed = tokio::time::timeout(COMMIT_WITHIN, committed).await;
    let resource_id = committed.map_err(|_| unknown())?.map_err(|_| unknown())?;
    metrics::counter!("spi_messages_total", "outcome" => "committed").increment(1);
    metrics::histogram!("spi_post_seconds").record(app.clock.now().since(received_at).as_secs_f64());
    tracing::debug!(participant.ispb = %sender, message.resource_id = %resource_id, "a message was taken in");
    Ok(respond::created(resource_id))
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

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let value = header(headers, &CONTENT_TYPE)
        .unwrap_or_default()
        .to_ascii_lowercase();
    let mut parts = value.split(';').map(str::trim);
    if parts.next() != Some("application/xml") {
        let detail =
            "the body has to be application/xml; charset=utf-8 (one message; multipart is not taken yet)";
        return Err(Problem::icom(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupportedMediaType",
            "Unsupported media type",
            detail,
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
        Some(_) => Err(Problem::icom(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupportedMediaType",
            "Unsupported encoding",
            "the only Content-Encoding is gzip",
        )),
    }
}

fn gunzip(body: &[u8]) -> Result<Bytes, Problem> {
    let max = MESSAGE_BYTES_MAX.min(body.len().saturating_mul(GZIP_RATIO_MAX));
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::MultiGzDecoder::new(body)
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|_| {
            Problem::icom(
                StatusCode::BAD_REQUEST,
                "badRequest",
                "Bad request",
                "the body is not gzip",
            )
        })?;
    if bytes.len() > max {
        return Err(too_large(
            "the message is longer than 1 MiB, or than 50 times its gzip",
        ));
    }
    Ok(bytes.into())
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
        BodyError::TooLarge { .. } => too_large("a message has at most 1 MiB"),
        BodyError::Slow => Problem::icom(
            StatusCode::REQUEST_TIMEOUT,
            "requestTimeout",
            "Request timeout",
            "the body took too long",
        ),
        BodyError::Broken(_) => Problem::icom(
            StatusCode::BAD_REQUEST,
            "badRequest",
            "Bad request",
            "the body broke off",
        ),
    }
}
