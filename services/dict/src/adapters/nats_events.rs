//! Subjects and stream of the DICT's events.

use pix_runtime::outbox::Origin;

/// A key was registered.
pub(crate) const ENTRY_CREATED: &str = "pix.dict.entry_created.v1";
/// The account or a name of an entry changed.
pub(crate) const ENTRY_UPDATED: &str = "pix.dict.entry_updated.v1";
/// A key was removed.
pub(crate) const ENTRY_DELETED: &str = "pix.dict.entry_deleted.v1";

/// The events of the DICT.
pub(crate) static ORIGIN: Origin = Origin {
    service: "dict",
    stream: "PIX_DICT",
    subjects: "pix.dict.*.v1",
    published: "dict_events_published_total",
    failures: "dict_event_failures_total",
    age: "dict_outbox_age_seconds",
};
