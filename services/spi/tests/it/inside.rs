//! `spi.v1`, for the switch's own services.

use std::collections::{BTreeMap, HashMap};

use futures::StreamExt as _;
use pix_domain::EndToEndId;
use pix_inside::Ends;
use pix_proto::spi_v1 as proto;
use pix_proto::spi_v1::spi_client::SpiClient;
use pix_testkit::{Fault, FaultProxy, eventually};
use prost::Message as _;
use sqlx::{Row as _, postgres::PgRow};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::storm::ride_out;
use crate::support::{A, B, C, SOON, TestSpi, Urls};

/// What every Conta PI starts with, in centavos.
const OPENING: i64 = 100_000_000;

/// A service that calls; it connects again when it was cut off.
fn inside_as(spi: &TestSpi, name: &str) -> SpiClient<Channel> {
    let own = spi.pki.inside(name);
    let ends = Ends::from_pem(own.identity.certificate_pem, own.identity.key_pem, own.ca_pem);
    let channel = ends.service(&format!("https://localhost:{}", spi.grpc));
    SpiClient::new(channel.expect("its files are right"))
}

pub(crate) fn settlement(spi: &TestSpi) -> SpiClient<Channel> {
    inside_as(spi, "settlement")
}

pub(crate) fn order(id: &str, account: &str, centavos: i64) -> proto::FundRequest {
    proto::FundRequest {
        id: id.to_owned(),
        account: account.to_owned(),
        amount_centavos: centavos,
        ordered_by: "operator 7".to_owned(),
    }
}

pub(crate) fn uuid(n: usize) -> String {
    format!("{n:08x}-7f22-52a5-8a9b-e87cd55c0f4d")
}

/// Asks until it is answered, with the same id.
pub(crate) async fn fund_for_sure(
    client: &SpiClient<Channel>,
    order: &proto::FundRequest,
) -> proto::FundResponse {
    eventually("the funding is answered", SOON, || async {
        match client.clone().fund(order.clone()).await {
            Ok(funded) => Some(funded.into_inner()),
            Err(status) if is_passing(&status) => None,
            Err(status) => panic!("refused: {status}"),
        }
    })
    .await
}

/// What a caller hears while the other end is away or comes back.
fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
    )
}

async fn head(client: &mut SpiClient<Channel>) -> proto::HeadResponse {
    let head = client.head(proto::HeadRequest { shard: 0 }).await;
    head.expect("answered").into_inner()
}

async fn settlements(
    client: &mut SpiClient<Channel>,
    after_batch: i64,
    to_batch: i64,
) -> Vec<proto::PaymentsSettledBatch> {
    let request = proto::SettlementsRequest {
        shard: 0,
        after_batch,
        to_batch,
    };
    let stream = client.settlements(request).await.expect("a stream").into_inner();
    stream.map(|batch| batch.expect("a batch")).collect().await
}

async fn totals(client: &mut SpiClient<Channel>, after_batch: i64, to_batch: i64) -> proto::TotalsResponse {
    let request = proto::TotalsRequest {
        shard: 0,
        after_batch,
        to_batch,
    };
    client.totals(request).await.expect("answered").into_inner()
}

/// One payment from A to B, to its end.
async fn pay(spi: &TestSpi, reais: &str) -> EndToEndId {
    let (a, b) = (spi.bank(A), spi.bank(B));
    let order = a.order(B, reais);
    let id = order.end_to_end_id;
    a.post(a.pacs_008(vec![order])).await;
    b.reader().hear_until(1).await;
    b.post(b.pacs_002(&[(id, None)])).await;
    a.reader().hear_until(1).await;
    id
}

/// Everything that `pix.spi.payment_settled.v1` said, in order.
async fn told_as_settled(spi: &TestSpi) -> Vec<proto::PaymentsSettled> {
    let rows = events(spi, "pix.spi.payment_settled.v1").await;
    let decoded = rows.iter().map(|row| {
        let payload: Vec<u8> = row.try_get(1).expect("bytes");
        proto::PaymentsSettled::decode(payload.as_slice()).expect("an event")
    });
    decoded.collect()
}

