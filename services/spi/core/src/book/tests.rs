use std::sync::Arc;

use pix_domain::{Money, MsgId, ResourceId, ServiceLevel, StatusReason, TaxId, Text};
use proptest::prelude::*;

use super::*;
use crate::order::{Creditor, Order, Refusal, Verdict};
use crate::outgoing::{Channel, Item, Outgoing};

const A: &[u8; 8] = b"11111111";
const B: &[u8; 8] = b"22222222";
const C: &[u8; 8] = b"33333333";

fn ispb(raw: &[u8; 8]) -> Ispb {
    Ispb::parse(raw).expect("valid")
}

/// A book with its tables: what was committed is what the facts are read from.
struct World {
    book: Book,
    now: Timestamp,
    tables: Tables,
    posted: u8,
}

#[derive(Default)]
struct Tables {
    messages: HashMap<(Ispb, MsgId), KnownMessage>,
    payments: HashMap<EndToEndId, PaymentRow>,
    steps: Vec<StepRow>,
    postings: Vec<PostingRow>,
    fundings: HashMap<FundingId, KnownFunding>,
    latest: Latest,
    outbox: Vec<Outgoing>,
    accounts: BTreeMap<Ispb, Account>,
    last: (i64, i64, i64, i64),
}

impl World {
    fn new(balances: &[(&[u8; 8], u64)]) -> Self {
        let now = Timestamp::parse(b"2026-11-21T12:00:00.000Z").expect("valid");
        let mut world = Self {
            book: Book::default(),
            now,
            tables: Tables::default(),
            posted: 0,
        };
        let open = balances.iter().map(|(account, centavos)| Command::Open {
            account: ispb(account),
            balance: Money::from_centavos(*centavos),
        });
        world.run(&open.collect::<Vec<_>>());
        world
    }

    fn facts(&self, needed: &FactsNeeded) -> Facts {
        let messages = needed
            .messages
            .iter()
            .filter_map(|key| Some((*key, *self.tables.messages.get(key)?)));
        let payments = needed.payments.iter().filter_map(|(_, id)| {
            let order = &self.tables.payments.get(id)?.order;
            let step = self
                .tables
                .steps
                .iter()
                .find(|s| s.end_to_end_id == *id && s.end.is_some());
            let step = step.expect("a payment that is not in memory has ended");
            Some((
                *id,
                Closed {
                    payer: order.payer,
                    receiver: order.receiver,
                    service_level: order.service_level,
                    fingerprint: order.fingerprint,
                    end: step.end.clone().expect("filtered"),
                    at: step.at,
                },
            ))
        });
        let fundings = needed.fundings.iter();
        Facts {
            messages: messages.collect(),
            payments: payments.collect(),
            fundings: fundings
                .filter_map(|id| Some((*id, *self.tables.fundings.get(id)?)))
                .collect(),
        }
    }

    fn decide(&self, commands: &[Command]) -> Decision {
        let facts = self.facts(&self.book.facts_needed(commands));
        self.book.decide(commands, &facts, self.now, Some(self.now))
    }

    /// Decides, commits and installs one batch.
    fn run(&mut self, commands: &[Command]) -> Batch {
        let decision = self.decide(commands);
        let batch = decision.batch.clone();
        self.commit(&batch);
        self.book.install(decision);
        self.check();
        batch
    }

