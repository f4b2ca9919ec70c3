//! The arithmetic, by the document's figures and by properties.

use proptest::prelude::*;

use super::*;

const PERSON: Rate = Rate::a_minute(2, 100);
const NOON: i64 = 1_800_000_000_000;

#[test]
fn the_manuals_example_five_tokens_one_404_fifteen_owed_and_eight_minutes() {
    let five = Level {
        units: 5 * PERSON.period_ms,
        at_ms: NOON,
    };
    let asked = five.changed(PERSON, -1);
    let cost = Policy::EntriesReadUserAntiscan.cost(404);
    let owed = asked.changed(PERSON, -(cost - 1));
    assert_eq!(owed.tokens(PERSON), -15);
    assert_eq!(owed.wait_ms(PERSON), 8 * MINUTE_MS);
    assert!(!owed.refilled(PERSON, NOON + 8 * MINUTE_MS - 1).admits(PERSON));
    assert!(owed.refilled(PERSON, NOON + 8 * MINUTE_MS).admits(PERSON));
}

#[test]
fn rates_are_those_of_the_document() {
    let cpf = TaxId::parse(b"52998224725").expect("a CPF");
    let cnpj = TaxId::parse(b"11222333000181").expect("a CNPJ");
    let rate = |policy: Policy, payer| {
        let rate = policy.rate(Category::F, payer);
        (rate.tokens, rate.period_ms / 1000, rate.capacity)
    };
    for policy in [Policy::EntriesReadUserAntiscan, Policy::EntriesReadUserAntiscanV2] {
        assert_eq!(rate(policy, Some(&cpf)), (2, 60, 100));
        assert_eq!(rate(policy, Some(&cnpj)), (20, 60, 1000));
        assert_eq!(policy.scope(), Scope::User);
        assert_eq!((policy.credit(&cpf), policy.credit(&cnpj)), (1, 2));
        let costs = [200, 404, 400, 403, 429, 500, 503].map(|status| policy.cost(status));
        assert_eq!(costs, [1, 20, 0, 0, 0, 0, 0]);
    }
    let participant = Policy::EntriesReadParticipantAntiscan;
    assert_eq!(rate(participant, None), (250, 60, 500));
    assert_eq!(rate(Policy::EntriesStatisticsRead, None), (250, 60, 500));
    assert_eq!([200, 404, 400, 500].map(|s| participant.cost(s)), [1, 3, 0, 0]);
    assert_eq!((participant.credit(&cpf), participant.credit(&cnpj)), (1, 1));
    assert_eq!(rate(Policy::CidsFilesWrite, None), (40, 24 * 3600, 200));
    assert_eq!(rate(Policy::EntriesWrite, None), (1200, 60, 36_000));
    assert_eq!(
        [200, 201, 400, 404, 500, 503].map(|s| Policy::EntriesWrite.cost(s)),
        [1, 1, 1, 1, 0, 0]
    );
    assert_eq!(Policy::EntriesWrite.credit(&cpf), 0);
}

#[test]
fn names_are_read_as_they_are_written() {
    assert_eq!(Policy::ALL.len(), 31);
    for policy in Policy::ALL {
        assert_eq!(Policy::parse(policy.as_str()), Some(*policy));
    }
    assert_eq!(Policy::parse("ENTRIES_READ"), None);
    for kind in KeyType::ALL {
        assert_eq!(Policy::of_lookups_by_user(*kind).scope(), Scope::User);
    }
}

#[test]
fn a_bucket_of_five_admits_five() {
    let mut level = Level {
        units: 5 * PERSON.period_ms,
        at_ms: NOON,
    };
    let mut admitted = 0;
    for _ in 0..100 {
        if level.admits(PERSON) {
            level = level.changed(PERSON, -1);
            admitted += 1;
        }
    }
    assert_eq!(admitted, 5);
}

