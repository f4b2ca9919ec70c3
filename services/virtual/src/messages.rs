//! What a virtual participant says and hears: SPI messages, sealed and opened.

use bytes::Bytes;
use iso20022::{
    Admi002, AppHdr, CreditTransfer, Envelope, MessageDefinition, Pacs008Group, StatusReasonInformation,
    TransactionStatusReport, UnreadableKind, admi_002_document, credit_transfer_fragment, pacs_002_document,
    pacs_008_document, seal, status_report_fragment,
};
use pix_domain::{
    EndToEndId, Ispb, MsgId, ResourceId, SPI_ISPB, StatusReason, Text, Timestamp, TransactionStatus,
};
use pix_icom::{Channel, Icom};
use pix_xmldsig::{IssuerSerial, KeySource, Signer, VerifyingKey};

/// The `Id` of `ds:KeyInfo`; any that is unique within the message will do.
const KEY_INFO_ID: &str = "key-info-id";

/// One virtual participant: who it is, what it signs with, how it reaches the switch.
pub(crate) struct Participant {
    pub(crate) ispb: Ispb,
    /// Participants that it settles and speaks for.
    pub(crate) indirect: Vec<Ispb>,
    pub(crate) signer: Signer,
    /// By channel: primary, secondary.
    pub(crate) icom: [Icom; 2],
}

/// An answer to one order: nothing accepts.
pub(crate) type Answer = (EndToEndId, Option<StatusReason>);

/// What came of opening a message.
pub(crate) enum Opened {
    Message(Envelope),
    /// Not to be processed; the SPI is told.
    Unreadable {
        answer: Admi002,
        why: String,
    },
    /// Signed with a certificate that is not configured, which says more about our settings than about the message.
    UnknownSigner,
}

impl Participant {
    /// Whether it may be named as the payer's or receiver's participant of what this one sends.
    pub(crate) fn speaks_for(&self, ispb: Ispb) -> bool {
        self.ispb == ispb || self.indirect.contains(&ispb)
    }

    /// Its connection on a channel.
    pub(crate) fn icom(&self, channel: Channel) -> &Icom {
        match channel {
            Channel::Primary => &self.icom[0],
            Channel::Secondary => &self.icom[1],
        }
    }

    /// pacs.008 with one order.
    pub(crate) fn order(
        &self,
        id: MsgId,
        now: Timestamp,
        group: &Pacs008Group,
        tx: &CreditTransfer,
    ) -> Bytes {
        let document = pacs_008_document(id, now, group, &[credit_transfer_fragment(tx)]);
        self.seal(MessageDefinition::Pacs008, id, now, &document)
    }

    /// pacs.002 with these answers.
    pub(crate) fn answers(&self, id: MsgId, now: Timestamp, answers: &[Answer]) -> Bytes {
        let fragments: Vec<_> = answers
            .iter()
            .map(|answer| status_report_fragment(&report(*answer)))
            .collect();
        let document = pacs_002_document(id, now, &fragments);
        self.seal(MessageDefinition::Pacs002, id, now, &document)
    }

    /// admi.002: a message of the SPI could not be processed here.
    pub(crate) fn refusal(&self, id: MsgId, now: Timestamp, refusal: &Admi002) -> Bytes {
        self.seal(MessageDefinition::Admi002, id, now, &admi_002_document(refusal))
    }

    fn seal(&self, definition: MessageDefinition, id: MsgId, now: Timestamp, document: &[u8]) -> Bytes {
        let header = AppHdr {
            from: self.ispb,
            to: SPI_ISPB,
            message_id: id,
            definition,
            created_at: now,
        };
        seal(&header, document, &self.signer, KEY_INFO_ID).into()
    }

    /// Opens a message of the SPI: verified, addressed to this participant, and from the SPI itself.
    pub(crate) fn open(&self, bytes: &[u8], resource: ResourceId, now: Timestamp, spi: &SpiKeys) -> Opened {
        let envelope = match iso20022::open(bytes, spi) {
            Ok(opened) => opened.envelope,
            Err(unreadable) if unreadable.kind == UnreadableKind::UnknownSigner => {
                return Opened::UnknownSigner;
            }
            Err(unreadable) => {
                return Opened::Unreadable {
                    answer: unreadable.admi_002(resource, now),
                    why: format!("{:?}", unreadable.kind),
                };
            }
        };
        let header = &envelope.header;
        if header.from == SPI_ISPB && header.to == self.ispb {
            return Opened::Message(envelope);
        }
        let answer = Admi002 {
            reference: Text::truncated(header.message_id.as_str()),
            reason: Text::truncated("Remetente ou destinatário inválido"),
            rejected_at: Some(now),
            location: Some(Text::truncated("AppHdr")),
            description: Some(Text::truncated("Fr must be the SPI and To this participant")),
            additional: None,
        };
        let why = "Fr or To is wrong".to_owned();
        Opened::Unreadable { answer, why }
    }
}

fn report((id, refusal): Answer) -> TransactionStatusReport {
    let reason = refusal.map(|code| StatusReasonInformation {
        code: Some(code),
        additional: Vec::new(),
    });
    TransactionStatusReport {
        original_instruction_id: id.into(),
        original_end_to_end_id: id,
        status: if refusal.is_none() {
            TransactionStatus::AcceptedSettlementInProcess
        } else {
            TransactionStatus::Rejected
        },
        reasons: reason.into_iter().collect(),
        settled_at: None,
        settlement_date: None,
    }
}

/// The same message with another signature value: well-formed, and not true.
///
/// # Panics
/// When the message is none of ours.
pub(crate) fn with_bad_signature(message: &[u8]) -> Bytes {
    const VALUE: &[u8] = b"<ds:SignatureValue>";
    let mut spoiled = message.to_vec();
    let at = message.windows(VALUE.len()).position(|window| window == VALUE);
    let first = at.expect("what we sealed has a signature") + VALUE.len();
    spoiled[first] = if spoiled[first] == b'A' { b'B' } else { b'A' };
    spoiled.into()
}

/// The certificates that messages of the SPI are signed with; two around a renewal.
pub(crate) struct SpiKeys(pub(crate) Vec<VerifyingKey>);

impl KeySource for SpiKeys {
    fn find(&self, issuer_serial: &IssuerSerial) -> Option<VerifyingKey> {
        let known = |key: &&VerifyingKey| key.issuer_serial() == issuer_serial;
        self.0.iter().find(known).cloned()
    }
}
