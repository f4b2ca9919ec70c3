//! Problem documents (RFC 7807), in XML for the two interfaces and in JSON for our own.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use quick_xml::escape::partial_escape;

/// Why a request was refused. The text goes to the caller: no driver's words, nobody's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// URI of the kind of problem.
    pub kind: String,
    /// The kind in a few words.
    pub title: &'static str,
    /// HTTP status.
    pub status: StatusCode,
    /// This one in a sentence.
    pub detail: String,
    /// Seconds after which to try again.
    pub retry_after: Option<u32>,
}

impl Problem {
    /// A problem of the ICOM interface; `kind` is the last part of its URI: `forbidden`.
    #[must_use]
    pub fn icom(status: StatusCode, kind: &str, title: &'static str, detail: impl Into<String>) -> Self {
        let kind = format!("https://icom.pi.rsfn.net.br/api/v1/error/{kind}");
        Self {
            kind,
            title,
            status,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// A problem of an interface of our own, whose kinds have no documents.
    #[must_use]
    pub fn plain(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self {
            kind: "about:blank".into(),
            title,
            status,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// Adds `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// `application/problem+xml`, in the shape of PROTOCOL 1.
    #[must_use]
    pub fn to_xml(&self) -> Response<Full<Bytes>> {
        let body = format!(
            "<problem xmlns=\"urn:ietf:rfc:7807\"><type>{}</type><title>{}</title><status>{}</status>\
             <detail>{}</detail></problem>",
            partial_escape(self.kind.as_str()),
            partial_escape(self.title),
            self.status.as_u16(),
            partial_escape(self.detail.as_str()),
        );
        self.response("application/problem+xml; charset=utf-8", body)
    }

    /// `application/problem+json`.
    #[must_use]
    pub fn to_json(&self) -> Response<Full<Bytes>> {
        let body = serde_json::json!({
            "type": self.kind,
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        self.response("application/problem+json", body.to_string())
    }

    fn response(&self, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
