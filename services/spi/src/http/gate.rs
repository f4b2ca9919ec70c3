//! What is refused before anything of a request is looked at: headers outside the list, and too many requests.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::header::HOST;
use http::{HeaderMap, StatusCode, Version};
use pix_domain::Ispb;
use pix_runtime::http::Peer;
use pix_runtime::problem::Problem;

use super::unavailable;

/// Requests of one participant a second, whatever they ask: far above what the buckets let through, so that only a
/// runaway loop meets it.
const REQUESTS_PER_SECOND_MAX: NonZeroU32 = NonZeroU32::new(10_000).expect("not zero");

/// The headers that a request may carry (ICOM manual). Whatever else comes is refused: a header that nobody reads
/// is a way past somebody who does.
const HEADERS: [&str; 12] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "max-forwards",
    "transfer-encoding",
    "user-agent",
    "via",
];

/// The gate; clones are one.
#[derive(Clone)]
pub(crate) struct Gate(Arc<DefaultKeyedRateLimiter<Ispb>>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(RateLimiter::keyed(Quota::per_second(
            REQUESTS_PER_SECOND_MAX,
        ))))
    }
}

impl Gate {
    /// Counts a request of a participant.
    pub(super) fn pass(&self, participant: Ispb) -> Result<(), Problem> {
        self.0.check_key(&participant).map_err(|_| {
            metrics::counter!("spi_gate_refusals_total", "why" => "requests").increment(1);
            unavailable("too many requests of this participant; wait a second")
        })
    }
}

/// The form of a request's head.
pub(super) fn check_head(version: Version, headers: &HeaderMap, peer: &Peer) -> Result<(), Problem> {
    if peer.is_surplus {
        metrics::counter!("spi_gate_refusals_total", "why" => "connections").increment(1);
        return Err(unavailable(
            "too many connections of this certificate, or too many new ones: keep them open and use them again",
        ));
    }
    if version == Version::HTTP_11 && headers.get_all(HOST).iter().count() != 1 {
        let detail = "a request has one Host";
        return Err(Problem::icom(
            StatusCode::BAD_REQUEST,
            "badRequest",
            "Bad request",
            detail,
        ));
    }
    if headers.keys().any(|name| !HEADERS.contains(&name.as_str())) {
        metrics::counter!("spi_gate_refusals_total", "why" => "header").increment(1);
        let detail = format!("a request carries no other headers than {}", HEADERS.join(", "));
        return Err(Problem::icom(
            StatusCode::FORBIDDEN,
            "forbidden",
            "Forbidden",
            detail,
        ));
    }
    Ok(())
}
