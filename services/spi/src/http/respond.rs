//! How answers look on the wire.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use iso20022::MessageDefinition;
use pix_domain::{Ispb, ResourceId};
use pix_runtime::Ids;
use pix_runtime::http::Cut;
use spi_core::streams::Token;

const PI_RESOURCE_ID: HeaderName = HeaderName::from_static("pi-resourceid");
const PI_PULL_NEXT: HeaderName = HeaderName::from_static("pi-pull-next");
pub(super) const XML: &str = "application/xml; charset=utf-8";
/// Answers shorter than this are not worth compressing.
const GZIP_BYTES_MIN: usize = 512;

fn text(value: String) -> HeaderValue {
    HeaderValue::try_from(value).expect("ids, tokens and boundaries are visible ASCII")
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// 201: the messages are committed; their ids in the order of the request.
pub(super) fn created(resource_ids: &[ResourceId]) -> Response<Full<Bytes>> {
    let mut response = empty(StatusCode::CREATED);
    let ids: Vec<String> = resource_ids.iter().map(ToString::to_string).collect();
    response.headers_mut().insert(PI_RESOURCE_ID, text(ids.join(",")));
    response
}

/// 200: the stream is closed.
pub(super) fn closed() -> Response<Full<Bytes>> {
    empty(StatusCode::OK)
}

/// No answer: the connection is reset.
pub(super) fn cut() -> Response<Full<Bytes>> {
    let mut response = empty(StatusCode::SERVICE_UNAVAILABLE);
    response.extensions_mut().insert(Cut);
    response
}

/// 200 with messages, or 204 without; the next token in both. `base` stands before its path.
pub(super) fn batch(
    base: &str,
    ispb: Ispb,
    next: Token,
    messages: Vec<(ResourceId, Bytes)>,
    multipart: bool,
    ids: &Ids,
) -> Response<Full<Bytes>> {
    let mut response = match messages.as_slice() {
        [] => empty(StatusCode::NO_CONTENT),
        _ if multipart => multipart_mixed(&messages, ids),
        [(resource_id, bytes), ..] => {
            let mut response = Response::new(Full::new(bytes.clone()));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(XML));
            response
                .headers_mut()
                .insert(PI_RESOURCE_ID, text(resource_id.to_string()));
            response
        }
    };
    let next = format!("{base}/api/v1/out/{ispb}/stream/{next}");
    response.headers_mut().insert(PI_PULL_NEXT, text(next));
    response
}

fn multipart_mixed(messages: &[(ResourceId, Bytes)], ids: &Ids) -> Response<Full<Bytes>> {
    // 128 random bits after the messages were written: no message can hold it.
    let boundary = format!("pi-{:032x}", ids.u128());
    let size = messages.iter().map(|(_, bytes)| bytes.len() + 160).sum::<usize>() + 64;
    let mut body = Vec::with_capacity(size);
    for (resource_id, bytes) in messages {
        let head = format!("--{boundary}\r\nContent-Type: {XML}\r\nPI-ResourceId: {resource_id}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let mut response = Response::new(Full::new(Bytes::from(body)));
    let content_type = text(format!("multipart/mixed; boundary=\"{boundary}\""));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// The messages of a catalogue.
pub(super) fn catalog(messages: &[MessageDefinition]) -> Response<Full<Bytes>> {
    let list: String = messages
        .iter()
        .map(|message| format!("<Message>{}</Message>", message.as_str()))
        .collect();
    let mut response = Response::new(Full::new(Bytes::from(format!("<Catalog>{list}</Catalog>"))));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(XML));
    response
}

/// Whether the caller takes gzip.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    accepted
        .split(',')
        .any(|coding| coding.trim().eq_ignore_ascii_case("gzip"))
}

/// The answer, compressed when that pays.
pub(super) fn gzip(response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let (mut head, body) = response.into_parts();
    let bytes = now_or_empty(body);
    if bytes.len() < GZIP_BYTES_MIN {
        return Response::from_parts(head, Full::new(bytes));
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    let compressed = encoder.write_all(&bytes).and_then(|()| encoder.finish());
    let compressed = compressed.expect("writing to memory does not fail");
    head.headers
        .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(head, Full::new(Bytes::from(compressed)))
}

/// A `Full` body has its bytes at once.
fn now_or_empty(body: Full<Bytes>) -> Bytes {
    let whole = futures::FutureExt::now_or_never(body.collect());
    whole
        .and_then(Result::ok)
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default()
}
