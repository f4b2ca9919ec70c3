//! The metrics of a bank, each in its line of the table; `docs/metrics.md` is written from it.

use pix_runtime::metric::{Label, Metric};

const CHANNEL: Label = Label::of("channel", &["primary", "secondary"]);
const DIRECTION: Label = Label::of("direction", &["outgoing", "incoming", "book"]);
const KIND: Label = Label::of("kind", &["pacs.008", "pacs.002", "admi.002"]);

/// All of them.
pub(crate) static METRICS: &[Metric] = &[
    Metric::counter(
        "bank_payments_total",
        "payments",
        "Steps of payments: pending, and the one end with its reason: a code of pacs.002, `admi.002`, `door` (4xx) or `none`.",
    )
    .by(&[
        DIRECTION,
        Label::of("state", &["pending", "settled", "refused"]),
        Label::any("reason"),
    ]),
    Metric::histogram(
        "bank_payment_seconds",
        "s",
        "From the payer's acceptance, by the clock of the payer's bank, to the commit of the end.",
    )
    .by(&[DIRECTION, Label::of("state", &["settled", "refused"])]),
    Metric::histogram("bank_commit_seconds", "s", "One commit of the book: reading facts, deciding, signing, COMMIT."),
    Metric::histogram("bank_commit_works", "works", "Works in one commit: orders, messages, answers of the door."),
    Metric::counter("bank_poisoned_total", "works", "Works that the database refuses: bugs."),
    Metric::counter("bank_anomalies_total", "events", "Events that do not fit the book: bugs, ours or another's.")
        .by(&[Label::any("kind")]),
    Metric::counter("bank_messages_total", "messages", "Messages taken from the streams.").by(&[
        Label::of("kind", &["pacs.008", "pacs.002", "admi.002", "unreadable"]),
        Label::of("outcome", &["applied", "repeated", "ignored", "unreadable"]),
    ]),
    Metric::counter("bank_messages_posted_total", "messages", "Messages of ours that reached their end at the door.")
        .by(&[KIND, Label::of("end", &["taken", "refused"])]),
    Metric::gauge("bank_messages_on_their_way", "messages", "Messages being posted; 16 at most.").by(&[CHANNEL]),
    Metric::gauge(
        "bank_outbox_age_seconds",
        "s",
        "Age of the oldest message that the switch has not taken; 0 when none waits.",
    )
    .by(&[CHANNEL]),
    Metric::counter("bank_lookups_total", "look-ups", "Keys looked up in the DICT for a payer.")
        .by(&[Label::of("end", &["found", "refused", "away"])]),
    Metric::counter("bank_dict_requests_total", "requests", "Requests to the DICT about the bank's own keys.").by(&[
        Label::any("operation"),
        Label::of("end", &["done", "refused", "not_sent", "unknown"]),
    ]),
    Metric::gauge("bank_key_questions", "keys", "Keys that the DICT has still to be asked about."),
    Metric::gauge("bank_keys_missing", "keys", "Keys that the last comparison found on one side only."),
    Metric::counter("bank_keys_moved_total", "keys", "Registrations of keys that went a step on.")
        .by(&[Label::any("state")]),
];
