//! Paying on request.

use pix_domain::{AccountType, EndToEndId, LocalInstrument};
use serde_json::{Value, json};

use crate::support::{A, Heard, PAYER, PAYER_INDIRECT, RECEIVER, Sandbox, parse};

fn request(to: &str) -> Value {
    json!({
        "to": to, "branch": "0001", "number": "100001", "type": "CACC", "tax_id": "52998224725", "amount": "5.00",
    })
}

/// The order that bank A is paid by, which it accepts.
async fn paid(sandbox: &Sandbox, body: &Value) -> (EndToEndId, Box<iso20022::CreditTransfer>) {
    let a = sandbox.bank(A);
    let id = sandbox.pay(body).await;
    let mut reader = a.reader();
    let heard = reader.hear(1).await;
    let [Heard::Order(order)] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert_eq!(order.end_to_end_id, id);
    a.accept(id).await;
    assert_eq!(reader.hear(1).await, [crate::support::status(id, "ACCC")]);
    (id, order.clone())
}

#[tokio::test]
async fn fulano_pays_by_account_and_his_participant_hears_that_it_settled() {
    let sandbox = Sandbox::start().await;
    let (id, order) = paid(&sandbox, &request(A)).await;
    assert_eq!(order.debtor_agent, parse(PAYER));
    assert_eq!(order.debtor.name.as_str(), "Fulano");
    assert_eq!(order.debtor.tax_id.as_str(), "11111111111");
    assert_eq!(order.debtor_account.number.as_str(), "1");
    assert_eq!(order.debtor_account.kind, AccountType::Current);
    assert_eq!(order.local_instrument, LocalInstrument::Manual);
    assert_eq!(order.creditor_account.number.as_str(), "100001");
    let known = sandbox.ended(id).await;
    assert_eq!(
        (known["state"].as_str(), known["direction"].as_str()),
        (Some("settled"), Some("out"))
    );
    assert_eq!(sandbox.balance(A).await.0, "1000005.00");
    assert_eq!(sandbox.balance(PAYER).await.0, "999995.00");
}

#[tokio::test]
async fn with_a_key_he_pays_by_it() {
    let sandbox = Sandbox::start().await;
    let mut body = request(A);
    body["key"] = "ana.souza@aurora.example".into();
    let (_, order) = paid(&sandbox, &body).await;
    assert_eq!(order.local_instrument, LocalInstrument::Dict);
    let key = order
        .creditor_account
        .proxy
        .as_ref()
        .map(|key| key.as_str().to_owned());
    assert_eq!(key.as_deref(), Some("ana.souza@aurora.example"));
}

#[tokio::test]
async fn another_pays_when_it_is_named_also_one_behind_it() {
    let sandbox = Sandbox::start().await;
    for (from, settler) in [(RECEIVER, RECEIVER), (PAYER_INDIRECT, PAYER)] {
        let before = sandbox.balance(settler).await.0;
        assert_eq!(before, "1000000.00");
        let mut body = request(A);
        body["from"] = from.into();
        let (id, order) = paid(&sandbox, &body).await;
        assert_eq!((order.debtor_agent, id.agent()), (parse(from), parse(from)));
        assert_eq!(sandbox.balance(settler).await.0, "999995.00");
    }
}

#[tokio::test]
async fn a_held_payment_is_paid_as_such_and_one_to_the_other_virtual_participant_settles_by_itself() {
    let sandbox = Sandbox::start().await;
    for level in ["PAGPRI", "PAGFRD", "PAGAGD"] {
        let mut body = request(RECEIVER);
        body["service_level"] = level.into();
        let id = sandbox.pay(&body).await;
        let known = sandbox.ended(id).await;
        assert_eq!(known["state"], "settled", "{level}: {known}");
    }
    assert_eq!(sandbox.balance(RECEIVER).await.0, "1000015.00");
}

#[tokio::test]
async fn what_the_spi_refuses_is_told_with_its_code() {
    let sandbox = Sandbox::start().await;
    for (to, amount, code) in [
        (A, "0.00", "AM01"),
        (A, "5000000.00", "AM04"),
        ("55555555", "1.00", "RC10"),
        (PAYER_INDIRECT, "1.00", "AG12"),
    ] {
        let mut body = request(to);
        body["amount"] = amount.into();
        let id = sandbox.pay(&body).await;
        let known = sandbox.ended(id).await;
        assert_eq!(
            (known["state"].as_str(), known["reason"].as_str()),
            (Some("refused"), Some(code)),
            "{known}"
        );
    }
}
