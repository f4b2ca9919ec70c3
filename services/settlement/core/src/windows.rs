//! Settlement windows: what was settled between two instants, participant by participant.
//!
//! The book of the SPI numbers its batches and says when each was decided. A window takes the batches after the last
//! one of the window before, as long as they were decided before it ends: so windows share out the book without a hole
//! and without an overlap, and a batch is in exactly one of them, whatever told us of it, and how often.
//!
//! ```text
//! open ──(its time is over, or an operator ends it)──> closing ──(every batch decided before its end is in it)──>
//! complete ──(the book's own sums are compared with it)──> closed
//! ```
//!
//! Windows end at multiples of their [`Length`] since midnight, and at midnight: a window is of one settlement date.
//! When nothing was settled in a window its time only moves on, however long that lasts: it keeps its number, and no
//! row is written for hours in which nobody paid. An operator who ends a window gets it closed, empty or not.

mod proof;
#[cfg(test)]
mod simulation;

use std::collections::BTreeMap;
use std::fmt;
use std::num::IntErrorKind;
use std::str::FromStr;

use pix_domain::{Ispb, Money, Timestamp};

pub use proof::{BookTotal, BookTotals, DIFFERENCES_MAX, Proof, prove};

const SECOND_MICROS: i64 = 1_000_000;
/// UTC, as the date of a settlement in the SPI's messages (`IntrBkSttlmDt`).
const DAY_MICROS: i64 = 24 * 3600 * SECOND_MICROS;

/// How long a window is: whole seconds, a day at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length(i64);

/// Why a number is no length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLength {
    /// It is no whole number.
    #[error("a window's length is a whole number of seconds")]
    NoNumber,
    /// It is below a second or above a day.
    #[error("a window lasts 1 to 86400 seconds")]
    Range,
}

impl Length {
    /// From seconds.
    ///
    /// # Errors
    /// [`InvalidLength::Range`].
    pub const fn from_seconds(seconds: i64) -> Result<Self, InvalidLength> {
        if seconds < 1 || seconds > DAY_MICROS / SECOND_MICROS {
            return Err(InvalidLength::Range);
        }
        Ok(Self(seconds * SECOND_MICROS))
    }

    /// In seconds.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0 / SECOND_MICROS
    }

    /// Beginning and end of the period that `at` falls in.
    fn period(self, at: Timestamp) -> (Timestamp, Timestamp) {
        let midnight = at.as_micros().div_euclid(DAY_MICROS) * DAY_MICROS;
        let from = midnight + (at.as_micros() - midnight) / self.0 * self.0;
        let to = (from + self.0).min(midnight + DAY_MICROS);
        (Timestamp::from_micros(from), Timestamp::from_micros(to))
    }
}

impl FromStr for Length {
    type Err = InvalidLength;

    fn from_str(seconds: &str) -> Result<Self, InvalidLength> {
        let seconds = seconds.parse().map_err(|error: std::num::ParseIntError| {
            if matches!(
                error.kind(),
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow
            ) {
                return InvalidLength::Range;
            }
            InvalidLength::NoNumber
        })?;
        Self::from_seconds(seconds)
    }
}

/// A payment or return whose money moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Whose Conta PI was debited.
    pub debited: Ispb,
    /// Whose was credited.
    pub credited: Ispb,
    /// How much.
    pub amount: Money,
    /// Whether it gives a payment back (devolução, pacs.004).
    pub is_return: bool,
}

/// A batch of the book that settled something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its number; of the batches of a book each is above the one before.
    pub number: i64,
    /// The batch before it that settled something, 0 when there is none; `None` from who cannot say.
    pub previous: Option<i64>,
    /// When it was decided, by the book's clock.
    pub decided_at: Timestamp,
    /// What it settled.
    pub settled: Vec<Settled>,
}

/// Where the book stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Names the book.
    pub book: String,
    /// Its last batch that settled something; 0 when none did.
    pub settled_batch: i64,
    /// The book's clock: what was decided before is in `settled_batch` or a batch below.
    pub as_of: Timestamp,
}

/// Money and how many times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Centavos.
    pub centavos: i64,
    /// Settlements.
    pub count: i64,
}

impl Tally {
    fn add(&mut self, amount: Money) {
        let sum = self.centavos.checked_add(amount.to_i64());
        self.centavos = sum.expect("what a window settles fits 63 bits of centavos");
        self.count += 1;
    }
}

