//! The requests of ICOM, with what their answers mean to a participant.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri, response};
use http_body_util::Full;
use pix_domain::{Ispb, ResourceId};
use pix_runtime::http::{Client, ClientError};

use crate::multipart;

/// Octets that one answer may have after gunzip.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;

static PI_PULL_NEXT: HeaderName = HeaderName::from_static("pi-pull-next");
static PI_RESOURCE_ID: HeaderName = HeaderName::from_static("pi-resourceid");

/// The two channels of ICOM; a payment's whole cycle stays on the one it began on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// Everything that is not scheduled.
    Primary,
    /// NORM with PAGAGD, and its cycle.
    Secondary,
}

impl Channel {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Primary, Self::Secondary];

    /// Its name, for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }
}

/// One channel of the switch, as one participant sees it.
#[derive(Clone)]
pub struct Icom {
    /// The connections, with the participant's channel certificate.
    pub client: Client,
    /// Which channel.
    pub channel: Channel,
    /// `https://host:port`, without a slash at the end.
    pub base: String,
    /// The participant.
    pub ispb: Ispb,
}

/// What the door said to a message.
#[derive(Debug)]
pub enum Said {
    /// 201: stored, whatever becomes of it.
    Taken(ResourceId),
    /// 4xx for good: not stored, and never will be in this form.
    Refused(StatusCode),
    /// 408, 429: not stored, but worth trying again.
    NotNow(StatusCode, Option<Duration>),
    /// 5xx, or an answer that says nothing: it may have been stored.
    Unknown(String, Option<Duration>),
    /// The door was not reached: not stored.
    Away(String),
}

/// What a stream answered.
#[derive(Debug)]
pub enum Pulled {
    /// Messages, perhaps none, and where to go on.
    Messages {
        /// `PI-Pull-Next`: asks for what comes next, and confirms these.
        next: String,
        /// With their `PI-ResourceId`.
        messages: Vec<(ResourceId, Bytes)>,
    },
    /// The token, or the stream, is gone: start again.
    Gone(StatusCode),
    /// Not now: the same request again, later.
    Later(String, Option<Duration>),
}

impl Icom {
    /// `POST /api/v1/in/{ispb}/msgs`.
    ///
    /// # Panics
    /// When `base` is no URI.
    pub async fn post(&self, message: Bytes) -> Said {
        let uri = format!("{}/api/v1/in/{}/msgs", self.base, self.ispb);
        let mut request = self
            .request(Method::POST, &uri)
            .header(CONTENT_TYPE, "application/xml; charset=utf-8");
        let mut body = message;
        if self.compresses() {
            request = request.header(CONTENT_ENCODING, "gzip");
            body = gzip(&body);
        }
        let request = request
            .body(Full::new(body))
            .expect("method, URI and headers are valid");
        match self.client.send(request).await {
            Ok((head, _)) => said(&head),
            Err(ClientError::Connect(why)) => Said::Away(why),
            Err(e) => Said::Unknown(e.to_string(), None),
        }
    }

    /// `GET` of the token, or of `stream/start` without one.
    pub async fn pull(&self, token: Option<&str>) -> Pulled {
        let uri = match token {
            Some(token) => self.absolute(token),
            None => format!("{}/api/v1/out/{}/stream/start", self.base, self.ispb),
        };
        let mut request = self.request(Method::GET, &uri).header(ACCEPT, "multipart/mixed");
        if self.compresses() {
            request = request.header(ACCEPT_ENCODING, "gzip");
        }
        let Ok(request) = request.body(Full::default()) else {
            return Pulled::Gone(StatusCode::NOT_FOUND);
        };
        match self.client.send(request).await {
            Ok((head, body)) => pulled(&head, body),
            Err(e) => Pulled::Later(e.to_string(), None),
        }
    }

    /// `GET /api/v1/out/catalog`: whether the switch answers this participant, which a long poll tells only
    /// when it ends.
    pub async fn answers(&self) -> bool {
        let uri = format!("{}/api/v1/out/catalog", self.base);
        let Ok(request) = self.request(Method::GET, &uri).body(Full::default()) else {
            return false;
        };
        let answer = self.client.send(request).await;
        answer.is_ok_and(|(head, _)| head.status == StatusCode::OK)
    }

    /// `DELETE` of the token: confirms its batch and ends the stream. An answer of 410 says as much.
    pub async fn close(&self, token: &str) {
        let Ok(request) = self
            .request(Method::DELETE, &self.absolute(token))
            .body(Full::default())
        else {
            return;
        };
        if let Err(e) = self.client.send(request).await {
            // The stream expires by itself; its last batch comes again and is known.
            tracing::debug!(error = %e, "a stream was not closed");
        }
    }

    fn request(&self, method: Method, uri: &str) -> http::request::Builder {
        Request::builder().method(method).uri(uri)
    }

    /// The rule of the interface: gzip is mandatory on the secondary channel.
    fn compresses(&self) -> bool {
        self.channel == Channel::Secondary
    }

    /// A token is a whole URI, or the path of one.
    fn absolute(&self, token: &str) -> String {
        let whole = token.parse::<Uri>().is_ok_and(|uri| uri.scheme().is_some());
        if whole {
            token.to_owned()
        } else {
            format!("{}{token}", self.base)
        }
    }
}

fn said(head: &response::Parts) -> Said {
    let status = head.status;
    let id = header(&head.headers, &PI_RESOURCE_ID).and_then(|id| ResourceId::parse(id.as_bytes()).ok());
    match (status.as_u16(), id) {
        (201, Some(id)) => Said::Taken(id),
        (408 | 429, _) => Said::NotNow(status, retry_after(&head.headers)),
        (400..=499, _) => Said::Refused(status),
        _ => Said::Unknown(format!("HTTP {status}"), retry_after(&head.headers)),
    }
}

