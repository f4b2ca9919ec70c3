//! Tests of the book: single stories, then any sequence of events at all.
//!
//! [`World`] is what Postgres is in the shell: it hands out facts, and keeps what a batch changed.

use std::collections::{BTreeMap, HashMap};

use pix_domain::{
    AccountNumber, AccountType, Branch, EndToEndId, Ispb, Key, Money, Purpose, StatusReason, TaxId, Text,
    Timestamp, TransactionStatus,
};
use proptest::prelude::*;

use crate::*;

const HOLDERS: [&[u8]; ACCOUNTS] = [
    b"52998224725",
    b"11144477735",
    b"11222333000181",
    b"1111000V000126",
];
const STATES: [AccountState; ACCOUNTS] = [
    AccountState::Open,
    AccountState::Open,
    AccountState::Blocked,
    AccountState::Open,
];
/// The last is that of the indirect participant.
const ACCOUNTS: usize = 4;
const INDIRECT: usize = 3;
const OPENING: u64 = 10_000;

fn ours() -> Ispb {
    Ispb::parse(b"11111111").unwrap()
}

/// It stands behind us: account 3 is its.
fn behind() -> Ispb {
    Ispb::parse(b"1111000V").unwrap()
}

fn theirs() -> Ispb {
    Ispb::parse(b"22222222").unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + second * 1_000_000)
}

fn id(n: u8) -> EndToEndId {
    EndToEndId::new(ours(), at(0), u128::from(n))
}

fn number(n: usize) -> AccountNumber {
    AccountNumber::parse(format!("10000{n}").as_bytes()).unwrap()
}

fn branch() -> Branch {
    Branch::parse(b"0001").unwrap()
}

fn account(n: usize) -> Account {
    Account {
        id: AccountId(i64::try_from(n).unwrap()),
        indirect: (n == INDIRECT).then(behind),
        branch: branch(),
        number: number(n),
        kind: AccountType::Current,
        holder: Text::parse("Holder").unwrap(),
        tax_id: TaxId::parse(HOLDERS[n]).unwrap(),
        state: STATES[n],
        balances: Balances {
            available: Money::from_centavos(OPENING),
            ..Balances::default()
        },
    }
}

fn to_account(n: usize, ispb: Ispb) -> Destination {
    let holder = HOLDERS.get(n).unwrap_or(&HOLDERS[0]);
    Destination {
        ispb,
        branch: Some(branch()),
        number: number(n),
        kind: AccountType::Current,
        tax_id: TaxId::parse(holder).unwrap(),
    }
}

fn order(n: u8, from: usize, to: Destination, centavos: u64) -> Order {
    Order {
        end_to_end_id: id(n),
        key: None,
        from: if from == INDIRECT {
            on_behalf_of(0)
        } else {
            Payer::Customer(branch(), number(from))
        },
        to: Payee::Account(to),
        amount: Money::from_centavos(centavos),
        description: None,
        accepted_at: at(0),
    }
}

/// A customer of the indirect participant pays.
fn on_behalf_of(customer: usize) -> Payer {
    Payer::Indirect(to_account(customer, behind()).into())
}

fn by_key(n: u8, from: usize, key: Key, centavos: u64) -> Order {
    Order {
        to: Payee::Key(key),
        ..order(n, from, to_account(0, theirs()), centavos)
    }
}

fn key_of(n: usize) -> Key {
    Key::guess(std::str::from_utf8(HOLDERS[n]).unwrap()).unwrap()
}

/// Account 0 looked up who has the key of holder 1: here under an even id, at the other bank under an odd one.
fn lookup(n: u8) -> Lookup {
    let ispb = if n.is_multiple_of(2) { ours() } else { theirs() };
    Lookup {
        end_to_end_id: id(n),
        account: account(0).id,
        key: key_of(1),
        to: Counterparty {
            name: Some(Text::parse("Bruno Lima").unwrap()),
            ..to_account(1, ispb).into()
        },
        at: at(0),
    }
}

