//! The book: facts of one batch, the events folded over them, and what changed.

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{BTreeSet, HashMap};

use pix_domain::{
    AccountNumber, Branch, EndToEndId, Ispb, Key, Money, Purpose, StatusReason, Text, Timestamp,
    TransactionStatus,
};

use crate::{
    Account, AccountId, AccountState, Counterparty, Course, Destination, Incoming, Lookup, Outgoing, Payee,
    Payer, Payment, Pocket, Posting, Refusal, Stage, Verdict, judge_indirect, judge_receiver,
};

/// What the shell knows before it asks: everything that a batch names.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Accounts named by orders, and those of the payments below.
    pub accounts: Vec<Account>,
    /// Payments named by orders and statuses.
    pub payments: Vec<Payment>,
    /// Refusals that came before their order.
    pub early: Vec<EarlyStatus>,
    /// Idempotency keys already used, and the payments they made.
    pub keys: Vec<(OrderKey, EndToEndId)>,
    /// What orders by key were shown.
    pub lookups: Vec<Lookup>,
}

/// The caller's own name for an order (`Idempotency-Key`).
pub type OrderKey = Text<80>;

/// A customer's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The name it gets; the shell draws it, and keeps it however often the order is applied again.
    pub end_to_end_id: EndToEndId,
    /// The caller's own name for it.
    pub key: Option<OrderKey>,
    /// Who pays.
    pub from: Payer,
    /// Whom to pay.
    pub to: Payee,
    /// How much.
    pub amount: Money,
    /// What the payer wrote.
    pub description: Option<Text<140>>,
    /// When the payer asked.
    pub accepted_at: Timestamp,
}

/// How an order was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Blocked: a pacs.008 must go out.
    ToSend(EndToEndId),
    /// Settled inside the bank.
    Settled(EndToEndId),
    /// This very order was taken before.
    Again(EndToEndId),
}

/// Why an order is not taken, in rule precedence: the first that applies is the one answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefusal {
    /// The key named another order before.
    #[error("this Idempotency-Key was used for another order; use a new key")]
    KeyReused,
    /// Zero.
    #[error("the amount is zero; pay at least 0.01")]
    AmountZero,
    /// The payer's account is not here.
    #[error("the bank has no such paying account; check branch and number")]
    PayerUnknown,
    /// The payer's account has ended.
    #[error("the paying account is closed; pay from another one")]
    PayerClosed,
    /// The payer's account is blocked.
    #[error("the paying account is blocked; ask the bank to open it")]
    PayerBlocked,
    /// Nothing was looked up under this id, or for another account or key.
    #[error("no look-up with this end_to_end_id was made for this account and key; look the key up again")]
    LookupUnknown,
    /// It is too old.
    #[error("the look-up is older than 15 minutes; look the key up again")]
    LookupExpired,
    /// It led to another payment.
    #[error("the look-up was used for another payment; look the key up again")]
    LookupUsed,
    /// Payer and receiver are one account.
    #[error("payer and receiver are the same account; name another receiver")]
    SameAccount,
    /// A receiver at this same bank cannot take it.
    #[error("the receiver cannot be paid: {} ({})", .0.meaning(), .0.as_str())]
    Receiver(StatusReason),
    /// Not enough.
    #[error("the available balance is {available}; pay at most that")]
    InsufficientFunds {
        /// What there is.
        available: Money,
    },
    /// The id exists already for a payment of another kind: draw another one.
    #[error("the payment's id is taken; send the order again")]
    IdTaken,
}

