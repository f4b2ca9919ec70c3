//! Keys: registered at both banks, paid to, and the same in a bank's copy as in the DICT, whatever was killed.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use pix_testkit::eventually;
use serde_json::{Value, json};

use crate::money::{Money, order_by_key, states, until_all_ended};
use crate::switch::{A, B, Bank, Home, Switch};

/// A customer of each bank, by the seed.
const ANA: &str = "ana.souza@aurora.example";
const ELISA: &str = "elisa.prado@horizonte.example";
/// The company that holds bank B's third account: a CNPJ with letters.
const OFICINA: &str = "12ABC34501DE35";

/// A key with its kind and account.
type Row = (String, String, String);

/// Runs `pix` and reads what it prints for programs.
async fn told(home: &Home, arguments: &[&str]) -> Value {
    let (worked, said) = home.run(arguments).await;
    assert!(worked, "{arguments:?}: {said}");
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("no JSON: {said}"))
}

fn rows(list: &Value) -> BTreeSet<Row> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let rows = list.as_array().expect("a list").iter();
    rows.map(|row| (text(row, "type"), text(row, "key"), text(row, "account")))
        .collect()
}

/// What a bank says it has; nothing while a registration or removal is open.
async fn in_bank(switch: &Switch, bank: Bank) -> Option<BTreeSet<Row>> {
    let list = told(&switch.home, &["key", "list", "--bank", bank.ispb, "--json"]).await;
    let all = list.as_array().expect("a list");
    let open = |row: &&Value| row["state"] == "requested" || row["state"] == "removing";
    let active = all.iter().filter(|row| row["state"] == "active").cloned();
    (!all.iter().any(|row| open(&row))).then(|| rows(&active.collect()))
}

/// What the DICT has of a bank, asked over gRPC.
async fn in_dict(switch: &Switch, bank: Bank) -> BTreeSet<Row> {
    rows(
        &told(
            &switch.home,
            &["key", "list", "--all", "--bank", bank.ispb, "--json"],
        )
        .await,
    )
}

/// Waits until a bank's copy is what the DICT has, and gives it.
async fn until_same(switch: &Switch, bank: Bank) -> BTreeSet<Row> {
    eventually(
        "the bank's copy is the DICT's list",
        Duration::from_secs(60),
        async || {
            let copy = in_bank(switch, bank).await?;
            (copy == in_dict(switch, bank).await).then_some(copy)
        },
    )
    .await
}

fn kinds(rows: &BTreeSet<Row>) -> Vec<&str> {
    rows.iter().map(|(kind, _, _)| kind.as_str()).collect()
}

#[tokio::test]
async fn keys_of_every_type_are_paid_to_and_a_second_start_keeps_them() {
    let switch = Switch::new().await;
    let mut before = Vec::new();
    for bank in [A, B] {
        let keys = until_same(&switch, bank).await;
        assert_eq!(kinds(&keys), ["CNPJ", "CPF", "EMAIL", "EVP", "PHONE"]);
        before.push(keys);
    }
    let random = before[1].iter().find(|(kind, _, _)| kind == "EVP").expect("one");
    let money = Money::count(&switch).await;
    for (key, masked) in [
        (ELISA, "e***@horizonte.example"),
        ("+5581990200001", "+55***01"),
        ("70020050496", "***.200.504-**"),
        (OFICINA, "12.***.***/01DE-**"),
        (&random.1, &format!("{}-***", &random.1[..8])),
    ] {
        let paid = told(
            &switch.home,
            &[
                "pay", "--from", "A", "--to-key", key, "--amount", "1.00", "--json",
            ],
        )
        .await;
        assert_eq!(
            (&paid["state"], &paid["to"]["key"]),
            (&json!("settled"), &json!(masked)),
            "{paid}"
        );
        assert_eq!(paid["key"], masked, "the banks know that it went by key: {paid}");
        let stages: Vec<_> = paid["timeline"].as_array().expect("events").iter().collect();
        assert!(stages.iter().any(|event| event["stage"] == "looked_up"), "{paid}");
        let id = paid["end_to_end_id"].as_str().expect("an id");
        assert_eq!(
            states(&switch, A, B, id).await.map(Option::unwrap),
            ["settled"; 3].map(str::to_owned)
        );
    }
    let after = Money::count(&switch).await;
    after.assert_conserved(&money);
    assert_eq!(after.paid_by(A, &money), 500);

    let home = switch.stop().await;
    let switch = home.up(&["--no-payment"]).await;
    assert!(!switch.printed().contains(": keys "), "{}", switch.printed());
    for (bank, before) in [A, B].into_iter().zip(&before) {
        assert_eq!(&until_same(&switch, bank).await, before);
    }
    switch.stop().await;
}