impl fmt::Display for Tally {
    /// `10.50 in 2 settlements`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count == 1 { "" } else { "s" };
        write!(
            f,
            "{} in {} settlement{plural}",
            Centavos(self.centavos.into()),
            self.count
        )
    }
}

/// Centavos as people read them, with their sign: `-10.50`.
#[derive(Clone, Copy, Debug)]
pub struct Centavos(pub i128);

impl fmt::Display for Centavos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let centavos = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", centavos / 100, centavos % 100)
    }
}

/// What a participant did in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Gross, out of its Conta PI.
    pub sent: Tally,
    /// Gross, into it.
    pub received: Tally,
    /// Of what it sent: payments that it gave back.
    pub returned: Tally,
}

impl Position {
    /// Received less sent, in centavos.
    #[must_use]
    pub fn net(&self) -> i64 {
        // Neither is below zero, so their difference is in range.
        self.received.centavos - self.sent.centavos
    }
}

/// How far a window is on its way to be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its time is not over.
    Open,
    /// Its time is over; what was decided in it may still be on its way to us.
    Closing,
}

/// A window: its time, its part of the book, its sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Ascending by one.
    pub number: i64,
    /// Names the book.
    pub book: String,
    /// How far it is.
    pub phase: Phase,
    /// When it began.
    pub opened_at: Timestamp,
    /// What was decided at this instant or after belongs to the next.
    pub ends_at: Timestamp,
    /// The book's batches above this one,
    pub after_batch: i64,
    /// up to this one.
    pub to_batch: i64,
    /// When that was decided; `None` while there is none.
    pub decided_at: Option<Timestamp>,
    /// All that was settled.
    pub gross: Tally,
}

impl Window {
    /// `YYYY-MM-DD`: the settlement date.
    #[must_use]
    pub fn settlement_date(&self) -> String {
        self.opened_at.date_text()
    }

    /// Nothing was settled in it, and nobody ended it: its time may still move on.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Open && self.to_batch == self.after_batch
    }
}

/// What a batch was to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next one; it is counted.
    Applied,
    /// Counted before; nothing changed.
    AlreadyKnown,
    /// Not the next one: those after this one are missing. Nothing changed.
    Gap {
        /// The last that is known.
        after: i64,
    },
}

/// What the book's head says of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Everything that was settled is counted.
    UpToDate,
    /// Batches are missing: those after this one.
    Behind {
        /// The last that is known.
        after: i64,
    },
    /// The book is not the one that was counted: from now on it is this one, from its beginning. Nothing of it is
    /// counted yet.
    OtherBook,
    /// The book does not know what was counted of it: it was set back, by a backup say.
    WentBack {
        /// The last that was counted.
        counted: i64,
    },
}

/// The window in which batches are counted at present, and what became of those before it since they were loaded.
#[derive(Clone, Debug)]
pub struct Ledger {
    length: Length,
    current: Window,
    complete: Vec<Window>,
    moved: BTreeMap<(i64, Ispb), Position>,
}

impl Ledger {
    /// Of a book of which nothing was counted yet. Its first window lies before everything, and moves on to what is
    /// heard first.
    #[must_use]
    pub fn begin(book: String, length: Length) -> Self {
        let (opened_at, ends_at) = length.period(Timestamp::from_micros(0));
        let first = Window {
            number: 1,
            book,
            phase: Phase::Open,
            opened_at,
            ends_at,
            after_batch: 0,
            to_batch: 0,
            decided_at: None,
            gross: Tally::default(),
        };
        Self::resume(first, length)
    }

    /// Goes on with the window that was kept.
    #[must_use]
    pub fn resume(current: Window, length: Length) -> Self {
        Self {
            length,
            current,
            complete: Vec::new(),
            moved: BTreeMap::new(),
        }
    }

    /// The window in which batches are counted.
    #[must_use]
    pub fn current(&self) -> &Window {
        &self.current
    }

    /// Windows that became complete since they were loaded: to be proven.
    #[must_use]
    pub fn complete(&self) -> &[Window] {
        &self.complete
    }

    /// What is to be added to the positions of participants, by window.
    #[must_use]
    pub fn moved(&self) -> &BTreeMap<(i64, Ispb), Position> {
        &self.moved
    }

