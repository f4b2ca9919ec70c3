//! A participant as the load needs it: signs orders and answers, reads its stream.

use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use iso20022::{
    AppHdr, CreditTransfer, CreditorAccount, DebtorAccount, Document, MessageDefinition, Pacs008Group, Party,
    TransactionStatusReport,
};
use pix_domain::{
    AccountNumber, AccountType, EndToEndId, Ispb, LocalInstrument, Money, MsgId, Priority, Purpose, SPI_ISPB,
    ServiceLevel, TaxId, Text, TransactionStatus,
};
use pix_icom::{Channel, Icom, Said};
use pix_runtime::http::{Client, ClientLimits};
use pix_runtime::{Clock as _, Ids, SystemClock, tls};
use pix_xmldsig::{Signer, VerifyingKey};

/// One participant.
#[derive(Clone)]
pub(crate) struct Bank {
    pub(crate) icom: Icom,
    signer: Signer,
    spi: VerifyingKey,
    ids: Ids,
}

impl Bank {
    /// Reads a folder that `pix pki participant` wrote.
    pub(crate) fn load(ispb: Ispb, folder: &Path, spi: &str) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let tls = tls::client(&read("channel.crt")?, &read("channel.key")?, &read("ca.crt")?)?;
        Ok(Self {
            icom: Icom {
                client: Client::new(&tls, ClientLimits::default()),
                channel: Channel::Primary,
                base: spi.trim_end_matches('/').to_owned(),
                ispb,
            },
            signer: Signer::from_pem(&read("signature.crt")?, &read("signature.key")?)?,
            spi: VerifyingKey::from_certificate_pem(&read("spi-signature.crt")?)?,
            ids: Ids::system(),
        })
    }

    /// An order of `count` payments of one centavo, signed.
    pub(crate) fn order(&self, receiver: Ispb, count: usize) -> anyhow::Result<(Vec<EndToEndId>, Bytes)> {
        let now = SystemClock.now().to_millis();
        let mut fragments = Vec::with_capacity(count);
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            let id = EndToEndId::new(self.icom.ispb, now, self.ids.u128());
            ids.push(id);
            fragments.push(iso20022::credit_transfer_fragment(&CreditTransfer {
                instruction_id: None,
                end_to_end_id: id,
                tx_id: None,
                amount: Money::from_centavos(1),
                accepted_at: now,
                local_instrument: LocalInstrument::Manual,
                initiator: None,
                debtor: Party {
                    name: Text::parse("Fulano da Silva")?,
                    tax_id: TaxId::parse(b"52998224725")?,
                },
                debtor_account: DebtorAccount {
                    number: AccountNumber::parse(b"1")?,
                    branch: None,
                    kind: AccountType::Current,
                },
                debtor_agent: self.icom.ispb,
                creditor_agent: receiver,
                creditor: TaxId::parse(b"52998224725")?,
                creditor_account: CreditorAccount {
                    number: AccountNumber::parse(b"1")?,
                    branch: None,
                    kind: AccountType::Current,
                    proxy: None,
                },
                purpose: Purpose::InstantPayment,
                tax: None,
                remittance: None,
            }));
        }
        let message_id = MsgId::new(self.icom.ispb, self.ids.u128());
        let group = Pacs008Group {
            priority: Priority::High,
            service_level: ServiceLevel::Priority,
        };
        let document = iso20022::pacs_008_document(message_id, now, &group, &fragments);
        Ok((ids, self.seal(message_id, MessageDefinition::Pacs008, &document)))
    }

    /// Accepts payments.
    pub(crate) fn accept(&self, payments: &[EndToEndId]) -> Bytes {
        let fragments: Vec<_> = payments
            .iter()
            .map(|id| {
                iso20022::status_report_fragment(&TransactionStatusReport {
                    original_instruction_id: (*id).into(),
                    original_end_to_end_id: *id,
                    status: TransactionStatus::AcceptedSettlementInProcess,
                    reasons: Vec::new(),
                    settled_at: None,
                    settlement_date: None,
                })
            })
            .collect();
        let message_id = MsgId::new(self.icom.ispb, self.ids.u128());
        let document = iso20022::pacs_002_document(message_id, SystemClock.now().to_millis(), &fragments);
        self.seal(message_id, MessageDefinition::Pacs002, &document)
    }

    fn seal(&self, message_id: MsgId, definition: MessageDefinition, document: &[u8]) -> Bytes {
        let created_at = SystemClock.now().to_millis();
        let header = AppHdr {
            from: self.icom.ispb,
            to: SPI_ISPB,
            message_id,
            definition,
            created_at,
        };
        iso20022::seal(&header, document, &self.signer, "key-info-id").into()
    }

    /// Posts once; anything but a 201 ends the run.
    pub(crate) async fn post(&self, message: Bytes) -> anyhow::Result<()> {
        match self.icom.post(message).await {
            Said::Taken(_) => Ok(()),
            other => anyhow::bail!("the switch did not take a message: {other:?}"),
        }
    }

    /// Opens what the SPI sent.
    pub(crate) fn open(&self, message: &[u8]) -> anyhow::Result<Document> {
        let opened = iso20022::open(message, &self.spi);
        opened
            .map(|opened| opened.envelope.document)
            .map_err(|why| anyhow::anyhow!("not readable: {}", why.reason))
    }
}
