//! The participants of the settlement service: a copy that the SPI starts and judges by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use pix_domain::EndToEndId;
use pix_icom::{Pulled, Said};
use pix_pki::{Identity, Use};
use pix_runtime::http::{Client, ClientLimits};
use pix_runtime::tls;
use pix_testkit::{OwnParts, Settlement, eventually, parts};
use pix_xmldsig::Signer;
use tokio::sync::RwLock;

use crate::inside::{fund_for_sure, order, settlement as inside, uuid};
use crate::support::{A, B, B_INDIRECT, Bank, C, Heard, SOON, TestSpi, get, status};

/// An SPI that follows a registry with A and B, and A's Conta PI with a million.
async fn following(mut spi: TestSpi, nats_url: &str) -> (TestSpi, Settlement) {
    let settlement = Settlement::start(nats_url, spi.grpc).await;
    spi.follow(&settlement.url());
    spi.run().await;
    for ispb in [A, B] {
        settlement.join(ispb, None).await;
        let_in(&spi, ispb).await;
    }
    fund_for_sure(&inside(&spi), &order(&uuid(1), A, 100_000_000)).await;
    (spi, settlement)
}

/// What the door says to a stream that there never was: 410 to those whom it knows, at once.
async fn door(bank: &Bank) -> Option<StatusCode> {
    let token = format!("/api/v1/out/{}/stream/0000000000000000", bank.icom.ispb);
    bank.icom.pull(Some(&token)).await.status()
}

async fn let_in(spi: &TestSpi, ispb: &str) {
    let bank = spi.bank(ispb);
    eventually(&format!("{ispb} is let in"), SOON, || async {
        (door(&bank).await == Some(StatusCode::GONE)).then_some(())
    })
    .await;
}

/// One payment from A to B as far as B's being told.
async fn pays(spi: &TestSpi) {
    let (a, b) = (spi.bank(A), spi.bank(B));
    let payment = a.order(B, "1.00");
    let id = payment.end_to_end_id;
    a.post(a.pacs_008(vec![payment])).await;
    let mut reader = b.reader();
    let told = async {
        let is_told = |(_, what): &_| *what == Heard::Order(id);
        while !reader.hear().await.iter().any(is_told) {}
    };
    tokio::time::timeout(SOON, told).await.expect("B is told");
}

#[tokio::test]
async fn kill_settlement_nats_and_redis_and_the_spi_still_knows_everybody() {
    let mut parts = OwnParts::start().await;
    let spi = TestSpi::prepare_on_own(&parts).await;
    let (mut spi, mut settlement) = following(spi, &parts.nats.url()).await;
    pays(&spi).await;

    settlement.kill().await;
    parts.nats_process.kill().await;
    parts.redis_process.kill().await;
    spi.kill().await;
    spi.run().await;
    pays(&spi).await;
    let known = spi.ask("/status").await;
    assert_eq!(
        (
            &known["participants"],
            &known["participants_version"],
            &known["participants_followed"]
        ),
        (&2.into(), &"2".into(), &false.into())
    );
    assert_eq!(door(&spi.bank(C)).await, Some(StatusCode::FORBIDDEN));

    // It is back, and the next one joins.
    settlement.run().await;
    settlement.join(C, None).await;
    let_in(&spi, C).await;
    // Its Conta PI was ordered before it was let in; the book opens it with its next COMMIT.
    let available = eventually("its Conta PI is open", SOON, || async {
        let accounts = spi.ask("/accounts").await;
        let mut accounts = accounts["accounts"].as_array()?.iter();
        Some(accounts.find(|one| one["ispb"] == C)?["available"].clone())
    });
    assert_eq!(available.await, "0.00");
    assert_eq!(spi.ask("/status").await["participants_source"], "settlement");
    parts.stop().await;
}

