//! What one COMMIT holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use pix_domain::{EndToEndId, Ispb, Money, Month, ResourceId, Timestamp};

use super::{Account, End, Inbound};
use crate::order::{Creditor, Order};
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
    /// Change of each account touched.
    pub balances: BTreeMap<Ispb, BalanceRow>,
    /// What leaves.
    pub outbox: Vec<Outgoing>,
    /// What each command that was a message is answered with, in the order of the commands.
    pub receipts: Vec<Option<ResourceId>>,
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
