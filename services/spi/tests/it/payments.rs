//! Payments through the whole SPI: what each side hears, and where the money is.

use std::time::Duration;

use pix_domain::{LocalInstrument, StatusReason, Text};
use pix_proto::spi_v1;
use pix_runtime::Clock as _;
use prost::Message as _;

use crate::support::{A, B, B_INDIRECT, C, Heard, TestSpi, now, status};

#[tokio::test]
async fn a_payment_is_blocked_forwarded_settled_and_told_to_both() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let (mut from_a, mut from_b) = (a.reader(), b.reader());
    let order = a.order(B, "10.50");
    let id = order.end_to_end_id;
    a.post(a.pacs_008(vec![order])).await;
    assert_eq!(from_b.hear_until(1).await, [Heard::Order(id)]);
    assert_eq!(spi.balance(A).await, ("999989.50".to_owned(), "10.50".to_owned()));

    b.post(b.pacs_002(&[(id, None)])).await;
    assert_eq!(from_b.hear_until(1).await, [status(id, "ACCC")]);
    assert_eq!(from_a.hear_until(1).await, [status(id, "ACSC")]);
    assert_eq!(spi.balance(A).await, ("999989.50".to_owned(), "0.00".to_owned()));
    assert_eq!(spi.balance(B).await, ("1000010.50".to_owned(), "0.00".to_owned()));

    let payment = spi.ask(&format!("/payments/{id}")).await;
    assert_eq!(
        (&payment["state"], &payment["amount"]),
        (&"settled".into(), &"10.50".into())
    );
    let stages: Vec<_> = payment["timeline"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|s| s["stage"].clone())
        .collect();
    let stage_names = [
        "received",
        "blocked",
        "formed",
        "delivered",
        "confirmed",
        "answered",
        "settled",
    ];
    for stage in stage_names {
        assert!(stages.contains(&stage.into()), "{stage} is missing: {payment}");
    }
    let named = |name: &str| {
        let mut found = payment["timeline"].as_array().expect("a list").iter();
        found.find(|s| s["stage"] == name).expect("found before").clone()
    };
    assert_eq!(named("delivered")["attempts"], 1, "{payment}");
    for name in ["received", "answered"] {
        let id = named(name)["message_id"].as_str().map(str::len);
        assert_eq!(id, Some(32), "{name} names its message: {payment}");
    }
    let (holds, words) = spi.audit().await;
    assert!(holds, "{words}");
}

#[tokio::test]
async fn refusals_reach_who_must_know_and_money_stays() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let (mut from_a, mut from_b) = (a.reader(), b.reader());
    let refused_by_b = a.order(B, "1.00");
    let too_much = a.order(B, "1000000.01");
    let nothing = a.order(B, "0.00");
    let to_nobody = a.order("98765432", "1.00");
    let to_itself = a.order(A, "1.00");
    let mut not_ours = a.order(B, "1.00");
    not_ours.debtor_agent = crate::support::parse(C);
    let mut late = a.order(B, "1.00");
    late.accepted_at = now().minus(Duration::from_secs(34)).to_millis();
    let id = refused_by_b.end_to_end_id;
    let expected = [
        (&too_much, "RJCT AM04"),
        (&nothing, "RJCT AM01"),
        (&to_nobody, "RJCT RC10"),
        (&to_itself, "RJCT AG12"),
        (&not_ours, "RJCT DS0G"),
        (&late, "RJCT AB11"),
    ]
    .map(|(order, text)| status(order.end_to_end_id, text));
    a.post(a.pacs_008(vec![
        refused_by_b,
        too_much,
        nothing,
        to_nobody,
        to_itself,
        not_ours,
        late,
    ]))
    .await;
    let mut heard = from_a.hear_until(expected.len()).await;
    heard.sort();
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(heard, expected);

    assert_eq!(from_b.hear_until(1).await, [Heard::Order(id)]);
    b.post(b.pacs_002(&[(id, Some(StatusReason::AC07))])).await;
    assert_eq!(from_a.hear_until(1).await, [status(id, "RJCT AC07")]);
    assert_eq!(spi.balance(A).await, ("1000000.00".to_owned(), "0.00".to_owned()));
}