/// Until so many are open.
async fn connections(spi: &TestSpi, count: usize) {
    eventually(&format!("{count} connections are open"), SOON, || async {
        let (_, metrics) = get(spi.ops, "/metrics").await;
        let line = format!("http_connections_open {count}\n");
        metrics.contains(&line).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_revoked_channel_certificate_is_cut_in_the_midst_of_a_long_poll() {
    let (spi, settlement) = shared().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    // A rests on an open connection; B waits in one long poll after the other.
    a.post(a.pacs_008(vec![a.order(C, "1.00")])).await;
    connections(&spi, 1).await;
    let polls = tokio::spawn({
        let icom = b.icom.clone();
        async move {
            let mut token: Option<String> = None;
            loop {
                match icom.pull(token.as_deref()).await {
                    Pulled::Messages { next, .. } => token = Some(next),
                    ended => return ended,
                }
            }
        }
    });
    connections(&spi, 2).await;
    settlement.revoke(B, "CHANNEL").await;
    let revoked = Instant::now();
    let ended = tokio::time::timeout(SOON, polls).await.expect("it is cut");
    let (ended, took) = (ended.expect("no panic"), revoked.elapsed());
    assert!(
        matches!(ended, Pulled::Later(..)),
        "it was cut: {ended:?} after {took:?}"
    );
    let (_, metrics) = get(spi.ops, "/metrics").await;
    assert!(
        metrics.contains("http_connections_dismissed_total 1"),
        "{metrics}"
    );
    connections(&spi, 1).await;
    // As for any stranger.
    for revoked in [&b, &spi.bank(B)] {
        assert_eq!(door(revoked).await, Some(StatusCode::FORBIDDEN));
    }
    assert!(spi.log().contains("not registered for any participant"));
    // Another pair lets it in again.
    let identity = spi.pki.another(B, Use::Channel);
    settlement
        .add_certificate(B, "CHANNEL", &identity.certificate_pem)
        .await;
    let mut renewed = spi.bank(B);
    renewed.icom.client = client(&spi, &identity);
    eventually("the new certificate is known", SOON, || async {
        (door(&renewed).await == Some(StatusCode::GONE)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_is_suspended_is_refused_at_the_door_and_as_receiver_and_goes_on_when_resumed() {
    let (spi, settlement) = shared().await;
    settlement.join(B_INDIRECT, Some(B)).await;
    settlement.suspend(B).await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    eventually("B is refused", SOON, || async {
        (door(&b).await == Some(StatusCode::FORBIDDEN)).then_some(())
    })
    .await;
    assert!(spi.log().contains("the participant is not active"));
    let payments = [B, B_INDIRECT].map(|to| a.order(to, "1.00"));
    let expected = payments
        .each_ref()
        .map(|payment| status(payment.end_to_end_id, "RJCT DS27"));
    for payment in payments {
        a.post(a.pacs_008(vec![payment])).await;
    }
    let mut heard = a.reader().hear_until(2).await;
    heard.sort();
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(heard, expected);
    settlement.resume(B).await;
    let_in(&spi, B).await;
    pays(&spi).await;
}

/// What A connects and signs with at the moment.
struct Pair {
    icom: pix_icom::Icom,
    signer: Signer,
    /// Held as long as something that it signed has no answer.
    under_way: Arc<()>,
}

#[tokio::test]
async fn a_rotation_under_load_drops_nothing_and_doubles_nothing() {
    const SENDERS: usize = 4;
    const EACH_PHASE: usize = 60;
    let (spi, settlement) = shared().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let pair = Arc::new(RwLock::new(Pair {
        icom: a.icom.clone(),
        signer: a.signer.clone(),
        under_way: Arc::new(()),
    }));
    let (taken, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (mut bank, pair) = (spi.bank(A), Arc::clone(&pair));
            let (taken, stop) = (Arc::clone(&taken), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut sent: Vec<EndToEndId> = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let (signer, under_way) = {
                        let pair = pair.read().await;
                        (pair.signer.clone(), Arc::clone(&pair.under_way))
                    };
                    bank.signer = signer;
                    let payment = bank.order(B, "0.01");
                    sent.push(payment.end_to_end_id);
                    post(&pair, bank.pacs_008(vec![payment])).await;
                    drop(under_way);
                    taken.fetch_add(1, Ordering::Relaxed);
                }
                sent
            })
        })
        .collect();
    let more = async |what: &str| {
        let from = taken.load(Ordering::Relaxed);
        eventually(what, SOON, || async {
            (taken.load(Ordering::Relaxed) >= from + EACH_PHASE).then_some(())
        })
        .await;
    };
    more("the old pair serves").await;

    let (channel, signature) = (
        spi.pki.another(A, Use::Channel),
        spi.pki.another(A, Use::Signature),
    );
    settlement
        .add_certificate(A, "CHANNEL", &channel.certificate_pem)
        .await;
    let last = settlement
        .add_certificate(A, "SIGNATURE", &signature.certificate_pem)
        .await;
    let version = last.version.to_string();
    eventually("the new pair is known", SOON, || async {
        (spi.ask("/status").await["participants_version"] == *version).then_some(())
    })
    .await;
    more("both pairs are good").await;

    // The channel's is revoked with requests of it under way: those are sent again through the new one.
    let old = {
        let mut pair = pair.write().await;
        pair.icom.client = client(&spi, &channel);
        let pem = |text: &str| text.as_bytes().to_vec();
        let signer = Signer::from_pem(&pem(&signature.certificate_pem), &pem(&signature.key_pem));
        pair.signer = signer.expect("just issued");
        Arc::downgrade(&std::mem::replace(&mut pair.under_way, Arc::new(())))
    };
    settlement.revoke(A, "CHANNEL").await;
    more("the new pair serves").await;
    // The signature's once everything that it signed was answered.
    eventually("nothing of the old signature is under way", SOON, || async {
        (old.strong_count() == 0).then_some(())
    })
    .await;
    settlement.revoke(A, "SIGNATURE").await;
    more("the old pair is gone").await;
    stop.store(true, Ordering::Relaxed);
    let mut sent = Vec::new();
    for sender in senders {
        sent.extend(sender.await.expect("no panic"));
    }

    assert_eq!(door(&a).await, Some(StatusCode::FORBIDDEN));
    let count = i64::try_from(sent.len()).expect("not so many");
    assert_eq!(
        spi.count("SELECT count(*) FROM message_in").await,
        count,
        "each once"
    );
    assert_eq!(
        spi.count("SELECT count(*) FROM payment").await,
        count,
        "none was refused"
    );
    let mut told: Vec<_> = b.reader().hear_until(sent.len()).await;
    told.sort();
    let mut expected: Vec<_> = sent.into_iter().map(Heard::Order).collect();
    expected.sort();
    assert_eq!(told, expected);
}

/// Posts as a correct client does: the same bytes until they are answered, through the channel that is there.
async fn post(pair: &RwLock<Pair>, message: Bytes) {
    eventually("the message is taken", SOON, || async {
        let icom = pair.read().await.icom.clone();
        match icom.post(message.clone()).await {
            Said::Taken(_) => Some(()),
            Said::Refused(status) => panic!("a request was dropped: {status}"),
            Said::NotNow(..) | Said::Unknown(..) | Said::Away(_) => None,
        }
    })
    .await;
}

async fn shared() -> (TestSpi, Settlement) {
    following(TestSpi::stopped().await, &parts().await.nats.url()).await
}

fn client(spi: &TestSpi, identity: &Identity) -> Client {
    let ca = std::fs::read(spi.pki.participant(A).join("ca.crt")).expect("readable");
    let tls = tls::client(
        identity.certificate_pem.as_bytes(),
        identity.key_pem.as_bytes(),
        &ca,
    );
    Client::new(&tls.expect("just issued"), ClientLimits::default())
}

/// The status that a stream was refused with.
trait Refused {
    fn status(&self) -> Option<StatusCode>;
}

impl Refused for Pulled {
    fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Gone(status) => Some(*status),
            Self::Messages { .. } | Self::Later(..) => None,
        }
    }
}
