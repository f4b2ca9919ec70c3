//! Processes killed with payments in flight. Each payment ends exactly once, the same for all three, and no money is lost.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::money::{Money, assert_each_delivered_once, order, order_many, states, until_all_ended};
use crate::switch::{A, B, Switch, signal};

const IN_FLIGHT: u32 = 200;

/// Orders payments, does harm while they are under way, waits for every end, and counts the money.
async fn harm_in_flight(harm: impl AsyncFn(&Switch)) {
    survive(harm).await.0.stop().await;
}

/// The same, with the switch as it is afterwards, and how many payments settled.
async fn survive(harm: impl AsyncFn(&Switch)) -> (Switch, usize) {
    let switch = Switch::new().await;
    let before = Money::count(&switch).await;
    // The harm comes while orders are still being taken, so that every stage of a payment is under way.
    let (ids, ()) = tokio::join!(order_many(&switch, A, B, IN_FLIGHT), async {
        order_is_taken(&switch).await;
        harm(&switch).await;
    });
    let settled = until_all_ended(&switch, A, B, &ids).await;
    let after = Money::count(&switch).await;
    after.assert_conserved(&before);
    assert_eq!(
        usize::try_from(after.paid_by(A, &before)),
        Ok(settled),
        "one centavo for each that settled"
    );
    assert_each_delivered_once(&switch, &ids).await;
    eprintln!("{settled} of {IN_FLIGHT} settled");
    (switch, settled)
}

async fn kill_in_flight(name: &str) {
    harm_in_flight(async |switch: &Switch| kill_once(switch, name).await).await;
}

/// It is there again at once, and `pix up` says so in one line.
async fn kill_once(switch: &Switch, name: &str) {
    let old = switch.kill(name).await;
    switch.until_restarted(name, old).await;
    let first_restart = format!("{name} ended with signal: 9 (SIGKILL)");
    let printed = switch.printed();
    let line = printed
        .lines()
        .find(|line| line.contains(&first_restart))
        .expect("one clear line");
    assert!(line.ends_with("starting it again in 20 ms"), "{line}");
}

