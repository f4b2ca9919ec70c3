//! Each thing that an operator may get wrong, and what is said about it.

use pix_pki::{Subject, Use, Validity};
use pix_proto::settlement_v1 as proto;
use pix_proto::settlement_v1::participants_client::ParticipantsClient;
use pix_runtime::{Clock as _, SystemClock};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::support::{A, A_INDIRECT, B, TestSettlement, UNKNOWN, indirect, refused};

type Answer = Result<Response<proto::Participant>, Status>;

/// A settlement service with A and an indirect participant behind it.
async fn start() -> (TestSettlement, ParticipantsClient<Channel>) {
    let settlement = TestSettlement::start().await;
    let mut client = settlement.participants();
    client.add(settlement.direct(A)).await.expect("added");
    client.add(indirect(A_INDIRECT, A)).await.expect("added");
    (settlement, client)
}

/// A certificate whose time is over.
fn expired(settlement: &TestSettlement) -> String {
    let subject = Subject {
        common_name: "expired".to_owned(),
        ispb: None,
    };
    let authority = settlement.pki.pki().authority();
    let issued = authority.issue(&subject, Use::Channel, Validity::past(SystemClock.now()));
    issued.expect("issued").certificate_pem
}

fn certificate(ispb: &str, usage: &str, pem: String) -> proto::AddCertificateRequest {
    proto::AddCertificateRequest {
        ispb: ispb.to_owned(),
        r#use: usage.to_owned(),
        pem,
    }
}

fn revoke(ispb: &str, fingerprint: &str, reason: &str) -> proto::RevokeCertificateRequest {
    proto::RevokeCertificateRequest {
        ispb: ispb.to_owned(),
        fingerprint: fingerprint.to_owned(),
        reason: reason.to_owned(),
    }
}

#[tokio::test]
async fn a_newcomer_that_cannot_be_is_refused_by_the_field() {
    let (settlement, mut client) = start().await;
    let sound = settlement.direct(B);
    let with = |change: &dyn Fn(&mut proto::AddRequest)| {
        let mut asked = sound.clone();
        change(&mut asked);
        asked
    };
    let old = expired(&settlement);
    let foreign = settlement.pem(A, "channel");
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    use Code::{AlreadyExists as Exists, InvalidArgument as Invalid};
    let behind_a = |change: &dyn Fn(&mut proto::AddRequest)| {
        let mut asked = indirect(B, A);
        change(&mut asked);
        asked
    };
    let cases = [
        (with(&|asked| asked.ispb.clear()), Invalid, "ispb: "),
        (
            with(&|asked| asked.ispb = "2222222a".to_owned()),
            Invalid,
            "ispb: ",
        ),
        (
            with(&|asked| asked.ispb = "00038166".to_owned()),
            Invalid,
            "ispb: ",
        ),
        (
            with(&|asked| asked.ispb = A.to_owned()),
            Exists,
            "participant 11111111",
        ),
        (with(&|asked| asked.name = "  ".to_owned()), Invalid, "name: "),
        (with(&|asked| asked.name = "N".repeat(141)), Invalid, "name: "),
        (
            with(&|asked| asked.category = "I".to_owned()),
            Invalid,
            "category: ",
        ),
        (
            with(&|asked| asked.low_liquidity_centavos = Some(-1)),
            Invalid,
            "low_liquidity_centavos: ",
        ),
        (
            with(&|asked| asked.channel_certificates.push(nonsense.clone())),
            Invalid,
            "channel_certificates: ",
        ),
        (
            with(&|asked| asked.channel_certificates.push(old.clone())),
            Invalid,
            "channel_certificates: ",
        ),
        (
            with(&|asked| asked.signature_certificates.push(old.clone())),
            Invalid,
            "signature_certificates: ",
        ),
        (
            with(&|asked| asked.signature_certificates = vec![nonsense.clone(); 33]),
            Invalid,
            "signature_certificates: ",
        ),
        (
            with(&|asked| asked.channel_certificates.push(foreign.clone())),
            Exists,
            "certificate ",
        ),
        (
            with(&|asked| asked.signature_certificates = asked.channel_certificates.clone()),
            Exists,
            "certificate ",
        ),
        (
            behind_a(&|asked| asked.settler = "1".to_owned()),
            Invalid,
            "settler: ",
        ),
        (
            behind_a(&|asked| asked.settler = UNKNOWN.to_owned()),
            Invalid,
            "settler: ",
        ),
        (
            behind_a(&|asked| asked.settler = A_INDIRECT.to_owned()),
            Invalid,
            "settler: ",
        ),
        (
            behind_a(&|asked| asked.channel_certificates = sound.channel_certificates.clone()),
            Invalid,
            "channel_certificates: ",
        ),
        (
            behind_a(&|asked| asked.signature_certificates = sound.signature_certificates.clone()),
            Invalid,
            "signature_certificates: ",
        ),
        (
            behind_a(&|asked| asked.low_liquidity_centavos = Some(1)),
            Invalid,
            "low_liquidity_centavos: ",
        ),
    ];
    for (asked, code, begins) in cases {
        refused(client.add(asked).await, code, begins);
    }
    assert_eq!(settlement.count("SELECT version FROM registry").await, 2);
    client
        .add(sound)
        .await
        .expect("nothing of the refused ones is left");
}

