//! Who may speak: the certificate, the path, the header and the signature name the same participant.

use http::StatusCode;
use iso20022::{Document, MessageDefinition};
use pix_icom::{Pulled, Said};

use crate::support::{A, B, B_INDIRECT, Heard, TestSpi, get};

#[tokio::test]
async fn another_banks_path_is_refused_before_anything_is_read() {
    let spi = TestSpi::start().await;
    let mut thief = spi.bank(A);
    let message = thief.pacs_008(vec![thief.order(B, "1.00")]);
    thief.icom.ispb = crate::support::parse(B);
    for message in [message, "not even XML".into()] {
        assert!(matches!(
            thief.icom.post(message).await,
            Said::Refused(StatusCode::FORBIDDEN)
        ));
    }
    assert!(matches!(
        thief.icom.pull(None).await,
        Pulled::Gone(StatusCode::FORBIDDEN)
    ));
    assert_eq!(spi.count("SELECT count(*) FROM message_in").await, 0);
    assert!(
        spi.log()
            .contains("the ISPB of the path is not that of the channel certificate")
    );
}

#[tokio::test]
async fn an_indirect_participant_and_an_unregistered_certificate_are_refused() {
    let spi = TestSpi::start().await;
    for ispb in [B_INDIRECT, "99999999"] {
        let bank = spi.bank(ispb);
        let message = bank.pacs_008(vec![bank.order(A, "1.00")]);
        assert!(
            matches!(
                bank.icom.post(message).await,
                Said::Refused(StatusCode::FORBIDDEN)
            ),
            "{ispb}"
        );
    }
    assert_eq!(spi.count("SELECT count(*) FROM message_in").await, 0);
}

#[tokio::test]
async fn a_signature_or_header_of_somebody_else_comes_back_as_admi_002() {
    let spi = TestSpi::start().await;
    let (mut a, b) = (spi.bank(A), spi.bank(B));
    let order = a.order(B, "1.00");

    // Signed by B, named A.
    let foreign_signature = {
        let own = std::mem::replace(&mut a.signer, b.signer.clone());
        let message = a.pacs_008(vec![order.clone()]);
        a.signer = own;
        message
    };
    // B's whole message through A's channel.
    let foreign_header = b.pacs_008(vec![b.order(A, "1.00")]);
    for message in [foreign_signature, foreign_header] {
        a.post(message).await;
    }
    let heard = a.reader().hear_until(2).await;
    assert!(
        heard
            .iter()
            .all(|what| matches!(what, Heard::Refusal(reference, _) if reference.starts_with('M')))
    );
    assert_eq!(spi.count("SELECT count(*) FROM payment").await, 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_with_its_resource_id() {
    let spi = TestSpi::start().await;
    let a = spi.bank(A);
    let good = a.pacs_008(vec![a.order(B, "1.00")]);
    let unknown_version = String::from_utf8(good.to_vec())
        .expect("UTF-8")
        .replace("pacs.008/1.16", "pacs.008/1.99");
    let cut = good.slice(..good.len() / 2);
    let mut reader = a.reader();
    for message in ["<Envelope".into(), cut, unknown_version.into()] {
        let id = a.post(message).await;
        let heard = reader.hear_until(1).await;
        let Heard::Refusal(reference, reason) = &heard[0] else {
            panic!("{heard:?}")
        };
        assert!(
            *reference == id.to_string() || reference.starts_with('M'),
            "{reference}: {reason}"
        );
    }
    // A message that the participant complains about is taken in and changes nothing.
    let message_id = a.message_id();
    let complaint = a.sealed(
        message_id,
        MessageDefinition::Admi002,
        Document::Admi002(iso20022::Admi002 {
            reference: pix_domain::Text::truncated("M0003816612345678901234567890123"),
            reason: pix_domain::Text::truncated("Assinatura"),
            rejected_at: None,
            location: None,
            description: None,
            additional: None,
        }),
    );
    a.post(complaint).await;
    assert_eq!(
        spi.count("SELECT count(*) FROM message_in WHERE kind = 'admi.002'")
            .await,
        1
    );
}

#[tokio::test]
async fn a_participant_added_to_the_file_joins_without_a_restart() {
    let spi = TestSpi::start().await;
    let file = spi.seed.path().join("participants.toml");
    let mut all = crate::support::seats();
    all.push(pix_testkit::Seat {
        ispb: "44444444",
        settler: None,
        opening_balance: "50.00",
    });
    let newcomer = spi.pki.seed(&all);
    std::fs::copy(newcomer.path().join("participants.toml"), &file).expect("written");
    let bank = spi.bank("44444444");
    pix_testkit::eventually("the newcomer is let in", crate::support::SOON, || async {
        let order = bank.pacs_008(vec![bank.order(A, "50.00")]);
        match bank.icom.post(order).await {
            Said::Taken(_) => Some(()),
            _ => None,
        }
    })
    .await;
    assert_eq!(
        spi.balance("44444444").await,
        ("0.00".to_owned(), "50.00".to_owned())
    );
}

#[tokio::test]
async fn a_postgres_that_could_lose_a_commit_is_refused() {
    let database = pix_testkit::empty_database("spi").await;
    let shared = pix_testkit::parts().await;
    let option = "options=-c%20synchronous_commit%3Doff";
    let writer = database.url_as("spi_app");
    let separator = if writer.contains('?') { '&' } else { '?' };
    let mut spi = TestSpi::prepare(crate::support::Urls {
        writer: format!("{writer}{separator}{option}"),
        owner: database.url(),
        nats: shared.nats.url(),
        redis: shared.redis.url(),
    })
    .await;
    assert!(!spi.run_to_end().await.success());
    assert!(spi.log().contains("synchronous_commit is off"), "{}", spi.log());
}

#[tokio::test]
async fn operators_see_health_metrics_and_plain_errors() {
    let mut spi = TestSpi::start().await;
    assert_eq!(get(spi.ops, "/healthz").await.0, 200);
    assert_eq!(get(spi.ops, "/readyz").await.0, 200);
    let a = spi.bank(A);
    a.post(a.pacs_008(vec![a.order(B, "1.00")])).await;
    let (_, metrics) = get(spi.ops, "/metrics").await;
    assert!(
        metrics.contains("spi_payments_total{state=\"blocked\",reason=\"none\"} 1"),
        "{metrics}"
    );
    assert_eq!(get(spi.ops, "/payments/nonsense").await.0, 400);
    let unknown = spi.ask("/payments/E11111111202601010000abcdefghijk").await;
    assert_eq!(unknown["state"], "unknown");
    assert!(spi.stop().await.success(), "SIGTERM is a good end: {}", spi.log());
}
