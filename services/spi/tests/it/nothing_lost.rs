//! Parts die in mid-flight; nothing is lost and nothing happens twice.
//!
//! These tests kill what they use, so each has parts of its own; nextest runs them one at a time (group
//! `kill`).

use std::time::Duration;

use pix_testkit::{Fault, FaultProxy, OwnParts};
use sqlx::{Connection as _, PgConnection};

use crate::storm::ride_out;
use crate::support::{A, B, Heard, SOON, TestSpi, Urls, now, status};

/// Payments under way when the fault comes.
const PAYMENTS: usize = 200;

#[tokio::test]
async fn kill_spi_with_200_payments_in_flight() {
    let mut spi = TestSpi::start().await;
    ride_out(&mut spi, PAYMENTS, false, async |spi| {
        for _ in 0..3 {
            spi.kill().await;
            spi.run().await;
        }
    })
    .await;
}

#[tokio::test]
async fn kill_postgres_in_mid_flight() {
    let mut parts = OwnParts::start().await;
    let mut spi = TestSpi::start_on_own(&parts).await;
    ride_out(&mut spi, PAYMENTS, false, async |_| {
        parts.postgres_process.kill().await;
        parts.postgres_process.start().await;
    })
    .await;
    assert!(spi.log().contains("Postgres is away"), "it was noticed");
    assert!(spi.stop().await.success(), "the same process lived through it");
    parts.stop().await;
}