#[tokio::test]
async fn without_an_answer_in_time_both_hear_ab03_and_a_late_one_again() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let (mut from_a, mut from_b) = (a.reader(), b.reader());
    let mut order = a.order(B, "5.00");
    let id = order.end_to_end_id;
    // The payer's bank used up nearly all of its time, so that little is left for the receiver's.
    order.accepted_at = now().minus(Duration::from_millis(33_500)).to_millis();
    a.post(a.pacs_008(vec![order])).await;
    assert_eq!(from_b.hear_until(1).await, [Heard::Order(id)]);
    assert_eq!(from_a.hear_until(1).await, [status(id, "RJCT AB03")]);
    assert_eq!(from_b.hear_until(1).await, [status(id, "RJCT AB03")]);
    b.post(b.pacs_002(&[(id, None)])).await;
    assert_eq!(from_b.hear_until(1).await, [status(id, "RJCT AB03")]);
    assert_eq!(spi.balance(A).await, ("1000000.00".to_owned(), "0.00".to_owned()));
}

#[tokio::test]
async fn a_resend_is_taken_once_and_answered_again() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let (mut from_a, mut from_b) = (a.reader(), b.reader());
    let order = a.order(B, "7.00");
    let id = order.end_to_end_id;
    let message = a.pacs_008(vec![order.clone()]);
    let first = a.post(message.clone()).await;
    assert_eq!(
        a.post(message).await,
        first,
        "the same bytes, the same PI-ResourceId"
    );
    let again = a.post(a.pacs_008(vec![order.clone()])).await;
    assert_ne!(again, first, "another MsgId is another message");
    assert_eq!(from_b.hear_until(1).await, [Heard::Order(id)]);
    b.post(b.pacs_002(&[(id, None)])).await;
    assert_eq!(from_a.hear_until(1).await, [status(id, "ACSC")]);

    a.post(a.pacs_008(vec![order.clone()])).await;
    assert_eq!(
        from_a.hear_until(1).await,
        [status(id, "ACSC")],
        "asked again, told again"
    );
    let mut other = order;
    other.amount = pix_domain::Money::from_centavos(1);
    a.post(a.pacs_008(vec![other])).await;
    assert_eq!(from_a.hear_until(1).await, [status(id, "RJCT DU03")]);
    assert_eq!(spi.balance(B).await.0, "1000007.00");
}

#[tokio::test]
async fn an_indirect_participant_is_paid_through_its_settler() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let order = a.order(B_INDIRECT, "3.00");
    let id = order.end_to_end_id;
    a.post(a.pacs_008(vec![order])).await;
    let mut from_b = b.reader();
    assert_eq!(from_b.hear_until(1).await, [Heard::Order(id)]);
    b.post(b.pacs_002(&[(id, None)])).await;
    assert_eq!(from_b.hear_until(1).await, [status(id, "ACCC")]);
    let mut from_a = a.reader();
    assert_eq!(from_a.hear_until(1).await, [status(id, "ACSC")]);
    assert_eq!(spi.balance(B).await.0, "1000003.00");
    // And pays through it.
    let mut order = b.order(A, "1.00");
    order.debtor_agent = crate::support::parse(B_INDIRECT);
    let id = order.end_to_end_id;
    b.post(b.pacs_008(vec![order])).await;
    assert_eq!(from_a.hear_until(1).await, [Heard::Order(id)]);
}

#[tokio::test]
async fn ten_orders_in_a_message_travel_together() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let orders: Vec<_> = (0..10).map(|_| a.order(B, "1.00")).collect();
    a.post(a.pacs_008(orders)).await;
    let mut from_b = b.reader();
    let mut answered = 0;
    while answered < 10 {
        let orders: Vec<_> = from_b
            .hear()
            .await
            .into_iter()
            .filter_map(|(_, what)| {
                if let Heard::Order(id) = what {
                    Some((id, None))
                } else {
                    None
                }
            })
            .collect();
        answered += orders.len();
        b.post(b.pacs_002(&orders)).await;
    }
    a.reader().hear_until(10).await;
    assert_eq!(spi.balance(B).await.0, "1000010.00");
    assert!(
        spi.count("SELECT count(*) FROM delivery WHERE form = 'PAGPRI'")
            .await
            <= 2,
        "signatures are shared"
    );
}

