//! Someone at another bank pays a customer here.

use std::time::Duration;

use bytes::Bytes;
use iso20022::Document;
use pix_domain::{AccountType, Priority, ServiceLevel, StatusReason, TaxId, TransactionStatus};
use serde_json::json;

use crate::bank::{ANA, BLOCKED, BRUNO, CLOSED, CUSTOMERS_TOTAL, SALARY, incoming, world};
use crate::switch::{SECONDARY, pacs_008};

#[tokio::test(flavor = "multi_thread")]
async fn money_is_noted_on_acsp_and_given_on_accc() {
    let (switch, _setup, bank) = world().await;
    let order = incoming(BRUNO, "30.00");
    let id = order.end_to_end_id;
    switch.push_orders(std::slice::from_ref(&order));
    assert_eq!(switch.answer(id).await, Ok(()));
    assert_eq!(
        bank.held(BRUNO).await,
        ["100.00", "0.00", "30.00"],
        "noted before the answer went out"
    );

    let told = switch.push_status(&[id], TransactionStatus::SettledCreditor, None);
    let payment = bank.becomes(id, "settled").await;
    assert_eq!(bank.held(BRUNO).await, ["130.00", "0.00", "0.00"]);
    assert_eq!(
        (&payment["direction"], &payment["counterparty"]["name"]),
        (&json!("in"), &json!("Carla Dias"))
    );
    let stages: Vec<&str> = payment["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages, ["received", "answered", "credited"]);
    switch.confirmed(told).await;
    let totals = bank.balanced().await;
    assert_eq!(
        (&totals["own"]["settlement"], &totals["own"]["in_transit"]),
        (&json!("-30.00"), &json!("0.00"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reason_not_to_take_an_order_has_its_code() {
    let (switch, _setup, bank) = world().await;
    let unknown = incoming("999999", "1.00");
    let mut another = incoming(BRUNO, "1.00");
    another.creditor = TaxId::parse(b"52998224725").unwrap();
    let closed = incoming(CLOSED, "1.00");
    let blocked = incoming(BLOCKED, "1.00");
    let mut savings = incoming(BRUNO, "1.00");
    savings.creditor_account.kind = AccountType::Savings;
    let salary = incoming(SALARY, "1.00");
    let good = incoming(BRUNO, "1.00");
    let orders = [unknown, another, closed, blocked, savings, salary, good];
    switch.push_orders(&orders);
    use StatusReason::{AC03, AC06, AC07, AC14, AG03, BE01};
    let expected = [
        Err(AC03),
        Err(BE01),
        Err(AC07),
        Err(AC06),
        Err(AC14),
        Err(AG03),
        Ok(()),
    ];
    for (order, expected) in orders.iter().zip(expected) {
        assert_eq!(switch.answer(order.end_to_end_id).await, expected);
    }
    assert_eq!(switch.posts().len(), 1, "one message answers for all of them");
    assert_eq!(bank.held(BRUNO).await, ["100.00", "0.00", "1.00"]);
    let refused = bank.payment(orders[3].end_to_end_id).await;
    assert_eq!(
        (&refused["state"], &refused["reason"]),
        (&json!("refused"), &json!("AC06"))
    );
    bank.balanced().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_said_twice_happens_once() {
    let (switch, setup, bank) = world().await;
    let order = incoming(BRUNO, "7.00");
    let id = order.end_to_end_id;
    // The same PI-ResourceId again, then the same order under another one.
    let bytes = switch.sealed(|message_id, at| pacs_008(message_id, at, std::slice::from_ref(&order)));
    let resource = switch.new_resource();
    switch.push_bytes(resource, bytes.clone());
    switch.answer(id).await.unwrap();
    switch.push_bytes(resource, bytes.clone());
    switch.push_bytes(switch.new_resource(), bytes);
    for _ in 0..2 {
        switch.push_status(&[id], TransactionStatus::SettledCreditor, None);
    }
    bank.becomes(id, "settled").await;
    let last = switch.push_status(&[id], TransactionStatus::SettledCreditor, None);
    switch.confirmed(last).await;
    assert_eq!(bank.held(BRUNO).await, ["107.00", "0.00", "0.00"]);
    assert!(
        switch
            .answers(id)
            .iter()
            .all(|answer| answer.status == TransactionStatus::AcceptedSettlementInProcess)
    );
    assert_eq!(setup.count("SELECT COUNT(*) FROM anomaly").await, 0);
    bank.balanced().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_undoes_the_note_wherever_it_overtakes_the_order() {
    let (switch, _setup, bank) = world().await;
    let late = incoming(BRUNO, "5.00");
    switch.push_orders(std::slice::from_ref(&late));
    switch.answer(late.end_to_end_id).await.unwrap();
    switch.push_status(
        &[late.end_to_end_id],
        TransactionStatus::Rejected,
        Some(StatusReason::AB03),
    );
    let payment = bank.becomes(late.end_to_end_id, "refused").await;
    assert_eq!(payment["reason"], "AB03");

    let overtaken = incoming(BRUNO, "6.00");
    let told = switch.push_status(
        &[overtaken.end_to_end_id],
        TransactionStatus::Rejected,
        Some(StatusReason::AB03),
    );
    switch.confirmed(told).await;
    switch.push_orders(std::slice::from_ref(&overtaken));
    bank.becomes(overtaken.end_to_end_id, "refused").await;
    assert!(
        switch.answers(overtaken.end_to_end_id).is_empty(),
        "a dead order gets no answer"
    );
    assert_eq!(bank.held(BRUNO).await, ["100.00", "0.00", "0.00"]);
    assert_eq!(bank.balanced().await["customers"], CUSTOMERS_TOTAL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_trusted_is_kept_answered_and_not_applied() {
    let (switch, setup, bank) = world().await;
    let (forged, good) = (incoming(ANA, "1000.00"), incoming(BRUNO, "2.00"));
    let sealed = switch.sealed(|message_id, at| pacs_008(message_id, at, std::slice::from_ref(&forged)));
    let altered = String::from_utf8(sealed.to_vec())
        .unwrap()
        .replace("1000.00", "9000.00");
    let forged_id = switch.new_resource();
    switch.push_bytes(forged_id, Bytes::from(altered));
    let garbage_id = switch.new_resource();
    switch.push_bytes(garbage_id, Bytes::from_static(b"<not-xml"));
    switch.push_orders(std::slice::from_ref(&good));

    assert_eq!(
        switch.answer(good.end_to_end_id).await,
        Ok(()),
        "the rest of the stream goes on"
    );
    let refused = async || {
        let posts = switch.posts().into_iter();
        let references: Vec<_> = posts
            .filter_map(|post| match post.envelope.document {
                Document::Admi002(refusal) => Some(refusal.reference.to_string()),
                Document::Pacs008(_) | Document::Pacs002(_) => None,
            })
            .collect();
        (references.len() >= 2).then_some(references)
    };
    let references = pix_testkit::eventually("both are answered", Duration::from_secs(20), refused).await;
    assert_eq!(references.len(), 2, "{references:?}");
    assert!(references.contains(&garbage_id.to_string()), "{references:?}");
    assert_eq!(
        setup
            .count("SELECT COUNT(*) FROM inbound WHERE outcome = 'unreadable'")
            .await,
        2
    );
    assert_eq!(setup.count("SELECT COUNT(*) FROM payment").await, 1);
    assert_eq!(bank.held(ANA).await[2], "0.00");
    let log = setup.log();
    assert!(
        log.contains(&forged_id.to_string()) && !log.contains("Carla"),
        "logged by id, without names"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_payment_is_answered_on_the_channel_it_came_by() {
    let (switch, _setup, bank) = world().await;
    let order = incoming(BRUNO, "4.00");
    let sealed = switch.sealed(|message_id, at| {
        let mut document = pacs_008(message_id, at, std::slice::from_ref(&order));
        if let Document::Pacs008(orders) = &mut document {
            orders.group.priority = Priority::Normal;
            orders.group.service_level = ServiceLevel::Scheduled;
        }
        document
    });
    switch.push_bytes_on(SECONDARY, switch.new_resource(), sealed);
    assert_eq!(switch.answer(order.end_to_end_id).await, Ok(()));
    assert_eq!(switch.posts()[0].channel, SECONDARY);
    switch.push_status(&[order.end_to_end_id], TransactionStatus::SettledCreditor, None);
    bank.becomes(order.end_to_end_id, "settled").await;
}