    /// Counts a batch of this book, once.
    pub fn hear(&mut self, batch: &Batch) -> Heard {
        let after = self.current.to_batch;
        if batch.number <= after {
            return Heard::AlreadyKnown;
        }
        if batch.previous != Some(after) {
            return Heard::Gap { after };
        }
        // It is the next one, so nothing that was decided before it is missing any more.
        if batch.decided_at >= self.current.ends_at {
            self.turn(batch.decided_at);
        }
        self.current.to_batch = batch.number;
        self.current.decided_at = Some(batch.decided_at);
        for settled in &batch.settled {
            self.count(settled);
        }
        Heard::Applied
    }

    /// Compares with where the book stands, and ends what is over by its clock. `known` is the last batch that was
    /// counted when the book was asked: events may have told of later ones in the meantime, which the head does not
    /// know of and need not.
    pub fn look(&mut self, head: &Head, known: i64) -> Looked {
        let counted = self.current.to_batch;
        if head.book != self.current.book {
            self.change_book(head);
            return Looked::OtherBook;
        }
        if head.settled_batch < known {
            return Looked::WentBack { counted };
        }
        let is_over = head.as_of >= self.current.ends_at;
        if head.settled_batch > counted {
            // With nothing in it, it is those batches that say where it belongs.
            if is_over && !self.current.is_idle() {
                self.current.phase = Phase::Closing;
            }
            return Looked::Behind { after: counted };
        }
        if is_over {
            self.turn(head.as_of);
        }
        Looked::UpToDate
    }

    /// Ends the window now, by the book's clock. Which one it is: one that is closing already is that one.
    pub fn end_now(&mut self, at: Timestamp) -> i64 {
        let window = &mut self.current;
        if window.phase == Phase::Open {
            window.phase = Phase::Closing;
            // What is in it stays in it, although it was told between the reading of the clock and this.
            let last = window
                .decided_at
                .map(|at| Timestamp::from_micros(at.as_micros() + 1));
            let now = at.max(window.opened_at).max(last.unwrap_or(at));
            window.ends_at = window.ends_at.min(now);
        }
        window.number
    }

    /// The current window is complete. The next is the one that `at` falls in.
    fn turn(&mut self, at: Timestamp) {
        let (from, to) = self.length.period(at);
        // An operator may have ended the one before within the same period.
        let opened_at = from.max(self.current.ends_at);
        if self.current.is_idle() {
            self.current.opened_at = opened_at;
            self.current.ends_at = to;
            return;
        }
        let next = Window {
            number: self.current.number + 1,
            phase: Phase::Open,
            opened_at,
            ends_at: to,
            after_batch: self.current.to_batch,
            gross: Tally::default(),
            ..self.current.clone()
        };
        let mut complete = std::mem::replace(&mut self.current, next);
        complete.phase = Phase::Closing;
        self.complete.push(complete);
    }

    /// What was counted of the other book is all that there will ever be of it.
    fn change_book(&mut self, head: &Head) {
        if !self.current.is_idle() {
            self.current.ends_at = self.current.ends_at.min(head.as_of.max(self.current.opened_at));
            self.turn(head.as_of);
        }
        let window = &mut self.current;
        window.book.clone_from(&head.book);
        window.after_batch = 0;
        window.to_batch = 0;
        window.decided_at = None;
    }

