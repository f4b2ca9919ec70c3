//! Registering and removing keys.

use http::Method;
use serde_json::json;

use crate::bank::{
    ANA, ANA_CPF, ANA_EMAIL, ANA_PHONE, BLOCKED, BRUNO, CLOSED, COMPANY, COMPANY_CNPJ, SALARY,
    world_with_dict,
};
use crate::dict::{Fate, Question};
use pix_dict_api::ProblemKind;

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_all_five_kinds_are_registered_in_eight_steps() {
    let (_switch, dict, setup, bank) = world_with_dict().await;
    let mut ids = Vec::new();
    for (number, kind, key) in [
        (ANA, "CPF", Some(ANA_CPF)),
        (ANA, "PHONE", Some(ANA_PHONE)),
        (ANA, "EMAIL", Some(ANA_EMAIL)),
        (COMPANY, "CNPJ", Some("12abc34501de35")),
        (BRUNO, "EVP", None),
    ] {
        ids.push(bank.register(number, kind, key).await);
    }
    let mut keys = Vec::new();
    for id in &ids {
        let key = bank.key_becomes(id, "active").await;
        let steps = key["steps"].as_array().unwrap();
        let stages: Vec<&str> = steps.iter().map(|step| step["stage"].as_str().unwrap()).collect();
        let all = [
            "requested",
            "format_checked",
            "ownership_checked",
            "sent",
            "uniqueness_checked",
            "stored",
            "event",
            "confirmed",
        ];
        assert_eq!(stages, all);
        keys.push(key["key"].as_str().unwrap().to_owned());
    }
    assert_eq!(keys[3], COMPANY_CNPJ, "in capitals");
    assert_eq!(keys[4].len(), 36, "drawn by the DICT");
    let listed = bank.get("/api/keys").await;
    assert_eq!(listed.as_array().unwrap().len(), 5);
    let of_ana = bank.get(&format!("/api/keys?branch=1&number={ANA}")).await;
    assert_eq!(of_ana.as_array().unwrap().len(), 3);
    keys.sort();
    assert_eq!(dict.ours(), keys);
    let log = setup.log();
    for key in &keys {
        assert!(!log.contains(key.as_str()), "a key is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_the_customers_is_refused_before_the_dict_is_asked() {
    let (_switch, dict, _setup, bank) = world_with_dict().await;
    for (number, kind, key, status) in [
        (ANA, "CPF", Some("11144477735"), 422),
        (BRUNO, "PHONE", Some(ANA_PHONE), 422),
        (BRUNO, "EMAIL", Some(ANA_EMAIL), 422),
        (CLOSED, "EVP", None, 422),
        (BLOCKED, "EVP", None, 422),
        (SALARY, "EVP", None, 422),
        ("999", "EVP", None, 404),
        (ANA, "EVP", Some("123e4567-e89b-42d3-a456-426655440000"), 400),
        (ANA, "CPF", None, 400),
        (ANA, "CPF", Some("52998224724"), 400),
        (ANA, "PHONE", Some("61999990000"), 400),
        (ANA, "FAX", Some("1"), 400),
    ] {
        let (answered, problem) = bank.wants(number, kind, key).await;
        assert_eq!(answered, status, "{kind} {key:?}: {problem}");
        assert_eq!(problem["status"], status, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            key.is_none_or(|key| key.len() < 3 || !detail.contains(key)),
            "{detail}"
        );
    }
    let path = format!("/api/accounts/0001/{BRUNO}/contacts");
    let contact = json!({ "contact": "bruno@banco.example" });
    let (status, body) = bank.call(Method::POST, &path, Some(&contact)).await;
    assert_eq!((status.as_u16(), &body["emails"][0]), (201, &contact["contact"]));
    let (status, _) = bank
        .call(Method::POST, &path, Some(&json!({ "contact": ANA_CPF })))
        .await;
    assert_eq!(status.as_u16(), 400);
    assert!(dict.asked().is_empty());
    let id = bank.register(BRUNO, "EMAIL", Some("bruno@banco.example")).await;
    bank.key_becomes(&id, "active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_dict_refuses_is_told_with_its_type_and_what_to_do() {
    let (_switch, dict, _setup, bank) = world_with_dict().await;
    dict.plant(ANA_PHONE, "11222333000181", "Outra Pessoa");
    dict.plant(ANA_CPF, ANA_CPF, "Ana Souza");
    for (kind, key, why, word) in [
        ("PHONE", ANA_PHONE, "EntryKeyOwnedByDifferentPerson", "posse"),
        (
            "CPF",
            ANA_CPF,
            "EntryKeyInCustodyOfDifferentParticipant",
            "portabilidade",
        ),
    ] {
        let id = bank.register(ANA, kind, Some(key)).await;
        let refused = bank.key_becomes(&id, "refused").await;
        assert_eq!(refused["reason"], why);
        assert!(
            refused["reason_text_pt"].as_str().unwrap().contains(word),
            "{refused}"
        );
        assert_eq!(refused["steps"][4]["stage"], "refused");
    }
    let mut last = String::new();
    for _ in 0..4 {
        last = bank.register(BRUNO, "EVP", None).await;
        bank.key_becomes_settled(&last).await;
    }
    let fourth = bank.key_becomes(&last, "refused").await;
    assert_eq!(fourth["reason"], "EntryLimitExceeded");
    dict.plan(&[Fate::TurnedAway(ProblemKind::Forbidden)]);
    let id = bank.register(ANA, "EMAIL", Some(ANA_EMAIL)).await;
    assert_eq!(bank.key_becomes(&id, "refused").await["reason"], "Forbidden");
    let id = bank.register(ANA, "EMAIL", Some(ANA_EMAIL)).await;
    bank.key_becomes(&id, "active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_wishes_for_one_key_make_one_registration() {
    let (_switch, dict, _setup, bank) = world_with_dict().await;
    dict.hold(true);
    let (first, second) = tokio::join!(
        bank.wants(ANA, "CPF", Some(ANA_CPF)),
        bank.wants(ANA, "CPF", Some(ANA_CPF))
    );
    let mut statuses = [first.0, second.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409], "{first:?} {second:?}");
    dict.hold(false);
    bank.key_becomes(ANA_CPF, "active").await;
    assert_eq!(bank.wants(ANA, "CPF", Some(ANA_CPF)).await.0, 409);
    assert_eq!(dict.creations().len(), 1);

    let wish = json!({ "account": { "branch": "0001", "number": BRUNO }, "type": "EVP", "key": null });
    let (first, again) = tokio::join!(bank.wants_named(&wish, "w1"), bank.wants_named(&wish, "w1"));
    assert_eq!(first.1["id"], again.1["id"]);
    let id = first.1["id"].as_str().unwrap();
    bank.key_becomes(id, "active").await;
    assert_eq!(bank.wants_named(&wish, "w1").await.0, 201);
    let other = json!({ "account": { "branch": "0001", "number": ANA }, "type": "EVP", "key": null });
    assert_eq!(bank.wants_named(&other, "w1").await.0, 409);
    assert_eq!(dict.creations().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_removed_and_may_come_again() {
    let (_switch, dict, _setup, bank) = world_with_dict().await;
    assert_eq!(bank.give_up(ANA_PHONE).await.0, 404);
    let id = bank.register(ANA, "PHONE", Some(ANA_PHONE)).await;
    bank.key_becomes(&id, "active").await;
    let (status, view) = bank.give_up(ANA_PHONE).await;
    assert_eq!((status, &view["id"]), (202, &json!(id)), "{view}");
    bank.key_becomes(&id, "removed").await;
    assert!(dict.ours().is_empty());
    assert_eq!(bank.give_up(ANA_PHONE).await.0, 404);
    let next = bank.register(ANA, "PHONE", Some(ANA_PHONE)).await;
    bank.key_becomes(&next, "active").await;
    assert_ne!(id, next, "another registration");

    dict.plan(&[Fate::TurnedAway(ProblemKind::EntryLockedByClaim)]);
    bank.give_up(ANA_PHONE).await;
    let told = bank.key_reason(&next, "EntryLockedByClaim").await;
    assert_eq!(told["state"], "active", "the DICT keeps it, and so does the bank");
    assert_eq!(dict.ours(), [ANA_PHONE]);
    let removals = dict
        .asked()
        .into_iter()
        .filter(|q| matches!(q, Question::Remove(_)));
    assert_eq!(removals.count(), 1, "the claim came before the question was read");
}