    fn commit(&mut self, batch: &Batch) {
        let tables = &mut self.tables;
        assert_eq!(
            (batch.number, batch.first_seq),
            (tables.last.0 + 1, tables.last.1 + 1)
        );
        let mut seqs: Vec<i64> = Vec::new();
        for row in &batch.messages {
            seqs.push(row.seq);
            if let Some(id) = row.inbound.content.message_id() {
                let known = KnownMessage {
                    digest: row.inbound.digest,
                    resource_id: row.inbound.resource_id,
                };
                let twice = tables.messages.insert((row.inbound.sender, id), known);
                assert!(twice.is_none(), "message key {id} written twice");
            }
        }
        for row in &batch.payments {
            seqs.push(row.seq);
            let twice = tables.payments.insert(row.order.end_to_end_id, row.clone());
            assert!(
                twice.is_none(),
                "payment {} written twice",
                row.order.end_to_end_id
            );
        }
        for row in &batch.steps {
            seqs.push(row.seq);
            let same =
                |s: &&StepRow| s.end_to_end_id == row.end_to_end_id && s.end.is_some() == row.end.is_some();
            assert!(
                !tables.steps.iter().any(|s| same(&s)),
                "step of {} written twice",
                row.end_to_end_id
            );
            tables.steps.push(row.clone());
        }
        for row in &batch.postings {
            seqs.push(row.seq);
            tables.postings.push(row.clone());
        }
        for row in &batch.fundings {
            seqs.push(row.seq);
            let posting = batch.postings.iter().find(|posting| posting.seq == row.posting);
            let posting = posting.expect("a funding has its posting");
            let (account, moved) = match posting.debit {
                FUNDING_ACCOUNT => (posting.credit, posting.amount.to_i64()),
                debited => (debited, -posting.amount.to_i64()),
            };
            assert_eq!((account, moved), (row.funding.account, row.funding.amount));
            assert_eq!(posting.end_to_end_id, None);
            let known = KnownFunding {
                account: row.funding.account,
                amount: row.funding.amount,
                funded: Funded {
                    sequence: row.posting,
                    batch: batch.number,
                    available: row.available_after,
                },
            };
            let twice = tables.fundings.insert(row.funding.id, known);
            assert!(twice.is_none(), "{:?} happened twice", row.funding.id);
        }
        assert_eq!(batch.previous, tables.latest, "the events before it");
        let told = |any: bool, before: i64| if any { batch.number } else { before };
        tables.latest = Latest {
            received: told(!batch.payments.is_empty(), tables.latest.received),
            settled: told(
                batch.postings.iter().any(|row| row.end_to_end_id.is_some()),
                tables.latest.settled,
            ),
            refused: told(
                batch
                    .steps
                    .iter()
                    .any(|row| matches!(row.end, Some(End::Released(_) | End::Refused(_)))),
                tables.latest.refused,
            ),
        };
        assert_eq!(batch.latest, tables.latest);
        seqs.sort_unstable();
        assert_eq!(
            seqs,
            (batch.first_seq..=batch.last_seq).collect::<Vec<_>>(),
            "every number once"
        );
        for (account, row) in &batch.balances {
            let stored = tables.accounts.entry(*account).or_default();
            stored.available += row.available_delta;
            stored.blocked += row.blocked_delta;
            assert_eq!(*stored, row.after, "deltas and result agree for {account}");
        }
        for outgoing in &batch.outbox {
            assert!(tables.outbox.last().is_none_or(|last| last.id < outgoing.id));
            tables.outbox.push(outgoing.clone());
        }
        tables.last = (
            batch.number,
            batch.last_seq,
            batch.last_outbox_id,
            batch.open_from_seq,
        );
    }

    /// The invariants of the module's head, from the tables alone, and recovery gives the same book.
    fn check(&self) {
        let tables = &self.tables;
        let total: i64 = tables.accounts.values().map(|a| a.available + a.blocked).sum();
        assert_eq!(total, 0, "money is only moved");
        let mut blocked: BTreeMap<Ispb, i64> = BTreeMap::new();
        let mut open = HashMap::new();
        for step in tables.steps.iter().filter(|s| s.end.is_none()) {
            let ended = tables
                .steps
                .iter()
                .any(|s| s.end.is_some() && s.end_to_end_id == step.end_to_end_id);
            if !ended {
                assert!(
                    step.seq >= tables.last.3,
                    "recovery would miss {}",
                    step.end_to_end_id
                );
                let order = &tables.payments[&step.end_to_end_id].order;
                *blocked.entry(order.payer).or_default() += order.amount.to_i64();
                open.insert(
                    step.end_to_end_id,
                    Open {
                        month: step.month,
                        payer: order.payer,
                        receiver: order.receiver,
                        creditor: Some(Arc::clone(&order.creditor)),
                        amount: order.amount,
                        service_level: order.service_level,
                        deadline: order.deadline,
                        fingerprint: order.fingerprint,
                        seq: step.seq,
                    },
                );
            }
        }
        for (account, stored) in &tables.accounts {
            assert_eq!(
                stored.blocked,
                blocked.get(account).copied().unwrap_or(0),
                "blocked of {account}"
            );
            assert!(
                stored.available >= 0 || *account == FUNDING_ACCOUNT,
                "{account} went below zero"
            );
            let posted: i64 = tables
                .postings
                .iter()
                .map(|p| {
                    p.amount.to_i64() * (i64::from(p.credit == *account) - i64::from(p.debit == *account))
                })
                .sum();
            assert_eq!(
                stored.available + stored.blocked,
                posted,
                "postings explain {account}"
            );
        }
        let recovered = Book::recover(Snapshot {
            accounts: tables.accounts.clone(),
            open,
            last_batch: tables.last.0,
            last_seq: tables.last.1,
            last_outbox_id: tables.last.2,
            latest: tables.latest,
        })
        .expect("consistent");
        assert_eq!(recovered.latest, self.book.latest);
        assert_eq!(recovered.accounts, self.book.accounts);
        assert_eq!(recovered.open, self.book.open);
        assert_eq!(recovered.deadlines, self.book.deadlines);
    }