async fn events(spi: &TestSpi, subject: &str) -> Vec<PgRow> {
    sqlx::query("SELECT batch, payload FROM event WHERE subject = $1 ORDER BY batch")
        .bind(subject)
        .fetch_all(&mut spi.owner().await)
        .await
        .expect("as owner")
}

/// Every event names the batch of the one before it.
async fn assert_gapless(spi: &TestSpi) {
    type PositionOf = fn(&[u8]) -> Option<proto::Position>;
    let subjects: [(&str, PositionOf); 3] = [
        ("pix.spi.order_received.v1", |payload| {
            proto::OrdersReceived::decode(payload).expect("an event").position
        }),
        ("pix.spi.payment_settled.v1", |payload| {
            proto::PaymentsSettled::decode(payload)
                .expect("an event")
                .position
        }),
        ("pix.spi.payment_refused.v1", |payload| {
            proto::PaymentsRefused::decode(payload)
                .expect("an event")
                .position
        }),
    ];
    for (subject, position) in subjects {
        let mut before = 0;
        for row in events(spi, subject).await {
            let payload: Vec<u8> = row.try_get(1).expect("bytes");
            let position = position(&payload).expect("a position");
            assert_eq!(position.batch, row.try_get::<i64, _>(0).expect("a batch"));
            assert_eq!(
                position.previous,
                Some(before),
                "{subject}, batch {}",
                position.batch
            );
            before = position.batch;
        }
        assert!(before > 0, "{subject} was told of");
    }
}

#[tokio::test]
async fn money_comes_in_and_goes_out_once_for_each_id() {
    let mut spi = TestSpi::start().await;
    let mut client = settlement(&spi);
    let first = order(&uuid(1), A, 500);
    let funded = client.fund(first.clone()).await.expect("funded").into_inner();
    assert_eq!(funded.available_centavos, OPENING + 500);
    let out = client
        .fund(order(&uuid(2), A, -OPENING))
        .await
        .expect("taken out");
    assert_eq!(out.into_inner().available_centavos, 500);
    // As it was then, also in other letters and words, and also by a process that has not decided it.
    let again = proto::FundRequest {
        id: first.id.to_uppercase(),
        ordered_by: "operator 8".to_owned(),
        ..first.clone()
    };
    for again in [first.clone(), again] {
        assert_eq!(client.fund(again).await.expect("repeated").into_inner(), funded);
    }
    assert!(spi.stop().await.success());
    spi.run().await;
    assert_eq!(fund_for_sure(&client, &first).await, funded);

    let refusals = [
        (order(&uuid(1), A, 501), Code::AlreadyExists, "500 centavos"),
        (order(&uuid(1), B, 500), Code::AlreadyExists, A),
        (
            order(&uuid(3), A, -501),
            Code::FailedPrecondition,
            "500 centavos are available",
        ),
        (order(&uuid(3), "44444444", 1), Code::NotFound, "44444444"),
        (order(&uuid(3), "00038166", 1), Code::NotFound, "00038166"),
        (order(&uuid(3), A, 0), Code::InvalidArgument, "amount: "),
        (order(&uuid(3), A, i64::MIN), Code::InvalidArgument, "amount: "),
        (order(&uuid(3), "1234", 1), Code::InvalidArgument, "account: "),
        (order("7", A, 1), Code::InvalidArgument, "id: "),
        (
            proto::FundRequest {
                ordered_by: String::new(),
                ..order(&uuid(3), A, 1)
            },
            Code::InvalidArgument,
            "ordered_by: ",
        ),
    ];
    for (asked, code, words) in refusals {
        let refused = client.fund(asked.clone()).await.expect_err("refused");
        assert_eq!(refused.code(), code, "{asked:?}: {refused}");
        assert!(refused.message().contains(words), "{asked:?}: {refused}");
    }
    assert!(
        client.fund(order(&uuid(3), A, 1)).await.is_ok(),
        "a refusal keeps no id"
    );
    assert_eq!(spi.balance(A).await, ("5.01".to_owned(), "0.00".to_owned()));
    assert_eq!(
        spi.count("SELECT sum(available + blocked)::bigint FROM account")
            .await,
        0
    );
    assert_eq!(spi.count("SELECT count(*) FROM funding").await, 3);
    let (holds, words) = spi.audit().await;
    assert!(holds, "{words}");
}

