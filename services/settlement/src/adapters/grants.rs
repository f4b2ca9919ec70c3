//! Rights of the role that serves.

use pix_runtime::pg::Rights;

/// It appends, and may not change what is history.
pub(crate) const RIGHTS: Rights = Rights {
    // The tables whose rows change, some of them in some columns only. A row is locked while it is published or asked
    // for, which takes the right to update it.
    updated: &[
        ("registry", "version"),
        (
            "participant",
            "name, category, state, low_liquidity_centavos, version",
        ),
        ("certificate", "revoked_at"),
        ("outbox_event", ""),
        ("funding_pending", ""),
        ("open_window", ""),
        ("moving_position", ""),
        ("liquidity", ""),
    ],
    // The tables whose rows go: events that are published, orders whose outcome is known, and windows as they
    // close: they are added where nothing changes.
    deleted: &[
        "outbox_event",
        "funding_pending",
        "complete_window",
        "moving_position",
    ],
};
