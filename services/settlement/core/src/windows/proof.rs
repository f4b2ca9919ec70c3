//! The proof of a window: its sums against those that the book makes of its own postings.

use std::collections::{BTreeMap, BTreeSet};

use pix_domain::Ispb;

use super::{Centavos, Position, Tally, Window};

/// Differences that are told; beyond, how many more there are.
pub const DIFFERENCES_MAX: usize = 100;

/// What the postings of a participant's Conta PI sum up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BookTotal {
    /// Out of it.
    pub sent: Tally,
    /// Into it.
    pub received: Tally,
}

/// What the postings of some batches sum up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BookTotals {
    /// Names the book.
    pub book: String,
    /// The first row of these batches; 0 without any.
    pub first_sequence: i64,
    /// The last one.
    pub last_sequence: i64,
    /// Settlements.
    pub count: i64,
    /// By participant.
    pub totals: BTreeMap<Ispb, BookTotal>,
}

/// What was compared, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The sum of all nets.
    pub net_sum: i64,
    /// The first of the book's rows that were summed up; 0 without any.
    pub first_sequence: i64,
    /// The last one.
    pub last_sequence: i64,
    /// Settlements and money by the book.
    pub book: Tally,
    /// What differs, in words.
    pub differences: Vec<String>,
}

impl Proof {
    /// Whether nothing differs.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Compares a complete window with the book's sums of the same batches, participant by participant.
#[must_use]
pub fn prove(window: &Window, positions: &BTreeMap<Ispb, Position>, book: &BookTotals) -> Proof {
    let mut differences = Vec::new();
    if window.book != book.book {
        differences.push(format!(
            "the window is of book {}, and the SPI keeps book {} now: there are no postings left to compare with",
            window.book, book.book
        ));
    }
    let net_sum: i128 = positions
        .values()
        .map(|position| i128::from(position.net()))
        .sum();
    if net_sum != 0 {
        differences.push(format!(
            "the nets sum up to {}, and should to 0.00",
            Centavos(net_sum)
        ));
    }
    let sum = |tallies: &mut dyn Iterator<Item = Tally>| {
        tallies.fold((0_i128, 0_i128), |(centavos, count), tally| {
            (
                centavos + i128::from(tally.centavos),
                count + i128::from(tally.count),
            )
        })
    };
    let told = |(centavos, count): (i128, i128)| format!("{} in {count}", Centavos(centavos));
    let gross = (i128::from(window.gross.centavos), i128::from(window.gross.count));
    for (what, sums) in [
        ("sent", sum(&mut positions.values().map(|position| position.sent))),
        (
            "received",
            sum(&mut positions.values().map(|position| position.received)),
        ),
    ] {
        if sums != gross {
            differences.push(format!(
                "the window counted {}, and its participants {what} {}",
                told(gross),
                told(sums)
            ));
        }
    }
    let by_book = sum(&mut book.totals.values().map(|total| total.sent));
    for (what, sums) in [
        ("sent", by_book),
        (
            "received",
            sum(&mut book.totals.values().map(|total| total.received)),
        ),
    ] {
        if sums != (gross.0, book.count.into()) || book.count != window.gross.count {
            differences.push(format!(
                "the window counted {}; by the book's {} postings {} was {what}",
                told(gross),
                book.count,
                told(sums)
            ));
        }
    }
    let participants: BTreeSet<&Ispb> = positions.keys().chain(book.totals.keys()).collect();
    for ispb in participants {
        let ours = positions.get(ispb).copied().unwrap_or_default();
        let theirs = book.totals.get(ispb).copied().unwrap_or_default();
        for (what, ours, theirs) in [
            ("sent", ours.sent, theirs.sent),
            ("received", ours.received, theirs.received),
        ] {
            if ours != theirs {
                differences.push(format!(
                    "{ispb} {what} {ours} by the window, {theirs} by the book's postings"
                ));
            }
        }
    }
    let more = differences.len().saturating_sub(DIFFERENCES_MAX);
    if more > 0 {
        differences.truncate(DIFFERENCES_MAX);
        differences.push(format!("and {more} more"));
    }
    let clamp = |sum: i128| i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX });
    Proof {
        net_sum: clamp(net_sum),
        first_sequence: book.first_sequence,
        last_sequence: book.last_sequence,
        book: Tally {
            centavos: clamp(by_book.0),
            count: book.count,
        },
        differences,
    }
}

#[cfg(test)]
mod tests {
    use pix_domain::{Money, Timestamp};

    use super::*;
    use crate::windows::{Batch, Ledger, Length, Settled};

