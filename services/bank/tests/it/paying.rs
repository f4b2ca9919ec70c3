//! A customer pays someone at another bank.

use iso20022::Document;
use pix_domain::{StatusReason, TransactionStatus};
use serde_json::json;

use crate::bank::{ANA, BRUNO, CUSTOMERS_TOTAL, OURS, order, world};
use crate::switch::resource_of;

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_blocked_sent_and_settled() {
    let (switch, setup, bank) = world().await;
    let id = bank.pay(&order("10.50")).await;
    assert_eq!(bank.held(ANA).await, ["4989.50", "10.50", "0.00"]);

    let (post, tx) = switch.order(id).await;
    let Document::Pacs008(orders) = &post.envelope.document else {
        panic!("{post:?}")
    };
    assert_eq!(
        (
            orders.group.priority.as_str(),
            orders.group.service_level.as_str()
        ),
        ("HIGH", "PAGPRI")
    );
    assert_eq!(
        (tx.amount.to_string().as_str(), tx.local_instrument.as_str()),
        ("10.50", "MANU")
    );
    assert_eq!(tx.debtor_agent.as_str(), OURS);
    iso20022::rules::check_group(orders).unwrap();
    iso20022::rules::check_transaction(&orders.group, &tx).unwrap();

    switch.push_status(&[id], TransactionStatus::SettledDebtor, None);
    let payment = bank.becomes(id, "settled").await;
    let stages: Vec<&str> = payment["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages, ["accepted", "blocked", "sent", "settled"]);
    let sent = &payment["timeline"][2];
    assert_eq!(
        sent["detail"],
        resource_of(post.envelope.header.message_id).to_string()
    );
    let message = &payment["messages"][0];
    assert_eq!(
        (&message["kind"], &message["state"], &message["attempts"]),
        (&json!("pacs.008"), &json!("taken"), &json!(1))
    );
    assert_eq!(message["message_id"], post.envelope.header.message_id.to_string());
    assert_eq!(bank.held(ANA).await, ["4989.50", "0.00", "0.00"]);
    let totals = bank.balanced().await;
    assert_eq!(
        (&totals["customers"], &totals["own"]["settlement"]),
        (&json!("5139.50"), &json!("10.50"))
    );
    assert!(
        switch.foreign_headers().is_empty(),
        "{:?}",
        switch.foreign_headers()
    );
    assert!(!setup.log().contains("52998224725"), "a CPF is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_payment_gives_the_money_back_once_and_says_why() {
    let (switch, _setup, bank) = world().await;
    let id = bank.pay(&order("10.00")).await;
    switch.order(id).await;
    for _ in 0..2 {
        switch.push_status(&[id], TransactionStatus::Rejected, Some(StatusReason::AC03));
    }
    let payment = bank.becomes(id, "refused").await;
    assert_eq!(
        (&payment["reason"], &payment["reason_text_pt"]),
        (
            &json!("AC03"),
            &json!("agência ou conta do recebedor inexistente")
        )
    );
    let last = switch.push_status(&[id], TransactionStatus::SettledDebtor, None);
    switch.confirmed(last).await;
    assert_eq!(
        bank.held(ANA).await,
        ["5000.00", "0.00", "0.00"],
        "an end is final"
    );
    let totals = bank.balanced().await;
    assert_eq!(
        (&totals["customers"], &totals["anomalies"]),
        (&json!(CUSTOMERS_TOTAL), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admi_002_releases_every_payment_of_its_message() {
    let (switch, _setup, bank) = world().await;
    let by_message = bank.pay(&order("1.00")).await;
    let (post, _) = switch.order(by_message).await;
    switch.push_refusal(post.envelope.header.message_id.as_str());
    let payment = bank.becomes(by_message, "refused").await;
    assert_eq!(payment["reason"], "ADMI002");

    // The SPI may name the PI-ResourceId, and its admi.002 may overtake the 201 that tells it.
    switch.hold(true);
    let by_resource = bank.pay(&order("2.00")).await;
    let (post, _) = switch.order(by_resource).await;
    let told = switch.push_refusal(&resource_of(post.envelope.header.message_id).to_string());
    switch.confirmed(told).await;
    assert_eq!(bank.payment(by_resource).await["state"], "pending");
    switch.hold(false);
    bank.becomes(by_resource, "refused").await;
    assert_eq!(bank.held(ANA).await, ["5000.00", "0.00", "0.00"]);
    bank.balanced().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_wait_together_go_in_messages_of_ten_and_settle_once_each() {
    let (switch, setup, bank) = world().await;
    let orders = order("1.00");
    let ids = futures::future::join_all((0..200).map(|_| bank.pay(&orders))).await;
    for id in &ids {
        switch.order(*id).await;
    }
    for group in ids.chunks(10) {
        switch.push_status(group, TransactionStatus::SettledDebtor, None);
    }
    for id in &ids {
        bank.becomes(*id, "settled").await;
    }
    assert_eq!(bank.held(ANA).await, ["4800.00", "0.00", "0.00"]);
    bank.balanced().await;
    let posts = switch.posts();
    let sizes = posts.iter().map(|post| match &post.envelope.document {
        Document::Pacs008(orders) => orders.transactions.len(),
        Document::Pacs002(_) | Document::Admi002(_) => panic!("{post:?}"),
    });
    assert!(sizes.clone().all(|size| (1..=10).contains(&size)));
    assert_eq!(sizes.sum::<usize>(), 200);
    assert_eq!(
        setup
            .count("SELECT COUNT(DISTINCT message_id) FROM outbound")
            .await,
        i64::try_from(posts.len()).unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_inside_the_bank_never_reaches_the_switch() {
    let (switch, _setup, bank) = world().await;
    let mut inside = order("25.00");
    inside["to"] =
        json!({ "ispb": OURS, "branch": "1", "number": BRUNO, "type": "CACC", "tax_id": "11144477735" });
    let id = bank.pay(&inside).await;
    let payment = bank.payment(id).await;
    assert_eq!(
        (&payment["state"], &payment["book_transfer"]),
        (&json!("settled"), &json!(true))
    );
    assert_eq!(bank.held(ANA).await[0], "4975.00");
    assert_eq!(bank.held(BRUNO).await[0], "125.00");
    let entries = bank.get(&format!("/api/accounts/0001/{BRUNO}/entries")).await;
    assert_eq!(
        (&entries[0]["direction"], &entries[0]["counterparty"]["number"]),
        (&json!("in"), &json!(ANA))
    );
    inside["to"]["tax_id"] = json!("52998224725");
    let (status, why) = bank.refused(&inside).await;
    assert_eq!(status, 422);
    assert!(why.contains("BE01"), "{why}");
    assert!(switch.posts().is_empty());
    bank.balanced().await;
}
