//! Requests that wait, and are given up: they leave nothing, and keep nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use pix_testkit::eventually;
use rustls::pki_types::ServerName;
use sqlx::Connection as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use crate::support::{A, B, SOON, TestDict, get_plain};

/// How long participants wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_request_whose_sender_is_gone_changes_nothing() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let key = bank.register(bank.new_phone().entry).await.key;
    let mut owner = dict.owner().await;
    let mut holder = owner.begin().await.expect("a transaction");
    sqlx::query("SELECT 1 FROM entry FOR UPDATE")
        .execute(&mut *holder)
        .await
        .expect("locked");
    let waiting = eventually("the removal waits", SOON, || async {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        (dict.count(waiting).await == 1).then_some(())
    });
    tokio::select! {
        answer = bank.delete(key.as_str()) => panic!("answered: {answer:?}"),
        () = waiting => {} // and the request is dropped, with its connection
    }
    eventually("the DICT sees that", SOON, || async {
        let metrics = get_plain(dict.ops, "/metrics").await;
        metrics.contains("http_connections_open 0").then_some(())
    })
    .await;
    holder.rollback().await.expect("unlocked");
    // The same account and key can be written again, and the entry is still there to be removed.
    assert_eq!(bank.delete(key.as_str()).await.status, 200);
    assert_eq!(dict.count("SELECT count(*) FROM entry_history").await, 2);
}

#[tokio::test]
async fn a_request_that_cannot_be_carried_out_in_time_is_not_carried_out_later() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let key = bank.register(bank.new_phone().entry).await.key;
    let mut owner = dict.owner().await;
    let mut holder = owner.begin().await.expect("a transaction");
    sqlx::query("SELECT 1 FROM entry FOR UPDATE")
        .execute(&mut *holder)
        .await
        .expect("locked");
    let asked = Instant::now();
    assert_eq!(bank.delete(key.as_str()).await.status, 503);
    assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
    holder.rollback().await.expect("unlocked");
    assert_eq!(dict.bank(B).look_up(key.as_str()).await.status, 200);
}

#[tokio::test]
async fn a_body_that_comes_late_is_not_waited_for() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let body = bank.sealed_create(&bank.new_phone());
    let tcp = tokio::net::TcpStream::connect(("127.0.0.1", dict.api)).await;
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::clone(&dict.pki.client_tls(A)));
    let mut stream = connector
        .connect(name, tcp.expect("it listens"))
        .await
        .expect("let in");
    let head = format!(
        "POST /api/v2/entries/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/xml\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let asked = Instant::now();
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(&body[..body.len() - 1]).await.expect("sent");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("answered");
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
    assert_eq!(dict.everything().await, 0);
}

#[tokio::test]
async fn one_participants_writes_that_wait_for_each_other_leave_the_others_theirs() {
    let dict = TestDict::start().await;
    let (a, b) = (dict.bank(A), dict.bank(B));
    let entry = a.entry("EVP", None);
    let mut owner = dict.owner().await;
    let mut holder = owner.begin().await.expect("a transaction");
    let account = format!("account {A} 1 {} CACC", entry.account.number);
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(account)
        .execute(&mut *holder)
        .await
        .expect("locked");
    let creates: Vec<_> = (0..40).map(|_| a.create_of(entry.clone())).collect();
    let stuck = join_all(creates.iter().map(|create| a.create(create)));
    let others = async {
        eventually("the writes of A wait", SOON, || async {
            let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            (dict.count(waiting).await >= 4).then_some(())
        })
        .await;
        let asked = Instant::now();
        let answer = b.create(&b.new_phone()).await;
        (answer.status, asked.elapsed())
    };
    let (stuck, (status, elapsed)) = tokio::join!(stuck, others);
    assert_eq!(status, 201);
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    assert!(
        stuck.iter().all(|answer| answer.status == 503),
        "A waits for itself alone"
    );
    holder.rollback().await.expect("unlocked");
    assert_eq!(a.create(&creates[0]).await.status, 201);
}