/// Until the payer bank holds or has paid something.
async fn order_is_taken(switch: &Switch) {
    pix_testkit::eventually("the first order is taken", Duration::from_secs(20), async || {
        let accounts = switch
            .http
            .get(switch.bank_port(A), "/api/accounts")
            .await
            .ok()?
            .body;
        let account = accounts
            .as_array()?
            .iter()
            .find(|account| account["number"] == A.number)?
            .clone();
        (account["available"] != "5000.00").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_switch_is_killed_with_200_payments_in_flight() {
    kill_in_flight("spi").await;
}

#[tokio::test]
async fn settlement_is_killed_with_200_payments_in_flight_and_its_window_holds_each_once() {
    let (switch, settled) = survive(async |switch: &Switch| kill_once(switch, "settlement").await).await;
    let (worked, said) = switch.home.run(&["window", "close", "--json"]).await;
    assert!(worked, "{said}");
    let window: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(window["proof"]["holds"], true, "{window:#}");
    // The one that was open may have ended by itself meanwhile.
    let (worked, said) = switch.home.run(&["window", "list", "--json"]).await;
    assert!(worked, "{said}");
    let windows: Vec<Value> = serde_json::from_str(&said).expect("JSON");
    let counted: u64 = windows.iter().filter_map(|window| window["count"].as_u64()).sum();
    assert_eq!(Some(counted), u64::try_from(settled).ok(), "{said}");
    switch.stop().await;
}

#[tokio::test]
async fn the_payer_bank_is_killed_with_200_payments_in_flight() {
    kill_in_flight(&A.process()).await;
}

#[tokio::test]
async fn the_receiver_bank_is_killed_with_200_payments_in_flight() {
    kill_in_flight(&B.process()).await;
}

#[tokio::test]
async fn postgres_is_killed_with_200_payments_in_flight() {
    kill_in_flight("postgres").await;
}

#[tokio::test]
async fn nats_is_killed_with_200_payments_in_flight() {
    kill_in_flight("nats").await;
}

#[tokio::test]
async fn redis_is_killed_with_200_payments_in_flight() {
    kill_in_flight("redis").await;
}

#[tokio::test]
async fn every_process_is_killed_one_after_the_other_with_200_payments_in_flight() {
    let all = [
        "spi",
        "settlement",
        "dict",
        &A.process(),
        "redis",
        &B.process(),
        "postgres",
        "nats",
        "spi",
    ];
    harm_in_flight(async |switch: &Switch| {
        for name in all {
            switch.kill(name).await;
        }
    })
    .await;
}

#[tokio::test]
async fn postgres_is_restarted_with_200_payments_in_flight() {
    harm_in_flight(async |switch: &Switch| {
        let old = switch.pid("postgres").await;
        signal("INT", old).await;
        switch.until_restarted("postgres", old).await;
    })
    .await;
}

#[tokio::test]
async fn the_store_of_nats_is_deleted_and_redis_flushed_with_200_payments_in_flight() {
    harm_in_flight(async |switch: &Switch| {
        std::fs::remove_dir_all(switch.home.dir().join("nats/store")).expect("JetStream has a store");
        let old = switch.kill("nats").await;
        let redis = (std::net::Ipv4Addr::LOCALHOST, switch.home.port(4379));
        let mut redis = tokio::net::TcpStream::connect(redis)
            .await
            .expect("redis listens");
        redis.write_all(b"FLUSHALL\r\n").await.expect("redis reads");
        let mut answer = [0_u8; 5];
        redis.read_exact(&mut answer).await.expect("redis answers");
        assert_eq!(&answer, b"+OK\r\n");
        switch.until_restarted("nats", old).await;
    })
    .await;
}

/// A bank that is silent, not dead: its process stands still.
async fn freeze(switch: &Switch, name: &str) -> u32 {
    let pid = switch.pid(name).await;
    signal("STOP", pid).await;
    pid
}

#[tokio::test]
async fn a_receiver_that_comes_back_in_time_is_paid() {
    let switch = Switch::new().await;
    let before = Money::count(&switch).await;
    let receiver = freeze(&switch, &B.process()).await;
    let id = order(&switch, A, B, 300, "silent").await;
    pix_testkit::eventually(
        "the switch holds the amount",
        Duration::from_secs(10),
        async || {
            let book = switch
                .http
                .get(switch.ops_port(), &format!("/payments/{id}"))
                .await
                .ok()?
                .body;
            (book["state"] == "pending").then_some(())
        },
    )
    .await;
    signal("CONT", receiver).await;
    assert_eq!(until_all_ended(&switch, A, B, std::slice::from_ref(&id)).await, 1);
    Money::count(&switch).await.assert_conserved(&before);
    switch.stop().await;
}

#[tokio::test]
async fn a_receiver_that_comes_back_past_the_deadline_leaves_everything_as_it_was() {
    let switch = Switch::new().await;
    let before = Money::count(&switch).await;
    let receiver = freeze(&switch, &B.process()).await;
    let id = order(&switch, A, B, 300, "too-late").await;
    pix_testkit::eventually("the deadline decides", Duration::from_secs(60), async || {
        // The frozen receiver would keep a question waiting: the payer is asked twice instead.
        let [payer, book, _] = states(&switch, A, A, &id).await;
        (payer.as_deref() == Some("refused") && book.as_deref() == Some("refused")).then_some(())
    })
    .await;
    let book = switch
        .http
        .get(switch.ops_port(), &format!("/payments/{id}"))
        .await
        .expect("answers")
        .body;
    assert_eq!(book["reason"], "AB03", "{book}");
    signal("CONT", receiver).await;
    // The receiver reads the order now, answers it, and is told that it was too late.
    pix_testkit::eventually("the receiver knows", Duration::from_secs(60), async || {
        let [_, _, receiver] = states(&switch, A, B, &id).await;
        (receiver.as_deref() == Some("refused")).then_some(())
    })
    .await;
    assert_eq!(Money::count(&switch).await, before, "as if nothing had been");
    switch.stop().await;
}
