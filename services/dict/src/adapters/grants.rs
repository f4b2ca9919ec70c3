//! Rights of the role that serves.

use pix_runtime::pg::Rights;

/// It appends, and may not change what is history.
pub(crate) const RIGHTS: Rights = Rights {
    // An event is locked while it is published, which takes the right to update it.
    updated: &[
        ("entry", ""),
        ("vsync", ""),
        ("outbox_event", ""),
        ("bucket_debt", ""),
        ("settled_to_person", ""),
        ("settled_to_key", ""),
        ("participant_copy", ""),
        ("participant_copy_state", ""),
    ],
    // Keys that are removed, events that are published, debts that are paid, batches that cannot come again.
    deleted: &["entry", "outbox_event", "bucket_debt", "settled_batch"],
};
