//! Each refusal in its order, repeats, limits.

use pix_domain::{AccountNumber, AccountType, Branch, Text};

use super::*;

const OURS: &str = "12345678";
const OTHERS: &str = "87654321";
const PERSON: &str = "52998224725";
const COMPANY: &str = "11222333000181";

fn ispb(text: &str) -> Ispb {
    Ispb::parse(text.as_bytes()).expect("an ISPB")
}

fn tax_id(text: &str) -> TaxId {
    TaxId::parse(text.as_bytes()).expect("a tax id")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn request_id(n: u128) -> RequestId {
    RequestId::new(n)
}

fn owner(id: &str) -> Owner {
    Owner {
        tax_id: tax_id(id),
        name: Text::parse("Fulano de Tal").expect("a name"),
        trade_name: None,
    }
}

fn account(participant: &str, number: &str) -> Account {
    Account {
        participant: ispb(participant),
        branch: Some(Branch::parse(b"0001").expect("a branch")),
        number: AccountNumber::parse(number.as_bytes()).expect("a number"),
        kind: AccountType::Current,
        opened_at: at(0),
    }
}

fn asks(key: &str, owner_id: &str) -> Create {
    let key = Key::guess(key).expect("a key");
    Create {
        entry: NewEntry {
            kind: key.kind(),
            key: Some(key),
            account: account(OURS, "1"),
            owner: owner(owner_id),
        },
        reason: CreateReason::UserRequested,
        request_id: request_id(1),
    }
}

fn asks_random() -> Create {
    let mut command = asks("a@b.br", PERSON);
    command.entry.kind = KeyType::Evp;
    command.entry.key = None;
    command
}

fn nothing_known() -> CreateFacts {
    CreateFacts {
        used: None,
        existing: None,
        account_keys: 0,
        now: at(100),
        evp: Key::random(7),
    }
}

fn registered(command: &Create) -> Registered {
    match create(command, &nothing_known()).expect("nothing is in its way") {
        Created::New(registered) => registered,
        Created::Repeat => panic!("nothing came before"),
    }
}

fn held(command: &Create) -> Held {
    let Registered {
        entry, request_id, ..
    } = registered(command);
    Held { entry, request_id }
}

#[test]
fn a_new_key_is_registered_with_its_cid() {
    let command = asks("+5561988887777", PERSON);
    let new = registered(&command);
    assert_eq!(Some(&new.entry.key), command.entry.key.as_ref());
    assert_eq!((new.entry.created_at, new.entry.owned_since), (at(100), at(100)));
    assert_eq!(new.cid, new.entry.cid(&command.request_id));
    assert_eq!(
        registered(&asks_random()).entry.key,
        Key::random(7),
        "the key that was drawn"
    );
}

#[test]
fn the_same_request_is_a_repeat_whatever_happened_since() {
    for command in [asks("+5561988887777", PERSON), asks_random()] {
        let first = registered(&command);
        let used = UsedRequest {
            key: first.entry.key.clone(),
            cid: first.cid,
        };
        let mut facts = nothing_known();
        facts.used = Some(used);
        facts.evp = Key::random(8);
        assert_eq!(create(&command, &facts), Ok(Created::Repeat), "removed since");
        facts.existing = Some(Holder::from(&first.entry));
        facts.account_keys = 5;
        assert_eq!(
            create(&command, &facts),
            Ok(Created::Repeat),
            "still there, account full"
        );
    }
}

#[test]
fn the_same_request_id_for_anything_else_is_refused() {
    let command = asks("+5561988887777", PERSON);
    let first = registered(&command);
    let mut facts = nothing_known();
    facts.used = Some(UsedRequest {
        key: first.entry.key.clone(),
        cid: first.cid,
    });
    let mut others = vec![
        asks("+5561988887778", PERSON),
        asks("a@b.br", PERSON),
        asks_random(),
    ];
    for change in [
        |c: &mut Create| c.entry.account = account(OURS, "2"),
        |c: &mut Create| c.entry.owner.name = Text::parse("Outro").expect("a name"),
        |c: &mut Create| c.entry.owner.tax_id = tax_id("11144477735"),
        |c: &mut Create| c.entry.account.kind = AccountType::Savings,
        |c: &mut Create| c.entry.account.branch = None,
    ] {
        let mut other = command.clone();
        change(&mut other);
        others.push(other);
    }
    for other in others {
        assert_eq!(
            create(&other, &facts),
            Err(CreateRefusal::RequestIdAlreadyUsed),
            "{other:?}"
        );
    }
}

#[test]
fn a_cpf_or_cnpj_is_a_key_of_its_owner_only() {
    for (key, owner, own) in [
        (PERSON, PERSON, true),
        (COMPANY, COMPANY, true),
        (PERSON, "11144477735", false),
        (COMPANY, "12ABC34501DE35", false),
        (PERSON, COMPANY, false),
    ] {
        let decided = create(&asks(key, owner), &nothing_known());
        assert_eq!(decided.is_ok(), own, "{key} of {owner}");
        assert!(own || decided == Err(CreateRefusal::KeyOwnerDiffers));
    }
}

#[test]
fn a_key_that_somebody_has_is_refused_by_who_has_it() {
    use CreateRefusal as R;
    let mut full = nothing_known();
    full.account_keys = 5;
    for (participant, owner, refusal) in [
        (OURS, PERSON, R::AlreadyExists),
        (OURS, COMPANY, R::OwnedByDifferentPerson),
        (OTHERS, COMPANY, R::OwnedByDifferentPerson),
        (OTHERS, PERSON, R::InCustodyOfDifferentParticipant),
    ] {
        full.existing = Some(Holder {
            participant: ispb(participant),
            owner: tax_id(owner),
        });
        assert_eq!(
            create(&asks("a@b.br", PERSON), &full),
            Err(refusal),
            "before the limit"
        );
    }
}

#[test]
fn an_account_holds_five_keys_of_a_person_and_twenty_of_a_company() {
    for (owner, limit) in [(PERSON, 5), (COMPANY, 20)] {
        let mut facts = nothing_known();
        facts.account_keys = limit - 1;
        assert!(create(&asks("a@b.br", owner), &facts).is_ok());
        facts.account_keys = limit;
        let refusal = CreateRefusal::LimitExceeded { held: limit, limit };
        assert_eq!(create(&asks("a@b.br", owner), &facts), Err(refusal));
    }
}

fn update_of(held: &Held) -> (Update, UpdateFacts) {
    let command = Update {
        key: held.entry.key.clone(),
        account: Some(account(OURS, "2")),
        owner: None,
        reason: UpdateReason::UserRequested,
    };
    let facts = UpdateFacts {
        held: Some(held.clone()),
        may_act: true,
        account_keys: 0,
    };
    (command, facts)
}

#[test]
fn an_update_changes_account_and_names_and_nothing_else() {
    let held = held(&asks("a@b.br", COMPANY));
    let (mut command, facts) = update_of(&held);
    let mut renamed = owner(COMPANY);
    renamed.name = Text::parse("Novo Nome Ltda").expect("a name");
    renamed.trade_name = Some(Text::parse("Novo").expect("a name"));
    command.owner = Some(renamed.clone());
    let updated = update(&command, &facts).expect("allowed");
    assert!(updated.changed);
    assert_eq!(updated.entry.account, account(OURS, "2"));
    assert_eq!(updated.entry.owner, renamed);
    assert_eq!(updated.entry.owned_since, held.entry.owned_since);
    assert_eq!(updated.cid_before, held.entry.cid(&held.request_id));
    assert_eq!(updated.cid_after, updated.entry.cid(&held.request_id));
    assert_ne!(updated.cid_before, updated.cid_after);
}

#[test]
fn an_update_to_what_is_there_changes_nothing_and_a_cid_covers_no_opening_date() {
    let held = held(&asks("a@b.br", PERSON));
    let (mut command, facts) = update_of(&held);
    command.account = Some(held.entry.account.clone());
    let same = update(&command, &facts).expect("allowed");
    assert!(!same.changed && same.cid_before == same.cid_after);
    command.account = Some(Account {
        opened_at: at(50),
        ..held.entry.account
    });
    let opened = update(&command, &facts).expect("allowed");
    assert!(opened.changed && opened.cid_before == opened.cid_after);
}

#[test]
fn a_branch_written_otherwise_is_the_same_account_and_another_content() {
    let mut held = held(&asks("a@b.br", PERSON));
    let (mut command, mut facts) = update_of(&held);
    facts.account_keys = 5;
    let mut short = held.entry.account.clone();
    short.branch = Some(Branch::parse(b"1").expect("a branch"));
    assert!(is_same_account(&short, &held.entry.account));
    command.account = Some(short);
    let updated = update(&command, &facts).expect("no other account, so no limit");
    assert_ne!(updated.cid_before, updated.cid_after);
    assert!(updated.changed, "what has another CID is stored");
    held.entry = updated.entry;
    facts.held = Some(held);
    assert!(!update(&command, &facts).expect("allowed").changed);
}

#[test]
fn updates_are_refused_in_order() {
    use UpdateRefusal as R;
    let of_key = held(&asks("a@b.br", PERSON));
    let (command, facts) = update_of(&of_key);
    let random = held(&asks_random());
    let (mut of_random, random_facts) = update_of(&random);
    assert_eq!(update(&of_random, &random_facts), Err(R::InvalidReason));
    of_random.reason = UpdateReason::RfbValidation;
    assert!(update(&of_random, &random_facts).is_ok());

    let absent = UpdateFacts {
        held: None,
        may_act: false,
        account_keys: 0,
    };
    assert_eq!(update(&command, &absent), Err(R::NotFound));
    let mut foreign = facts.clone();
    foreign.may_act = false;
    assert_eq!(update(&command, &foreign), Err(R::Forbidden));
    let mut elsewhere = command.clone();
    elsewhere.account = Some(account(OTHERS, "1"));
    elsewhere.owner = Some(owner(COMPANY));
    assert_eq!(update(&elsewhere, &facts), Err(R::ParticipantDiffers));
    elsewhere.account = None;
    assert_eq!(update(&elsewhere, &facts), Err(R::OwnerDiffers));
    let mut full = facts;
    full.account_keys = 5;
    assert_eq!(
        update(&command, &full),
        Err(R::LimitExceeded { held: 5, limit: 5 })
    );
    let stays = Update {
        account: Some(of_key.entry.account),
        ..command
    };
    assert!(
        update(&stays, &full).is_ok(),
        "its own account is not fuller by it"
    );
}

#[test]
fn removals_are_refused_in_order() {
    let mut held = held(&asks("a@b.br", PERSON));
    let mut command = Delete {
        key: held.entry.key.clone(),
        participant: ispb(OURS),
        reason: DeleteReason::UserRequested,
    };
    assert_eq!(delete(&command, None), Err(DeleteRefusal::NotFound));
    let deleted = delete(&command, Some(&held)).expect("allowed");
    assert_eq!(deleted.cid, held.entry.cid(&held.request_id));
    held.entry.claim_opened_at = Some(at(200));
    assert_eq!(delete(&command, Some(&held)), Err(DeleteRefusal::LockedByClaim));
    command.participant = ispb(OTHERS);
    assert_eq!(delete(&command, Some(&held)), Err(DeleteRefusal::Forbidden));
}

#[test]
fn nobody_looks_up_its_own_key() {
    let entry = registered(&asks("a@b.br", PERSON)).entry;
    assert_eq!(may_query(&entry, ispb(OURS)), Err(BookTransfer));
    assert_eq!(may_query(&entry, ispb(OTHERS)), Ok(()));
}

#[test]
fn reasons_belong_to_operations() {
    for (wire, create, update, delete) in [
        ("USER_REQUESTED", true, true, true),
        ("RECONCILIATION", true, true, true),
        ("BRANCH_TRANSFER", false, true, false),
        ("RFB_VALIDATION", false, true, true),
        ("ACCOUNT_CLOSURE", false, false, true),
        ("FRAUD", false, false, true),
        ("PARTICIPANT_EXCLUSION", false, false, false),
        ("user_requested", false, false, false),
        ("", false, false, false),
    ] {
        assert_eq!(CreateReason::parse(wire).is_some(), create, "{wire}");
        assert_eq!(UpdateReason::parse(wire).is_some(), update, "{wire}");
        assert_eq!(DeleteReason::parse(wire).is_some(), delete, "{wire}");
        assert!(DeleteReason::parse(wire).is_none_or(|reason| reason.as_str() == wire));
    }
}
