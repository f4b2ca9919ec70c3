//! What a newcomer sees.

use std::time::{Duration, Instant};

use crate::money::{Money, order, states};
use crate::switch::{A, B, Home, Switch};

/// A second start reads what the first one made; issue: ready in less than 10 s.
const SECOND_START_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn up_makes_a_payment_and_a_second_up_keeps_everything() {
    let switch = Home::new().await.up(&[]).await;
    let printed = switch.printed();
    for expected in [
        "Banco Aurora: keys CPF, PHONE, EMAIL, EVP, CNPJ in",
        "Banco Horizonte: keys CPF, PHONE, EMAIL, EVP, CNPJ in",
        "e***@horizonte.example leads to Elisa Prado",
        "settled",
        "Conta PI 11111111",
        "999989.50",
        "1000010.50",
        "4989.50",
        "2510.50",
    ] {
        assert!(printed.contains(expected), "{expected} is not in the timeline");
    }
    let before = Money::count(&switch).await;
    let home = switch.stop().await;

    let asked = Instant::now();
    let switch = home.up(&["--no-payment"]).await;
    let took = asked.elapsed();
    assert_eq!(Money::count(&switch).await, before, "the money is where it was");
    assert!(
        took < SECOND_START_WITHIN,
        "the second start took {} ms",
        took.as_millis()
    );
    switch.stop().await;
}

#[tokio::test]
async fn a_payment_to_a_blocked_account_is_refused_everywhere_and_moves_nothing() {
    let switch = Switch::new().await;
    let before = Money::count(&switch).await;
    let (settled, said) = switch.home.run(&["pay", "--to-account", "200004"]).await;
    assert!(!settled && said.contains("refused"), "{said}");
    Money::count(&switch).await.assert_conserved(&before);
    assert_eq!(Money::count(&switch).await, before);
    switch.stop().await;
}

#[tokio::test]
async fn the_same_order_twice_is_one_payment() {
    let switch = Switch::new().await;
    let before = Money::count(&switch).await;
    let first = order(&switch, A, B, 700, "twice").await;
    let again = order(&switch, A, B, 700, "twice").await;
    assert_eq!(first, again);
    crate::money::until_all_ended(&switch, A, B, std::slice::from_ref(&first)).await;
    assert_eq!(
        states(&switch, A, B, &first).await.map(Option::unwrap),
        ["settled"; 3].map(str::to_owned)
    );
    let after = Money::count(&switch).await;
    after.assert_conserved(&before);
    assert_eq!(after.paid_by(A, &before), 700);
    switch.stop().await;
}