    fn order(&self, n: u128, payer: &[u8; 8], receiver: &[u8; 8], centavos: u64) -> Order {
        let id = EndToEndId::new(ispb(payer), self.now, n);
        Order {
            end_to_end_id: id,
            month: id.month().ok(),
            payer: ispb(payer),
            receiver: ispb(receiver),
            debtor_agent: ispb(payer),
            creditor_agent: ispb(receiver),
            debtor: TaxId::parse(b"52998224725").expect("valid"),
            creditor: Arc::new(Creditor {
                tax_id: TaxId::parse(b"11222333000181").expect("valid"),
                key: None,
            }),
            amount: Money::from_centavos(centavos),
            service_level: ServiceLevel::Priority,
            accepted_at: self.now,
            deadline: self.now.plus(Duration::from_secs(40)),
            fingerprint: [u8::try_from(centavos % 251).expect("small"); 32],
            transaction: b"<CdtTrfTxInf/>".to_vec().into(),
            verdict: Verdict::Sound,
        }
    }

    fn posted(&mut self, sender: &[u8; 8], content: Content) -> Command {
        self.posted = self.posted.wrapping_add(1);
        Command::Message(Arc::new(Inbound {
            resource_id: ResourceId::new([self.posted; 21]),
            sender: ispb(sender),
            channel: Channel::Primary,
            received_at: self.now,
            digest: [self.posted; 32],
            content,
        }))
    }

    fn pay(&mut self, sender: &[u8; 8], orders: Vec<Order>) -> Command {
        let message_id = MsgId::new(ispb(sender), u128::from(self.posted) + 1000);
        self.posted(sender, Content::Orders { message_id, orders })
    }

    fn answers(&mut self, sender: &[u8; 8], answers: Vec<(EndToEndId, Says)>) -> Command {
        let message_id = MsgId::new(ispb(sender), u128::from(self.posted) + 1000);
        let answers = answers
            .into_iter()
            .map(|(end_to_end_id, says)| Answer { end_to_end_id, says });
        self.posted(
            sender,
            Content::Answers {
                message_id,
                answers: answers.collect(),
            },
        )
    }

    fn fund(&mut self, n: u128, account: &[u8; 8], amount: i64) -> Result<Funded, FundRefusal> {
        match self.run(&[fund(n, account, amount)]).receipts[..] {
            [Receipt::Fund(came_to)] => came_to,
            ref other => panic!("{other:?}"),
        }
    }

    fn balance(&self, account: &[u8; 8]) -> (i64, i64) {
        let account = self.tables.accounts[&ispb(account)];
        (account.available, account.blocked)
    }
}

fn fund(n: u128, account: &[u8; 8], amount: i64) -> Command {
    let hex = format!("{n:032x}");
    let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    Command::Fund(Funding {
        id: FundingId::parse(&id).expect("a UUID"),
        account: ispb(account),
        amount,
        ordered_by: Text::truncated("operator"),
    })
}

