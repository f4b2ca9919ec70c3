//! The script against the pure functions, operation by operation.

use std::collections::HashMap;

use dict_core::buckets::Policy;
use pix_domain::{Category, Ispb, KeyType, Timestamp};
use pix_runtime::Ids;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};

use super::*;

/// Operations of one run; there are three.
const OPERATIONS: u32 = 15_000;
const NOON: i64 = 1_800_000_000_000;
/// Tests share a machine: slow is not away.
const PATIENT: Duration = Duration::from_secs(10);

/// A connection with patience.
async fn connection() -> ConnectionManager {
    let client = redis::Client::open(pix_testkit::parts().await.redis.url()).expect("a URL");
    let config = ConnectionManagerConfig::new().set_response_timeout(Some(PATIENT));
    ConnectionManager::new_with_config(client, config)
        .await
        .expect("Redis is there")
}

async fn store() -> RedisBuckets {
    RedisBuckets::new(
        connection().await,
        format!("{}:", pix_testkit::unique_prefix()),
        b"what names payers",
        PATIENT,
    )
}

/// Chance that can be repeated (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = u64::try_from(high - low).expect("low is lower");
        low + i64::try_from(self.below(span + 1)).expect("small")
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).expect("small")]
    }
}

/// A credit that is held: its rate, its tokens and by how many lookups, until it is spent.
type Noted = HashMap<(EndToEndId, TaxId, Bucket), Option<(Rate, i64, i64)>>;

/// What the pure functions say.
struct Model {
    lost_since_ms: i64,
    /// With the time when each was written.
    levels: HashMap<Bucket, (Level, i64)>,
    noted: Noted,
}

impl Model {
    fn read(&self, bucket: &Bucket, rate: Rate, now_ms: i64) -> Level {
        let known = self.levels.get(bucket).map(|(level, _)| *level);
        known
            .unwrap_or(Level::unknown(rate, self.lost_since_ms))
            .refilled(rate, now_ms)
    }

    /// What is full is forgotten, once a bucket that is not stored is full as well.
    fn write(&mut self, bucket: Bucket, rate: Rate, level: Level, now_ms: i64) {
        let full = Level::full(rate, now_ms);
        let default = Level::unknown(rate, self.lost_since_ms);
        if level.refilled(rate, now_ms) == full && default.refilled(rate, now_ms) == full {
            self.levels.remove(&bucket);
        } else {
            self.levels.insert(bucket, (level, now_ms));
        }
    }

    fn touch(&mut self, mode: Mode, touches: &[Touch], lookup: Option<Lookup>, now_ms: i64) -> Touched {
        let levels = touches
            .iter()
            .map(|touch| self.read(&touch.bucket, touch.rate, now_ms));
        let mut levels: Vec<Level> = levels.collect();
        let admitted = touches.iter().zip(&levels).all(|(t, level)| level.admits(t.rate));
        let done = match mode {
            Mode::Take => admitted,
            Mode::Change => true,
            Mode::Peek => false,
        };
        for (touch, level) in touches.iter().zip(&mut levels).filter(|_| done) {
            *level = level.changed(touch.rate, touch.change);
            self.write(touch.bucket, touch.rate, *level, now_ms);
            if let Some(lookup) = lookup.filter(|_| touch.credit > 0) {
                let key = (lookup.end_to_end_id, lookup.payer, touch.bucket);
                let by = if matches!(mode, Mode::Take) { 1 } else { -1 };
                self.hold(key, (touch.rate, touch.credit, by));
            }
        }
        Touched { done, levels }
    }

    fn hold(&mut self, key: (EndToEndId, TaxId, Bucket), (rate, credit, by): (Rate, i64, i64)) {
        let held = match self.noted.get(&key) {
            Some(None) => return, // spent
            Some(Some((_, _, holders))) => *holders,
            None => 0,
        };
        if held + by > 0 {
            self.noted.insert(key, Some((rate, credit, held + by)));
        } else {
            self.noted.remove(&key);
        }
    }

    fn note(&mut self, note: &Note) {
        let key = (note.end_to_end_id, note.payer, note.bucket);
        if !self.noted.contains_key(&key) {
            self.hold(key, (note.rate, note.credit, note.holders));
        }
    }

    fn lower(&mut self, told: &Told, now_ms: i64) -> Level {
        let stored = self.read(&told.bucket, told.rate, now_ms);
        let level = if told.sure && !self.levels.contains_key(&told.bucket) {
            Level::full(told.rate, now_ms).lower(told.level, told.rate, now_ms)
        } else {
            stored.lower(told.level, told.rate, now_ms)
        };
        self.write(told.bucket, told.rate, level, now_ms);
        level
    }

