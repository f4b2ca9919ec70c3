//! Whether a run counts at all: pure, over what was collected. A run that fails has no result.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ledger::Tally;

/// A Conta PI, in centavos.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) available: i64,
    pub(crate) blocked: i64,
}

/// The switch's accounts, by ISPB.
pub(crate) type Accounts = BTreeMap<String, Account>;

/// What the switch still has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Backlog {
    /// Transactions that wait to leave.
    pub(crate) outbox: f64,
    /// Messages that nobody has read.
    pub(crate) streams: f64,
    /// Ages of the oldest message of each participant that is not confirmed, together, in seconds.
    pub(crate) unconfirmed_s: f64,
    /// Payments without an end.
    pub(crate) open: f64,
}

/// Everything that the gate judges by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) tally: Tally,
    /// ISPB of each bank of the fleet, in the order of the tally.
    pub(crate) banks: Vec<String>,
    pub(crate) before: Accounts,
    pub(crate) after: Accounts,
    pub(crate) backlog: Backlog,
    /// Messages of the switch that the fleet could not believe.
    pub(crate) unbelievable: u64,
    /// Repeated messages that were not answered with their first ResourceId.
    pub(crate) repeated_otherwise: u64,
    /// Messages signed ahead that did not start at their announced instant.
    pub(crate) started_late: u64,
    /// Messages that the fleet itself could not start.
    pub(crate) not_started: u64,
}

/// One thing that has to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) holds: bool,
    pub(crate) detail: String,
}

fn check(name: &str, holds: bool, detail: String) -> Check {
    Check {
        name: name.to_owned(),
        holds,
        detail,
    }
}

/// Every check, in the order of the report.
pub(crate) fn judge(facts: &Facts) -> Vec<Check> {
    let tally = &facts.tally;
    vec![
        check(
            "accepted = settled + rejected",
            tally.accepted == tally.settled + tally.rejected && tally.unknown == 0 && tally.ended_twice == 0,
            format!(
                "{} accepted, {} settled, {} rejected, {} unknown, {} with two ends",
                tally.accepted, tally.settled, tally.rejected, tally.unknown, tally.ended_twice
            ),
        ),
        check(
            "two pacs.002 a settled payment",
            tally.status_reports == 2 * tally.settled && tally.uncredited == 0 && tally.credited_wrongly == 0,
            format!(
                "{} for {} settled, {} without ACCC, {} with an ACCC too many",
                tally.status_reports, tally.settled, tally.uncredited, tally.credited_wrongly
            ),
        ),
        conserved(facts),
        check(
            "outbox empty",
            facts.backlog == Backlog::default(),
            format!(
                "{} transactions to form, {} messages to be read, confirmations {:.1} s behind, {} payments open",
                facts.backlog.outbox, facts.backlog.streams, facts.backlog.unconfirmed_s, facts.backlog.open
            ),
        ),
        books(facts),
        check(
            "every message believed",
            facts.unbelievable == 0,
            format!(
                "{} of the switch's messages could not be verified or read",
                facts.unbelievable
            ),
        ),
        check(
            "a repeat gets its first answer",
            facts.repeated_otherwise == 0,
            format!("{} did not", facts.repeated_otherwise),
        ),
        check(
            "the fleet kept the schedule",
            facts.started_late == 0 && facts.not_started == 0,
            format!(
                "{} signed ahead started late, {} not at all",
                facts.started_late, facts.not_started
            ),
        ),
    ]
}

/// Whether all of them hold.
pub(crate) fn is_valid(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.holds)
}

/// All accounts together have what they had, and nothing is held.
fn conserved(facts: &Facts) -> Check {
    let sum = |accounts: &Accounts| -> i64 {
        accounts
            .values()
            .map(|account| account.available + account.blocked)
            .sum()
    };
    let blocked: i64 = facts.after.values().map(|account| account.blocked).sum();
    let (before, after) = (sum(&facts.before), sum(&facts.after));
    check(
        "money conserved",
        before == after && blocked == 0,
        format!("{before} centavos before, {after} after, {blocked} still blocked"),
    )
}