impl OrderRefusal {
    /// Why, and what to do, in Portuguese.
    #[must_use]
    pub fn in_portuguese(&self) -> String {
        let fixed = match self {
            Self::KeyReused => "esta Idempotency-Key já serviu a outro pedido; use uma nova",
            Self::AmountZero => "o valor é zero; pague ao menos 0,01",
            Self::PayerUnknown => "a instituição não tem esta conta pagadora; confira agência e número",
            Self::PayerClosed => "a conta pagadora está encerrada; pague por outra",
            Self::PayerBlocked => "a conta pagadora está bloqueada; peça à instituição que a desbloqueie",
            Self::LookupUnknown => {
                "esta chave não foi consultada com este identificador para esta conta; consulte a chave de novo"
            }
            Self::LookupExpired => "a consulta tem mais de 15 minutos; consulte a chave de novo",
            Self::LookupUsed => "a consulta já serviu a outro pagamento; consulte a chave de novo",
            Self::SameAccount => "quem paga e quem recebe são a mesma conta; informe outro recebedor",
            Self::IdTaken => "o identificador do pagamento já existe; envie o pedido de novo",
            Self::Receiver(reason) => {
                let meaning = crate::meaning_in_portuguese(*reason);
                return format!(
                    "não é possível pagar a quem recebe: {meaning} ({})",
                    reason.as_str()
                );
            }
            Self::InsufficientFunds { available } => {
                let available = available.to_string().replace('.', ",");
                return format!("o saldo disponível é {available}; pague no máximo isso");
            }
        };
        fixed.to_owned()
    }
}

/// One transaction of an incoming pacs.008.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingOrder {
    /// Its name.
    pub end_to_end_id: EndToEndId,
    /// Amount.
    pub amount: Money,
    /// When the payer asked.
    pub accepted_at: Timestamp,
    /// The payer.
    pub from: Counterparty,
    /// The receiver, as the payer believes.
    pub to: Destination,
    /// Purpose.
    pub purpose: Purpose,
    /// The key that the payer used.
    pub key: Option<Key>,
    /// What the payer wrote.
    pub description: Option<Text<140>>,
}

/// What this bank must say to an incoming order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The payment.
    pub end_to_end_id: EndToEndId,
    /// ACSP or RJCT.
    pub verdict: Verdict,
}

/// One transaction of a pacs.002 from the SPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusReport {
    /// The payment.
    pub end_to_end_id: EndToEndId,
    /// What became of it.
    pub status: TransactionStatus,
    /// Why, when refused.
    pub reason: Option<StatusReason>,
}

/// A refusal that overtook its order: the order, when it comes, is refused at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlyStatus {
    /// The payment.
    pub end_to_end_id: EndToEndId,
    /// Why.
    pub reason: StatusReason,
    /// When it arrived.
    pub at: Timestamp,
}

/// One line of a payment's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The payment.
    pub end_to_end_id: EndToEndId,
    /// What happened.
    pub stage: Stage,
    /// When this bank knew.
    pub at: Timestamp,
    /// A code, where there is one.
    pub detail: Option<String>,
}

/// Something people should look at: it changes no money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// The payment.
    pub end_to_end_id: EndToEndId,
    /// What is odd.
    pub kind: AnomalyKind,
    /// When.
    pub at: Timestamp,
}

/// What is odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnomalyKind {
    /// A status for a payment that this bank does not have.
    UnknownPayment,
    /// A status that contradicts how the payment ended, or which side this bank is on.
    Contradiction,
    /// An order whose EndToEndId belongs to a different payment.
    ReusedId,
    /// The pockets do not hold what the payment says they hold.
    BrokenBook,
}

impl AnomalyKind {
    /// A word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownPayment => "unknown_payment",
            Self::Contradiction => "contradiction",
            Self::ReusedId => "reused_id",
            Self::BrokenBook => "broken_book",
        }
    }
}

/// What a batch changed: the shell writes all of it, or none.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Accounts whose balances changed.
    pub accounts: Vec<Account>,
    /// New payments.
    pub created: Vec<Payment>,
    /// Payments that went on.
    pub updated: Vec<Payment>,
    /// Moves of money, in order, with their payment.
    pub postings: Vec<(EndToEndId, Posting)>,
    /// Lines of timelines, in order.
    pub steps: Vec<Step>,
    /// Refusals that overtook their order.
    pub early: Vec<EarlyStatus>,
    /// Idempotency keys used.
    pub keys: Vec<(OrderKey, EndToEndId)>,
    /// What people should look at.
    pub anomalies: Vec<Anomaly>,
}

