//! Buckets with a real Redis and a real Postgres: taken away, emptied, slowed down.

use pix_domain::Timestamp;
use pix_runtime::ManualClock;
use pix_testkit::{Fault, FaultProxy, OwnParts, TestDatabase, eventually};
use redis::aio::ConnectionManagerConfig;

use super::*;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/dict");
/// Tests share a machine: slow is not away, unless a test says so.
const PATIENT: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(20);
const PERSON: &str = "52998224725";
const COMPANY: &str = "11222333000181";
const US: &str = "12345678";
const OTHERS: &str = "87654321";
/// The slowest to refill: Redis forgets what is full by its own clock, which does not stand still as ours does.
const CATEGORY: Category = Category::H;
const MINUTE: Duration = Duration::from_secs(60);

/// One DICT's buckets and what they stand on.
struct Stand {
    database: TestDatabase,
    prefix: String,
    redis: String,
    clock: ManualClock,
    within: Duration,
}

impl Stand {
    async fn new() -> Self {
        Self::on(pix_testkit::parts().await.redis.url(), PATIENT).await
    }

    async fn on(redis: String, within: Duration) -> Self {
        Self {
            database: pix_testkit::database("dict", &MIGRATIONS).await,
            prefix: format!("{}:", pix_testkit::unique_prefix()),
            redis,
            clock: ManualClock::at(Timestamp::from_micros(1_800_000_000_000_000)),
            within,
        }
    }

    /// On a Redis that is not there.
    async fn alone() -> Self {
        Self::on("redis://127.0.0.1:1".to_owned(), PATIENT).await
    }

    /// A process that starts.
    async fn start(&self) -> Buckets {
        self.start_through(&self.redis).await
    }

    /// One that has another way to Redis.
    async fn start_through(&self, redis: &str) -> Buckets {
        let client = redis::Client::open(redis).expect("a URL");
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(self.within))
            .set_connection_timeout(Some(PATIENT))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(20));
        let parts = Parts {
            redis: ConnectionManager::new_lazy_with_config(client, config).expect("a URL"),
            prefix: self.prefix.clone(),
            pool: pix_runtime::pg::pool(&self.database.url(), 2)
                .await
                .expect("Postgres is there"),
            clock: Arc::new(self.clock.clone()),
        };
        Buckets::new(parts, self.within).await.expect("Postgres is there")
    }

    async fn debts(&self) -> Vec<(Bucket, Rate, Level)> {
        let pool = pix_runtime::pg::pool(&self.database.url(), 1).await;
        let now_ms = now_ms(&self.clock);
        let debts = pg_debts::all(&pool.expect("Postgres is there"), now_ms).await;
        debts.expect("Postgres is there")
    }

    async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.redis.as_str()).expect("a URL");
        let connection = client.get_multiplexed_async_connection().await;
        connection.expect("Redis is there")
    }

    async fn erase_redis(&self) {
        let mut connection = self.connection().await;
        let keys = self.keys("").await;
        let mut delete = redis::cmd("DEL");
        delete.arg(keys);
        let () = delete.query_async(&mut connection).await.expect("deleted");
    }

    async fn keys(&self, kind: &str) -> Vec<String> {
        let mut keys = redis::cmd("KEYS");
        let keys = keys.arg(format!("{}{kind}*", self.prefix));
        keys.query_async(&mut self.connection().await)
            .await
            .expect("keys")
    }
}

fn payer(text: &str) -> TaxId {
    TaxId::parse(text.as_bytes()).expect("a tax id")
}

fn ispb(text: &str) -> Ispb {
    Ispb::parse(text.as_bytes()).expect("an ISPB")
}

fn id(n: u128) -> EndToEndId {
    EndToEndId::new(ispb(US), Timestamp::from_micros(0), n)
}

fn lookup_by(participant: &str, text: &str, n: u128) -> Ask {
    Ask::Lookup {
        participant: ispb(participant),
        category: CATEGORY,
        payer: payer(text),
        key: KeyType::Email,
        end_to_end_id: id(n),
    }
}

fn lookup(n: u128) -> Ask {
    lookup_by(US, PERSON, n)
}

