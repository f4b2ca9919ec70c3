//! Signed answers.

use std::borrow::Cow;

use bytes::Bytes;
use pix_dict_api::{CorrelationId, Entry, EntryResponse, EntryRoot, Head, Response, Statistics};
use pix_domain::Timestamp;

use crate::sealer::Sealer;

/// The Id of the signature's KeyInfo, as in the Central Bank's own client.
pub(crate) const KEY_INFO_ID: &str = "key-info-id";

/// The answer to one request: when, and the number by which both sides find it again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answering {
    pub(crate) at: Timestamp,
    pub(crate) correlation_id: CorrelationId,
}

impl Answering {
    /// The head of the answer.
    pub(crate) fn head(self) -> Head {
        Head {
            at: self.at,
            correlation_id: self.correlation_id,
        }
    }
}

/// The answer with an entry.
pub(crate) fn with_entry(
    root: EntryRoot,
    answering: Answering,
    entry: Entry,
    statistics: Option<Statistics>,
) -> Response<'static> {
    Response::Entry(EntryResponse {
        root,
        head: answering.head(),
        entry: Cow::Owned(entry),
        statistics: statistics.map(Cow::Owned),
    })
}

/// Writes and signs an answer.
pub(crate) async fn signed(sealer: &Sealer, response: Response<'static>) -> Bytes {
    sealer
        .seal(move |signer| pix_dict_api::seal_response(&response, signer, KEY_INFO_ID).into())
        .await
}
