//! Rights of the role that the service writes with.

use pix_runtime::pg::Rights;

/// It appends, and may not change what is audited.
pub(crate) const RIGHTS: Rights = Rights {
    // Balances, marks of progress that can be lost, and the copy of the participants.
    updated: &[
        ("account", ""),
        ("event_cursor", ""),
        ("delivery_checkpoint", ""),
        ("participant_copy", ""),
        ("participant_copy_state", ""),
    ],
    deleted: &[],
};