#[tokio::test]
async fn what_is_blocked_cannot_be_taken_out() {
    let spi = TestSpi::start().await;
    let mut client = settlement(&spi);
    let a = spi.bank(A);
    a.post(a.pacs_008(vec![a.order(B, "1.00")])).await;
    let refused = client
        .fund(order(&uuid(1), A, -OPENING))
        .await
        .expect_err("blocked");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let rest = client.fund(order(&uuid(2), A, 100 - OPENING)).await;
    assert_eq!(rest.expect("available").into_inner().available_centavos, 0);
    assert_eq!(spi.balance(A).await, ("0.00".to_owned(), "1.00".to_owned()));
}

#[tokio::test]
async fn a_changed_funding_breaks_the_audit_chain() {
    let mut spi = TestSpi::start().await;
    fund_for_sure(&settlement(&spi), &order(&uuid(1), A, 500)).await;
    assert!(spi.stop().await.success());
    let mut owner = spi.owner().await;
    for (change, undo) in [
        (
            "UPDATE funding SET ordered_by = 'nobody'",
            "UPDATE funding SET ordered_by = 'operator 7'",
        ),
        (
            "UPDATE funding SET amount = amount + 1",
            "UPDATE funding SET amount = amount - 1",
        ),
        (
            "UPDATE funding SET available_after = available_after + 1",
            "UPDATE funding SET available_after = available_after - 1",
        ),
    ] {
        sqlx::query(change).execute(&mut owner).await.expect(change);
        let (holds, words) = spi.audit().await;
        assert!(!holds && words.contains("BROKEN"), "{change}: {words}");
        sqlx::query(undo).execute(&mut owner).await.expect(undo);
    }
    assert!(spi.audit().await.0, "undone, it holds again");
}

#[tokio::test]
async fn strangers_are_turned_away_and_readers_only_read() {
    let spi = TestSpi::start().await;
    let channel_of = spi.pki.participant(A);
    let read = |name: &str| std::fs::read(channel_of.join(name)).expect("readable");
    let ca = spi.pki.inside("pix").ca_pem;
    let bank = Ends::from_pem(read("channel.crt"), read("channel.key"), ca);
    let channel = bank.service(&format!("https://localhost:{}", spi.grpc));
    let mut stranger = SpiClient::new(channel.expect("files"));
    assert!(stranger.head(proto::HeadRequest { shard: 0 }).await.is_err());
    assert!(stranger.fund(order(&uuid(1), A, 500)).await.is_err());
    accounts_are_open(&mut inside_as(&spi, "pix")).await;
    for name in ["pix", "dict", "spi"] {
        let mut reader = inside_as(&spi, name);
        let refused = reader.fund(order(&uuid(1), A, 500)).await.expect_err("no funder");
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(head(&mut reader).await.batch > 0, "it reads");
    }
    assert_eq!(spi.balance(A).await.0, "1000000.00");
    assert_eq!(spi.count("SELECT count(*) FROM funding").await, 0);
}

#[tokio::test]
async fn a_funding_that_postgres_refuses_harms_nothing_beside_it() {
    let mut spi = TestSpi::start().await;
    let refuse = "ALTER TABLE funding ADD CHECK (amount <> 13)";
    let altered = sqlx::query(refuse).execute(&mut spi.owner().await).await;
    altered.expect("as owner");
    let (client, a) = (settlement(&spi), spi.bank(A));
    let messages: Vec<_> = (0..20).map(|_| a.pacs_008(vec![a.order(B, "1.00")])).collect();
    let posts = messages.into_iter().map(|message| a.post(message));
    let orders: Vec<_> = (1..=20)
        .map(|n| order(&uuid(n), C, i64::try_from(n).expect("small")))
        .collect();
    let fundings = orders.iter().map(|order| {
        let mut client = client.clone();
        async move { client.fund(order.clone()).await }
    });
    let fundings = futures::future::join_all(fundings);
    let (_, answers) = futures::join!(futures::future::join_all(posts), fundings);
    for (order, answer) in orders.iter().zip(answers) {
        match (order.amount_centavos, answer) {
            (13, answer) => assert_eq!(answer.expect_err("refused").code(), Code::Internal),
            (_, answer) => assert!(answer.is_ok(), "{order:?}: {answer:?}"),
        }
    }
    assert_eq!(spi.balance(A).await, ("999980.00".to_owned(), "20.00".to_owned()));
    let sum: i64 = (1..=20).filter(|n| *n != 13).sum();
    assert_eq!(snapshot(&mut client.clone()).await[C], (OPENING + sum, 0));
    assert!(spi.stop().await.success(), "the same process lived through it");
    let (holds, words) = spi.audit().await;
    assert!(holds, "{words}");
}

