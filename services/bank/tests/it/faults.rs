//! Nothing is lost and nothing happens twice when processes, connections and servers die.

use std::time::Duration;

use pix_domain::TransactionStatus;
use pix_testkit::{Fault, FaultProxy, OwnParts, TestPki, eventually};
use serde_json::json;

use crate::bank::{ANA, BRUNO, OURS, PATIENCE, Setup, THEIRS, incoming, order, world};
use crate::switch::{PRIMARY, SECONDARY, Switch};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_go_again_until_the_switch_takes_them() {
    let (switch, _setup, bank) = world().await;
    switch.plan(&[503, 429, 500, 403]);
    let id = bank.pay(&order("3.00")).await;
    let took = || async {
        let posts = switch.posts();
        (posts.len() == 5).then_some(posts)
    };
    let posts = eventually("the fifth attempt is taken", PATIENCE, took).await;
    assert!(posts.iter().all(|post| post.bytes == posts[0].bytes));
    // 403 after a 500 that may have been stored proves nothing: the block stays.
    assert_eq!(bank.payment(id).await["state"], "pending");
    assert_eq!(bank.held(ANA).await[1], "3.00");
    switch.push_status(&[id], TransactionStatus::SettledDebtor, None);
    bank.becomes(id, "settled").await;
    bank.balanced().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_refused_at_the_door_is_released_when_it_cannot_have_been_stored() {
    let (switch, _setup, bank) = world().await;
    switch.plan(&[429, 403]);
    let id = bank.pay(&order("3.00")).await;
    let payment = bank.becomes(id, "refused").await;
    assert_eq!(payment["reason"], "HTTP403");
    assert_eq!(bank.held(ANA).await, ["5000.00", "0.00", "0.00"]);
    bank.balanced().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_bank_sends_what_it_had_promised_and_nothing_twice() {
    let pki = TestPki::shared().await;
    let switch = Switch::start(&pki, OURS).await;
    let setup = Setup::new(&pki, switch.addresses()).await;
    let bank = setup.start().await;
    switch.hold(true);
    let orders = order("2.00");
    let paid = futures::future::join_all((0..50).map(|_| bank.pay(&orders))).await;
    let arrived = incoming(BRUNO, "9.00");
    switch.push_orders(std::slice::from_ref(&arrived));
    switch.answer(arrived.end_to_end_id).await.unwrap();
    bank.kill();

    switch.hold(false);
    let before = switch.posts();
    let bank = setup.start().await;
    for id in &paid {
        switch.order(*id).await;
    }
    switch.push_status(&[arrived.end_to_end_id], TransactionStatus::SettledCreditor, None);
    for group in paid.chunks(10) {
        switch.push_status(group, TransactionStatus::SettledDebtor, None);
    }
    for id in &paid {
        bank.becomes(*id, "settled").await;
    }
    bank.becomes(arrived.end_to_end_id, "settled").await;
    let none_waits = || async { (bank.get("/api/totals").await["messages_waiting"] == 0).then_some(()) };
    eventually("every message is taken", PATIENCE, none_waits).await;
    for first in &before {
        let same = |again: &&crate::switch::Post| {
            again.envelope.header.message_id == first.envelope.header.message_id
        };
        assert!(
            switch
                .posts()
                .iter()
                .filter(same)
                .all(|again| again.bytes == first.bytes),
            "same MsgId, same bytes"
        );
    }
    assert_eq!(bank.held(ANA).await, ["4900.00", "0.00", "0.00"]);
    assert_eq!(bank.held(BRUNO).await, ["109.00", "0.00", "0.00"]);
    let totals = bank.balanced().await;
    assert_eq!(
        (&totals["pending_payments"], &totals["anomalies"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_gone_is_started_again_and_its_messages_are_known() {
    let (switch, setup, bank) = world().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let order = incoming(BRUNO, "1.00");
        ids.push(order.end_to_end_id);
        switch.push_orders(std::slice::from_ref(&order));
        switch.forget_streams();
        switch.answer(order.end_to_end_id).await.unwrap();
    }
    let last = switch.push_status(&ids, TransactionStatus::SettledCreditor, None);
    switch.confirmed(last).await;
    for id in ids {
        bank.becomes(id, "settled").await;
        assert_eq!(switch.answers(id).len(), 1);
    }
    assert_eq!(bank.held(BRUNO).await, ["105.00", "0.00", "0.00"]);
    assert_eq!(setup.count("SELECT COUNT(*) FROM inbound").await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_at_any_point_lose_nothing() {
    let pki = TestPki::shared().await;
    let switch = Switch::start(&pki, OURS).await;
    let proxy = FaultProxy::start(switch.addresses()[PRIMARY]).await;
    let setup = Setup::new(&pki, [proxy.address(), switch.addresses()[SECONDARY]]).await;
    let bank = setup.start().await;
    let mut sent = Vec::new();
    let mut received = Vec::new();
    for octets in [0, 40, 200, 900, 2_000, 3_500, 5_000] {
        for fault in [Fault::CutAnswerAfter(octets), Fault::CutRequestAfter(octets)] {
            let cuts = proxy.cuts();
            proxy.set(fault);
            // Not every connection carries as many octets in one exchange: there is more to say until one did.
            while proxy.cuts() == cuts {
                let paid = bank.pay(&order("1.00")).await;
                let order = incoming(BRUNO, "1.00");
                switch.push_orders(std::slice::from_ref(&order));
                eventually("a connection is cut, or all was said", PATIENCE, async || {
                    let said = switch.has_order(paid) && !switch.answers(order.end_to_end_id).is_empty();
                    (said || proxy.cuts() > cuts).then_some(())
                })
                .await;
                sent.push(paid);
                received.push(order.end_to_end_id);
            }
        }
    }
    proxy.set(Fault::None);
    for id in &sent {
        switch.order(*id).await;
    }
    for id in &received {
        switch.answer(*id).await.unwrap();
    }
    for (sent, received) in sent.chunks(10).zip(received.chunks(10)) {
        switch.push_status(sent, TransactionStatus::SettledDebtor, None);
        switch.push_status(received, TransactionStatus::SettledCreditor, None);
    }
    for id in sent.iter().chain(&received) {
        bank.becomes(*id, "settled").await;
    }
    let moved = sent.len();
    assert_eq!(bank.held(ANA).await[0], format!("{}.00", 5000 - moved));
    assert_eq!(bank.held(BRUNO).await[0], format!("{}.00", 100 + moved));
    bank.balanced().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_dies_is_waited_for_and_no_commit_is_done_twice() {
    let pki = TestPki::shared().await;
    let switch = Switch::start(&pki, OURS).await;
    let mut parts = OwnParts::start().await;
    let setup = Setup::with_database(&pki, switch.addresses(), parts.postgres.url("postgres"));
    let bank = setup.start().await;
    let orders = order("1.00");
    let mut received = Vec::new();
    let mut paid = Vec::new();
    for _ in 0..2 {
        let waiting = futures::future::join_all((0..30).map(|_| bank.pay(&orders)));
        let killing = async {
            for _ in 0..10 {
                let order = incoming(BRUNO, "1.00");
                received.push(order.end_to_end_id);
                switch.push_orders(&[order]);
            }
            parts.postgres_process.kill().await;
            parts.postgres_process.start().await;
        };
        let (ids, ()) = tokio::join!(waiting, killing);
        paid.extend(ids);
    }
    bank.ready().await;
    for id in &paid {
        switch.order(*id).await;
    }
    for id in &received {
        switch.answer(*id).await.unwrap();
    }
    for group in paid.chunks(10) {
        switch.push_status(group, TransactionStatus::SettledDebtor, None);
    }
    for group in received.chunks(10) {
        switch.push_status(group, TransactionStatus::SettledCreditor, None);
    }
    for id in paid.iter().chain(&received) {
        bank.becomes(*id, "settled").await;
    }
    assert_eq!(bank.held(ANA).await, ["4940.00", "0.00", "0.00"]);
    assert_eq!(bank.held(BRUNO).await, ["120.00", "0.00", "0.00"]);
    assert_eq!(bank.balanced().await["anomalies"], 0);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_whose_commit_was_in_doubt_goes_out_without_other_traffic() {
    let pki = TestPki::shared().await;
    let switch = Switch::start(&pki, OURS).await;
    let direct = pix_testkit::empty_database("bank").await.url();
    let (_, rest) = direct.rsplit_once(':').unwrap();
    let port: u16 = rest.split('/').next().unwrap().parse().unwrap();
    let proxy = FaultProxy::start(([127, 0, 0, 1], port).into()).await;
    let through = direct.replace(&format!(":{port}/"), &format!(":{}/", proxy.address().port()));
    assert_ne!(through, direct);
    let setup = Setup::with_database(&pki, switch.addresses(), through);
    let bank = setup.start().await;
    // Cut ever a little later in the conversation, with steps shorter than the answer to a COMMIT (18
    // octets), until the cut lies behind its end.
    let (mut octets, mut payments, mut uncut) = (0, 0_usize, 0);
    while uncut < 3 {
        octets += 9;
        payments += 1;
        let connections = proxy.connections();
        proxy.set(Fault::CutAnswerAfter(octets));
        let orders = order("1.00");
        let mended = async {
            let cut = async || (proxy.connections() > connections).then_some(());
            eventually("the bank connects again", PATIENCE, cut).await;
            proxy.set(Fault::None);
        };
        tokio::pin!(mended);
        let paid = bank.pay(&orders);
        tokio::pin!(paid);
        let id = tokio::select! {
            id = &mut paid => {
                proxy.set(Fault::None);
                uncut += 1;
                id
            }
            () = &mut mended => paid.await,
        };
        switch.order(id).await;
    }
    assert_eq!(bank.held(ANA).await[1], format!("{payments}.00"));
    assert_eq!(
        setup.count("SELECT COUNT(*) FROM payment").await,
        i64::try_from(payments).unwrap()
    );
    bank.balanced().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_an_unknown_signer_waits_until_its_certificate_is_configured() {
    let pki = TestPki::shared().await;
    let mut switch = Switch::start(&pki, OURS).await;
    let mut setup = Setup::new(&pki, switch.addresses()).await;
    let bank = setup.start().await;
    switch.sign_as(pki.signer(THEIRS));
    let order = incoming(BRUNO, "1.00");
    let told = switch.push_orders(std::slice::from_ref(&order));
    bank.not_ready().await;
    assert!(
        setup
            .log()
            .contains("update spi.signature_certificate and restart")
    );
    assert!(bank.stop().await.success());
    assert!(!switch.is_confirmed(told) && switch.posts().is_empty());
    assert_eq!(setup.count("SELECT COUNT(*) FROM inbound").await, 0);

    setup.trust_too(&pki.participant(THEIRS).join("signature.crt"));
    let bank = setup.start().await;
    assert_eq!(switch.answer(order.end_to_end_id).await, Ok(()));
    switch.confirmed(told).await;
    assert_eq!(bank.held(BRUNO).await, ["100.00", "0.00", "1.00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_postgres_refuses_stops_nobody_else() {
    let (switch, setup, bank) = world().await;
    let mut conn = pix_runtime::pg::connect(&setup.database_url).await.unwrap();
    sqlx::query("ALTER TABLE payment ADD CHECK (amount <> 1313)")
        .execute(&mut conn)
        .await
        .unwrap();
    let orders: Vec<_> = (0..40)
        .map(|n| order(if n == 17 { "13.13" } else { "1.00" }))
        .collect();
    let answers = futures::future::join_all(
        orders
            .iter()
            .map(|order| bank.call(http::Method::POST, "/api/payments", Some(order))),
    )
    .await;
    let refused: Vec<_> = (0..40)
        .filter(|n| answers[*n].0 != http::StatusCode::ACCEPTED)
        .collect();
    assert_eq!((refused, answers[17].0.as_u16()), (vec![17], 500));

    let (bad, good) = (incoming(BRUNO, "13.13"), incoming(BRUNO, "2.00"));
    switch.push_orders(&[bad]);
    switch.push_orders(std::slice::from_ref(&good));
    assert_eq!(switch.answer(good.end_to_end_id).await, Ok(()));
    let kept = async || {
        let poisoned = "SELECT COUNT(*) FROM inbound WHERE outcome = 'poisoned'";
        (setup.count(poisoned).await == 1).then_some(())
    };
    eventually("the culprit is kept aside", PATIENCE, kept).await;
    assert_eq!(bank.held(ANA).await, ["4961.00", "39.00", "0.00"]);
    assert_eq!(bank.held(BRUNO).await, ["100.00", "0.00", "2.00"]);
    bank.balanced().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_confirms_what_is_in_the_book_and_ends_well() {
    let (switch, setup, bank) = world().await;
    let order = incoming(BRUNO, "1.00");
    switch.push_orders(std::slice::from_ref(&order));
    switch.answer(order.end_to_end_id).await.unwrap();
    switch.streams_started(3).await;
    let status = bank.stop().await;
    assert!(status.success(), "{status}: {}", setup.log());
    assert_eq!(
        switch.closed_streams(),
        3,
        "two streams of the primary channel, one of the secondary"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_book_waits_for_the_first() {
    let (switch, setup, bank) = world().await;
    let second = setup.spawn();
    let told = || async {
        setup
            .log()
            .contains("another process writes this bank's book")
            .then_some(())
    };
    eventually("the second process says what it waits for", PATIENCE, told).await;
    bank.kill();
    second.ready().await;
    let id = second.pay(&order("1.00")).await;
    switch.order(id).await;
    tokio::time::timeout(Duration::from_secs(1), second.balanced())
        .await
        .unwrap();
}