fn incoming(n: u8, to: usize, centavos: u64) -> IncomingOrder {
    IncomingOrder {
        end_to_end_id: id(n),
        amount: Money::from_centavos(centavos),
        accepted_at: at(0),
        from: to_account(0, theirs()).into(),
        to: to_account(to, ours()),
        purpose: Purpose::InstantPayment,
        key: None,
        description: None,
    }
}

fn told(n: u8, status: TransactionStatus) -> Event {
    Event::Status(StatusReport {
        end_to_end_id: id(n),
        status,
        reason: Some(StatusReason::AB03),
    })
}

#[derive(Clone, Debug)]
enum Event {
    Order(Order),
    Incoming(IncomingOrder),
    Status(StatusReport),
    Message(EndToEndId),
}

#[derive(Debug, Default)]
struct World {
    accounts: BTreeMap<AccountId, Account>,
    payments: HashMap<EndToEndId, Payment>,
    early: HashMap<EndToEndId, EarlyStatus>,
    keys: HashMap<OrderKey, EndToEndId>,
    pockets: BTreeMap<Pocket, i128>,
    anomalies: Vec<Anomaly>,
    answers: Vec<Answer>,
    lookups: Vec<Lookup>,
    now: i64,
}

impl World {
    fn new() -> Self {
        let accounts: BTreeMap<_, _> = (0..ACCOUNTS).map(|n| (account(n).id, account(n))).collect();
        let pockets = accounts
            .keys()
            .map(|id| (Pocket::Available(*id), i128::from(OPENING)));
        let mut pockets: BTreeMap<_, _> = pockets.collect();
        let opened = i128::try_from(ACCOUNTS).unwrap() * i128::from(OPENING);
        pockets.insert(Pocket::Opening, -opened);
        Self {
            accounts,
            pockets,
            lookups: (0..6).map(lookup).collect(),
            ..Self::default()
        }
    }

    fn apply(&mut self, events: &[Event]) -> Vec<Result<Accepted, OrderRefusal>> {
        self.now += 1;
        let now = at(self.now);
        let facts = Facts {
            accounts: self.accounts.values().cloned().collect(),
            payments: self.payments.values().cloned().collect(),
            early: self.early.values().copied().collect(),
            keys: self.keys.iter().map(|(key, id)| (key.clone(), *id)).collect(),
            lookups: self.lookups.clone(),
        };
        let mut book = Book::new(ours(), facts);
        let mut orders = Vec::new();
        for event in events {
            match event {
                Event::Order(order) => orders.push(book.order(order, now)),
                Event::Incoming(order) => self.answers.extend(book.incoming(order, now)),
                Event::Status(report) => book.status(report, now),
                Event::Message(id) => book.message_refused(*id, &Refusal::Message, now),
            }
        }
        self.keep(book.into_changes());
        self.check();
        orders
    }

    fn one(&mut self, event: Event) {
        self.apply(&[event]);
    }

    fn keep(&mut self, changes: Changes) {
        for (_, posting) in &changes.postings {
            *self.pockets.entry(posting.from).or_default() -= i128::from(posting.amount.centavos());
            *self.pockets.entry(posting.to).or_default() += i128::from(posting.amount.centavos());
        }
        self.accounts
            .extend(changes.accounts.into_iter().map(|account| (account.id, account)));
        for payment in changes.created {
            let before = self.payments.insert(payment.end_to_end_id, payment);
            assert!(before.is_none(), "a payment is created once");
        }
        for payment in changes.updated {
            let before = self
                .payments
                .insert(payment.end_to_end_id, payment.clone())
                .expect("updated, so created");
            assert_eq!(before.state(), "pending", "an end is final");
            assert_eq!(
                (before.amount, before.counterparty, before.on_behalf_of),
                (payment.amount, payment.counterparty, payment.on_behalf_of)
            );
        }
        self.early.extend(
            changes
                .early
                .into_iter()
                .map(|early| (early.end_to_end_id, early)),
        );
        self.keys.extend(changes.keys);
        self.anomalies.extend(changes.anomalies);
    }