/// Who is told what: destination, status, reason.
fn told(batch: &Batch) -> Vec<(String, String)> {
    batch
        .outbox
        .iter()
        .map(|out| {
            let what = match &out.item {
                Item::Order { .. } => "pacs.008".to_owned(),
                Item::Status { report, .. } => match report.reason {
                    None => report.status.to_string(),
                    Some(reason) => format!("{} {reason}", report.status),
                },
                Item::Refusal(refusal) => format!("admi.002 {}", refusal.reason),
            };
            (out.mailbox.destination.to_string(), what)
        })
        .collect()
}

fn says(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(to, what)| ((*to).to_owned(), (*what).to_owned()))
        .collect()
}

#[test]
fn a_payment_blocks_settles_and_tells_both() {
    let mut world = World::new(&[(A, 1000), (B, 0)]);
    let order = world.order(1, A, B, 300);
    let id = order.end_to_end_id;
    let pay = world.pay(A, vec![order]);
    assert_eq!(told(&world.run(&[pay])), says(&[("22222222", "pacs.008")]));
    assert_eq!((world.balance(A), world.balance(B)), ((700, 300), (0, 0)));
    let accept = world.answers(B, vec![(id, Says::Accepted)]);
    assert_eq!(
        told(&world.run(&[accept])),
        says(&[("22222222", "ACCC"), ("11111111", "ACSC")])
    );
    assert_eq!((world.balance(A), world.balance(B)), ((700, 0), (300, 0)));
}

#[test]
fn order_and_answer_in_one_batch_see_each_other() {
    let mut world = World::new(&[(A, 1000), (B, 0)]);
    let (first, second) = (world.order(1, A, B, 900), world.order(2, B, A, 500));
    let (id1, id2) = (first.end_to_end_id, second.end_to_end_id);
    let commands = [
        world.pay(A, vec![first]),
        world.answers(B, vec![(id1, Says::Accepted)]),
        world.pay(B, vec![second]),
        world.answers(
            A,
            vec![(id2, Says::Rejected(Refusal::new(StatusReason::AC07, "")))],
        ),
    ];
    let batch = world.run(&commands);
    assert_eq!(
        told(&batch).last().expect("told"),
        &("22222222".to_owned(), "RJCT AC07".to_owned())
    );
    assert_eq!((world.balance(A), world.balance(B)), ((100, 0), (900, 0)));
}

#[test]
fn without_balance_am04_and_nothing_moves() {
    let mut world = World::new(&[(A, 100), (B, 0)]);
    let (order, fits) = (world.order(1, A, B, 101), world.order(2, A, B, 100));
    let pay = world.pay(A, vec![order, fits]);
    assert_eq!(
        told(&world.run(&[pay])),
        says(&[("11111111", "RJCT AM04"), ("22222222", "pacs.008")])
    );
    assert_eq!(world.balance(A), (0, 100));
}

#[test]
fn at_the_deadline_both_hear_ab03_and_a_late_answer_hears_it_again() {
    let mut world = World::new(&[(A, 1000), (B, 0)]);
    let order = world.order(1, A, B, 300);
    let id = order.end_to_end_id;
    let pay = world.pay(A, vec![order]);
    world.run(&[pay]);
    world.now = world.now.plus(Duration::from_secs(40));
    assert!(told(&world.run(&[])).is_empty(), "the grace is not over");
    world.now = world.now.plus(EXPIRY_GRACE);
    assert_eq!(
        told(&world.run(&[])),
        says(&[("11111111", "RJCT AB03"), ("22222222", "RJCT AB03")])
    );
    let late = world.answers(B, vec![(id, Says::Accepted)]);
    assert_eq!(told(&world.run(&[late])), says(&[("22222222", "RJCT AB03")]));
    assert_eq!((world.balance(A), world.balance(B)), ((1000, 0), (0, 0)));
}

