//! `Windows`, with a real SPI between two banks that pay each other.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use pix_proto::settlement_v1 as proto;
use pix_proto::settlement_v1::windows_client::WindowsClient;
use pix_runtime::{Clock as _, SystemClock};
use pix_testkit::{OwnParts, eventually, parts};
use sqlx::{Connection as _, PgConnection, Row as _};
use tonic::Code;
use tonic::transport::Channel;

use crate::flow::{Postings, TestSpi};
use crate::support::{A, B, SOON, TestSettlement, Urls, get_plain, refused};

/// Of UTC, in seconds.
const DAY: i64 = 86_400;
/// So long before midnight no test of windows of a day begins.
const DAY_LEFT: i64 = 60;

/// A service that follows this SPI, its windows a day long: they end when a test ends them. They would end by
/// themselves at midnight in UTC, so a test that might still run by then begins after it.
async fn follows(spi: &TestSpi, nats: String) -> TestSettlement {
    eventually("the day does not end soon", 4 * SOON, async || {
        let second = SystemClock.now().as_micros() / 1_000_000 % DAY;
        (second < DAY - DAY_LEFT).then_some(())
    })
    .await;
    follows_with(spi, nats, &[("window.length", "86400")]).await
}

async fn follows_with(spi: &TestSpi, nats: String, settings: &[(&str, &str)]) -> TestSettlement {
    let urls = Urls {
        nats,
        spi: spi.url(),
        ..Urls::shared().await
    };
    TestSettlement::start_on(urls, settings).await
}

fn windows(settlement: &TestSettlement) -> WindowsClient<Channel> {
    WindowsClient::new(settlement.channel("pix"))
}

async fn close(settlement: &TestSettlement) -> proto::Window {
    let closed = windows(settlement)
        .close_window(proto::CloseWindowRequest {})
        .await;
    closed
        .unwrap_or_else(|status| panic!("{status}\n{}", settlement.log()))
        .into_inner()
}

async fn current(settlement: &TestSettlement) -> Option<proto::Window> {
    let asked = proto::GetWindowRequest { number: 0 };
    windows(settlement)
        .get_window(asked)
        .await
        .ok()
        .map(|found| found.into_inner())
}

async fn all(settlement: &TestSettlement) -> Vec<proto::Window> {
    let asked = proto::ListWindowsRequest {
        limit: 1000,
        ..Default::default()
    };
    let listed = windows(settlement).list_windows(asked).await.expect("listed");
    let mut windows_of = Vec::new();
    for window in listed.into_inner().windows {
        let asked = proto::GetWindowRequest {
            number: window.number,
        };
        let whole = windows(settlement).get_window(asked).await.expect("found");
        windows_of.push(whole.into_inner());
    }
    windows_of
}

/// Waits until so many settlements are counted, whatever window they are in.
async fn counted(settlement: &TestSettlement, count: i64) {
    eventually("all are counted", SOON, async || {
        let rows = "SELECT (COALESCE((SELECT sum(count) FROM open_window), 0)
                    + COALESCE((SELECT sum(count) FROM complete_window), 0)
                    + COALESCE((SELECT sum(count) FROM closed_window), 0))::bigint";
        (settlement.count(rows).await >= count).then_some(())
    })
    .await;
}

/// What windows sum up to, as postings.
fn sums(windows: &[proto::Window]) -> Postings {
    let mut of: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for position in windows.iter().flat_map(|window| &window.positions) {
        let sums = of.entry(position.ispb.clone()).or_default();
        sums.0 += position.sent_centavos;
        sums.1 += position.received_centavos;
    }
    Postings {
        count: windows.iter().map(|window| window.count).sum(),
        gross: windows.iter().map(|window| window.gross_centavos).sum(),
        of,
    }
}

fn assert_proven(window: &proto::Window) {
    let proof = window.proof.as_ref().expect("a proof");
    assert_eq!(proof.differences, Vec::<String>::new());
    assert!(proof.holds && window.state == "CLOSED");
    assert_eq!((proof.net_sum_centavos, proof.book_count), (0, window.count));
    assert_eq!(proof.book_gross_centavos, window.gross_centavos);
    let nets = window.positions.iter().map(|position| position.net_centavos);
    assert_eq!(nets.sum::<i64>(), 0);
}

