//! Looking keys up and paying by them.

use http::Method;
use iso20022::Document;
use pix_dict_api::ProblemKind;
use pix_domain::{EndToEndId, TransactionStatus};
use serde_json::json;

use crate::bank::{ANA, ANA_CPF, BRUNO, OURS, THEIRS, order_by_key, world_with_dict};
use crate::dict::{Fate, Question};

const CARLA: &str = "+5561988880000";

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_by_key_goes_to_whom_was_shown_under_the_id_of_the_look_up() {
    let (switch, dict, setup, bank) = world_with_dict().await;
    dict.plant(CARLA, "11222333000181", "Carla Dias");
    let (status, shown) = bank.look_up(ANA, CARLA).await;
    assert_eq!(status, 200, "{shown}");
    assert_eq!(
        (&shown["name"], &shown["ispb"], &shown["own"]),
        (&json!("Carla Dias"), &json!(THEIRS), &json!(false))
    );
    assert!(
        !shown.to_string().contains("11222333000181"),
        "never the whole CNPJ"
    );
    let id = shown["end_to_end_id"].as_str().unwrap().to_owned();
    let asked = Question::LookUp {
        payer: ANA_CPF.to_owned(),
        end_to_end_id: id.clone(),
    };
    assert_eq!(dict.asked(), [asked]);

    let mut order = order_by_key(CARLA, "10.50");
    order["end_to_end_id"] = json!(id);
    let paid = bank.pay(&order).await;
    assert_eq!(paid.to_string(), id);
    assert_eq!(bank.pay(&order).await, paid, "the same order again");
    let (post, tx) = switch.order(paid).await;
    let Document::Pacs008(orders) = &post.envelope.document else {
        panic!("{post:?}")
    };
    iso20022::rules::check_transaction(&orders.group, &tx).unwrap();
    let proxy = tx.creditor_account.proxy.as_ref().unwrap();
    assert_eq!((tx.local_instrument.as_str(), proxy.as_str()), ("DICT", CARLA));
    assert_eq!(tx.creditor.as_str(), "11222333000181");
    switch.push_status(&[paid], TransactionStatus::SettledDebtor, None);
    let payment = bank.becomes(paid, "settled").await;
    assert_eq!(
        (&payment["key"], &payment["counterparty"]["name"]),
        (&json!(CARLA), &json!("Carla Dias"))
    );
    let steps = payment["timeline"].as_array().unwrap();
    let stages: Vec<&str> = steps.iter().map(|step| step["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["looked_up", "accepted", "blocked", "sent", "settled"]);
    assert_eq!(dict.lookups(), 1);
    let log = setup.log();
    assert!(!log.contains(CARLA) && !log.contains("Carla Dias"));
    bank.balanced().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_is_good_for_one_payment_of_one_account_for_a_while() {
    let (switch, dict, setup, bank) = world_with_dict().await;
    dict.plant(CARLA, "11222333000181", "Carla Dias");
    let shown = bank.look_up(ANA, CARLA).await.1;
    let mut order = order_by_key(CARLA, "5000.01");
    order["end_to_end_id"] = shown["end_to_end_id"].clone();
    let sentence = "the available balance is 5000.00; pay at most that";
    assert_eq!(bank.refused(&order).await, (422, sentence.to_owned()));
    order["amount"] = json!("5.00");
    let mut strangers = order.clone();
    strangers["from"]["number"] = json!(BRUNO);
    assert_eq!(bank.refused(&strangers).await.0, 422);
    let mut other = order.clone();
    other["to"]["key"] = json!("+5561988880001");
    assert_eq!(bank.refused(&other).await.0, 422);
    let paid = bank.pay(&order).await;
    order["amount"] = json!("6.00");
    assert_eq!(bank.refused(&order).await.0, 409, "used");

    let old = bank.look_up(ANA, CARLA).await.1;
    let mut conn = pix_runtime::pg::connect(&setup.database_url).await.unwrap();
    sqlx::query("UPDATE lookup SET at = at - interval '15 minutes 1 second' WHERE end_to_end_id = $1")
        .bind(old["end_to_end_id"].as_str().unwrap())
        .execute(&mut conn)
        .await
        .unwrap();
    order["end_to_end_id"] = old["end_to_end_id"].clone();
    let (status, why) = bank.refused(&order).await;
    assert!(status == 422 && why.contains("15 minutes"), "{status} {why}");
    order["end_to_end_id"] = json!("E1111111120270115080000000000000");
    assert_eq!(bank.refused(&order).await.0, 422);
    order["end_to_end_id"] = json!("nonsense");
    assert_eq!(bank.refused(&order).await.0, 400);
    switch.order(paid).await;
    assert_eq!(bank.held(ANA).await, ["4995.00", "5.00", "0.00"]);
    assert_eq!(dict.lookups(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_by_key_alone_looks_it_up_and_is_paid_once_under_its_name() {
    let (switch, dict, _setup, bank) = world_with_dict().await;
    dict.plant(CARLA, "11222333000181", "Carla Dias");
    let order = order_by_key(CARLA, "2.00");
    let (first, again) = tokio::join!(bank.pay_with_key(&order, "k1"), bank.pay_with_key(&order, "k1"));
    assert_eq!(
        first.1["end_to_end_id"], again.1["end_to_end_id"],
        "{first:?} {again:?}"
    );
    let asked = dict.lookups();
    let third = bank.pay_with_key(&order, "k1").await;
    assert_eq!(first.1["end_to_end_id"], third.1["end_to_end_id"]);
    assert_eq!(dict.lookups(), asked, "known by its name: nobody is asked");
    let id = first.1["end_to_end_id"].as_str().unwrap();
    switch.order(EndToEndId::parse(id.as_bytes()).unwrap()).await;
    assert_eq!(bank.held(ANA).await, ["4998.00", "2.00", "0.00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_key_is_a_book_transfer_that_asks_nobody() {
    let (switch, dict, _setup, bank) = world_with_dict().await;
    let id = bank.register(BRUNO, "EVP", None).await;
    let key = bank.key_becomes(&id, "active").await["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let asked = dict.asked().len();
    let shown = bank.look_up(ANA, &key).await.1;
    assert_eq!(
        (&shown["own"], &shown["ispb"], &shown["bank"]),
        (&json!(true), &json!(OURS), &json!("Banco de Teste"))
    );
    let mut order = order_by_key(&key, "25.00");
    order["end_to_end_id"] = shown["end_to_end_id"].clone();
    let paid = bank.pay(&order).await;
    let payment = bank.payment(paid).await;
    assert_eq!(
        (&payment["state"], &payment["book_transfer"], &payment["key"]),
        (&json!("settled"), &json!(true), &json!(key))
    );
    bank.pay(&order_by_key(&key, "1.00")).await;
    assert_eq!(bank.held(BRUNO).await[0], "126.00");
    assert_eq!(bank.held(ANA).await[0], "4974.00");
    let mut to_herself = order_by_key(&key, "1.00");
    to_herself["from"]["number"] = json!(BRUNO);
    assert_eq!(bank.refused(&to_herself).await.0, 422);
    assert_eq!(dict.asked().len(), asked, "the DICT is not asked");
    assert!(switch.posts().is_empty(), "nor the SPI");
    bank.balanced().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_that_the_dict_refuses_says_why_and_pays_nothing() {
    let (switch, dict, _setup, bank) = world_with_dict().await;
    assert_eq!(bank.refused(&order_by_key(CARLA, "5000.01")).await.0, 422);
    assert_eq!(dict.lookups(), 0, "what cannot be paid is not looked up");
    let (status, problem) = bank.look_up(ANA, CARLA).await;
    assert_eq!(
        (status, &problem["detail"]),
        (404, &json!("nobody registered this key"))
    );
    assert_eq!(
        problem["type"],
        "https://dict.pi.rsfn.net.br/api/v2/error/NotFound"
    );
    assert_eq!(bank.refused(&order_by_key(CARLA, "1.00")).await.0, 404);
    for (kind, status) in [
        (ProblemKind::RateLimited, 429),
        (ProblemKind::ServiceUnavailable, 503),
        (ProblemKind::EntryBlocked, 422),
        (ProblemKind::Forbidden, 502),
    ] {
        dict.plan(&[Fate::TurnedAway(kind)]);
        let (answered, problem) = bank.look_up(ANA, CARLA).await;
        assert_eq!(answered, status, "{problem}");
        assert!(
            problem["type"].as_str().unwrap().ends_with(kind.as_str()),
            "{problem}"
        );
        let (english, portuguese) = (&problem["detail"], &problem["detail_pt"]);
        assert!(portuguese.is_string() && english != portuguese, "{problem}");
    }
    dict.plan(&[Fate::TurnedAway(ProblemKind::RateLimited)]);
    let path = format!(
        "/api/keys/{}/lookup?branch=0001&number={ANA}",
        CARLA.replace('+', "%2B")
    );
    assert_eq!(bank.retry_after(&path).await.as_deref(), Some("30"));
    dict.plant(CARLA, "11222333000181", "Carla Dias");
    dict.plan(&[Fate::DoneThenGarbage]);
    assert_eq!(
        bank.look_up(ANA, CARLA).await.0,
        503,
        "an answer that is not signed is none"
    );

    for path in [
        "/api/keys?branch=0001",
        "/api/keys?surprise=1",
        "/api/keys/%FF",
        "/api/keys/%FF/lookup?branch=0001&number=100001",
        "/api/keys/nonsense/lookup?branch=0001&number=100001",
        "/api/keys/52998224725/lookup",
        "/api/keys/52998224725/lookup?branch=x&number=100001",
    ] {
        let method = if path.contains("/lookup") {
            Method::POST
        } else {
            Method::GET
        };
        let (status, problem) = bank.call(method, path, None).await;
        assert_eq!(
            (status.as_u16(), &problem["status"]),
            (400, &json!(400)),
            "{path}"
        );
    }
    assert_eq!(bank.look_up("999", CARLA).await.0, 404);
    assert_eq!(bank.look_up("100004", CARLA).await.0, 422, "the payer is blocked");
    let mut both = order_by_key(CARLA, "1.00");
    both["to"]["ispb"] = json!(THEIRS);
    assert_eq!(bank.refused(&both).await.0, 400);
    let mut neither = order_by_key(CARLA, "1.00");
    neither["to"] = json!({});
    assert_eq!(bank.refused(&neither).await.0, 400);
    assert!(switch.posts().is_empty());
    assert_eq!(bank.held(ANA).await[0], "5000.00");
}
