//! What the book is asked to do.

use std::sync::Arc;

use pix_domain::{EndToEndId, Ispb, Money, MsgId, ResourceId, Text, Timestamp};

use crate::allowance::UNITS;
use crate::order::{Order, Refusal};
use crate::outgoing::{Channel, MessageRefusal};

/// One thing the book is asked to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Take in a message that a participant posted.
    Message(Arc<Inbound>),
    /// Open a Conta PI with a balance; nothing happens when it exists.
    Open {
        /// Its holder, a direct participant.
        account: Ispb,
        /// What it starts with.
        balance: Money,
    },
}

/// A message that a participant posted, parsed and verified.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The id given to it, if it is new.
    pub resource_id: ResourceId,
    /// The participant of the certificate.
    pub sender: Ispb,
    /// The channel it came by.
    pub channel: Channel,
    /// When its last byte was read, database time.
    pub received_at: Timestamp,
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
    /// What it says.
    pub content: Content,
}

/// What a posted message says.
#[derive(Clone, Debug)]
pub enum Content {
    /// pacs.008.
    Orders {
        /// `MsgId`.
        message_id: MsgId,
        /// Its transactions, examined.
        orders: Vec<Order>,
    },
    /// pacs.002.
    Answers {
        /// `MsgId`.
        message_id: MsgId,
        /// Its transactions.
        answers: Vec<Answer>,
    },
    /// admi.002: the participant could not process one of ours.
    Complaint {
        /// `MsgId`.
        message_id: MsgId,
        /// What it says it is about: our MsgId, or our PI-ResourceId.
        reference: Text<33>,
        /// Why, in the participant's words.
        reason: Text<35>,
    },
    /// It could not be read, verified or attributed: an admi.002 goes back.
    Unreadable(MessageRefusal),
}

impl Inbound {
    /// What it takes from its sender's bucket, in units of [`crate::allowance::UNITS`] a token.
    #[must_use]
    pub fn cost(&self) -> i64 {
        let (operations, units) = match &self.content {
            Content::Orders { orders, .. } => (orders.len(), UNITS),
            Content::Answers { answers, .. } => (answers.len(), 1),
            Content::Complaint { .. } | Content::Unreadable(_) => (1, UNITS),
        };
        i64::try_from(operations)
            .unwrap_or(i64::MAX)
            .saturating_mul(units)
    }
}

impl Content {
    /// The id under which a repeat of the message is recognised; what was unreadable has none.
    #[must_use]
    pub fn message_id(&self) -> Option<MsgId> {
        match self {
            Self::Orders { message_id, .. }
            | Self::Answers { message_id, .. }
            | Self::Complaint { message_id, .. } => Some(*message_id),
            Self::Unreadable(_) => None,
        }
    }
}

/// One transaction of a receiver's pacs.002.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The payment, when it names one.
    pub end_to_end_id: EndToEndId,
    /// What the receiver says.
    pub says: Says,
}

/// What a receiver says of a payment.
#[derive(Clone, Debug)]
pub enum Says {
    /// ACSP.
    Accepted,
    /// RJCT.
    Rejected(Refusal),
    /// Something a participant may not say; why not.
    Nonsense(&'static str),
}