/// The events of this kind that were told, once there are so many.
async fn told<E: prost::Message + Default>(
    nats: &str,
    subject: &str,
    registry: &str,
    count: usize,
) -> Vec<E> {
    let client = pix_runtime::nats::connect("test", nats).await.expect("a client");
    let context = async_nats::jetstream::new(client);
    eventually("events are told", SOON, async || {
        let stream = context.get_stream("PIX_SETTLEMENT").await.ok()?;
        let config = async_nats::jetstream::consumer::pull::Config {
            filter_subject: subject.to_owned(),
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await.ok()?;
        let messages = consumer.fetch().max_messages(1000).messages().await.ok()?;
        // The NATS of the run tells of other tests' registries too.
        let events = messages.filter_map(async |message| {
            let message = message.ok()?;
            let id = message.headers.as_ref()?.get("ce-id")?.to_string();
            id.contains(registry)
                .then(|| E::decode(message.payload.clone()).expect("its form"))
        });
        let events: Vec<E> = events.collect().await;
        (events.len() >= count).then_some(events)
    })
    .await
}

async fn registry(settlement: &TestSettlement) -> String {
    let status = settlement.ask("/status").await;
    status["registry"].as_str().expect("a name").to_owned()
}

#[tokio::test]
async fn windows_close_under_load_and_their_proofs_hold() {
    let nats = parts().await.nats.url();
    let spi = TestSpi::start(&nats).await;
    let settlement = follows(&spi, nats.clone()).await;
    let traffic = spi.traffic();
    spi.settled(100).await;
    let first = close(&settlement).await;
    spi.settled(first.count + 200).await;
    let second = close(&settlement).await;
    let paid = traffic.stop().await;
    spi.settled(paid).await;
    counted(&settlement, paid).await;
    let third = close(&settlement).await;

    let closed = [first, second, third];
    for window in &closed {
        assert_proven(window);
        assert!(window.count > 0);
    }
    assert_eq!(closed.each_ref().map(|window| window.number), [1, 2, 3]);
    for pair in closed.windows(2) {
        assert_eq!(pair[0].to_batch, pair[1].after_batch, "without a hole");
        assert!(pair[0].ends_at_micros <= pair[1].opened_at_micros);
        let [before, after] = [&pair[0], &pair[1]].map(|window| window.proof.as_ref().expect("a proof"));
        assert_eq!(
            before.last_sequence + 1,
            after.first_sequence,
            "all rows of the book"
        );
    }
    assert_eq!(sums(&closed), spi.postings().await);

    // A window without payments closes too, and none is there for the hours without.
    let empty = close(&settlement).await;
    assert_proven(&empty);
    assert_eq!((empty.number, empty.count, empty.positions.len()), (4, 0, 0));
    let open = current(&settlement).await.expect("open");
    assert_eq!((open.number, open.state.as_str(), open.proof), (5, "OPEN", None));

    // What was told, and what operators see.
    let registry = registry(&settlement).await;
    let events: Vec<proto::WindowClosed> = told(&nats, "pix.settlement.window_closed.v1", &registry, 4).await;
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.number, event.count, event.proof_holds))
        .collect();
    let counts = closed.each_ref().map(|window| window.count);
    assert_eq!(
        told,
        [
            (1, counts[0], true),
            (2, counts[1], true),
            (3, counts[2], true),
            (4, 0, true)
        ]
    );
    let view = settlement.ask("/windows/2").await;
    assert_eq!(view["proof"]["holds"], true);
    assert_eq!(view["gross"]["count"], counts[1]);
    assert_eq!(view["positions"].as_array().expect("a list").len(), 2);
    let date = closed[0].settlement_date.clone();
    let listed = settlement
        .ask(&format!("/windows?settlement_date={date}&limit=2"))
        .await;
    assert_eq!(listed["windows"][1]["number"], 4);
    assert_eq!(listed["windows"].as_array().expect("a list").len(), 2);

    // What is closed is closed, also for the role that serves.
    let mut serving = PgConnection::connect(&settlement.urls.server)
        .await
        .expect("a connection");
    for statement in [
        "UPDATE closed_window SET count = 0",
        "DELETE FROM closed_window",
        "UPDATE closed_position SET net_centavos = 0",
        "DELETE FROM closed_position",
        "TRUNCATE closed_position",
    ] {
        let denied = sqlx::query(statement).execute(&mut serving).await;
        let denied = denied.expect_err(statement).to_string();
        assert!(denied.contains("permission denied"), "{statement}: {denied}");
    }
    let dates = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'closed_position'::regclass";
    assert!(settlement.count(dates).await >= 1);

    let mut reader = WindowsClient::new(settlement.channel("dict"));
    let refusal = reader.close_window(proto::CloseWindowRequest {}).await;
    refused(refusal, Code::PermissionDenied, "Forbidden");
    let nowhere = reader.get_window(proto::GetWindowRequest { number: 77 }).await;
    refused(nowhere, Code::NotFound, "there is no window 77");
}

