//! Processes killed with payments in flight. Each payment ends exactly once, the same for all three, and no money is lost.

use crate::money::{Money, order_many, until_all_ended};
use crate::switch::{A, B, Switch};

const IN_FLIGHT: u32 = 200;

/// Orders payments, kills `name` while they are under way, waits for every end, and counts the money.
async fn kill_in_flight(name: &str) {
    let switch = Switch::new().await;
    let before = Money::count(&switch).await;
    // The kill comes while orders are still being taken, so that every stage of a payment is under way.
    let (ids, old) = tokio::join!(order_many(&switch, A, B, IN_FLIGHT), async {
        order_is_taken(&switch).await;
        switch.kill(name).await
    });
    switch.until_restarted(name, old).await;
    let settled = until_all_ended(&switch, A, B, &ids).await;
    let after = Money::count(&switch).await;
    after.assert_conserved(&before);
    assert_eq!(
        usize::try_from(after.paid_by(A, &before)),
        Ok(settled),
        "one centavo for each that settled"
    );
    eprintln!("{settled} of {IN_FLIGHT} settled although {name} was killed");
    switch.stop().await;
}

/// Until the payer bank holds or has paid something.
async fn order_is_taken(switch: &Switch) {
    pix_testkit::eventually(
        "the first order is taken",
        std::time::Duration::from_secs(20),
        async || {
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
        },
    )
    .await;
}

#[tokio::test]
async fn the_switch_is_killed_with_200_payments_in_flight() {
    kill_in_flight("spi").await;
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
