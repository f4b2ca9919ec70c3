//! The metrics of the SPI, each in its line of the table; `docs/metrics.md` is written from it.

use pix_runtime::metric::{Label, Metric};

const CHANNEL: Label = Label::of("channel", &["P", "S"]);
const PARTICIPANT: Label = Label::any("participant");

/// All of them, but for those of its connections.
pub(crate) static METRICS: &[Metric] = &[
    Metric::counter(
        "spi_payments_total",
        "payments",
        "Steps of payments: blocked, and the one end (settled, released, refused) with its reason, `none` without one.",
    )
    .by(&[
        Label::of("state", &["blocked", "settled", "released", "refused"]),
        Label::any("reason"),
    ]),
    Metric::counter(
        "spi_statuses_total",
        "transactions",
        "Transactions of pacs.002 on their way to participants; also those of orders that claim no EndToEndId.",
    )
    .by(&[
        Label::of("status", &["ACSC", "ACCC", "RJCT"]),
        Label::any("reason"),
    ]),
    Metric::gauge("spi_payments_open", "payments", "Payments whose amount is blocked."),
    Metric::histogram(
        "spi_stage_seconds",
        "s",
        "Stages of a payment. Of its order: blocked (from receipt), formed, delivered to the receiver's stream, \
         confirmed by it, answered (from the block to the receipt of the answer), settled (from that receipt, whatever \
         the answer says). Of the statuses that tell its end: formed, delivered, confirmed.",
    )
    .by(&[
        Label::of("message", &["order", "status"]),
        Label::of(
            "stage",
            &["blocked", "formed", "delivered", "confirmed", "answered", "settled"],
        ),
    ]),
    Metric::histogram(
        "spi_payment_seconds",
        "s",
        "From the receipt of an order to the COMMIT of its end.",
    )
    .by(&[Label::of("state", &["settled", "released", "refused"])]),
    Metric::counter("spi_messages_total", "messages", "Messages taken in (committed), and repeats (seen).")
        .by(&[Label::of("outcome", &["committed", "seen"])]),
    Metric::histogram(
        "spi_post_seconds",
        "s",
        "From the receipt of a request with messages to its 201.",
    ),
    Metric::counter("spi_messages_read_total", "messages", "Messages given to readers of streams."),
    Metric::counter(
        "spi_complaints_total",
        "messages",
        "Messages of ours that a participant could not process (admi.002).",
    )
    .by(&[PARTICIPANT]),
    Metric::counter("spi_dead_letters_total", "messages", "Messages that could not be processed: bugs."),
    Metric::counter(
        "spi_fundings_total",
        "fundings",
        "Answers to the settlement service about money into or out of a Conta PI; repeats count again.",
    )
    .by(&[Label::of("outcome", &["funded", "refused"])]),
    Metric::gauge("spi_book_queue", "commands", "Commands that wait for the book; at 4096 senders get 503."),
    Metric::histogram("spi_book_batch_commands", "commands", "Commands in one COMMIT of the book."),
    Metric::histogram(
        "spi_book_batch_seconds",
        "s",
        "A batch of the book: reading facts, deciding, COMMIT.",
    ),
    Metric::histogram(
        "spi_commit_seconds",
        "s",
        "Writing and committing one batch, by who writes it.",
    )
    .by(&[Label::of("writer", &["book", "desk"])]),
    Metric::counter("spi_book_reconnects_total", "times", "Times the book lost Postgres."),
    Metric::counter("spi_desk_reconnects_total", "times", "Times the desk lost Postgres."),
    Metric::histogram("spi_message_transactions", "transactions", "Transactions in one message that leaves."),
    Metric::gauge("spi_outbox_waiting", "transactions", "Transactions that wait to be formed into messages."),
    Metric::gauge("spi_outbox_age_seconds", "s", "Age of the oldest of them; 0 when none waits."),
    Metric::gauge("spi_signer_utilisation", "share", "Share of the signers that is busy, 0 to 1."),
    Metric::gauge("spi_stream_depth", "messages", "Messages ready for a participant and not in any batch.")
        .by(&[PARTICIPANT, CHANNEL]),
    Metric::gauge(
        "spi_stream_age_seconds",
        "s",
        "Age of the oldest message that a participant has not confirmed; 0 when there is none.",
    )
    .by(&[PARTICIPANT, CHANNEL]),
    Metric::counter("spi_bucket_refusals_total", "requests", "Requests refused (429) for an empty token bucket.")
        .by(&[CHANNEL]),
    Metric::counter("spi_gate_refusals_total", "requests", "Requests turned away at the door.")
        .by(&[Label::of("why", &["requests", "connections", "header"])]),
    Metric::counter("spi_http_problems_total", "answers", "Answers of ICOM that are no success.")
        .by(&[Label::any("status")]),
    Metric::counter("spi_identity_refused_total", "requests", "Requests of nobody we know, or for another.")
        .by(&[Label::any("why")]),
    Metric::counter("spi_events_published_total", "events", "Events that NATS has acknowledged."),
    Metric::counter("spi_event_failures_total", "rounds", "Rounds of publishing that failed."),
    Metric::counter(
        "spi_redis_failures_total",
        "questions",
        "Questions that Redis did not answer in time; Postgres did instead.",
    ),
    Metric::gauge("sandbox_rules", "rules", "Rules by which streams misbehave, for tests of participants."),
    Metric::counter("sandbox_acts_total", "acts", "Times that a stream misbehaved by rule.")
        .by(&[Label::any("behaviour")]),
];
