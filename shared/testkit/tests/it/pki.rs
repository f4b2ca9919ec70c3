//! The run's PKI carries a request from a participant that the seed file names to a service.

use std::sync::Arc;

use pix_participants::Directory;
use pix_runtime::http::{Peer, ServerLimits, serve};
use pix_testkit::{Seat, StopSwitch, TestPki};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_participant_of_the_seed_reaches_a_service_and_is_known() {
    let pki = TestPki::shared().await;
    let seed = pki.seed(&[
        Seat {
            ispb: "11111111",
            settler: None,
            opening_balance: "10.00",
        },
        Seat {
            ispb: "33333333",
            settler: Some("11111111"),
            opening_balance: "",
        },
    ]);
    let directory = Directory::load(&seed.path().join("participants.toml")).unwrap();
    assert_eq!(directory.iter().count(), 2);
    let signer = pki.signer("11111111");
    assert!(directory.signer(signer.issuer_serial()).is_some());
    assert_ne!(signer.issuer_serial(), pki.service_signer("spi").issuer_serial());

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://{}/", listener.local_addr().unwrap());
    let (_stop, stopping) = StopSwitch::new();
    let handler = move |_, peer: Arc<Peer>| {
        let caller = directory
            .by_channel(&peer.certificate.issuer_serial)
            .unwrap()
            .ispb;
        async move { http::Response::new(http_body_util::Full::from(caller.to_string())) }
    };
    tokio::spawn(serve(
        listener,
        pki.server_tls("spi"),
        ServerLimits::default(),
        Arc::new(handler),
        stopping,
    ));
    let request = http::Request::get(uri)
        .body(http_body_util::Full::default())
        .unwrap();
    assert_eq!(pki.client("11111111").send(request).await.unwrap().1, "11111111");
}
