//! Figures from tables.

use dict_core::statistics::Day;
use pix_dict_api::{Account, Owner, Windowed};
use pix_domain::{AccountNumber, AccountType, Branch, Ispb, Key, TaxId, Text};
use pix_testkit::TestDatabase;
use sqlx::AssertSqlSafe;

use super::*;
use crate::adapters::pg_statistics::{Settled, count};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/dict");
const NOW: &str = "2026-11-21T12:00:00.000Z";
const OWNER: &str = "52998224725";
const KEY: &str = "+5561988887777";

fn at(wire: &str) -> Timestamp {
    Timestamp::parse(wire.as_bytes()).expect(wire)
}

fn owner() -> TaxId {
    TaxId::parse(OWNER.as_bytes()).expect("a CPF")
}

fn entry() -> Entry {
    Entry {
        key: Key::guess(KEY).expect("a key"),
        account: Account {
            participant: Ispb::parse(b"12345678").expect("an ISPB"),
            branch: Some(Branch::parse(b"1").expect("a branch")),
            number: AccountNumber::parse(b"1").expect("a number"),
            kind: AccountType::Current,
            opened_at: at(NOW),
        },
        owner: Owner {
            tax_id: owner(),
            name: Text::parse("Fulano").expect("a name"),
            trade_name: None,
        },
        created_at: at(NOW),
        owned_since: at(NOW),
        claim_opened_at: None,
    }
}

fn settled(batch: i64, decided_at: &str, payments: usize, by_key: usize) -> Settled {
    Settled {
        source: "/pix/spi/one".to_owned(),
        shard: 0,
        batch,
        decided_at: at(decided_at),
        persons: vec![owner(); payments],
        keys: vec![Key::guess(KEY).expect("a key"); by_key],
    }
}

async fn database() -> (TestDatabase, PgPool) {
    let database = pix_testkit::database("dict", &MIGRATIONS).await;
    let pool = pix_runtime::pg::pool(&database.url(), 2)
        .await
        .expect("Postgres is there");
    (database, pool)
}

async fn run(pool: &PgPool, sql: String) {
    sqlx::query(AssertSqlSafe(sql))
        .execute(pool)
        .await
        .expect("it runs");
}

fn windowed(d90: u64, m12: u64, m60: u64) -> Windowed {
    Windowed { d90, m12, m60 }
}

#[tokio::test]
async fn settlements_fall_into_the_windows_of_their_day_in_brasilia() {
    let (_database, pool) = database().await;
    let told = of(&pool, &entry(), at(NOW)).await.expect("read");
    assert_eq!(told.owner.spi.settlements, Windowed::default());
    assert_eq!(told.owner.spi.watermark, at(NOW), "nothing was heard yet");
    for (batch, decided_at, payments, by_key) in [
        (1, "2026-11-21T11:00:00.000Z", 3, 2),   // today: d90
        (2, "2026-11-01T02:59:59.999Z", 5, 0),   // still October: d90, m12, m60
        (3, "2026-08-24T03:00:00.000Z", 7, 1),   // the first instant of d90
        (4, "2026-08-24T02:59:59.999Z", 11, 1),  // the last before: m12, m60
        (5, "2025-11-01T03:00:00.000Z", 13, 1),  // the first instant of m12
        (6, "2025-11-01T02:59:59.999Z", 17, 0),  // m60
        (7, "2021-11-01T02:59:59.999Z", 19, 19), // too long ago
    ] {
        let batch = settled(batch, decided_at, payments, by_key);
        assert_eq!(count(&pool, &[batch]).await.expect("counted"), 1);
    }
    let told = of(&pool, &entry(), at(NOW)).await.expect("read");
    assert_eq!(
        told.owner.spi.settlements,
        windowed(3 + 5 + 7, 5 + 7 + 11 + 13, 5 + 7 + 11 + 13 + 17)
    );
    assert_eq!(told.key.spi.settlements, windowed(2 + 1, 1 + 1 + 1, 1 + 1 + 1));
    assert_eq!(told.key.spi.watermark, at("2026-11-21T11:00:00.000Z"));
    assert_eq!(told.key.fraud_markers, FraudMarkerStatistics::none(at(NOW)));
    let by_day: i64 =
        sqlx::query_scalar("SELECT count(*) FROM settled_to_person WHERE day = date '1970-01-01' + $1::int")
            .bind(Day::of(at("2026-11-01T02:59:59.999Z")).get())
            .fetch_one(&pool)
            .await
            .expect("counted");
    assert_eq!(by_day, 1);
}

