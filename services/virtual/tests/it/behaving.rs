//! What a payer meets: a receiver that accepts, and one that does what its rules say.

use std::time::Duration;

use pix_icom::Channel;
use serde_json::Value;

use crate::support::{A, PAYER, RECEIVER, RECEIVER_INDIRECT, SOON, Sandbox, now, status};

/// The details of a payment's timeline at the virtual participants, stage by stage.
fn timeline(payment: &Value) -> Vec<(String, String)> {
    let text = |event: &Value, field: &str| event[field].as_str().expect("text").to_owned();
    let events = payment["timeline"].as_array().expect("a timeline");
    events
        .iter()
        .map(|event| (text(event, "stage"), text(event, "detail")))
        .collect()
}

fn count(payment: &Value, stage: &str) -> usize {
    timeline(payment)
        .iter()
        .filter(|(found, _)| found == stage)
        .count()
}

#[tokio::test]
async fn without_rules_both_accept_everything_also_for_those_behind_them_and_on_both_channels() {
    let sandbox = Sandbox::start().await;
    for channel in Channel::ALL {
        let a = sandbox.bank_on(A, channel);
        let orders: Vec<_> = [RECEIVER, PAYER, RECEIVER_INDIRECT]
            .into_iter()
            .map(|to| a.order(to, "1.00"))
            .collect();
        let mut ids: Vec<_> = orders.iter().map(|order| order.end_to_end_id).collect();
        a.send_all(orders).await;
        let mut heard = a.reader().hear(3).await;
        heard.sort_by_key(|heard| format!("{heard:?}"));
        ids.sort();
        assert_eq!(
            heard,
            ids.iter().map(|id| status(*id, "ACSC")).collect::<Vec<_>>()
        );
    }
    assert_eq!(sandbox.balance(RECEIVER).await.0, "1000004.00");
    assert_eq!(sandbox.balance(PAYER).await.0, "1000002.00");
}

