//! What the writer is given to do, already parsed: strings end before here.

use bank_core::{
    Accepted, IncomingOrder, KeyEvent, KeyRefusal, KeyTaken, Lookup, Order, OrderRefusal, StatusReport, Wish,
};
use bytes::Bytes;
use iso20022::Admi002;
use pix_domain::{AccountNumber, Branch, EndToEndId, Key, MsgId, RequestId, ResourceId, Text};
use pix_icom::Channel;

/// A message taken from the stream, verified and parsed, with what arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) resource_id: ResourceId,
    pub(crate) channel: Channel,
    pub(crate) message_id: Option<MsgId>,
    pub(crate) content: Content,
    /// gzip of the bytes that arrived.
    pub(crate) stored: Bytes,
}

/// What a message from the SPI says.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// pacs.008.
    Orders(Vec<IncomingOrder>),
    /// pacs.002; the parts about returns, which this bank does not send, are left out.
    Statuses(Vec<StatusReport>),
    /// admi.002: the message with this MsgId, or this PI-ResourceId, was refused.
    Refusal {
        /// MsgId or PI-ResourceId.
        reference: Text<33>,
    },
    /// Not to be trusted or not to be read; the answer goes back.
    Unreadable {
        /// The answer.
        answer: Admi002,
        /// Why, without personal data.
        why: String,
    },
}

impl Content {
    /// For the table of messages and the metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Orders(_) => "pacs.008",
            Self::Statuses(_) => "pacs.002",
            Self::Refusal { .. } => "admi.002",
            Self::Unreadable { .. } => "unreadable",
        }
    }
}

/// How the door of ICOM ended a message's way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// 201.
    Taken(ResourceId),
    /// A permanent 4xx, and no earlier attempt that may have been stored.
    Refused {
        /// HTTP status.
        status: u16,
    },
}

/// One thing for the writer: applied whole or not at all.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// A customer pays.
    Order(Box<Order>),
    /// The SPI says something.
    Message(Box<Received>),
    /// A message of ours reached its end at the door.
    Posted {
        /// The message.
        message_id: MsgId,
        /// Its end.
        posted: Posted,
        /// How often it was posted.
        attempts: i32,
    },
    /// A payer is about to be shown whom a key stands for.
    Lookup(Box<Lookup>),
    /// Something about the customers' keys.
    Keys(Box<KeyWork>),
}

/// Something about the customers' keys.
#[derive(Clone, Debug)]
pub(crate) enum KeyWork {
    /// A customer wants a key for an account.
    Register {
        /// What is wanted.
        wish: Wish,
        /// The account.
        account: (Branch, AccountNumber),
    },
    /// A customer wants to be rid of a key.
    Remove(Key),
    /// A phone or an e-mail is the customer's.
    Confirm {
        /// The phone or e-mail.
        contact: Key,
        /// An account of the customer.
        account: (Branch, AccountNumber),
    },
    /// The DICT is about to be asked, or has answered.
    Heard(RequestId, KeyEvent),
}

/// What became of one [`Work`].
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// Of an order.
    Order(Result<Accepted, OrderRefusal>),
    /// Of a wish about keys; a contact has no name.
    Keys(Result<Option<KeyTaken>, KeyRefusal>),
    /// Of anything else: it is in the book.
    Done,
    /// Postgres refuses this very work, whatever is with it.
    Poisoned,
}

/// What the page hears when something moves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moved {
    /// A payment.
    Payment {
        end_to_end_id: EndToEndId,
        state: &'static str,
    },
    /// A registration of a key.
    Key {
        request_id: RequestId,
        state: &'static str,
    },
}
