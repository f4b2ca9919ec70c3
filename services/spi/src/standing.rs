//! Where the book stands, as its writer says: for those who follow it without asking Postgres.

use std::collections::BTreeMap;
use std::time::Duration;

use pix_domain::{Ispb, Timestamp};
use pix_runtime::Clock;
use spi_core::book::{Account, BalanceRow, Book, FUNDING_ACCOUNT};

/// Two processes read the clock of one database at most so far apart (`pix_runtime::pg`): what one promised about a
/// time holds for the one that comes after it.
const CLOCKS_APART_MAX: Duration = Duration::from_millis(100);

/// What is committed, and since when something is being decided.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// The last batch that was committed.
    pub(crate) batch: i64,
    /// The last that settled payments.
    pub(crate) settled_batch: i64,
    /// When a batch was decided whose COMMIT is not yet known to have happened or not.
    deciding: Option<Timestamp>,
    accounts: BTreeMap<Ispb, Told>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    account: Account,
    /// The batch that made it so, or an earlier one than any that was told of.
    batch: i64,
}

impl Standing {
    /// What the tables say at the start.
    pub(crate) fn of(book: &Book) -> Self {
        let accounts = book.accounts().filter(|(ispb, _)| *ispb != FUNDING_ACCOUNT);
        Self {
            batch: book.last_batch(),
            settled_batch: book.latest().settled,
            deciding: None,
            accounts: accounts
                .map(|(ispb, account)| (ispb, Told { account, batch: 0 }))
                .collect(),
        }
    }

    /// A batch is decided now. Nobody has to be woken: nothing new is true.
    pub(crate) fn decides(&mut self, now: Timestamp) -> bool {
        self.deciding = Some(now);
        false
    }

    /// Nothing is being decided.
    pub(crate) fn rests(&mut self) -> bool {
        self.deciding = None;
        false
    }

    /// The book installed a batch with these changes; true when somebody has to be told.
    pub(crate) fn committed(&mut self, book: &Book, changed: &BTreeMap<Ispb, BalanceRow>) -> bool {
        self.batch = book.last_batch();
        self.settled_batch = book.latest().settled;
        self.deciding = None;
        let changed = changed.iter().filter(|(ispb, _)| **ispb != FUNDING_ACCOUNT);
        let mut any = false;
        for (ispb, row) in changed {
            let told = Told {
                account: row.after,
                batch: self.batch,
            };
            self.accounts.insert(*ispb, told);
            any = true;
        }
        any
    }

    /// Every batch decided before this time has the number [`Standing::batch`] or a lower one. To be called while
    /// the writer cannot begin to decide: with this borrowed.
    pub(crate) fn as_of(&self, clock: &impl Clock) -> Timestamp {
        let now = clock.now().minus(CLOCKS_APART_MAX);
        self.deciding.map_or(now, |since| since.min(now))
    }

    /// The Conta PI that changed after this batch; all of them when it is `None`.
    pub(crate) fn changed_after(&self, batch: Option<i64>) -> Vec<(Ispb, Account)> {
        let changed = |told: &Told| batch.is_none_or(|batch| told.batch > batch);
        let told = self.accounts.iter().filter(|(_, told)| changed(told));
        told.map(|(ispb, told)| (*ispb, told.account)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use pix_domain::Money;
    use spi_core::book::{Command, Facts};

    use super::*;

    struct At(AtomicI64);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.0.load(Ordering::Relaxed))
        }
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn nothing_is_promised_about_a_time_at_which_something_is_being_decided() {
        let clock = At(AtomicI64::new(5_000_000));
        let mut standing = Standing::default();
        assert_eq!(standing.as_of(&clock), at(4_900_000));
        assert!(!standing.decides(at(5_000_000)));
        clock.0.store(9_000_000, Ordering::Relaxed);
        assert_eq!(standing.as_of(&clock), at(5_000_000), "it waits for that batch");
        assert!(!standing.rests());
        assert_eq!(standing.as_of(&clock), at(8_900_000));
        standing.decides(at(9_000_000));
        assert_eq!(standing.as_of(&clock), at(8_900_000), "never ahead of the margin");
        standing.committed(&Book::default(), &BTreeMap::new());
        assert_eq!(standing.as_of(&clock), at(8_900_000));
    }

    #[test]
    fn who_has_heard_up_to_a_batch_hears_what_changed_after_it() {
        let [a, b] = [b"11111111", b"22222222"].map(|raw| Ispb::parse(raw).expect("an ISPB"));
        let mut book = Book::default();
        let mut standing = Standing::of(&book);
        let mut open = |account, centavos| {
            let open = Command::Open {
                account,
                balance: Money::from_centavos(centavos),
            };
            let decision = book.decide(&[open], &Facts::default(), at(0), None);
            let changed = decision.batch.balances.clone();
            book.install(decision);
            assert!(standing.committed(&book, &changed));
            (
                standing.batch,
                standing.changed_after(None),
                standing.changed_after(Some(1)),
            )
        };
        let of = |available| Account {
            available,
            blocked: 0,
        };
        assert_eq!(
            open(a, 5),
            (1, vec![(a, of(5))], vec![]),
            "not the funding account"
        );
        assert_eq!(open(b, 7), (2, vec![(a, of(5)), (b, of(7))], vec![(b, of(7))]));
        let started = Standing::of(&book);
        assert_eq!(started.batch, 2);
        assert_eq!(started.changed_after(None), vec![(a, of(5)), (b, of(7))]);
        assert_eq!(started.changed_after(Some(2)), vec![]);
    }
}
