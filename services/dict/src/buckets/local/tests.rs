//! What is known, guessed and told, against one bucket that nothing ever interrupted.

use dict_core::buckets::Policy;
use pix_domain::{Category, Ispb, Timestamp};
use proptest::prelude::*;

use super::*;

const NOON: i64 = 1_800_000_000_000;

fn payer() -> TaxId {
    TaxId::parse(b"52998224725").expect("a CPF")
}

fn bucket_of(participant: usize) -> (Bucket, Rate) {
    let participant = format!("{participant:08}");
    let policy = Policy::EntriesReadUserAntiscan;
    let bucket = Bucket {
        policy,
        participant: Ispb::parse(participant.as_bytes()).expect("an ISPB"),
        payer: Some(payer()),
    };
    (bucket, policy.rate(Category::H, bucket.payer.as_ref()))
}

fn note(holders: i64) -> Note {
    let (bucket, rate) = bucket_of(1);
    Note {
        end_to_end_id: EndToEndId::new(bucket.participant, Timestamp::from_micros(0), 1),
        payer: payer(),
        bucket,
        rate,
        credit: 1,
        holders,
    }
}

/// One step: milliseconds later so many tokens more, and where it is done.
#[derive(Clone, Copy, Debug)]
struct Step {
    later_ms: i64,
    tokens: i64,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Redis,
    /// Redis is away.
    Process,
    /// Redis does it, and the process never knows.
    Both,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = prop_oneof![Just(Place::Redis), Just(Place::Process), Just(Place::Both)];
    let step = (0_i64..2_000_000, -30_i64..20, place).prop_map(|(later_ms, tokens, place)| Step {
        later_ms,
        tokens,
        place,
    });
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// However often Redis comes and goes, one process and Redis agree with one bucket that was always there; what was
    /// given back while Redis did not know may be lost, and never is anything there twice.
    #[test]
    fn outages_change_nothing(steps in steps()) {
        let (bucket, rate) = bucket_of(1);
        let mut local = Local::new(0);
        let mut redis = Level::full(rate, NOON);
        let mut truth = redis;
        let mut lost = 0;
        let mut now_ms = NOON;
        local.learn(bucket, rate, redis);
        for step in steps {
            now_ms += step.later_ms;
            truth = truth.refilled(rate, now_ms).changed(rate, step.tokens);
            if matches!(step.place, Place::Redis) {
                for told in local.untold() {
                    redis = redis.lower(told.level, rate, now_ms);
                    local.told(&told, redis);
                }
                prop_assert!(local.untold().is_empty());
            }
            if !matches!(step.place, Place::Process) {
                redis = redis.refilled(rate, now_ms).changed(rate, step.tokens);
            }
            if matches!(step.place, Place::Redis) {
                local.learn(bucket, rate, redis);
                prop_assert!(redis.units <= truth.units, "{redis:?} of {truth:?}");
                prop_assert!(redis.units + lost * rate.period_ms >= truth.units);
            } else {
                local.change(bucket, rate, step.tokens, now_ms);
                lost += step.tokens.max(0);
            }
        }
    }

    /// Without anything given back they agree exactly.
    #[test]
    fn takes_through_outages_count_once(steps in steps()) {
        let (bucket, rate) = bucket_of(1);
        let mut local = Local::new(0);
        let (mut redis, mut truth) = (Level::full(rate, NOON), Level::full(rate, NOON));
        let mut now_ms = NOON;
        local.learn(bucket, rate, redis);
        for step in steps {
            let tokens = -step.tokens.abs();
            now_ms += step.later_ms;
            truth = truth.refilled(rate, now_ms).changed(rate, tokens);
            if matches!(step.place, Place::Process | Place::Both) {
                local.change(bucket, rate, tokens, now_ms);
                if matches!(step.place, Place::Both) {
                    redis = redis.refilled(rate, now_ms).changed(rate, tokens);
                }
                prop_assert_eq!(local.level(bucket, rate, now_ms), truth);
                continue;
            }
            for told in local.untold() {
                redis = redis.lower(told.level, rate, now_ms);
                local.told(&told, redis);
            }
            redis = redis.refilled(rate, now_ms).changed(rate, tokens);
            local.learn(bucket, rate, redis);
            prop_assert_eq!(redis, truth);
        }
    }
}

#[test]
fn what_happens_while_it_is_told_is_told_again() {
    let (bucket, rate) = bucket_of(1);
    let mut local = Local::new(0);
    local.change(bucket, rate, -10, NOON);
    let telling = local.untold();
    local.change(bucket, rate, -5, NOON);
    local.told(&telling[0], telling[0].level);
    assert_eq!(local.level(bucket, rate, NOON).tokens(rate), 85);
    let rest = local.untold();
    assert_eq!(rest[0].level.tokens(rate), 85);
    local.told(&rest[0], rest[0].level);
    assert_eq!(local.untold(), []);
}

#[test]
fn what_redis_was_not_told_outlives_its_age() {
    let (taken, rate) = bucket_of(0);
    let mut local = Local::new(0);
    local.levels.max = 10;
    local.change(taken, rate, -50, NOON);
    for participant in 1..100 {
        let (bucket, rate) = bucket_of(participant);
        local.learn(bucket, rate, Level::full(rate, NOON));
    }
    assert_eq!(local.untold().len(), 1);
    assert_eq!(local.level(taken, rate, NOON).tokens(rate), 50);
    assert!(local.levels.iter().count() <= 21, "others go");
    // Full again it has nothing to tell.
    let late = NOON + rate.until(0, rate.full());
    for participant in 100..200 {
        let (bucket, rate) = bucket_of(participant);
        local.learn(bucket, rate, Level::full(rate, late));
    }
    assert_eq!(local.untold(), []);
}

#[test]
fn lookups_hold_a_note_together_until_it_is_told() {
    let mut local = Local::new(0);
    let one = note(1);
    local.note(one);
    local.note(one);
    assert_eq!(local.notes(), [note(2)]);
    assert!(local.unnote(&one.end_to_end_id, &one.payer, &one.bucket));
    assert_eq!(local.notes(), [one]);
    let telling = local.notes();
    local.note(one);
    local.noted(&telling[0]);
    assert_eq!(local.notes(), [one], "the other was not told");
    local.noted(&one);
    assert!(!local.has_notes(&one.end_to_end_id));
    assert!(!local.unnote(&one.end_to_end_id, &one.payer, &one.bucket));
}
