//! Who may stay no longer is cut, in the midst of whatever it asks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use pix_pki::{Use, Validity};
use pix_runtime::http::{Client, ClientLimits, End, Handler, Peer, ServerLimits, serve};
use pix_runtime::{Clock as _, StopSwitch, SystemClock, tls};
use pix_xmldsig::{IssuerSerial, VerifyingKey};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::server::{PKI, client, client_tls, subject, text};

/// What a revoked certificate may take.
const SOON: Duration = Duration::from_secs(5);

/// Answers `/quick` at once, and nothing else ever.
struct Host {
    dismissed: watch::Receiver<Option<IssuerSerial>>,
    asked: mpsc::Sender<()>,
    ends: mpsc::Sender<(IssuerSerial, End)>,
}

impl Handler for Host {
    async fn handle(&self, request: Request<Incoming>, _peer: Arc<Peer>) -> Response<Full<Bytes>> {
        if request.uri().path() != "/quick" {
            self.asked.send(()).await.expect("the test listens");
            std::future::pending::<()>().await;
        }
        text("there")
    }

    fn ended(&self, peer: &Peer, end: End) {
        let end = (peer.certificate.issuer_serial.clone(), end);
        self.ends.try_send(end).expect("the test listens");
    }

    async fn dismissed(&self, peer: &Peer) {
        let mut dismissed = self.dismissed.clone();
        let gone = dismissed.wait_for(|who| who.as_ref() == Some(&peer.certificate.issuer_serial));
        gone.await.expect("the test goes on");
    }
}

#[tokio::test]
async fn a_certificate_that_is_dismissed_loses_its_connections_and_no_other_does() {
    let now = SystemClock.now();
    let other = PKI
        .authority
        .issue(&subject("other bank"), Use::Channel, Validity::long(now));
    let other = other.unwrap();
    let serial = |pem: &str| {
        VerifyingKey::from_certificate_pem(pem.as_bytes())
            .unwrap()
            .issuer_serial()
            .clone()
    };
    let (dismiss, dismissed) = watch::channel(None);
    let (asked, mut asking) = mpsc::channel(4);
    let (tell, mut ends) = mpsc::channel(4);
    let host = Arc::new(Host {
        dismissed,
        asked,
        ends: tell,
    });
    let tls = tls::server(
        PKI.server.certificate_pem.as_bytes(),
        PKI.server.key_pem.as_bytes(),
        PKI.authority.certificate_pem().as_bytes(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_stop, stopping) = StopSwitch::new();
    let limits = ServerLimits::default();
    tokio::spawn(serve(listener, tls.unwrap(), limits, Arc::clone(&host), stopping));
    let get = move |path: &str| {
        Request::get(format!("https://{address}{path}"))
            .body(Full::default())
            .unwrap()
    };

    let (goes, stays) = (
        client(),
        Client::new(&client_tls(&other), ClientLimits::default()),
    );
    // Each has one connection that rests and one that waits for its answer.
    let waits = tokio::spawn({
        let client = goes.clone();
        async move { client.send(get("/slow")).await }
    });
    let waits_on = tokio::spawn({
        let client = stays.clone();
        async move { client.send(get("/slow")).await }
    });
    for _ in 0..2 {
        asking.recv().await.unwrap();
    }
    goes.send(get("/quick")).await.unwrap();
    stays.send(get("/quick")).await.unwrap();

    dismiss.send_replace(Some(serial(&PKI.bank.certificate_pem)));
    let cut = tokio::time::timeout(SOON, waits).await;
    assert!(cut.expect("in time").unwrap().is_err());
    for _ in 0..2 {
        let end = tokio::time::timeout(SOON, ends.recv()).await.expect("in time");
        assert_eq!(end, Some((serial(&PKI.bank.certificate_pem), End::Broken)));
    }
    assert_eq!(stays.send(get("/quick")).await.unwrap().1, "there");
    assert!(!waits_on.is_finished());
}