/// What each bank's customers have more, by its own book, is what its Conta PI has more.
fn books(facts: &Facts) -> Check {
    let of = |accounts: &Accounts, ispb: &String| accounts.get(ispb).copied().unwrap_or_default().available;
    let wrong: Vec<String> = facts
        .banks
        .iter()
        .zip(&facts.tally.moved)
        .filter_map(|(ispb, moved)| {
            let switch = of(&facts.after, ispb) - of(&facts.before, ispb);
            (switch != *moved).then(|| format!("{ispb} has {moved:+}, the switch says {switch:+}"))
        })
        .collect();
    let detail = if wrong.is_empty() {
        format!("{} banks agree to the centavo", facts.banks.len())
    } else {
        wrong.join("; ")
    };
    check("bank books = switch books", wrong.is_empty(), detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "98000001";
    const B: &str = "98000002";

    fn accounts(a: i64, b: i64) -> Accounts {
        let account = |available| Account {
            available,
            blocked: 0,
        };
        [
            (A.to_owned(), account(a)),
            (B.to_owned(), account(b)),
            ("00038166".to_owned(), account(-2_000)),
        ]
        .into()
    }

    /// Ten sent, nine settled for 90 centavos together, one rejected.
    fn good() -> Facts {
        Facts {
            tally: Tally {
                sent: 10,
                accepted: 10,
                settled: 9,
                rejected: 1,
                status_reports: 18,
                moved: vec![-90, 90],
                ..Tally::default()
            },
            banks: vec![A.to_owned(), B.to_owned()],
            before: accounts(1_000, 1_000),
            after: accounts(910, 1_090),
            ..Facts::default()
        }
    }

    /// The names of those that fail after `change`.
    fn failing(change: impl FnOnce(&mut Facts)) -> Vec<String> {
        let mut facts = good();
        change(&mut facts);
        let checks = judge(&facts);
        let failing: Vec<_> = checks.iter().filter(|check| !check.holds).collect();
        assert_eq!(is_valid(&checks), failing.is_empty());
        failing.iter().map(|check| check.name.clone()).collect()
    }

    #[test]
    fn a_run_that_adds_up_is_valid() {
        assert_eq!(failing(|_| ()), [""; 0]);
        assert_eq!(failing(|facts| facts.tally.refused_at_door = 3), [""; 0]);
    }

    #[test]
    fn payments_without_their_one_end_fail() {
        const NAME: &str = "accepted = settled + rejected";
        assert_eq!(failing(|facts| facts.tally.accepted += 1), [NAME]);
        assert_eq!(failing(|facts| facts.tally.unknown = 1), [NAME]);
        assert_eq!(failing(|facts| facts.tally.ended_twice = 1), [NAME]);
    }

    #[test]
    fn status_reports_too_few_or_too_many_fail() {
        const NAME: &str = "two pacs.002 a settled payment";
        assert_eq!(failing(|facts| facts.tally.status_reports -= 1), [NAME]);
        assert_eq!(failing(|facts| facts.tally.status_reports += 1), [NAME]);
        assert_eq!(failing(|facts| facts.tally.uncredited = 1), [NAME]);
        assert_eq!(failing(|facts| facts.tally.credited_wrongly = 1), [NAME]);
    }

    #[test]
    fn money_that_appears_vanishes_or_stays_blocked_fails() {
        let funding = |facts: &mut Facts, change| {
            facts.after.get_mut("00038166").unwrap().available += change;
        };
        assert_eq!(failing(|facts| funding(facts, 1)), ["money conserved"]);
        assert_eq!(failing(|facts| funding(facts, -1)), ["money conserved"]);
        let block = |facts: &mut Facts| {
            let funding = facts.after.get_mut("00038166").unwrap();
            (funding.available, funding.blocked) = (funding.available - 5, 5);
        };
        assert_eq!(failing(block), ["money conserved"]);
    }

    #[test]
    fn anything_left_to_do_fails() {
        assert_eq!(failing(|facts| facts.backlog.outbox = 1.0), ["outbox empty"]);
        assert_eq!(failing(|facts| facts.backlog.streams = 1.0), ["outbox empty"]);
        assert_eq!(failing(|facts| facts.backlog.open = 1.0), ["outbox empty"]);
        assert_eq!(
            failing(|facts| facts.backlog.unconfirmed_s = 0.1),
            ["outbox empty"]
        );
    }

    #[test]
    fn books_that_disagree_fail_and_say_whose() {
        const NAME: &str = "bank books = switch books";
        // The sum is right, and both banks are wrong.
        assert_eq!(failing(|facts| facts.after = accounts(900, 1_100)), [NAME]);
        let mut facts = good();
        facts.tally.moved = vec![-90, 91];
        let checks = judge(&facts);
        let wrong = checks.iter().find(|check| !check.holds).unwrap();
        assert_eq!(wrong.detail, format!("{B} has +91, the switch says +90"));
        let gone = |facts: &mut Facts| {
            facts.after.remove(B);
        };
        assert_eq!(failing(gone), ["money conserved", NAME]);
    }

    #[test]
    fn faults_of_the_fleet_and_of_the_wire_fail() {
        assert_eq!(
            failing(|facts| facts.unbelievable = 1),
            ["every message believed"]
        );
        assert_eq!(
            failing(|facts| facts.repeated_otherwise = 1),
            ["a repeat gets its first answer"]
        );
        assert_eq!(
            failing(|facts| facts.started_late = 1),
            ["the fleet kept the schedule"]
        );
        assert_eq!(
            failing(|facts| facts.not_started = 1),
            ["the fleet kept the schedule"]
        );
    }
}