/// The book of one bank, as far as one batch needs it.
#[derive(Debug)]
pub struct Book {
    ours: Ispb,
    accounts: BTreeMap<AccountId, Account>,
    payments: HashMap<EndToEndId, Payment>,
    early: HashMap<EndToEndId, EarlyStatus>,
    keys: HashMap<OrderKey, EndToEndId>,
    lookups: HashMap<EndToEndId, Lookup>,
    touched: BTreeSet<AccountId>,
    created: BTreeSet<EndToEndId>,
    updated: BTreeSet<EndToEndId>,
    changes: Changes,
}

impl Book {
    /// Opens the book of participant `ours` at what the shell knows.
    #[must_use]
    pub fn new(ours: Ispb, facts: Facts) -> Self {
        Self {
            ours,
            accounts: facts
                .accounts
                .into_iter()
                .map(|account| (account.id, account))
                .collect(),
            payments: facts
                .payments
                .into_iter()
                .map(|payment| (payment.end_to_end_id, payment))
                .collect(),
            early: facts
                .early
                .into_iter()
                .map(|early| (early.end_to_end_id, early))
                .collect(),
            keys: facts.keys.into_iter().collect(),
            lookups: facts
                .lookups
                .into_iter()
                .map(|lookup| (lookup.end_to_end_id, lookup))
                .collect(),
            touched: BTreeSet::new(),
            created: BTreeSet::new(),
            updated: BTreeSet::new(),
            changes: Changes::default(),
        }
    }

    /// A customer pays.
    ///
    /// # Errors
    /// [`OrderRefusal`]: nothing changed.
    pub fn order(&mut self, order: &Order, now: Timestamp) -> Result<Accepted, OrderRefusal> {
        if let Some(known) = self.known(order)? {
            return Ok(Accepted::Again(known));
        }
        if order.amount.is_zero() {
            return Err(OrderRefusal::AmountZero);
        }
        let payer = self.payer(&order.from).ok_or(OrderRefusal::PayerUnknown)?;
        match payer.state {
            AccountState::Closed => return Err(OrderRefusal::PayerClosed),
            AccountState::Blocked => return Err(OrderRefusal::PayerBlocked),
            AccountState::Open => {}
        }
        let (from, available) = (payer.id, payer.balances.available);
        let (to, looked_up) = match &order.to {
            Payee::Account(to) => (Counterparty::from(to.clone()), None),
            Payee::Key(key) => {
                let found = self.looked_up(order.end_to_end_id, key, from, now)?;
                (found.to.clone(), Some((found.key.clone(), found.at)))
            }
        };
        let receiver = if self.settles_for(to.ispb) {
            Some(self.book_receiver(&to, order.amount, from)?)
        } else {
            None
        };
        if available < order.amount {
            return Err(OrderRefusal::InsufficientFunds { available });
        }
        let (target, course) = match receiver {
            Some(to) => (
                Pocket::Available(to),
                Course::Book {
                    from,
                    to,
                    settled_at: now,
                },
            ),
            None => (
                Pocket::Blocked(from),
                Course::Outgoing {
                    account: from,
                    state: Outgoing::Pending,
                },
            ),
        };
        let id = order.end_to_end_id;
        let posting = Posting {
            from: Pocket::Available(from),
            to: target,
            amount: order.amount,
        };
        if !self.post(id, &[posting], now) {
            return Err(OrderRefusal::InsufficientFunds { available });
        }
        self.create(Payment {
            end_to_end_id: id,
            amount: order.amount,
            accepted_at: order.accepted_at,
            counterparty: to,
            on_behalf_of: match &order.from {
                Payer::Customer(..) => None,
                Payer::Indirect(customer) => Some(customer.clone()),
            },
            key: looked_up.as_ref().map(|(key, _)| key.clone()),
            description: order.description.clone(),
            course,
        });
        if let Some((_, at)) = looked_up {
            self.step(id, Stage::LookedUp, at, None);
        }
        if let Some(key) = &order.key {
            self.keys.insert(key.clone(), id);
            self.changes.keys.push((key.clone(), id));
        }
        self.step(id, Stage::Accepted, order.accepted_at, None);
        if receiver.is_some() {
            self.step(id, Stage::Settled, now, Some("book transfer".to_owned()));
            return Ok(Accepted::Settled(id));
        }
        self.step(id, Stage::Blocked, now, None);
        Ok(Accepted::ToSend(id))
    }