#[test]
fn every_number_stays_where_doubles_are_exact() {
    const EXACT: i64 = 1 << 53;
    for policy in Policy::ALL {
        for category in Category::ALL {
            let rate = policy.rate(*category, None);
            let mut deep = Level::full(rate, NOON);
            for tokens in [-1, -rate.capacity, -1_000_000_000, i64::MIN, -1] {
                deep = deep.changed(rate, tokens);
                assert!(-deep.units < EXACT && -deep.units <= DEBT_MAX * rate.full());
            }
            assert_eq!(deep.units, rate.floor(), "what lies below it is forgiven");
            assert_eq!(deep.changed(rate, i64::MAX), Level::full(rate, NOON));
            let long = rate.until(deep.units, rate.full());
            assert_eq!(deep.refilled(rate, NOON + long), Level::full(rate, NOON + long));
        }
    }
}

fn rates() -> impl Strategy<Value = Rate> {
    (1_i64..30_000, 1_i64..90_000_000, 1_i64..80_000).prop_map(|(tokens, period_ms, capacity)| Rate {
        tokens,
        period_ms,
        capacity,
    })
}

proptest! {
    #[test]
    fn refilling_in_two_steps_is_refilling_in_one(
        rate in rates(), owed in 0_i64..2000, first in 0_i64..100_000_000, second in 0_i64..100_000_000,
    ) {
        let start = Level { units: rate.full() - owed * rate.period_ms, at_ms: NOON };
        let in_two = start.refilled(rate, NOON + first).refilled(rate, NOON + first + second);
        prop_assert_eq!(in_two, start.refilled(rate, NOON + first + second));
    }

    #[test]
    fn what_is_full_is_as_if_never_used(
        rate in rates(), owed in 0_i64..2000, times in prop::collection::vec(-5_000_000_i64..50_000_000, 1..20),
    ) {
        let mut kept = Level::full(rate, NOON).changed(rate, -owed);
        let mut stored = Some(kept);
        let mut now = NOON;
        for step in times {
            now += step;
            kept = kept.refilled(rate, now).changed(rate, -1);
            let read = stored.unwrap_or(Level::full(rate, now)).refilled(rate, now);
            let written = read.changed(rate, -1);
            prop_assert_eq!(kept, written);
            // Looked at once more when it may be full again, and forgotten if it is.
            now += 1000;
            kept = kept.refilled(rate, now);
            stored = Some(written.refilled(rate, now)).filter(|level| *level != Level::full(rate, now));
        }
    }

    #[test]
    fn the_lower_of_two_accounts_does_not_depend_on_when_it_is_asked_for(
        rate in rates(), owed in 0_i64..2000, more in 0_i64..2000, late in 0_i64..100_000, on in 0_i64..100_000_000,
    ) {
        let one = Level::full(rate, NOON).changed(rate, -owed);
        let other = Level::full(rate, NOON + late).changed(rate, -more);
        let now = NOON + late;
        let early = one.lower(other, rate, now);
        prop_assert_eq!(early, other.lower(one, rate, now));
        prop_assert_eq!(early.refilled(rate, now + on), one.lower(other, rate, now + on));
        prop_assert!(early.units <= one.refilled(rate, now).units);
        prop_assert!(early.units <= other.refilled(rate, now).units);
        prop_assert_eq!(early.lower(one, rate, now), early, "told twice is told once");
    }

    #[test]
    fn a_wait_is_exact(rate in rates(), owed in 1_i64..2000) {
        let empty = Level { units: rate.period_ms - owed, at_ms: NOON };
        let wait = empty.wait_ms(rate);
        prop_assert!(empty.refilled(rate, NOON + wait).admits(rate));
        prop_assert!(!empty.refilled(rate, NOON + wait - 1).admits(rate));
    }

    #[test]
    fn a_clock_that_goes_back_gains_nothing(
        rate in rates(), owed in 1_i64..2000, back in 1_i64..100_000_000, on in 0_i64..1000,
    ) {
        let level = Level::full(rate, NOON).changed(rate, -owed);
        let behind = level.refilled(rate, NOON - back);
        prop_assert_eq!(behind, level);
        prop_assert_eq!(behind.refilled(rate, NOON + on), level.refilled(rate, NOON + on));
    }
}
