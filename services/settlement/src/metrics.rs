//! The metrics of the settlement service, each in its line of the table; `docs/metrics.md` is written from it.

use pix_runtime::metric::{Label, Metric};

/// All of them.
pub(crate) static METRICS: &[Metric] = &[
    Metric::gauge(
        "settlement_registry_version",
        "changes",
        "The last change of the registry of participants.",
    ),
    Metric::gauge(
        "settlement_participants",
        "participants",
        "Participants, by their state.",
    )
    .by(&[Label::of("state", &["ACTIVE", "SUSPENDED"])]),
    Metric::gauge(
        "settlement_certificate_expires_seconds",
        "s",
        "Until the last good certificate of an active direct participant expires; 0 when it has none.",
    )
    .by(&[Label::any("ispb"), Label::of("use", &["CHANNEL", "SIGNATURE"])]),
    Metric::gauge(
        "settlement_followers",
        "streams",
        "Copies of the registry that follow its changes now.",
    ),
    Metric::counter(
        "settlement_registry_changes_total",
        "changes",
        "Changes of the registry that were ordered here, by kind.",
    )
    .by(&[Label::of(
        "kind",
        &[
            "ADDED",
            "IMPORTED",
            "UPDATED",
            "SUSPENDED",
            "RESUMED",
            "CERTIFICATE_ADDED",
            "CERTIFICATE_REVOKED",
        ],
    )]),
    Metric::gauge(
        "settlement_funding_pending",
        "orders",
        "Orders of funding whose end is not known yet.",
    ),
    Metric::counter(
        "settlement_funding_ends_total",
        "orders",
        "Orders of funding that came to their end.",
    )
    .by(&[Label::of("outcome", &["done", "refused"])]),
    Metric::counter(
        "settlement_funding_unknown_total",
        "attempts",
        "Attempts to fund whose end the SPI did not tell.",
    ),
    Metric::counter(
        "settlement_events_published_total",
        "events",
        "Events that NATS has acknowledged.",
    ),
    Metric::counter(
        "settlement_event_failures_total",
        "rounds",
        "Rounds of publishing that failed.",
    ),
    Metric::gauge(
        "settlement_outbox_age_seconds",
        "s",
        "Age of the oldest event that NATS has not got; 0 when none waits.",
    ),
];
