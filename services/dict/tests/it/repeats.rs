//! createEntry again, and many at once.

use std::collections::BTreeSet;

use futures::future::join_all;
use pix_dict_api::{ProblemKind, UpdateEntry};

use crate::support::{A, B, TestDict};

#[tokio::test]
async fn a_repeat_gets_the_first_answer_byte_for_byte() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let create = bank.new_phone();
    let first = bank.create(&create).await;
    assert_eq!(first.status, 201);
    // Also in other words: without the fraction, the account number in small letters would be the same.
    let mut same = create.clone();
    same.entry.account.opened_at = "2010-01-10T00:00:00-03:00".to_owned();
    for again in [&create, &same] {
        let again = bank.create(again).await;
        assert_eq!((again.status, &again.body), (201, &first.body));
    }
    assert_eq!(dict.count("SELECT count(*) FROM entry_history").await, 1);
}

#[tokio::test]
async fn a_repeat_after_a_change_and_after_the_removal_gets_the_first_answer_and_registers_nothing() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let create = bank.new_phone();
    let key = create.entry.key.clone().expect("a phone");
    let first = bank.create(&create).await;
    let mut owner = create.entry.owner.clone();
    owner.name = "Maria Silva".to_owned();
    let update = UpdateEntry {
        key: key.clone(),
        account: Some(create.entry.account.clone()),
        owner: Some(owner),
        reason: "USER_REQUESTED".to_owned(),
    };
    assert_eq!(bank.update(&update).await.status, 200);
    assert_eq!(bank.create(&create).await.body, first.body);
    assert_eq!(bank.delete(&key).await.status, 200);
    let again = bank.create(&create).await;
    assert_eq!((again.status, again.body), (201, first.body));
    let looked_up = dict.bank(B).look_up(&key).await;
    bank.assert_refused(&looked_up, 404, ProblemKind::NotFound);
    // With another number it is another request.
    let another = bank.create_of(create.entry);
    assert_eq!(bank.create(&another).await.status, 201);
}

#[tokio::test]
async fn a_random_key_is_drawn_once_for_a_request_id() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let create = bank.create_of(bank.entry("EVP", None));
    let first = bank.create(&create).await;
    let again = bank.create(&create).await;
    assert_eq!(first.body, again.body);
    let key = bank.entry_of(&first).key;
    assert_eq!(key.kind(), pix_domain::KeyType::Evp);
    assert_eq!(bank.entry_of(&again).key, key);
    assert_eq!(dict.count("SELECT count(*) FROM entry").await, 1);
    let other = bank.register(create.entry).await;
    assert_ne!(other.key, key);
}

#[tokio::test]
async fn one_request_from_many_connections_at_once_registers_once() {
    let dict = TestDict::start().await;
    let banks: Vec<_> = (0..8).map(|_| dict.bank(A)).collect();
    for kind in ["EVP", "PHONE"] {
        let mut create = banks[0].new_phone();
        if kind == "EVP" {
            create = banks[0].create_of(banks[0].entry("EVP", None));
        }
        let answers = join_all(banks.iter().map(|bank| bank.create(&create))).await;
        let bodies: BTreeSet<_> = answers.iter().map(|answer| answer.body.clone()).collect();
        assert!(answers.iter().all(|answer| answer.status == 201));
        assert_eq!(bodies.len(), 1, "every one got the same bytes");
    }
    assert_eq!(dict.count("SELECT count(*) FROM entry").await, 2);
}

#[tokio::test]
async fn fifty_connections_that_want_one_key_end_with_one_owner() {
    let dict = TestDict::start().await;
    let banks: Vec<_> = (0..50)
        .map(|number| dict.bank(if number % 2 == 0 { A } else { B }))
        .collect();
    let phone = banks[0].phone();
    let creates: Vec<_> = banks
        .iter()
        .enumerate()
        .map(|(number, bank)| {
            let mut entry = bank.entry("PHONE", Some(&phone));
            if number % 3 == 0 {
                entry.owner.tax_id = "11144477735".to_owned();
            }
            bank.create_of(entry)
        })
        .collect();
    let asked = banks
        .iter()
        .zip(&creates)
        .map(|(bank, create)| bank.create(create));
    let answers = join_all(asked).await;
    let mut owners = 0;
    for (bank, answer) in banks.iter().zip(&answers) {
        if answer.status == 201 {
            owners += 1;
            continue;
        }
        let problem = bank.problem(answer);
        let expected = [
            ProblemKind::EntryAlreadyExists,
            ProblemKind::EntryKeyOwnedByDifferentPerson,
            ProblemKind::EntryKeyInCustodyOfDifferentParticipant,
        ];
        assert!(expected.contains(&problem.kind), "{problem:?}");
    }
    assert_eq!(owners, 1);
    for table in [
        "SELECT count(*) FROM entry",
        "SELECT count(*) FROM entry_history",
        "SELECT count(*) FROM create_request",
        "SELECT count(*) FROM cid_event",
    ] {
        assert_eq!(dict.count(table).await, 1, "{table}");
    }
}

#[tokio::test]
async fn the_last_place_of_an_account_is_given_once() {
    let dict = TestDict::start().await;
    let banks: Vec<_> = (0..12).map(|_| dict.bank(A)).collect();
    let entry = banks[0].entry("EVP", None);
    let creates: Vec<_> = banks.iter().map(|bank| bank.create_of(entry.clone())).collect();
    let asked = banks
        .iter()
        .zip(&creates)
        .map(|(bank, create)| bank.create(create));
    let answers = join_all(asked).await;
    let taken = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(taken, 5);
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        banks[0].assert_refused(answer, 400, ProblemKind::EntryLimitExceeded);
    }
}

#[tokio::test]
async fn an_update_with_the_same_data_changes_nothing() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let create = bank.new_phone();
    assert_eq!(bank.create(&create).await.status, 201);
    let update = UpdateEntry {
        key: create.entry.key.clone().expect("a phone"),
        account: Some(create.entry.account.clone()),
        owner: Some(create.entry.owner.clone()),
        reason: "RECONCILIATION".to_owned(),
    };
    assert_eq!(bank.update(&update).await.status, 200);
    assert_eq!(dict.count("SELECT count(*) FROM entry_history").await, 1);
    assert_eq!(dict.count("SELECT count(*) FROM cid_event").await, 1);
}
