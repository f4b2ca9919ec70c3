//! Too many connections, of one address or of one certificate, and what the others notice of it.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::time::Duration;

use pix_runtime::http::{End, Handler, Peer, ServerLimits, serve};
use pix_runtime::{StopSwitch, tls};
use rustls_pki_types::ServerName;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use crate::server::{PKI, Server, client, client_tls, text};

const SOON: Duration = Duration::from_secs(20);

/// Whether the server closes this silent connection before the handshake's time is up.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut octet = [0];
    let read = tokio::time::timeout(Duration::from_secs(3), stream.read(&mut octet)).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn silent_connections_of_one_address_keep_no_other_out() {
    let limits = ServerLimits {
        handshakes_per_address_max: 8,
        ..ServerLimits::default()
    };
    let server = Server::start(limits, |_, _| async { text("here") }).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    // The twelve surplus ones are closed at once; the eight others have their time.
    let closed = futures_closed(&mut silent).await;
    assert_eq!(closed, 12);
    // From another address everything is as ever.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
    let stream = socket.connect(server.address).await.unwrap();
    let mut other = TlsConnector::from(client_tls(&PKI.bank))
        .connect(ServerName::from(server.address.ip()), stream)
        .await
        .unwrap();
    other
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("here"), "{answer}");
}

async fn futures_closed(streams: &mut [TcpStream]) -> usize {
    let mut closed = 0;
    for stream in streams.iter_mut().rev() {
        closed += usize::from(is_closed(stream).await);
        if closed == 12 {
            break;
        }
    }
    closed
}

#[tokio::test]
async fn a_certificate_with_too_many_connections_is_told_so_and_another_is_not() {
    let limits = ServerLimits {
        connections_per_certificate_max: 2,
        ..ServerLimits::default()
    };
    let server = Server::start(limits, |_, peer| async move { text(peer.is_surplus.to_string()) }).await;
    let first = server.shake(client_tls(&PKI.bank)).await.unwrap();
    let second = server.shake(client_tls(&PKI.bank)).await.unwrap();
    let (_, third) = client().send(server.get("/")).await.unwrap();
    assert_eq!(&third[..], b"true");
    drop((first, second));
    let told = async { while &client().send(server.get("/")).await.unwrap().1[..] == b"true" {} };
    tokio::time::timeout(SOON, told)
        .await
        .expect("places are given back");
}

#[tokio::test]
async fn new_connections_come_no_faster_than_they_may() {
    let limits = ServerLimits {
        arrivals_per_second: NonZeroU32::MIN,
        arrivals_burst: NonZeroU32::new(3).unwrap(),
        ..ServerLimits::default()
    };
    let server = Server::start(limits, |_, _| async { text("here") }).await;
    let mut shaken = 0;
    for _ in 0..10 {
        shaken += usize::from(server.shake(client_tls(&PKI.bank)).await.is_ok());
    }
    assert!((3..=5).contains(&shaken), "{shaken}");
}

/// Tells how its connections ended.
struct Listening(mpsc::Sender<End>);

impl Handler for Listening {
    async fn handle(
        &self,
        _: http::Request<hyper::body::Incoming>,
        _: Arc<Peer>,
    ) -> http::Response<http_body_util::Full<bytes::Bytes>> {
        text("here")
    }

    fn ended(&self, _: &Peer, end: End) {
        let _ = self.0.try_send(end); // nobody may be listening any more
    }
}

#[tokio::test]
async fn a_peer_that_vanishes_is_told_from_one_that_says_goodbye() {
    let tls = tls::server(
        PKI.server.certificate_pem.as_bytes(),
        PKI.server.key_pem.as_bytes(),
        PKI.authority.certificate_pem().as_bytes(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = StopSwitch::new();
    let (told, mut ends) = mpsc::channel(8);
    let served = tokio::spawn(serve(
        listener,
        tls.unwrap(),
        ServerLimits::default(),
        Arc::new(Listening(told)),
        stopping,
    ));
    for expected in [End::Clean, End::Broken] {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = TlsConnector::from(client_tls(&PKI.bank))
            .connect(ServerName::from(address.ip()), stream)
            .await
            .unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        match expected {
            End::Clean => stream.shutdown().await.unwrap(),
            End::Broken => drop(stream.into_inner().0),
        }
        let end = tokio::time::timeout(SOON, ends.recv()).await.expect("in time");
        assert_eq!(end, Some(expected));
    }
    drop(stop);
    served.await.unwrap();
}
