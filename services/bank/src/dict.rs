//! The DICT, as this bank asks it.

use bank_core::{Account, DictRefusal, Registration, Said};
use pix_dict_api::{Entry, NewEntry, Owner};
use pix_dict_client::{Dict, Failure};
use pix_domain::{EndToEndId, Ispb, Key, TaxId, Text, Timestamp};
use pix_runtime::Clock;
use pix_xmldsig::{IssuerSerial, KeySource, VerifyingKey};

/// `Reason` of what a customer asked for.
const USER_REQUESTED: &str = "USER_REQUESTED";
/// `Reason` of what makes the copy and the DICT the same again.
const RECONCILIATION: &str = "RECONCILIATION";

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

/// The certificates that answers of the DICT are signed with; two around a renewal. Answers come at once, so one that
/// is signed by a certificate that is not valid now is not to be trusted.
pub(crate) struct DictKeys<C> {
    pub(crate) keys: Vec<VerifyingKey>,
    pub(crate) clock: C,
}

impl<C: Clock> KeySource for DictKeys<C> {
    fn find(&self, issuer_serial: &IssuerSerial) -> Option<VerifyingKey> {
        let now = self.clock.now().as_micros() / 1_000_000;
        let known = |key: &&VerifyingKey| key.issuer_serial() == issuer_serial && key.is_valid_at(now);
        self.keys.iter().find(known).cloned()
    }
}

impl Directory {
    pub(crate) fn new(dict: Dict, ours: Ispb) -> Self {
        Self { dict, ours }
    }

    /// createEntry for an account of ours: the key that the DICT has now, and since when.
    pub(crate) async fn create(
        &self,
        registration: &Registration,
        account: &Account,
        opened_at: Timestamp,
    ) -> Said<(Key, Timestamp)> {
        let entry = NewEntry {
            kind: registration.kind,
            key: registration.key.clone(),
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
        let reason = if registration.repairs {
            RECONCILIATION
        } else {
            USER_REQUESTED
        };
        let made = self.dict.create_entry(&entry, reason, registration.request_id);
        let made = made.await;
        said(made.map(|entry| (entry.key, entry.created_at)))
    }

    /// deleteEntry of an entry that stands in the way of a registration.
    pub(crate) async fn clear(&self, key: &Key) -> Said<()> {
        said(self.dict.delete_entry(key, RECONCILIATION).await.map(drop))
    }

    /// deleteEntry. When the DICT forbids it, the key may be another bank's by now: a look-up for its former
    /// owner tells. Only that the key is this bank's own makes it a refusal.
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
            Err(LookupFailure::Refused(DictRefusal::BookTransfer)) => said,
            Ok(_) | Err(_) => Said::Unknown,
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

#[cfg(test)]
mod tests {
    use pix_runtime::{Clock as _, ManualClock, SystemClock};
    use pix_testkit::TestPki;

    use super::*;

    #[tokio::test]
    async fn a_certificate_verifies_while_it_is_valid() {
        let key = TestPki::shared()
            .await
            .service_signer("dict")
            .verifying_key()
            .clone();
        let issuer_serial = key.issuer_serial().clone();
        let now = SystemClock.now().as_micros();
        let century = 100 * 365 * 86_400 * 1_000_000;
        for (at, known) in [(now, true), (now - century, false), (now + century, false)] {
            let keys = DictKeys {
                keys: vec![key.clone()],
                clock: ManualClock::at(Timestamp::from_micros(at)),
            };
            assert_eq!(keys.find(&issuer_serial).is_some(), known, "{at}");
        }
    }
}