    fn ispb(text: &str) -> Ispb {
        Ispb::parse(text.as_bytes()).expect(text)
    }

    /// A window with 10.50 from 1 to 2 and 4.00 back, and what the book says of the same.
    fn sound() -> (Window, BTreeMap<Ispb, Position>, BookTotals) {
        let (one, two) = (ispb("11111111"), ispb("22222222"));
        let settled = |debited, credited, centavos| Settled {
            debited,
            credited,
            amount: Money::from_centavos(centavos),
            is_return: false,
        };
        let length = Length::from_seconds(60).expect("a length");
        let mut ledger = Ledger::begin("a".to_owned(), length);
        ledger.hear(&Batch {
            number: 3,
            previous: Some(0),
            decided_at: Timestamp::from_micros(1_800_000_000_000_000),
            settled: vec![settled(one, two, 1050), settled(two, one, 400)],
        });
        let positions = ledger
            .moved()
            .iter()
            .map(|((_, ispb), position)| (*ispb, *position));
        let tally = |centavos| Tally { centavos, count: 1 };
        let total = |sent, received| BookTotal {
            sent: tally(sent),
            received: tally(received),
        };
        let book = BookTotals {
            book: "a".to_owned(),
            first_sequence: 1,
            last_sequence: 17,
            count: 2,
            totals: BTreeMap::from([(one, total(1050, 400)), (two, total(400, 1050))]),
        };
        (ledger.current().clone(), positions.collect(), book)
    }

    #[test]
    fn equal_sums_prove_a_window() {
        let (window, positions, book) = sound();
        let proof = prove(&window, &positions, &book);
        assert_eq!(proof.differences, Vec::<String>::new());
        assert!(proof.holds());
        assert_eq!(
            (proof.net_sum, proof.first_sequence, proof.last_sequence),
            (0, 1, 17)
        );
        assert_eq!(
            proof.book,
            Tally {
                centavos: 1450,
                count: 2
            }
        );
    }

    #[test]
    fn a_centavo_too_many_is_told_in_words() {
        let (window, positions, mut book) = sound();
        let total = book.totals.get_mut(&ispb("22222222")).expect("there");
        total.received.centavos += 1;
        let proof = prove(&window, &positions, &book);
        assert_eq!(
            proof.differences,
            [
                "the window counted 14.50 in 2; by the book's 2 postings 14.51 in 2 was received",
                "22222222 received 10.50 in 1 settlement by the window, 10.51 in 1 settlement by the book's postings",
            ]
        );
    }

    #[test]
    fn a_participant_that_only_one_side_knows_is_told() {
        let (window, mut positions, book) = sound();
        let gone = positions.remove(&ispb("11111111")).expect("there");
        positions.insert(ispb("33333333"), gone);
        let proof = prove(&window, &positions, &book);
        assert_eq!(
            proof.differences,
            [
                "11111111 sent 0.00 in 0 settlements by the window, 10.50 in 1 settlement by the book's postings",
                "11111111 received 0.00 in 0 settlements by the window, 4.00 in 1 settlement by the book's postings",
                "33333333 sent 10.50 in 1 settlement by the window, 0.00 in 0 settlements by the book's postings",
                "33333333 received 4.00 in 1 settlement by the window, 0.00 in 0 settlements by the book's postings",
            ]
        );
    }

    #[test]
    fn nets_that_do_not_cancel_out_are_told() {
        let (window, mut positions, book) = sound();
        let position = positions.get_mut(&ispb("11111111")).expect("there");
        position.sent.centavos += 100;
        let proof = prove(&window, &positions, &book);
        assert_eq!(proof.net_sum, -100);
        assert_eq!(
            proof.differences[0],
            "the nets sum up to -1.00, and should to 0.00"
        );
        assert!(!proof.holds());
    }

    #[test]
    fn another_book_proves_nothing() {
        let (window, positions, mut book) = sound();
        book.book = "b".to_owned();
        assert!(!prove(&window, &positions, &book).holds());
    }

    #[test]
    fn differences_are_bounded() {
        let (window, positions, mut book) = sound();
        for n in 0..200 {
            let total = BookTotal {
                sent: Tally {
                    centavos: 1,
                    count: 1,
                },
                ..BookTotal::default()
            };
            book.totals.insert(ispb(&format!("{n:08}")), total);
        }
        let proof = prove(&window, &positions, &book);
        assert_eq!(proof.differences.len(), DIFFERENCES_MAX + 1);
        assert_eq!(proof.differences[DIFFERENCES_MAX], "and 101 more");
    }
}