    /// The invariants, recomputed the slow way from the payments.
    fn check(&self) {
        assert_eq!(
            self.pockets.values().sum::<i128>(),
            0,
            "money is neither made nor lost"
        );
        let pocket = |pocket| self.pockets.get(&pocket).copied().unwrap_or(0);
        let sum = |wanted: &dyn Fn(&Payment) -> bool| -> i128 {
            let amounts = self.payments.values().filter(|payment| wanted(payment));
            amounts.map(|payment| i128::from(payment.amount.centavos())).sum()
        };
        for (id, account) in &self.accounts {
            let held = |money: Money| i128::from(money.centavos());
            assert_eq!(held(account.balances.available), pocket(Pocket::Available(*id)));
            assert_eq!(held(account.balances.blocked), pocket(Pocket::Blocked(*id)));
            assert_eq!(
                held(account.balances.provisional),
                pocket(Pocket::Provisional(*id))
            );
            let pending = sum(
                &|payment| matches!(&payment.course, Course::Outgoing { account, state: Outgoing::Pending } if account == id),
            );
            assert_eq!(
                held(account.balances.blocked),
                pending,
                "a block lives as long as its payment"
            );
            let noted = sum(
                &|payment| matches!(&payment.course, Course::Incoming { account: Some(account), state: Incoming::Answered } if account == id),
            );
            assert_eq!(
                held(account.balances.provisional),
                noted,
                "a note lives as long as its payment"
            );
        }
        let left = sum(&|p| {
            matches!(
                p.course,
                Course::Outgoing {
                    state: Outgoing::Settled { .. },
                    ..
                }
            )
        });
        let arrived = sum(&|p| {
            matches!(
                p.course,
                Course::Incoming {
                    state: Incoming::Settled { .. },
                    ..
                }
            )
        });
        assert_eq!(
            pocket(Pocket::Settlement),
            left - arrived,
            "the Conta PI's mirror"
        );
        assert!(
            self.anomalies
                .iter()
                .all(|anomaly| anomaly.kind != AnomalyKind::BrokenBook)
        );
    }

    fn available(&self, n: usize) -> u64 {
        self.accounts[&account(n).id].balances.available.centavos()
    }

    fn state(&self, n: u8) -> &'static str {
        self.payments[&id(n)].state()
    }
}

#[test]
fn a_payment_out_is_blocked_then_settled() {
    let mut world = World::new();
    let taken = world.apply(&[Event::Order(order(1, 0, to_account(0, theirs()), 1_050))]);
    assert_eq!(taken, [Ok(Accepted::ToSend(id(1)))]);
    assert_eq!((world.available(0), world.state(1)), (OPENING - 1_050, "pending"));
    world.one(told(1, TransactionStatus::SettledDebtor));
    world.one(told(1, TransactionStatus::SettledDebtor));
    assert_eq!((world.available(0), world.state(1)), (OPENING - 1_050, "settled"));
    assert!(world.anomalies.is_empty(), "a repeat is no anomaly");
}

#[test]
fn a_refusal_by_status_or_message_gives_the_money_back_once() {
    let mut world = World::new();
    for n in [1, 2] {
        world.one(Event::Order(order(n, 0, to_account(0, theirs()), 4_000)));
    }
    world.one(told(1, TransactionStatus::Rejected));
    world.one(Event::Message(id(2)));
    world.one(Event::Message(id(2)));
    world.one(told(2, TransactionStatus::Rejected));
    assert_eq!(
        (world.available(0), world.state(1), world.state(2)),
        (OPENING, "refused", "refused")
    );
    assert_eq!(
        world.payments[&id(2)].refusal(),
        Some(&Refusal::Message),
        "the first reason stays"
    );
    world.one(told(2, TransactionStatus::SettledDebtor));
    assert_eq!(
        world.anomalies.last().map(|anomaly| anomaly.kind),
        Some(AnomalyKind::Contradiction)
    );
}

