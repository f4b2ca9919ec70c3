//! The Conta PI book: a batch machine.
//!
//! One writer per shard drains whatever waits, asks [`Book::facts_needed`], reads those facts, calls
//! [`Book::decide`], writes the [`Batch`] in one transaction and, only after its COMMIT, calls
//! [`Book::install`]. `decide` changes nothing, so a batch that was not committed never happened.
//!
//! Invariants, checked by the property tests below:
//! - money is only moved: the sum over all accounts of available and blocked is always zero;
//! - `blocked` of an account is the sum of its open payments;
//! - a payment has at most one step 1 and one step 2, and nothing after step 2;
//! - no Conta PI goes below zero.

mod batch;
mod command;
mod draft;
mod state;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use pix_domain::{EndToEndId, Ispb, SPI_ISPB, Timestamp};

pub use batch::{BalanceRow, Batch, FundingRow, Latest, MessageRow, PaymentRow, PostingRow, StepRow};
pub use command::{
    Answer, Command, Content, FundRefusal, Funded, Funding, FundingId, Inbound, InvalidFundingId, Receipt,
    Says,
};
use draft::Draft;
pub use state::{Account, Closed, End, Facts, FactsNeeded, KnownFunding, KnownMessage, Open};

/// How long past its deadline a payment waits for answers that were received in time and are still
/// being verified or queued. Longer than any verification takes; shorter than anyone notices.
pub const EXPIRY_GRACE: Duration = Duration::from_millis(500);

/// Payments that expire in one batch: after an outage there are many, and a COMMIT and its events stay small.
pub const EXPIRIES_MAX: usize = 1000;

/// The account that opening balances and fundings come from. The only one that may be negative.
pub const FUNDING_ACCOUNT: Ispb = SPI_ISPB;

/// What one funding moves at most, in centavos: ten trillion reais, more than all Conta PI hold together.
pub const FUNDING_MAX: i64 = 1_000_000_000_000_000;

/// What all Conta PI hold together at most, in centavos: no sum of balances comes near the end of an i64.
pub const BOOK_MAX: i64 = 1_000_000_000_000_000_000;

/// A decided batch and the state it leads to.
#[derive(Debug)]
pub struct Decision {
    /// What to write.
    pub batch: Batch,
    opened: HashMap<EndToEndId, Open>,
    closed: HashSet<EndToEndId>,
}

/// The book of one shard.
#[derive(Debug, Default)]
pub struct Book {
    accounts: BTreeMap<Ispb, Account>,
    open: HashMap<EndToEndId, Open>,
    deadlines: BTreeSet<(Timestamp, EndToEndId)>,
    open_seqs: BTreeSet<i64>,
    last_batch: i64,
    last_seq: i64,
    last_outbox_id: i64,
    latest: Latest,
}

/// What the tables say at start.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Every account.
    pub accounts: BTreeMap<Ispb, Account>,
    /// Every open payment.
    pub open: HashMap<EndToEndId, Open>,
    /// Number of the last batch.
    pub last_batch: i64,
    /// Last sequence number.
    pub last_seq: i64,
    /// Last outbox number.
    pub last_outbox_id: i64,
    /// The last batches with events.
    pub latest: Latest,
}

/// The tables contradict each other: someone else wrote them, or we have a bug. The process must end.
#[derive(Debug, thiserror::Error)]
#[error("account {account} has {stored} centavos blocked, its open payments {open}")]
pub struct Inconsistent {
    /// The account.
    pub account: Ispb,
    /// What its row says.
    pub stored: i64,
    /// What its open payments add up to.
    pub open: i64,
}

impl Book {
    /// Rebuilds the book from the tables.
    ///
    /// # Errors
    /// [`Inconsistent`] when a balance and the open payments disagree.
    pub fn recover(snapshot: Snapshot) -> Result<Self, Inconsistent> {
        let mut blocked: HashMap<Ispb, i64> = HashMap::new();
        for open in snapshot.open.values() {
            *blocked.entry(open.payer).or_default() += open.amount.to_i64();
        }
        for (account, stored) in &snapshot.accounts {
            let open = blocked.get(account).copied().unwrap_or(0);
            if stored.blocked != open {
                return Err(Inconsistent {
                    account: *account,
                    stored: stored.blocked,
                    open,
                });
            }
        }
        Ok(Self {
            deadlines: snapshot
                .open
                .iter()
                .map(|(id, open)| (open.deadline, *id))
                .collect(),
            open_seqs: snapshot.open.values().map(|open| open.seq).collect(),
            accounts: snapshot.accounts,
            open: snapshot.open,
            last_batch: snapshot.last_batch,
            last_seq: snapshot.last_seq,
            last_outbox_id: snapshot.last_outbox_id,
            latest: snapshot.latest,
        })
    }