async fn look_up(buckets: &Buckets, ask: &Ask, status: u16) -> Result<(), Exhausted> {
    let admission = buckets.admit(ask).await?;
    buckets.settle(admission, status).await;
    Ok(())
}

/// Tokens of a payer, by asking the store that counts.
async fn tokens_of(buckets: &Buckets, participant: &str, text: &str) -> i64 {
    let payer = payer(text);
    let touch = touch(
        Policy::EntriesReadUserAntiscan,
        ispb(participant),
        Some(payer),
        CATEGORY,
    );
    let now_ms = now_ms(&*buckets.0.clock);
    let peeked = buckets.0.ask_redis(Mode::Peek, &[touch], None, now_ms).await;
    let level = match peeked {
        Some(touched) => touched.levels[0],
        None => buckets.0.state().local.level(touch.bucket, touch.rate, now_ms),
    };
    level.tokens(touch.rate)
}

async fn tokens(buckets: &Buckets) -> i64 {
    tokens_of(buckets, US, PERSON).await
}

/// Tokens of a participant's lookups, as `/policies/` shows them.
async fn participants_tokens(buckets: &Buckets, participant: &str) -> i64 {
    let states = buckets.state(ispb(participant), CATEGORY).await;
    let name = Policy::EntriesReadParticipantAntiscan.as_str();
    let state = states.iter().find(|state| state.name == name);
    state.expect("a policy of participants").available
}

/// Leaves the payer so many tokens of 100, by a lookup and a charge.
async fn leave(buckets: &Buckets, tokens: i64) {
    look_up(buckets, &lookup(1_000_000), 200)
        .await
        .expect("enough for all");
    let policy = Policy::EntriesReadUserAntiscan;
    let mut rest = touch(policy, ispb(US), Some(payer(PERSON)), CATEGORY);
    rest.change = tokens - 99;
    buckets.0.change(vec![rest], None).await;
}

async fn away(buckets: &Buckets) {
    // Whatever is asked first finds out.
    look_up(buckets, &lookup_by(OTHERS, COMPANY, 9_000_000), 200)
        .await
        .expect("a tenth of 1000");
    assert!(!is_here(buckets), "Redis is away");
}

fn is_here(buckets: &Buckets) -> bool {
    buckets.0.state().here.is_some()
}

async fn back(buckets: &Buckets) {
    let here = async || is_here(buckets).then_some(());
    eventually("buckets are in Redis again", SOON, here).await;
    let told = async || buckets.0.state().local.untold().is_empty().then_some(());
    eventually("Redis is told the rest", SOON, told).await;
}

/// A way to Redis that can be cut, and its URL.
async fn proxy_of(redis: &str) -> (FaultProxy, String) {
    let address = redis.trim_start_matches("redis://").trim_end_matches('/');
    let address = address.split('/').next().expect("an address");
    let port = address.rsplit_once(':').map(|(_, port)| port).expect("a port");
    let port: u16 = port.parse().expect("a number");
    let proxy = FaultProxy::start(([127, 0, 0, 1], port).into()).await;
    let through = format!("redis://{}", proxy.address());
    (proxy, through)
}

/// Patience of processes whose way to Redis is cut.
const BRIEF: Duration = Duration::from_millis(500);

#[tokio::test]
async fn answers_cost_what_the_document_says() {
    let stand = Stand::new().await;
    let buckets = stand.start().await;
    for (n, (status, user, participant)) in [
        (200, 99, 49),
        (404, 79, 46),
        (400, 79, 46),
        (403, 79, 46),
        (500, 79, 46),
        (503, 79, 46),
    ]
    .into_iter()
    .enumerate()
    {
        look_up(&buckets, &lookup(n as u128), status)
            .await
            .expect("enough");
        assert_eq!(tokens(&buckets).await, user, "{status}");
        assert_eq!(participants_tokens(&buckets, US).await, participant, "{status}");
    }
    assert_eq!(
        tokens_of(&buckets, OTHERS, PERSON).await,
        100,
        "of each participant its own"
    );
    let list = Ask::One {
        participant: ispb(US),
        category: CATEGORY,
        policy: Policy::PoliciesList,
    };
    for (status, left) in [(200, 19), (400, 18), (500, 18), (503, 18)] {
        look_up(&buckets, &list, status).await.expect("enough");
        let states = buckets.state(ispb(US), CATEGORY).await;
        let state = states.iter().find(|state| state.name == "POLICIES_LIST");
        let expected = PolicyState {
            name: "POLICIES_LIST".to_owned(),
            available: left,
            capacity: 20,
            refill_tokens: 6,
            refill_period_s: 60,
        };
        assert_eq!(state, Some(&expected), "{status}");
    }
}