#[test]
fn a_payment_in_is_noted_and_final_only_on_accc() {
    let mut world = World::new();
    world.one(Event::Incoming(incoming(1, 1, 700)));
    assert_eq!(
        world.answers,
        [Answer {
            end_to_end_id: id(1),
            verdict: Verdict::Accept
        }]
    );
    assert_eq!(world.available(1), OPENING, "a note cannot be spent");
    world.one(Event::Incoming(incoming(1, 1, 700)));
    assert_eq!(world.answers.len(), 2, "asked again, the same answer again");
    world.one(told(1, TransactionStatus::SettledCreditor));
    world.one(told(1, TransactionStatus::SettledCreditor));
    assert_eq!((world.available(1), world.state(1)), (OPENING + 700, "settled"));
    world.one(Event::Incoming(incoming(1, 1, 700)));
    assert_eq!(world.answers.len(), 2, "nothing to answer after the end");
}

#[test]
fn a_payment_to_an_indirect_participants_customer_is_its_account_and_says_whose() {
    let mut world = World::new();
    let to = |customer| IncomingOrder {
        to: to_account(customer, behind()),
        ..incoming(1, customer, 700)
    };
    world.one(Event::Incoming(to(7)));
    let accepted = Answer {
        end_to_end_id: id(1),
        verdict: Verdict::Accept,
    };
    assert_eq!(world.answers, [accepted], "whatever its customer's account");
    assert_eq!(world.available(INDIRECT), OPENING, "a note cannot be spent");
    assert_eq!(
        world.payments[&id(1)].on_behalf_of,
        Some(to_account(7, behind()).into())
    );
    world.one(Event::Incoming(to(8)));
    assert_eq!(
        world.anomalies.last().map(|anomaly| anomaly.kind),
        Some(AnomalyKind::ReusedId),
        "the same id for another customer of it"
    );
    world.one(told(1, TransactionStatus::SettledCreditor));
    assert_eq!(world.available(INDIRECT), OPENING + 700);

    let elsewhere = IncomingOrder {
        to: to_account(0, Ispb::parse(b"1111001V").unwrap()),
        ..incoming(2, 0, 5)
    };
    world.one(Event::Incoming(elsewhere));
    let verdict = Verdict::Reject(StatusReason::ED05);
    assert_eq!(
        world.answers.last(),
        Some(&Answer {
            end_to_end_id: id(2),
            verdict
        }),
        "one that we do not settle for"
    );
}

#[test]
fn a_payment_on_behalf_of_an_indirect_participants_customer_goes_out_under_its_name() {
    let mut world = World::new();
    let out = Order {
        key: Some(OrderKey::parse("order-1").unwrap()),
        ..order(1, INDIRECT, to_account(0, theirs()), 1_050)
    };
    let anothers = Order {
        from: on_behalf_of(1),
        ..out.clone()
    };
    let taken = world.apply(&[
        Event::Order(out.clone()),
        Event::Order(out),
        Event::Order(anothers),
    ]);
    assert_eq!(
        taken,
        [
            Ok(Accepted::ToSend(id(1))),
            Ok(Accepted::Again(id(1))),
            Err(OrderRefusal::KeyReused)
        ]
    );
    assert_eq!(world.available(INDIRECT), OPENING - 1_050);
    assert_eq!(
        world.payments[&id(1)].on_behalf_of,
        Some(to_account(0, behind()).into())
    );
    world.one(told(1, TransactionStatus::Rejected));
    assert_eq!(world.available(INDIRECT), OPENING, "refused, and given back");
}

