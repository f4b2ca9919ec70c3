//! The DICT, as this bank asks it.

use bank_core::{Account, DictRefusal, Said};
use pix_dict_api::{Entry, NewEntry, Owner};
use pix_dict_client::{Dict, Failure};
use pix_domain::{EndToEndId, Ispb, Key, KeyType, RequestId, TaxId, Text, Timestamp};
use pix_xmldsig::{IssuerSerial, KeySource, VerifyingKey};

/// `Reason` of what a customer asked for.
const USER_REQUESTED: &str = "USER_REQUESTED";

/// The DICT. Clones share its connections.
#[derive(Clone)]
pub(crate) struct Directory {
    dict: Dict,
    ours: Ispb,
}

/// Why a look-up gives nobody.
#[derive(Debug)]
pub(crate) enum LookupFailure {
    /// The DICT says no.
    Refused(DictRefusal),
    /// The DICT was not reached, or what came is not to be trusted.
    Away(String),
}

/// The certificates that answers of the DICT are signed with; two around a renewal.
pub(crate) struct DictKeys(pub(crate) Vec<VerifyingKey>);

impl KeySource for DictKeys {
    fn find(&self, issuer_serial: &IssuerSerial) -> Option<VerifyingKey> {
        let known = |key: &&VerifyingKey| key.issuer_serial() == issuer_serial;
        self.0.iter().find(known).cloned()
    }
}

impl Directory {
    pub(crate) fn new(dict: Dict, ours: Ispb) -> Self {
        Self { dict, ours }
    }

    /// createEntry for an account of ours: the key that the DICT has now, and since when.
    pub(crate) async fn create(
        &self,
        request_id: RequestId,
        kind: KeyType,
        key: Option<&Key>,
        account: &Account,
        opened_at: Timestamp,
    ) -> Said<(Key, Timestamp)> {
        let entry = NewEntry {
            kind,
            key: key.cloned(),
            account: pix_dict_api::Account {
                participant: self.ours,
                branch: Some(account.branch),
                number: account.number,
                kind: account.kind,
                opened_at,
            },
            owner: Owner {
                tax_id: account.tax_id,
                name: Text::truncated(account.holder.as_str()),
                trade_name: None,
            },
        };
        let made = self.dict.create_entry(&entry, USER_REQUESTED, request_id).await;
        said(made.map(|entry| (entry.key, entry.created_at)))
    }

    /// deleteEntry. When the DICT forbids it, the key may be another bank's by now: a look-up for its former
    /// owner tells.
    pub(crate) async fn remove(&self, key: &Key, owner: TaxId, id: EndToEndId) -> Said<()> {
        let said = said(self.dict.delete_entry(key, USER_REQUESTED).await.map(drop));
        if said != Said::Refused(DictRefusal::Forbidden) {
            return said;
        }
        match self.look_up(key, owner, id).await {
            Ok(entry) if entry.account.participant != self.ours => {
                Said::Refused(DictRefusal::InCustodyOfDifferentParticipant)
            }
            Err(LookupFailure::Refused(DictRefusal::NotFound)) => Said::Refused(DictRefusal::NotFound),
            Ok(_) | Err(_) => said,
        }
    }

    /// getEntry for a payer, under the id that the payment will have.
    pub(crate) async fn look_up(
        &self,
        key: &Key,
        payer: TaxId,
        id: EndToEndId,
    ) -> Result<Entry, LookupFailure> {
        let found = self.dict.get_entry(key, payer, id, false).await;
        found.map_err(|failure| match failure {
            Failure::Refused(problem) => LookupFailure::Refused(DictRefusal::parse(problem.kind.as_str())),
            Failure::Unknown(why) | Failure::NotSent(why) | Failure::Untrusted(why) => {
                LookupFailure::Away(why)
            }
        })
    }

    /// checkKeys: for each, whether anybody has registered it.
    pub(crate) async fn check(&self, keys: &[String]) -> Result<Vec<bool>, String> {
        self.dict.check_keys(keys).await.map_err(|failure| match failure {
            Failure::Refused(problem) => problem.kind.as_str().to_owned(),
            Failure::Unknown(why) | Failure::NotSent(why) | Failure::Untrusted(why) => why,
        })
    }
}

fn said<T>(asked: Result<T, Failure>) -> Said<T> {
    let (said, why) = match asked {
        Ok(done) => return Said::Done(done),
        Err(Failure::Refused(problem)) => return Said::Refused(DictRefusal::parse(problem.kind.as_str())),
        Err(Failure::NotSent(why)) => (Said::NotSent, why),
        Err(Failure::Unknown(why) | Failure::Untrusted(why)) => (Said::Unknown, why),
    };
    tracing::info!(why, "the DICT gave no answer to a question about a key");
    said
}
