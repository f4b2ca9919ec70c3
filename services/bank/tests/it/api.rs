//! The bank's own JSON and page.

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;

use crate::bank::{ANA, ANA_CPF, OURS, order, world, world_with_dict};

#[tokio::test(flavor = "multi_thread")]
async fn the_bank_tells_who_it_is_and_what_it_holds() {
    let (_switch, _setup, bank) = world().await;
    let about = bank.get("/api/bank").await;
    assert_eq!(
        (&about["ispb"], &about["color"]),
        (&json!(OURS), &json!("#0b6e4f"))
    );
    let accounts = bank.get("/api/accounts").await;
    assert_eq!(accounts.as_array().unwrap().len(), 6);
    assert_eq!(accounts[0]["tax_id"], "***.982.247-**", "never the whole CPF");
    assert_eq!(accounts[0]["balance"], "5000.00");
    let mut page = String::new();
    for file in ["/", "/page.css", "/page.js"] {
        page += &bank.text(file).await;
    }
    assert!(page.contains("Pagar com Pix"));
    for foreign in [
        "https://",
        "http://",
        "style=\"",
        "onclick=\"",
        "<script>",
        "<style>",
    ] {
        assert!(
            !page.contains(foreign),
            "{foreign}: no other host, and nothing inline"
        );
    }
    assert_eq!(bank.text("/healthz").await, "ok\n");
    bank.pay(&order("1.00")).await;
    let metrics = bank.text("/metrics").await;
    assert!(
        metrics.contains("bank_payments_total{direction=\"outgoing\",state=\"pending\",reason=\"none\"} 1"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_order_is_refused_in_one_sentence_that_says_what_to_write() {
    let (switch, _setup, bank) = world().await;
    let mut wrong = order("10,50");
    let sentence = "amount: an amount is digits with at most one dot, like 10.50";
    assert_eq!(bank.refused(&wrong).await, (400, sentence.to_owned()));
    wrong["amount"] = json!("0.00");
    assert_eq!(bank.refused(&wrong).await.0, 422);
    wrong["amount"] = json!("5000.01");
    let sentence = "the available balance is 5000.00; pay at most that";
    assert_eq!(bank.refused(&wrong).await, (422, sentence.to_owned()));
    let (_, body) = bank.call(Method::POST, "/api/payments", Some(&wrong)).await;
    assert_eq!(
        body["detail_pt"],
        "o saldo disponível é 5000,00; pague no máximo isso"
    );
    wrong["from"]["number"] = json!("999");
    assert_eq!(bank.refused(&wrong).await.0, 422);
    wrong["to"]["tax_id"] = json!("529.982.247-25");
    assert_eq!(bank.refused(&wrong).await.0, 400);
    let (status, body) = bank
        .call(Method::POST, "/api/payments", Some(&json!({ "surprise": 1 })))
        .await;
    assert_eq!(
        (status, body["status"].as_u64()),
        (StatusCode::BAD_REQUEST, Some(400))
    );
    let unknown = "E1111111120270115080000000000000";
    let (status, _) = bank
        .call(Method::GET, &format!("/api/payments/{unknown}"), None)
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(
        bank.call(Method::GET, "/api/accounts/0001/999/entries", None)
            .await
            .0,
        StatusCode::NOT_FOUND
    );
    assert!(switch.posts().is_empty());
    assert_eq!(bank.held(ANA).await[0], "5000.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_names_one_payment() {
    let (_switch, _setup, bank) = world().await;
    let five = order("5.00");
    let (first, again) = tokio::join!(bank.pay_with_key(&five, "k1"), bank.pay_with_key(&five, "k1"));
    assert_eq!((first.0, again.0), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
    assert_eq!(first.1["end_to_end_id"], again.1["end_to_end_id"]);
    let (status, other) = bank.pay_with_key(&order("6.00"), "k1").await;
    assert_eq!(status, StatusCode::CONFLICT, "{other}");
    assert_eq!(bank.held(ANA).await, ["4995.00", "5.00", "0.00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_hears_of_a_payment_when_it_moves() {
    let (_switch, _setup, bank) = world().await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let mut events = client.get(bank.uri("/api/events")).await.unwrap().into_body();
    let id = bank.pay(&order("5.00")).await;
    let mut heard = String::new();
    while !heard.contains("\n\n") {
        let frame = events.frame().await.unwrap().unwrap();
        heard += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
    }
    assert!(
        heard.contains("event: payment") && heard.contains(&id.to_string()),
        "{heard}"
    );
    assert!(heard.contains("\"state\":\"pending\""), "{heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_neither_read_nor_pay() {
    let (switch, _setup, bank) = world().await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
    let own = bank.uri("/").authority().unwrap().to_string();
    let evil = format!("evil.example:{}", bank.uri("/").port_u16().unwrap());
    let ask = async |method: Method, path: &str, host: &str, origin: Option<String>| {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(bank.uri(path))
            .header("Host", host)
            .header("Content-Type", "application/json");
        if let Some(origin) = origin {
            request = request.header("Origin", origin);
        }
        let body = if method == Method::POST {
            order("1.00").to_string()
        } else {
            String::new()
        };
        let answer = client
            .request(request.body(Full::new(body.into())).unwrap())
            .await
            .unwrap();
        answer.status().as_u16()
    };
    for path in ["/", "/api/accounts", "/api/events"] {
        assert_eq!(ask(Method::GET, path, &evil, None).await, 403, "{path}");
    }
    let pay = "/api/payments";
    let rebound = Some(format!("http://{evil}"));
    assert_eq!(ask(Method::POST, pay, &evil, rebound.clone()).await, 403);
    assert_eq!(ask(Method::POST, pay, &own, rebound).await, 403);
    assert_eq!(ask(Method::POST, pay, &own, Some("null".to_owned())).await, 403);
    assert_eq!(ask(Method::GET, "/api/accounts", "localhost", None).await, 200);
    assert!(switch.posts().is_empty());
    assert_eq!(bank.held(ANA).await[0], "5000.00");
    assert_eq!(
        ask(Method::POST, pay, &own, Some(format!("http://{own}"))).await,
        202
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_neither_look_keys_up_nor_remove_them() {
    let (_switch, dict, _setup, bank) = world_with_dict().await;
    let id = bank.register(ANA, "CPF", Some(ANA_CPF)).await;
    bank.key_becomes(&id, "active").await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
    let ask = async |method: Method, path: String, header: (&str, &str)| {
        let request = Request::builder()
            .method(method)
            .uri(bank.uri(&path))
            .header(header.0, header.1);
        let answer = client
            .request(request.body(Full::default()).unwrap())
            .await
            .unwrap();
        answer.status().as_u16()
    };
    let asked = dict.asked().len();
    let lookup = format!("/api/keys/%2B5561988880000/lookup?branch=0001&number={ANA}");
    let browser = ("User-Agent", "Mozilla/5.0");
    assert_eq!(
        ask(Method::GET, lookup.clone(), browser).await,
        405,
        "as a picture would"
    );
    let removal = format!("/api/keys/{ANA_CPF}");
    let origin = ("Origin", "http://evil.example");
    assert_eq!(ask(Method::DELETE, removal, origin).await, 403);
    assert_eq!(ask(Method::POST, lookup.clone(), origin).await, 403);
    assert_eq!(dict.asked().len(), asked);
    assert_eq!(ask(Method::POST, lookup, browser).await, 404);
    assert_eq!(dict.ours(), [ANA_CPF]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_hears_of_a_key_when_it_moves() {
    let (_switch, _dict, _setup, bank) = world_with_dict().await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let mut events = client.get(bank.uri("/api/events")).await.unwrap().into_body();
    let id = bank.register(ANA, "EVP", None).await;
    let mut heard = String::new();
    while !heard.contains("\"active\"") {
        let frame = events.frame().await.unwrap().unwrap();
        heard += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
    }
    assert!(heard.contains("event: key") && heard.contains(&id), "{heard}");
}