#[tokio::test]
async fn a_message_that_poisons_its_batch_goes_alone_and_the_others_through() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    // Something that Postgres refuses and we did not foresee.
    let trap = "ALTER TABLE payment ADD CONSTRAINT trap CHECK (amount <> 66600)";
    sqlx::query(trap)
        .execute(&mut spi.owner().await)
        .await
        .expect(trap);
    let mut from_a = a.reader();
    let good: Vec<_> = (0..8).map(|_| a.order(B, "1.00")).collect();
    let messages: Vec<_> = good
        .iter()
        .map(|order| a.pacs_008(vec![order.clone()]))
        .chain([a.pacs_008(vec![a.order(B, "666.00")])])
        .collect();
    let posted = futures::future::join_all(messages.into_iter().map(|message| a.post(message))).await;
    assert_eq!(posted.len(), 9, "each has its 201");
    let heard = from_a.hear_until(1).await;
    assert!(
        matches!(&heard[0], Heard::Refusal(_, reason) if reason == "Erro interno"),
        "{heard:?}"
    );
    let mut from_b = b.reader();
    assert_eq!(from_b.hear_until(8).await.len(), 8);
    assert_eq!(spi.count("SELECT count(*) FROM dead_letter").await, 1);
    assert_eq!(
        spi.count("SELECT count(*) FROM message_in").await,
        9,
        "its bytes are kept"
    );
    let (holds, words) = spi.audit().await;
    assert!(holds, "{words}");
}

#[tokio::test]
async fn events_of_every_commit_reach_jetstream() {
    let parts = pix_testkit::OwnParts::start().await;
    let mut spi = TestSpi::start_on_own(&parts).await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let (key, mut order) = ("fulano@example.com", a.order(B, "1.00"));
    order.local_instrument = LocalInstrument::Dict;
    order.creditor_account.proxy = Some(Text::parse(key).expect("a key"));
    let id = order.end_to_end_id;
    a.post(a.pacs_008(vec![order])).await;
    // Who is paid is known after a restart too.
    spi.kill().await;
    spi.run().await;
    b.reader().hear_until(1).await;
    b.post(b.pacs_002(&[(id, None)])).await;
    pix_testkit::eventually("all events are published", crate::support::SOON, || async {
        let behind = "SELECT (SELECT count(*) FROM event) - (SELECT count(*) FROM event e JOIN event_cursor c
                      USING (shard) WHERE e.id <= c.published_id)";
        (spi.count(behind).await == 0 && spi.count("SELECT count(*) FROM event").await >= 2).then_some(())
    })
    .await;
    let client = pix_runtime::nats::connect("test", &parts.nats.url())
        .await
        .expect("a client");
    let stream = async_nats::jetstream::new(client)
        .get_stream("PIX_SPI")
        .await
        .expect("the stream is there");
    for subject in ["pix.spi.order_received.v1", "pix.spi.payment_settled.v1"] {
        let message = stream
            .get_last_raw_message_by_subject(subject)
            .await
            .expect(subject);
        let header = |name: &str| message.headers.get(name).expect("a CloudEvent").to_string();
        assert_eq!(header("ce-type"), subject);
        let source = header("ce-source");
        let book = source.strip_prefix("/pix/spi/").expect("of the SPI");
        assert_eq!(book.len(), 36, "which database of it: {source}");
        assert!(header("Nats-Msg-Id").starts_with(&format!("spi-{book}-0-")));
        let headers = format!("{:?}", message.headers);
        assert!(
            ["70000000000", "80000000000", key]
                .iter()
                .all(|secret| !headers.contains(secret))
        );
        if subject == "pix.spi.order_received.v1" {
            let event = spi_v1::OrdersReceived::decode(message.payload).expect("an event");
            assert_eq!(event.orders.len(), 1);
            assert_eq!(event.orders[0].end_to_end_id, id.as_str());
            assert_eq!(event.orders[0].debtor_tax_id, "70000000000");
        } else {
            let event = spi_v1::PaymentsSettled::decode(message.payload).expect("an event");
            assert_eq!(event.payments.len(), 1);
            assert_eq!(event.payments[0].end_to_end_id, id.as_str());
            assert_eq!(event.payments[0].creditor_tax_id, "80000000000");
            assert_eq!(event.payments[0].creditor_key.as_deref(), Some(key));
        }
    }
    drop(spi);
    parts.stop().await;
}

#[tokio::test]
async fn clocks_agree() {
    // Deadlines are database time; on one machine that is ours.
    let spi = TestSpi::start().await;
    let a = spi.bank(A);
    a.post(a.pacs_008(vec![a.order(B, "1.00")])).await;
    let behind = spi
        .count("SELECT (abs(extract(epoch FROM clock_timestamp() - received_at)) * 1000)::bigint FROM message_in")
        .await;
    assert!(behind < 20_000, "{behind} ms");
    assert!(pix_runtime::SystemClock.now() > now().minus(Duration::from_secs(1)));
}