#[tokio::test]
async fn windows_end_by_themselves_and_hours_without_payments_make_none() {
    let nats = parts().await.nats.url();
    let spi = TestSpi::start(&nats).await;
    let settlement = follows_with(&spi, nats, &[("window.length", "1")]).await;
    let traffic = spi.traffic();
    eventually("two windows are over", SOON, async || {
        (settlement.count("SELECT count(*) FROM closed_window").await >= 2).then_some(())
    })
    .await;
    let paid = traffic.stop().await;
    spi.settled(paid).await;
    let closed_all = "SELECT COALESCE(sum(count), 0)::bigint FROM closed_window";
    eventually("the last window is over", SOON, async || {
        (settlement.count(closed_all).await == paid).then_some(())
    })
    .await;
    // The open one moves on.
    let open = current(&settlement).await.expect("open");
    let moved = eventually("its time moves on", SOON, async || {
        let now = current(&settlement).await?;
        (now.opened_at_micros > open.opened_at_micros).then_some(now)
    })
    .await;
    assert_eq!((moved.number, moved.count), (open.number, 0));

    let windows = all(&settlement).await;
    let closed: Vec<_> = windows
        .into_iter()
        .filter(|window| window.state == "CLOSED")
        .collect();
    for window in &closed {
        assert_proven(window);
        assert!(window.count > 0, "none is empty");
    }
    assert_eq!(sums(&closed), spi.postings().await);
}

#[tokio::test]
async fn a_nats_that_loses_all_and_tells_all_again_changes_nothing() {
    let mut own = OwnParts::start().await;
    let spi = TestSpi::start(&own.nats.url()).await;
    let settlement = follows(&spi, own.nats.url()).await;
    let traffic = spi.traffic();
    spi.settled(150).await;
    counted(&settlement, 100).await;

    own.nats_process.kill().await;
    std::fs::remove_dir_all(own.folder().join("nats")).expect("its store goes");
    let before = spi.postings().await.count;
    spi.settled(before + 100).await;
    // Nobody tells of these, and they are counted all the same.
    counted(&settlement, before + 100).await;
    own.nats_process.start().await;
    let paid = traffic.stop().await;
    spi.settled(paid).await;
    counted(&settlement, paid).await;
    // The SPI tells its whole history again, and it arrives.
    eventually("what was counted is heard again", SOON, async || {
        let metrics = get_plain(settlement.ops, "/metrics").await;
        let known = metrics.lines().find(|line| {
            line.starts_with("settlement_batches_total{") && line.contains("event") && line.contains("known")
        })?;
        let known: f64 = known.rsplit(' ').next()?.parse().ok()?;
        (known > 0.0).then_some(())
    })
    .await;
    let window = close(&settlement).await;
    assert_proven(&window);
    assert_eq!(sums(std::slice::from_ref(&window)), spi.postings().await);
    own.stop().await;
}