/// Orders of money into C, one centavo more each time.
fn orders(count: usize) -> Vec<proto::FundRequest> {
    (1_i64..)
        .zip(1..=count)
        .map(|(centavos, n)| order(&uuid(n), C, centavos))
        .collect()
}

/// Each of them happened exactly once, and every answer is true.
async fn assert_funded(spi: &TestSpi, orders: &[proto::FundRequest], answers: &[proto::FundResponse]) {
    let ordered: i64 = orders.iter().map(|order| order.amount_centavos).sum();
    let mut client = inside_as(spi, "pix");
    let accounts = snapshot(&mut client).await;
    assert_eq!(accounts[C], (OPENING + ordered, 0));
    let posted =
        "SELECT sum(amount)::bigint FROM posting WHERE credit = '33333333' AND end_to_end_id IS NULL";
    assert_eq!(spi.count(posted).await, OPENING + ordered);
    let rows = sqlx::query("SELECT id, amount, posting, batch, available_after FROM funding")
        .fetch_all(&mut spi.owner().await)
        .await
        .expect("as owner");
    let told = |row: &PgRow| proto::FundResponse {
        sequence: row.try_get(2).expect("a number"),
        batch: row.try_get(3).expect("a number"),
        available_centavos: row.try_get(4).expect("a number"),
    };
    let stored: HashMap<String, _> = rows
        .iter()
        .map(|row| (row.try_get(0).expect("an id"), told(row)))
        .collect();
    assert_eq!(stored.len(), orders.len());
    for (order, answer) in orders.iter().zip(answers) {
        assert_eq!(stored[&order.id], *answer, "{}", order.id);
    }
    let (holds, words) = spi.audit().await;
    assert!(holds, "{words}");
}

/// Every Conta PI as the first message of a watch tells it.
async fn snapshot(client: &mut SpiClient<Channel>) -> BTreeMap<String, (i64, i64)> {
    let watch = client.watch_accounts(proto::WatchAccountsRequest {}).await;
    let first = watch.expect("a stream").into_inner().message().await;
    by_account(first.expect("told").expect("not at its end"))
}

/// Until the book holds what everybody begins with: who is ready has ordered that, and commits it a moment later.
async fn accounts_are_open(client: &mut SpiClient<Channel>) {
    eventually("the accounts are open", SOON, || {
        let mut client = client.clone();
        async move {
            let accounts = snapshot(&mut client).await;
            accounts.keys().eq([A, B, C]).then_some(())
        }
    })
    .await;
}

fn by_account(told: proto::Accounts) -> BTreeMap<String, (i64, i64)> {
    let accounts = told.accounts.into_iter();
    accounts
        .map(|one| (one.account, (one.available_centavos, one.blocked_centavos)))
        .collect()
}

#[tokio::test]
async fn killed_in_the_midst_of_fundings_that_are_asked_for_again_it_moves_each_once() {
    let mut spi = TestSpi::start().await;
    let client = settlement(&spi);
    let orders = orders(150);
    let (early, late) = orders.split_at(50);
    let all = |orders: &[proto::FundRequest]| {
        let asked: Vec<_> = orders.to_vec();
        let client = client.clone();
        async move {
            let funded = asked.iter().map(|order| fund_for_sure(&client, order));
            futures::future::join_all(funded).await
        }
    };
    let (mut answers, rest, ()) = futures::join!(all(early), all(late), async {
        for _ in 0..3 {
            spi.kill().await;
            spi.run().await;
        }
    });
    answers.extend(rest);
    assert_funded(&spi, &orders, &answers).await;
}

