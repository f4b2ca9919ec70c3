//! Subjects and stream of the settlement service's events.

use pix_runtime::outbox::Origin;

/// A participant joined, or is another than before.
pub(crate) const PARTICIPANT_CHANGED: &str = "pix.settlement.participant_changed.v1";
/// A window closed, with its proof.
pub(crate) const WINDOW_CLOSED: &str = "pix.settlement.window_closed.v1";
/// A participant went below its threshold.
pub(crate) const LIQUIDITY_LOW: &str = "pix.settlement.liquidity_low.v1";

/// The events of the settlement service.
pub(crate) static ORIGIN: Origin = Origin {
    service: "settlement",
    stream: "PIX_SETTLEMENT",
    subjects: "pix.settlement.*.v1",
    published: "settlement_events_published_total",
    failures: "settlement_event_failures_total",
    age: "settlement_outbox_age_seconds",
};