    /// Someone elsewhere pays a customer here. Gives the answer that must go out, if any.
    pub fn incoming(&mut self, order: &IncomingOrder, now: Timestamp) -> Option<Answer> {
        let id = order.end_to_end_id;
        if let Some(known) = self.payments.get(&id) {
            return self.incoming_again(&known.clone(), order, now);
        }
        let indirect = self.indirect(order.to.ispb);
        let account = indirect.or_else(|| self.find(order.to.branch, &order.to.number));
        let named = account.map(|account| account.id);
        let judged = match indirect {
            Some(account) => judge_indirect(account, order.purpose, order.amount),
            None => judge_receiver(self.ours, account, &order.to, order.purpose, order.amount),
        };
        let judged = judged.map(|account| account.id);
        let on_behalf_of = self.on_behalf_of(order);
        self.step(id, Stage::Received, now, None);
        let (state, verdict) = match (self.early.get(&id), judged) {
            (Some(early), _) => {
                let refusal = Refusal::Status(early.reason);
                self.step(id, Stage::Refused, now, Some(refusal.code()));
                (
                    Incoming::Refused {
                        at: now,
                        refusal,
                        by_us: false,
                    },
                    None,
                )
            }
            (None, Ok(to)) => {
                let note = Posting {
                    from: Pocket::InTransit,
                    to: Pocket::Provisional(to),
                    amount: order.amount,
                };
                if self.post(id, &[note], now) {
                    self.step(id, Stage::Answered, now, Some("ACSP".to_owned()));
                    (Incoming::Answered, Some(Verdict::Accept))
                } else {
                    (
                        self.refuse_incoming(id, StatusReason::AB09, now),
                        Some(Verdict::Reject(StatusReason::AB09)),
                    )
                }
            }
            (None, Err(reason)) => (
                self.refuse_incoming(id, reason, now),
                Some(Verdict::Reject(reason)),
            ),
        };
        self.create(Payment {
            end_to_end_id: id,
            amount: order.amount,
            accepted_at: order.accepted_at,
            counterparty: order.from.clone(),
            on_behalf_of,
            key: order.key.clone(),
            description: order.description.clone(),
            course: Course::Incoming {
                account: named,
                state,
            },
        });
        verdict.map(|verdict| Answer {
            end_to_end_id: id,
            verdict,
        })
    }