#[tokio::test]
async fn the_manuals_example_five_tokens_one_404_and_eight_minutes() {
    let stand = Stand::new().await;
    let buckets = stand.start().await;
    leave(&buckets, 5).await;
    look_up(&buckets, &lookup(1), 404).await.expect("five are there");
    assert_eq!(tokens(&buckets).await, -15);
    let refused = look_up(&buckets, &lookup(2), 200).await.expect_err("in debt");
    assert_eq!(refused.policy, Policy::EntriesReadUserAntiscan);
    assert_eq!(refused.retry_after_s, 8 * 60);
    stand.clock.advance(8 * MINUTE - Duration::from_millis(1));
    assert!(look_up(&buckets, &lookup(2), 200).await.is_err());
    stand.clock.advance(Duration::from_millis(1));
    look_up(&buckets, &lookup(2), 200).await.expect("eight minutes");
    assert!(look_up(&buckets, &lookup(3), 200).await.is_err());
}

#[tokio::test]
async fn a_hundred_at_once_on_five_tokens_admit_five() {
    let stand = Stand::new().await;
    let shared = stand.start().await;
    let alone = Stand::alone().await;
    let alone = alone.start().await;
    for buckets in [shared, alone] {
        leave(&buckets, 5).await;
        let asking = (0..100).map(|n| {
            let buckets = buckets.clone();
            tokio::spawn(async move { look_up(&buckets, &lookup(n), 200).await.is_ok() })
        });
        let mut admitted = 0;
        for asked in asking.collect::<Vec<_>>() {
            admitted += usize::from(asked.await.expect("no panic"));
        }
        assert_eq!(admitted, 5);
        assert_eq!(
            participants_tokens(&buckets, US).await,
            50 - 6,
            "none was taken in vain"
        );
    }
}

#[tokio::test]
async fn an_order_credits_once_and_only_its_payer() {
    let stand = Stand::new().await;
    let buckets = stand.start().await;
    for _ in 0..2 {
        look_up(&buckets, &lookup(1), 200).await.expect("enough"); // asked again: one credit all the same
    }
    look_up(&buckets, &lookup(2), 404).await.expect("enough");
    look_up(&buckets, &lookup(3), 400).await.expect("enough");
    assert_eq!(
        (tokens(&buckets).await, participants_tokens(&buckets, US).await),
        (78, 45)
    );
    buckets.credit(&[(id(1), payer(COMPANY))]).await.expect("here");
    buckets.credit(&[(id(9), payer(PERSON))]).await.expect("here");
    assert_eq!(tokens(&buckets).await, 78, "another payer, another order");
    for _ in 0..3 {
        buckets.credit(&[(id(1), payer(PERSON))]).await.expect("here");
        assert_eq!(tokens(&buckets).await, 79, "once, however often it is told");
    }
    look_up(&buckets, &lookup(1), 200).await.expect("enough");
    buckets.credit(&[(id(1), payer(PERSON))]).await.expect("here");
    assert_eq!(tokens(&buckets).await, 78, "nor for a lookup after it");
    buckets.credit(&[(id(2), payer(PERSON))]).await.expect("here");
    assert_eq!(
        tokens(&buckets).await,
        79,
        "a lookup that found nothing counts as one"
    );
    buckets.credit(&[(id(3), payer(PERSON))]).await.expect("here");
    assert_eq!(tokens(&buckets).await, 79, "one that was given back does not");
    assert_eq!(participants_tokens(&buckets, US).await, 45 - 1 + 2);
}

