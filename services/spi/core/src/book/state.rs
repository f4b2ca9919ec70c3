//! Accounts and payments, as the book holds them and as the tables tell of them.

use std::collections::HashMap;
use std::sync::Arc;

use pix_domain::{EndToEndId, Ispb, Money, Month, MsgId, ResourceId, ServiceLevel, Timestamp};

use super::{Funded, FundingId};
use crate::order::{Creditor, Refusal};

/// What the book must be told about the past before it can decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FactsNeeded {
    /// Messages that may be repeats.
    pub messages: Vec<(Ispb, MsgId)>,
    /// Payments that are not open, by month.
    pub payments: Vec<(Month, EndToEndId)>,
    /// Fundings that may be repeats.
    pub fundings: Vec<FundingId>,
}

/// What the tables say about the past.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The messages that were repeats.
    pub messages: HashMap<(Ispb, MsgId), KnownMessage>,
    /// The payments that exist and are closed.
    pub payments: HashMap<EndToEndId, Closed>,
    /// The fundings that were repeats.
    pub fundings: HashMap<FundingId, KnownFunding>,
}

/// A message taken in before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownMessage {
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
    /// Its id.
    pub resource_id: ResourceId,
}

/// A funding that happened before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFunding {
    /// The Conta PI.
    pub account: Ispb,
    /// Centavos; below zero they left.
    pub amount: i64,
    /// What it came to.
    pub funded: Funded,
}

/// A payment whose amount is blocked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The partition that holds it.
    pub month: Month,
    /// Whose Conta PI pays.
    pub payer: Ispb,
    /// Whose Conta PI is paid.
    pub receiver: Ispb,
    /// Who is paid; `None` for what was blocked before this was kept.
    pub creditor: Option<Arc<Creditor>>,
    /// How much is blocked.
    pub amount: Money,
    /// Its service level.
    pub service_level: ServiceLevel,
    /// When the SPI gives up.
    pub deadline: Timestamp,
    /// Hash over its content.
    pub fingerprint: [u8; 32],
    /// Sequence number of its block.
    pub seq: i64,
}

/// A payment that reached its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Whose Conta PI pays.
    pub payer: Ispb,
    /// Whose Conta PI is paid.
    pub receiver: Ispb,
    /// Its service level.
    pub service_level: ServiceLevel,
    /// Hash over its content.
    pub fingerprint: [u8; 32],
    /// Its end.
    pub end: End,
    /// When it came.
    pub at: Timestamp,
}

/// The end of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The money moved.
    Settled,
    /// It was blocked and given back: the receiver refused, or nobody answered.
    Released(Refusal),
    /// It was never blocked, and the receiver never heard of it.
    Refused(Refusal),
}

impl End {
    /// As it is stored.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Released(_) => "released",
            Self::Refused(_) => "refused",
        }
    }

    /// Why, unless it settled.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Settled => None,
            Self::Released(refusal) | Self::Refused(refusal) => Some(refusal),
        }
    }
}

/// A Conta PI, or the funding account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Centavos it can spend; negative only for [`FUNDING_ACCOUNT`].
    pub available: i64,
    /// Centavos blocked by its open payments.
    pub blocked: i64,
}
