//! The metrics of the DICT, each in its line of the table; `docs/metrics.md` is written from it.

use pix_runtime::metric::{Label, Metric};

/// All of them, but for those of its connections.
pub(crate) static METRICS: &[Metric] = &[
    Metric::histogram(
        "dict_request_seconds",
        "s",
        "A request with a right path, from its route to its answer.",
    )
    .by(&[Label::any("operation")]),
    Metric::histogram("dict_lookup_seconds", "s", "The query of one look-up."),
    Metric::histogram(
        "dict_commit_seconds",
        "s",
        "The COMMIT of one change of an entry.",
    ),
    Metric::counter(
        "dict_http_problems_total",
        "answers",
        "Answers that are problems, by the kind in their body.",
    )
    .by(&[Label::any("kind")]),
    Metric::counter(
        "dict_rate_limited_total",
        "requests",
        "Requests refused (429) for an empty token bucket.",
    )
    .by(&[Label::any("policy")]),
    Metric::counter(
        "dict_bucket_credits_total",
        "credits",
        "Tokens of look-ups given back when the order came.",
    ),
    Metric::counter(
        "dict_bucket_debt_failures_total",
        "rounds",
        "Debts that could not be kept in Postgres.",
    ),
    Metric::counter(
        "dict_turned_away_total",
        "requests",
        "Requests turned away at the door.",
    )
    .by(&[Label::of("why", &["connections", "share", "full"])]),
    Metric::counter(
        "dict_identity_refused_total",
        "requests",
        "Requests of nobody who may ask.",
    )
    .by(&[Label::any("why")]),
    Metric::counter(
        "dict_panics_total",
        "requests",
        "Requests whose handling panicked: bugs.",
    ),
    Metric::counter(
        "dict_store_failures_total",
        "requests",
        "Requests that the database could not serve.",
    ),
    Metric::counter(
        "dict_write_conflicts_total",
        "attempts",
        "Attempts to write that had to read anew.",
    ),
    Metric::counter(
        "dict_redis_failures_total",
        "questions",
        "Questions about buckets that Redis did not answer.",
    ),
    Metric::gauge(
        "dict_redis_may_evict",
        "0 or 1",
        "1 when Redis is set to forget under pressure of memory.",
    ),
    Metric::counter(
        "dict_events_published_total",
        "events",
        "Events that NATS has acknowledged.",
    ),
    Metric::counter(
        "dict_event_failures_total",
        "rounds",
        "Rounds of publishing that failed.",
    ),
    Metric::gauge(
        "dict_outbox_age_seconds",
        "s",
        "Age of the oldest event that NATS has not got; 0 when none waits.",
    ),
    Metric::counter(
        "dict_unreadable_events_total",
        "events",
        "Events of the SPI that could not be read.",
    ),
    Metric::counter(
        "dict_event_fields_left_out_total",
        "fields",
        "Fields of the SPI's events that could not be read.",
    )
    .by(&[Label::any("field")]),
];