    fn credit(&mut self, lookup: Lookup, now_ms: i64) -> i64 {
        let of_this = |(id, payer, _): &(EndToEndId, TaxId, Bucket)| {
            (*id, *payer) == (lookup.end_to_end_id, lookup.payer)
        };
        let noted = self.noted.iter_mut().filter(|(key, _)| of_this(key));
        let due: Vec<_> = noted
            .filter_map(|(key, note)| Some((key.2, note.take()?)))
            .collect();
        for (bucket, (rate, credit, _)) in &due {
            let level = self.read(bucket, *rate, now_ms).changed(*rate, *credit);
            self.write(*bucket, *rate, level, now_ms);
        }
        i64::try_from(due.len()).expect("small")
    }
}

/// Whom the operations are about: few enough that they meet.
struct Cast {
    participants: Vec<(Ispb, Category)>,
    payers: Vec<TaxId>,
    ids: Vec<EndToEndId>,
}

impl Cast {
    fn new() -> Self {
        let categories = [Category::A, Category::F, Category::H].into_iter();
        let participants = categories.zip([b"11111111", b"22222222", b"33333333"]);
        let persons = (0..20).map(|n| format!("529982247{n:02}"));
        let companies = (0..20).map(|n| format!("12ABC34501DE{n:02}"));
        let payers = persons.chain(companies);
        let id = |n| {
            EndToEndId::new(
                Ispb::parse(b"11111111").expect("an ISPB"),
                Timestamp::from_micros(0),
                n,
            )
        };
        Self {
            participants: participants
                .map(|(category, ispb)| (Ispb::parse(ispb).expect("an ISPB"), category))
                .collect(),
            payers: payers
                .map(|payer| TaxId::parse(payer.as_bytes()).expect("a tax id"))
                .collect(),
            ids: (0..80).map(id).collect(),
        }
    }

    /// A payer and an EndToEndId; mostly one of the two that only this payer uses.
    fn lookup(&self, chance: &mut Chance) -> Lookup {
        let payer = usize::try_from(chance.below(self.payers.len() as u64)).expect("small");
        let own = [self.ids[2 * payer], self.ids[2 * payer + 1]];
        let ids = if chance.below(8) == 0 { &self.ids } else { &own[..] };
        Lookup {
            end_to_end_id: chance.one_of(ids),
            payer: self.payers[payer],
        }
    }

    fn touches(&self, chance: &mut Chance) -> (Vec<Touch>, Option<Lookup>) {
        let (participant, category) = chance.one_of(&self.participants);
        let lookup = self.lookup(chance);
        let payer = lookup.payer;
        let mut touch = |policy: Policy, payer: Option<TaxId>| Touch {
            bucket: Bucket {
                policy,
                participant,
                payer,
            },
            rate: policy.rate(category, payer.as_ref()),
            change: if chance.below(4) == 0 {
                chance.between(-80, 30)
            } else {
                -1
            },
            credit: payer.map_or(1, |payer| policy.credit(&payer)),
        };
        let single = [
            Policy::KeysCheck,
            Policy::PoliciesList,
            Policy::CidsFilesWrite,
            Policy::EntriesWrite,
        ];
        let policy = Policy::of_lookups_by_user(KeyType::Email);
        let all = Policy::EntriesReadParticipantAntiscan;
        let user_v2 = Policy::EntriesReadUserAntiscanV2;
        let touches = match payer {
            TaxId::Cpf(_) => vec![touch(policy, Some(payer)), touch(all, None)],
            TaxId::Cnpj(_) => vec![touch(user_v2, Some(payer)), touch(all, None)],
        };
        if chance.below(3) == 0 {
            let policy = chance.one_of(&single);
            let one = Touch {
                bucket: Bucket {
                    policy,
                    participant,
                    payer: None,
                },
                rate: policy.rate(category, None),
                change: chance.between(-10, 1),
                credit: 0,
            };
            return (vec![one], None);
        }

        (touches, (chance.below(10) != 0).then_some(lookup))
    }
}

/// Milliseconds until a level is full; none when it is.
fn life(level: Level, rate: Rate, now_ms: i64) -> i64 {
    match rate.until(level.units, rate.full()) {
        0 => 0,
        span => level.at_ms - now_ms + span,
    }
}

