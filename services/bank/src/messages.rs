//! Between SPI messages and the bank's own values.

use bank_core::{Account, Answer, Counterparty, Destination, IncomingOrder, Payment, StatusReport, Verdict};
use iso20022::{
    Admi002, AppHdr, CreditTransfer, CreditorAccount, DebtorAccount, Document, MessageDefinition,
    Pacs008Group, Party, Remittance, StatusReasonInformation, TransactionStatusReport, UnreadableKind,
    admi_002_document, credit_transfer_fragment, pacs_002_document, pacs_008_document, seal,
    status_report_fragment,
};
use pix_domain::{
    Ispb, Key, LocalInstrument, MsgId, Priority, Purpose, ResourceId, SPI_ISPB, ServiceLevel, Text,
    Timestamp, TransactionStatus,
};
use pix_xmldsig::{KeySource, Signer};

use crate::work::Content;

/// Transactions in one message (rule of the SPI for PAGPRI).
pub(crate) const TRANSACTIONS_MAX: usize = 10;

/// The `Id` of `ds:KeyInfo`; any that is unique within the message will do.
const KEY_INFO_ID: &str = "key-info-id";

/// Signed with a certificate that is not configured: nothing can be said about the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownSigner;

/// Who this bank is on the wire, and what it signs with.
pub(crate) struct Identity {
    pub(crate) ispb: Ispb,
    pub(crate) signer: Signer,
}

impl Identity {
    /// pacs.008 with up to ten orders, at once (HIGH, PAGPRI), by account (MANU) or by key (DICT).
    pub(crate) fn orders(&self, id: MsgId, now: Timestamp, orders: &[(&Payment, &Account)]) -> Vec<u8> {
        let write = |(payment, payer): &(&Payment, &Account)| {
            credit_transfer_fragment(&credit_transfer(self.ispb, payment, payer))
        };
        let fragments: Vec<_> = orders.iter().map(write).collect();
        let group = Pacs008Group {
            priority: Priority::High,
            service_level: ServiceLevel::Priority,
        };
        let document = pacs_008_document(id, now, &group, &fragments);
        self.seal(MessageDefinition::Pacs008, id, now, &document)
    }

    /// pacs.002 with up to ten answers.
    pub(crate) fn answers(&self, id: MsgId, now: Timestamp, answers: &[Answer]) -> Vec<u8> {
        let fragments: Vec<_> = answers
            .iter()
            .map(|answer| status_report_fragment(&status_report(answer)))
            .collect();
        let document = pacs_002_document(id, now, &fragments);
        self.seal(MessageDefinition::Pacs002, id, now, &document)
    }

    /// admi.002: a message of the SPI could not be processed here.
    pub(crate) fn refusal(&self, id: MsgId, now: Timestamp, refusal: &Admi002) -> Vec<u8> {
        self.seal(MessageDefinition::Admi002, id, now, &admi_002_document(refusal))
    }

    fn seal(&self, definition: MessageDefinition, id: MsgId, now: Timestamp, document: &[u8]) -> Vec<u8> {
        let header = AppHdr {
            from: self.ispb,
            to: SPI_ISPB,
            message_id: id,
            definition,
            created_at: now,
        };
        seal(&header, document, &self.signer, KEY_INFO_ID)
    }

    /// Opens a message of the SPI: verified, addressed to us, and signed by the SPI itself.
    ///
    /// # Errors
    /// The signer is unknown, which says more about our settings than about the message.
    pub(crate) fn open(
        &self,
        bytes: &[u8],
        resource_id: ResourceId,
        now: Timestamp,
        spi: &dyn KeySource,
    ) -> Result<(Option<MsgId>, Content), UnknownSigner> {
        let opened = match iso20022::open(bytes, spi) {
            Ok(opened) => opened,
            Err(unreadable) if unreadable.kind == UnreadableKind::UnknownSigner => return Err(UnknownSigner),
            Err(unreadable) => {
                let answer = unreadable.admi_002(resource_id, now);
                return Ok((
                    unreadable.message_id,
                    Content::Unreadable {
                        answer,
                        why: format!("{:?}", unreadable.kind),
                    },
                ));
            }
        };
        let header = &opened.envelope.header;
        let id = header.message_id;
        if header.from != SPI_ISPB || header.to != self.ispb {
            let answer = Admi002 {
                reference: Text::truncated(id.as_str()),
                reason: Text::truncated("Remetente ou destinatário inválido"),
                rejected_at: Some(now),
                location: Some(Text::truncated("AppHdr")),
                description: Some(Text::truncated("Fr must be the SPI and To this participant")),
                additional: None,
            };
            return Ok((
                Some(id),
                Content::Unreadable {
                    answer,
                    why: "Fr or To is wrong".to_owned(),
                },
            ));
        }
        Ok((Some(id), content(opened.envelope.document)))
    }
}

