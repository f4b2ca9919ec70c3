//! From the bytes of a posted message to what the book understands: verify, attribute, examine.

use std::panic::{AssertUnwindSafe, catch_unwind};

use iso20022::{Document, Pacs002, TransactionStatusReport, Unreadable};
use pix_domain::{Ispb, ResourceId, SPI_ISPB, Timestamp, TransactionStatus};
use pix_xmldsig::VerifyingKey;
use spi_core::book::{Answer, Content, Inbound, Says};
use spi_core::order::{self, Context, Refusal};
use spi_core::outgoing::{Channel, MessageRefusal, TRANSACTIONS_MAX};

use crate::registry::Registry;

/// What is known of a message before its bytes are looked at.
pub(crate) struct Posted<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) digest: [u8; 32],
    pub(crate) sender: Ispb,
    pub(crate) channel: Channel,
    pub(crate) received_at: Timestamp,
    pub(crate) resource_id: ResourceId,
}

/// Reads a message. Whatever is wrong with it becomes a refusal that travels on the stream.
pub(crate) fn read(posted: &Posted<'_>, registry: &Registry) -> Inbound {
    let read = catch_unwind(AssertUnwindSafe(|| content(posted, registry)));
    let content = read
        .unwrap_or_else(|_| Err(internal_error(posted.resource_id)))
        .unwrap_or_else(Content::Unreadable);
    Inbound {
        resource_id: posted.resource_id,
        sender: posted.sender,
        channel: posted.channel,
        received_at: posted.received_at,
        digest: posted.digest,
        content,
    }
}

/// Reading it panicked: a bug of ours. Its bytes are kept, and its sender hears of it.
fn internal_error(resource_id: ResourceId) -> MessageRefusal {
    metrics::counter!("spi_dead_letters_total").increment(1);
    tracing::error!(message.resource_id = %resource_id, "a message could not be read; its bytes are in message_in");
    MessageRefusal {
        reference: resource_id.to_string(),
        reason: "Erro interno".to_owned(),
        location: None,
        description: Some("the SPI could not process this message; its operator was told".to_owned()),
        additional: None,
    }
}

fn content(posted: &Posted<'_>, registry: &Registry) -> Result<Content, MessageRefusal> {
    let opened = iso20022::open(posted.bytes, &registry.directory)
        .map_err(|unreadable| unreadable_refusal(unreadable, posted.resource_id))?;
    let header = &opened.envelope.header;
    let refuse = |reason: &str, location: &str, description: &str| MessageRefusal {
        reference: header.message_id.to_string(),
        reason: reason.to_owned(),
        location: Some(location.to_owned()),
        description: Some(description.to_owned()),
        additional: None,
    };
    let signer = registry.directory.signer(&opened.signer);
    if signer.as_ref().map(|(ispb, _)| *ispb) != Some(header.from) {
        // The SPI's own words (QA 221).
        let words = "O ISPB do remetente não é o mesmo da Assinatura XML";
        return Err(refuse("Assinatura inválida", "AppHdr/Sgntr", words));
    }
    let valid = |key: &VerifyingKey| key.is_valid_at(posted.received_at.as_micros() / 1_000_000);
    if !signer.is_some_and(|(_, key)| valid(&key)) {
        let words = "the signature certificate has expired, or is not valid yet";
        return Err(refuse("Assinatura inválida", "AppHdr/Sgntr", words));
    }
    if header.from != posted.sender {
        return Err(refuse(
            "Remetente inválido",
            "AppHdr/Fr",
            "Fr is not the participant of the channel certificate",
        ));
    }
    if header.to != SPI_ISPB {
        return Err(refuse(
            "Destinatário inválido",
            "AppHdr/To",
            "a participant writes to the SPI, 00038166",
        ));
    }
    iso20022::rules::check_header(&opened.envelope)
        .map_err(|why| refuse("MsgId inválido", "AppHdr/BizMsgIdr", why))?;
    match &opened.envelope.document {
        Document::Pacs008(message) => {
            let context = Context {
                sender: posted.sender,
                participants: &registry.participants,
                received_at: posted.received_at,
            };
            Ok(Content::Orders {
                message_id: header.message_id,
                orders: order::examine(message, &context, pix_xmldsig::digest),
            })
        }
        Document::Pacs002(message) => {
            if message.transactions.len() > TRANSACTIONS_MAX {
                let words = "a pacs.002 carries at most 10 transactions";
                return Err(refuse("Quantidade inválida", "TxInfAndSts", words));
            }
            Ok(Content::Answers {
                message_id: header.message_id,
                answers: answers(message),
            })
        }
        Document::Admi002(complaint) => Ok(Content::Complaint {
            message_id: header.message_id,
            reference: complaint.reference.clone(),
            reason: complaint.reason.clone(),
        }),
    }
}

fn answers(message: &Pacs002) -> Vec<Answer> {
    message
        .transactions
        .iter()
        .map(|report| Answer {
            end_to_end_id: report.original_end_to_end_id,
            says: says(report),
        })
        .collect()
}

fn says(report: &TransactionStatusReport) -> Says {
    if let Err(why) = iso20022::rules::check_participant_status(report) {
        return Says::Nonsense(why);
    }
    match report.original_instruction_id.end_to_end_id() {
        None => return Says::Nonsense("returns (pacs.004) are not settled by this SPI yet"),
        Some(id) if id != report.original_end_to_end_id => {
            return Says::Nonsense("OrgnlInstrId of a payment has to equal OrgnlEndToEndId");
        }
        Some(_) => {}
    }
    if report.status == TransactionStatus::AcceptedSettlementInProcess {
        return Says::Accepted;
    }
    let mut given = report.reasons.iter();
    let reason = given.clone().find_map(|information| information.code);
    let detail = given.find_map(|information| information.additional.first());
    match reason {
        Some(reason) => Says::Rejected(Refusal::new(reason, detail.map_or("", |text| text.as_str()))),
        None => Says::Nonsense("RJCT needs a reason code"),
    }
}

fn unreadable_refusal(unreadable: Unreadable, resource_id: ResourceId) -> MessageRefusal {
    MessageRefusal {
        reference: unreadable
            .message_id
            .map_or_else(|| resource_id.to_string(), |id| id.to_string()),
        reason: unreadable.reason.to_string(),
        location: unreadable.location.map(|text| text.to_string()),
        description: unreadable.description.map(|text| text.to_string()),
        additional: unreadable.additional.map(|text| text.to_string()),
    }
}
