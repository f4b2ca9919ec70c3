//! Parts of one's own can be killed, and come back with what was committed.

use pix_runtime::{Clock as _, StopSwitch, SystemClock, nats, pg, redis};
use pix_testkit::{OwnParts, eventually};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_killed_postgres_comes_back_with_what_was_committed() {
    let mut own = OwnParts::start().await;
    let url = own.postgres.url("postgres");
    let mut connection = pg::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE kept AS SELECT 7 AS n")
        .execute(&mut connection)
        .await
        .unwrap();
    own.postgres_process.kill().await;
    assert!(pg::connect(&url).await.is_err());
    own.postgres_process.start().await;
    let kept: i32 = sqlx::query_scalar("SELECT n FROM kept")
        .fetch_one(&mut pg::connect(&url).await.unwrap())
        .await
        .unwrap();
    assert_eq!(kept, 7);
    let folder = own.folder();
    own.stop().await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn the_databases_clock_goes_on_while_the_database_is_away() {
    let mut own = OwnParts::start().await;
    let url = own.postgres.url("postgres");
    let clock = pg::DbClock::start(&url).await.unwrap();
    let (stop, stopping) = StopSwitch::new();
    let task = tokio::spawn(clock.clone().run(url, stopping));
    // One machine, one clock: the two agree but for the round trip.
    let apart = clock
        .now()
        .since(SystemClock.now())
        .max(SystemClock.now().since(clock.now()));
    assert!(apart < Duration::from_millis(50), "{apart:?}");
    own.postgres_process.kill().await;
    let before = clock.now();
    eventually("time passes", PATIENCE, || async {
        (clock.now() > before).then_some(())
    })
    .await;
    stop.stop();
    task.await.unwrap();
}

#[tokio::test]
async fn nats_and_redis_may_be_away_at_the_start_and_at_any_time() {
    let mut own = OwnParts::start().await;
    own.nats_process.kill().await;
    own.redis_process.kill().await;
    let nats = nats::connect("kit", &own.nats.url()).await.unwrap();
    let redis = redis::connect(&own.redis.url(), PATIENCE).unwrap();
    let set = || async {
        let mut redis = redis.clone();
        redis_set(&mut redis).await.ok()
    };
    assert_eq!(
        tokio::time::timeout(redis::ANSWER_WITHIN * 100, set())
            .await
            .ok()
            .flatten(),
        None
    );
    for _ in 0..2 {
        own.nats_process.start().await;
        own.redis_process.start().await;
        eventually("Redis is back", PATIENCE, set).await;
        eventually("NATS is back", PATIENCE, || async {
            nats.flush().await.ok().filter(|()| is_up(&nats))
        })
        .await;
        own.nats_process.kill().await;
        own.redis_process.kill().await;
    }
}

fn is_up(nats: &async_nats::Client) -> bool {
    nats.connection_state() == async_nats::connection::State::Connected
}

async fn redis_set(connection: &mut ::redis::aio::ConnectionManager) -> ::redis::RedisResult<()> {
    ::redis::cmd("SET")
        .arg("k")
        .arg("v")
        .query_async(connection)
        .await
}