#[tokio::test]
async fn kill_connections_again_and_again_so_that_commits_lose_their_answers() {
    let mut spi = TestSpi::start().await;
    let owner_url = spi.urls.owner.clone();
    ride_out(&mut spi, PAYMENTS, false, async |_| {
        let mut owner = PgConnection::connect(&owner_url).await.expect("connects");
        let mut ended = 0_i64;
        while ended < 40 {
            let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                        WHERE usename = 'spi_app' AND datname = current_database() AND state = 'active'";
            let row = sqlx::query(kill).fetch_one(&mut owner).await.expect("allowed");
            ended += sqlx::Row::try_get::<i64, _>(&row, 0).expect("a count").max(1);
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(
        spi.stop().await.success(),
        "the same process lived through it: {}",
        spi.log()
    );
}

#[tokio::test]
async fn kill_the_conversation_with_postgres_so_that_commits_are_unknown() {
    let database = pix_testkit::empty_database("spi").await;
    let shared = pix_testkit::parts().await;
    let direct = database.url_as("spi_app");
    let port = direct
        .rsplit_once(':')
        .and_then(|(_, rest)| rest.split('/').next())
        .expect("a port");
    let proxy = FaultProxy::start(([127, 0, 0, 1], port.parse().expect("a number")).into()).await;
    let through = direct.replace(&format!(":{port}/"), &format!(":{}/", proxy.address().port()));
    assert_ne!(through, direct);
    let urls = Urls {
        writer: through,
        owner: database.url(),
        nats: shared.nats.url(),
        redis: shared.redis.url(),
    };
    let mut spi = TestSpi::start_on(urls).await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    // Cut ever a little later in the conversation, until the cut lies behind its end. First what is sent arrives and
    // what is answered does not, with steps shorter than the answer to a COMMIT (18 octets); then the other way.
    let mut payments = 0_usize;
    for (fault, step) in [
        (Fault::CutAnswerAfter as fn(u64) -> Fault, 9),
        (Fault::CutRequestAfter, 701),
    ] {
        let (mut octets, mut uncut) = (0, 0);
        while uncut < 3 {
            octets += step;
            payments += 1;
            let connections = proxy.connections();
            proxy.set(fault(octets));
            let message = a.pacs_008(vec![a.order(B, "1.00")]);
            let mended = async {
                let cut = async || (proxy.connections() > connections).then_some(());
                pix_testkit::eventually("the book connects again", SOON, cut).await;
                proxy.set(Fault::None);
            };
            tokio::pin!(mended);
            let posted = a.post(message);
            tokio::pin!(posted);
            tokio::select! {
                _ = &mut posted => {
                    proxy.set(Fault::None);
                    uncut += 1;
                }
                () = &mut mended => drop(posted.await),
            }
        }
    }
    let (mut from_a, mut from_b) = (a.reader(), b.reader());
    let orders = from_b.hear_until(payments).await;
    for orders in orders.chunks(10) {
        let accepted: Vec<_> = orders
            .iter()
            .filter_map(|what| {
                if let Heard::Order(id) = what {
                    Some((*id, None))
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(
            accepted.len(),
            orders.len(),
            "B hears of each order once, and of nothing else"
        );
        b.post(b.pacs_002(&accepted)).await;
    }
    from_a.hear_until(payments).await;
    assert_eq!(
        spi.balance(A).await,
        (format!("{}.00", 1_000_000 - payments), "0.00".to_owned())
    );
    assert_eq!(
        spi.balance(B).await,
        (format!("{}.00", 1_000_000 + payments), "0.00".to_owned())
    );
    let (holds, words) = spi.audit().await;
    assert!(holds, "{words}");
    let log = spi.log();
    assert!(log.contains("lost had happened"), "some COMMITs were in");
    assert!(log.contains("lost had not happened"), "and some were not");
    assert!(spi.stop().await.success(), "the same process lived through it");
}

#[tokio::test]
async fn kill_nats_and_redis_and_erase_what_they_keep() {
    let mut parts = OwnParts::start().await;
    let mut spi = TestSpi::start_on_own(&parts).await;
    ride_out(&mut spi, PAYMENTS, true, async |_| {
        parts.nats_process.kill().await;
        std::fs::remove_dir_all(parts.nats.store()).expect("erased");
        parts.redis_process.kill().await;
        parts.nats_process.start().await;
        parts.redis_process.start().await;
        let mut redis = pix_runtime::redis::connect(&parts.redis.url(), SOON).expect("a URL");
        let _: Result<(), _> = redis::cmd("FLUSHALL").query_async(&mut redis).await;
    })
    .await;
    // Whatever JetStream forgot was not ours to lose: what comes after is published on a stream made anew.
    pix_testkit::eventually("the last event is published", SOON, || async {
        let behind = "SELECT (SELECT max(id) FROM event) - (SELECT max(published_id) FROM event_cursor)";
        (spi.count(behind).await == 0).then_some(())
    })
    .await;
    assert!(spi.stop().await.success());
    parts.stop().await;
}

#[tokio::test]
async fn kill_nothing_but_send_every_message_twice() {
    let mut spi = TestSpi::start().await;
    ride_out(&mut spi, PAYMENTS, true, async |_| {}).await;
}

#[tokio::test]
async fn kill_postgres_past_a_deadline_and_an_answer_that_came_in_time_still_counts() {
    let mut parts = OwnParts::start().await;
    let spi = TestSpi::start_on_own(&parts).await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let mut order = a.order(B, "1.00");
    let id = order.end_to_end_id;
    let accepted_at = now().minus(Duration::from_millis(33_500)).to_millis();
    let deadline = accepted_at.plus(Duration::from_secs(40));
    order.accepted_at = accepted_at;
    a.post(a.pacs_008(vec![order])).await;
    assert_eq!(b.reader().hear_until(1).await, [Heard::Order(id)]);
    parts.postgres_process.kill().await;
    let answer = b.pacs_002(&[(id, None)]);
    let outage = async {
        let past = async || (now() > deadline.plus(Duration::from_secs(1))).then_some(());
        pix_testkit::eventually("the deadline has passed", SOON, past).await;
        parts.postgres_process.start().await;
    };
    futures::join!(b.post(answer), outage);
    assert_eq!(a.reader().hear_until(1).await, [status(id, "ACSC")]);
    assert_eq!(spi.balance(B).await.0, "1000001.00");
    drop(spi);
    parts.stop().await;
}
