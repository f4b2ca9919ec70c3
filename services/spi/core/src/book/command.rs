//! What the book is asked to do.

use std::fmt;
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
    /// Move money between the funding account and a Conta PI.
    Fund(Funding),
}

/// Money into a Conta PI from outside the book, or out of it.
#[derive(Clone, Debug)]
pub struct Funding {
    /// Names it for ever: a repeat moves nothing.
    pub id: FundingId,
    /// The Conta PI.
    pub account: Ispb,
    /// Centavos; below zero they leave.
    pub amount: i64,
    /// Who ordered it, for the audit.
    pub ordered_by: Text<140>,
}

/// The id of a funding: a UUID of any version, since some are drawn and others derived.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FundingId(u128);

/// Not a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a funding's id is a UUID, like a946d533-7f22-42a5-9a9b-e87cd55c0f4d")]
pub struct InvalidFundingId;

impl FundingId {
    /// Reads the 36 characters, hexadecimal digits in either case.
    ///
    /// # Errors
    /// [`InvalidFundingId`].
    pub fn parse(text: &str) -> Result<Self, InvalidFundingId> {
        let is_uuid = text.len() == 36
            && text.bytes().enumerate().all(|(index, byte)| match index {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            });
        if !is_uuid {
            return Err(InvalidFundingId);
        }
        let id = u128::from_str_radix(&text.replace('-', ""), 16);
        id.map(Self).map_err(|_| InvalidFundingId)
    }
}

impl fmt::Display for FundingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        f.pad(&parts.join("-"))
    }
}

impl fmt::Debug for FundingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FundingId({self})")
    }
}

/// What a funding came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Funded {
    /// Sequence number of its posting.
    pub sequence: i64,
    /// The batch that holds it.
    pub batch: i64,
    /// Centavos available in the Conta PI right after it.
    pub available: i64,
}

/// Why a funding moves nothing; in the order in which they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FundRefusal {
    /// The id was used before.
    #[error("the id was used for {amount} centavos of {account}; another funding needs an id of its own")]
    OtherContent {
        /// For this Conta PI
        account: Ispb,
        /// and so many centavos.
        amount: i64,
    },
    /// Zero, or more than [`super::FUNDING_MAX`] in either direction.
    #[error("amount: from 1 to {} centavos, in either direction", super::FUNDING_MAX)]
    Amount,
    /// No such Conta PI.
    #[error("{0} has no Conta PI here: it is not a direct participant, or not yet one")]
    NoAccount(Ispb),
    /// It would take more than is available; what is blocked belongs to payments.
    #[error("{available} centavos are available; what is blocked belongs to payments under way")]
    NotEnough {
        /// So many.
        available: i64,
    },
    /// There would be more money than [`super::BOOK_MAX`].
    #[error("the book would hold more than {} centavos", super::BOOK_MAX)]
    BookFull,
}

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Nobody is told.
    Nothing,
    /// The id that the message is known by.
    Message(ResourceId),
    /// The funding's posting, or why there is none.
    Fund(Result<Funded, FundRefusal>),
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
