//! The fault proxy does to connections what it is told, no more.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use pix_testkit::{Fault, FaultProxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A server that sends back what it gets.
async fn echo() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut streams = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            streams.spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await.ok();
            });
        }
    });
    (address, tasks)
}

async fn exchange(stream: &mut TcpStream, text: &[u8]) -> Vec<u8> {
    let mut back = vec![0; text.len()];
    stream.write_all(text).await.ok();
    let mut read = 0;
    while read < back.len() {
        match stream.read(&mut back[read..]).await {
            Ok(0) | Err(_) => break,
            Ok(n) => read += n,
        }
    }
    back.truncate(read);
    back
}

#[tokio::test]
async fn answers_and_requests_are_cut_after_so_many_octets() {
    let (address, _server) = echo().await;
    let proxy = FaultProxy::start(address).await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(exchange(&mut stream, b"0123456789").await, b"0123456789");

    proxy.set(Fault::CutAnswerAfter(4));
    assert_eq!(exchange(&mut stream, b"0123456789").await, b"0123");
    proxy.set(Fault::CutRequestAfter(3));
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(exchange(&mut stream, b"0123456789").await.len() <= 3);

    proxy.set(Fault::None);
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(exchange(&mut stream, b"0123456789").await, b"0123456789");
    assert_eq!(proxy.connections(), 3);
    assert_eq!(proxy.cuts(), 2);
}

#[tokio::test]
async fn connections_are_refused_held_and_delayed() {
    let (address, _server) = echo().await;
    let proxy = FaultProxy::start(address).await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(exchange(&mut stream, b"x").await, b"x");

    proxy.set(Fault::Hold);
    let silent = tokio::time::timeout(Duration::from_millis(100), exchange(&mut stream, b"held")).await;
    assert!(silent.is_err());
    proxy.set(Fault::Delay(Duration::from_millis(30)));
    let asked = std::time::Instant::now();
    let mut held = [0; 4];
    stream.read_exact(&mut held).await.unwrap(); // what was held comes through
    assert_eq!(exchange(&mut stream, b"late").await, b"late");
    assert!(asked.elapsed() >= Duration::from_millis(60));

    proxy.set(Fault::Refuse);
    assert_eq!(exchange(&mut stream, b"x").await, b"");
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(exchange(&mut stream, b"x").await, b"");
}