#[tokio::test]
async fn an_order_credits_initiator_and_payers_bank_and_companies_twice() {
    let stand = Stand::new().await;
    let buckets = stand.start().await;
    for participant in [US, OTHERS] {
        for n in 1..=3 {
            look_up(&buckets, &lookup_by(participant, COMPANY, n), 200)
                .await
                .expect("enough");
        }
    }
    buckets.credit(&[(id(1), payer(COMPANY))]).await.expect("here");
    for participant in [US, OTHERS] {
        assert_eq!(tokens_of(&buckets, participant, COMPANY).await, 999, "997 and 2");
        assert_eq!(participants_tokens(&buckets, participant).await, 48);
    }
    for n in 2..=3 {
        buckets.credit(&[(id(n), payer(COMPANY))]).await.expect("here");
    }
    assert_eq!(tokens_of(&buckets, US, COMPANY).await, 1000, "full is full");
}

#[tokio::test]
async fn kill_redis_and_levels_go_on_from_the_last_known() {
    let mut parts = OwnParts::start().await;
    let stand = Stand::on(parts.redis.url(), PATIENT).await;
    let buckets = stand.start().await;
    leave(&buckets, 30).await;
    parts.redis_process.kill().await;
    away(&buckets).await;
    assert_eq!(tokens(&buckets).await, 30);
    stand.clock.advance(MINUTE);
    assert_eq!(tokens(&buckets).await, 32, "time goes on");
    look_up(&buckets, &lookup(1), 404).await.expect("enough");
    assert_eq!(tokens(&buckets).await, 12);
    let unknown = tokens_of(&buckets, OTHERS, PERSON).await;
    assert_eq!(unknown, 10 + 2, "a tenth when Redis went, and a minute");
    assert_eq!(buckets.credit(&[(id(1), payer(PERSON))]).await, Err(NotNow));

    // What Redis kept is there again, and what happened since is told to it: another process sees it.
    parts.redis_process.start().await;
    back(&buckets).await;
    assert_eq!(tokens(&buckets).await, 12);
    assert_eq!(tokens(&stand.start().await).await, 12);
    buckets.credit(&[(id(1), payer(PERSON))]).await.expect("here");
    assert_eq!(tokens(&buckets).await, 13, "the lookup was noted in the process");
    assert_eq!(
        tokens_of(&buckets, OTHERS, PERSON).await,
        100,
        "nothing of that was lost"
    );
    parts.stop().await;
}

#[tokio::test]
async fn empty_redis_and_levels_are_told_to_it_and_debts_honoured() {
    let stand = Stand::new().await;
    let buckets = stand.start().await;
    assert_eq!(tokens(&buckets).await, 100, "a DICT that never ran begins full");
    leave(&buckets, 5).await;
    look_up(&buckets, &lookup(1), 404).await.expect("enough");
    look_up(&buckets, &lookup_by(US, COMPANY, 1), 200)
        .await
        .expect("enough");
    assert_eq!(tokens(&buckets).await, -15);
    stand.erase_redis().await;
    away(&buckets).await;
    assert_eq!(tokens(&buckets).await, -15, "the process knows");
    back(&buckets).await;
    assert_eq!(tokens(&buckets).await, -15, "and told it");
    assert_eq!(tokens_of(&buckets, US, COMPANY).await, 999);
    assert_eq!(
        tokens_of(&buckets, OTHERS, PERSON).await,
        10,
        "a tenth of what nobody knows"
    );

    // Another process, and Redis empty once more: only Postgres knows of the debt.
    drop(buckets);
    stand.erase_redis().await;
    stand.clock.advance(MINUTE);
    let buckets = stand.start().await;
    back(&buckets).await;
    assert_eq!(tokens(&buckets).await, -13);
    assert!(look_up(&buckets, &lookup(2), 200).await.is_err());
    assert_eq!(tokens_of(&buckets, US, COMPANY).await, 100, "a tenth of 1000");
    stand.clock.advance(60 * MINUTE);
    assert_eq!(tokens(&buckets).await, 100);
    assert_eq!(tokens_of(&buckets, US, COMPANY).await, 1000, "full again in time");
}

