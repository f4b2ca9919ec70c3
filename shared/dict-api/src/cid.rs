//! Content identifiers (DICT API 2.12.1, tag Reconciliation).

use aws_lc_rs::hmac;
use pix_domain::{Cid, Key, RequestId};

use crate::{Account, Owner};

/// HMAC-SHA256, with the 16 bytes of the RequestId as its key, over the essential attributes joined by `&`; what
/// is absent is empty.
#[must_use]
pub fn cid(request_id: &RequestId, key: &Key, account: &Account, owner: &Owner) -> Cid {
    let branch = account
        .branch
        .map_or_else(String::new, |branch| branch.to_string());
    let attributes = [
        key.kind().as_str(),
        key.as_str(),
        owner.tax_id.as_str(),
        owner.name.as_str(),
        owner.trade_name.as_ref().map_or("", |name| name.as_str()),
        account.participant.as_str(),
        &branch,
        account.number.as_str(),
        account.kind.as_str(),
    ];
    of_attributes(request_id, &attributes.join("&"))
}

fn of_attributes(request_id: &RequestId, attributes: &str) -> Cid {
    let key = hmac::Key::new(hmac::HMAC_SHA256, request_id.as_bytes());
    let tag = hmac::sign(&key, attributes.as_bytes());
    Cid::from_bytes(tag.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}
