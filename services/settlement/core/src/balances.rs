//! Balances as the book tells them, and who is low.
//!
//! [`Board`] holds the newest state only. Whoever watches says which version he was told last and gets what changed
//! since: one who is slow skips what is over, and keeps nobody waiting.

use std::collections::BTreeMap;

use pix_domain::Ispb;

/// What a participant has in its Conta PI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Whose.
    pub ispb: Ispb,
    /// Centavos that it may pay with.
    pub available: i64,
    /// Centavos of its payments that have no end yet.
    pub blocked: i64,
    /// Below its threshold.
    pub is_low: bool,
}

/// A participant that is on the other side of its threshold than when it was last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// Who.
    pub ispb: Ispb,
    /// On the way down.
    pub is_low: bool,
    /// Centavos.
    pub available: i64,
    /// Centavos; `None` when it has none any more, and is above whatever it has.
    pub threshold: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    available: i64,
    blocked: i64,
    is_low: bool,
    /// Of the board, when it became so.
    version: u64,
}

/// All balances; none at first.
#[derive(Clone, Debug, Default)]
pub struct Board {
    version: u64,
    accounts: BTreeMap<Ispb, Known>,
    thresholds: BTreeMap<Ispb, i64>,
    /// Who was told to be low.
    told: BTreeMap<Ispb, bool>,
}

impl Board {
    /// Who was told to be low, also by those before us.
    pub fn set_told(&mut self, told: BTreeMap<Ispb, bool>) {
        self.told = told;
    }

    /// Grows with every change; 0 while nothing is known.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A balance as it is now.
    pub fn set(&mut self, ispb: Ispb, available: i64, blocked: i64) {
        let is_low = self.is_below(ispb, available);
        let known = self.accounts.get(&ispb);
        if known.is_some_and(|known| {
            (known.available, known.blocked, known.is_low) == (available, blocked, is_low)
        }) {
            return;
        }
        self.version += 1;
        let known = Known {
            available,
            blocked,
            is_low,
            version: self.version,
        };
        self.accounts.insert(ispb, known);
    }

    /// All thresholds there are, in centavos.
    pub fn set_thresholds(&mut self, thresholds: BTreeMap<Ispb, i64>) {
        if thresholds == self.thresholds {
            return;
        }
        self.thresholds = thresholds;
        let known: Vec<_> = self
            .accounts
            .iter()
            .map(|(ispb, known)| (*ispb, *known))
            .collect();
        for (ispb, known) in known {
            self.set(ispb, known.available, known.blocked);
        }
    }

    /// What changed after a version, by ISPB.
    pub fn after(&self, version: u64) -> impl Iterator<Item = Balance> {
        let changed = self
            .accounts
            .iter()
            .filter(move |(_, known)| known.version > version);
        changed.map(|(ispb, known)| Balance {
            ispb: *ispb,
            available: known.available,
            blocked: known.blocked,
            is_low: known.is_low,
        })
    }

    /// Who is on another side than was told.
    #[must_use]
    pub fn crossings(&self) -> Vec<Crossing> {
        let crossed = self
            .accounts
            .iter()
            .filter(|(ispb, known)| known.is_low != self.told.get(ispb).copied().unwrap_or_default());
        let crossing = |(ispb, known): (&Ispb, &Known)| Crossing {
            ispb: *ispb,
            is_low: known.is_low,
            available: known.available,
            threshold: self.thresholds.get(ispb).copied(),
        };
        crossed.map(crossing).collect()
    }

    /// A crossing is told.
    pub fn told(&mut self, crossing: &Crossing) {
        self.told.insert(crossing.ispb, crossing.is_low);
    }

    fn is_below(&self, ispb: Ispb, available: i64) -> bool {
        self.thresholds
            .get(&ispb)
            .is_some_and(|threshold| available < *threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ispb(text: &str) -> Ispb {
        Ispb::parse(text.as_bytes()).expect(text)
    }

    fn told(board: &mut Board) -> Vec<(bool, i64)> {
        let crossings = board.crossings();
        crossings.iter().for_each(|crossing| board.told(crossing));
        crossings
            .iter()
            .map(|crossing| (crossing.is_low, crossing.available))
            .collect()
    }

    #[test]
    fn who_is_slow_is_told_the_newest_of_what_changed() {
        let mut board = Board::default();
        let (a, b) = (ispb("11111111"), ispb("22222222"));
        board.set(a, 100, 0);
        board.set(b, 50, 5);
        let balances = |board: &Board, version| {
            let after = board.after(version);
            after
                .map(|one| (one.ispb, one.available, one.blocked))
                .collect::<Vec<_>>()
        };
        assert_eq!(balances(&board, 0), [(a, 100, 0), (b, 50, 5)]);
        let version = board.version();
        board.set(b, 50, 5);
        assert_eq!(board.version(), version, "nothing changed");
        for available in [90, 80, 70] {
            board.set(a, available, 10);
        }
        assert_eq!(balances(&board, version), [(a, 70, 10)]);
        assert_eq!(balances(&board, board.version()), []);
    }

    #[test]
    fn low_is_told_once_on_the_way_down() {
        let mut board = Board::default();
        let a = ispb("11111111");
        board.set(a, 1000, 0);
        board.set_thresholds(BTreeMap::from([(a, 500)]));
        assert_eq!(told(&mut board), []);
        board.set(a, 500, 0);
        assert_eq!(told(&mut board), [], "not below");
        board.set(a, 499, 0);
        assert_eq!(told(&mut board), [(true, 499)]);
        board.set(a, 300, 0);
        assert_eq!(told(&mut board), [], "told before");
        board.set(a, 600, 0);
        assert_eq!(told(&mut board), [(false, 600)]);
        board.set(a, 1, 0);
        assert_eq!(told(&mut board), [(true, 1)]);
    }

    #[test]
    fn the_next_process_does_not_tell_again() {
        let a = ispb("11111111");
        let mut board = Board::default();
        board.set_told(BTreeMap::from([(a, true)]));
        board.set_thresholds(BTreeMap::from([(a, 500)]));
        assert_eq!(told(&mut board), [], "nothing is known yet");
        board.set(a, 10, 0);
        assert_eq!(told(&mut board), []);
        assert!(board.after(0).all(|balance| balance.is_low));
    }

    #[test]
    fn a_threshold_that_moves_is_a_way_down_or_up_too() {
        let a = ispb("11111111");
        let mut board = Board::default();
        board.set(a, 100, 0);
        board.set_thresholds(BTreeMap::from([(a, 200)]));
        assert_eq!(told(&mut board), [(true, 100)]);
        assert_eq!(board.after(1).count(), 1, "those who watch see it");
        board.set_thresholds(BTreeMap::new());
        assert_eq!(told(&mut board), [(false, 100)]);
    }
}