#[tokio::test]
async fn a_key_of_the_payers_own_bank_is_paid_inside_it() {
    let switch = Switch::new().await;
    let before = Money::count(&switch).await;
    let paid = told(
        &switch.home,
        &[
            "pay",
            "--from",
            "A",
            "--from-account",
            "100002",
            "--to-key",
            ANA,
            "--json",
        ],
    )
    .await;
    assert_eq!(
        (&paid["state"], &paid["to"]["own"]),
        (&json!("settled"), &json!(true)),
        "{paid}"
    );
    let id = paid["end_to_end_id"].as_str().expect("an id");
    let [_, book, _] = states(&switch, A, B, id).await;
    assert_eq!(book, None, "the switch has never heard of it");
    let after = Money::count(&switch).await;
    after.assert_conserved(&before);
    assert_eq!(after.paid_by(A, &before), 0, "the money stays at the bank");
    assert_ne!(after, before);
    switch.stop().await;
}

#[tokio::test]
async fn keys_are_added_found_and_removed_with_a_word_on_what_is_refused() {
    let switch = Switch::new().await;
    let home = &switch.home;
    let bruno = "+5561990100002";
    let added = told(home, &["key", "add", "--bank", "A", "--key", bruno, "--json"]).await;
    assert_eq!(
        (&added["state"], &added["account"]),
        (&json!("active"), &json!("0001/100002")),
        "{added}"
    );
    let found = told(home, &["key", "find", bruno, "--from", "B", "--json"]).await;
    assert_eq!(
        (&found["name"], &found["tax_id"]),
        (&json!("Bruno Lima"), &json!("***.100.201-**")),
        "{found}"
    );
    let (worked, said) = home.run(&["key", "find", bruno]).await;
    assert!(worked && said.contains("11111111 Banco Aurora"), "{said}");

    for (arguments, says) in [
        (
            // Nobody has confirmed that it is his.
            vec![
                "key",
                "add",
                "--bank",
                "A",
                "--account",
                "100002",
                "--key",
                "somebody@aurora.example",
            ],
            "registers no such key",
        ),
        (vec!["key", "find", "nobody@nowhere.example"], "no such key"),
        (
            vec!["key", "find", "nobody@nowhere.example", "--from", "A"],
            "finds nobody",
        ),
        (vec!["pay", "--to-key", "nobody@nowhere.example"], "finds nobody"),
        (vec!["key", "remove", "--bank", "B", bruno], "removes no such key"),
        (
            vec!["key", "add", "--bank", "C", "--type", "EVP"],
            "--bank takes A, B",
        ),
    ] {
        let (worked, said) = home.run(&arguments).await;
        assert!(!worked && said.contains(says), "{arguments:?}: {said}");
    }

    let removed = told(home, &["key", "remove", "--bank", "A", bruno, "--json"]).await;
    assert_eq!(removed["state"], "removed", "{removed}");
    let (worked, said) = home.run(&["key", "find", bruno]).await;
    assert!(!worked && said.contains("no such key"), "{said}");
    assert_eq!(until_same(&switch, A).await.len(), 5);
    switch.stop().await;
}

