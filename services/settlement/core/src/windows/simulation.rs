//! Whatever is lost, repeated, out of order or cut short: the windows are those of somebody who sums up the book.
//!
//! [`World`] is what Postgres is in the shell: it keeps the current window, positions, and what became complete; each
//! act is one transaction, which may be lost before its COMMIT.

use std::collections::{BTreeMap, BTreeSet};

use pix_domain::{Ispb, Money, Timestamp};
use proptest::prelude::*;

use super::*;

const BOOK: &str = "a";
const START: i64 = 1_800_000_000_000_000;

fn participant(n: u8) -> Ispb {
    Ispb::parse(format!("{n:08}").as_bytes()).expect("an ISPB")
}

fn after_start(millis: u32) -> Timestamp {
    Timestamp::from_micros(START + i64::from(millis) * 1000)
}

/// What happens.
#[derive(Clone, Debug)]
enum Act {
    /// The book decides a batch so many milliseconds later: payments by (debited, credited, centavos, return?), or
    /// none, as when orders only come in.
    Decide(u32, Vec<(u8, u8, u32, bool)>),
    /// Events of these batches arrive together, in this order; how often each arrived before is all the same.
    Events(Vec<usize>),
    /// Somebody looks at the head, and fetches what is missing: at most so many batches.
    Look(usize),
    /// The book is asked where it stands,
    Ask,
    /// and its answer is looked at when others have counted on.
    LookLate,
    /// An operator ends the window.
    End,
    /// The same, but the process dies before its COMMIT.
    Die(Box<Act>),
}

/// The book of the SPI: all batches, those that settled nothing too.
#[derive(Debug, Default)]
struct Book {
    batches: Vec<Batch>,
    now: u32,
    number: i64,
    settled: i64,
}

impl Book {
    fn decide(&mut self, later: u32, payments: &[(u8, u8, u32, bool)]) {
        self.now += later;
        self.number += 1;
        if payments.is_empty() {
            return;
        }
        let settled = payments.iter().map(|&(from, to, centavos, is_return)| Settled {
            debited: participant(from),
            credited: participant(to),
            amount: Money::from_centavos(centavos.into()),
            is_return,
        });
        self.batches.push(Batch {
            number: self.number,
            previous: Some(self.settled),
            decided_at: after_start(self.now),
            settled: settled.collect(),
        });
        self.settled = self.number;
    }

    fn head(&self) -> Head {
        Head {
            book: BOOK.to_owned(),
            settled_batch: self.settled,
            // What is decided at this very instant may be not there yet: the clock is behind by as much.
            as_of: after_start(self.now),
        }
    }

    /// `Totals`, from the postings.
    fn totals(&self, window: &Window) -> BookTotals {
        let mut book = BookTotals {
            book: BOOK.to_owned(),
            ..BookTotals::default()
        };
        let range = window.after_batch + 1..=window.to_batch;
        let within = self.batches.iter().filter(|batch| range.contains(&batch.number));
        for settled in within.flat_map(|batch| &batch.settled) {
            book.count += 1;
            let sender = book.totals.entry(settled.debited).or_default();
            sender.sent.centavos += settled.amount.to_i64();
            sender.sent.count += 1;
            let receiver = book.totals.entry(settled.credited).or_default();
            receiver.received.centavos += settled.amount.to_i64();
            receiver.received.count += 1;
        }
        book
    }
}

/// What Postgres keeps of the windows.
#[derive(Clone, Debug)]
struct World {
    current: Option<Window>,
    complete: Vec<Window>,
    positions: BTreeMap<(i64, Ispb), Position>,
}

impl World {
    fn ledger(&self, length: Length) -> Ledger {
        match &self.current {
            Some(window) => Ledger::resume(window.clone(), length),
            None => Ledger::begin(BOOK.to_owned(), length),
        }
    }

