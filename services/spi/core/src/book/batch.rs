//! What one COMMIT holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use pix_domain::{EndToEndId, Ispb, Money, Month, ResourceId, Timestamp};

use super::{Account, End, Funding, Inbound, Receipt};
use crate::order::{Creditor, Order, Refusal};
use crate::outgoing::Outgoing;

/// What one COMMIT holds.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Number of the batch, ascending by one.
    pub number: i64,
    /// First sequence number of its rows.
    pub first_seq: i64,
    /// Last sequence number of its rows; `first_seq - 1` when it has none.
    pub last_seq: i64,
    /// Sequence number of the oldest block still open after it: recovery starts reading there.
    pub open_from_seq: i64,
    /// The last outbox number given out.
    pub last_outbox_id: i64,
    /// When it was decided, database time.
    pub decided_at: Option<Timestamp>,
    /// Messages taken in.
    pub messages: Vec<MessageRow>,
    /// Payments named for the first time.
    pub payments: Vec<PaymentRow>,
    /// Their steps.
    pub steps: Vec<StepRow>,
    /// Money moved.
    pub postings: Vec<PostingRow>,
    /// The fundings among those.
    pub fundings: Vec<FundingRow>,
    /// Change of each account touched.
    pub balances: BTreeMap<Ispb, BalanceRow>,
    /// What leaves.
    pub outbox: Vec<Outgoing>,
    /// What each command is answered with, in the order of the commands.
    pub receipts: Vec<Receipt>,
    /// The last batches with events before this one.
    pub previous: Latest,
    /// The same, this one included.
    pub latest: Latest,
}

/// The last batch that had events, by subject; 0 when none had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latest {
    /// Orders taken in.
    pub received: i64,
    /// Payments settled.
    pub settled: i64,
    /// Payments refused.
    pub refused: i64,
}

impl Batch {
    /// The postings that settled payments.
    pub fn settled(&self) -> impl Iterator<Item = (&PostingRow, EndToEndId)> {
        let postings = self.postings.iter();
        postings.filter_map(|row| Some((row, row.end_to_end_id?)))
    }

    /// The steps that ended payments without moving money.
    pub fn refused(&self) -> impl Iterator<Item = (&StepRow, &Refusal)> {
        let steps = self.steps.iter();
        steps.filter_map(|row| Some((row, row.end.as_ref()?.refusal()?)))
    }

    /// What [`Batch::latest`] is once everything is in it.
    pub(super) fn latest(&self) -> Latest {
        let here = |any: bool, before: i64| if any { self.number } else { before };
        Latest {
            received: here(!self.payments.is_empty(), self.previous.received),
            settled: here(self.settled().next().is_some(), self.previous.settled),
            refused: here(self.refused().next().is_some(), self.previous.refused),
        }
    }
}

/// A row of `message_in`, and of `message_key` when the message has an id.
#[derive(Clone, Debug)]
pub struct MessageRow {
    /// Sequence number.
    pub seq: i64,
    /// The message; the shell adds its bytes.
    pub inbound: Arc<Inbound>,
    /// Position of its command in the batch.
    pub command: usize,
}

/// A row of `payment`.
#[derive(Clone, Debug)]
pub struct PaymentRow {
    /// Sequence number.
    pub seq: i64,
    /// The month inside the EndToEndId.
    pub month: Month,
    /// The order.
    pub order: Order,
    /// The message that carried it.
    pub resource_id: ResourceId,
    /// When that was received.
    pub received_at: Timestamp,
}

/// A row of `payment_step`: 1 blocked, 2 the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRow {
    /// Sequence number.
    pub seq: i64,
    /// The payment's month.
    pub month: Month,
    /// The payment.
    pub end_to_end_id: EndToEndId,
    /// Its end, or `None` for the block.
    pub end: Option<End>,
    /// When.
    pub at: Timestamp,
}

/// A row of `posting`: so much from one account to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostingRow {
    /// Sequence number.
    pub seq: i64,
    /// Account debited.
    pub debit: Ispb,
    /// Account credited.
    pub credit: Ispb,
    /// How much.
    pub amount: Money,
    /// For which payment; `None` for funding.
    pub end_to_end_id: Option<EndToEndId>,
    /// Who was paid, for the event; the row does not hold it.
    pub creditor: Option<Arc<Creditor>>,
}

/// A row of `funding`: what a posting without a payment was for.
#[derive(Clone, Debug)]
pub struct FundingRow {
    /// Sequence number.
    pub seq: i64,
    /// That of its posting.
    pub posting: i64,
    /// What was ordered.
    pub funding: Funding,
    /// Centavos available in the Conta PI after it.
    pub available_after: i64,
}

/// Change of one account, with the value that must result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BalanceRow {
    /// Whether the account is new.
    pub opened: bool,
    /// Centavos to add to `available`.
    pub available_delta: i64,
    /// Centavos to add to `blocked`.
    pub blocked_delta: i64,
    /// What both must be afterwards.
    pub after: Account,
}
