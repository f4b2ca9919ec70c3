//! The participants of the settlement service: a copy that the DICT starts and judges by.

use std::time::Duration;

use pix_dict_api::ProblemKind;
use pix_pki::Use;
use pix_runtime::http::{Client, ClientLimits};
use pix_runtime::tls;
use pix_testkit::{OwnParts, Settlement, eventually, free_port, parts};
use pix_xmldsig::Signer;

use crate::support::{A, B, B_INDIRECT, Bank, INACTIVE, SOON, TestDict, get_plain};

/// How long the connections of a revoked certificate may live.
const CUT_WITHIN: Duration = Duration::from_secs(5);

/// A DICT that follows a registry with A, B and one behind B.
async fn following(nats_url: &str, start: impl AsyncFnOnce(&str) -> TestDict) -> (TestDict, Settlement) {
    let settlement = Settlement::start(nats_url, free_port().expect("a free port")).await;
    for (ispb, settler) in [(A, None), (B, None), (B_INDIRECT, Some(B))] {
        settlement.join(ispb, settler).await;
    }
    // Ready is who knows them all.
    let dict = start(&settlement.url()).await;
    (dict, settlement)
}

async fn shared() -> (TestDict, Settlement) {
    let start = async |url: &str| TestDict::start_with(&copying(url)).await;
    following(&parts().await.nats.url(), start).await
}

/// Settings: this registry instead of the file.
fn copying(url: &str) -> [(&str, &str); 2] {
    [("participants.file", ""), ("settlement.url", url)]
}

/// What the DICT says to a new key.
async fn says(bank: &Bank) -> (u16, Option<ProblemKind>) {
    let answer = bank.create(&bank.new_phone()).await;
    // At the door nothing is signed.
    let unsigned = pix_dict_api::parse_problem(&answer.body).ok();
    let kind = || unsigned.map_or_else(|| bank.problem(&answer).kind, |problem| problem.kind);
    let problem = (answer.status != 201).then(kind);
    (answer.status, problem)
}

#[tokio::test]
async fn kill_settlement_nats_and_redis_and_the_dict_still_knows_everybody() {
    let mut parts = OwnParts::start().await;
    let start = async |url: &str| TestDict::start_on_own_with(&parts, &copying(url)).await;
    let (mut dict, mut settlement) = following(&parts.nats.url(), start).await;
    settlement.kill().await;
    parts.nats_process.kill().await;
    parts.redis_process.kill().await;
    dict.kill().await;
    dict.run().await;
    assert_eq!(says(&dict.bank(A)).await, (201, None));
    assert_eq!(
        says(&dict.bank(INACTIVE)).await,
        (403, Some(ProblemKind::Forbidden))
    );
    let known = dict.ask("/status").await;
    assert_eq!(
        (
            &known["participants"],
            &known["participants_version"],
            &known["participants_followed"]
        ),
        (&3.into(), &"3".into(), &false.into())
    );

    settlement.run().await;
    settlement.join(INACTIVE, None).await;
    eventually("the newcomer is let in", SOON, || async {
        (says(&dict.bank(INACTIVE)).await.0 == 201).then_some(())
    })
    .await;
    parts.stop().await;
}

#[tokio::test]
async fn a_revoked_pair_is_cut_and_refused_and_another_is_as_good() {
    let (dict, settlement) = shared().await;
    let (a, mut b) = (dict.bank(A), dict.bank(B));
    for bank in [&a, &b] {
        assert_eq!(says(bank).await, (201, None));
    }
    // The new pair beside the old one; either channel carries what either key signed.
    let (channel, signature) = (
        dict.pki.another(B, Use::Channel),
        dict.pki.another(B, Use::Signature),
    );
    settlement
        .add_certificate(B, "CHANNEL", &channel.certificate_pem)
        .await;
    settlement
        .add_certificate(B, "SIGNATURE", &signature.certificate_pem)
        .await;
    let ca = std::fs::read(dict.pki.participant(B).join("ca.crt")).expect("readable");
    let tls = tls::client(
        channel.certificate_pem.as_bytes(),
        channel.key_pem.as_bytes(),
        &ca,
    );
    let mut renewed = dict.bank(B);
    renewed.client = Client::new(&tls.expect("just issued"), ClientLimits::default());
    eventually("the new channel is known", SOON, || async {
        (says(&renewed).await.0 == 201).then_some(())
    })
    .await;
    let new = Signer::from_pem(signature.certificate_pem.as_bytes(), signature.key_pem.as_bytes());
    let old = std::mem::replace(&mut renewed.signer, new.expect("just issued"));
    b.signer = renewed.signer.clone();
    eventually("the new signature is known", SOON, || async {
        (says(&renewed).await.0 == 201).then_some(())
    })
    .await;
    assert_eq!(says(&b).await, (201, None));

    settlement.revoke(B, "CHANNEL").await;
    eventually("the connection that rested is cut", CUT_WITHIN, || async {
        let metrics = get_plain(dict.ops, "/metrics").await;
        metrics
            .contains("http_connections_dismissed_total 1")
            .then_some(())
    })
    .await;
    assert_eq!(says(&b).await, (403, Some(ProblemKind::Forbidden)));
    settlement.revoke(B, "SIGNATURE").await;
    renewed.signer = old;
    eventually("the old signature counts no more", SOON, || async {
        let refused = (400, Some(ProblemKind::RequestSignatureInvalid));
        (says(&renewed).await == refused).then_some(())
    })
    .await;
    renewed.signer = b.signer.clone();
    for bank in [&a, &renewed] {
        assert_eq!(says(bank).await, (201, None));
    }
}

#[tokio::test]
async fn who_is_suspended_is_refused_and_so_is_who_it_settles() {
    let (dict, settlement) = shared().await;
    settlement.suspend(B_INDIRECT).await;
    let b = dict.bank(B);
    eventually("the indirect one is refused", SOON, || async {
        let mut entry = b.entry("PHONE", Some(&b.phone()));
        entry.account.participant = B_INDIRECT.to_owned();
        let answer = b.create(&b.create_of(entry)).await;
        let refused = answer.status != 201 && b.problem(&answer).kind == ProblemKind::ParticipantInvalid;
        refused.then_some(())
    })
    .await;
    assert_eq!(says(&b).await, (201, None));
    settlement.suspend(B).await;
    eventually("the direct one is refused at the door", SOON, || async {
        (says(&b).await == (403, Some(ProblemKind::Forbidden))).then_some(())
    })
    .await;
    assert!(dict.log().contains("the participant is not active"));
    settlement.resume(B).await;
    eventually("it goes on", SOON, || async {
        (says(&b).await == (201, None)).then_some(())
    })
    .await;
}