#[tokio::test]
async fn a_start_without_redis_honours_debts_too() {
    let stand = Stand::new().await;
    let buckets = stand.start().await;
    leave(&buckets, 5).await;
    look_up(&buckets, &lookup(1), 404).await.expect("enough");
    let alone = stand.start_through("redis://127.0.0.1:1").await;
    assert_eq!(tokens(&alone).await, -15);
    assert_eq!(tokens_of(&alone, OTHERS, PERSON).await, 10);
}

#[tokio::test]
async fn a_slow_redis_is_as_good_as_away_and_no_request_waits_for_it() {
    let (proxy, through) = proxy_of(&pix_testkit::parts().await.redis.url()).await;
    let stand = Stand::on(through, BRIEF).await;
    let buckets = stand.start().await;
    leave(&buckets, 30).await;
    proxy.set(Fault::Hold);
    away(&buckets).await;
    let asked = std::time::Instant::now();
    for n in 0..20 {
        look_up(&buckets, &lookup(n), 200).await.expect("30 known");
    }
    assert!(
        asked.elapsed() < Duration::from_millis(400),
        "twenty took {} ms",
        asked.elapsed().as_millis()
    );
    assert_eq!(tokens(&buckets).await, 10);
    proxy.set(Fault::None);
    back(&buckets).await;
    let left = tokens(&buckets).await;
    assert_eq!(left, 10, "Redis was told of the twenty");
}

#[tokio::test]
async fn an_outage_longer_than_the_time_to_fill_shuts_nobody_out() {
    let stand = Stand::on(pix_testkit::parts().await.redis.url(), BRIEF).await;
    let (proxy, through) = proxy_of(&stand.redis).await;
    let buckets = stand.start_through(&through).await;
    look_up(&buckets, &lookup(0), 200).await.expect("enough");
    proxy.set(Fault::Hold);
    away(&buckets).await;
    for n in 0..120 {
        look_up(&buckets, &lookup(n), 200)
            .await
            .expect("no more than is refilled");
        stand.clock.advance(MINUTE / 2);
    }
    proxy.set(Fault::None);
    back(&buckets).await;
    assert_eq!(tokens(&buckets).await, 99);
    assert_eq!(participants_tokens(&buckets, US).await, 49);
}

#[tokio::test]
async fn what_one_took_on_its_own_outlives_that_another_fills_redis() {
    let stand = Stand::on(pix_testkit::parts().await.redis.url(), BRIEF).await;
    let (proxy, through) = proxy_of(&stand.redis).await;
    let (one, other) = (stand.start().await, stand.start_through(&through).await);
    leave(&one, 30).await;
    assert_eq!(tokens(&one).await, 30);
    assert_eq!(tokens(&other).await, 30);
    assert_eq!(participants_tokens(&other, US).await, 49);
    proxy.set(Fault::Hold);
    for n in 0..20 {
        look_up(&other, &lookup(n), 200).await.expect("thirty known");
    }
    assert_eq!(tokens(&other).await, 10);
    stand.erase_redis().await;
    away(&one).await;
    back(&one).await;
    assert_eq!(tokens(&one).await, 30, "all that it can know");
    proxy.set(Fault::None);
    back(&other).await;
    assert_eq!(tokens(&other).await, 10);
    assert_eq!(tokens(&one).await, 10, "for all alike");
}

#[tokio::test]
async fn a_process_that_asked_nothing_meanwhile_tells_an_emptied_redis_too() {
    let stand = Stand::new().await;
    let (one, other) = (stand.start().await, stand.start().await);
    look_up(&one, &lookup(0), 200).await.expect("enough");
    leave(&other, 31).await; // and one was taken before
    stand.erase_redis().await;
    away(&one).await;
    back(&one).await;
    assert_eq!(tokens(&one).await, 99, "all that it can know");
    // The other finds a Redis that is there, and is not the one it knew.
    away(&other).await;
    back(&other).await;
    assert_eq!((tokens(&other).await, tokens(&one).await), (30, 30));
}