#[tokio::test]
async fn when_commits_are_unknown_each_funding_still_happens_once() {
    let database = pix_testkit::empty_database("spi").await;
    let shared = pix_testkit::parts().await;
    let direct = database.url_as("spi_app");
    let port = direct
        .rsplit_once(':')
        .and_then(|(_, rest)| rest.split('/').next())
        .expect("a port");
    let proxy = FaultProxy::start(([127, 0, 0, 1], port.parse().expect("a number")).into()).await;
    let through = direct.replace(&format!(":{port}/"), &format!(":{}/", proxy.address().port()));
    let urls = Urls {
        writer: through,
        owner: database.url(),
        nats: shared.nats.url(),
        redis: shared.redis.url(),
    };
    let mut spi = TestSpi::start_on(urls).await;
    let client = settlement(&spi);
    let (mut octets, mut uncut) = (0, 0);
    let (mut asked, mut answers) = (Vec::new(), Vec::new());
    // What is sent arrives, and what is answered is cut ever a little later, until the cut lies behind its end.
    while uncut < 3 {
        octets += 9;
        let n = asked.len() + 1;
        let order = order(&uuid(n), C, i64::try_from(n).expect("small"));
        let connections = proxy.connections();
        proxy.set(Fault::CutAnswerAfter(octets));
        let mended = async {
            let cut = async || (proxy.connections() > connections).then_some(());
            eventually("the book connects again", SOON, cut).await;
            proxy.set(Fault::None);
        };
        tokio::pin!(mended);
        let funded = fund_for_sure(&client, &order);
        tokio::pin!(funded);
        let answer = tokio::select! {
            answer = &mut funded => {
                proxy.set(Fault::None);
                uncut += 1;
                answer
            }
            () = &mut mended => funded.await,
        };
        asked.push(order.clone());
        answers.push(answer);
    }
    assert_funded(&spi, &asked, &answers).await;
    let log = spi.log();
    assert!(log.contains("lost had happened"), "some COMMITs were in");
    assert!(log.contains("lost had not happened"), "and some were not");
    assert!(spi.stop().await.success(), "the same process lived through it");
}

#[tokio::test]
async fn the_head_promises_nothing_that_is_still_to_come() {
    let mut spi = TestSpi::start().await;
    let client = inside_as(&spi, "pix");
    let mut heads: Vec<proto::HeadResponse> = Vec::new();
    let asking = async {
        loop {
            if let Ok(head) = client.clone().head(proto::HeadRequest { shard: 0 }).await {
                heads.push(head.into_inner());
            }
        }
    };
    let storm = ride_out(&mut spi, 100, false, async |spi| {
        spi.kill().await;
        spi.run().await;
    });
    tokio::select! {
        () = asking => {}
        () = storm => {}
    }
    assert!(heads.len() > 20 && heads.last().expect("many").settled_batch > 0);
    assert!(heads.is_sorted_by_key(|head| head.batch));
    let broken = sqlx::query(
        "SELECT head.as_of, head.batch, b.number FROM UNNEST($1::bigint[], $2::bigint[]) AS head (as_of, batch)
         JOIN batch b ON b.number > head.batch
          AND b.decided_at < timestamptz 'epoch' + head.as_of * interval '1 microsecond'",
    )
    .bind(heads.iter().map(|head| head.as_of_micros).collect::<Vec<_>>())
    .bind(heads.iter().map(|head| head.batch).collect::<Vec<_>>())
    .fetch_all(&mut spi.owner().await)
    .await
    .expect("as owner");
    assert!(
        broken.is_empty(),
        "{} batches came after they were said to be there",
        broken.len()
    );
    // When nothing happens, time still goes on.
    let mut client = client.clone();
    let last = head(&mut client).await;
    eventually("a later head", SOON, || async {
        let next = head(&mut client.clone()).await;
        (next.as_of_micros > last.as_of_micros && next.batch == last.batch).then_some(())
    })
    .await;
    let named: String = sqlx::query_scalar("SELECT id FROM book")
        .fetch_one(&mut spi.owner().await)
        .await
        .expect("as owner");
    assert_eq!(last.book, named);
}

