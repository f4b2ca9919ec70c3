//! One participant: its keys, its connections, and the messages it writes.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use iso20022::{
    AppHdr, CreditTransfer, CreditorAccount, DebtorAccount, MessageDefinition, Opened, Pacs008Group, Party,
    StatusReasonInformation, TransactionStatusReport,
};
use pix_dict_client::Dict;
use pix_domain::{
    AccountNumber, AccountType, EndToEndId, Ispb, Key, LocalInstrument, Money, MsgId, Priority, Purpose,
    SPI_ISPB, ServiceLevel, StatusReason, TaxId, Text, Timestamp, TransactionStatus,
};
use pix_icom::{Channel, Icom};
use pix_runtime::http::{Client, ClientLimits};
use pix_runtime::{Ids, tls};
use pix_xmldsig::{Signer, VerifyingKey, vector};

/// Of the signature's KeyInfo: each message has one only.
const KEY_INFO_ID: &str = "key-info-id";

/// One participant. Clones share its connections.
#[derive(Clone)]
pub(crate) struct Bank {
    pub(crate) icom: Icom,
    pub(crate) dict: Dict,
    signer: Signer,
    spi: VerifyingKey,
    ids: Ids,
}

/// One payment of an order.
pub(crate) struct Payment {
    pub(crate) id: EndToEndId,
    pub(crate) centavos: u64,
    /// Who pays, when that was looked up with.
    pub(crate) payer: TaxId,
    /// The key that was looked up; none of a payment by account.
    pub(crate) key: Option<Key>,
}

/// An answer to one payment.
pub(crate) struct Answer {
    pub(crate) id: EndToEndId,
    pub(crate) accepts: bool,
}

impl Bank {
    /// Reads a folder that `pix pki participant` wrote.
    pub(crate) fn load(
        ispb: Ispb,
        folder: &Path,
        spi: &str,
        dict: &str,
        dict_np: &str,
        connections: usize,
    ) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let tls = tls::client(&read("channel.crt")?, &read("channel.key")?, &read("ca.crt")?)?;
        let limits = ClientLimits {
            idle_max: connections,
            ..ClientLimits::default()
        };
        let client = Client::new(&tls, limits);
        let signer = Signer::from_pem(&read("signature.crt")?, &read("signature.key")?)?;
        Ok(Self {
            icom: Icom {
                client: client.clone(),
                channel: Channel::Primary,
                base: spi.to_owned(),
                ispb,
            },
            dict: Dict {
                client,
                base: dict.to_owned(),
                np_base: dict_np.to_owned(),
                ispb,
                signer: signer.clone(),
                keys: Arc::new(VerifyingKey::from_certificate_pem(&read("dict-signature.crt")?)?),
            },
            signer,
            spi: VerifyingKey::from_certificate_pem(&read("spi-signature.crt")?)?,
            ids: Ids::system(),
        })
    }

    pub(crate) fn ispb(&self) -> Ispb {
        self.icom.ispb
    }

    /// Whether the DICT answers it. Asks for the state of a bucket: of all questions the one with the widest limit that
    /// is no look-up.
    pub(crate) async fn dict_answers(&self) -> bool {
        self.dict.policy("ENTRIES_WRITE").await.is_ok()
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.ids
    }

    /// An order, signed; `at` is when its customers asked for it and when it is made.
    pub(crate) fn order(&self, receiver: Ispb, payments: &[Payment], at: Timestamp) -> Bytes {
        let fragments: Vec<_> = payments
            .iter()
            .map(|payment| iso20022::credit_transfer_fragment(&self.transfer(receiver, payment, at)))
            .collect();
        let message_id = MsgId::new(self.ispb(), self.ids.u128());
        let group = Pacs008Group {
            priority: Priority::High,
            service_level: ServiceLevel::Priority,
        };
        let document = iso20022::pacs_008_document(message_id, at, &group, &fragments);
        self.seal(message_id, MessageDefinition::Pacs008, at, &document)
    }

    fn transfer(&self, receiver: Ispb, payment: &Payment, at: Timestamp) -> CreditTransfer {
        let number = || AccountNumber::parse(b"1").expect("a number");
        let proxy = payment
            .key
            .as_ref()
            .map(|key| Text::parse(key.as_str()).expect("a key has 77 characters at most"));
        CreditTransfer {
            instruction_id: None,
            end_to_end_id: payment.id,
            tx_id: None,
            amount: Money::from_centavos(payment.centavos),
            accepted_at: at,
            local_instrument: if proxy.is_some() {
                LocalInstrument::Dict
            } else {
                LocalInstrument::Manual
            },
            initiator: None,
            debtor: Party {
                name: Text::parse("Fulano da Silva").expect("a name"),
                tax_id: payment.payer,
            },
            debtor_account: DebtorAccount {
                number: number(),
                branch: None,
                kind: AccountType::Current,
            },
            debtor_agent: self.ispb(),
            creditor_agent: receiver,
            creditor: receiver_tax_id(),
            creditor_account: CreditorAccount {
                number: number(),
                branch: None,
                kind: AccountType::Current,
                proxy,
            },
            purpose: Purpose::InstantPayment,
            tax: None,
            remittance: None,
        }
    }

    /// Accepts payments, or refuses them: AC03, the account is not there.
    pub(crate) fn answer(&self, answers: &[Answer], at: Timestamp) -> Bytes {
        let fragments: Vec<_> = answers
            .iter()
            .map(|answer| {
                let reason = StatusReasonInformation {
                    code: Some(StatusReason::parse(b"AC03").expect("a code of the catalogue")),
                    additional: Vec::new(),
                };
                iso20022::status_report_fragment(&TransactionStatusReport {
                    original_instruction_id: answer.id.into(),
                    original_end_to_end_id: answer.id,
                    status: if answer.accepts {
                        TransactionStatus::AcceptedSettlementInProcess
                    } else {
                        TransactionStatus::Rejected
                    },
                    reasons: if answer.accepts { Vec::new() } else { vec![reason] },
                    settled_at: None,
                    settlement_date: None,
                })
            })
            .collect();
        let message_id = MsgId::new(self.ispb(), self.ids.u128());
        let document = iso20022::pacs_002_document(message_id, at, &fragments);
        self.seal(message_id, MessageDefinition::Pacs002, at, &document)
    }

    fn seal(
        &self,
        message_id: MsgId,
        definition: MessageDefinition,
        at: Timestamp,
        document: &[u8],
    ) -> Bytes {
        let header = AppHdr {
            from: self.ispb(),
            to: SPI_ISPB,
            message_id,
            definition,
            created_at: at,
        };
        iso20022::seal(&header, document, &self.signer, KEY_INFO_ID).into()
    }

    /// Reads what the SPI sent; nothing when its signature or form is not to be believed.
    pub(crate) fn open(&self, message: &[u8]) -> Option<Opened> {
        iso20022::open(message, &self.spi).ok()
    }
}

/// A message that `form` signs: here, or, where signatures can be made together, on a thread that may wait for others.
pub(crate) async fn signed(form: impl FnOnce() -> Bytes + Send + 'static) -> Bytes {
    if vector::lanes().is_none() {
        return form();
    }
    let signed = tokio::task::spawn_blocking(form).await;
    signed.expect("signing does not panic")
}

/// Who is paid: one customer for all, whom no limit counts.
pub(crate) fn receiver_tax_id() -> TaxId {
    TaxId::parse(b"52998224725").expect("a CPF")
}
