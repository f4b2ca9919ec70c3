//! One test for each error type that these operations reach, named by the type.

use http::Method;
use pix_dict_api::{ProblemKind, UpdateEntry};
use pix_domain::Ispb;

use crate::support::{A, B, B_INDIRECT, INACTIVE, PAYER, REQUESTING, TestDict, UNKNOWN, XML, properties};

/// A CPF whose check digits are right, by a number.
fn cpf(seed: u32) -> String {
    let digits: Vec<u32> = format!("{:09}", 100_000_000 + seed)
        .bytes()
        .map(|b| u32::from(b - b'0'))
        .collect();
    let check = |digits: &[u32]| {
        let weights = (2..=u32::try_from(digits.len()).expect("few") + 1).rev();
        let sum: u32 = digits
            .iter()
            .zip(weights)
            .map(|(digit, weight)| digit * weight)
            .sum();
        match sum % 11 {
            0 | 1 => 0,
            rest => 11 - rest,
        }
    };
    let mut all = digits;
    all.push(check(&all));
    all.push(check(&all));
    all.iter().map(u32::to_string).collect()
}

#[tokio::test]
async fn bad_request_when_a_header_of_a_lookup_is_missing_or_wrong() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let id = "E1234567820260101000012345678901";
    let all = [
        ("PI-RequestingParticipant", A),
        ("PI-PayerId", PAYER),
        ("PI-EndToEndId", id),
    ];
    for (index, (name, _)) in all.iter().enumerate() {
        let mut without = all.to_vec();
        without.remove(index);
        let mut wrong = all.to_vec();
        wrong[index].1 = "x";
        for headers in [without, wrong] {
            let answer = bank.get("/api/v2/entries/+5561999990000", &headers).await;
            let problem = bank.assert_refused(&answer, 400, ProblemKind::BadRequest);
            assert!(problem.detail.contains(name), "{problem:?}");
            assert_eq!(properties(&problem.violations), [*name]);
        }
    }
    let answer = bank.get("/api/v2/entries/x", &all).await;
    bank.assert_refused(&answer, 400, ProblemKind::BadRequest);
    let answer = bank
        .get("/api/v2/entries/+5561999990000?IncludeStatistics=yes", &all)
        .await;
    bank.assert_refused(&answer, 400, ProblemKind::BadRequest);
}

#[tokio::test]
async fn bad_request_when_the_key_of_the_body_is_not_that_of_the_path() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let delete = pix_dict_api::Request::DeleteEntry(bank.delete_of("+5561999990001"));
    let answer = bank
        .post("/api/v2/entries/+5561999990002/delete", bank.seal(delete))
        .await;
    bank.assert_refused(&answer, 400, ProblemKind::BadRequest);
}

#[tokio::test]
async fn not_found_when_nobody_has_the_key() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let phone = bank.phone();
    let answer = bank.look_up(&phone).await;
    let problem = bank.assert_refused(&answer, 404, ProblemKind::NotFound);
    assert_eq!(problem.detail, "Entry associated with given key does not exist");
    let answer = bank.delete(&phone).await;
    bank.assert_refused(&answer, 404, ProblemKind::NotFound);
    let update = UpdateEntry {
        key: phone.clone(),
        account: Some(bank.entry("PHONE", None).account),
        owner: None,
        reason: "USER_REQUESTED".to_owned(),
    };
    bank.assert_refused(&bank.update(&update).await, 404, ProblemKind::NotFound);
    let answer = bank.get_own(&format!("/api/v2/entries/{phone}/statistics")).await;
    bank.assert_refused(&answer, 404, ProblemKind::NotFound);
    // The form is that of a CPF, and nobody's check digits are these.
    let answer = bank.look_up_as("70000000001", "52998224726").await;
    bank.assert_refused(&answer, 404, ProblemKind::NotFound);
}