    /// The SPI tells what became of a payment.
    pub fn status(&mut self, report: &StatusReport, now: Timestamp) {
        let id = report.end_to_end_id;
        let Some(payment) = self.payments.get(&id) else {
            return self.status_of_unknown(report, now);
        };
        let amount = payment.amount;
        let reason = report.reason.unwrap_or(StatusReason::ED05);
        match (payment.course.clone(), report.status) {
            (
                Course::Outgoing {
                    account,
                    state: Outgoing::Pending,
                },
                TransactionStatus::SettledDebtor,
            ) => {
                let gone = Posting {
                    from: Pocket::Blocked(account),
                    to: Pocket::Settlement,
                    amount,
                };
                let next = Course::Outgoing {
                    account,
                    state: Outgoing::Settled { at: now },
                };
                self.advance(id, &[gone], next, Stage::Settled, None, now);
            }
            (
                Course::Outgoing {
                    account,
                    state: Outgoing::Pending,
                },
                TransactionStatus::Rejected,
            ) => {
                self.release(id, account, Refusal::Status(reason), now);
            }
            (
                Course::Incoming {
                    account: Some(account),
                    state: Incoming::Answered,
                },
                TransactionStatus::SettledCreditor,
            ) => {
                let postings = [
                    Posting {
                        from: Pocket::Provisional(account),
                        to: Pocket::Available(account),
                        amount,
                    },
                    Posting {
                        from: Pocket::Settlement,
                        to: Pocket::InTransit,
                        amount,
                    },
                ];
                let next = Course::Incoming {
                    account: Some(account),
                    state: Incoming::Settled { at: now },
                };
                self.advance(id, &postings, next, Stage::Credited, None, now);
            }
            (
                Course::Incoming {
                    account: Some(account),
                    state: Incoming::Answered,
                },
                TransactionStatus::Rejected,
            ) => {
                let undone = Posting {
                    from: Pocket::Provisional(account),
                    to: Pocket::InTransit,
                    amount,
                };
                let refusal = Refusal::Status(reason);
                let code = refusal.code();
                let state = Incoming::Refused {
                    at: now,
                    refusal,
                    by_us: false,
                };
                let next = Course::Incoming {
                    account: Some(account),
                    state,
                };
                self.advance(id, &[undone], next, Stage::Refused, Some(code), now);
            }
            // Repeats: the stream delivers at least once.
            (
                Course::Outgoing {
                    state: Outgoing::Settled { .. },
                    ..
                },
                TransactionStatus::SettledDebtor,
            )
            | (
                Course::Outgoing {
                    state: Outgoing::Refused { .. },
                    ..
                },
                TransactionStatus::Rejected,
            )
            | (
                Course::Incoming {
                    state: Incoming::Settled { .. },
                    ..
                },
                TransactionStatus::SettledCreditor,
            )
            | (
                Course::Incoming {
                    state: Incoming::Refused { .. },
                    ..
                },
                TransactionStatus::Rejected,
            ) => {}
            (
                Course::Outgoing { .. } | Course::Incoming { .. } | Course::Book { .. },
                TransactionStatus::AcceptedSettlementInProcess
                | TransactionStatus::Rejected
                | TransactionStatus::SettledDebtor
                | TransactionStatus::SettledCreditor,
            ) => self.contradicted(id, report.status.as_str(), now),
        }
    }

    /// A message that carried this outgoing payment was refused as a whole: by admi.002, or at the door.
    pub fn message_refused(&mut self, id: EndToEndId, refusal: &Refusal, now: Timestamp) {
        let Some(payment) = self.payments.get(&id) else {
            return self.anomaly(id, AnomalyKind::UnknownPayment, now);
        };
        match payment.course {
            Course::Outgoing {
                account,
                state: Outgoing::Pending,
            } => self.release(id, account, refusal.clone(), now),
            Course::Outgoing {
                state: Outgoing::Refused { .. },
                ..
            } => {}
            Course::Outgoing {
                state: Outgoing::Settled { .. },
                ..
            }
            | Course::Incoming { .. }
            | Course::Book { .. } => {
                self.contradicted(id, &refusal.code(), now);
            }
        }
    }

    /// A payment of this batch's facts, as it stands now.
    #[must_use]
    pub fn payment(&self, id: &EndToEndId) -> Option<&Payment> {
        self.payments.get(id)
    }