    fn commit(&mut self, ledger: &Ledger) {
        self.current = Some(ledger.current().clone());
        self.complete.extend(ledger.complete().iter().cloned());
        for (key, moved) in ledger.moved() {
            let position = self.positions.entry(*key).or_default();
            for (tally, more) in [
                (&mut position.sent, moved.sent),
                (&mut position.received, moved.received),
                (&mut position.returned, moved.returned),
            ] {
                tally.centavos += more.centavos;
                tally.count += more.count;
            }
        }
    }

    fn of(&self, number: i64) -> BTreeMap<Ispb, Position> {
        let own = self.positions.iter().filter(|((of, _), _)| *of == number);
        own.map(|((_, ispb), position)| (*ispb, *position)).collect()
    }
}

struct Run {
    length: Length,
    book: Book,
    world: World,
    /// What the book said when it was last asked, and what was counted then.
    said: Option<(Head, i64)>,
    /// Where operators ended a window.
    cuts: BTreeSet<Timestamp>,
}

impl Run {
    fn new(length: Length) -> Self {
        Self {
            length,
            book: Book::default(),
            world: World {
                current: None,
                complete: Vec::new(),
                positions: BTreeMap::new(),
            },
            said: None,
            cuts: BTreeSet::new(),
        }
    }

    fn act(&mut self, act: &Act, commits: bool) {
        let mut ledger = self.world.ledger(self.length);
        let head = self.book.head();
        match act {
            Act::Decide(later, payments) => {
                self.book.decide(*later, payments);
                return;
            }
            Act::Die(act) => return self.act(act, false),
            Act::Events(chosen) => {
                let there = self.book.batches.len();
                for batch in chosen
                    .iter()
                    .filter(|_| there > 0)
                    .map(|n| &self.book.batches[n % there])
                {
                    ledger.hear(batch);
                }
            }
            Act::Ask => {
                self.said = Some((head, ledger.current().to_batch));
                return;
            }
            Act::LookLate => {
                if let Some((head, known)) = &self.said {
                    assert!(!matches!(ledger.look(head, *known), Looked::WentBack { .. }));
                }
            }
            Act::Look(most) => self.look(&mut ledger, &head, *most),
            Act::End => {
                self.look(&mut ledger, &head, usize::MAX);
                let was_open = ledger.current().phase == Phase::Open;
                ledger.end_now(head.as_of);
                if was_open && commits {
                    self.cuts.insert(ledger.current().ends_at);
                }
            }
        }
        if commits {
            self.world.commit(&ledger);
        }
    }

    fn look(&self, ledger: &mut Ledger, head: &Head, most: usize) {
        let known = ledger.current().to_batch;
        if let Looked::Behind { after } = ledger.look(head, known) {
            let missing = self.book.batches.iter().filter(|batch| batch.number > after);
            for batch in missing.take(most) {
                assert_eq!(ledger.hear(batch), Heard::Applied, "from the truth");
            }
            ledger.look(head, known);
        }
    }

    /// Time passes, and the last window ends too.
    fn finish(&mut self) {
        self.book.now += 24 * 3_600_000;
        self.act(&Act::Look(usize::MAX), true);
    }

    /// Positions by window, from the book alone: by the period of each batch, and between which cuts it was decided.
    fn oracle(&self) -> Vec<BTreeMap<Ispb, Position>> {
        let mut windows: BTreeMap<_, BTreeMap<Ispb, Position>> = BTreeMap::new();
        for batch in &self.book.batches {
            let period = self.length.period(batch.decided_at);
            let cuts = self.cuts.range(..=batch.decided_at).count();
            let window = windows.entry((period, cuts)).or_default();
            for settled in &batch.settled {
                let sender = window.entry(settled.debited).or_default();
                sender.sent.add(settled.amount);
                if settled.is_return {
                    sender.returned.add(settled.amount);
                }
                window
                    .entry(settled.credited)
                    .or_default()
                    .received
                    .add(settled.amount);
            }
        }
        windows.into_values().collect()
    }