#[tokio::test]
async fn forbidden_when_a_participant_speaks_for_another() {
    let dict = TestDict::start().await;
    let (a, b) = (dict.bank(A), dict.bank(B));
    let create = a.new_phone();
    let key = create.entry.key.clone().expect("a phone");
    assert_eq!(a.create(&create).await.status, 201);

    // The account of another.
    let mut foreign = b.new_phone();
    foreign.entry.account.participant = A.to_owned();
    b.assert_refused(&b.create(&foreign).await, 403, ProblemKind::Forbidden);
    // An entry that another holds.
    b.assert_refused(&b.delete(&key).await, 403, ProblemKind::Forbidden);
    let mut delete = b.delete_of(&key);
    delete.participant = A.to_owned();
    b.assert_refused(&b.delete_by(&delete).await, 403, ProblemKind::Forbidden);
    let update = UpdateEntry {
        key: key.clone(),
        account: Some(b.entry("PHONE", None).account),
        owner: None,
        reason: "USER_REQUESTED".to_owned(),
    };
    b.assert_refused(&b.update(&update).await, 403, ProblemKind::Forbidden);
    // A lookup in the name of another.
    let a_ispb = Ispb::parse(A.as_bytes()).expect("an ISPB");
    let answer = b.get("/api/v2/policies/", &[REQUESTING(&a_ispb)]).await;
    b.assert_refused(&answer, 403, ProblemKind::Forbidden);
    // Its own indirect participant is fine.
    let mut indirect = b.new_phone();
    indirect.entry.account.participant = B_INDIRECT.to_owned();
    assert_eq!(b.create(&indirect).await.status, 201);
    // Though the participant of the body has to be the entry's.
    let delete = b.delete_of(indirect.entry.key.as_deref().expect("a phone"));
    b.assert_refused(&b.delete_by(&delete).await, 403, ProblemKind::Forbidden);
    assert_eq!(dict.count("SELECT count(*) FROM entry").await, 2);
}

#[tokio::test]
async fn forbidden_when_the_channel_is_nobodys() {
    let dict = TestDict::start().await;
    // In the authority, and in no list of participants.
    let stranger = dict.bank("77777777");
    // Whatever it asks, it is told so first, and nothing is signed for it.
    for path in ["/api/v2/policies/", "/nothing", "/api/v2/claims/"] {
        let answer = stranger.get_own(path).await;
        assert_eq!(answer.status, 403);
        let problem = pix_dict_api::parse_problem(&answer.body).expect("a problem");
        assert_eq!(problem.kind, ProblemKind::Forbidden);
        assert!(!String::from_utf8_lossy(&answer.body).contains("Signature"));
    }
}

#[tokio::test]
async fn participant_invalid_when_it_is_unknown_or_not_active() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    for participant in [UNKNOWN, INACTIVE] {
        let mut create = bank.new_phone();
        create.entry.account.participant = participant.to_owned();
        let answer = bank.create(&create).await;
        bank.assert_refused(&answer, 400, ProblemKind::ParticipantInvalid);
        let mut delete = bank.delete_of("+5561999990000");
        delete.participant = participant.to_owned();
        let answer = bank.delete_by(&delete).await;
        bank.assert_refused(&answer, 400, ProblemKind::ParticipantInvalid);
        let ispb = Ispb::parse(participant.as_bytes()).expect("an ISPB");
        let answer = bank.get("/api/v2/policies/", &[REQUESTING(&ispb)]).await;
        bank.assert_refused(&answer, 400, ProblemKind::ParticipantInvalid);
    }
    assert_eq!(dict.everything().await, 0);
}

#[tokio::test]
async fn request_signature_invalid_when_it_is_missing_empty_untrue_or_anothers() {
    let dict = TestDict::start().await;
    let (a, b) = (dict.bank(A), dict.bank(B));
    let create = a.new_phone();
    let unsigned = pix_dict_api::write_unsigned(&pix_dict_api::Request::CreateEntry(create.clone()));
    let unsigned = String::from_utf8(unsigned).expect("UTF-8");
    let empty = unsigned.replacen(
        "<CreateEntryRequest>",
        "<CreateEntryRequest><Signature></Signature>",
        1,
    );
    let sealed = String::from_utf8(a.sealed_create(&create)).expect("UTF-8");
    let changed = sealed.replace("João Silva", "José Silva");
    assert_ne!(sealed, changed);
    let anothers = String::from_utf8(b.sealed_create(&create)).expect("UTF-8");
    for body in [unsigned, empty, changed, anothers] {
        let answer = a.post("/api/v2/entries/", body.into_bytes()).await;
        a.assert_refused(&answer, 400, ProblemKind::RequestSignatureInvalid);
    }
    assert_eq!(dict.everything().await, 0);
}

#[tokio::test]
async fn request_signature_invalid_in_homologation_only_when_there_is_one() {
    let dict = TestDict::start_with(&[("signature.required", "false")]).await;
    let bank = dict.bank(A);
    let create = pix_dict_api::Request::CreateEntry(bank.new_phone());
    let unsigned = String::from_utf8(pix_dict_api::write_unsigned(&create)).expect("UTF-8");
    let empty = unsigned.replacen(
        "<CreateEntryRequest>",
        "<CreateEntryRequest><Signature></Signature>",
        1,
    );
    let answer = bank.post("/api/v2/entries/", empty.into_bytes()).await;
    bank.assert_refused(&answer, 400, ProblemKind::RequestSignatureInvalid);
    let answer = bank.post("/api/v2/entries/", unsigned.into_bytes()).await;
    assert_eq!(bank.entry_of(&answer).account.participant, bank.ispb);
}