#[test]
fn between_a_bank_and_who_stands_behind_it_nothing_leaves_the_bank() {
    let mut world = World::new();
    let taken = world.apply(&[
        Event::Order(order(1, 0, to_account(9, behind()), 300)),
        Event::Order(order(2, INDIRECT, to_account(1, ours()), 200)),
        Event::Order(order(3, INDIRECT, to_account(5, behind()), 200)),
        Event::Order(order(4, 0, to_account(INDIRECT, ours()), 1)),
    ]);
    assert_eq!(
        taken,
        [
            Ok(Accepted::Settled(id(1))),
            Ok(Accepted::Settled(id(2))),
            Err(OrderRefusal::SameAccount),
            // The account that stands for all of its customers is no customer's.
            Err(OrderRefusal::Receiver(StatusReason::AC03)),
        ]
    );
    assert_eq!(
        [0, 1, INDIRECT].map(|n| world.available(n)),
        [OPENING - 300, OPENING + 200, OPENING + 100]
    );
}

#[test]
fn who_is_settled_elsewhere_by_now_is_paid_over_the_switch() {
    let mut world = World::new();
    let account = world.accounts.get_mut(&account(INDIRECT).id).unwrap();
    account.state = AccountState::Closed;
    let taken = world.apply(&[
        Event::Order(order(1, 0, to_account(9, behind()), 300)),
        Event::Order(order(2, INDIRECT, to_account(0, theirs()), 1)),
    ]);
    assert_eq!(
        taken,
        [Ok(Accepted::ToSend(id(1))), Err(OrderRefusal::PayerClosed)]
    );
    world.one(Event::Incoming(IncomingOrder {
        to: to_account(9, behind()),
        ..incoming(3, 0, 5)
    }));
    assert_eq!(
        world.answers.last().map(|answer| answer.verdict),
        Some(Verdict::Reject(StatusReason::ED05))
    );
    assert_eq!(world.available(INDIRECT), OPENING, "what it has here, it keeps");
}

#[test]
fn a_timeout_undoes_the_note_even_when_it_overtakes_the_order() {
    let mut world = World::new();
    world.apply(&[
        Event::Incoming(incoming(1, 1, 700)),
        told(1, TransactionStatus::Rejected),
    ]);
    assert_eq!((world.available(1), world.state(1)), (OPENING, "refused"));
    world.one(told(2, TransactionStatus::Rejected));
    world.one(Event::Incoming(incoming(2, 1, 700)));
    assert_eq!((world.available(1), world.state(2)), (OPENING, "refused"));
    assert_eq!(world.answers.len(), 1, "a dead order gets no answer");
}

#[test]
fn an_account_that_is_blocked_neither_pays_nor_receives() {
    let mut world = World::new();
    let refused = world.apply(&[Event::Order(order(1, 2, to_account(0, theirs()), 1))]);
    assert_eq!(refused, [Err(OrderRefusal::PayerBlocked)]);
    world.one(Event::Incoming(incoming(2, 2, 700)));
    let verdict = Verdict::Reject(StatusReason::AC06);
    assert_eq!(
        world.answers,
        [Answer {
            end_to_end_id: id(2),
            verdict
        }]
    );
    assert_eq!(world.state(2), "refused");
}

#[test]
fn orders_are_refused_for_the_first_rule_that_fails() {
    let mut world = World::new();
    let mut ask = |order: Order| world.apply(&[Event::Order(order)]).remove(0);
    let out = |centavos| order(1, 0, to_account(0, theirs()), centavos);
    assert_eq!(ask(out(0)), Err(OrderRefusal::AmountZero));
    assert_eq!(
        ask(order(1, 7, to_account(0, theirs()), 1)),
        Err(OrderRefusal::PayerUnknown)
    );
    let available = Money::from_centavos(OPENING);
    assert_eq!(
        ask(out(OPENING + 1)),
        Err(OrderRefusal::InsufficientFunds { available })
    );
    assert_eq!(
        ask(order(1, 0, to_account(0, ours()), 1)),
        Err(OrderRefusal::SameAccount)
    );
    let refused = Err(OrderRefusal::Receiver(StatusReason::AC03));
    assert_eq!(ask(order(1, 0, to_account(7, ours()), 1)), refused);
    assert_eq!(
        ask(order(1, 0, to_account(1, ours()), OPENING)),
        Ok(Accepted::Settled(id(1)))
    );
    assert_eq!(
        (world.available(0), world.available(1)),
        (0, 2 * OPENING),
        "settled inside the bank"
    );
}

