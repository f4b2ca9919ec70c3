//! The virtual participants beside two banks: they pay a customer, take what is paid to them, and obey rules.

use serde_json::Value;

use crate::money::Money;
use crate::switch::{A, B, Switch};

const PAYER: &str = "99999A03";
const RECEIVER: &str = "99999A04";

/// What a command said for programs.
async fn json(switch: &Switch, arguments: &[&str]) -> (bool, Value) {
    let (worked, said) = switch.home.run(arguments).await;
    let body = serde_json::from_str(&said).unwrap_or_else(|_| panic!("no JSON: {said}"));
    (worked, body)
}

#[tokio::test]
async fn they_pay_a_bank_and_a_bank_pays_them_and_they_obey() {
    let switch = Switch::new().await;
    let before = Money::count(&switch).await;
    let names: Vec<_> = switch
        .processes()
        .await
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert!(names.iter().any(|name| name == "virtual"), "{names:?}");

    let by_account = [
        "virtual",
        "pay",
        "--to",
        "B",
        "--to-account",
        B.number,
        "--amount",
        "5.00",
    ];
    let (worked, said) = switch.home.run(&by_account).await;
    assert!(
        worked && said.contains("settled") && said.contains(PAYER),
        "{said}"
    );
    let by_key = [
        "virtual",
        "pay",
        "--to-key",
        "elisa.prado@horizonte.example",
        "--amount",
        "2.50",
        "--json",
    ];
    let (worked, paid) = json(&switch, &by_key).await;
    assert!(worked, "{paid}");
    let after = Money::count(&switch).await;
    assert_eq!(after.paid_by(B, &before), -750, "its customer has 7.50 more");
    assert_eq!(after.conta_pi(PAYER) - before.conta_pi(PAYER), -750);

    let (worked, paid) = json(&switch, &["pay", "--to", RECEIVER, "--amount", "3.00", "--json"]).await;
    assert!(worked && paid["state"] == "settled", "{paid}");
    let last = Money::count(&switch).await;
    assert_eq!(last.paid_by(A, &after), 300);
    assert_eq!(last.conta_pi(RECEIVER) - after.conta_pi(RECEIVER), 300);

    let rule = [
        "virtual",
        "rule",
        "--participant",
        RECEIVER,
        "--do",
        "reject:AC03",
        "--times",
        "1",
        "--json",
    ];
    let (worked, rules) = json(&switch, &rule).await;
    assert!(worked && rules[0]["do"] == "reject:AC03", "{rules}");
    let (settled, said) = switch.home.run(&["pay", "--to", RECEIVER]).await;
    assert!(!settled && said.contains("refused"), "{said}");
    let (_, said) = switch.home.run(&["virtual", "rules"]).await;
    assert!(
        said.contains("no rules"),
        "the one order has been refused: {said}"
    );
    let (worked, said) = switch.home.run(&["virtual", "rule", "--do", "explode"]).await;
    assert!(!worked && said.contains("a behaviour is"), "{said}");
    let (worked, said) = switch.home.run(&["virtual", "clear"]).await;
    assert!(worked && said.contains("no rules"), "{said}");

    // One that stands behind another participant, virtual or a bank, which accepts for it.
    for (to, settler) in [("9999A04V", RECEIVER), ("2222000V", B.ispb)] {
        let before = Money::count(&switch).await;
        let (_, paid) = json(&switch, &["pay", "--to", to, "--amount", "2.00", "--json"]).await;
        assert_eq!(paid["state"], "settled", "{paid}");
        let after = Money::count(&switch).await;
        assert_eq!(after.conta_pi(settler) - before.conta_pi(settler), 200);
    }
    // And pays by it: the other bank's customer, whom the settler's own book never sees.
    let before = Money::count(&switch).await;
    let by = [
        "virtual", "pay", "--from", "1111000V", "--to", "B", "--amount", "1.00", "--json",
    ];
    let (worked, paid) = json(&switch, &by).await;
    assert!(worked && paid["state"] == "settled", "{paid}");
    let id = paid["end_to_end_id"].as_str().expect("an id");
    assert!(id.starts_with("E1111000V"), "{id}");
    let inside = [
        "virtual", "pay", "--from", "1111000V", "--to", "A", "--amount", "1.00", "--json",
    ];
    let (worked, paid) = json(&switch, &inside).await;
    assert!(worked && paid["state"] == "settled", "inside bank A: {paid}");
    let end = Money::count(&switch).await;
    assert_eq!(end.paid_by(A, &before), 100, "one of the two left it");
    end.assert_conserved(&before);
    assert_eq!(end.held(), 0, "{end:?}");
    switch.stop().await;
}

#[tokio::test]
async fn an_instance_made_before_them_gets_them_at_its_next_start() {
    let home = Switch::new().await.stop().await;
    let file = home.dir().join("participants.toml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    let banks = text.split("\n[[participant]]").take(3).collect::<Vec<_>>();
    std::fs::write(&file, banks.join("\n[[participant]]")).expect("it is ours");
    let switch = home.up(&["--no-payment"]).await;
    let (worked, said) = switch.home.run(&["virtual", "pay", "--to", "A"]).await;
    assert!(worked && said.contains("settled"), "{said}");
    switch.stop().await;
}
