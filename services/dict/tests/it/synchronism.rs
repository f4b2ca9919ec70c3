//! What is kept beside the entries: synchronism, history, rights.

use pix_dict_api::UpdateEntry;
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::support::{A, B, TestDict};

/// VSync by participant and kind, computed anew from the entries, against what is stored.
const VSYNC_DIFFERS: &str = "
    WITH computed AS (
        SELECT participant, key_type, bit_xor(('x' || encode(cid, 'hex'))::bit(256)) AS value
        FROM entry GROUP BY participant, key_type)
    SELECT count(*) FROM vsync v LEFT JOIN computed c USING (participant, key_type)
    WHERE v.value <> COALESCE(c.value, 0::bit(256))";
/// The last event of each set says what the set's VSync is.
const LAST_EVENT_DIFFERS: &str = "
    SELECT count(*) FROM vsync v WHERE v.value IS DISTINCT FROM (
        SELECT vsync_after FROM cid_event e
        WHERE e.participant = v.participant AND e.key_type = v.key_type ORDER BY id DESC LIMIT 1)";
/// Each event's VSync is the one before it with its CID.
const EVENTS_BREAK: &str = "
    SELECT count(*) FROM (
        SELECT vsync_after, ('x' || encode(cid, 'hex'))::bit(256) AS cid,
               COALESCE(lag(vsync_after) OVER (PARTITION BY participant, key_type ORDER BY id), 0::bit(256)) AS before
        FROM cid_event) AS chain
    WHERE vsync_after <> before # cid";
/// The set that the events add up to is that of the entries.
const EVENTS_DIFFER: &str = "
    SELECT count(*) FROM (
        SELECT cid FROM cid_event GROUP BY cid HAVING sum(CASE kind WHEN 'ADDED' THEN 1 ELSE -1 END) = 1
        EXCEPT SELECT cid FROM entry) AS differing";

#[tokio::test]
async fn vsync_and_cid_events_agree_with_the_entries_after_any_mix_of_changes() {
    let dict = TestDict::start().await;
    let banks = [dict.bank(A), dict.bank(B)];
    let chance = pix_runtime::Ids::seeded(7);
    let mut held: Vec<Vec<pix_dict_api::Entry>> = vec![Vec::new(), Vec::new()];
    for _ in 0..120 {
        let turn = chance.u128();
        let side = usize::from(turn & 1 == 1);
        let (bank, keys) = (&banks[side], &mut held[side]);
        let at = usize::try_from((turn >> 8) % 64).expect("small") % keys.len().max(1);
        match (turn >> 1) % 4 {
            0 | 1 => {
                let create = match turn >> 3 & 1 {
                    0 => bank.new_phone(),
                    _ => bank.create_of(bank.entry("EVP", None)),
                };
                keys.push(bank.register(create.entry).await);
            }
            2 if !keys.is_empty() => {
                let entry = keys.swap_remove(at);
                assert_eq!(bank.delete(entry.key.as_str()).await.status, 200);
            }
            _ if !keys.is_empty() => {
                let entry = &keys[at];
                let mut owner = pix_dict_api::OwnerText::from(&entry.owner);
                owner.name = if turn >> 20 & 1 == 0 { "Ana" } else { "Bia" }.to_owned();
                let update = UpdateEntry {
                    key: entry.key.as_str().to_owned(),
                    account: Some((&entry.account).into()),
                    owner: Some(owner),
                    reason: "RFB_VALIDATION".to_owned(),
                };
                assert_eq!(bank.update(&update).await.status, 200);
            }
            _ => {}
        }
    }
    for check in [VSYNC_DIFFERS, LAST_EVENT_DIFFERS, EVENTS_BREAK, EVENTS_DIFFER] {
        assert_eq!(dict.count(check).await, 0, "{check}");
    }
    // And each stored identifier is the one that its content has.
    for (bank, keys) in banks.iter().zip(&held) {
        let sets = dict.ask(&format!("/participants/{}", bank.ispb)).await;
        let entries: i64 = sets["sets"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|set| set["entries"].as_i64().expect("a number"))
            .sum();
        assert_eq!(entries, i64::try_from(keys.len()).expect("few"));
    }
}

#[tokio::test]
async fn the_serving_role_may_not_touch_what_is_history() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    bank.register(bank.new_phone().entry).await;
    let mut server = PgConnection::connect(&dict.urls.server)
        .await
        .expect("the role may connect");
    for statement in [
        "UPDATE entry_history SET reason = ''",
        "DELETE FROM entry_history",
        "UPDATE cid_event SET kind = 'REMOVED'",
        "DELETE FROM cid_event",
        "UPDATE create_request SET answer = NULL",
        "DELETE FROM create_request",
        "DELETE FROM vsync",
        "DROP TABLE entry",
    ] {
        let refused = sqlx::query(statement).execute(&mut server).await;
        let code = match refused.expect_err(statement) {
            sqlx::Error::Database(error) => error.code().map(std::borrow::Cow::into_owned),
            other => panic!("{statement}: {other}"),
        };
        assert_eq!(code.as_deref(), Some("42501"), "{statement}");
    }
}

#[tokio::test]
async fn a_lookup_reads_one_index_of_one_partition() {
    let dict = TestDict::start().await;
    let mut owner = dict.owner().await;
    sqlx::raw_sql(
        "INSERT INTO entry (key_type, key, participant, account_number, account_type, opened_at, tax_id, name,
                            created_at, owned_since, request_id, cid)
         SELECT 'PHONE', '+5561' || n, '12345678', n::text, 'CACC', now(), '52998224725', 'Ana', now(), now(),
                uuid_send(gen_random_uuid()), decode(md5(n::text) || md5('x' || n), 'hex')
         FROM generate_series(1, 20000) AS n;
         ANALYZE entry;
         SET plan_cache_mode = force_generic_plan;
         PREPARE lookup (text) AS SELECT * FROM entry WHERE key_type = 'PHONE' AND key = $1;",
    )
    .execute(&mut owner)
    .await
    .expect("as owner");
    let rows = sqlx::query("EXPLAIN (COSTS OFF) EXECUTE lookup('+556177')")
        .fetch_all(&mut owner)
        .await
        .expect("a plan");
    let plan: Vec<String> = rows.iter().map(|row| row.try_get(0).expect("text")).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("Index Scan using entry_phone_pkey"), "{plan}");
    assert!(!plan.contains("Append") && !plan.contains("Seq"), "{plan}");
    let bank = dict.bank(B);
    assert_eq!(
        bank.entry_of(&bank.look_up("+556177").await).key.as_str(),
        "+556177"
    );
}