#[tokio::test]
async fn request_id_already_used_when_the_content_is_another() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let create = bank.new_phone();
    assert_eq!(bank.create(&create).await.status, 201);
    let mut other = create.clone();
    other.entry.owner.name = "Maria Silva".to_owned();
    let answer = bank.create(&other).await;
    bank.assert_refused(&answer, 400, ProblemKind::RequestIdAlreadyUsed);
    let mut other = bank.new_phone();
    other.request_id = create.request_id.clone();
    let answer = bank.create(&other).await;
    bank.assert_refused(&answer, 400, ProblemKind::RequestIdAlreadyUsed);
    // Another participant's numbers are its own.
    let b = dict.bank(B);
    let mut same_number = b.new_phone();
    same_number.request_id = create.request_id;
    assert_eq!(b.create(&same_number).await.status, 201);
    assert_eq!(dict.count("SELECT count(*) FROM entry").await, 2);
}

#[tokio::test]
async fn invalid_reason_when_the_operation_has_none_such() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let mut create = bank.new_phone();
    create.reason = "ACCOUNT_CLOSURE".to_owned();
    let answer = bank.create(&create).await;
    bank.assert_refused(&answer, 400, ProblemKind::InvalidReason);
    create.reason = "USER_REQUESTED".to_owned();
    assert_eq!(bank.create(&create).await.status, 201);
    let key = create.entry.key.clone().expect("a phone");
    let mut delete = bank.delete_of(&key);
    delete.reason = "BRANCH_TRANSFER".to_owned();
    let answer = bank.delete_by(&delete).await;
    bank.assert_refused(&answer, 400, ProblemKind::InvalidReason);
    let mut update = UpdateEntry {
        key,
        account: Some(create.entry.account.clone()),
        owner: None,
        reason: "FRAUD".to_owned(),
    };
    let answer = bank.update(&update).await;
    bank.assert_refused(&answer, 400, ProblemKind::InvalidReason);
    // A random key changes only when the Receita has another name.
    let evp = bank.register(bank.entry("EVP", None)).await;
    update.key = evp.key.as_str().to_owned();
    update.reason = "USER_REQUESTED".to_owned();
    let answer = bank.update(&update).await;
    bank.assert_refused(&answer, 400, ProblemKind::InvalidReason);
    update.reason = "RFB_VALIDATION".to_owned();
    assert_eq!(bank.update(&update).await.status, 200);
}

#[tokio::test]
async fn entry_limit_exceeded_after_five_keys_of_a_person_and_twenty_of_a_company() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let person = bank.entry("EVP", None);
    let mut company = bank.entry("EVP", None);
    company.owner.person_type = "LEGAL_PERSON".to_owned();
    company.owner.tax_id = "11222333000181".to_owned();
    for (entry, limit) in [(person, 5), (company, 20)] {
        for _ in 0..limit {
            bank.register(entry.clone()).await;
        }
        let mut same_branch = entry.clone();
        same_branch.account.branch = Some("1".to_owned());
        for entry in [&entry, &same_branch] {
            let answer = bank.create(&bank.create_of(entry.clone())).await;
            let problem = bank.assert_refused(&answer, 400, ProblemKind::EntryLimitExceeded);
            assert!(problem.detail.contains(&limit.to_string()), "{problem:?}");
        }
        // Another account has its own.
        let mut elsewhere = entry.clone();
        elsewhere.account.branch = Some("0002".to_owned());
        let elsewhere = bank.register(elsewhere).await;
        // And cannot be moved over.
        let update = UpdateEntry {
            key: elsewhere.key.as_str().to_owned(),
            account: Some(entry.account.clone()),
            owner: None,
            reason: "RFB_VALIDATION".to_owned(),
        };
        let answer = bank.update(&update).await;
        bank.assert_refused(&answer, 400, ProblemKind::EntryLimitExceeded);
    }
}

#[tokio::test]
async fn entry_already_exists_when_the_same_participant_has_the_key_for_the_same_owner() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let create = bank.new_phone();
    assert_eq!(bank.create(&create).await.status, 201);
    let again = bank.create_of(create.entry);
    let answer = bank.create(&again).await;
    bank.assert_refused(&answer, 400, ProblemKind::EntryAlreadyExists);
}

#[tokio::test]
async fn entry_key_owned_by_different_person_when_it_is_anothers() {
    let dict = TestDict::start().await;
    let (a, b) = (dict.bank(A), dict.bank(B));
    let create = a.new_phone();
    assert_eq!(a.create(&create).await.status, 201);
    for bank in [&a, &b] {
        let mut other = bank.entry("PHONE", create.entry.key.as_deref());
        other.owner.tax_id = cpf(1);
        let answer = bank.create(&bank.create_of(other)).await;
        bank.assert_refused(&answer, 400, ProblemKind::EntryKeyOwnedByDifferentPerson);
    }
}