#[test]
fn an_answer_counts_by_its_receipt_and_not_by_when_the_book_gets_to_it() {
    for (late_by, status) in [(0, "ACCC"), (1, "RJCT AB03")] {
        let mut world = World::new(&[(A, 1000), (B, 0)]);
        let order = world.order(1, A, B, 300);
        let id = order.end_to_end_id;
        let pay = world.pay(A, vec![order]);
        world.run(&[pay]);
        world.now = world
            .now
            .plus(Duration::from_secs(40) + Duration::from_micros(late_by));
        let answer = world.answers(B, vec![(id, Says::Accepted)]);
        world.now = world.now.plus(Duration::from_secs(60)); // the book was stuck
        assert!(told(&world.run(&[answer])).contains(&("22222222".to_owned(), status.to_owned())));
    }
}

#[test]
fn a_resend_is_answered_once_more_when_it_is_over_and_not_before() {
    let mut world = World::new(&[(A, 1000), (B, 0)]);
    let order = world.order(1, A, B, 300);
    let id = order.end_to_end_id;
    let commands = [
        world.pay(A, vec![order.clone()]),
        world.pay(A, vec![order.clone()]),
    ];
    assert_eq!(told(&world.run(&commands)), says(&[("22222222", "pacs.008")]));
    let accept = world.answers(B, vec![(id, Says::Accepted)]);
    world.run(&[accept]);
    let again = world.pay(A, vec![order.clone()]);
    assert_eq!(told(&world.run(&[again])), says(&[("11111111", "ACSC")]));
    let other = Order {
        fingerprint: [9; 32],
        ..order
    };
    let other = world.pay(A, vec![other]);
    assert_eq!(told(&world.run(&[other])), says(&[("11111111", "RJCT DU03")]));
    let twice = world.answers(B, vec![(id, Says::Accepted)]);
    assert_eq!(told(&world.run(&[twice])), says(&[("22222222", "ACCC")]));
    let changed = world.answers(
        B,
        vec![(id, Says::Rejected(Refusal::new(StatusReason::AC03, "")))],
    );
    assert_eq!(
        told(&world.run(&[changed])),
        says(&[("22222222", "ACCC")]),
        "settled is settled"
    );
}

#[test]
fn the_same_bytes_get_the_first_resource_id_and_other_bytes_an_admi_002() {
    let mut world = World::new(&[(A, 1000), (B, 0)]);
    let order = world.order(1, A, B, 300);
    let first = world.pay(A, vec![order]);
    let Command::Message(inbound) = &first else {
        unreachable!()
    };
    let again = Inbound {
        resource_id: ResourceId::new([200; 21]),
        ..(**inbound).clone()
    };
    let same = Command::Message(Arc::new(again.clone()));
    let batch = world.run(&[first.clone(), same.clone()]);
    assert_eq!(batch.receipts[0], batch.receipts[1]);
    assert_eq!(world.run(&[same]).receipts[0], batch.receipts[0]);
    let other = Inbound {
        digest: [77; 32],
        ..again
    };
    let refused = world.run(&[Command::Message(Arc::new(other.clone()))]);
    assert_eq!(refused.receipts[0], Receipt::Message(other.resource_id));
    assert_eq!(told(&refused), says(&[("11111111", "admi.002 MsgId repetido")]));
}

#[test]
fn an_answer_from_somebody_else_or_for_nothing_moves_nothing() {
    let mut world = World::new(&[(A, 1000), (B, 0), (C, 0)]);
    let order = world.order(1, A, B, 300);
    let id = order.end_to_end_id;
    let pay = world.pay(A, vec![order]);
    world.run(&[pay]);
    let unknown = EndToEndId::new(ispb(A), world.now, 99);
    for (sender, id) in [(C, id), (A, id), (B, unknown)] {
        let answer = world.answers(sender, vec![(id, Says::Accepted)]);
        let told = told(&world.run(&[answer]));
        assert!(told[0].1.starts_with("admi.002"), "{told:?}");
    }
    assert_eq!(world.balance(A), (700, 300));
}