#[tokio::test]
async fn what_is_asked_of_a_participant_has_to_be_possible() {
    let (settlement, mut client) = start().await;
    let old = expired(&settlement);
    let held = client.get(proto::GetRequest { ispb: A.to_owned() }).await;
    let held = held.expect("there").into_inner().certificates;
    let digits = held[0].fingerprint.as_str();
    use Code::{FailedPrecondition as Failed, InvalidArgument as Invalid, NotFound};
    let additions: [(proto::AddCertificateRequest, Code, &str); 7] = [
        (
            certificate("1", "CHANNEL", settlement.pem(B, "channel")),
            Invalid,
            "ispb: ",
        ),
        (
            certificate(UNKNOWN, "CHANNEL", settlement.pem(B, "channel")),
            NotFound,
            "there is no participant",
        ),
        (
            certificate(A, "channel", settlement.pem(B, "channel")),
            Invalid,
            "use: ",
        ),
        (certificate(A, "CHANNEL", String::new()), Invalid, "pem: "),
        (certificate(A, "CHANNEL", old), Invalid, "pem: "),
        (
            certificate(A_INDIRECT, "CHANNEL", settlement.pem(B, "channel")),
            Invalid,
            "pem: ",
        ),
        (
            certificate(A, "SIGNATURE", settlement.pem(A, "channel")),
            Code::AlreadyExists,
            "certificate ",
        ),
    ];
    for (asked, code, begins) in additions {
        refused(client.add_certificate(asked).await, code, begins);
    }
    let revocations = [
        (revoke(A, "", "lost"), Invalid, "fingerprint: "),
        (revoke(A, &digits[..7], "lost"), Invalid, "fingerprint: "),
        (revoke(A, digits, ""), Invalid, "reason: "),
        (revoke(A, digits, &"r".repeat(201)), Invalid, "reason: "),
        (
            revoke(A_INDIRECT, digits, "lost"),
            NotFound,
            "participant 1111000X has no such certificate",
        ),
        (
            revoke(UNKNOWN, digits, "lost"),
            NotFound,
            "there is no participant",
        ),
    ];
    for (asked, code, begins) in revocations {
        refused(client.revoke_certificate(asked).await, code, begins);
    }
    let suspend = |ispb: &str, reason: &str| proto::SuspendRequest {
        ispb: ispb.to_owned(),
        reason: reason.to_owned(),
    };
    refused(client.suspend(suspend(A, " ")).await, Invalid, "reason: ");
    refused(
        client.suspend(suspend(UNKNOWN, "why")).await,
        NotFound,
        "there is no participant",
    );
    let update = |ispb: &str| proto::UpdateRequest {
        ispb: ispb.to_owned(),
        ..proto::UpdateRequest::default()
    };
    let low = proto::UpdateRequest {
        low_liquidity_centavos: Some(0),
        ..update(A_INDIRECT)
    };
    refused(client.update(low).await, Invalid, "low_liquidity_centavos: ");
    let category = proto::UpdateRequest {
        category: Some(String::new()),
        ..update(A)
    };
    refused(client.update(category).await, Invalid, "category: ");
    refused(
        client.update(update(UNKNOWN)).await,
        NotFound,
        "there is no participant",
    );
    client.suspend(suspend(A, "why")).await.expect("suspended");
    let mut behind = indirect("4444000X", A);
    refused(
        client.add(behind.clone()).await,
        Failed,
        "its settler 11111111 is suspended",
    );
    client
        .suspend(suspend(A_INDIRECT, "why"))
        .await
        .expect("suspended");
    let resume = |ispb: &str| proto::ResumeRequest {
        ispb: ispb.to_owned(),
    };
    refused(
        client.resume(resume(A_INDIRECT)).await,
        Failed,
        "its settler 11111111 is suspended",
    );
    assert_eq!(settlement.count("SELECT version FROM registry").await, 4);
    client.resume(resume(A)).await.expect("resumed");
    behind.category = "H".to_owned();
    client.add(behind).await.expect("added");
}