/// What a message counts as whose opening panicked: a bug of ours. It is kept and answered like one that cannot
/// be read; failing on it would meet it again after every restart.
pub(crate) fn unopenable(resource_id: ResourceId, now: Timestamp) -> Content {
    let answer = Admi002 {
        reference: Text::truncated(&resource_id.to_string()),
        reason: Text::truncated("Erro interno"),
        rejected_at: Some(now),
        location: None,
        description: Some(Text::truncated("the participant could not process this message")),
        additional: None,
    };
    Content::Unreadable {
        answer,
        why: "opening it panicked".to_owned(),
    }
}

fn content(document: Document) -> Content {
    match document {
        Document::Pacs008(orders) => Content::Orders(orders.transactions.into_iter().map(incoming).collect()),
        Document::Pacs002(statuses) => {
            let of_payments =
                |report: &TransactionStatusReport| report.original_instruction_id.end_to_end_id().is_some();
            Content::Statuses(
                statuses
                    .transactions
                    .iter()
                    .filter(|r| of_payments(r))
                    .map(status)
                    .collect(),
            )
        }
        Document::Admi002(refusal) => Content::Refusal {
            reference: refusal.reference,
        },
    }
}

fn incoming(tx: CreditTransfer) -> IncomingOrder {
    IncomingOrder {
        end_to_end_id: tx.end_to_end_id,
        amount: tx.amount,
        accepted_at: tx.accepted_at,
        from: Counterparty {
            ispb: tx.debtor_agent,
            branch: tx.debtor_account.branch,
            number: tx.debtor_account.number,
            kind: tx.debtor_account.kind,
            tax_id: tx.debtor.tax_id,
            name: Some(tx.debtor.name),
        },
        to: Destination {
            ispb: tx.creditor_agent,
            branch: tx.creditor_account.branch,
            number: tx.creditor_account.number,
            kind: tx.creditor_account.kind,
            tax_id: tx.creditor,
        },
        purpose: tx.purpose,
        key: tx
            .creditor_account
            .proxy
            .and_then(|key| Key::guess(key.as_str()).ok()),
        description: tx.remittance.and_then(|remittance| remittance.unstructured),
    }
}

fn status(report: &TransactionStatusReport) -> StatusReport {
    StatusReport {
        end_to_end_id: report.original_end_to_end_id,
        status: report.status,
        reason: report.reasons.iter().find_map(|reason| reason.code),
    }
}

fn credit_transfer(ours: Ispb, payment: &Payment, payer: &Account) -> CreditTransfer {
    let to = &payment.counterparty;
    // The account that is debited here is the participant's; the order names its customer.
    let (debtor, debtor_account, debtor_agent) = match &payment.on_behalf_of {
        None => (
            Party {
                name: payer.holder.clone(),
                tax_id: payer.tax_id,
            },
            DebtorAccount {
                number: payer.number,
                branch: Some(payer.branch),
                kind: payer.kind,
            },
            ours,
        ),
        Some(customer) => (
            Party {
                name: customer.name.clone().unwrap_or_else(|| payer.holder.clone()),
                tax_id: customer.tax_id,
            },
            DebtorAccount {
                number: customer.number,
                branch: customer.branch,
                kind: customer.kind,
            },
            customer.ispb,
        ),
    };
    let remittance = payment.description.as_ref().map(|text| Remittance {
        unstructured: Some(text.clone()),
        structured: None,
    });
    CreditTransfer {
        instruction_id: None,
        end_to_end_id: payment.end_to_end_id,
        tx_id: None,
        amount: payment.amount,
        accepted_at: payment.accepted_at,
        local_instrument: match payment.key {
            Some(_) => LocalInstrument::Dict,
            None => LocalInstrument::Manual,
        },
        initiator: None,
        debtor,
        debtor_account,
        debtor_agent,
        creditor_agent: to.ispb,
        creditor: to.tax_id,
        creditor_account: CreditorAccount {
            number: to.number,
            branch: to.branch,
            kind: to.kind,
            proxy: payment.key.as_ref().map(|key| Text::truncated(key.as_str())),
        },
        purpose: Purpose::InstantPayment,
        tax: None,
        remittance,
    }
}

fn status_report(answer: &Answer) -> TransactionStatusReport {
    let (status, reasons) = match answer.verdict {
        Verdict::Accept => (TransactionStatus::AcceptedSettlementInProcess, Vec::new()),
        Verdict::Reject(code) => {
            let reason = StatusReasonInformation {
                code: Some(code),
                additional: Vec::new(),
            };
            (TransactionStatus::Rejected, vec![reason])
        }
    };
    TransactionStatusReport {
        original_instruction_id: answer.end_to_end_id.into(),
        original_end_to_end_id: answer.end_to_end_id,
        status,
        reasons,
        settled_at: None,
        settlement_date: None,
    }
}