#[tokio::test]
async fn settlements_and_totals_are_those_of_the_events() {
    let mut spi = TestSpi::start().await;
    let mut client = inside_as(&spi, "pix");
    assert_eq!(settlements(&mut client, 0, 0).await, []);
    fund_for_sure(&settlement(&spi), &order(&uuid(1), A, 500)).await;
    ride_out(&mut spi, 60, false, async |_| {}).await;
    fund_for_sure(&settlement(&spi), &order(&uuid(2), A, -500)).await;
    let last = pay(&spi, "2.50").await;
    let told = told_as_settled(&spi).await;
    let head = head(&mut client).await;
    let batches = settlements(&mut client, 0, 0).await;
    let as_event = |batch: &proto::PaymentsSettledBatch| {
        let payments = batch.payments.iter().map(|one| {
            let parties = (one.debited.clone(), one.credited.clone());
            (
                one.sequence,
                one.end_to_end_id.clone(),
                parties,
                one.amount_centavos,
            )
        });
        (
            batch.batch,
            batch.previous,
            batch.decided_at_micros,
            payments.collect::<Vec<_>>(),
        )
    };
    let from_event = |event: &proto::PaymentsSettled| {
        let payments = event.payments.iter().map(|one| {
            let parties = (one.debited.clone(), one.credited.clone());
            (
                one.sequence,
                one.end_to_end_id.clone(),
                parties,
                one.amount_centavos,
            )
        });
        let position = event.position.as_ref().expect("a position");
        let previous = position.previous.expect("kept");
        (
            position.batch,
            previous,
            position.decided_at_micros,
            payments.collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        batches.iter().map(as_event).collect::<Vec<_>>(),
        told.iter().map(from_event).collect::<Vec<_>>()
    );
    assert_eq!(head.settled_batch, batches.last().expect("some").batch);
    assert_eq!(
        batches.last().expect("some").payments[0].end_to_end_id,
        last.to_string()
    );

    // Any part of them, cut anywhere.
    let cuts = [
        0,
        batches[0].batch - 1,
        batches[0].batch,
        batches[batches.len() / 2].batch,
        head.batch,
    ];
    for after in cuts {
        for to in cuts.into_iter().filter(|to| *to > after) {
            let part = settlements(&mut client, after, to).await;
            let within = batches.iter().filter(|one| (after + 1..=to).contains(&one.batch));
            assert_eq!(
                part,
                within.cloned().collect::<Vec<_>>(),
                "after {after} up to {to}"
            );
            let mut sums: BTreeMap<&str, proto::Total> = BTreeMap::new();
            let payments: Vec<_> = part.iter().flat_map(|batch| &batch.payments).collect();
            for one in &payments {
                let sent = sums.entry(&one.debited).or_default();
                sent.sent_centavos += one.amount_centavos;
                sent.sent_count += 1;
                let received = sums.entry(&one.credited).or_default();
                received.received_centavos += one.amount_centavos;
                received.received_count += 1;
            }
            let expected = sums.into_iter().map(|(account, sum)| proto::Total {
                account: account.to_owned(),
                ..sum
            });
            let totals = totals(&mut client, after, to).await;
            assert_eq!(
                totals.totals,
                expected.collect::<Vec<_>>(),
                "after {after} up to {to}"
            );
            assert_eq!(totals.count, i64::try_from(payments.len()).expect("small"));
            for one in payments {
                assert!((totals.first_sequence..=totals.last_sequence).contains(&one.sequence));
            }
        }
    }
    assert_eq!(
        totals(&mut client, head.batch, head.batch).await,
        proto::TotalsResponse::default()
    );
    for (after, to) in [(0, head.batch + 1), (-1, 1), (2, 1)] {
        let request = proto::TotalsRequest {
            shard: 0,
            after_batch: after,
            to_batch: to,
        };
        let refused = client.totals(request).await.expect_err("no such batches");
        assert_eq!(refused.code(), Code::OutOfRange, "after {after} up to {to}");
    }
    let elsewhere = client.head(proto::HeadRequest { shard: 1 }).await;
    assert_eq!(elsewhere.expect_err("one shard").code(), Code::NotFound);
}

#[tokio::test]
async fn events_name_the_one_before_them_over_restarts_and_when_old_ones_are_gone() {
    let mut spi = TestSpi::start().await;
    let refused = async |spi: &TestSpi| {
        let a = spi.bank(A);
        a.post(a.pacs_008(vec![a.order(B, "9000000.00")])).await;
        a.reader().hear_until(1).await;
    };
    pay(&spi, "1.00").await;
    refused(&spi).await;
    assert!(spi.stop().await.success());
    spi.run().await;
    pay(&spi, "1.00").await;
    spi.kill().await;
    spi.run().await;
    refused(&spi).await;
    pay(&spi, "1.00").await;
    assert_gapless(&spi).await;

    let before = told_as_settled(&spi).await;
    let before = before
        .last()
        .and_then(|event| event.position)
        .expect("some")
        .batch;
    assert!(spi.stop().await.success());
    let pruned = sqlx::query("DELETE FROM event")
        .execute(&mut spi.owner().await)
        .await;
    pruned.expect("as owner");
    spi.run().await;
    pay(&spi, "1.00").await;
    let told = told_as_settled(&spi).await;
    assert_eq!(told[0].position.expect("a position").previous, Some(before));
}

#[tokio::test]
async fn a_book_from_before_learns_from_its_events_which_batches_had_some() {
    let spi = TestSpi::start().await;
    let a = spi.bank(A);
    pay(&spi, "1.00").await;
    a.post(a.pacs_008(vec![a.order(B, "9000000.00")])).await;
    a.reader().hear_until(1).await;
    pay(&spi, "1.00").await;
    fund_for_sure(&settlement(&spi), &order(&uuid(1), A, 500)).await;
    let mut owner = spi.owner().await;
    let as_written = "CREATE TEMP TABLE written AS SELECT * FROM batch";
    let forget = "UPDATE batch SET latest_received = 0, latest_settled = 0, latest_refused = 0";
    let migration = include_str!("../../../../migrations/spi/20261121153100_latest_events.sql");
    let (_, learn) = migration
        .split_once(';')
        .expect("the columns, then what is in them");
    for statement in [as_written, forget, learn] {
        sqlx::query(statement).execute(&mut owner).await.expect(statement);
    }
    let differ: i64 = sqlx::query_scalar("SELECT count(*) FROM (TABLE batch EXCEPT TABLE written) AS differ")
        .fetch_one(&mut owner)
        .await
        .expect("as owner");
    assert_eq!(differ, 0);
    let told = "SELECT count(*) FROM batch
                WHERE latest_received > 0 AND latest_settled > 0 AND latest_refused > 0 AND latest_settled < number";
    assert!(spi.count(told).await > 0, "there is something to learn");
}

#[tokio::test]
async fn who_watches_has_all_accounts_and_then_the_newest_of_each() {
    let mut spi = TestSpi::start().await;
    let funder = settlement(&spi);
    let mut client = inside_as(&spi, "pix");
    accounts_are_open(&mut client).await;
    let watch = client.watch_accounts(proto::WatchAccountsRequest {}).await;
    let mut watch = watch.expect("a stream").into_inner();
    let first = watch.message().await.expect("told").expect("not at its end");
    let mut known = by_account(first);
    let opened = [A, B, C].map(|ispb| (ispb.to_owned(), (OPENING, 0)));
    assert_eq!(known, BTreeMap::from(opened), "without the funding account");

    // While nobody reads, nobody waits; and what came quickly is told together.
    const FUNDINGS: usize = 300;
    let orders = orders(FUNDINGS);
    for order in &orders {
        fund_for_sure(&funder, order).await;
    }
    let sum: i64 = orders.iter().map(|order| order.amount_centavos).sum();
    let (mut messages, mut batch) = (0, 0);
    while known[C].0 < OPENING + sum {
        let told = watch.message().await.expect("told").expect("not at its end");
        assert!(told.batch > batch, "in order");
        batch = told.batch;
        messages += 1;
        let news = by_account(told);
        assert!(news.keys().eq([C]), "only what changed: {news:?}");
        assert!(news[C] > known[C]);
        known.extend(news);
    }
    assert!(messages < FUNDINGS, "{messages} messages");
    assert_eq!(known[C], (OPENING + sum, 0));

    // What is blocked is told as well.
    let a = spi.bank(A);
    a.post(a.pacs_008(vec![a.order(B, "1.00")])).await;
    let told = watch.message().await.expect("told").expect("not at its end");
    assert_eq!(
        by_account(told),
        BTreeMap::from([(A.to_owned(), (OPENING - 100, 100))])
    );
    // An open watch keeps nobody from stopping, and its reader learns why it ended.
    assert!(spi.stop().await.success());
    let ended = watch.message().await.expect_err("it stopped");
    assert_eq!(ended.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_long_history_is_read_in_pages_and_who_dawdles_stops_nobody() {
    let mut spi = TestSpi::start().await;
    pay(&spi, "1.00").await;
    assert!(spi.stop().await.success());
    // A history as the book writes it: 1,500 batches of 20 settlements each, and one of 20,000.
    let mut owner = spi.owner().await;
    for statement in [
        "CREATE TEMP TABLE last AS SELECT * FROM batch ORDER BY number DESC LIMIT 1",
        "CREATE TEMP TABLE next AS
             SELECT number + n AS number, last_seq + (n - 1) * 20 + 1 AS first_seq, last_seq + n * 20 AS last_seq
             FROM last, generate_series(1, 1500) AS n
             UNION ALL
             SELECT number + 1501, last_seq + 30001, last_seq + 50000 FROM last",
        "INSERT INTO batch SELECT shard, next.number, next.first_seq, next.last_seq, next.last_seq + 1,
                                  last_outbox_id, decided_at, audit_hash, latest_received, next.number, latest_refused
         FROM last, next",
        "INSERT INTO posting (day, seq, shard, debit, credit, amount, end_to_end_id, at)
         SELECT (decided_at AT TIME ZONE 'UTC')::date, seq, 0, '11111111', '22222222', 1 + seq % 7,
                'E11111111202611211200' || lpad(seq::text, 11, '0'), decided_at
         FROM last, next, generate_series(next.first_seq, next.last_seq) AS seq",
    ] {
        sqlx::query(statement).execute(&mut owner).await.expect(statement);
    }
    spi.run().await;
    let mut client = inside_as(&spi, "pix");
    let mut dawdlers = Vec::new();
    for _ in 0..6 {
        // Each on a connection of its own: streams of one share its window.
        let mut client = inside_as(&spi, "dict");
        let request = proto::SettlementsRequest::default();
        let mut stream = client.settlements(request).await.expect("a stream").into_inner();
        stream.message().await.expect("told").expect("a batch");
        dawdlers.push((client, stream));
    }
    let head = head(&mut client).await;
    let batches = settlements(&mut client, 0, 0).await;
    assert_eq!(batches.len(), 1502);
    let previous: Vec<_> = batches.iter().map(|batch| batch.previous).collect();
    let mut expected = vec![0];
    expected.extend(batches.iter().map(|batch| batch.batch).take(1501));
    assert_eq!(previous, expected);
    let payments: Vec<_> = batches.iter().flat_map(|batch| &batch.payments).collect();
    assert_eq!(payments.len(), 50_001);
    assert!(payments.is_sorted_by_key(|payment| payment.sequence));
    let totals = totals(&mut client, 0, head.batch).await;
    assert_eq!((totals.count, totals.totals.len()), (50_001, 2));
    let sum: i64 = payments.iter().map(|payment| payment.amount_centavos).sum();
    assert_eq!(
        (totals.totals[0].sent_centavos, totals.totals[1].received_centavos),
        (sum, sum)
    );
    // Payments go on meanwhile.
    let before = head.settled_batch;
    let funded = fund_for_sure(&settlement(&spi), &order(&uuid(1), A, 1)).await;
    assert!(funded.batch > before);
}
