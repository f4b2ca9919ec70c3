//! One trace a payment, across all services, without a word about it on the wire.
//!
//! ICOM has no place for a `traceparent`, so the trace is derived from what everybody knows: its id is the first
//! 16 octets of SHA-256 over the EndToEndId, and the 8 that follow are the id of its root span. The SPI sends the
//! root when the payment ends; the spans of all others hang below it. To find a payment:
//!
//! ```sh
//! printf %s E1111111120260101120012345678901 | sha256sum | cut -c1-32
//! ```
//!
//! Spans are told after the fact, from times that are known anyway; without an OTLP endpoint all of it is one load.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracer};
use pix_domain::{EndToEndId, Timestamp};

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

thread_local! {
    /// The ids that the next span of this thread is to have.
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Whether anybody listens: what is only gathered for traces need not be gathered otherwise.
#[must_use]
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// One stage of a payment that is over.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// The payment.
    pub end_to_end_id: EndToEndId,
    /// `service.verb`.
    pub name: &'static str,
    /// When it began.
    pub from: Timestamp,
    /// When it was over.
    pub to: Timestamp,
}

impl Stage {
    /// Sends it, with what else is known of it; never a person's.
    pub fn send(self, attributes: &[(&'static str, &str)]) {
        if let Some(tracer) = TRACER.get() {
            let (trace, root) = ids(self.end_to_end_id);
            let parent = SpanContext::new(trace, root, TraceFlags::SAMPLED, true, TraceState::default());
            self.span(
                tracer,
                &Context::new().with_remote_span_context(parent),
                attributes,
            );
        }
    }

    /// Sends it as the root that all stages of the payment hang below. One service of all does.
    pub fn send_as_root(self, attributes: &[(&'static str, &str)]) {
        if let Some(tracer) = TRACER.get() {
            NEXT.set(Some(ids(self.end_to_end_id)));
            self.span(tracer, &Context::new(), attributes);
            NEXT.set(None);
        }
    }

    fn span(self, tracer: &SdkTracer, parent: &Context, attributes: &[(&'static str, &str)]) {
        let id = KeyValue::new("payment.end_to_end_id", self.end_to_end_id.to_string());
        let others = attributes
            .iter()
            .map(|(name, value)| KeyValue::new(*name, (*value).to_owned()));
        let mut span = tracer
            .span_builder(self.name)
            .with_kind(SpanKind::Internal)
            .with_start_time(system(self.from))
            .with_attributes(std::iter::once(id).chain(others))
            .start_with_context(tracer, parent);
        span.end_with_timestamp(system(self.to.max(self.from)));
    }
}

/// The trace and the root span of a payment.
fn ids(end_to_end_id: EndToEndId) -> (TraceId, SpanId) {
    let digest = pix_xmldsig::digest(&[end_to_end_id.to_string().as_bytes()]);
    let (trace, rest) = digest.split_first_chunk().expect("32 octets");
    let (span, _) = rest.split_first_chunk().expect("16 octets are left");
    (TraceId::from_bytes(*trace), SpanId::from_bytes(*span))
}

fn system(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(at.as_micros()).unwrap_or(0))
}

/// From now on stages are sent by this.
pub(crate) fn send_by(tracer: SdkTracer) {
    drop(TRACER.set(tracer)); // a second telemetry in one process is a test's
}

/// Chance, but for the root of a payment.
#[derive(Debug, Default)]
pub(crate) struct Generator(RandomIdGenerator);

impl IdGenerator for Generator {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get()
            .map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_is_what_sha256sum_says() {
        let id = EndToEndId::parse(b"E1111111120260101120012345678901").expect("valid");
        let (trace, root) = ids(id);
        assert_eq!(trace.to_string(), "140a26f50f5957932e704046914ffce0");
        assert_eq!(root.to_string(), "a2a8078c5b5103f4");
    }
}
