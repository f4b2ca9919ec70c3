//! What is kept beside the entries: synchronism, history, rights.

use futures::future::join_all;
use pix_dict_api::{AccountText, Entry, OwnerText, UpdateEntry};
use pix_domain::RequestId;
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::support::{A, B, Bank, TestDict};

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
/// The set that the events add up to is that of the entries: neither has one that the other lacks.
const EVENTS_DIFFER: &str = "
    WITH told AS (
        SELECT cid FROM cid_event GROUP BY cid HAVING sum(CASE kind WHEN 'ADDED' THEN 1 ELSE -1 END) = 1)
    SELECT count(*) FROM (
        (SELECT cid FROM told EXCEPT SELECT cid FROM entry)
        UNION ALL (SELECT cid FROM entry EXCEPT SELECT cid FROM told)) AS differing";

/// One participant's changes, drawn with `chance`; the entries that it holds at the end.
async fn change(bank: &Bank, chance: pix_runtime::Ids) -> Vec<Entry> {
    let mut held: Vec<Entry> = Vec::new();
    for _ in 0..40 {
        let turn = chance.u128();
        let at = usize::try_from((turn >> 8) % 64).expect("small") % held.len().max(1);
        match (turn >> 1) % 4 {
            2 if !held.is_empty() => {
                let entry = held.swap_remove(at);
                assert_eq!(bank.delete(entry.key.as_str()).await.status, 200);
            }
            3 if !held.is_empty() => {
                let entry = &held[at];
                let mut owner = OwnerText::from(&entry.owner);
                owner.name = if turn >> 20 & 1 == 0 { "Ana" } else { "Bia" }.to_owned();
                let mut account = AccountText::from(&entry.account);
                // One branch in two ways to write it: the entry says which, and so does its identifier.
                account.branch = Some(if turn >> 21 & 1 == 0 { "1" } else { "0001" }.to_owned());
                let update = UpdateEntry {
                    key: entry.key.as_str().to_owned(),
                    account: Some(account),
                    owner: Some(owner),
                    reason: "RFB_VALIDATION".to_owned(),
                };
                held[at] = bank.entry_of(&bank.update(&update).await);
            }
            _ => {
                let mut entry = match turn >> 3 & 1 {
                    0 => bank.entry("PHONE", Some(&bank.phone())),
                    _ => bank.entry("EVP", None),
                };
                if turn >> 21 & 1 == 0 {
                    entry.account.branch = Some("1".to_owned());
                }
                held.push(bank.register(entry).await);
            }
        }
    }
    held
}

#[tokio::test]
async fn identifiers_vsync_and_cid_events_agree_with_the_entries_after_any_mix_of_changes() {
    let dict = TestDict::start().await;
    let banks = [A, B, A, B].map(|ispb| dict.bank(ispb));
    let changes = banks
        .iter()
        .zip(7..)
        .map(|(bank, seed)| change(bank, pix_runtime::Ids::seeded(seed)));
    let held: Vec<Entry> = join_all(changes).await.into_iter().flatten().collect();
    for check in [VSYNC_DIFFERS, LAST_EVENT_DIFFERS, EVENTS_BREAK, EVENTS_DIFFER] {
        assert_eq!(dict.count(check).await, 0, "{check}");
    }
    // Each stored identifier is the one that the content has which was answered last.
    let mut owner = dict.owner().await;
    for entry in &held {
        let row = sqlx::query("SELECT request_id, cid FROM entry WHERE key = $1")
            .bind(entry.key.as_str())
            .fetch_one(&mut owner)
            .await
            .expect("it is held");
        let bytes = |at: usize| row.try_get::<Vec<u8>, _>(at).expect("bytes");
        let request_id = bytes(0).try_into().expect("16 bytes");
        let request_id = RequestId::from_bytes(request_id).expect("a RequestId");
        let cid = pix_dict_api::cid(&request_id, &entry.key, &entry.account, &entry.owner);
        assert_eq!(bytes(1), cid.as_bytes(), "{entry:?}");
    }
    let entries = dict.count("SELECT count(*) FROM entry").await;
    assert_eq!(entries, i64::try_from(held.len()).expect("few"));
    for ispb in [A, B] {
        let sets = dict.ask(&format!("/participants/{ispb}")).await;
        let counted = sets["sets"].as_array().expect("a list").iter();
        let counted: i64 = counted
            .map(|set| set["entries"].as_i64().expect("a number"))
            .sum();
        let of = held
            .iter()
            .filter(|entry| entry.account.participant.as_str() == ispb);
        assert_eq!(counted, i64::try_from(of.count()).expect("few"));
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
