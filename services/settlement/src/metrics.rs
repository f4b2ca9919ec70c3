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
        "Until the last good certificate of a direct participant expires; 0 when it has none.",
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
        "settlement_funding_contradictions_total",
        "orders",
        "Ends of orders that the SPI told otherwise than they are noted.",
    ),
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
    Metric::gauge(
        "settlement_counted_batch",
        "batches",
        "The last batch of the SPI's book that is counted in a window.",
    ),
    Metric::counter(
        "settlement_batches_total",
        "batches",
        "Batches that settled something, by how they were learned of and what became of them.",
    )
    .by(&[
        Label::of("by", &["event", "book"]),
        Label::of("became", &["counted", "known", "gap"]),
    ]),
    Metric::counter(
        "settlement_unreadable_events_total",
        "events",
        "Events of the SPI that could not be read; their batches were fetched from the book.",
    ),
    Metric::counter(
        "settlement_windows_closed_total",
        "windows",
        "Windows that closed, by whether their proof holds.",
    )
    .by(&[Label::of("proof", &["holds", "fails"])]),
    Metric::histogram(
        "settlement_window_close_seconds",
        "s",
        "From a window's end until it is closed and proven.",
    ),
    Metric::counter(
        "settlement_window_failures_total",
        "attempts",
        "Looks at the book and proofs that had to wait for Postgres or the SPI.",
    ),
    Metric::gauge(
        "settlement_balances_current",
        "0 or 1",
        "Whether the balances of the SPI's book are being followed.",
    ),
    Metric::counter(
        "settlement_liquidity_low_total",
        "participants",
        "Times that a participant went below its threshold.",
    ),
];
