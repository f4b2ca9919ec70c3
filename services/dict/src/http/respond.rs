//! How answers look on the wire.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use pix_xmldsig::Signer;

use super::problem::Refusal;
use crate::answers::KEY_INFO_ID;
use crate::app::App;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const XML: HeaderValue = HeaderValue::from_static("application/xml; charset=utf-8");
const PROBLEM_XML: HeaderValue = HeaderValue::from_static("application/problem+xml; charset=utf-8");
/// Answers shorter than this are not worth compressing.
const GZIP_BYTES_MIN: usize = 512;

/// What a request comes to.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// Signed XML.
    pub(super) body: Bytes,
}

impl Reply {
    /// 200.
    pub(super) fn ok(body: Bytes) -> Self {
        Self {
            status: StatusCode::OK,
            body,
        }
    }

    /// 201.
    pub(super) fn created(body: Bytes) -> Self {
        Self {
            status: StatusCode::CREATED,
            body,
        }
    }
}

/// The answer to a request that was carried out.
pub(super) fn done(reply: Reply) -> Response<Bytes> {
    let mut response = Response::new(reply.body);
    *response.status_mut() = reply.status;
    response.headers_mut().insert(CONTENT_TYPE, XML);
    response
}

/// The answer to a request that was not. Signed, but for 429 and 503, which are said before any work is done.
pub(super) async fn refused(app: &App, refusal: Refusal) -> Response<Bytes> {
    if matches!(
        refusal.status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        return turned_away(app, &refusal);
    }
    let problem = refusal.problem(app.answering().correlation_id);
    let seal = move |signer: &Signer| pix_dict_api::seal_problem(&problem, signer, KEY_INFO_ID);
    problem_of(&refusal, app.sealer.seal(seal).await)
}

/// The answer to a request that nothing is done for: a signature is work.
pub(super) fn turned_away(app: &App, refusal: &Refusal) -> Response<Bytes> {
    let problem = refusal.problem(app.answering().correlation_id);
    problem_of(refusal, pix_dict_api::write_problem(&problem))
}

fn problem_of(refusal: &Refusal, body: Vec<u8>) -> Response<Bytes> {
    metrics::counter!("dict_http_problems_total", "kind" => refusal.kind.as_str()).increment(1);
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, PROBLEM_XML);
    if let Some(seconds) = refusal.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(allow) = refusal.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// The last touch: compression where it is wanted and pays, and how long the connection is kept.
pub(super) fn finish(
    response: Response<Bytes>,
    accepts_gzip: bool,
    keep_alive: Duration,
) -> Response<Full<Bytes>> {
    let (mut head, mut bytes) = response.into_parts();
    if accepts_gzip && bytes.len() >= GZIP_BYTES_MIN {
        bytes = gzip(&bytes);
        head.headers
            .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let timeout = format!("timeout={}", keep_alive.as_secs());
    let timeout = HeaderValue::try_from(timeout).expect("digits");
    head.headers.insert(KEEP_ALIVE, timeout);
    Response::from_parts(head, Full::new(bytes))
}

/// Whether the caller takes gzip.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    accepted.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        named && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
    let compressed = encoder.write_all(bytes).and_then(|()| encoder.finish());
    compressed.expect("writing to memory does not fail").into()
}