fn pulled(head: &response::Parts, body: Bytes) -> Pulled {
    match head.status.as_u16() {
        200 | 204 => match messages(head, body) {
            Ok((next, messages)) => Pulled::Messages { next, messages },
            Err(why) => Pulled::Later(why, None),
        },
        408 | 429 | 500..=599 => Pulled::Later(format!("HTTP {}", head.status), retry_after(&head.headers)),
        _ => Pulled::Gone(head.status),
    }
}

/// The messages of an answer. One that cannot be taken apart is asked for again: its token still answers
/// the same batch.
fn messages(head: &response::Parts, body: Bytes) -> Result<(String, Vec<(ResourceId, Bytes)>), String> {
    let next = header(&head.headers, &PI_PULL_NEXT)
        .ok_or("the answer has no PI-Pull-Next")?
        .to_owned();
    if head.status == StatusCode::NO_CONTENT {
        return Ok((next, Vec::new()));
    }
    let body = match header(&head.headers, &CONTENT_ENCODING) {
        Some("gzip") => gunzip(&body)?,
        Some("identity") | None => body,
        Some(_) => return Err("the answer has an encoding that was not asked for".to_owned()),
    };
    let id = |text: Option<&str>| {
        let parsed = text.and_then(|text| ResourceId::parse(text.as_bytes()).ok());
        parsed.ok_or_else(|| "a message has no valid PI-ResourceId".to_owned())
    };
    let content_type = header(&head.headers, &CONTENT_TYPE).unwrap_or_default();
    if !content_type.to_ascii_lowercase().starts_with("multipart/") {
        return Ok((next, vec![(id(header(&head.headers, &PI_RESOURCE_ID))?, body)]));
    }
    let parts = multipart::boundary(content_type).and_then(|boundary| multipart::parse(&body, boundary));
    let parts = parts.map_err(|e| e.to_string())?;
    let messages = parts
        .into_iter()
        .map(|part| Ok((id(part.resource_id.as_deref())?, part.body)));
    Ok((next, messages.collect::<Result<_, String>>()?))
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    header(headers, &RETRY_AFTER)?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

/// Compresses; for the wire and for the archive.
///
/// # Panics
/// Never: memory takes everything.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
    encoder.write_all(bytes).expect("a Vec takes everything");
    encoder.finish().expect("a Vec takes everything").into()
}

fn gunzip(bytes: &[u8]) -> Result<Bytes, String> {
    let mut plain = Vec::new();
    let read = GzDecoder::new(bytes).take(ANSWER_MAX + 1).read_to_end(&mut plain);
    read.map_err(|e| format!("the answer is no gzip: {e}"))?;
    if u64::try_from(plain.len()).is_ok_and(|length| length <= ANSWER_MAX) {
        Ok(plain.into())
    } else {
        Err(format!(
            "the answer has more than {ANSWER_MAX} octets after gunzip"
        ))
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn head(status: u16, headers: &[(&str, &str)]) -> response::Parts {
        let mut builder = Response::builder().status(status);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    const ID: &str = "UEkBbgR78VqKK/uvuq9O0r9bqXyBH9Ur";

    #[test]
    fn only_a_lasting_4xx_says_that_nothing_was_stored() {
        assert!(matches!(
            said(&head(201, &[("PI-ResourceId", ID)])),
            Said::Taken(_)
        ));
        assert!(matches!(
            said(&head(403, &[])),
            Said::Refused(StatusCode::FORBIDDEN)
        ));
        let wait = Some(Duration::from_secs(3));
        assert!(matches!(said(&head(429, &[("Retry-After", "3")])), Said::NotNow(_, w) if w == wait));
        assert!(matches!(said(&head(503, &[("Retry-After", "3")])), Said::Unknown(_, w) if w == wait));
        assert!(
            matches!(said(&head(201, &[])), Said::Unknown(..)),
            "a 201 without its id says too little"
        );
        assert!(matches!(said(&head(200, &[])), Said::Unknown(..)));
    }

    #[test]
    fn streams_answer_with_one_message_several_or_none() {
        let one = pulled(
            &head(200, &[("PI-Pull-Next", "/n"), ("PI-ResourceId", ID)]),
            Bytes::from("<a/>"),
        );
        assert!(matches!(one, Pulled::Messages { next, messages } if next == "/n" && messages.len() == 1));
        let none = pulled(&head(204, &[("PI-Pull-Next", "/n")]), Bytes::new());
        assert!(matches!(none, Pulled::Messages { messages, .. } if messages.is_empty()));
        let body = format!("--b\r\nPI-ResourceId: {ID}\r\n\r\n<a/>\r\n--b--");
        let headers = [
            ("PI-Pull-Next", "/n"),
            ("Content-Type", "multipart/mixed; boundary=b"),
        ];
        let several = pulled(&head(200, &headers), Bytes::from(body.clone()));
        assert!(matches!(several, Pulled::Messages { messages, .. } if messages[0].1 == "<a/>"));
        let zipped = [headers[0], headers[1], ("Content-Encoding", "gzip")];
        let several = pulled(&head(200, &zipped), gzip(body.as_bytes()));
        assert!(matches!(several, Pulled::Messages { messages, .. } if messages[0].1 == "<a/>"));
        assert!(matches!(pulled(&head(410, &[]), Bytes::new()), Pulled::Gone(_)));
        assert!(matches!(
            pulled(&head(200, &headers), Bytes::from("--b\r\n")),
            Pulled::Later(..)
        ));
    }
}