/// Asks a bank for a random key of its company, again and again until it has heard.
async fn add_random(switch: &Switch, bank: Bank, number: &str, key: &str) {
    let body = json!({"account": {"branch": "0001", "number": number}, "type": "EVP", "key": null});
    eventually(
        "the bank takes the registration",
        Duration::from_secs(30),
        async || {
            let answer = switch
                .http
                .post(switch.bank_port(bank), "/api/keys", &body, Some(key))
                .await
                .ok()
                .filter(|answer| answer.status < 500)?;
            assert!(answer.is_success(), "{}: {}", answer.status, answer.refusal());
            Some(())
        },
    )
    .await;
}

/// A company has 20 keys at most, and one is its CNPJ.
const REGISTRATIONS: u32 = 15;
const PAYMENTS: u32 = 40;

#[tokio::test]
async fn the_dict_is_killed_twice_during_registrations_and_payments_by_key() {
    let switch = Switch::new().await;
    let before = Money::count(&switch).await;
    let register = async |bank: Bank, number: &str| {
        for n in 0..REGISTRATIONS {
            // In the middle of everything, and again before it serves or soon after.
            if bank.ispb == A.ispb && (n == 3 || n == 9) {
                switch.kill("dict").await;
            }
            add_random(&switch, bank, number, &format!("random-{n}")).await;
        }
    };
    let pay = async |lane: u32| {
        let mut ids = Vec::new();
        for n in 0..PAYMENTS / 4 {
            ids.push(order_by_key(&switch, A, ELISA, 1, &format!("by-key-{lane}-{n}")).await);
        }
        ids
    };
    let (_, _, ids) = tokio::join!(
        register(A, "100003"),
        register(B, "200003"),
        join_all((0..4).map(pay)),
    );
    assert_eq!(switch.printed().matches("dict ended with signal: 9").count(), 2);
    let ids: Vec<String> = ids.into_iter().flatten().collect();
    let settled = until_all_ended(&switch, A, B, &ids).await;
    assert_eq!(ids.len(), 40);
    let after = Money::count(&switch).await;
    after.assert_conserved(&before);
    assert_eq!(usize::try_from(after.paid_by(A, &before)), Ok(settled));
    eprintln!("{settled} of {PAYMENTS} payments by key settled");
    for bank in [A, B] {
        let keys = until_same(&switch, bank).await;
        let random = kinds(&keys).iter().filter(|kind| **kind == "EVP").count();
        assert_eq!(
            random, 16,
            "each was registered once, however often it was asked for"
        );
    }
    switch.stop().await;
}

/// Takes from a bank's customers file what earlier versions did not write.
fn forget_contacts(home: &Home, bank: Bank) {
    let path = home.dir().join(format!("customers-{}.toml", bank.ispb));
    let text = std::fs::read_to_string(&path).expect("it is there");
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("phones") && !line.starts_with("emails"));
    let old: String = lines.map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, old).expect("it is ours");
}

#[tokio::test]
async fn customers_files_of_an_earlier_version_serve_with_the_keys_that_they_allow() {
    let home = Home::new().await;
    let out = tempfile::tempdir().expect("a folder can be made");
    let out = out.path().display().to_string();
    // Writes the customers files without starting anything.
    let (worked, said) = home
        .run(&["pki", "participant", "--ispb", "33333333", "--out", &out])
        .await;
    assert!(worked, "{said}");
    for bank in [A, B] {
        forget_contacts(&home, bank);
    }
    let switch = home.up(&[]).await;
    let printed = switch.printed();
    assert!(
        printed.contains("***.200.504-** leads to Elisa Prado") && printed.contains("settled"),
        "the first payment goes by the CPF"
    );
    for bank in [A, B] {
        assert_eq!(kinds(&until_same(&switch, bank).await), ["CNPJ", "CPF", "EVP"]);
    }
    switch.stop().await;
}