    /// What must be read before these commands can be decided.
    #[must_use]
    pub fn facts_needed(&self, commands: &[Command]) -> FactsNeeded {
        let mut needed = FactsNeeded::default();
        for command in commands {
            let inbound = match command {
                Command::Message(inbound) => inbound,
                Command::Fund(funding) => {
                    needed.fundings.push(funding.id);
                    continue;
                }
                Command::Open { .. } => continue,
            };
            needed
                .messages
                .extend(inbound.content.message_id().map(|id| (inbound.sender, id)));
            match &inbound.content {
                Content::Orders { orders, .. } => needed.payments.extend(
                    orders
                        .iter()
                        .filter(|o| !self.open.contains_key(&o.end_to_end_id))
                        .filter_map(|o| Some((o.month?, o.end_to_end_id))),
                ),
                Content::Answers { answers, .. } => needed.payments.extend(
                    answers
                        .iter()
                        .filter(|a| !self.open.contains_key(&a.end_to_end_id))
                        .filter_map(|a| Some((a.end_to_end_id.month().ok()?, a.end_to_end_id))),
                ),
                Content::Complaint { .. } | Content::Unreadable(_) => {}
            }
        }
        needed
    }

    /// Decides a batch. Payments expire whose deadline, grace included, is not after `horizon`; none when it
    /// is `None`. While commands still wait it is the receipt of the last one taken, so that a backlog never
    /// turns an answer that came in time into AB03.
    #[must_use]
    pub fn decide(
        &self,
        commands: &[Command],
        facts: &Facts,
        now: Timestamp,
        horizon: Option<Timestamp>,
    ) -> Decision {
        let mut draft = Draft::new(self, facts, now);
        for (position, command) in commands.iter().enumerate() {
            let receipt = match command {
                Command::Message(inbound) => Receipt::Message(draft.message(position, inbound)),
                Command::Open { account, balance } => {
                    draft.open_account(*account, *balance);
                    Receipt::Nothing
                }
                Command::Fund(funding) => Receipt::Fund(draft.fund(funding)),
            };
            draft.batch.receipts.push(receipt);
        }
        let due = self.deadlines.iter().take_while(|(deadline, _)| {
            horizon.is_some_and(|horizon| deadline.plus(EXPIRY_GRACE) <= horizon)
        });
        for (_, id) in due.take(EXPIRIES_MAX) {
            if let Some(open) = draft.open(id).cloned() {
                draft.expire(*id, &open);
            }
        }
        draft.finish()
    }

    /// Takes over what a committed batch led to.
    pub fn install(&mut self, decision: Decision) {
        let Decision {
            batch,
            opened,
            closed,
        } = decision;
        for (account, row) in batch.balances {
            self.accounts.insert(account, row.after);
        }
        for id in &closed {
            if let Some(open) = self.open.remove(id) {
                self.deadlines.remove(&(open.deadline, *id));
                self.open_seqs.remove(&open.seq);
            }
        }
        for (id, open) in opened {
            self.deadlines.insert((open.deadline, id));
            self.open_seqs.insert(open.seq);
            self.open.insert(id, open);
        }
        self.last_batch = batch.number;
        self.last_seq = batch.last_seq;
        self.last_outbox_id = batch.last_outbox_id;
        self.latest = batch.latest;
    }

    /// When the next payment runs out of time, grace included.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.deadlines
            .first()
            .map(|(deadline, _)| deadline.plus(EXPIRY_GRACE))
    }

    /// Number of payments whose amount is blocked.
    #[must_use]
    pub fn open_payments(&self) -> usize {
        self.open.len()
    }

    /// Number of the last committed batch.
    #[must_use]
    pub fn last_batch(&self) -> i64 {
        self.last_batch
    }

    /// The last batches with events.
    #[must_use]
    pub fn latest(&self) -> Latest {
        self.latest
    }

    /// Every account, the funding account included.
    pub fn accounts(&self) -> impl Iterator<Item = (Ispb, Account)> {
        self.accounts
            .iter()
            .map(|(account, balances)| (*account, *balances))
    }

    /// The last outbox number given out.
    #[must_use]
    pub fn last_outbox_id(&self) -> i64 {
        self.last_outbox_id
    }

    /// Whether this Conta PI exists.
    #[must_use]
    pub fn has_account(&self, account: Ispb) -> bool {
        self.accounts.contains_key(&account)
    }
}

#[cfg(test)]
mod tests;
