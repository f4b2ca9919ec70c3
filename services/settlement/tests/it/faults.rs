//! What goes away, and comes back; and what happens at once.

use async_nats::jetstream;
use futures::StreamExt as _;
use futures::future::join_all;
use pix_proto::settlement_v1 as proto;
use pix_testkit::{Fault, OwnParts, eventually};
use prost::Message as _;
use tonic::{Code, Status};

use crate::support::{A, B, SOON, TestSettlement, Urls, indirect};

/// An indirect participant of A.
fn behind_a(number: usize) -> proto::AddRequest {
    indirect(&format!("1111{number:03}X"), A)
}

async fn add(settlement: &TestSettlement, asked: proto::AddRequest) -> Result<proto::Participant, Status> {
    let added = settlement.participants().add(asked).await;
    added.map(tonic::Response::into_inner)
}

/// Until it is answered otherwise than by UNAVAILABLE, or by a connection that was cut.
async fn added(settlement: &TestSettlement, asked: &proto::AddRequest) -> proto::Participant {
    eventually("it is added", SOON, || async {
        match add(settlement, asked.clone()).await {
            Ok(added) => Some(added),
            Err(status) => {
                assert!(
                    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled),
                    "{status}"
                );
                None
            }
        }
    })
    .await
}

/// The registry is what its changes say, and they are without a gap.
async fn assert_sound(settlement: &TestSettlement, versions: i64) {
    for (sql, wanted) in [
        ("SELECT version FROM registry", versions),
        ("SELECT count(*) FROM change", versions),
        ("SELECT COALESCE(max(version), 0) FROM change", versions),
        (
            "SELECT count(*) FROM participant p
             WHERE version <> (SELECT max(version) FROM change c WHERE c.ispb = p.ispb)",
            0,
        ),
    ] {
        assert_eq!(settlement.count(sql).await, wanted, "{sql}");
    }
}

#[tokio::test]
async fn kills_in_the_middle_lose_nothing_that_was_answered_and_leave_no_gap() {
    let mut settlement = TestSettlement::start().await;
    add(&settlement, settlement.direct(A)).await.expect("added");
    let all: Vec<_> = (0..60).map(behind_a).collect();
    let mut answered = Vec::new();
    for some in all.chunks(20) {
        let before = settlement.count("SELECT version FROM registry").await;
        let under_way = join_all(some.iter().map(|asked| add(&settlement, asked.clone())));
        let in_the_middle = async {
            eventually("a few are added", SOON, || async {
                (settlement.count("SELECT version FROM registry").await > before + 3).then_some(())
            })
            .await;
            settlement.strike();
        };
        let (answers, ()) = tokio::join!(under_way, in_the_middle);
        answered.extend(answers.into_iter().flatten());
        settlement.kill().await;
        settlement.run().await;
    }
    let mut stream = settlement.changes("", 0).await;
    let ends = join_all(all.iter().map(|asked| added(&settlement, asked))).await;
    for before in &answered {
        assert!(ends.contains(before), "what was answered stays answered");
    }
    assert_sound(&settlement, 61).await;
    assert_eq!(stream.versions(61).await, (1..=61).collect::<Vec<_>>());
}

#[tokio::test]
async fn two_processes_that_write_at_once_give_each_version_once_and_both_tell_of_all() {
    let first = TestSettlement::start().await;
    add(&first, first.direct(A)).await.expect("added");
    let second = first.beside().await;
    let (mut of_first, mut of_second) = (first.changes("", 0).await, second.changes("", 0).await);
    let asked: Vec<_> = (0..40).map(behind_a).collect();
    let writes = asked.iter().enumerate();
    let ends = join_all(writes.map(|(n, asked)| added([&first, &second][n % 2], asked))).await;
    let mut versions: Vec<_> = ends.iter().map(|end| end.version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..=41).collect::<Vec<_>>());
    for stream in [&mut of_first, &mut of_second] {
        assert_eq!(stream.versions(41).await, (1..=41).collect::<Vec<_>>());
    }
    assert_sound(&first, 41).await;
    let list = async |settlement: &TestSettlement| {
        let listed = settlement.participants().list(proto::ListRequest {}).await;
        listed.expect("listed").into_inner()
    };
    let of_second = eventually("the other one knows all", SOON, || async {
        Some(list(&second).await).filter(|listed| listed.version == 41)
    })
    .await;
    assert_eq!(of_second.participants, list(&first).await.participants);
}

#[tokio::test]
async fn one_ispb_that_is_added_by_many_at_once_is_the_first_ones() {
    let first = TestSettlement::start().await;
    let second = first.beside().await;
    let asked: Vec<_> = (0..12)
        .map(|n| proto::AddRequest {
            name: format!("Banco {}", n % 3),
            ..first.direct(A)
        })
        .collect();
    let answers = asked
        .iter()
        .enumerate()
        .map(|(n, asked)| add([&first, &second][n % 2], asked.clone()));
    let answers = join_all(answers).await;
    let winner = answers.iter().flatten().next().expect("somebody won").clone();
    assert_eq!(winner.version, 1);
    for (asked, answer) in asked.iter().zip(answers) {
        match answer {
            Ok(added) => assert_eq!((&added, &asked.name), (&winner, &winner.name)),
            Err(status) => assert_eq!(status.code(), Code::AlreadyExists, "{status}"),
        }
    }
    assert_sound(&first, 1).await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_asked_for_again_and_done_once() {
    let (urls, proxy) = Urls::shared().await.behind_proxy().await;
    let settlement = TestSettlement::start_on(urls, &[]).await;
    add(&settlement, settlement.direct(A)).await.expect("added");
    // Cut ever a little later in the conversation, until a change was there whose answer was lost.
    let (mut octets, mut number, mut lost) = (0, 0, 0);
    while lost == 0 {
        assert!(number < 200, "no answer to a COMMIT was cut off");
        octets = (octets + 13) % 1500;
        let asked = behind_a(number);
        number += 1;
        proxy.set(Fault::CutAnswerAfter(octets));
        let first = add(&settlement, asked.clone()).await;
        let there = settlement.count("SELECT version FROM registry").await;
        proxy.set(Fault::None);
        let versions = i64::try_from(number).expect("few") + 1;
        match &first {
            Ok(added) => assert_eq!(added.version, versions),
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                lost += i32::from(there == versions);
            }
        }
        assert_eq!(added(&settlement, &asked).await.version, versions);
        assert_sound(&settlement, versions).await;
    }
}