#[test]
fn a_key_is_paid_as_it_was_looked_up_once() {
    let mut world = World::new();
    let ask = |world: &mut World, order: Order| world.apply(&[Event::Order(order)]).remove(0);
    let stranger = by_key(1, 1, key_of(1), 5);
    assert_eq!(ask(&mut world, stranger), Err(OrderRefusal::LookupUnknown));
    let other_key = by_key(1, 0, key_of(0), 5);
    assert_eq!(ask(&mut world, other_key), Err(OrderRefusal::LookupUnknown));
    let never = by_key(99, 0, key_of(1), 5);
    assert_eq!(ask(&mut world, never), Err(OrderRefusal::LookupUnknown));
    let available = Money::from_centavos(OPENING);
    let too_much = by_key(1, 0, key_of(1), OPENING + 1);
    assert_eq!(
        ask(&mut world, too_much),
        Err(OrderRefusal::InsufficientFunds { available })
    );
    let out = by_key(1, 0, key_of(1), 5);
    assert_eq!(ask(&mut world, out.clone()), Ok(Accepted::ToSend(id(1))));
    let paid = &world.payments[&id(1)];
    assert_eq!(
        (&paid.counterparty, &paid.key),
        (&lookup(1).to, &Some(key_of(1))),
        "with the name that was shown"
    );
    assert_eq!(
        ask(&mut world, out),
        Ok(Accepted::Again(id(1))),
        "the same order again"
    );
    let second = by_key(1, 0, key_of(1), 6);
    assert_eq!(ask(&mut world, second), Err(OrderRefusal::LookupUsed));
    assert_eq!(world.available(0), OPENING - 5);
    let inside = by_key(2, 0, key_of(1), 5);
    assert_eq!(ask(&mut world, inside), Ok(Accepted::Settled(id(2))));
    assert_eq!(world.available(1), OPENING + 5);
    world.now = 15 * 60;
    let late = by_key(3, 0, key_of(1), 5);
    assert_eq!(ask(&mut world, late), Err(OrderRefusal::LookupExpired));
}

#[test]
fn an_order_by_key_repeated_under_its_name_is_paid_once_though_looked_up_twice() {
    let mut world = World::new();
    let named = |n| Order {
        key: Some(OrderKey::parse("order-1").unwrap()),
        ..by_key(n, 0, key_of(1), 5)
    };
    let taken = world.apply(&[Event::Order(named(1)), Event::Order(named(3))]);
    assert_eq!(taken, [Ok(Accepted::ToSend(id(1))), Ok(Accepted::Again(id(1)))]);
    let by_account = Order {
        key: named(1).key,
        ..order(4, 0, to_account(1, theirs()), 5)
    };
    assert_eq!(
        world.apply(&[Event::Order(by_account)]),
        [Err(OrderRefusal::KeyReused)]
    );
    assert_eq!(world.available(0), OPENING - 5);
}

#[test]
fn a_key_names_one_order_for_ever() {
    let mut world = World::new();
    let key = Some(OrderKey::parse("order-1").unwrap());
    let first = Order {
        key,
        ..order(1, 0, to_account(0, theirs()), 5)
    };
    let again = Order {
        end_to_end_id: id(2),
        accepted_at: at(9),
        ..first.clone()
    };
    let other = Order {
        amount: Money::from_centavos(6),
        ..again.clone()
    };
    let asked = [
        Event::Order(first.clone()),
        Event::Order(again.clone()),
        Event::Order(other),
    ];
    let taken = [
        Ok(Accepted::ToSend(id(1))),
        Ok(Accepted::Again(id(1))),
        Err(OrderRefusal::KeyReused),
    ];
    assert_eq!(world.apply(&asked), taken);
    assert_eq!(
        world.apply(&[Event::Order(again), Event::Order(first)]),
        [Ok(Accepted::Again(id(1))); 2]
    );
    assert_eq!(world.available(0), OPENING - 5);
}

