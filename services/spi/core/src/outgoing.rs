//! What leaves the SPI: transactions on their way into messages.

use std::sync::Arc;

use iso20022::{Admi002, StatusReasonInformation, TransactionStatusReport};
use pix_domain::{
    EndToEndId, Ispb, Priority, ServiceLevel, StatusReason, Text, Timestamp, TransactionStatus,
};

/// The two ICOM channels. Scheduled payments and their whole cycle use the secondary one (MFE 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// Port 4002.
    Primary,
    /// Port 4012.
    Secondary,
}

impl Channel {
    /// As it is stored: `P` or `S`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "P",
            Self::Secondary => "S",
        }
    }

    /// Takes back what [`Self::as_str`] gave.
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        [Self::Primary, Self::Secondary]
            .into_iter()
            .find(|c| c.as_str() == text)
    }

    /// The channel that carries payments of this service level.
    #[must_use]
    pub fn of(service_level: ServiceLevel) -> Self {
        match service_level {
            ServiceLevel::Priority | ServiceLevel::FraudAnalysis => Self::Primary,
            ServiceLevel::Scheduled => Self::Secondary,
        }
    }
}

/// Where messages wait for their reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mailbox {
    /// The direct participant that reads.
    pub destination: Ispb,
    /// On which channel.
    pub channel: Channel,
}

/// The kind of message a transaction belongs into; those of one form, to one mailbox, share messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// pacs.008 of this service level.
    Order(ServiceLevel),
    /// pacs.002.
    Status,
    /// admi.002; always alone.
    Refusal,
}

impl Form {
    /// As it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Order(level) => level.as_str(),
            Self::Status => "STATUS",
            Self::Refusal => "REFUSAL",
        }
    }

    /// Takes back what [`Self::as_str`] gave.
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        match text {
            "STATUS" => Some(Self::Status),
            "REFUSAL" => Some(Self::Refusal),
            level => ServiceLevel::parse(level.as_bytes()).ok().map(Self::Order),
        }
    }

    /// How many of it one message takes.
    #[must_use]
    pub fn transactions_max(self) -> usize {
        match self {
            Self::Order(_) | Self::Status => TRANSACTIONS_MAX,
            Self::Refusal => 1,
        }
    }
}

/// Transactions in one outgoing message (pacs.008 rule sheet: 1..10; 500 is for scheduled orders and
/// not used by us, so that every message stays small).
pub const TRANSACTIONS_MAX: usize = 10;

/// The priority that goes with a service level (pacs.008 rule sheet, `SvcLvl`).
#[must_use]
pub fn priority_of(service_level: ServiceLevel) -> Priority {
    match service_level {
        ServiceLevel::Priority => Priority::High,
        ServiceLevel::FraudAnalysis | ServiceLevel::Scheduled => Priority::Normal,
    }
}

/// One transaction that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Number in the outbox, ascending in the order of decisions.
    pub id: i64,
    /// Who reads it, and where.
    pub mailbox: Mailbox,
    /// When it was decided.
    pub created_at: Timestamp,
    /// What it says.
    pub item: Item,
}

/// What a transaction that leaves says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An order, forwarded to the receiver.
    Order {
        /// The payment.
        end_to_end_id: EndToEndId,
        /// Its service level.
        service_level: ServiceLevel,
        /// Canonical `CdtTrfTxInf`.
        transaction: Arc<[u8]>,
    },
    /// The status of a payment.
    Status {
        /// The payment.
        end_to_end_id: EndToEndId,
        /// What became of it.
        report: Report,
    },
    /// A message could not be processed.
    Refusal(MessageRefusal),
}

impl Item {
    /// The form of message it belongs into.
    #[must_use]
    pub fn form(&self) -> Form {
        match self {
            Self::Order { service_level, .. } => Form::Order(*service_level),
            Self::Status { .. } => Form::Status,
            Self::Refusal(_) => Form::Refusal,
        }
    }

    /// The payment it is about.
    #[must_use]
    pub fn end_to_end_id(&self) -> Option<EndToEndId> {
        match self {
            Self::Order { end_to_end_id, .. } | Self::Status { end_to_end_id, .. } => Some(*end_to_end_id),
            Self::Refusal(_) => None,
        }
    }
}

/// What a pacs.002 of the SPI says of one payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// ACSC, ACCC or RJCT.
    pub status: TransactionStatus,
    /// Why it was refused.
    pub reason: Option<StatusReason>,
    /// More about why, at most 105 characters.
    pub detail: Option<String>,
    /// When it settled.
    pub settled_at: Option<Timestamp>,
}

/// What an admi.002 of the SPI says of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRefusal {
    /// MsgId, or PI-ResourceId when that could not be read.
    pub reference: String,
    /// Short reason, at most 35 characters.
    pub reason: String,
    /// Where, at most 350 characters.
    pub location: Option<String>,
    /// In words, at most 350 characters.
    pub description: Option<String>,
    /// More, at most 1000 characters, e.g. `EndToEndId=...`.
    pub additional: Option<String>,
}

/// One transaction that leaves, written: what the outbox stores and messages are formed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Number in the outbox.
    pub id: i64,
    /// Who reads it, and where.
    pub mailbox: Mailbox,
    /// The kind of message it belongs into.
    pub form: Form,
    /// When it was decided.
    pub created_at: Timestamp,
    /// The payment it is about.
    pub end_to_end_id: Option<EndToEndId>,
    /// Canonical XML: `CdtTrfTxInf`, `TxInfAndSts`, or the whole `Document` of an admi.002.
    pub fragment: Arc<[u8]>,
}

impl From<&Outgoing> for Parcel {
    fn from(outgoing: &Outgoing) -> Self {
        let fragment = match &outgoing.item {
            Item::Order { transaction, .. } => Arc::clone(transaction),
            Item::Status {
                end_to_end_id,
                report,
            } => write_status(*end_to_end_id, report).into(),
            Item::Refusal(refusal) => write_refusal(refusal, outgoing.created_at).into(),
        };
        Self {
            id: outgoing.id,
            mailbox: outgoing.mailbox,
            form: outgoing.item.form(),
            created_at: outgoing.created_at,
            end_to_end_id: outgoing.item.end_to_end_id(),
            fragment,
        }
    }
}

fn write_status(end_to_end_id: EndToEndId, report: &Report) -> Vec<u8> {
    let reasons = report.reason.map(|code| StatusReasonInformation {
        code: Some(code),
        additional: report
            .detail
            .iter()
            .map(|detail| Text::truncated(detail))
            .collect(),
    });
    iso20022::status_report_fragment(&TransactionStatusReport {
        original_instruction_id: end_to_end_id.into(),
        original_end_to_end_id: end_to_end_id,
        status: report.status,
        reasons: reasons.into_iter().collect(),
        settled_at: report.settled_at,
        settlement_date: report.settled_at,
    })
}

fn write_refusal(refusal: &MessageRefusal, at: Timestamp) -> Vec<u8> {
    iso20022::admi_002_document(&Admi002 {
        reference: Text::truncated(&refusal.reference),
        reason: Text::truncated(&refusal.reason),
        rejected_at: Some(at),
        location: refusal.location.as_deref().map(Text::truncated),
        description: refusal.description.as_deref().map(Text::truncated),
        additional: refusal.additional.as_deref().map(Text::truncated),
    })
}