#[test]
fn a_funding_moves_money_once_and_a_repeat_gets_the_first_answer() {
    let mut world = World::new(&[(A, 1000), (B, 0)]);
    let first = world.fund(1, A, 500).expect("funded");
    assert_eq!((first.batch, first.available), (2, 1500));
    assert_eq!(world.fund(1, A, 500), Ok(first), "from the tables");
    let out = world.fund(2, A, -1400).expect("taken out");
    assert_eq!(out.available, 100);
    assert_eq!(world.fund(1, A, 500), Ok(first), "as it was then");
    let batch = world.run(&[fund(3, B, 7), fund(3, B, 7), fund(3, B, 8)]);
    assert_eq!(batch.receipts[0], batch.receipts[1], "within a batch");
    let other = FundRefusal::OtherContent {
        account: ispb(B),
        amount: 7,
    };
    assert_eq!(batch.receipts[2], Receipt::Fund(Err(other)));
    assert_eq!(world.fund(3, A, 7), Err(other), "and between batches");
    assert_eq!((world.balance(A), world.balance(B)), ((100, 0), (7, 0)));
    assert_eq!(world.tables.accounts[&FUNDING_ACCOUNT].available, -107);
}

#[test]
fn a_funding_that_cannot_be_moves_nothing_and_its_id_stays_free() {
    let mut world = World::new(&[(A, 1000), (B, 0)]);
    let order = world.order(1, A, B, 300);
    let pay = world.pay(A, vec![order]);
    world.run(&[pay]);
    let refused = [
        (A, 0, FundRefusal::Amount),
        (A, FUNDING_MAX + 1, FundRefusal::Amount),
        (A, i64::MIN, FundRefusal::Amount),
        (C, 1, FundRefusal::NoAccount(ispb(C))),
        (b"00038166", 1, FundRefusal::NoAccount(FUNDING_ACCOUNT)),
        // What is blocked is not there to be taken.
        (A, -701, FundRefusal::NotEnough { available: 700 }),
    ];
    for (account, amount, why) in refused {
        assert_eq!(world.fund(9, account, amount), Err(why));
    }
    assert_eq!(world.fund(9, A, -700).expect("what is available").available, 0);
    assert_eq!(world.balance(A), (0, 300));
    assert_eq!(
        world.fund(10, A, -1),
        Err(FundRefusal::NotEnough { available: 0 })
    );
}

#[test]
fn the_book_never_holds_more_than_its_numbers_can() {
    let all = BOOK_MAX.unsigned_abs() - 5;
    let mut world = World::new(&[(A, all), (B, 0)]);
    assert_eq!(world.fund(1, B, 6), Err(FundRefusal::BookFull));
    assert_eq!(world.fund(1, B, 5).expect("up to the last centavo").available, 5);
    assert_eq!(world.fund(2, A, 1), Err(FundRefusal::BookFull));
    assert!(world.fund(2, A, -FUNDING_MAX).is_ok());
}

#[test]
fn an_account_is_funded_in_the_batch_that_opens_it() {
    let mut world = World::new(&[(A, 0)]);
    let open = Command::Open {
        account: ispb(B),
        balance: Money::ZERO,
    };
    let batch = world.run(&[fund(1, B, 10), open, fund(1, B, 10)]);
    assert_eq!(
        batch.receipts[0],
        Receipt::Fund(Err(FundRefusal::NoAccount(ispb(B))))
    );
    assert!(matches!(
        batch.receipts[2],
        Receipt::Fund(Ok(Funded { available: 10, .. }))
    ));
    assert_eq!(world.balance(B), (10, 0));
}

#[test]
fn the_id_of_a_funding_is_any_uuid_and_has_one_form() {
    let id = FundingId::parse("A946D533-7F22-52A5-0A9B-E87CD55C0F4D").expect("version 5");
    assert_eq!(id.to_string(), "a946d533-7f22-52a5-0a9b-e87cd55c0f4d");
    assert_eq!(FundingId::parse(&id.to_string()), Ok(id));
    for wrong in [
        "",
        "a946d5337f2252a50a9be87cd55c0f4d",
        "a946d533-7f22-52a5-0a9b-e87cd55c0f4",
        "a946d533-7f22-52a5-0a9b_e87cd55c0f4d",
        "+946d533-7f22-52a5-0a9b-e87cd55c0f4d",
        "a946d533-7f22-52a5-0a9b-e87cd55c0fé",
    ] {
        assert_eq!(FundingId::parse(wrong), Err(InvalidFundingId), "{wrong}");
    }
}