#[tokio::test]
async fn a_debt_of_one_process_holds_for_another_that_knew_the_bucket() {
    let stand = Stand::on(pix_testkit::parts().await.redis.url(), BRIEF).await;
    let (proxy, through) = proxy_of(&stand.redis).await;
    let (one, other) = (stand.start().await, stand.start_through(&through).await);
    look_up(&other, &lookup(0), 200).await.expect("enough");
    leave(&one, 6).await; // and one was taken before
    look_up(&one, &lookup(1), 404).await.expect("five");
    assert_eq!(tokens(&one).await, -15);
    proxy.set(Fault::Hold);
    away(&other).await;
    let honoured = async || (tokens(&other).await == -15).then_some(());
    eventually("the debt is honoured", SOON, honoured).await;
    assert!(look_up(&other, &lookup(2), 200).await.is_err());
    // And again when Redis lost it, and only this process is left.
    drop(one);
    stand.erase_redis().await;
    proxy.set(Fault::None);
    back(&other).await;
    assert_eq!(tokens(&other).await, -15);
}

#[tokio::test]
async fn a_redis_of_yesterday_is_told_what_came_after() {
    let mut parts = OwnParts::start().await;
    let stand = Stand::on(parts.redis.url(), BRIEF).await;
    let (proxy, through) = proxy_of(&stand.redis).await;
    let buckets = stand.start_through(&through).await;
    leave(&buckets, 30).await;
    let mut older = Vec::new();
    for key in stand.keys("bucket:").await {
        let level: String = redis::cmd("GET")
            .arg(&key)
            .query_async(&mut stand.connection().await)
            .await
            .expect("a level");
        older.push((key, level));
    }
    look_up(&buckets, &lookup(1), 404).await.expect("enough");
    proxy.set(Fault::Hold);
    parts.redis_process.kill().await;
    parts.redis_process.start().await;
    for (key, level) in older {
        let () = redis::cmd("SET")
            .arg(key)
            .arg(level)
            .query_async(&mut stand.connection().await)
            .await
            .expect("set");
    }
    away(&buckets).await;
    proxy.set(Fault::None);
    back(&buckets).await;
    assert_eq!(tokens(&buckets).await, 10);
    assert_eq!(participants_tokens(&buckets, US).await, 50 - 1 - 3);
    parts.stop().await;
}

#[tokio::test]
async fn a_lookup_admitted_without_redis_is_credited_by_any_process_once() {
    let stand = Stand::on(pix_testkit::parts().await.redis.url(), BRIEF).await;
    let (proxy, through) = proxy_of(&stand.redis).await;
    let (one, other) = (stand.start_through(&through).await, stand.start().await);
    leave(&one, 30).await;
    proxy.set(Fault::Hold);
    // The first reaches Redis all the same, later: it must not count twice, nor bring credit twice.
    for n in 1..=3 {
        look_up(&one, &lookup(n), 200).await.expect("enough");
    }
    look_up(&one, &lookup(4), 500).await.expect("enough");
    assert_eq!(one.credit(&[(id(1), payer(PERSON))]).await, Err(NotNow));
    proxy.set(Fault::None);
    back(&one).await;
    assert_eq!(tokens(&other).await, 27);
    for _ in 0..2 {
        for n in 1..=4 {
            other.credit(&[(id(n), payer(PERSON))]).await.expect("here");
            one.credit(&[(id(n), payer(PERSON))]).await.expect("here");
        }
        assert_eq!(tokens(&other).await, 30, "three lookups, three orders");
    }
}

#[tokio::test]
async fn what_is_given_back_with_an_unknown_outcome_is_given_back_once() {
    let stand = Stand::on(pix_testkit::parts().await.redis.url(), BRIEF).await;
    let (proxy, through) = proxy_of(&stand.redis).await;
    let buckets = stand.start_through(&through).await;
    leave(&buckets, 30).await;
    let admission = buckets.admit(&lookup(1)).await.expect("enough");
    proxy.set(Fault::Hold);
    buckets.settle(admission, 500).await;
    assert!(!is_here(&buckets));
    proxy.set(Fault::None);
    back(&buckets).await;
    assert_eq!(tokens(&buckets).await, 30);
}

