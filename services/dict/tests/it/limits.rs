//! Buckets as a participant sees them.

use pix_dict_api::{PolicyState, ProblemKind, Response};

use crate::support::{A, B, Bank, TestDict};

async fn policy(bank: &Bank, name: &str) -> PolicyState {
    let answer = bank.get_own(&format!("/api/v2/policies/{name}")).await;
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

#[tokio::test]
async fn writes_and_updates_take_from_their_buckets_also_when_they_are_refused() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let create = bank.new_phone();
    for _ in 0..30 {
        bank.create(&create).await;
    }
    let wrong = bank.post("/api/v2/entries/", b"x".to_vec()).await;
    bank.assert_refused(&wrong, 400, ProblemKind::BadRequest);
    let state = policy(&bank, "ENTRIES_WRITE").await;
    // It fills by 20 a second meanwhile.
    assert!(state.available < state.capacity, "{state:?}");
}