#[tokio::test]
async fn a_certificate_follows_another_and_one_that_was_revoked_never_comes_back() {
    let (settlement, mut client) = start().await;
    let second = settlement.pem(B, "channel");
    let both: Answer = client
        .add_certificate(certificate(A, "CHANNEL", second.clone()))
        .await;
    let both = both.expect("added").into_inner();
    let of_channel = |participant: &proto::Participant| -> Vec<_> {
        let all = participant.certificates.iter();
        all.filter(|one| one.r#use == "CHANNEL").cloned().collect()
    };
    let [first, next] = of_channel(&both).try_into().expect("two");
    assert!(first.not_before_micros < first.not_after_micros);
    let gone = revoke(A, &first.fingerprint[..8].to_uppercase(), "the key was lost");
    let after = client
        .revoke_certificate(gone.clone())
        .await
        .expect("revoked")
        .into_inner();
    let [revoked, good] = of_channel(&after).try_into().expect("two");
    assert_eq!((revoked.fingerprint, good), (first.fingerprint, next.clone()));
    assert!(revoked.revoked_at_micros.is_some());
    assert_eq!(revoked.revoked_reason, "the key was lost");
    let again = client
        .revoke_certificate(gone)
        .await
        .expect("repeated")
        .into_inner();
    assert_eq!(again, after);
    let back = certificate(A, "CHANNEL", settlement.pem(A, "channel"));
    refused(
        client.add_certificate(back).await,
        Code::FailedPrecondition,
        "certificate ",
    );
    let again = client.add_certificate(certificate(A, "CHANNEL", second)).await;
    assert_eq!(again.expect("repeated").into_inner(), after);
    // Also the last one, in an emergency.
    let last = revoke(A, &next.fingerprint, "all of them");
    let last = client
        .revoke_certificate(last)
        .await
        .expect("revoked")
        .into_inner();
    assert!(
        of_channel(&last)
            .iter()
            .all(|one| one.revoked_at_micros.is_some())
    );
    let audit = settlement.ask("/participants/11111111").await;
    assert_eq!(audit["version"], last.version);
    assert_eq!(
        settlement
            .count("SELECT count(*) FROM certificate WHERE ispb = '11111111' AND revoked_at IS NOT NULL")
            .await,
        2
    );
    let audit = settlement.ask("/participants/11111111/changes").await;
    let audit = audit["changes"].as_array().expect("a list");
    let audit: Vec<_> = audit
        .iter()
        .map(|change| {
            let text = |field: &str| change[field].as_str().unwrap_or_default().to_owned();
            (text("kind"), text("ordered_by"), text("reason"))
        })
        .collect();
    let wanted = [
        ("CERTIFICATE_REVOKED", "all of them"),
        ("CERTIFICATE_REVOKED", "the key was lost"),
        ("CERTIFICATE_ADDED", ""),
        ("ADDED", ""),
    ];
    let wanted = wanted.map(|(kind, reason)| (kind.to_owned(), "pix".to_owned(), reason.to_owned()));
    assert_eq!(audit, wanted);
}
