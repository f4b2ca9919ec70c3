//! Requests and answers: keep-alive, caps, patience, and the good end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use pix_runtime::http::{BodyError, Client, ClientError, ClientLimits, ServerLimits, read_body};
use pix_runtime::problem::Problem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::server::{PKI, Server, client, client_tls, text};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

fn bank() -> Arc<rustls::ClientConfig> {
    client_tls(&PKI.bank)
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let server = Server::start(ServerLimits::default(), |request, peer| async move {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        text(format!("{} {host}", peer.address.port()))
    })
    .await;
    let client = client();
    let (_, first) = client.send(server.get("/")).await.unwrap();
    for _ in 0..5 {
        assert_eq!(client.send(server.get("/")).await.unwrap().1, first);
    }
    assert!(first.ends_with(b" 127.0.0.1"), "Host without the port: {first:?}");
}

/// Reads a body of at most 10 octets and answers as a service would.
async fn small_bodies(request: Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
    match read_body(request.into_body(), 10).await {
        Ok(body) => text(body),
        Err(e @ BodyError::TooLarge { .. }) => {
            Problem::icom(StatusCode::PAYLOAD_TOO_LARGE, "size", "Too large", e.to_string()).to_xml()
        }
        Err(e) => panic!("{e}"),
    }
}

#[tokio::test]
async fn bodies_have_a_cap_both_ways() {
    let server = Server::start(ServerLimits::default(), |request, _| small_bodies(request)).await;
    let post = |body: &'static [u8]| {
        Request::post(format!("https://{}/", server.address))
            .body(Full::from(body))
            .unwrap()
    };
    assert_eq!(client().send(post(b"0123456789")).await.unwrap().1, "0123456789");
    let (head, body) = client().send(post(b"0123456789+")).await.unwrap();
    assert_eq!(head.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        head.headers["content-type"],
        "application/problem+xml; charset=utf-8"
    );
    assert_eq!(
        body,
        "<problem xmlns=\"urn:ietf:rfc:7807\"><type>https://icom.pi.rsfn.net.br/api/v1/error/size</type>\
         <title>Too large</title><status>413</status><detail>the body is longer than 10 octets</detail></problem>"
    );
    // Chunked: the size is known only on the way.
    let mut stream = server.shake(bank()).await.unwrap();
    let chunked = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
                    b\r\n0123456789+\r\n0\r\n\r\n";
    stream.write_all(chunked).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");

    let careful = Client::new(
        &bank(),
        ClientLimits {
            body_max: 5,
            ..ClientLimits::default()
        },
    );
    let refused = careful.send(post(b"012345")).await.unwrap_err();
    assert!(matches!(refused, ClientError::TooLarge { max: 5 }), "{refused}");
}

#[tokio::test]
async fn slow_handshakes_and_slow_headers_end_the_connection() {
    let short = Duration::from_millis(100);
    let limits = ServerLimits {
        handshake_within: short,
        next_request_within: short,
        ..ServerLimits::default()
    };
    let server = Server::start(limits, |_, _| async { text("") }).await;
    let mut nothing = [0; 1];

    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert!(matches!(silent.read(&mut nothing).await, Ok(0) | Err(_)));

    let mut trickling = server.shake(bank()).await.unwrap();
    let asked = Instant::now();
    trickling.write_all(&REQUEST[..20]).await.unwrap();
    assert!(matches!(trickling.read(&mut nothing).await, Ok(0) | Err(_)));
    assert!(asked.elapsed() >= short / 2);
    assert_eq!(server.handled(), 0);
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    let server = Server::start(
        ServerLimits {
            connections_max: 1,
            ..ServerLimits::default()
        },
        |_, _| async { text("") },
    )
    .await;
    let first = server.shake(bank()).await.unwrap();
    assert!(server.shake(bank()).await.is_err());
    drop(first);
    while server.shake(bank()).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn heads_have_a_cap() {
    let server = Server::start(ServerLimits::default(), |_, _| async { text("") }).await;
    for header in [format!("X: {}\r\n", "x".repeat(200_000)), "X: y\r\n".repeat(100)] {
        let mut stream = server.shake(bank()).await.unwrap();
        stream
            .write_all(format!("GET / HTTP/1.1\r\n{header}\r\n").as_bytes())
            .await
            .ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        assert!(
            answer.starts_with(b"HTTP/1.1 431"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(server.handled(), 0);
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_connection_only() {
    let server = Server::start(ServerLimits::default(), |request, _| async move {
        assert_ne!(request.uri().path(), "/bug", "a bug");
        text("fine")
    })
    .await;
    let broken = client().send(server.get("/bug")).await.unwrap_err();
    assert!(
        matches!(broken, ClientError::Broken(_)) && broken.is_unknown(),
        "{broken}"
    );
    assert_eq!(client().send(server.get("/")).await.unwrap().1, "fine");
}

#[tokio::test]
async fn the_stop_lets_a_request_under_way_be_answered() {
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (arrived.clone(), go_on.clone());
    let server = Server::start(ServerLimits::default(), move |_, _| {
        let (tell, wait) = (tell.clone(), wait.clone());
        async move {
            tell.notify_one();
            wait.notified().await;
            text("answered")
        }
    })
    .await;
    let address = server.address;
    let mut idle = server.shake(bank()).await.unwrap();
    let under_way = tokio::spawn({
        let request = server.get("/");
        async move { client().send(request).await }
    });
    arrived.notified().await;
    server.stop.stop();
    assert!(
        matches!(idle.read(&mut [0; 1]).await, Ok(0) | Err(_)),
        "an idle connection is closed"
    );
    assert!(!server.served.is_finished());
    go_on.notify_one();
    assert_eq!(under_way.await.unwrap().unwrap().1, "answered");
    server.served.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_client_tells_refused_from_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let get = || {
        Request::get(format!("https://{address}/"))
            .body(Full::default())
            .unwrap()
    };
    // Nobody shakes hands here.
    let hasty = ClientLimits {
        answer_within: Duration::from_millis(50),
        ..ClientLimits::default()
    };
    let silent = Client::new(&bank(), hasty).send(get()).await.unwrap_err();
    assert!(
        matches!(silent, ClientError::Timeout) && silent.is_unknown(),
        "{silent}"
    );
    drop(listener);
    let refused = client().send(get()).await.unwrap_err();
    assert!(
        matches!(refused, ClientError::Connect(_)) && !refused.is_unknown(),
        "{refused}"
    );
}
