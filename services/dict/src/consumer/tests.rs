//! Events of the SPI, from a NATS of the test's own, to buckets and counts.

use async_nats::header::HeaderMap;
use pix_domain::{Category, EndToEndId, Ispb, KeyType, TaxId, Timestamp};
use pix_proto::spi_v1 as proto;
use pix_runtime::{ManualClock, SystemClock};
use pix_testkit::{OwnParts, StopSwitch, eventually};
use prost::Message as _;

use super::*;
use crate::buckets::{Ask, Parts};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/dict");
const SOON: Duration = Duration::from_secs(20);
const PAYER: &str = "52998224725";

async fn tell(client: &async_nats::Client, subject: &'static str, payload: Vec<u8>) {
    let mut headers = HeaderMap::new();
    headers.insert("ce-source", "/pix/spi/test");
    let context = async_nats::jetstream::new(client.clone());
    let sent = context
        .publish_with_headers(subject, headers, payload.into())
        .await
        .expect("NATS is there");
    sent.await.expect("it is kept");
}

async fn make_stream(client: &async_nats::Client) {
    let config = async_nats::jetstream::stream::Config {
        name: "PIX_SPI".to_owned(),
        subjects: vec!["pix.spi.*.v1".to_owned()],
        ..Default::default()
    };
    let context = async_nats::jetstream::new(client.clone());
    context.get_or_create_stream(config).await.expect("NATS is there");
}

fn position(batch: i64) -> Option<proto::Position> {
    Some(proto::Position {
        shard: 0,
        batch,
        decided_at_micros: pix_runtime::Clock::now(&SystemClock).as_micros(),
        previous: None,
    })
}

fn orders(batch: i64, id: EndToEndId) -> Vec<u8> {
    let order = proto::Order {
        end_to_end_id: id.to_string(),
        debtor_agent: "12345678".to_owned(),
        creditor_agent: "87654321".to_owned(),
        amount_centavos: 100,
        debtor_tax_id: PAYER.to_owned(),
    };
    let nobody = proto::Order {
        debtor_tax_id: String::new(), // from before tax ids were told
        ..order.clone()
    };
    proto::OrdersReceived {
        position: position(batch),
        orders: vec![nobody, order],
    }
    .encode_to_vec()
}

fn settlements(batch: i64) -> Vec<u8> {
    let payment = |key: Option<&str>| proto::Payment {
        sequence: 1,
        end_to_end_id: "E".to_owned(),
        debited: "12345678".to_owned(),
        credited: "87654321".to_owned(),
        amount_centavos: 100,
        creditor_tax_id: "11144477735".to_owned(),
        creditor_key: key.map(str::to_owned),
    };
    proto::PaymentsSettled {
        position: position(batch),
        payments: vec![
            payment(None),
            payment(Some("a@b.br")),
            payment(Some("no key at all")),
        ],
    }
    .encode_to_vec()
}

#[tokio::test]
async fn events_credit_and_count_once_through_redeliveries_and_a_purged_nats() {
    let mut parts = OwnParts::start().await;
    let database = pix_testkit::database("dict", &MIGRATIONS).await;
    let pool = pix_runtime::pg::pool(&database.url(), 4)
        .await
        .expect("Postgres is there");
    let redis = redis::Client::open(parts.redis.url()).expect("a URL");
    let clock = ManualClock::at(Timestamp::from_micros(1_800_000_000_000_000));
    let patient = redis::aio::ConnectionManagerConfig::new().set_response_timeout(Some(SOON));
    let redis = redis.get_connection_manager_with_config(patient).await;
    let parts_of_buckets = Parts {
        redis: redis.expect("Redis is there"),
        prefix: "test:".to_owned(),
        pool: pool.clone(),
        clock: std::sync::Arc::new(clock),
    };
    let buckets = Buckets::new(parts_of_buckets, SOON);
    let buckets = buckets.await.expect("Postgres is there");
    let client = pix_runtime::nats::connect("test", &parts.nats.url())
        .await
        .expect("a client");
    let (switch, stopping) = StopSwitch::new();
    let task = tokio::spawn(run(client.clone(), buckets.clone(), pool.clone(), stopping));

    let participant = Ispb::parse(b"12345678").expect("an ISPB");
    let id = EndToEndId::new(participant, Timestamp::from_micros(0), 7);
    let look_up = async |participant, end_to_end_id| {
        let ask = Ask::Lookup {
            participant,
            category: Category::H,
            payer: TaxId::parse(PAYER.as_bytes()).expect("a CPF"),
            key: KeyType::Email,
            end_to_end_id,
        };
        let admission = buckets.admit(&ask).await.expect("enough");
        buckets.settle(admission, 200).await;
    };
    for _ in 0..3 {
        look_up(participant, id).await;
    }
    // Another's lookup and order, told last: once it is credited, everything before it was heard.
    let other = Ispb::parse(b"87654321").expect("an ISPB");
    let last = EndToEndId::new(other, Timestamp::from_micros(0), 8);
    look_up(other, last).await;
    let left_of = async |participant| {
        let states = buckets.state(participant, Category::H).await;
        let state = states
            .iter()
            .find(|state| state.name == "ENTRIES_READ_PARTICIPANT_ANTISCAN");
        state.expect("a policy").available
    };
    let left = async || left_of(participant).await;
    let settled = async || {
        let sql = "SELECT (COALESCE((SELECT sum(count) FROM settled_to_person), 0) * 100
                   + COALESCE((SELECT sum(count) FROM settled_to_key), 0))::bigint";
        sqlx::query_scalar::<_, i64>(sql)
            .fetch_one(&pool)
            .await
            .expect("counted")
    };
    assert_eq!(left().await, 47);
    // The SPI makes the stream when it likes; until then nothing is heard, and nothing is lost.
    make_stream(&client).await;
    for batch in [1, 1, 2] {
        tell(&client, "pix.spi.order_received.v1", orders(batch, id)).await;
        tell(&client, "pix.spi.payment_settled.v1", settlements(batch)).await;
    }
    tell(&client, "pix.spi.order_received.v1", b"\xff\xff".to_vec()).await;
    eventually("two batches are counted", SOON, async || {
        (settled().await == 602).then_some(())
    })
    .await;
    eventually("the order is credited", SOON, async || {
        (left().await == 48).then_some(())
    })
    .await;

    // NATS loses everything and the SPI tells all again, and more.
    parts.nats_process.kill().await;
    std::fs::remove_dir_all(parts.folder().join("nats")).expect("its store goes");
    parts.nats_process.start().await;
    make_stream(&client).await;
    for batch in [1, 2, 3] {
        tell(&client, "pix.spi.order_received.v1", orders(batch, id)).await;
        tell(&client, "pix.spi.payment_settled.v1", settlements(batch)).await;
    }
    eventually("the third is counted", SOON, async || {
        (settled().await == 903).then_some(())
    })
    .await;
    tell(&client, "pix.spi.order_received.v1", orders(4, last)).await;
    eventually("the last order is credited", SOON, async || {
        (left_of(other).await == 50).then_some(())
    })
    .await;
    assert_eq!(left().await, 48, "and nothing twice");
    switch.stop();
    task.await.expect("it stops");
    parts.stop().await;
}
