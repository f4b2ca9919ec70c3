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

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use pix_domain::{
    EndToEndId, Ispb, Money, Month, MsgId, ResourceId, SPI_ISPB, ServiceLevel, StatusReason, Timestamp,
    TransactionStatus,
};

use crate::order::{Order, Refusal, Verdict};
use crate::outgoing::{Channel, Item, Mailbox, MessageRefusal, Outgoing, Report};

/// How long past its deadline a payment waits for answers that were received in time and are still
/// being verified or queued. Longer than any verification takes; shorter than anyone notices.
pub const EXPIRY_GRACE: Duration = Duration::from_millis(500);

/// The account that opening balances come from. The only one that may be negative.
pub const FUNDING_ACCOUNT: Ispb = SPI_ISPB;

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
    },
    /// It could not be read, verified or attributed: an admi.002 goes back.
    Unreadable(MessageRefusal),
}

impl Content {
    /// The id under which a repeat of the message is recognised; what was unreadable has none.
    #[must_use]
    pub fn message_id(&self) -> Option<MsgId> {
        match self {
            Self::Orders { message_id, .. }
            | Self::Answers { message_id, .. }
            | Self::Complaint { message_id } => Some(*message_id),
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

/// What the book must be told about the past before it can decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FactsNeeded {
    /// Messages that may be repeats.
    pub messages: Vec<(Ispb, MsgId)>,
    /// Payments that are not open, by month.
    pub payments: Vec<(Month, EndToEndId)>,
}

/// What the tables say about the past.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The messages that were repeats.
    pub messages: HashMap<(Ispb, MsgId), KnownMessage>,
    /// The payments that exist and are closed.
    pub payments: HashMap<EndToEndId, Closed>,
}

/// A message taken in before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownMessage {
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
    /// Its id.
    pub resource_id: ResourceId,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        })
    }

    /// What must be read before these commands can be decided.
    #[must_use]
    pub fn facts_needed(&self, commands: &[Command]) -> FactsNeeded {
        let mut needed = FactsNeeded::default();
        for command in commands {
            let Command::Message(inbound) = command else {
                continue;
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

    /// Decides a batch. `horizon` bounds what may expire: `now`, or when commands still wait, the receipt
    /// of the last one taken, so that a backlog never turns an answer that came in time into AB03.
    #[must_use]
    pub fn decide(
        &self,
        commands: &[Command],
        facts: &Facts,
        now: Timestamp,
        horizon: Timestamp,
    ) -> Decision {
        let mut draft = Draft::new(self, facts, now);
        for (position, command) in commands.iter().enumerate() {
            let receipt = match command {
                Command::Message(inbound) => Some(draft.message(position, inbound)),
                Command::Open { account, balance } => {
                    draft.open_account(*account, *balance);
                    None
                }
            };
            draft.batch.receipts.push(receipt);
        }
        for (_, id) in self
            .deadlines
            .iter()
            .take_while(|(deadline, _)| deadline.plus(EXPIRY_GRACE) <= horizon)
        {
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

    /// Whether this Conta PI exists.
    #[must_use]
    pub fn has_account(&self, account: Ispb) -> bool {
        self.accounts.contains_key(&account)
    }
}

/// A batch in the making: the book as it was, and what the commands so far changed.
struct Draft<'a> {
    book: &'a Book,
    facts: &'a Facts,
    now: Timestamp,
    batch: Batch,
    seq: i64,
    messages: HashMap<(Ispb, MsgId), KnownMessage>,
    opened: HashMap<EndToEndId, Open>,
    closed: HashMap<EndToEndId, Closed>,
}

impl<'a> Draft<'a> {
    fn new(book: &'a Book, facts: &'a Facts, now: Timestamp) -> Self {
        let batch = Batch {
            number: book.last_batch + 1,
            first_seq: book.last_seq + 1,
            last_outbox_id: book.last_outbox_id,
            decided_at: Some(now),
            ..Batch::default()
        };
        Self {
            book,
            facts,
            now,
            batch,
            seq: book.last_seq,
            messages: HashMap::new(),
            opened: HashMap::new(),
            closed: HashMap::new(),
        }
    }

    fn finish(mut self) -> Decision {
        self.batch.last_seq = self.seq;
        let opened = self.opened;
        let closed_seqs: HashSet<i64> = self
            .closed
            .keys()
            .filter_map(|id| self.book.open.get(id))
            .map(|open| open.seq)
            .collect();
        let oldest = self
            .book
            .open_seqs
            .iter()
            .find(|seq| !closed_seqs.contains(seq))
            .copied();
        let oldest_opened = opened.values().map(|open| open.seq).min();
        self.batch.open_from_seq = oldest.or(oldest_opened).unwrap_or(self.seq + 1);
        Decision {
            batch: self.batch,
            opened,
            closed: self.closed.into_keys().collect(),
        }
    }

    fn next_seq(&mut self) -> i64 {
        self.seq += 1;
        self.seq
    }

    /// Takes in a message, unless it is a repeat; returns the id to answer with.
    fn message(&mut self, position: usize, inbound: &Arc<Inbound>) -> ResourceId {
        let mut repeated_id = None;
        if let Some(message_id) = inbound.content.message_id() {
            let key = (inbound.sender, message_id);
            match self.messages.get(&key).or_else(|| self.facts.messages.get(&key)) {
                Some(known) if known.digest == inbound.digest => return known.resource_id,
                Some(_) => repeated_id = Some(message_id),
                None => {
                    let known = KnownMessage {
                        digest: inbound.digest,
                        resource_id: inbound.resource_id,
                    };
                    self.messages.insert(key, known);
                }
            }
        }
        let seq = self.next_seq();
        if let Some(message_id) = repeated_id {
            // The bytes are kept, but the key stays with the first message that used it.
            let refusal = MessageRefusal {
                reference: message_id.to_string(),
                reason: "MsgId repetido".to_owned(),
                location: Some("GrpHdr/MsgId".to_owned()),
                description: Some("another message with this MsgId was received before".to_owned()),
                additional: None,
            };
            let unkeyed = Inbound {
                content: Content::Unreadable(refusal.clone()),
                ..(**inbound).clone()
            };
            self.batch.messages.push(MessageRow {
                seq,
                inbound: Arc::new(unkeyed),
                command: position,
            });
            self.refuse_message(inbound, refusal);
            return inbound.resource_id;
        }
        self.batch.messages.push(MessageRow {
            seq,
            inbound: Arc::clone(inbound),
            command: position,
        });
        match &inbound.content {
            Content::Orders { orders, .. } => {
                for order in orders {
                    self.order(inbound, order);
                }
            }
            Content::Answers { message_id, answers } => {
                for answer in answers {
                    self.answer(inbound, *message_id, answer);
                }
            }
            Content::Complaint { .. } => {}
            Content::Unreadable(refusal) => self.refuse_message(inbound, refusal.clone()),
        }
        inbound.resource_id
    }

    fn order(&mut self, inbound: &Inbound, order: &Order) {
        let id = order.end_to_end_id;
        let channel = Channel::of(order.service_level);
        let (month, refusal) = match (&order.verdict, order.month) {
            (Verdict::NotYours(refusal), _) => {
                return self.tell_refusal(inbound.sender, channel, id, refusal.clone());
            }
            (_, None) => unreachable!("only NotYours has no month"),
            (Verdict::Sound, Some(month)) => (month, None),
            (Verdict::OutOfRange(refusal) | Verdict::Unsound(refusal), Some(month)) => (month, Some(refusal)),
        };
        if let Some(open) = self.open(&id) {
            if open.fingerprint != order.fingerprint {
                self.tell_refusal(inbound.sender, channel, id, other_content());
            }
            return; // a repeat of what is under way: its answer will come
        }
        if let Some(closed) = self.closed(&id).cloned() {
            return if closed.fingerprint == order.fingerprint {
                self.tell_end(closed.payer, TransactionStatus::SettledDebtor, id, &closed);
            } else {
                self.tell_refusal(inbound.sender, channel, id, other_content());
            };
        }
        if let (Verdict::OutOfRange(_), Some(refusal)) = (&order.verdict, refusal) {
            return self.tell_refusal(inbound.sender, channel, id, refusal.clone());
        }
        let balance = self.account(order.payer).available;
        let refusal = refusal.cloned().or_else(|| {
            (balance < order.amount.to_i64())
                .then(|| Refusal::new(StatusReason::AM04, "not enough balance in the Conta PI"))
        });
        let seq = self.next_seq();
        self.batch.payments.push(PaymentRow {
            seq,
            month,
            order: order.clone(),
            resource_id: inbound.resource_id,
            received_at: inbound.received_at,
        });
        match refusal {
            Some(refusal) => self.refuse(order, month, refusal),
            None => self.block(order, month),
        }
    }

    fn block(&mut self, order: &Order, month: Month) {
        let seq = self.next_seq();
        let amount = order.amount.to_i64();
        self.change(order.payer, -amount, amount);
        self.batch.steps.push(StepRow {
            seq,
            month,
            end_to_end_id: order.end_to_end_id,
            end: None,
            at: self.now,
        });
        self.opened.insert(
            order.end_to_end_id,
            Open {
                month,
                payer: order.payer,
                receiver: order.receiver,
                amount: order.amount,
                service_level: order.service_level,
                deadline: order.deadline,
                fingerprint: order.fingerprint,
                seq,
            },
        );
        let item = Item::Order {
            end_to_end_id: order.end_to_end_id,
            service_level: order.service_level,
            transaction: Arc::clone(&order.transaction),
        };
        self.send(order.receiver, Channel::of(order.service_level), item);
    }

    fn refuse(&mut self, order: &Order, month: Month, refusal: Refusal) {
        let closed = Closed {
            payer: order.payer,
            receiver: order.receiver,
            service_level: order.service_level,
            fingerprint: order.fingerprint,
            end: End::Refused(refusal),
            at: self.now,
        };
        self.end_step(order.end_to_end_id, month, &closed);
        self.tell_end(
            order.payer,
            TransactionStatus::SettledDebtor,
            order.end_to_end_id,
            &closed,
        );
        self.closed.insert(order.end_to_end_id, closed);
    }

    fn answer(&mut self, inbound: &Inbound, message_id: MsgId, answer: &Answer) {
        let id = answer.end_to_end_id;
        let complain = |draft: &mut Self, description: &str| {
            let refusal = MessageRefusal {
                reference: message_id.to_string(),
                reason: "Situacao de pagamento recusada".to_owned(),
                location: Some("TxInfAndSts".to_owned()),
                description: Some(description.to_owned()),
                additional: Some(format!("EndToEndId={id}")),
            };
            draft.refuse_message(inbound, refusal);
        };
        if let Says::Nonsense(why) = &answer.says {
            return complain(self, why);
        }
        if let Some(open) = self.open(&id).cloned() {
            if open.receiver != inbound.sender {
                return complain(self, NOT_THE_RECEIVER);
            }
            return match &answer.says {
                _ if inbound.received_at > open.deadline => self.expire(id, &open),
                Says::Accepted => self.settle(id, &open),
                Says::Rejected(refusal) => self.release(id, &open, refusal.clone()),
                Says::Nonsense(_) => unreachable!("answered above"),
            };
        }
        match self.closed(&id).cloned() {
            None => complain(self, "no payment with this EndToEndId waits for an answer"),
            Some(Closed {
                end: End::Refused(_), ..
            }) => {
                complain(self, "no payment with this EndToEndId waits for an answer");
            }
            Some(closed) if closed.receiver != inbound.sender => complain(self, NOT_THE_RECEIVER),
            Some(closed) => match (&closed.end, &answer.says) {
                // The receiver repeats its own refusal: it knows.
                (End::Released(own), Says::Rejected(_)) if own.reason != StatusReason::AB03 => {}
                _ => self.tell_end(closed.receiver, TransactionStatus::SettledCreditor, id, &closed),
            },
        }
    }

    fn settle(&mut self, id: EndToEndId, open: &Open) {
        let amount = open.amount.to_i64();
        self.change(open.payer, 0, -amount);
        self.change(open.receiver, amount, 0);
        let seq = self.next_seq();
        self.batch.postings.push(PostingRow {
            seq,
            debit: open.payer,
            credit: open.receiver,
            amount: open.amount,
            end_to_end_id: Some(id),
        });
        let closed = self.close(id, open, End::Settled);
        self.tell_end(open.receiver, TransactionStatus::SettledCreditor, id, &closed);
        self.tell_end(open.payer, TransactionStatus::SettledDebtor, id, &closed);
    }

    fn release(&mut self, id: EndToEndId, open: &Open, refusal: Refusal) {
        let amount = open.amount.to_i64();
        self.change(open.payer, amount, -amount);
        let closed = self.close(id, open, End::Released(refusal));
        self.tell_end(open.payer, TransactionStatus::SettledDebtor, id, &closed);
    }

    /// Nobody answered in time: the block is released, and both are told (QA 426).
    fn expire(&mut self, id: EndToEndId, open: &Open) {
        let timeout = Refusal::new(
            StatusReason::AB03,
            "no answer from the receiver's participant in time",
        );
        self.release(id, open, timeout);
        let closed = self.closed(&id).cloned().expect("just closed");
        self.tell_end(open.receiver, TransactionStatus::SettledCreditor, id, &closed);
    }

    fn close(&mut self, id: EndToEndId, open: &Open, end: End) -> Closed {
        let closed = Closed {
            payer: open.payer,
            receiver: open.receiver,
            service_level: open.service_level,
            fingerprint: open.fingerprint,
            end,
            at: self.now,
        };
        self.end_step(id, open.month, &closed);
        self.opened.remove(&id);
        self.closed.insert(id, closed.clone());
        closed
    }

    fn end_step(&mut self, id: EndToEndId, month: Month, closed: &Closed) {
        let seq = self.next_seq();
        let end = Some(closed.end.clone());
        self.batch.steps.push(StepRow {
            seq,
            month,
            end_to_end_id: id,
            end,
            at: self.now,
        });
    }

    fn open_account(&mut self, account: Ispb, balance: Money) {
        if self.book.has_account(account) || self.batch.balances.get(&account).is_some_and(|row| row.opened) {
            return;
        }
        for new in [FUNDING_ACCOUNT, account] {
            if !self.book.has_account(new) {
                self.batch.balances.entry(new).or_default().opened = true;
            }
        }
        if balance.is_zero() {
            return;
        }
        let seq = self.next_seq();
        self.batch.postings.push(PostingRow {
            seq,
            debit: FUNDING_ACCOUNT,
            credit: account,
            amount: balance,
            end_to_end_id: None,
        });
        self.change(FUNDING_ACCOUNT, -balance.to_i64(), 0);
        self.change(account, balance.to_i64(), 0);
    }

    fn account(&self, account: Ispb) -> Account {
        match self.batch.balances.get(&account) {
            Some(row) => row.after,
            None => self.book.accounts.get(&account).copied().unwrap_or_default(),
        }
    }

    fn change(&mut self, account: Ispb, available: i64, blocked: i64) {
        let before = self.account(account);
        let row = self.batch.balances.entry(account).or_default();
        row.available_delta += available;
        row.blocked_delta += blocked;
        row.after = Account {
            available: before.available + available,
            blocked: before.blocked + blocked,
        };
    }

    fn open(&self, id: &EndToEndId) -> Option<&Open> {
        if self.closed.contains_key(id) {
            return None;
        }
        self.opened.get(id).or_else(|| self.book.open.get(id))
    }

    fn closed(&self, id: &EndToEndId) -> Option<&Closed> {
        self.closed.get(id).or_else(|| self.facts.payments.get(id))
    }

    /// Tells `to` how the payment ended; `settled` is how settlement is called on its side.
    fn tell_end(&mut self, to: Ispb, settled: TransactionStatus, id: EndToEndId, closed: &Closed) {
        let report = match &closed.end {
            End::Settled => Report {
                status: settled,
                reason: None,
                detail: None,
                settled_at: Some(closed.at),
            },
            End::Released(refusal) | End::Refused(refusal) => rejected(refusal.clone()),
        };
        let channel = Channel::of(closed.service_level);
        self.send(
            to,
            channel,
            Item::Status {
                end_to_end_id: id,
                report,
            },
        );
    }

    fn tell_refusal(&mut self, to: Ispb, channel: Channel, id: EndToEndId, refusal: Refusal) {
        self.send(
            to,
            channel,
            Item::Status {
                end_to_end_id: id,
                report: rejected(refusal),
            },
        );
    }

    fn refuse_message(&mut self, inbound: &Inbound, refusal: MessageRefusal) {
        self.send(inbound.sender, inbound.channel, Item::Refusal(refusal));
    }

    fn send(&mut self, destination: Ispb, channel: Channel, item: Item) {
        self.batch.last_outbox_id += 1;
        self.batch.outbox.push(Outgoing {
            id: self.batch.last_outbox_id,
            mailbox: Mailbox { destination, channel },
            created_at: self.now,
            item,
        });
    }
}

/// The SPI's own words for an answer from somebody else (QA 184).
const NOT_THE_RECEIVER: &str = "O emissor da situacao pagamento eh diferente do participante creditado";

fn other_content() -> Refusal {
    Refusal::new(StatusReason::DU03, "the EndToEndId was used for another order")
}

fn rejected(refusal: Refusal) -> Report {
    Report {
        status: TransactionStatus::Rejected,
        reason: Some(refusal.reason),
        detail: Some(refusal.detail).filter(|detail| !detail.is_empty()),
        settled_at: None,
    }
}

#[cfg(test)]
mod tests;