#[tokio::test]
async fn a_refusal_arrives_with_the_code_of_the_rule_for_its_amount_and_participant_only() {
    let sandbox = Sandbox::start().await;
    let a = sandbox.bank(A);
    let mut reader = a.reader();
    sandbox
        .script(r#"[{"participant": "99999A04", "amount": "13.37", "do": "reject:AC03"}]"#)
        .await;
    let refused = a.pay(RECEIVER, "13.37").await;
    assert_eq!(reader.hear(1).await, [status(refused, "RJCT AC03")]);
    for (to, reais) in [
        (RECEIVER, "13.38"),
        (PAYER, "13.37"),
        (RECEIVER_INDIRECT, "13.37"),
    ] {
        let id = a.pay(to, reais).await;
        assert_eq!(reader.hear(1).await, [status(id, "ACSC")], "{to} {reais}");
    }
    let known = sandbox.ended(refused).await;
    assert_eq!(
        (known["do"].as_str(), known["reason"].as_str()),
        (Some("reject:AC03"), Some("AC03"))
    );
    assert_eq!(
        sandbox.balance(A).await,
        ("999959.88".to_owned(), "0.00".to_owned())
    );
}

#[tokio::test]
async fn a_rule_for_one_order_is_spent_by_it() {
    let sandbox = Sandbox::start().await;
    let a = sandbox.bank(A);
    let mut reader = a.reader();
    sandbox.script(r#"[{"do": "reject:BE17", "times": 1}]"#).await;
    for end in ["RJCT BE17", "ACSC"] {
        let id = a.pay(RECEIVER, "1.00").await;
        assert_eq!(reader.hear(1).await, [status(id, end)]);
    }
    assert_eq!(
        sandbox.call("GET", "/rules", "").await.1,
        Value::Array(Vec::new())
    );
}

#[tokio::test]
async fn a_delayed_answer_comes_when_it_is_time_and_holds_up_no_other() {
    let sandbox = Sandbox::start().await;
    let a = sandbox.bank(A);
    let mut reader = a.reader();
    sandbox.script(r#"[{"amount": "3.00", "do": "delay:3"}]"#).await;
    let (asked, slow) = (now(), a.pay(RECEIVER, "3.00").await);
    let quick = a.pay(RECEIVER, "1.00").await;
    assert_eq!(reader.hear(1).await, [status(quick, "ACSC")]);
    assert_eq!(reader.hear(1).await, [status(slow, "ACSC")]);
    assert!(now().since(asked) >= Duration::from_secs(3));
}

#[tokio::test]
async fn silence_ends_in_ab03_for_both() {
    let sandbox = Sandbox::start().await;
    let a = sandbox.bank(A);
    sandbox.script(r#"[{"do": "silence"}]"#).await;
    let id = a.pay_late(RECEIVER, "1.00").await;
    assert_eq!(a.reader().hear(1).await, [status(id, "RJCT AB03")]);
    let known = sandbox.ended(id).await;
    assert_eq!(known["reason"], "AB03");
    assert_eq!(count(&known, "answered"), 0);
    assert_eq!(
        sandbox.balance(A).await,
        ("1000000.00".to_owned(), "0.00".to_owned())
    );
}

#[tokio::test]
async fn an_acceptance_that_is_taken_back_counts_all_the_same() {
    let sandbox = Sandbox::start().await;
    let a = sandbox.bank(A);
    sandbox.script(r#"[{"do": "accept-then-reject:AC07"}]"#).await;
    let id = a.pay(RECEIVER, "1.00").await;
    assert_eq!(a.reader().hear(1).await, [status(id, "ACSC")]);
    assert_eq!(sandbox.balance(RECEIVER).await.0, "1000001.00");
    let known = pix_testkit::eventually("both answers have their answer", SOON, || async {
        let known = sandbox.ended(id).await;
        (count(&known, "settled") == 2).then_some(known)
    })
    .await;
    let answers: Vec<_> = timeline(&known)
        .into_iter()
        .filter(|(stage, _)| stage == "answered")
        .map(|(_, detail)| detail)
        .collect();
    assert_eq!(answers, ["pacs.002 ACSP", "pacs.002 RJCT AC07"]);
}

#[tokio::test]
async fn an_answer_given_twice_is_one_payment() {
    let sandbox = Sandbox::start().await;
    let a = sandbox.bank(A);
    let mut reader = a.reader();
    sandbox.script(r#"[{"do": "twice", "times": 1}]"#).await;
    let id = a.pay(RECEIVER, "1.00").await;
    assert_eq!(reader.hear(1).await, [status(id, "ACSC")]);
    pix_testkit::eventually("the repeat is told the same", SOON, || async {
        (count(&sandbox.ended(id).await, "settled") == 2).then_some(())
    })
    .await;
    // The payer hears of the next payment only: not of this one again.
    let next = a.pay(RECEIVER, "1.00").await;
    assert_eq!(reader.hear(1).await, [status(next, "ACSC")]);
    assert_eq!(sandbox.balance(RECEIVER).await.0, "1000002.00");
}

#[tokio::test]
async fn an_answer_with_a_bad_signature_is_refused_with_admi_002_and_the_payment_times_out() {
    let sandbox = Sandbox::start().await;
    let a = sandbox.bank(A);
    sandbox.script(r#"[{"do": "bad-signature"}]"#).await;
    let id = a.pay_late(RECEIVER, "1.00").await;
    assert_eq!(a.reader().hear(1).await, [status(id, "RJCT AB03")]);
    let known = sandbox.ended(id).await;
    let heard = timeline(&known);
    assert!(
        heard
            .iter()
            .any(|(stage, detail)| stage == "heard" && detail.starts_with("admi.002 ")),
        "{heard:?}"
    );
    assert_eq!(
        sandbox.balance(A).await,
        ("1000000.00".to_owned(), "0.00".to_owned())
    );
}

#[tokio::test]
async fn orders_of_one_message_each_get_what_is_theirs() {
    let sandbox = Sandbox::start().await;
    let a = sandbox.bank(A);
    sandbox
        .script(r#"[{"amount": "2.00", "do": "reject:AM02"}, {"amount": "3.00", "do": "delay:1"}]"#)
        .await;
    let orders: Vec<_> = (1..=9)
        .map(|n| a.order(RECEIVER, &format!("{}.00", n % 3 + 1)))
        .collect();
    let mut expected: Vec<_> = orders
        .iter()
        .map(|order| {
            let end = if order.amount.centavos() == 200 {
                "RJCT AM02"
            } else {
                "ACSC"
            };
            status(order.end_to_end_id, end)
        })
        .collect();
    a.send_all(orders).await;
    let mut heard = a.reader().hear(9).await;
    for all in [&mut heard, &mut expected] {
        all.sort_by_key(|heard| format!("{heard:?}"));
    }
    assert_eq!(heard, expected);
}