/// Every stored level is the model's, and lives until it and what is not stored are both full. What the model has
/// forgotten is gone.
async fn compare_stores(store: &RedisBuckets, model: &Model, cast: &Cast) {
    let mut connection = store.connection.clone();
    let all = format!("{}bucket:*", store.prefix);
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg(all)
        .query_async(&mut connection)
        .await
        .expect("Redis is there");
    assert_eq!(keys.len(), model.levels.len(), "as many as the model has");
    for (bucket, (level, written_ms)) in &model.levels {
        let mut known = cast.participants.iter();
        let (_, category) = known
            .find(|(ispb, _)| *ispb == bucket.participant)
            .expect("of the cast");
        let rate = bucket.policy.rate(*category, bucket.payer.as_ref());
        let default = Level::unknown(rate, model.lost_since_ms);
        let (stored, left): (Option<String>, i64) = redis::pipe()
            .cmd("GET")
            .arg(store.level(bucket))
            .cmd("PTTL")
            .arg(store.level(bucket))
            .query_async(&mut connection)
            .await
            .expect("Redis is there");
        assert_eq!(stored, Some(format!("{} {}", level.units, level.at_ms)));
        let written_for = life(*level, rate, *written_ms).max(life(default, rate, *written_ms)) + 1000;
        let passed = i64::try_from(PATIENT.as_millis()).expect("small") * 6; // no run takes a minute
        assert!(
            (written_for - passed..=written_for).contains(&left),
            "{left} of {written_for} ms"
        );
    }
}

#[expect(clippy::print_stderr, reason = "the seed, to repeat a run that failed")]
async fn agree_from(lost_since_ms: i64) {
    let seed = u64::from_ne_bytes(Ids::system().bytes());
    eprintln!("{OPERATIONS} operations, levels lost since {lost_since_ms}, seed {seed:#018x}");
    let mut chance = Chance(seed);
    let (store, cast) = (store().await, Cast::new());
    let marker = store.fill(lost_since_ms, 1).await.expect("Redis is there");
    let mut model = Model {
        lost_since_ms,
        levels: HashMap::new(),
        noted: HashMap::new(),
    };
    let (mut admitted, mut refused, mut credited, mut in_debt) = (0, 0, 0, 0);
    let mut now_ms = NOON;
    for n in 0..OPERATIONS {
        now_ms += match chance.below(200) {
            0..=99 => 0,
            100..=159 => chance.between(0, 200),
            160..=189 => chance.between(0, 10_000),
            190..=195 => chance.between(0, 120_000),
            196 => chance.between(0, 40_000_000),
            _ => -chance.between(0, 60_000), // a clock that is set back
        };
        if chance.below(8) == 0 {
            let lookups: Vec<_> = (0..chance.between(1, 4))
                .map(|_| cast.lookup(&mut chance))
                .collect();
            let told = store
                .credit(&marker, &lookups, now_ms)
                .await
                .expect("Redis is there");
            assert_eq!(
                told,
                lookups
                    .iter()
                    .map(|lookup| model.credit(*lookup, now_ms))
                    .sum::<i64>(),
                "operation {n} of seed {seed:#x}"
            );
            credited += told;
            continue;
        }
        let (touches, lookup) = cast.touches(&mut chance);
        if chance.below(10) == 0 {
            let told = touches.iter().map(|touch| Told {
                bucket: touch.bucket,
                rate: touch.rate,
                level: Level {
                    units: chance.between(-30, touch.rate.capacity) * touch.rate.period_ms,
                    at_ms: now_ms + chance.between(-100_000, 1000),
                },
                sure: chance.below(2) == 0,
                until: 0,
            });
            let told: Vec<Told> = told.collect();
            let levels = store.lower(&marker, &told, now_ms).await.expect("Redis is there");
            let expected: Vec<Level> = told.iter().map(|told| model.lower(told, now_ms)).collect();
            assert_eq!(levels, expected, "operation {n} of seed {seed:#x}: {told:?}");
            continue;
        }
        if let Some(lookup) = lookup.filter(|_| chance.below(20) == 0) {
            let note = Note {
                end_to_end_id: lookup.end_to_end_id,
                payer: lookup.payer,
                bucket: touches[0].bucket,
                rate: touches[0].rate,
                credit: touches[0].credit,
                holders: chance.between(1, 3),
            };
            store.note(&marker, &note, now_ms).await.expect("Redis is there");
            model.note(&note);
            continue;
        }
        let mode = match chance.below(10) {
            0..=5 => Mode::Take,
            6..=8 => Mode::Change,
            _ => Mode::Peek,
        };
        let told = store.touch(&marker, mode, &touches, lookup, now_ms).await;
        let told = told.expect("Redis is there");
        let expected = model.touch(mode, &touches, lookup, now_ms);
        assert_eq!(
            told, expected,
            "operation {n} of seed {seed:#x}: {mode:?} {touches:?}"
        );
        if matches!(mode, Mode::Take) {
            admitted += u32::from(told.done);
            refused += u32::from(!told.done);
        }
        in_debt += u32::from(told.levels.iter().any(|level| level.units < 0));
        if n % 500 == 0 {
            compare_stores(&store, &model, &cast).await;
        }
    }
    compare_stores(&store, &model, &cast).await;
    let keys = model.levels.len();
    eprintln!("{admitted} admitted, {refused} refused, {credited} credits, {in_debt} in debt, {keys} keys");
    assert!(admitted > 1000 && refused > 500 && credited > 200 && in_debt > 500 && keys > 30);
}