#[tokio::test]
async fn without_nats_everything_goes_on_and_every_event_is_told_when_it_is_back() {
    let mut parts = OwnParts::start().await;
    let urls = Urls::own(&parts).await;
    parts.nats_process.kill().await;
    let mut settlement = TestSettlement::start_on(urls, &[]).await;
    let mut stream = settlement.changes("", 0).await;
    add(&settlement, settlement.direct(A)).await.expect("added");
    add(&settlement, settlement.direct(B)).await.expect("added");
    assert_eq!(stream.versions(2).await, [1, 2]);
    assert_eq!(settlement.ask("/status").await["events_waiting"], 2);
    settlement.kill().await;
    settlement.run().await;
    parts.nats_process.start().await;
    eventually("nothing waits", SOON, || async {
        (settlement.ask("/status").await["events_waiting"] == 0).then_some(())
    })
    .await;
    let context = jetstream::new(
        async_nats::connect(parts.nats.url())
            .await
            .expect("NATS is there"),
    );
    let stream = context.get_stream("PIX_SETTLEMENT").await.expect("it was made");
    let consumer = stream
        .create_consumer(jetstream::consumer::pull::Config::default())
        .await
        .expect("a consumer");
    let mut messages = consumer.messages().await.expect("messages");
    let registry = settlement.ask("/status").await["registry"]
        .as_str()
        .expect("a name")
        .to_owned();
    for (version, ispb) in [(1, A), (2, B)] {
        let message = messages.next().await.expect("a message").expect("delivered");
        assert_eq!(message.subject.as_str(), "pix.settlement.participant_changed.v1");
        let headers = message.headers.as_ref().expect("headers");
        let header = |name: &str| headers.get(name).map(ToString::to_string).unwrap_or_default();
        assert_eq!(header("ce-source"), "/pix/settlement");
        assert_eq!(header("ce-type"), message.subject.as_str());
        assert_eq!(header("ce-id"), header("Nats-Msg-Id"));
        assert!(header("ce-id").contains(&registry));
        let told = proto::ParticipantChanged::decode(message.payload.clone()).expect("the event");
        assert_eq!((told.version, told.ispb.as_str()), (version, ispb));
    }
    assert!(settlement.stop().await.success(), "{}", settlement.log());
    parts.stop().await;
}

#[tokio::test]
async fn a_postgres_that_comes_back_is_written_to_again_and_what_was_known_is_told_meanwhile() {
    let mut parts = OwnParts::start().await;
    let mut settlement = TestSettlement::start_on(Urls::own(&parts).await, &[]).await;
    let known = add(&settlement, settlement.direct(A)).await.expect("added");
    parts.postgres_process.kill().await;
    let refused = add(&settlement, settlement.direct(B))
        .await
        .expect_err("Postgres is away");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let get = proto::GetRequest { ispb: A.to_owned() };
    let told = settlement.participants().get(get).await.expect("it is known");
    assert_eq!(told.into_inner(), known);
    parts.postgres_process.start().await;
    let next = added(&settlement, &settlement.direct(B)).await;
    assert_eq!(next.version, 2);
    assert_eq!(settlement.changes("", 0).await.versions(2).await, [1, 2]);
    assert!(settlement.stop().await.success(), "{}", settlement.log());
    parts.stop().await;
}

#[tokio::test]
async fn a_stop_ends_streams_that_have_no_end() {
    let mut settlement = TestSettlement::start().await;
    add(&settlement, settlement.direct(A)).await.expect("added");
    let mut stream = settlement.changes("", 0).await;
    assert_eq!(stream.versions(1).await, [1]);
    let (status, end) = tokio::join!(settlement.stop(), stream.try_next());
    assert!(status.success());
    assert_eq!(end.expect_err("an end").code(), Code::Unavailable);
    assert!(
        !settlement.log().contains("aborting tasks"),
        "{}",
        settlement.log()
    );
}

#[tokio::test]
async fn settings_that_cannot_work_are_told_before_anything_starts() {
    for spi in ["http://127.0.0.1:6002", "https://", "spi"] {
        let urls = Urls {
            spi: spi.to_owned(),
            ..Urls::shared().await
        };
        let mut settlement = TestSettlement::prepare(urls, &[]).await;
        let status = settlement.run_to_its_end().await;
        assert_eq!(status.code(), Some(78), "{spi}: {}", settlement.log());
        assert!(
            settlement.log().contains("spi.url"),
            "{spi}: {}",
            settlement.log()
        );
    }
}