#[tokio::test]
async fn a_batch_counts_once_for_each_book() {
    let (_database, pool) = database().await;
    let mut batch = settled(1, NOW, 2, 1);
    let told = [batch.clone(), batch.clone()];
    assert_eq!(
        count(&pool, &told).await.expect("counted"),
        1,
        "told twice at once"
    );
    assert_eq!(count(&pool, &told[..1]).await.expect("not again"), 0);
    batch.source = "/pix/spi/two".to_owned();
    assert_eq!(count(&pool, &[batch]).await.expect("another book"), 1);
    // Many at once, the same twice, in either order: nobody waits for ever, and each counts once.
    let counting = (2..10)
        .map(|n| [n, n + 1])
        .chain((2..10).map(|n| [n + 1, n]))
        .map(|told| {
            let (pool, told) = (pool.clone(), told.map(|n| settled(n, NOW, 3, 3)));
            tokio::spawn(async move { count(&pool, &told).await.expect("counted") })
        });
    let mut counted = 0;
    for done in counting.collect::<Vec<_>>() {
        counted += done.await.expect("no panic");
    }
    assert_eq!(counted, 9);
    let told = of(&pool, &entry(), at(NOW)).await.expect("read");
    assert_eq!(told.owner.spi.settlements.d90, 2 + 2 + 9 * 3);
    assert_eq!(told.key.spi.settlements.d90, 1 + 1 + 9 * 3);
    pg_statistics::forget(&pool, at(NOW).plus(std::time::Duration::from_secs(1)))
        .await
        .expect("forgotten");
    assert_eq!(
        of(&pool, &entry(), at(NOW))
            .await
            .expect("read")
            .owner
            .spi
            .settlements
            .d90,
        31,
        "what was counted stays"
    );
}

#[tokio::test]
async fn accounts_are_counted_once_however_their_branch_is_written() {
    let (_database, pool) = database().await;
    let row = |number: &str, branch: &str, key: &str| {
        format!(
            "'PHONE', '{key}', '12345678', '{branch}', '{number}', 'CACC', now(), '{OWNER}', 'Fulano', now(), now(),
             decode(repeat('00', 16), 'hex')"
        )
    };
    for (n, (number, branch)) in [("1", "0001"), ("1", "1"), ("2", "1")].into_iter().enumerate() {
        let row = row(number, branch, &format!("+556198888777{n}"));
        run(
            &pool,
            format!(
                "INSERT INTO entry (key_type, key, participant, branch, account_number, account_type, opened_at,
                     tax_id, name, created_at, owned_since, request_id, cid)
                 VALUES ({row}, decode(repeat('00', 32), 'hex'))"
            ),
        )
        .await;
    }
    for (sequence, change, at, number, branch) in [
        (1, "CREATED", "2020-01-01", "9", "1"),
        (2, "UPDATED", "2026-05-05", "1", "1"),
        (3, "UPDATED", "2026-10-01", "1", "0001"),
        (4, "UPDATED", "2026-11-20", "2", "1"),
        (5, "DELETED", "2026-11-20", "3", "1"),
    ] {
        let row = row(number, branch, KEY);
        run(
            &pool,
            format!(
                "INSERT INTO entry_history (sequence, change, reason, at, key_type, key, participant, branch,
                     account_number, account_type, opened_at, tax_id, name, created_at, owned_since, request_id, cid)
                 VALUES ({sequence}, '{change}', 'USER_REQUESTED', '{at} 12:00Z', {row},
                     decode(repeat('00', 32), 'hex'))"
            ),
        )
        .await;
    }
    let told = of(&pool, &entry(), at(NOW)).await.expect("read");
    assert_eq!(told.owner.entries.registered_accounts, 2);
    assert_eq!(told.key.entries.distinct_accounts, windowed(2, 1, 1));
}