#[tokio::test]
async fn entry_key_in_custody_of_different_participant_when_the_owner_has_it_elsewhere() {
    let dict = TestDict::start().await;
    let (a, b) = (dict.bank(A), dict.bank(B));
    let create = a.new_phone();
    assert_eq!(a.create(&create).await.status, 201);
    let other = b.create_of(b.entry("PHONE", create.entry.key.as_deref()));
    let answer = b.create(&other).await;
    b.assert_refused(&answer, 400, ProblemKind::EntryKeyInCustodyOfDifferentParticipant);
}

#[tokio::test]
async fn entry_tax_id_number_by_different_owner_when_the_key_or_the_change_is_anothers() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let create = bank.create_of(bank.entry("CPF", Some(&cpf(2))));
    let answer = bank.create(&create).await;
    bank.assert_refused(&answer, 400, ProblemKind::EntryTaxIdNumberByDifferentOwner);
    let own = bank.register(bank.entry("CPF", Some("52998224725"))).await;
    let mut owner = bank.entry("CPF", None).owner;
    owner.tax_id = cpf(3);
    let mut company = owner.clone();
    company.person_type = "LEGAL_PERSON".to_owned();
    company.tax_id = "11222333000181".to_owned();
    for owner in [owner, company] {
        let update = UpdateEntry {
            key: own.key.as_str().to_owned(),
            account: None,
            owner: Some(owner),
            reason: "USER_REQUESTED".to_owned(),
        };
        let answer = bank.update(&update).await;
        // Account and owner may both be required by the structure; then it is told before any rule.
        bank.assert_refused(&answer, 400, ProblemKind::EntryTaxIdNumberByDifferentOwner);
    }
}

#[tokio::test]
async fn entry_cannot_be_queried_for_book_transfer_by_the_participant_that_holds_it() {
    let dict = TestDict::start().await;
    let (a, b) = (dict.bank(A), dict.bank(B));
    let create = a.new_phone();
    let key = create.entry.key.clone().expect("a phone");
    assert_eq!(a.create(&create).await.status, 201);
    let answer = a.look_up(&key).await;
    a.assert_refused(&answer, 400, ProblemKind::EntryCannotBeQueriedForBookTransfer);
    let entry = b.entry_of(&b.look_up(&key).await);
    assert_eq!(entry.key.as_str(), key);
}

#[tokio::test]
async fn entry_locked_by_claim_while_a_claim_is_open() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let entry = bank.register(bank.new_phone().entry).await;
    // Claims are not built: what one leaves in the entry is.
    sqlx::query("UPDATE entry SET claim_opened_at = now()")
        .execute(&mut dict.owner().await)
        .await
        .expect("as owner");
    let answer = bank.delete(entry.key.as_str()).await;
    bank.assert_refused(&answer, 400, ProblemKind::EntryLockedByClaim);
    let shown = dict.bank(B);
    let shown = shown.entry_of(&shown.look_up(entry.key.as_str()).await);
    assert!(shown.claim_opened_at.is_some());
}

#[tokio::test]
async fn rate_limited_when_a_payer_has_looked_for_what_is_not_there() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    for _ in 0..5 {
        let answer = bank.look_up(&bank.phone()).await;
        bank.assert_refused(&answer, 404, ProblemKind::NotFound);
    }
    let answer = bank.look_up(&bank.phone()).await;
    let problem = bank.assert_refused(&answer, 429, ProblemKind::RateLimited);
    assert!(
        problem.detail.contains("ENTRIES_READ_USER_ANTISCAN"),
        "{problem:?}"
    );
    let retry_after: u64 = answer.headers["retry-after"]
        .to_str()
        .expect("text")
        .parse()
        .expect("seconds");
    assert!((1..=60).contains(&retry_after), "{retry_after}");
    // Other payers, and other kinds of keys, have buckets of their own.
    let answer = bank.look_up_as("80000000000", &bank.phone()).await;
    bank.assert_refused(&answer, 404, ProblemKind::NotFound);
    let answer = bank.look_up(pix_domain::Key::random(7).as_str()).await;
    bank.assert_refused(&answer, 404, ProblemKind::NotFound);
}

#[tokio::test]
async fn service_unavailable_with_501_for_what_is_not_built() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    for path in [
        "/api/v2/claims/",
        "/api/v2/cids/events",
        "/api/v2/persons/52998224725/statistics",
        "/api/v2/event-notifications",
    ] {
        let answer = bank.get_own(path).await;
        bank.assert_refused(&answer, 501, ProblemKind::ServiceUnavailable);
    }
    let answer = bank
        .send(
            Method::POST,
            &bank.api,
            "/api/v2/sync-verifications/",
            &[XML],
            Vec::new(),
        )
        .await;
    bank.assert_refused(&answer, 501, ProblemKind::ServiceUnavailable);
}