#[tokio::test]
async fn two_lookups_of_one_order_hold_its_credit_together() {
    let stand = Stand::new().await;
    let buckets = stand.start().await;
    for (n, (first, second, left)) in [(400, 200, 100), (200, 400, 100), (400, 500, 100)]
        .into_iter()
        .enumerate()
    {
        let ask = lookup(n as u128);
        let one = buckets.admit(&ask).await.expect("enough");
        let other = buckets.admit(&ask).await.expect("enough");
        buckets.settle(one, first).await;
        buckets.settle(other, second).await;
        buckets
            .credit(&[(id(n as u128), payer(PERSON))])
            .await
            .expect("here");
        assert_eq!(tokens(&buckets).await, left, "{first} {second}");
        look_up(&buckets, &ask, 200).await.expect("enough");
        buckets
            .credit(&[(id(n as u128), payer(PERSON))])
            .await
            .expect("here");
        let again = if second == 500 { 100 } else { 99 };
        assert_eq!(tokens(&buckets).await, again, "a credit that was held was spent");
        stand.clock.advance(MINUTE);
    }
}

#[tokio::test]
async fn a_guess_tells_redis_only_what_was_taken_and_leaves_no_debt() {
    let stand = Stand::on(pix_testkit::parts().await.redis.url(), BRIEF).await;
    let (proxy, through) = proxy_of(&stand.redis).await;
    let buckets = stand.start_through(&through).await;
    look_up(&buckets, &lookup(0), 200).await.expect("enough");
    proxy.set(Fault::Hold);
    away(&buckets).await;
    let unknown = lookup_by(OTHERS, PERSON, 1);
    look_up(&buckets, &unknown, 404).await.expect("a tenth");
    assert_eq!(tokens_of(&buckets, OTHERS, PERSON).await, -10);
    assert!(
        look_up(&buckets, &unknown, 200).await.is_err(),
        "the guess bounds"
    );
    assert_eq!(stand.debts().await, [], "and is no debt");
    proxy.set(Fault::None);
    back(&buckets).await;
    assert_eq!(tokens_of(&buckets, OTHERS, PERSON).await, 80);

    // Of a Redis that lost all the guess is the best there is, and a debt from then on.
    proxy.set(Fault::Hold);
    away(&buckets).await;
    let unknown = lookup_by("11223344", PERSON, 2);
    look_up(&buckets, &unknown, 404).await.expect("a tenth");
    stand.erase_redis().await;
    proxy.set(Fault::None);
    back(&buckets).await;
    assert_eq!(tokens_of(&buckets, "11223344", PERSON).await, -10);
    assert_eq!(stand.debts().await.len(), 1);
}

#[tokio::test]
async fn the_first_of_several_processes_to_reach_redis_fills_it() {
    let stand = Stand::new().await;
    let early = stand.start_through("redis://127.0.0.1:1").await;
    assert_eq!(tokens(&early).await, 100);
    let other = stand.start().await;
    assert_eq!(tokens(&other).await, 100, "nothing was lost yet");
    stand.erase_redis().await;
    away(&other).await;
    back(&other).await;
    assert_eq!(tokens_of(&other, OTHERS, PERSON).await, 10, "now it was");
}

#[tokio::test]
async fn redis_holds_no_tax_id() {
    let stand = Stand::new().await;
    let buckets = stand.start().await;
    look_up(&buckets, &lookup(1), 200).await.expect("enough");
    look_up(&buckets, &lookup_by(US, COMPANY, 1), 200)
        .await
        .expect("enough");
    let mut held = stand.keys("").await;
    assert_eq!(held.len(), 5, "the marker, three levels, the lookups: {held:?}");
    let mut all = redis::cmd("HGETALL");
    let all = all.arg(stand.keys("lookup:").await);
    held.extend(
        all.query_async::<Vec<String>>(&mut stand.connection().await)
            .await
            .expect("notes"),
    );
    assert_eq!(held.len(), 5 + 2 * 4);
    for text in held {
        assert!(!text.contains(PERSON) && !text.contains(COMPANY), "{text}");
    }
}
