//! What goes away, and comes back.

use async_nats::jetstream;
use futures::StreamExt as _;
use futures::future::join_all;
use pix_proto::dict_v1 as proto;
use pix_testkit::{Fault, OwnParts, eventually};
use prost::Message as _;
use sqlx::Row as _;

use crate::support::{A, B, SOON, TestDict};

#[tokio::test]
async fn a_kill_in_the_middle_loses_nothing_that_was_answered_and_doubles_nothing() {
    let mut dict = TestDict::start().await;
    let bank = dict.bank(A);
    let creates: Vec<_> = (0..40).map(|_| bank.new_phone()).collect();
    let bodies: Vec<_> = creates.iter().map(|create| bank.sealed_create(create)).collect();
    let (first, rest) = bodies.split_at(10);
    for body in first {
        assert_eq!(bank.post("/api/v2/entries/", body.clone()).await.status, 201);
    }
    let send = |body: &Vec<u8>| {
        bank.try_send(
            http::Method::POST,
            &bank.api,
            "/api/v2/entries/",
            &[crate::support::XML],
            body.clone(),
        )
    };
    let under_way = join_all(rest.iter().map(send));
    let (answered, ()) = tokio::join!(under_way, dict.kill());
    let answered: Vec<_> = answered.into_iter().map(Result::ok).collect();
    assert!(answered.iter().any(Option::is_none), "the kill cut no request");
    dict.run().await;

    for (body, before) in rest.iter().zip(&answered) {
        let again = bank.post("/api/v2/entries/", body.clone()).await;
        assert_eq!(again.status, 201);
        if let Some(before) = before {
            assert_eq!(again.body, before.body, "what was answered stays answered");
        }
    }
    for table in [
        "SELECT count(*) FROM entry",
        "SELECT count(*) FROM entry_history",
        "SELECT count(*) FROM create_request",
        "SELECT count(*) FROM cid_event",
    ] {
        assert_eq!(dict.count(table).await, 40, "{table}");
    }
    assert!(dict.stop().await.success(), "{}", dict.log());
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_unknown_and_its_repeat_gets_the_first_answer() {
    let (mut dict, proxy) = TestDict::start_behind_proxy().await;
    let bank = dict.bank(A);
    let answer = async || {
        let row = sqlx::query("SELECT answer FROM create_request ORDER BY at DESC LIMIT 1")
            .fetch_optional(&mut dict.owner().await)
            .await
            .expect("the table is there");
        row.map(|row| row.get::<Vec<u8>, _>(0))
    };
    // What is sent arrives, and what is answered does not: cut ever a little later in the conversation, with steps
    // shorter than the answer to a COMMIT (18 octets), until one was cut off and one conversation was whole.
    let (mut octets, mut registered, mut unknown, mut uncut) = (0, 0_i64, 0, 0);
    let mut before = None;
    while unknown == 0 || uncut == 0 {
        assert!(registered < 500, "{unknown} unknown, {uncut} whole");
        octets = (octets + 7) % 1000;
        let create = bank.new_phone();
        proxy.set(Fault::CutAnswerAfter(octets));
        let first = bank.create(&create).await;
        proxy.set(Fault::None);
        let stored = answer().await;
        match first.status {
            201 => uncut += 1,
            500 => unknown += i32::from(stored != before),
            status => assert_eq!((status, &stored), (503, &before), "503 is: nothing was done"),
        }
        let again = eventually("the repeat is answered", SOON, || async {
            let again = bank.create(&create).await;
            (again.status == 201).then_some(again)
        })
        .await;
        if first.status == 201 {
            assert_eq!(again.body, first.body);
        } else if stored != before {
            assert_eq!(
                Some(again.body.to_vec()),
                stored,
                "what was written is what is answered"
            );
        }
        before = answer().await;
        registered += 1;
    }
    for table in [
        "SELECT count(*) FROM entry",
        "SELECT count(*) FROM entry_history",
        "SELECT count(*) FROM create_request",
        "SELECT count(*) FROM cid_event",
    ] {
        assert_eq!(dict.count(table).await, registered, "{table}");
    }
    assert!(dict.stop().await.success(), "{}", dict.log());
}

#[tokio::test]
async fn lookups_of_a_postgres_that_says_nothing_end_together_and_in_time() {
    let (dict, proxy) = TestDict::start_behind_proxy().await;
    let (a, b) = (dict.bank(A), dict.bank(B));
    let key = a.register(a.new_phone().entry).await.key;
    assert_eq!(b.look_up(key.as_str()).await.status, 200);
    proxy.set(Fault::Hold);
    let asked = std::time::Instant::now();
    let payers: Vec<String> = (0..48)
        .map(|number| format!("{:011}", 70_000_000_000_u64 + number))
        .collect();
    let answers = join_all(payers.iter().map(|payer| b.look_up_as(payer, key.as_str()))).await;
    assert!(answers.iter().all(|answer| answer.status == 503));
    assert!(asked.elapsed().as_secs() < 6, "{:?}", asked.elapsed());
    proxy.set(Fault::None);
    eventually("it answers again", SOON, || async {
        (b.look_up(key.as_str()).await.status == 200).then_some(())
    })
    .await;
}

/// Reads events until `count` are there, by subject; keys stay out of subjects and headers.
async fn hear(url: &str, count: usize) -> Vec<(String, proto::EntryChanged)> {
    let client = async_nats::connect(url).await.expect("NATS is there");
    let context = jetstream::new(client);
    let stream = eventually("the stream is there", SOON, || async {
        context.get_stream("PIX_DICT").await.ok()
    })
    .await;
    let config = jetstream::consumer::pull::Config::default();
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    let mut messages = consumer.messages().await.expect("messages");
    let mut heard = Vec::new();
    let reading = async {
        while heard.len() < count {
            let message = messages.next().await.expect("a stream").expect("a message");
            let changed = proto::EntryChanged::decode(message.payload.clone()).expect("an event");
            let headers = format!("{:?}", message.headers);
            assert!(!headers.contains(&changed.key) && !message.subject.contains(&changed.key));
            message.ack().await.expect("acknowledged");
            heard.push((message.subject.to_string(), changed));
        }
    };
    let in_time = tokio::time::timeout(SOON, reading).await;
    assert!(in_time.is_ok(), "heard only {} of {count}", heard.len());
    heard
}

#[tokio::test]
async fn parts_that_go_away_cost_no_answer_but_postgres() {
    let mut parts = OwnParts::start().await;
    let mut dict = TestDict::start_on_own(&parts).await;
    let (a, b) = (dict.bank(A), dict.bank(B));
    let create = a.new_phone();
    let key = create.entry.key.clone().expect("a phone");
    let entry = a.register(create.entry.clone()).await;
    let mut owner = create.entry.owner.clone();
    owner.name = "Maria Silva".to_owned();
    let update = pix_dict_api::UpdateEntry {
        key: key.clone(),
        account: Some(create.entry.account.clone()),
        owner: Some(owner),
        reason: "USER_REQUESTED".to_owned(),
    };
    assert_eq!(a.update(&update).await.status, 200);
    assert_eq!(a.delete(&key).await.status, 200);
    let heard = hear(&parts.nats.url(), 3).await;
    let subjects: Vec<&str> = heard.iter().map(|(subject, _)| subject.as_str()).collect();
    assert_eq!(
        subjects,
        [
            "pix.dict.entry_created.v1",
            "pix.dict.entry_updated.v1",
            "pix.dict.entry_deleted.v1"
        ]
    );
    let [(_, created), (_, updated), (_, deleted)] = &heard[..] else {
        panic!("three events");
    };
    assert_eq!((&*created.key, &created.cid_before), (entry.key.as_str(), &None));
    assert_eq!(created.cid_after, updated.cid_before);
    assert_eq!(
        (&updated.cid_after, &deleted.cid_after),
        (&deleted.cid_before, &None)
    );
    assert!(created.sequence < updated.sequence && updated.sequence < deleted.sequence);

    // NATS and Redis away: everything is answered.
    parts.nats_process.kill().await;
    parts.redis_process.kill().await;
    let held = a.register(a.new_phone().entry).await;
    let found = b.entry_of(&b.look_up(held.key.as_str()).await);
    assert_eq!(found.key, held.key);
    assert_eq!(b.get_own("/api/v2/policies/").await.status, 200);
    // NATS comes back without its store: the stream is made again and what waited is told.
    std::fs::remove_dir_all(parts.folder().join("nats/store")).ok();
    for entry in std::fs::read_dir(parts.folder().join("nats"))
        .expect("readable")
        .flatten()
    {
        if entry.path().is_dir() {
            std::fs::remove_dir_all(entry.path()).expect("erased");
        }
    }
    parts.nats_process.start().await;
    parts.redis_process.start().await;
    let heard = hear(&parts.nats.url(), 1).await;
    assert_eq!(heard[0].1.key, held.key.as_str());

    // Postgres away: nothing is done, and a repeat does it.
    let create = a.new_phone();
    parts.postgres_process.kill().await;
    let answer = a.create(&create).await;
    assert!(matches!(answer.status, 500 | 503), "{}", answer.status);
    let answer = b.look_up(held.key.as_str()).await;
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains_key("retry-after"));
    parts.postgres_process.start().await;
    eventually("it is registered", SOON, || async {
        (a.create(&create).await.status == 201).then_some(())
    })
    .await;
    let found = b.entry_of(&b.look_up(held.key.as_str()).await);
    assert_eq!(found.key, held.key);
    assert!(dict.stop().await.success(), "{}", dict.log());
    parts.stop().await;
}