#[tokio::test]
async fn script_and_functions_agree_when_buckets_began_full() {
    agree_from(0).await;
}

#[tokio::test]
async fn script_and_functions_agree_when_levels_were_lost_lately() {
    agree_from(NOON - 3000).await;
}

#[tokio::test]
async fn script_and_functions_agree_when_levels_were_lost_long_ago() {
    agree_from(NOON - 3_000_000_000).await;
}

#[tokio::test]
async fn what_is_full_is_not_stored_and_the_rest_goes_by_itself() {
    let (store, cast) = (store().await, Cast::new());
    let marker = store.fill(0, 1).await.expect("Redis is there");
    let (participant, category) = cast.participants[0];
    let policy = Policy::KeysCheck;
    let rate = policy.rate(category, None);
    let bucket = Bucket {
        policy,
        participant,
        payer: None,
    };
    let touch = |change| Touch {
        bucket,
        rate,
        change,
        credit: 0,
    };
    let mut connection = store.connection.clone();
    let mut life = async || -> i64 {
        let mut pttl = redis::cmd("PTTL");
        let asked = pttl.arg(store.level(&bucket)).query_async(&mut connection).await;
        asked.expect("Redis is there")
    };
    store
        .touch(&marker, Mode::Take, &[touch(-70)], None, NOON)
        .await
        .expect("there");
    let minute = 60_000 + 1000;
    let left = life().await;
    assert!(
        (minute - 5000..=minute).contains(&left),
        "70 tokens come in a minute: {left}"
    );
    store
        .touch(&marker, Mode::Change, &[touch(70)], None, NOON)
        .await
        .expect("there");
    assert_eq!(life().await, -2, "full is not stored");
}

#[tokio::test]
async fn an_emptied_store_does_nothing_and_is_filled_once() {
    let (store, cast) = (store().await, Cast::new());
    let (participant, category) = cast.participants[1];
    let policy = Policy::KeysCheck;
    let rate = policy.rate(category, None);
    let bucket = Bucket {
        policy,
        participant,
        payer: None,
    };
    let touch = Touch {
        bucket,
        rate,
        change: -1,
        credit: 0,
    };
    let refused = store.touch("", Mode::Take, &[touch], None, NOON).await;
    assert!(matches!(refused, Err(Away::Emptied)), "{refused:?}");
    let seen = store.look().await.expect("there");
    assert_eq!(seen.marker, None);
    assert!(!seen.run.is_empty() && !seen.policy.is_empty());
    let marker = store.fill(NOON, 7).await.expect("there");
    assert_eq!(store.fill(0, 8).await.expect("there"), marker, "by the first");
    assert_eq!(store.look().await.expect("there").marker, Some(marker.clone()));
    let owed = Level {
        units: -5 * rate.period_ms,
        at_ms: NOON,
    };
    let told = Told {
        bucket,
        rate,
        level: owed,
        sure: true,
        until: 0,
    };
    for _ in 0..2 {
        let levels = store.lower(&marker, &[told], NOON).await;
        assert_eq!(levels.expect("there"), [owed], "told twice is told once");
    }
    let refused = store.touch(&marker, Mode::Take, &[touch], None, NOON).await;
    let refused = refused.expect("there");
    assert_eq!((refused.done, refused.levels), (false, vec![owed]));
    let other = Touch {
        bucket: Bucket {
            policy: Policy::PoliciesRead,
            ..bucket
        },
        ..touch
    };
    let peeked = store.touch(&marker, Mode::Peek, &[other], None, NOON).await;
    assert_eq!(
        peeked.expect("there").levels,
        [Level::unknown(rate, NOON)],
        "a tenth of what is not known"
    );
    let older = store.touch("0 1", Mode::Take, &[touch], None, NOON).await;
    assert!(
        matches!(older, Err(Away::Emptied)),
        "filled by another: {older:?}"
    );
}

#[tokio::test]
async fn a_debt_has_a_floor_in_the_script_too() {
    let (store, cast) = (store().await, Cast::new());
    let marker = store.fill(0, 1).await.expect("Redis is there");
    let (participant, category) = cast.participants[0];
    for policy in [Policy::CidsFilesWrite, Policy::EntriesWrite] {
        let rate = policy.rate(category, None);
        let touch = |change| Touch {
            bucket: Bucket {
                policy,
                participant,
                payer: None,
            },
            rate,
            change,
            credit: 0,
        };
        let mut level = Level::full(rate, NOON);
        for change in [-rate.capacity, -1_000_000, -1_000_000, 5] {
            level = level.changed(rate, change);
            let told = store
                .touch(&marker, Mode::Change, &[touch(change)], None, NOON)
                .await;
            assert_eq!(told.expect("there").levels, [level]);
        }
        assert_eq!(level.units, rate.floor() + 5 * rate.period_ms);
    }
}
