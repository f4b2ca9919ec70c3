//! Buckets as a participant sees them.

use std::time::Instant;

use futures::{StreamExt as _, stream};
use http::Method;
use pix_dict_api::{PolicyState, ProblemKind, Response};
use pix_domain::{EndToEndId, Ispb};

use crate::support::{A, B, B_SMALL, Bank, REQUESTING, TestDict, XML, now};

async fn policy_of(bank: &Bank, requesting: &Ispb, name: &str) -> PolicyState {
    let path = format!("/api/v2/policies/{name}");
    let answer = bank.get(&path, &[REQUESTING(requesting)]).await;
    match bank.opened(&answer) {
        Response::GetPolicy(response) => response.policy,
        other => panic!("no policy: {other:?}"),
    }
}

#[tokio::test]
async fn policies_show_what_the_document_says() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let Response::ListPolicies(list) = bank.opened(&bank.get_own("/api/v2/policies/").await) else {
        panic!("no policies");
    };
    assert_eq!(list.category, pix_domain::Category::A);
    let of = |name: &str| list.policies.iter().find(|state| state.name == name).cloned();
    let write = of("ENTRIES_WRITE").expect("there");
    assert_eq!(
        (write.capacity, write.refill_tokens, write.refill_period_s),
        (36_000, 1200, 60)
    );
    let files = of("CIDS_FILES_WRITE").expect("there");
    assert_eq!(
        (files.capacity, files.refill_tokens, files.refill_period_s),
        (200, 40, 86_400)
    );
    let lookups = of("ENTRIES_READ_PARTICIPANT_ANTISCAN").expect("there");
    assert_eq!((lookups.capacity, lookups.refill_tokens), (50_000, 25_000));
    assert_eq!(
        of("ENTRIES_READ_USER_ANTISCAN"),
        None,
        "users are not counted here"
    );
    for unknown in ["NOTHING", "ENTRIES_READ_USER_ANTISCAN"] {
        let answer = bank.get_own(&format!("/api/v2/policies/{unknown}")).await;
        bank.assert_refused(&answer, 404, ProblemKind::NotFound);
    }
}

#[tokio::test]
async fn rate_limited_after_twenty_lists_of_policies_and_seventy_checks_of_keys() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let mut lists = 0;
    loop {
        let answer = bank.get_own("/api/v2/policies/").await;
        if answer.status != 200 {
            bank.assert_refused(&answer, 429, ProblemKind::RateLimited);
            break;
        }
        lists += 1;
    }
    assert!((20..=22).contains(&lists), "{lists}");
    // Another participant's bucket is its own.
    let other = dict.bank(B);
    assert_eq!(other.get_own("/api/v2/policies/").await.status, 200);
    let body = b"<CheckKeysRequest><Keys><Key>a@b.c</Key></Keys></CheckKeysRequest>";
    let mut checks = 0;
    loop {
        let answer = bank.check_keys(body.to_vec()).await;
        if answer.status != 200 {
            bank.assert_refused(&answer, 429, ProblemKind::RateLimited);
            break;
        }
        checks += 1;
    }
    assert!((70..=80).contains(&checks), "{checks}");
}

/// Asserts that a bucket holds so many tokens less than `before`, but for what has come in since.
async fn assert_cost(bank: &Bank, requesting: &Ispb, before: &PolicyState, cost: i64, asked: Instant) {
    let now = policy_of(bank, requesting, &before.name).await;
    let taken = before.available - now.available;
    let seconds = i64::try_from(asked.elapsed().as_secs()).expect("short") + 1;
    let filled = now.refill_tokens * seconds / now.refill_period_s + 1;
    assert!(
        (cost - filled..=cost).contains(&taken),
        "{taken} of {cost} in {seconds} s: {before:?}, {now:?}"
    );
}

#[tokio::test]
async fn a_write_and_an_update_cost_one_token_also_when_they_are_refused() {
    const WRONG: usize = 200;
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let own = bank.ispb;
    let [writes, updates] = ["ENTRIES_WRITE", "ENTRIES_UPDATE"].map(|name| policy_of(&bank, &own, name));
    let (writes, updates) = (writes.await, updates.await);
    let asked = Instant::now();
    let wrong = (0..WRONG).map(|_| bank.post("/api/v2/entries/", b"x".to_vec()));
    for answer in stream::iter(wrong).buffer_unordered(16).collect::<Vec<_>>().await {
        bank.assert_refused(&answer, 400, ProblemKind::BadRequest);
    }
    let create = bank.new_phone();
    for _ in 0..2 {
        assert_eq!(bank.create(&create).await.status, 201);
    }
    let key = create.entry.key.clone().expect("a phone");
    assert_eq!(bank.delete(&key).await.status, 200);
    assert_cost(&bank, &own, &writes, 203, asked).await;
    assert_cost(&bank, &own, &updates, 0, asked).await;
    let (writes, asked) = (policy_of(&bank, &own, "ENTRIES_WRITE").await, Instant::now());
    let path = format!("/api/v2/entries/{key}");
    let wrong = (0..WRONG / 4).map(|_| bank.send(Method::PUT, &bank.api, &path, &[XML], b"x".to_vec()));
    for answer in stream::iter(wrong).buffer_unordered(16).collect::<Vec<_>>().await {
        bank.assert_refused(&answer, 400, ProblemKind::BadRequest);
    }
    assert_cost(&bank, &own, &updates, 50, asked).await;
    assert_cost(&bank, &own, &writes, 0, asked).await;
}

#[tokio::test]
async fn a_lookup_costs_one_token_and_three_when_nobody_has_the_key() {
    let dict = TestDict::start().await;
    let key = dict.bank(A).register(dict.bank(A).new_phone().entry).await.key;
    let bank = dict.bank(B);
    let small = Ispb::parse(B_SMALL.as_bytes()).expect("an ISPB");
    for (payer, key, status, cost) in [
        ("70000000001", key.as_str(), 200, 4),
        ("70000000002", "nobody@mail.com", 404, 12),
    ] {
        let before = policy_of(&bank, &small, "ENTRIES_READ_PARTICIPANT_ANTISCAN").await;
        assert_eq!(
            before.refill_tokens, 25,
            "a minute: what comes in meanwhile hides nothing"
        );
        let asked = Instant::now();
        for _ in 0..4 {
            let id = EndToEndId::new(small, now(), bank.ids.u128()).to_string();
            let headers = [
                REQUESTING(&small),
                ("PI-PayerId", payer),
                ("PI-EndToEndId", id.as_str()),
            ];
            let answer = bank.get(&format!("/api/v2/entries/{key}"), &headers).await;
            assert_eq!(answer.status, status);
        }
        assert_cost(&bank, &small, &before, cost, asked).await;
    }
}
