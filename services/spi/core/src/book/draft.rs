//! A batch in the making.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use pix_domain::{
    EndToEndId, Ispb, Money, Month, MsgId, ResourceId, StatusReason, Timestamp, TransactionStatus,
};

use super::{
    Account, Answer, BOOK_MAX, BalanceRow, Batch, Book, Closed, Content, Decision, End, FUNDING_ACCOUNT,
    FUNDING_MAX, Facts, FundRefusal, Funded, Funding, FundingId, FundingRow, Inbound, KnownFunding,
    KnownMessage, MessageRow, Open, PaymentRow, PostingRow, Says, StepRow,
};
use crate::order::{Order, Refusal, Verdict};
use crate::outgoing::{Channel, Item, Mailbox, MessageRefusal, Outgoing, Report};

/// A batch in the making: the book as it was, and what the commands so far changed.
pub(super) struct Draft<'a> {
    book: &'a Book,
    facts: &'a Facts,
    now: Timestamp,
    pub(super) batch: Batch,
    seq: i64,
    messages: HashMap<(Ispb, MsgId), KnownMessage>,
    fundings: HashMap<FundingId, KnownFunding>,
    opened: HashMap<EndToEndId, Open>,
    closed: HashMap<EndToEndId, Closed>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(book: &'a Book, facts: &'a Facts, now: Timestamp) -> Self {
        let batch = Batch {
            number: book.last_batch + 1,
            first_seq: book.last_seq + 1,
            last_outbox_id: book.last_outbox_id,
            decided_at: Some(now),
            previous: book.latest,
            ..Batch::default()
        };
        Self {
            book,
            facts,
            now,
            batch,
            seq: book.last_seq,
            messages: HashMap::new(),
            fundings: HashMap::new(),
            opened: HashMap::new(),
            closed: HashMap::new(),
        }
    }

    pub(super) fn finish(mut self) -> Decision {
        self.batch.last_seq = self.seq;
        self.batch.latest = self.batch.latest();
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
    pub(super) fn message(&mut self, position: usize, inbound: &Arc<Inbound>) -> ResourceId {
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
                self.answers(inbound, *message_id, answers);
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
            (Verdict::Unclaimed(refusal) | Verdict::Unsound(refusal), Some(month)) => (month, Some(refusal)),
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
        if let (Verdict::Unclaimed(_), Some(refusal)) = (&order.verdict, refusal) {
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
                creditor: Some(Arc::clone(&order.creditor)),
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

    /// Answers one by one; what is wrong with some goes back in one admi.002 for each kind of fault.
    fn answers(&mut self, inbound: &Inbound, message_id: MsgId, answers: &[Answer]) {
        let mut complaints: BTreeMap<&'static str, Vec<EndToEndId>> = BTreeMap::new();
        for answer in answers {
            if let Err(why) = self.answer(inbound, answer) {
                complaints.entry(why).or_default().push(answer.end_to_end_id);
            }
        }
        for (why, ids) in complaints {
            let named: Vec<_> = ids.iter().map(|id| format!("EndToEndId={id}")).collect();
            let refusal = MessageRefusal {
                reference: message_id.to_string(),
                reason: "Situacao de pagamento recusada".to_owned(),
                location: Some("TxInfAndSts".to_owned()),
                description: Some(why.to_owned()),
                additional: Some(named.join(" ")),
            };
            self.refuse_message(inbound, refusal);
        }
    }

    /// One answer, or why it is none.
    fn answer(&mut self, inbound: &Inbound, answer: &Answer) -> Result<(), &'static str> {
        let id = answer.end_to_end_id;
        if let Says::Nonsense(why) = answer.says {
            return Err(why);
        }
        if let Some(open) = self.open(&id).cloned() {
            if open.receiver != inbound.sender {
                return Err(NOT_THE_RECEIVER);
            }
            match &answer.says {
                _ if inbound.received_at > open.deadline => self.expire(id, &open),
                Says::Accepted => self.settle(id, &open),
                Says::Rejected(refusal) => self.release(id, &open, refusal.clone()),
                Says::Nonsense(_) => unreachable!("returned above"),
            }
            return Ok(());
        }
        let closed = self.closed(&id).cloned();
        let known = closed.filter(|closed| !matches!(closed.end, End::Refused(_)));
        let closed = known.ok_or("no payment with this EndToEndId waits for an answer")?;
        if closed.receiver != inbound.sender {
            return Err(NOT_THE_RECEIVER);
        }
        match (&closed.end, &answer.says) {
            // The receiver repeats its own refusal: it knows.
            (End::Released(own), Says::Rejected(_)) if own.reason != StatusReason::AB03 => {}
            _ => self.tell_end(closed.receiver, TransactionStatus::SettledCreditor, id, &closed),
        }
        Ok(())
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
            creditor: open.creditor.clone(),
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
    pub(super) fn expire(&mut self, id: EndToEndId, open: &Open) {
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

    pub(super) fn open_account(&mut self, account: Ispb, balance: Money) {
        if self.has_account(account) {
            return;
        }
        for new in [FUNDING_ACCOUNT, account] {
            if !self.book.has_account(new) {
                self.batch.balances.entry(new).or_default().opened = true;
            }
        }
        if !balance.is_zero() {
            self.post_funding(account, balance.to_i64());
        }
    }

    /// Moves money between the funding account and a Conta PI, once for each id.
    pub(super) fn fund(&mut self, funding: &Funding) -> Result<Funded, FundRefusal> {
        let known = self.fundings.get(&funding.id);
        if let Some(known) = known.or_else(|| self.facts.fundings.get(&funding.id)) {
            // Who ordered it may say so in other words; the money is what counts.
            if (known.account, known.amount) == (funding.account, funding.amount) {
                return Ok(known.funded);
            }
            return Err(FundRefusal::OtherContent {
                account: known.account,
                amount: known.amount,
            });
        }
        if !(1..=FUNDING_MAX.unsigned_abs()).contains(&funding.amount.unsigned_abs()) {
            return Err(FundRefusal::Amount);
        }
        if funding.account == FUNDING_ACCOUNT || !self.has_account(funding.account) {
            return Err(FundRefusal::NoAccount(funding.account));
        }
        let available = self.account(funding.account).available;
        if available < -funding.amount {
            return Err(FundRefusal::NotEnough { available });
        }
        // What all Conta PI hold is what the funding account owes.
        let held = self.account(FUNDING_ACCOUNT).available.unsigned_abs();
        if funding.amount > 0 && held.saturating_add(funding.amount.unsigned_abs()) > BOOK_MAX.unsigned_abs()
        {
            return Err(FundRefusal::BookFull);
        }
        let seq = self.next_seq();
        let posting = self.post_funding(funding.account, funding.amount);
        let available_after = self.account(funding.account).available;
        let funded = Funded {
            sequence: posting,
            batch: self.batch.number,
            available: available_after,
        };
        self.batch.fundings.push(FundingRow {
            seq,
            posting,
            funding: funding.clone(),
            available_after,
        });
        let known = KnownFunding {
            account: funding.account,
            amount: funding.amount,
            funded,
        };
        self.fundings.insert(funding.id, known);
        Ok(funded)
    }

    /// The posting of centavos from the funding account, or back to it below zero; its number.
    fn post_funding(&mut self, account: Ispb, centavos: i64) -> i64 {
        let (debit, credit) = match centavos > 0 {
            true => (FUNDING_ACCOUNT, account),
            false => (account, FUNDING_ACCOUNT),
        };
        let seq = self.next_seq();
        self.batch.postings.push(PostingRow {
            seq,
            debit,
            credit,
            amount: Money::from_centavos(centavos.unsigned_abs()),
            end_to_end_id: None,
            creditor: None,
        });
        self.change(FUNDING_ACCOUNT, -centavos, 0);
        self.change(account, centavos, 0);
        seq
    }

    fn has_account(&self, account: Ispb) -> bool {
        let opened = |row: &BalanceRow| row.opened;
        self.book.has_account(account) || self.batch.balances.get(&account).is_some_and(opened)
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

    pub(super) fn open(&self, id: &EndToEndId) -> Option<&Open> {
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