#[tokio::test]
async fn a_service_that_is_killed_in_the_middle_counts_nothing_twice_and_nothing_never() {
    let nats = parts().await.nats.url();
    let spi = TestSpi::start(&nats).await;
    let mut settlement = follows(&spi, nats).await;
    let traffic = spi.traffic();
    for round in 1..=4 {
        spi.settled(round * 80).await;
        counted(&settlement, (round - 1) * 80 + 1).await;
        settlement.kill().await;
        settlement.run().await;
    }
    // Killed between the end of a window and its proof, perhaps.
    let mut client = windows(&settlement);
    let asked = tokio::spawn(async move { client.close_window(proto::CloseWindowRequest {}).await });
    eventually("a window is ended", SOON, async || {
        let ended = "SELECT ((SELECT count(*) FROM open_window WHERE is_closing)
                     + (SELECT count(*) FROM complete_window) + (SELECT count(*) FROM closed_window))::bigint";
        (settlement.count(ended).await > 0).then_some(())
    })
    .await;
    settlement.kill().await;
    drop(asked.await.expect("it does not panic"));
    settlement.run().await;
    let paid = traffic.stop().await;
    spi.settled(paid).await;
    counted(&settlement, paid).await;
    close(&settlement).await;
    eventually("both are closed", SOON, async || {
        (settlement.count("SELECT count(*) FROM closed_window").await == 2).then_some(())
    })
    .await;
    let mut windows = all(&settlement).await;
    windows.retain(|window| window.state == "CLOSED");
    windows.iter().for_each(assert_proven);
    assert_eq!(sums(&windows), spi.postings().await);
}

#[tokio::test]
async fn a_posting_that_was_tampered_with_makes_the_proof_fail_in_words() {
    let nats = parts().await.nats.url();
    let spi = TestSpi::start(&nats).await;
    let settlement = follows(&spi, nats.clone()).await;
    let receiver = spi.bank(B);
    let accepting = tokio::spawn(async move { receiver.accept_all().await });
    spi.bank(A).pay_amounts(B, &[1000, 50]).await;
    spi.settled(2).await;
    counted(&settlement, 2).await;
    sqlx::query("UPDATE posting SET amount = 1001 WHERE amount = 1000 AND end_to_end_id IS NOT NULL")
        .execute(&mut spi.owner().await)
        .await
        .expect("as owner");
    let window = close(&settlement).await;
    let proof = window.proof.expect("a proof");
    assert!(!proof.holds);
    assert_eq!(
        proof.differences,
        [
            "the window counted 10.50 in 2; by the book's 2 postings 10.51 in 2 was sent".to_owned(),
            "the window counted 10.50 in 2; by the book's 2 postings 10.51 in 2 was received".to_owned(),
            format!(
                "{A} sent 10.50 in 2 settlements by the window, 10.51 in 2 settlements by the book's postings"
            ),
            format!(
                "{B} received 10.50 in 2 settlements by the window, 10.51 in 2 settlements by the book's postings"
            ),
        ]
    );
    assert!(settlement.log().contains("ITS PROOF DOES NOT HOLD"));
    let events: Vec<proto::WindowClosed> = told(
        &nats,
        "pix.settlement.window_closed.v1",
        &registry(&settlement).await,
        1,
    )
    .await;
    assert!(!events[0].proof_holds);
    accepting.abort();
}

#[tokio::test]
async fn another_book_is_counted_from_its_beginning_and_the_old_one_is_no_proof() {
    let nats = parts().await.nats.url();
    let old = TestSpi::start(&nats).await;
    let mut settlement = follows(&old, nats.clone()).await;
    let pay = async |spi: &TestSpi, centavos: &[u64]| {
        let receiver = spi.bank(B);
        let accepting = tokio::spawn(async move { receiver.accept_all().await });
        spi.bank(A).pay_amounts(B, centavos).await;
        spi.settled(i64::try_from(centavos.len()).expect("few")).await;
        accepting.abort();
    };
    pay(&old, &[100, 200]).await;
    counted(&settlement, 2).await;
    settlement.stop().await;

    // The SPI's database was made anew, say; events of both books are in NATS.
    let new = TestSpi::start(&nats).await;
    pay(&new, &[1, 2, 3]).await;
    let urls = Urls {
        spi: new.url(),
        ..settlement.urls.clone()
    };
    let settlement = TestSettlement::start_on(urls, &[("window.length", "86400")]).await;
    counted(&settlement, 5).await;
    let second = close(&settlement).await;
    assert_proven(&second);
    assert_eq!((second.number, second.after_batch), (2, 0));
    assert_eq!(sums(std::slice::from_ref(&second)), new.postings().await);
    let asked = proto::GetWindowRequest { number: 1 };
    let first = windows(&settlement)
        .get_window(asked)
        .await
        .expect("found")
        .into_inner();
    assert_eq!((first.state.as_str(), first.count), ("CLOSED", 2));
    let proof = first.proof.expect("a proof");
    assert!(!proof.holds);
    assert!(proof.differences[0].contains("there are no postings left to compare with"));
}

