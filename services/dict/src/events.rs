//! What the rest of the switch is told: one event for each change of an entry.

use pix_domain::Cid;
use pix_proto::dict_v1 as proto;
use pix_runtime::outbox::Event;
use prost::Message as _;

use crate::adapters::nats_events::{ENTRY_CREATED, ENTRY_DELETED, ENTRY_UPDATED};
use crate::adapters::pg_entries::{Change, Version};

/// The event of a version; `before` is the identifier that it replaces.
pub(crate) fn of(version: &Version<'_>, before: Option<&Cid>) -> Event {
    let entry = &version.stored.entry;
    let cid = version.stored.cid.to_string();
    let (subject, cid_before, cid_after) = match version.change {
        Change::Created => (ENTRY_CREATED, None, Some(cid)),
        Change::Updated => (ENTRY_UPDATED, before.map(Cid::to_string), Some(cid)),
        Change::Deleted => (ENTRY_DELETED, Some(cid), None),
    };
    let changed = proto::EntryChanged {
        sequence: version.sequence,
        changed_at_micros: version.at.as_micros(),
        key_type: entry.key.kind().as_str().to_owned(),
        key: entry.key.as_str().to_owned(),
        participant: entry.account.participant.to_string(),
        reason: version.reason.to_owned(),
        cid_before,
        cid_after,
    };
    Event {
        subject,
        payload: changed.encode_to_vec(),
    }
}