#[derive(Clone, Debug)]
enum Act {
    Fund { n: u8, account: u8, amount: i64 },
    Pay { n: u8, from: u8, to: u8, centavos: u64 },
    Answer { n: u8, by: u8, accept: bool },
    Wait { ms: u64 },
    Flush,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0_u8..12, 0_u8..3, 0_u8..3, 1_u64..500)
            .prop_map(|(n, from, to, centavos)| Act::Pay { n, from, to, centavos }),
        4 => (0_u8..12, 0_u8..3, any::<bool>()).prop_map(|(n, by, accept)| Act::Answer { n, by, accept }),
        2 => (0_u8..8, 0_u8..3, -1500_i64..1500)
            .prop_map(|(n, account, amount)| Act::Fund { n, account, amount }),
        1 => (1_u64..30_000).prop_map(|ms| Act::Wait { ms }),
        3 => Just(Act::Flush),
    ];
    proptest::collection::vec(act, 1..80)
}

proptest! {
    /// Any sequence in any batching keeps the invariants, and batching changes no balance: one command a
    /// batch, the slow and obvious way, ends in the same accounts.
    #[test]
    fn any_batching_of_any_sequence_keeps_the_books(acts in acts()) {
        let banks = [A, B, C];
        let opening: Vec<(&[u8; 8], u64)> = banks.iter().map(|b| (*b, 1000)).collect();
        let mut batched = World::new(&opening);
        let mut single = World::new(&opening);
        let mut ids: HashMap<u8, EndToEndId> = HashMap::new();
        let mut queue = Vec::new();
        for act in acts {
            let command = match act {
                Act::Fund { n, account, amount } => Some(fund(u128::from(n), banks[usize::from(account)], amount)),
                Act::Pay { n, from, to, .. } if from == to => { let _ = n; None }
                Act::Pay { n, from, to, centavos } => {
                    let (from, to) = (banks[usize::from(from)], banks[usize::from(to)]);
                    let mut order = batched.order(u128::from(n), from, to, centavos);
                    order.end_to_end_id = *ids.entry(n).or_insert(order.end_to_end_id);
                    order.month = order.end_to_end_id.month().ok();
                    Some(batched.pay(from, vec![order]))
                }
                Act::Answer { n, by, accept } => ids.get(&n).copied().map(|id| {
                    let says = if accept { Says::Accepted } else {
                        Says::Rejected(Refusal::new(StatusReason::AC03, ""))
                    };
                    batched.answers(banks[usize::from(by)], vec![(id, says)])
                }),
                Act::Wait { ms } => {
                    batched.run(&std::mem::take(&mut queue));
                    batched.now = batched.now.plus(Duration::from_millis(ms));
                    single.now = batched.now;
                    batched.run(&[]);
                    single.run(&[]);
                    None
                }
                Act::Flush => { batched.run(&std::mem::take(&mut queue)); None }
            };
            if let Some(command) = command {
                single.run(std::slice::from_ref(&command));
                queue.push(command);
            }
        }
        batched.run(&queue);
        prop_assert_eq!(&batched.tables.accounts, &single.tables.accounts);
        prop_assert_eq!(batched.tables.outbox.len(), single.tables.outbox.len());
        // Each funding that happened did so once, in both, and the funding account owes what all of them and the opening
        // balances sum up to.
        let moved = |world: &World| -> BTreeMap<_, _> {
            let fundings = world.tables.fundings.iter();
            fundings.map(|(id, known)| (*id, (known.account, known.amount, known.funded.available))).collect()
        };
        prop_assert_eq!(moved(&batched), moved(&single));
        let funded: i64 = batched.tables.fundings.values().map(|known| known.amount).sum();
        let owed = batched.tables.accounts[&FUNDING_ACCOUNT].available;
        prop_assert_eq!(owed, -(3000 + funded));
        // Everything ends: after the last deadline nothing is blocked.
        batched.now = batched.now.plus(Duration::from_secs(41));
        batched.run(&[]);
        prop_assert_eq!(batched.book.open_payments(), 0);
        prop_assert!(batched.tables.accounts.values().all(|a| a.blocked == 0));
    }
}
