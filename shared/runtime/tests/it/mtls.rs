//! Who is let in, and what happens to the others.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pix_pki::{Authority, Use, Validity};
use pix_runtime::http::{Client, ClientLimits, ServerLimits};
use pix_runtime::ops::{self, Readiness};
use pix_runtime::{Clock as _, StopSwitch, SystemClock, tls};
use pix_xmldsig::VerifyingKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::ops::ask;
use crate::server::{PKI, Server, client_tls, nobody, subject, text};

fn speaking(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let ca = PKI.authority.certificate_pem().as_bytes();
    tls::client_speaking(
        &[version],
        PKI.bank.certificate_pem.as_bytes(),
        PKI.bank.key_pem.as_bytes(),
        ca,
    )
    .unwrap()
}

#[tokio::test]
async fn both_versions_of_tls_are_served_and_the_certificate_says_who_calls() {
    let bank = VerifyingKey::from_certificate_pem(PKI.bank.certificate_pem.as_bytes()).unwrap();
    let expected = bank.issuer_serial().clone();
    let server = Server::start(ServerLimits::default(), move |_, peer| {
        let known =
            peer.certificate.issuer_serial == expected && peer.certificate.not_after > SystemClock.now();
        async move { text(known.to_string()) }
    })
    .await;
    for (version, spoken) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let (head, body) = Client::new(&speaking(version), ClientLimits::default())
            .send(server.get("/"))
            .await
            .unwrap();
        assert_eq!(
            (head.status.as_u16(), &body[..]),
            (200, &b"true"[..]),
            "{spoken:?}"
        );
        let stream = server.shake(speaking(version)).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(spoken));
    }
    assert_eq!(server.handled(), 2);
}

#[tokio::test]
async fn the_cipher_suite_that_the_manual_requires_is_there() {
    let server = Server::start(ServerLimits::default(), |_, _| async { text("") }).await;
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .retain(|suite| u16::from(suite.suite()) == 0xC02F);
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore {
            roots: vec![anchor()],
        })
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(PKI.bank.certificate_pem.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(PKI.bank.key_pem.as_bytes()).unwrap(),
        )
        .unwrap();
    assert!(server.shake(Arc::new(config)).await.is_ok());
}

fn anchor() -> rustls_pki_types::TrustAnchor<'static> {
    let mut anchors = rustls::RootCertStore::empty();
    anchors
        .add(CertificateDer::from_pem_slice(PKI.authority.certificate_pem().as_bytes()).unwrap())
        .unwrap();
    anchors.roots.remove(0)
}

#[tokio::test]
async fn the_wrong_ones_are_refused_logged_and_counted_and_nothing_is_parsed() {
    let now = SystemClock.now();
    let stranger = Authority::new("Somebody else", Validity::long(now)).unwrap();
    let unknown = stranger
        .issue(&subject("bank"), Use::Channel, Validity::long(now))
        .unwrap();
    let expired = PKI
        .authority
        .issue(&subject("bank"), Use::Channel, Validity::past(now))
        .unwrap();
    let wrong_use = &PKI.server;
    let log = Log::default();
    let _logging = log.capture();

    let server = Server::start(ServerLimits::default(), |_, _| async { text("never") }).await;
    for (reason, config) in [
        ("no_certificate", nobody()),
        ("unknown_authority", client_tls(&unknown)),
        ("expired", client_tls(&expired)),
        ("bad_certificate", client_tls(wrong_use)),
    ] {
        // With TLS 1.3 a client believes itself connected until it reads.
        if let Ok(mut stream) = server.shake(config).await {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.ok();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.ok();
            assert_eq!(answer, b"", "{reason}");
        }
        log.until(&format!("\"reason\":\"{reason}\"")).await;
        let counted = format!("tls_handshakes_refused_total{{reason=\"{reason}\"}} 1");
        let metrics = metrics().await;
        assert!(metrics.contains(&counted), "{counted} is missing in:\n{metrics}");
    }
    assert_eq!(server.handled(), 0);
    assert!(
        log.text().contains("\"peer.address\":\"127.0.0.1:"),
        "{}",
        log.text()
    );
}

#[tokio::test]
async fn no_session_is_resumed_so_every_connection_shows_its_certificate() {
    let server = Server::start(ServerLimits::default(), |_, _| async { text("") }).await;
    for version in [&TLS12, &TLS13] {
        let mut config = ClientConfig::clone(&speaking(version));
        config.resumption = rustls::client::Resumption::in_memory_sessions(8);
        let config = Arc::new(config);
        for _ in 0..2 {
            let mut stream = server.shake(config.clone()).await.unwrap();
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .await
                .unwrap();
            stream.read_to_end(&mut Vec::new()).await.unwrap(); // tickets would come before the answer
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}

/// What the ops listener shows of this process.
async fn metrics() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_stop, stopping) = StopSwitch::new();
    let served = tokio::spawn(ops::serve(
        listener,
        Readiness::default(),
        axum::Router::new(),
        stopping,
    ));
    let answer = ask(address, "/metrics").await;
    served.abort();
    answer
}

/// JSON log lines of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        ask_for_metrics();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    async fn until(&self, wanted: &str) {
        let written = async {
            while !self.text().contains(wanted) {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), written).await;
        assert!(in_time.is_ok(), "{wanted} is missing in:\n{}", self.text());
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The recorder has to be there before what it counts.
fn ask_for_metrics() {
    use pix_runtime::telemetry::{LogFormat, init};
    drop(init("test", LogFormat::Text, &"error".parse().unwrap(), None).unwrap());
}
