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
    assert_eq!(dict.removals(), 2);

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
    let again = bank.register(ANA, "PHONE", Some(ANA_PHONE)).await;
    bank.key_becomes(&again, "active").await;
}
