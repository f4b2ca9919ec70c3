//! Paying on request: 99999A03's Fulano, account 1 of branch 1, as homologation has him.

use iso20022::{CreditTransfer, CreditorAccount, DebtorAccount, Pacs008Group, Party};
use pix_domain::{
    AccountNumber, AccountType, Branch, EndToEndId, Ispb, Key, LocalInstrument, Money, Priority, Purpose,
    ServiceLevel, TaxId, Text, Timestamp,
};
use pix_icom::Channel;
use serde::Deserialize;

/// Who pays, always: account, CPF and name are those of the virtual payer of homologation.
const PAYER_NAME: &str = "Fulano";
const PAYER_TAX_ID: &[u8] = b"11111111111";
const PAYER_ACCOUNT: &[u8] = b"1";
const PAYER_BRANCH: &[u8] = b"1";

/// Who is to be paid, as it is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    from: Option<String>,
    to: String,
    branch: Option<String>,
    number: String,
    #[serde(rename = "type")]
    kind: String,
    tax_id: String,
    amount: String,
    key: Option<String>,
    service_level: Option<String>,
}

/// The same, read.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Whose customer pays; the first of the participants unless said.
    pub(crate) from: Option<Ispb>,
    to: Ispb,
    account: CreditorAccount,
    tax_id: TaxId,
    amount: Money,
    service_level: ServiceLevel,
}

impl TryFrom<Asked> for Request {
    type Error = String;

    fn try_from(asked: Asked) -> Result<Self, String> {
        let ispb =
            |field: &str, text: &str| Ispb::parse(text.as_bytes()).map_err(|e| format!("{field}: {e}"));
        let key = asked.key.as_deref().map(Key::guess).transpose();
        let branch = asked.branch.map(|branch| Branch::parse(branch.as_bytes()));
        let level = asked
            .service_level
            .map(|level| ServiceLevel::parse(level.as_bytes()));
        Ok(Self {
            from: asked.from.map(|from| ispb("from", &from)).transpose()?,
            to: ispb("to", &asked.to)?,
            account: CreditorAccount {
                number: AccountNumber::parse(asked.number.as_bytes()).map_err(|e| format!("number: {e}"))?,
                branch: branch.transpose().map_err(|e| format!("branch: {e}"))?,
                kind: AccountType::parse(asked.kind.as_bytes()).map_err(|e| format!("type: {e}"))?,
                proxy: key
                    .map_err(|e| format!("key: {e}"))?
                    .map(|key| Text::truncated(key.as_str())),
            },
            tax_id: TaxId::parse(asked.tax_id.as_bytes()).map_err(|e| format!("tax_id: {e}"))?,
            amount: Money::parse(asked.amount.as_bytes()).map_err(|e| format!("amount: {e}"))?,
            service_level: level
                .transpose()
                .map_err(|_| "service_level: PAGPRI, PAGFRD or PAGAGD")?
                .unwrap_or(ServiceLevel::Priority),
        })
    }
}

impl Request {
    /// HIGH for what is paid at once, NORM for what was held or scheduled.
    pub(crate) fn group(&self) -> Pacs008Group {
        Pacs008Group {
            priority: match self.service_level {
                ServiceLevel::Priority => Priority::High,
                ServiceLevel::FraudAnalysis | ServiceLevel::Scheduled => Priority::Normal,
            },
            service_level: self.service_level,
        }
    }

    /// Where such an order goes.
    pub(crate) fn channel(&self) -> Channel {
        match self.service_level {
            ServiceLevel::Priority | ServiceLevel::FraudAnalysis => Channel::Primary,
            ServiceLevel::Scheduled => Channel::Secondary,
        }
    }

    /// The order of `from`'s customer.
    pub(crate) fn order(&self, from: Ispb, now: Timestamp, chance: u128) -> CreditTransfer {
        CreditTransfer {
            instruction_id: None,
            end_to_end_id: EndToEndId::new(from, now, chance),
            tx_id: None,
            amount: self.amount,
            accepted_at: now,
            local_instrument: match self.account.proxy {
                Some(_) => LocalInstrument::Dict,
                None => LocalInstrument::Manual,
            },
            initiator: None,
            debtor: Party {
                name: Text::truncated(PAYER_NAME),
                tax_id: TaxId::parse(PAYER_TAX_ID).expect("eleven digits"),
            },
            debtor_account: DebtorAccount {
                number: AccountNumber::parse(PAYER_ACCOUNT).expect("a number"),
                branch: Some(Branch::parse(PAYER_BRANCH).expect("a number")),
                kind: AccountType::Current,
            },
            debtor_agent: from,
            creditor_agent: self.to,
            creditor: self.tax_id,
            creditor_account: self.account.clone(),
            purpose: Purpose::InstantPayment,
            tax: None,
            remittance: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(extra: &str) -> Result<Request, String> {
        let json = format!(
            r#"{{"to": "22222222", "branch": "0001", "number": "200001", "type": "CACC",
                "tax_id": "70020050496", "amount": "5.00"{extra}}}"#
        );
        let asked: Asked = serde_json::from_str(&json).map_err(|e| e.to_string())?;
        asked.try_into()
    }

    fn order(extra: &str) -> CreditTransfer {
        let from = Ispb::parse(b"99999A03").expect("an ISPB");
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        request(extra).expect("sound").order(from, now, 7)
    }

    #[test]
    fn fulano_pays_by_account_and_by_key() {
        let by_account = order("");
        assert_eq!(by_account.debtor.name.as_str(), "Fulano");
        assert_eq!(by_account.debtor.tax_id.as_str(), "11111111111");
        assert_eq!(by_account.debtor_account.number.as_str(), "1");
        assert_eq!(by_account.local_instrument, LocalInstrument::Manual);
        let by_key = order(r#", "key": "+5581990200001""#);
        assert_eq!(by_key.local_instrument, LocalInstrument::Dict);
        assert!(by_key.creditor_account.proxy.is_some());
    }

    #[test]
    fn the_service_level_brings_priority_and_channel() {
        for (level, priority, channel) in [
            ("PAGPRI", Priority::High, Channel::Primary),
            ("PAGFRD", Priority::Normal, Channel::Primary),
            ("PAGAGD", Priority::Normal, Channel::Secondary),
        ] {
            let request = request(&format!(r#", "service_level": "{level}""#)).expect(level);
            assert_eq!((request.group().priority, request.channel()), (priority, channel));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_field() {
        for (extra, said) in [
            (r#", "from": "1""#, "from: "),
            (r#", "key": "nobody""#, "key: "),
            (r#", "service_level": "HIGH""#, "service_level: "),
            (r#", "whom": "B""#, "unknown field"),
        ] {
            let error = request(extra).expect_err(extra);
            assert!(error.contains(said), "{extra}: {error}");
        }
    }
}