#[test]
fn an_incoming_order_with_the_id_of_another_payment_moves_nothing() {
    let mut world = World::new();
    world.one(Event::Order(order(1, 0, to_account(0, theirs()), 5)));
    world.one(Event::Incoming(incoming(1, 1, 5)));
    world.one(Event::Incoming(incoming(2, 1, 5)));
    world.one(Event::Incoming(incoming(2, 1, 6)));
    assert_eq!(world.answers.len(), 1);
    assert!(
        world
            .anomalies
            .iter()
            .all(|anomaly| anomaly.kind == AnomalyKind::ReusedId)
    );
    assert_eq!(world.anomalies.len(), 2);
}

fn any_event() -> impl Strategy<Value = Event> {
    let n = 0_u8..6;
    let centavos = prop_oneof![Just(0), 1_u64..6_000, Just(i64::MAX as u64)];
    let key = proptest::option::of(0_u8..3);
    // One account more than there are.
    let account = 0_usize..=ACCOUNTS;
    let an_order = (
        n.clone(),
        account.clone(),
        account.clone(),
        0_u8..4,
        centavos.clone(),
        key,
    )
        .prop_map(|(n, from, to, how, centavos, key)| {
            let asked = match how {
                0 => order(n, from, to_account(to, ours()), centavos),
                1 => order(n, from, to_account(to, theirs()), centavos),
                2 => order(n, from, to_account(to, behind()), centavos),
                _ => by_key(n, from, key_of(1), centavos),
            };
            let key = key.map(|key| OrderKey::parse(&format!("key-{key}")).unwrap());
            Event::Order(Order { key, ..asked })
        });
    let an_incoming = (n.clone(), account, any::<bool>(), centavos).prop_map(|(n, to, indirect, c)| {
        let ispb = if indirect { behind() } else { ours() };
        Event::Incoming(IncomingOrder {
            to: to_account(to, ispb),
            ..incoming(n, to, c)
        })
    });
    let statuses = proptest::sample::select(TransactionStatus::ALL);
    let reasons = proptest::option::of(proptest::sample::select(StatusReason::ALL));
    let a_status = (n.clone(), statuses, reasons).prop_map(|(n, status, reason)| {
        Event::Status(StatusReport {
            end_to_end_id: id(n),
            status,
            reason,
        })
    });
    let a_message = n.prop_map(|n| Event::Message(id(n)));
    prop_oneof![3 => an_order, 3 => an_incoming, 6 => a_status, 1 => a_message]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// No sequence of events, in batches of any size, makes or loses money, leaves a block or a note
    /// without its payment, or changes an end.
    #[test]
    fn no_sequence_of_events_makes_or_loses_money(
        batches in proptest::collection::vec(proptest::collection::vec(any_event(), 1..8), 1..12)
    ) {
        let mut world = World::new();
        for batch in &batches {
            world.apply(batch);
        }
    }

    /// How events fall into batches changes nothing but times.
    #[test]
    fn batches_are_only_about_speed(events in proptest::collection::vec(any_event(), 1..40)) {
        let mut together = World::new();
        together.apply(&events);
        let mut alone = World::new();
        for event in &events {
            alone.one(event.clone());
        }
        prop_assert_eq!(&together.pockets, &alone.pockets);
        prop_assert_eq!(&together.answers, &alone.answers);
        let states = |world: &World| -> BTreeMap<EndToEndId, (&str, Option<Refusal>)> {
            let payments = world.payments.iter();
            payments.map(|(id, payment)| (*id, (payment.state(), payment.refusal().cloned()))).collect()
        };
        prop_assert_eq!(states(&together), states(&alone));
    }
}