    fn check(&self) {
        let complete = &self.world.complete;
        let mut after = 0;
        for (number, window) in (1..).zip(complete) {
            assert_eq!(window.number, number, "ascending by one");
            assert_eq!(window.after_batch, after, "without a hole");
            after = window.to_batch;
            assert!(window.opened_at <= window.ends_at);
            assert_eq!(
                window.settlement_date(),
                Timestamp::from_micros(window.ends_at.as_micros() - 1)
                    .max(window.opened_at)
                    .date_text(),
                "of one date"
            );
            let inside = window.after_batch + 1..=window.to_batch;
            for batch in self
                .book
                .batches
                .iter()
                .filter(|batch| inside.contains(&batch.number))
            {
                assert!((window.opened_at..window.ends_at).contains(&batch.decided_at));
            }
            let proof = prove(window, &self.world.of(number), &self.book.totals(window));
            assert!(proof.holds(), "{:?}", proof.differences);
        }
        for pair in complete.windows(2) {
            assert!(pair[0].ends_at <= pair[1].opened_at);
        }
        let current = self.world.current.as_ref().expect("somebody looked");
        assert!(current.is_idle());
        assert_eq!(current.after_batch, after);
        assert_eq!(
            current.to_batch, self.book.settled,
            "nothing is missing at the end"
        );
        let numbers = complete.iter().map(|window| window.number);
        let positions: Vec<_> = numbers.map(|number| self.world.of(number)).collect();
        let paid: Vec<_> = positions
            .into_iter()
            .filter(|positions| !positions.is_empty())
            .collect();
        assert_eq!(paid, self.oracle());
    }
}

fn acts() -> impl Strategy<Value = Act> {
    let payment = (0_u8..4, 0_u8..4, 1_u32..100_000, any::<bool>());
    let decide = (0_u32..700, prop::collection::vec(payment, 0..4));
    let alive = prop_oneof![
        6 => decide.prop_map(|(later, payments)| Act::Decide(later, payments)),
        4 => prop::collection::vec(any::<usize>(), 1..6).prop_map(Act::Events),
        2 => (0_usize..5).prop_map(Act::Look),
        1 => Just(Act::Ask),
        1 => Just(Act::LookLate),
        1 => Just(Act::End),
    ];
    alive.prop_flat_map(|act| {
        let mortal = !matches!(act, Act::Decide(..));
        prop_oneof![
            4 => Just(act.clone()),
            1 => Just(if mortal { Act::Die(Box::new(act)) } else { act }),
        ]
    })
}

proptest! {
    #[test]
    fn windows_are_those_of_somebody_who_sums_up_the_book(
        seconds in 1_i64..4,
        acts in prop::collection::vec(acts(), 0..120),
    ) {
        let mut run = Run::new(Length::from_seconds(seconds).expect("a length"));
        for act in &acts {
            run.act(act, true);
        }
        run.finish();
        run.check();
    }

    #[test]
    fn windows_are_the_same_whoever_tells_of_the_batches(
        decided in prop::collection::vec((0_u32..700, prop::collection::vec((0_u8..4, 0_u8..4, 1_u32..1000, any::<bool>()), 0..3)), 0..40),
        told in prop::collection::vec(prop::collection::vec(any::<usize>(), 1..6), 0..40),
    ) {
        let length = Length::from_seconds(1).expect("a length");
        let mut by_looks = Run::new(length);
        let mut by_events = Run::new(length);
        let mut told = told.into_iter();
        for (later, payments) in &decided {
            for run in [&mut by_looks, &mut by_events] {
                run.act(&Act::Decide(*later, payments.clone()), true);
            }
            by_looks.act(&Act::Look(usize::MAX), true);
            if let Some(events) = told.next() {
                by_events.act(&Act::Events(events), true);
            }
        }
        for run in [&mut by_looks, &mut by_events] {
            run.finish();
            run.check();
        }
        prop_assert_eq!(by_looks.world.complete, by_events.world.complete);
        prop_assert_eq!(by_looks.world.positions, by_events.world.positions);
    }
}