    /// An account of this batch's facts, as it stands now.
    #[must_use]
    pub fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(&id)
    }

    /// Everything that changed since [`Book::new`].
    #[must_use]
    pub fn into_changes(mut self) -> Changes {
        let take = |ids: &BTreeSet<EndToEndId>| {
            ids.iter()
                .filter_map(|id| self.payments.get(id).cloned())
                .collect()
        };
        self.changes.created = take(&self.created);
        self.updated.retain(|id| !self.created.contains(id));
        self.changes.updated = take(&self.updated);
        let accounts = self
            .touched
            .iter()
            .filter_map(|id| self.accounts.get(id).cloned());
        self.changes.accounts = accounts.collect();
        self.changes
    }

    /// The payment an order already made, by its key or by its own id.
    fn known(&self, order: &Order) -> Result<Option<EndToEndId>, OrderRefusal> {
        let by_key = order.key.as_ref().and_then(|key| self.keys.get(key)).copied();
        let Some(payment) = self.payments.get(&by_key.unwrap_or(order.end_to_end_id)) else {
            return Ok(None);
        };
        let (Course::Outgoing { account: from, .. } | Course::Book { from, .. }) = payment.course else {
            return Err(OrderRefusal::IdTaken);
        };
        let behalf = match &order.from {
            Payer::Customer(..) => None,
            Payer::Indirect(customer) => Some(customer),
        };
        let same_payer = self.payer(&order.from).is_some_and(|payer| payer.id == from)
            && payment.on_behalf_of.as_ref() == behalf;
        let same_payee = match &order.to {
            Payee::Account(to) => {
                payment.key.is_none() && payment.counterparty == Counterparty::from(to.clone())
            }
            // Under one name or id: looked up once more perhaps, but to be paid once.
            Payee::Key(key) => payment.key.as_ref() == Some(key),
        };
        let same = same_payer
            && same_payee
            && payment.amount == order.amount
            && payment.description == order.description;
        match (same, by_key, &order.to) {
            (true, _, _) => Ok(Some(payment.end_to_end_id)),
            (false, Some(_), _) => Err(OrderRefusal::KeyReused),
            (false, None, Payee::Key(_)) => Err(OrderRefusal::LookupUsed),
            (false, None, Payee::Account(_)) => Err(OrderRefusal::IdTaken),
        }
    }

    /// What the payer was shown under this id; nobody pays by what another account looked up.
    fn looked_up(
        &self,
        id: EndToEndId,
        key: &Key,
        payer: AccountId,
        now: Timestamp,
    ) -> Result<&Lookup, OrderRefusal> {
        let found = self.lookups.get(&id);
        let found = found.filter(|lookup| lookup.account == payer && lookup.key == *key);
        let found = found.ok_or(OrderRefusal::LookupUnknown)?;
        found
            .is_fresh(now)
            .then_some(found)
            .ok_or(OrderRefusal::LookupExpired)
    }

    /// The account with this number at this branch, as it stands now.
    #[must_use]
    pub fn account_at(&self, (branch, number): &(Branch, AccountNumber)) -> Option<&Account> {
        self.find(Some(*branch), number)
    }

    /// The account that this payer pays from.
    fn payer(&self, payer: &Payer) -> Option<&Account> {
        match payer {
            Payer::Customer(branch, number) => self.find(Some(*branch), number),
            Payer::Indirect(customer) => self.indirect(customer.ispb),
        }
    }

    /// Whether a payment to this participant stays in this book.
    fn settles_for(&self, ispb: Ispb) -> bool {
        // One that another settles for by now may have money here still.
        let open = |account: &Account| account.state == AccountState::Open;
        ispb == self.ours || self.indirect(ispb).is_some_and(open)
    }

    /// The account of an indirect participant, also of one that this bank settled for once.
    fn indirect(&self, ispb: Ispb) -> Option<&Account> {
        self.accounts
            .values()
            .find(|account| account.indirect == Some(ispb))
    }

    /// Whose money an incoming order's is, when it is not for a customer of this bank.
    fn on_behalf_of(&self, order: &IncomingOrder) -> Option<Counterparty> {
        self.indirect(order.to.ispb).map(|_| order.to.clone().into())
    }

    /// The customer's account with this number, at this branch; without a branch, the only one with this number.
    fn find(&self, branch: Option<Branch>, number: &AccountNumber) -> Option<&Account> {
        let ours = self
            .accounts
            .values()
            .filter(|account| account.indirect.is_none());
        let mut found = ours.filter(|account| account.number == *number);
        match branch {
            Some(branch) => found.find(|account| account.branch == branch),
            None => found.next().filter(|_| found.next().is_none()),
        }
    }

    fn book_receiver(
        &self,
        to: &Counterparty,
        amount: Money,
        payer: AccountId,
    ) -> Result<AccountId, OrderRefusal> {
        let indirect = self.indirect(to.ispb);
        let account = indirect.or_else(|| self.find(to.branch, &to.number));
        if account.is_some_and(|account| account.id == payer) {
            return Err(OrderRefusal::SameAccount);
        }
        let to = Destination::from(to.clone());
        let purpose = Purpose::InstantPayment;
        let judged = match indirect {
            Some(account) => judge_indirect(account, purpose, amount),
            None => judge_receiver(self.ours, account, &to, purpose, amount),
        };
        judged.map(|account| account.id).map_err(OrderRefusal::Receiver)
    }

    /// The order came before, under another PI-ResourceId perhaps: same answer, no second credit.
    fn incoming_again(&mut self, known: &Payment, order: &IncomingOrder, now: Timestamp) -> Option<Answer> {
        let id = known.end_to_end_id;
        let Course::Incoming { state, .. } = &known.course else {
            self.anomaly(id, AnomalyKind::ReusedId, now);
            return None;
        };
        let same = known.amount == order.amount
            && known.accepted_at == order.accepted_at
            && known.counterparty == order.from
            && known.on_behalf_of == self.on_behalf_of(order)
            && known.key == order.key
            && known.description == order.description;
        if !same {
            self.anomaly(id, AnomalyKind::ReusedId, now);
            return None;
        }
        let verdict = match state {
            Incoming::Answered => Verdict::Accept,
            Incoming::Refused {
                refusal: Refusal::Status(reason),
                by_us: true,
                ..
            } => Verdict::Reject(*reason),
            Incoming::Refused { .. } | Incoming::Settled { .. } => return None,
        };
        Some(Answer {
            end_to_end_id: id,
            verdict,
        })
    }

    fn status_of_unknown(&mut self, report: &StatusReport, now: Timestamp) {
        let id = report.end_to_end_id;
        match report.status {
            TransactionStatus::Rejected => {
                let reason = report.reason.unwrap_or(StatusReason::ED05);
                let early = EarlyStatus {
                    end_to_end_id: id,
                    reason,
                    at: now,
                };
                // The first refusal stays: it is also the one that the store keeps.
                self.early.entry(id).or_insert_with(|| {
                    self.changes.early.push(early);
                    early
                });
            }
            TransactionStatus::SettledDebtor
            | TransactionStatus::SettledCreditor
            | TransactionStatus::AcceptedSettlementInProcess => {
                self.anomaly(id, AnomalyKind::UnknownPayment, now)
            }
        }
    }

    fn refuse_incoming(&mut self, id: EndToEndId, reason: StatusReason, now: Timestamp) -> Incoming {
        let refusal = Refusal::Status(reason);
        self.step(id, Stage::Refused, now, Some(refusal.code()));
        Incoming::Refused {
            at: now,
            refusal,
            by_us: true,
        }
    }

    fn release(&mut self, id: EndToEndId, account: AccountId, refusal: Refusal, now: Timestamp) {
        let Some(amount) = self.payments.get(&id).map(|payment| payment.amount) else {
            return;
        };
        let back = Posting {
            from: Pocket::Blocked(account),
            to: Pocket::Available(account),
            amount,
        };
        let code = refusal.code();
        let next = Course::Outgoing {
            account,
            state: Outgoing::Refused { at: now, refusal },
        };
        self.advance(id, &[back], next, Stage::Refused, Some(code), now);
    }

    /// Moves the money and the payment together, or neither.
    fn advance(
        &mut self,
        id: EndToEndId,
        postings: &[Posting],
        next: Course,
        stage: Stage,
        detail: Option<String>,
        now: Timestamp,
    ) {
        if !self.post(id, postings, now) {
            return;
        }
        if let Some(payment) = self.payments.get_mut(&id) {
            payment.course = next;
            self.updated.insert(id);
        }
        self.step(id, stage, now, detail);
    }

    fn create(&mut self, payment: Payment) {
        self.created.insert(payment.end_to_end_id);
        self.payments.insert(payment.end_to_end_id, payment);
    }

    fn step(&mut self, id: EndToEndId, stage: Stage, at: Timestamp, detail: Option<String>) {
        self.changes.steps.push(Step {
            end_to_end_id: id,
            stage,
            at,
            detail,
        });
    }

    fn contradicted(&mut self, id: EndToEndId, what: &str, now: Timestamp) {
        self.step(id, Stage::Contradicted, now, Some(what.to_owned()));
        self.anomaly(id, AnomalyKind::Contradiction, now);
    }

    fn anomaly(&mut self, end_to_end_id: EndToEndId, kind: AnomalyKind, at: Timestamp) {
        self.changes.anomalies.push(Anomaly {
            end_to_end_id,
            kind,
            at,
        });
    }

    /// Applies all postings or, when a customer's pocket lacks the money, none: that is a broken book.
    fn post(&mut self, id: EndToEndId, postings: &[Posting], now: Timestamp) -> bool {
        let mut moved: BTreeMap<AccountId, Account> = BTreeMap::new();
        for posting in postings {
            let done = self.draw(&mut moved, posting.from, posting.amount).is_some()
                && self.fill(&mut moved, posting.to, posting.amount).is_some();
            if !done {
                self.anomaly(id, AnomalyKind::BrokenBook, now);
                return false;
            }
        }
        self.touched.extend(moved.keys());
        self.accounts.extend(moved);
        self.changes
            .postings
            .extend(postings.iter().map(|posting| (id, *posting)));
        true
    }

    fn draw(&self, moved: &mut BTreeMap<AccountId, Account>, pocket: Pocket, amount: Money) -> Option<()> {
        let Some(held) = self.pocket(moved, pocket)? else {
            return Some(());
        };
        *held = held.checked_sub(amount)?;
        Some(())
    }

    fn fill(&self, moved: &mut BTreeMap<AccountId, Account>, pocket: Pocket, amount: Money) -> Option<()> {
        let Some(held) = self.pocket(moved, pocket)? else {
            return Some(());
        };
        *held = held.checked_add(amount)?;
        Some(())
    }

    /// The customer's pocket in `moved`; `Some(None)` for a pocket of the bank's own, `None` for an account
    /// that the facts do not hold.
    fn pocket<'a>(
        &self,
        moved: &'a mut BTreeMap<AccountId, Account>,
        pocket: Pocket,
    ) -> Option<Option<&'a mut Money>> {
        let (Pocket::Available(id) | Pocket::Blocked(id) | Pocket::Provisional(id)) = pocket else {
            return Some(None);
        };
        let account = match moved.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(self.accounts.get(&id)?.clone()),
        };
        let balances = &mut account.balances;
        Some(Some(match pocket {
            Pocket::Available(_) => &mut balances.available,
            Pocket::Blocked(_) => &mut balances.blocked,
            Pocket::Provisional(_) => &mut balances.provisional,
            Pocket::Settlement | Pocket::InTransit | Pocket::Opening => return Some(None),
        }))
    }
}