    fn count(&mut self, settled: &Settled) {
        let number = self.current.number;
        self.current.gross.add(settled.amount);
        let sender = self.moved.entry((number, settled.debited)).or_default();
        sender.sent.add(settled.amount);
        if settled.is_return {
            sender.returned.add(settled.amount);
        }
        let receiver = self.moved.entry((number, settled.credited)).or_default();
        receiver.received.add(settled.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wire: &str) -> Timestamp {
        Timestamp::parse(format!("2026-11-21T{wire}.000Z").as_bytes()).expect(wire)
    }

    fn ispb(text: &str) -> Ispb {
        Ispb::parse(text.as_bytes()).expect(text)
    }

    fn half_hours() -> Length {
        "1800".parse().expect("a length")
    }

    /// A batch with one payment of so many centavos.
    fn batch(number: i64, previous: i64, decided_at: Timestamp, centavos: u64) -> Batch {
        Batch {
            number,
            previous: Some(previous),
            decided_at,
            settled: vec![Settled {
                debited: ispb("11111111"),
                credited: ispb("22222222"),
                amount: Money::from_centavos(centavos),
                is_return: false,
            }],
        }
    }

    fn head(settled_batch: i64, as_of: Timestamp) -> Head {
        Head {
            book: "a".to_owned(),
            settled_batch,
            as_of,
        }
    }

    fn times(window: &Window) -> (Timestamp, Timestamp) {
        (window.opened_at, window.ends_at)
    }

    #[test]
    fn lengths_are_whole_seconds_up_to_a_day() {
        assert_eq!("1".parse(), Length::from_seconds(1));
        assert_eq!("86400".parse(), Length::from_seconds(86_400));
        for (text, why) in [
            ("0", InvalidLength::Range),
            ("-5", InvalidLength::Range),
            ("86401", InvalidLength::Range),
            ("99999999999999999999", InvalidLength::Range),
            ("30m", InvalidLength::NoNumber),
            ("", InvalidLength::NoNumber),
        ] {
            assert_eq!(text.parse::<Length>(), Err(why), "{text}");
        }
    }

    #[test]
    fn periods_end_at_multiples_and_at_midnight() {
        assert_eq!(
            half_hours().period(at("10:29:59")),
            (at("10:00:00"), at("10:30:00"))
        );
        assert_eq!(
            half_hours().period(at("10:30:00")),
            (at("10:30:00"), at("11:00:00"))
        );
        let seven_hours = Length::from_seconds(7 * 3600).expect("a length");
        let midnight = Timestamp::parse(b"2026-11-22T00:00:00.000Z").expect("a time");
        assert_eq!(seven_hours.period(at("22:00:00")), (at("21:00:00"), midnight));
        assert_eq!(seven_hours.period(midnight).0, midnight);
    }

    #[test]
    fn a_batch_counts_once_and_in_its_place() {
        let mut ledger = Ledger::begin("a".to_owned(), half_hours());
        assert_eq!(
            ledger.hear(&batch(9, 5, at("10:10:00"), 1)),
            Heard::Gap { after: 0 }
        );
        let unsaid = Batch {
            previous: None,
            ..batch(5, 0, at("10:05:00"), 1)
        };
        assert_eq!(ledger.hear(&unsaid), Heard::Gap { after: 0 });
        assert_eq!(ledger.hear(&batch(5, 0, at("10:05:00"), 250)), Heard::Applied);
        assert_eq!(ledger.hear(&batch(9, 5, at("10:10:00"), 100)), Heard::Applied);
        for again in [5, 9] {
            assert_eq!(
                ledger.hear(&batch(again, 0, at("10:05:00"), 250)),
                Heard::AlreadyKnown
            );
        }
        let window = ledger.current();
        assert_eq!(times(window), (at("10:00:00"), at("10:30:00")));
        assert_eq!((window.number, window.after_batch, window.to_batch), (1, 0, 9));
        assert_eq!(
            window.gross,
            Tally {
                centavos: 350,
                count: 2
            }
        );
        assert_eq!(ledger.moved()[&(1, ispb("11111111"))].net(), -350);
        assert_eq!(ledger.moved()[&(1, ispb("22222222"))].net(), 350);
    }

    #[test]
    fn what_is_decided_at_the_end_belongs_to_the_next() {
        let mut ledger = Ledger::begin("a".to_owned(), half_hours());
        ledger.hear(&batch(1, 0, at("10:29:59"), 1));
        ledger.hear(&batch(2, 1, at("10:30:00"), 2));
        let [first] = ledger.complete() else {
            panic!("one is complete")
        };
        assert_eq!(
            (first.number, first.after_batch, first.to_batch, first.phase),
            (1, 0, 1, Phase::Closing)
        );
        assert_eq!((ledger.current().number, ledger.current().after_batch), (2, 1));
        // The book's clock was set back a little between two of its processes: never back into a window.
        ledger.hear(&batch(3, 2, at("10:29:59"), 4));
        assert_eq!(ledger.complete().len(), 1);
        assert_eq!(ledger.current().gross.centavos, 6);
    }

    #[test]
    fn a_window_whose_time_is_over_waits_for_what_was_decided_in_it() {
        let mut ledger = Ledger::begin("a".to_owned(), half_hours());
        ledger.hear(&batch(1, 0, at("10:10:00"), 1));
        assert_eq!(
            ledger.look(&head(2, at("10:31:00")), 0),
            Looked::Behind { after: 1 }
        );
        assert_eq!(ledger.current().phase, Phase::Closing);
        assert!(ledger.complete().is_empty());
        ledger.hear(&batch(2, 1, at("10:20:00"), 1));
        assert_eq!(ledger.look(&head(2, at("10:31:00")), 0), Looked::UpToDate);
        assert_eq!(ledger.complete()[0].to_batch, 2);
        assert_eq!(times(ledger.current()), (at("10:30:00"), at("11:00:00")));
    }

    #[test]
    fn without_payments_the_time_of_a_window_moves_on_until_somebody_ends_it() {
        let mut ledger = Ledger::begin("a".to_owned(), half_hours());
        for now in ["10:10:00", "10:31:00", "17:05:00"] {
            assert_eq!(ledger.look(&head(0, at(now)), 0), Looked::UpToDate);
        }
        assert_eq!(ledger.current().number, 1);
        assert_eq!(times(ledger.current()), (at("17:00:00"), at("17:30:00")));
        assert!(ledger.complete().is_empty());

        assert_eq!(ledger.end_now(at("17:10:00")), 1);
        assert_eq!(ledger.end_now(at("17:11:00")), 1, "it is closing");
        assert_eq!(ledger.look(&head(0, at("17:10:00")), 0), Looked::UpToDate);
        assert_eq!(times(&ledger.complete()[0]), (at("17:00:00"), at("17:10:00")));
        assert_eq!(times(ledger.current()), (at("17:10:00"), at("17:30:00")));
        assert_eq!(ledger.current().number, 2);
    }

    #[test]
    fn an_operator_ends_a_window_after_what_is_in_it() {
        let mut ledger = Ledger::begin("a".to_owned(), half_hours());
        ledger.hear(&batch(1, 0, at("10:10:00"), 1));
        assert_eq!(
            ledger.end_now(at("10:10:00")),
            1,
            "read before the batch was told"
        );
        let end = Timestamp::from_micros(at("10:10:00").as_micros() + 1);
        assert_eq!(times(ledger.current()), (at("10:00:00"), end));
        // Too late to end it earlier than its time.
        let mut ledger = Ledger::begin("a".to_owned(), half_hours());
        ledger.hear(&batch(1, 0, at("10:10:00"), 1));
        ledger.end_now(at("10:40:00"));
        assert_eq!(ledger.current().ends_at, at("10:30:00"));
    }

    #[test]
    fn another_book_begins_anew_and_one_that_was_set_back_is_told() {
        let mut ledger = Ledger::begin("a".to_owned(), half_hours());
        ledger.hear(&batch(7, 0, at("10:10:00"), 1));
        assert_eq!(
            ledger.look(&head(6, at("10:11:00")), 7),
            Looked::WentBack { counted: 7 }
        );
        assert_eq!(
            ledger.look(&head(6, at("10:11:00")), 6),
            Looked::UpToDate,
            "an event told of 7 while the book was asked"
        );
        let other = Head {
            book: "b".to_owned(),
            ..head(3, at("10:12:00"))
        };
        assert_eq!(ledger.look(&other, 0), Looked::OtherBook);
        let [old] = ledger.complete() else {
            panic!("what was counted of the old one is complete")
        };
        assert_eq!((old.book.as_str(), old.to_batch), ("a", 7));
        let window = ledger.current();
        assert_eq!(
            (window.book.as_str(), window.after_batch, window.to_batch),
            ("b", 0, 0)
        );
        assert_eq!(ledger.look(&other, 0), Looked::Behind { after: 0 });
        assert_eq!(ledger.hear(&batch(3, 0, at("10:11:30"), 5)), Heard::Applied);
    }

    #[test]
    fn a_return_is_told_apart() {
        let mut ledger = Ledger::begin("a".to_owned(), half_hours());
        let mut both = batch(1, 0, at("10:10:00"), 500);
        both.settled.push(Settled {
            debited: ispb("22222222"),
            credited: ispb("11111111"),
            amount: Money::from_centavos(200),
            is_return: true,
        });
        ledger.hear(&both);
        let position = ledger.moved()[&(1, ispb("22222222"))];
        let tally = |centavos| Tally { centavos, count: 1 };
        assert_eq!(
            position,
            Position {
                sent: tally(200),
                received: tally(500),
                returned: tally(200),
            }
        );
        assert_eq!(ledger.moved()[&(1, ispb("11111111"))].returned, Tally::default());
    }
}
