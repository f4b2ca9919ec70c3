//! No registration is lost, made twice, or left different from what the DICT has, whatever dies when.

use pix_dict_api::ProblemKind;
use pix_testkit::{Fault, FaultProxy, TestPki, eventually};

use crate::bank::{ANA, ANA_CPF, ANA_EMAIL, ANA_PHONE, BRUNO, OURS, PATIENCE, Setup, world_with_dict};
use crate::dict::{Dict, Fate, Question};
use crate::switch::Switch;

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_asked_again_with_the_same_request() {
    let (_switch, dict, _setup, bank) = world_with_dict().await;
    dict.plan(&[
        Fate::TurnedAway(ProblemKind::RateLimited),
        Fate::DoneThenGarbage,
        // Once an attempt is in doubt, a refusal at the door decides nothing.
        Fate::TurnedAway(ProblemKind::Forbidden),
        Fate::DoneThenFault,
        Fate::TurnedAway(ProblemKind::ServiceUnavailable),
    ]);
    let id = bank.register(ANA, "EVP", None).await;
    let key = bank.key_becomes(&id, "active").await;
    let creations = dict.creations();
    assert_eq!(
        creations.len(),
        3,
        "two of six were turned away before they were read, and one at the door"
    );
    assert!(creations.iter().all(|asked| asked.to_string() == id));
    assert_eq!(
        dict.ours(),
        [key["key"].as_str().unwrap()],
        "one key, though drawn by the DICT"
    );
    assert_eq!(key["steps"].as_array().unwrap().len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_anywhere_ends_in_one_registration() {
    let pki = TestPki::shared().await;
    let switch = Switch::start(&pki, OURS).await;
    let dict = Dict::start(&pki).await;
    let proxy = FaultProxy::start(dict.address()).await;
    let mut setup = Setup::new(&pki, switch.addresses()).await;
    setup.dict = proxy.address();
    let bank = setup.start().await;
    for (n, octets) in [0_u64, 200, 1_500, 3_000, 4_500].into_iter().enumerate() {
        for fault in [Fault::CutAnswerAfter(octets), Fault::CutRequestAfter(octets)] {
            let reached = proxy.connections();
            proxy.set(fault);
            let number = if n < 2 { ANA } else { BRUNO };
            let id = bank.register(number, "EVP", None).await;
            let path = format!("/api/keys/{id}");
            let met = async || {
                let done = bank.get(&path).await["state"] == "active";
                (done || proxy.connections() > reached).then_some(())
            };
            eventually("the bank meets the cut, or is done before it", PATIENCE, met).await;
            proxy.set(Fault::None);
            let key = bank.key_becomes(&id, "active").await["key"]
                .as_str()
                .unwrap()
                .to_owned();
            assert_eq!(dict.ours(), [key.as_str()], "one registration");
            bank.give_up(&key).await;
            bank.key_becomes(&id, "removed").await;
        }
    }
    let mut creations = dict.creations();
    creations.dedup();
    assert_eq!(creations.len(), 10, "each asked under one RequestId");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_killed_while_it_registers_asks_again_under_the_same_request() {
    let (_switch, dict, setup, bank) = world_with_dict().await;
    // Killed after the DICT has carried it out, before the answer.
    dict.hold(true);
    let id = bank.register(ANA, "PHONE", Some(ANA_PHONE)).await;
    let carried_out = async || (dict.ours().len() == 1).then_some(());
    eventually("the DICT has it", PATIENCE, carried_out).await;
    bank.kill();
    dict.hold(false);
    let bank = setup.start().await;
    bank.key_becomes(&id, "active").await;
    assert!(dict.creations().iter().all(|asked| asked.to_string() == id));
    assert_eq!(dict.ours(), [ANA_PHONE]);

    // Likewise while it removes: the key is not there any more, which is what was wanted.
    dict.hold(true);
    bank.give_up(ANA_PHONE).await;
    let gone = async || dict.ours().is_empty().then_some(());
    eventually("the DICT has it no more", PATIENCE, gone).await;
    bank.kill();
    dict.hold(false);
    let bank = setup.start().await;
    bank.key_becomes(&id, "removed").await;
    assert_eq!(dict.removals(), 3, "the last once the first can arrive no more");

    // And when another bank has registered it by then.
    let id = bank.register(ANA, "PHONE", Some(ANA_PHONE)).await;
    bank.key_becomes(&id, "active").await;
    dict.hold(true);
    bank.give_up(ANA_PHONE).await;
    eventually("the DICT has it no more", PATIENCE, gone).await;
    bank.kill();
    dict.plant(ANA_PHONE, "11222333000181", "Outra Pessoa");
    dict.hold(false);
    let bank = setup.start().await;
    bank.key_becomes(&id, "removed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dict_that_is_away_is_waited_for_over_a_restart() {
    let pki = TestPki::shared().await;
    let switch = Switch::start(&pki, OURS).await;
    let mut setup = Setup::new(&pki, switch.addresses()).await;
    let bank = setup.start().await;
    let id = bank.register(ANA, "CPF", Some(ANA_CPF)).await;
    assert_eq!(bank.give_up(ANA_CPF).await.0, 409, "still being registered");
    bank.key_becomes(&id, "requested").await;
    let (status, problem) = bank.look_up(ANA, "+5561888880000").await;
    assert_eq!(status, 503, "{problem}");
    assert_eq!(bank.look_up(ANA, ANA_CPF).await.0, 409, "its own, soon");
    bank.kill();
    let dict = Dict::start(&pki).await;
    setup.dict = dict.address();
    let bank = setup.start().await;
    bank.key_becomes(&id, "active").await;
    assert_eq!(dict.creations().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_finds_keys_that_the_dict_has_no_more() {
    let (_switch, dict, setup, bank) = world_with_dict().await;
    let stays = bank.register(ANA, "EMAIL", Some(ANA_EMAIL)).await;
    let goes = bank.register(ANA, "PHONE", Some(ANA_PHONE)).await;
    bank.key_becomes(&stays, "active").await;
    bank.key_becomes(&goes, "active").await;
    assert!(bank.stop().await.success());
    dict.drop_key(ANA_PHONE);
    dict.plan(&[Fate::TurnedAway(ProblemKind::ServiceUnavailable)]);
    let bank = setup.start().await;
    bank.key_becomes(&goes, "lost").await;
    bank.key_becomes(&stays, "active").await;
    assert!(setup.log().contains("marked as lost"));
    let checks = dict
        .asked()
        .into_iter()
        .filter(|q| matches!(q, Question::Check(_)));
    assert_eq!(checks.count(), 1, "one question for all of them");
    let anew = bank.key_becomes(ANA_PHONE, "active").await;
    assert_ne!(anew["id"], goes, "registered anew by itself");
    let mut both = [ANA_EMAIL, ANA_PHONE];
    both.sort_unstable();
    assert_eq!(dict.ours(), both);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dict_that_lost_nearly_everything_is_not_followed() {
    let (_switch, dict, setup, bank) = world_with_dict().await;
    let keys = [("CPF", ANA_CPF), ("EMAIL", ANA_EMAIL), ("PHONE", ANA_PHONE)];
    for (kind, key) in keys {
        let id = bank.register(ANA, kind, Some(key)).await;
        bank.key_becomes(&id, "active").await;
    }
    assert!(bank.stop().await.success());
    for (_, key) in keys {
        dict.drop_key(key);
    }
    let bank = setup.start().await;
    let told = async || setup.log().contains("none is marked as lost").then_some(());
    eventually("the bank says that it does not believe it", PATIENCE, told).await;
    for (_, key) in keys {
        bank.key_becomes(key, "active").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_only_the_dict_knows_gives_way_to_a_registration() {
    let (_switch, dict, _setup, bank) = world_with_dict().await;
    dict.plant_at(OURS, ANA_PHONE, ANA_CPF, "Ana Souza");
    assert_eq!(bank.look_up(BRUNO, ANA_PHONE).await.0, 409);
    assert_eq!(dict.ours(), [ANA_PHONE], "the copy knows nothing of it: it stays");
    let id = bank.register(ANA, "PHONE", Some(ANA_PHONE)).await;
    bank.key_becomes(&id, "active").await;
    assert_eq!((dict.removals(), dict.creations().len()), (1, 2));
    assert_eq!(bank.look_up(BRUNO, ANA_PHONE).await.0, 200);

    // One that the customer gave up is removed as soon as anybody meets it.
    bank.give_up(ANA_PHONE).await;
    bank.key_becomes(&id, "removed").await;
    dict.plant_at(OURS, ANA_PHONE, ANA_CPF, "Ana Souza");
    assert_eq!(bank.look_up(BRUNO, ANA_PHONE).await.0, 409);
    let gone = async || dict.ours().is_empty().then_some(());
    eventually("it is removed there too", PATIENCE, gone).await;
    bank.key_becomes(&id, "removed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_not_the_end_while_an_earlier_attempt_may_still_arrive() {
    let (_switch, dict, _setup, bank) = world_with_dict().await;
    let keys = [("CPF", ANA_CPF), ("EMAIL", ANA_EMAIL), ("PHONE", ANA_PHONE)];
    for (kind, key) in keys {
        let id = bank.register(ANA, kind, Some(key)).await;
        bank.key_becomes(&id, "active").await;
    }
    dict.plan(&[Fate::Stalls]);
    let id = bank.register(ANA, "EVP", None).await;
    let refused = async || (dict.creations().len() > keys.len()).then_some(());
    eventually("the limit refuses it", PATIENCE, refused).await;
    bank.key_becomes(&id, "requested").await;
    dict.drop_key(ANA_CPF);
    dict.land();
    bank.key_becomes(&id, "active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_arrives_late_removes_no_later_registration() {
    let (_switch, dict, _setup, bank) = world_with_dict().await;
    let id = bank.register(ANA, "PHONE", Some(ANA_PHONE)).await;
    bank.key_becomes(&id, "active").await;
    dict.plan(&[Fate::Stalls]);
    bank.give_up(ANA_PHONE).await;
    let gone = async || dict.ours().is_empty().then_some(());
    eventually("the second attempt removes it", PATIENCE, gone).await;
    assert_eq!(
        bank.wants(ANA, "PHONE", Some(ANA_PHONE)).await.0,
        409,
        "not free yet"
    );
    dict.land();
    bank.key_becomes(&id, "removed").await;
    let next = bank.register(ANA, "PHONE", Some(ANA_PHONE)).await;
    bank.key_becomes(&next, "active").await;
    assert_eq!(dict.ours(), [ANA_PHONE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_removal_is_refused_only_when_the_key_is_known_to_be_ours() {
    let (_switch, dict, _setup, bank) = world_with_dict().await;
    let id = bank.register(ANA, "PHONE", Some(ANA_PHONE)).await;
    bank.key_becomes(&id, "active").await;
    dict.plan(&[Fate::TurnedAway(ProblemKind::Forbidden)]);
    bank.give_up(ANA_PHONE).await;
    let told = bank.key_reason(&id, "Forbidden").await;
    assert_eq!(told["state"], "active");
    dict.plan(&[
        Fate::TurnedAway(ProblemKind::Forbidden),
        Fate::TurnedAway(ProblemKind::RateLimited),
    ]);
    bank.give_up(ANA_PHONE).await;
    bank.key_becomes(&id, "removed").await;
    assert!(dict.ours().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_stand_at_the_door_keep_no_other_waiting() {
    let (_switch, dict, setup, bank) = world_with_dict().await;
    dict.forbid(BRUNO);
    let mut conn = pix_runtime::pg::connect(&setup.database_url).await.unwrap();
    sqlx::query(
        "INSERT INTO key_registration (request_id, account, kind, requested_at, state, sent)
         SELECT gen_random_uuid()::text, a.id, 'EVP', now() - interval '1 hour', 'requested', true
           FROM account a, generate_series(1, 300) WHERE a.number = $1",
    )
    .bind(BRUNO)
    .execute(&mut conn)
    .await
    .unwrap();
    let stuck = async || (dict.creations().len() > 300).then_some(());
    eventually("all of them are asked", PATIENCE, stuck).await;
    let id = bank.register(ANA, "PHONE", Some(ANA_PHONE)).await;
    bank.key_becomes(&id, "active").await;
}