#[tokio::test]
async fn balances_are_told_as_they_change_and_low_ones_once() {
    let nats = parts().await.nats.url();
    let spi = TestSpi::start(&nats).await;
    let mut settlement = follows(&spi, nats.clone()).await;
    let mut add = settlement.direct(A);
    add.low_liquidity_centavos = Some(99_990_000);
    settlement.participants().add(add).await.expect("added");

    let asked = proto::WatchBalancesRequest {};
    let mut watched = windows(&settlement)
        .watch_balances(asked)
        .await
        .expect("a stream")
        .into_inner();
    let mut known: BTreeMap<String, proto::Balance> = BTreeMap::new();
    let receiver = spi.bank(B);
    let accepting = tokio::spawn(async move { receiver.accept_all().await });
    let payer = spi.bank(A);
    let mut until = async |wanted: [(&str, i64, bool); 2]| {
        let told = async {
            let is_there = |known: &BTreeMap<String, proto::Balance>| {
                wanted.iter().all(|(ispb, available, low)| {
                    let balance = known.get(*ispb);
                    balance.is_some_and(|one| {
                        (one.available_centavos, one.blocked_centavos, one.low) == (*available, 0, *low)
                    })
                })
            };
            while !is_there(&known) {
                let told = watched
                    .message()
                    .await
                    .expect("it goes on")
                    .expect("there is more");
                known.extend(told.balances.into_iter().map(|one| (one.ispb.clone(), one)));
            }
        };
        let in_time = tokio::time::timeout(SOON, told).await;
        assert!(in_time.is_ok(), "{wanted:?} is not told");
    };
    until([(A, 100_000_000, false), (B, 100_000_000, false)]).await;
    payer.pay_amounts(B, &[10_000]).await;
    until([(A, 99_990_000, false), (B, 100_010_000, false)]).await;
    payer.pay_amounts(B, &[1]).await;
    until([(A, 99_989_999, true), (B, 100_010_001, false)]).await;
    let registry = registry(&settlement).await;
    let low = |count| told::<proto::LiquidityLow>(&nats, "pix.settlement.liquidity_low.v1", &registry, count);
    let first = low(1).await;
    assert_eq!(
        (first[0].ispb.as_str(), first[0].threshold_centavos),
        (A, 99_990_000)
    );
    assert_eq!(first[0].available_centavos, 99_989_999);

    // Lower still, by another process: it was told.
    settlement.kill().await;
    settlement.run().await;
    payer.pay_amounts(B, &[1]).await;
    eventually("the next process follows", SOON, async || {
        let view = settlement.ask("/balances").await;
        let of_a = view["balances"]
            .as_array()?
            .iter()
            .find(|one| one["ispb"] == A)?
            .clone();
        (view["current"] == true && of_a["available"] == "999899.98" && of_a["low"] == true).then_some(())
    })
    .await;
    // Above, and below again: that is told.
    let update = |centavos| proto::UpdateRequest {
        ispb: A.to_owned(),
        low_liquidity_centavos: Some(centavos),
        ..Default::default()
    };
    settlement
        .participants()
        .update(update(100))
        .await
        .expect("updated");
    let is_low = async || {
        let row = sqlx::query("SELECT is_low FROM liquidity WHERE ispb = $1").bind(A);
        let row = row.fetch_one(&mut settlement.owner().await).await.expect("a row");
        row.get::<bool, _>(0)
    };
    eventually("it is not low any more", SOON, async || {
        (!is_low().await).then_some(())
    })
    .await;
    settlement
        .participants()
        .update(update(99_995_000))
        .await
        .expect("updated");
    let both = low(2).await;
    let thresholds: Vec<_> = both.iter().map(|event| event.threshold_centavos).collect();
    assert_eq!(thresholds, [99_990_000, 99_995_000], "and none in between");
    accepting.abort();
}
