//! An indirect participant stands behind the bank, which settles for it.

use pix_domain::{AccountNumber, EndToEndId, Ispb, StatusReason, TaxId, TransactionStatus};
use pix_testkit::TestPki;
use serde_json::{Value, json};

use crate::bank::{ANA, ANA_CPF, Bank, CUSTOMERS_TOTAL, OURS, Setup, incoming, order};
use crate::switch::Switch;

const BEHIND: &str = "1111000V";

/// A switch, and a bank that settles for another.
async fn world() -> (Switch, Setup, Bank) {
    let pki = TestPki::shared().await;
    let switch = Switch::start(&pki, OURS).await;
    let mut setup = Setup::new(&pki, switch.addresses()).await;
    setup.settles_for = Some(BEHIND);
    let bank = setup.start().await;
    (switch, setup, bank)
}

/// An order to some customer of the indirect participant; the bank knows none of them.
fn to_its_customer(amount: &str) -> iso20022::CreditTransfer {
    let mut order = incoming("1", amount);
    order.creditor_agent = Ispb::parse(BEHIND.as_bytes()).unwrap();
    order.creditor_account.number = AccountNumber::parse(b"77").unwrap();
    order.creditor = TaxId::parse(b"11111111111").unwrap();
    order
}

/// Its customer pays somebody at the other bank.
fn from_its_customer(amount: &str) -> Value {
    let mut order = order(amount);
    order["from"] = json!({
        "ispb": BEHIND, "branch": "1", "number": "77", "type": "CACC", "tax_id": "11111111111", "name": "Fulano",
    });
    order
}

/// Available, blocked and provisional of its account.
async fn held(bank: &Bank) -> [String; 3] {
    let all = bank.get("/api/indirect").await;
    assert_eq!(all[0]["ispb"], BEHIND, "{all}");
    ["available", "blocked", "provisional"].map(|pocket| all[0][pocket].as_str().unwrap().to_owned())
}

async fn paid(switch: &Switch, bank: &Bank, amount: &str) -> EndToEndId {
    let order = to_its_customer(amount);
    let id = order.end_to_end_id;
    switch.push_orders(std::slice::from_ref(&order));
    assert_eq!(switch.answer(id).await, Ok(()));
    switch.push_status(&[id], TransactionStatus::SettledCreditor, None);
    bank.becomes(id, "settled").await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_customers_are_paid_is_noted_on_acsp_and_given_on_accc() {
    let (switch, _setup, bank) = world().await;
    let order = to_its_customer("30.00");
    let id = order.end_to_end_id;
    switch.push_orders(std::slice::from_ref(&order));
    assert_eq!(switch.answer(id).await, Ok(()));
    assert_eq!(held(&bank).await, ["0.00", "0.00", "30.00"]);
    switch.push_status(&[id], TransactionStatus::SettledCreditor, None);
    let payment = bank.becomes(id, "settled").await;
    let customer = &payment["on_behalf_of"];
    assert_eq!(
        (&customer["ispb"], &customer["number"]),
        (&json!(BEHIND), &json!("77")),
        "{payment}"
    );
    assert_eq!(held(&bank).await, ["30.00", "0.00", "0.00"]);
    let totals = bank.balanced().await;
    assert_eq!(
        (&totals["own"]["settlement"], &totals["own"]["in_transit"]),
        (&json!("-30.00"), &json!("0.00"))
    );
    let accounts = bank.get("/api/accounts").await;
    assert_eq!(accounts.as_array().unwrap().len(), 6, "it is no customer");

    // Another that stands behind nobody here.
    let mut stranger = to_its_customer("1.00");
    stranger.creditor_agent = Ispb::parse(b"1111001V").unwrap();
    switch.push_orders(std::slice::from_ref(&stranger));
    assert_eq!(
        switch.answer(stranger.end_to_end_id).await,
        Err(StatusReason::ED05)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn its_customers_pay_under_its_name_and_from_its_account() {
    let (switch, _setup, bank) = world().await;
    let (status, why) = bank.refused(&from_its_customer("10.00")).await;
    assert_eq!(status, 422, "it has nothing yet: {why}");
    paid(&switch, &bank, "30.00").await;

    let id = bank.pay(&from_its_customer("10.00")).await;
    assert_eq!(held(&bank).await, ["20.00", "10.00", "0.00"]);
    let (post, tx) = switch.order(id).await;
    assert_eq!(post.envelope.header.from.as_str(), OURS);
    assert_eq!(
        (
            tx.debtor_agent.as_str(),
            tx.debtor_account.number.as_str(),
            tx.debtor.name.as_str()
        ),
        (BEHIND, "77", "Fulano")
    );
    assert!(id.as_str().starts_with("E1111000V"), "{id}");
    switch.push_status(&[id], TransactionStatus::SettledDebtor, None);
    let payment = bank.becomes(id, "settled").await;
    assert_eq!(payment["on_behalf_of"]["name"], "Fulano");

    let refused = bank.pay(&from_its_customer("5.00")).await;
    switch.order(refused).await;
    switch.push_status(&[refused], TransactionStatus::Rejected, Some(StatusReason::AC03));
    bank.becomes(refused, "refused").await;
    assert_eq!(held(&bank).await, ["20.00", "0.00", "0.00"]);
    bank.balanced().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_the_bank_and_it_the_switch_hears_nothing() {
    let (switch, _setup, bank) = world().await;
    let mut to_it = order("40.00");
    to_it["to"]["ispb"] = BEHIND.into();
    let id = bank.pay(&to_it).await;
    let payment = bank.payment(id).await;
    assert_eq!(
        (&payment["state"], &payment["book_transfer"]),
        (&json!("settled"), &json!(true))
    );
    assert_eq!(held(&bank).await, ["40.00", "0.00", "0.00"]);
    let mut back = from_its_customer("15.00");
    back["to"] = json!({
        "ispb": OURS, "branch": "0001", "number": ANA, "type": "CACC", "tax_id": ANA_CPF,
    });
    let id = bank.pay(&back).await;
    assert_eq!(bank.payment(id).await["state"], "settled");
    assert_eq!(bank.held(ANA).await[0], "4975.00");
    let history = bank.get(&format!("/api/accounts/0001/{ANA}/entries")).await;
    assert_eq!(history[0]["counterparty"]["ispb"], BEHIND, "{history}");
    assert!(switch.posts().is_empty());
    assert_eq!(bank.balanced().await["customers"], CUSTOMERS_TOTAL);

    let by_key = json!({
        "from": from_its_customer("1.00")["from"], "to": { "key": "52998224725" }, "amount": "1.00",
    });
    let (status, why) = bank.refused(&by_key).await;
    assert!(status == 400 && why.contains("name the account"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_that_settles_for_it_no_more_keeps_its_money_and_refuses() {
    let (switch, mut setup, bank) = world().await;
    paid(&switch, &bank, "30.00").await;
    bank.stop().await;
    setup.settles_for = None;
    let bank = setup.start().await;
    let order = to_its_customer("1.00");
    switch.push_orders(std::slice::from_ref(&order));
    assert_eq!(switch.answer(order.end_to_end_id).await, Err(StatusReason::ED05));
    let all = bank.get("/api/indirect").await;
    assert_eq!(
        (&all[0]["settled_here"], &all[0]["available"]),
        (&json!(false), &json!("30.00"))
    );
    bank.balanced().await;
}
