//! What a script does to a participant's streams, as the participant sees it; and that without the setting there is
//! no script.

use std::io::ErrorKind;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{A, B, Bank, C, Heard, SOON, TestSpi, get, status};
use crate::wire::{AT_ONCE, Answer, Wire};

async fn sandbox() -> TestSpi {
    let mut spi = TestSpi::stopped().await;
    spi.flag("sandbox", "true");
    spi.run().await;
    spi
}

/// One request of an operator.
async fn operate(spi: &TestSpi, method: &str, body: &str) -> (u16, Value) {
    let address = ("127.0.0.1", spi.ops);
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let length = body.len();
    let request = format!(
        "{method} /sandbox HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let status = answer[9..12].parse().expect("a status");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    (status, serde_json::from_str(body).expect("JSON"))
}

async fn script(spi: &TestSpi, rules: Value) {
    let answered = operate(spi, "PUT", &rules.to_string()).await;
    assert_eq!(answered, (200, rules));
}

fn start(ispb: &str) -> String {
    format!("GET /api/v1/out/{ispb}/stream/start HTTP/1.1")
}

async fn next(wire: &mut Wire, answer: &Answer) -> Answer {
    let token = answer.header("pi-pull-next");
    wire.ask(&format!("GET {token} HTTP/1.1"), b"").await
}

/// An order from `from` to B, taken.
async fn order(from: &Bank, reais: &str) -> Heard {
    let order = from.order(B, reais);
    let heard = Heard::Order(order.end_to_end_id);
    from.post(from.pacs_008(vec![order])).await;
    heard
}

#[tokio::test]
async fn without_the_setting_nothing_can_be_scripted() {
    let spi = TestSpi::start().await;
    for (method, body) in [
        ("GET", ""),
        ("PUT", r#"[{"do": "reset"}]"#),
        ("PUT", "nonsense"),
        ("DELETE", ""),
    ] {
        let (status, problem) = operate(&spi, method, body).await;
        assert_eq!(
            (status, &problem["detail"]),
            (403, &json!("start spi with sandbox=true")),
            "{method}"
        );
    }
    assert_eq!(spi.ask("/status").await["sandbox"], json!(false));
    assert!(!spi.log().contains("SANDBOX"));
    order(&spi.bank(A), "1.00").await;
    let mut wire = Wire::connect(&spi, B, spi.primary).await;
    assert_eq!(wire.ask(&start(B), b"").await.status, 200);
}

#[tokio::test]
async fn a_script_is_loud_read_back_and_refused_as_a_whole() {
    let spi = sandbox().await;
    assert!(spi.log().contains("SANDBOX: streams may be scripted"));
    assert_eq!(operate(&spi, "GET", "").await, (200, json!([])));
    let rules = json!([
        {"participant": B, "amount": "13.37", "do": "twice", "times": 2},
        {"do": "bad-signature", "amount": "999.99"},
    ]);
    script(&spi, rules.clone()).await;
    assert!(spi.log().contains("SANDBOX: a rule is set"));
    let many = vec![json!({"do": "reset"}); 101];
    for (bad, why) in [
        (json!({"do": "reset"}), "a JSON list"),
        (json!([{"do": "reset"}, {"do": "accept"}]), "rule 2: do: "),
        (json!([{"do": "reject:AB03"}]), "virtual participants"),
        (
            json!([{"participant": "1", "do": "reset"}]),
            "rule 1: participant: ",
        ),
        (json!([{"amount": "1,00", "do": "reset"}]), "rule 1: amount: "),
        (json!([{"times": 0, "do": "reset"}]), "rule 1: times: "),
        (json!([{"times": -1, "do": "reset"}]), "a JSON list"),
        (json!([{"for": B, "do": "reset"}]), "unknown field"),
        (json!(many), "at most 100"),
    ] {
        let (status, problem) = operate(&spi, "PUT", &bad.to_string()).await;
        let detail = problem["detail"].as_str().expect("text");
        assert_eq!(status, 400, "{bad}: {detail}");
        assert!(detail.contains(why), "{bad}: {detail}");
    }
    let shown = spi.ask("/status").await;
    assert_eq!(
        (&shown["sandbox"], &shown["sandbox_rules"]),
        (&json!(true), &rules)
    );
    let (_, metrics) = get(spi.ops, "/metrics").await;
    assert!(metrics.contains("\nsandbox_rules 2\n"), "{metrics}");
    assert_eq!(operate(&spi, "DELETE", "").await, (200, json!([])));
    let (_, metrics) = get(spi.ops, "/metrics").await;
    assert!(metrics.contains("\nsandbox_rules 0\n"), "{metrics}");
}

#[tokio::test]
async fn unavailable_is_a_503_on_reads_that_loses_nothing() {
    let spi = sandbox().await;
    let a = spi.bank(A);
    script(&spi, json!([{"participant": B, "do": "unavailable", "times": 2}])).await;
    order(&a, "1.00").await;
    order(&a, "2.00").await;
    let mut wire = Wire::connect(&spi, B, spi.primary).await;
    let refused = wire.ask(&start(B), b"").await;
    assert_eq!((refused.status, refused.problem()), (503, "serviceUnavailable"));
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(wire.ask(&start(B), b"").await.status, 503);
    let first = wire.ask(&start(B), b"").await;
    assert_eq!(first.status, 200, "two times are over, on the same connection");
    // In the middle of a stream: the batch before is not confirmed by a GET that was refused.
    script(&spi, json!([{"participant": B, "do": "unavailable", "times": 1}])).await;
    assert_eq!(next(&mut wire, &first).await.status, 503);
    assert_eq!(spi.count("SELECT count(*) FROM confirmation").await, 0);
    let second = next(&mut wire, &first).await;
    assert_eq!(second.status, 200);
    assert_ne!(second.resource_ids(), first.resource_ids());
    // Whoever else reads hears nothing of it, and posting goes on.
    script(&spi, json!([{"participant": C, "do": "unavailable"}])).await;
    order(&a, "3.00").await;
    assert_eq!(next(&mut wire, &second).await.status, 200);
}

#[tokio::test]
async fn reset_cuts_the_connection_without_an_octet() {
    let spi = sandbox().await;
    let a = spi.bank(A);
    order(&a, "1.00").await;
    let mut wire = Wire::connect(&spi, B, spi.primary).await;
    let first = wire.ask(&start(B), b"").await;
    script(&spi, json!([{"participant": B, "do": "reset", "times": 1}])).await;
    let token = first.header("pi-pull-next").to_owned();
    let request = format!("GET {token} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
    wire.send(request.as_bytes()).await;
    assert_eq!(wire.ending().await, (0, Some(ErrorKind::ConnectionReset)));
    // With the same token on another connection, at once: the stream goes on, and nothing was confirmed before.
    order(&a, "2.00").await;
    let mut wire = Wire::connect(&spi, B, spi.primary).await;
    let second = next(&mut wire, &first).await;
    assert_eq!(second.status, 200);
    assert_ne!(second.resource_ids(), first.resource_ids());
    assert_eq!(spi.count("SELECT count(*) FROM confirmation").await, 1);
}

#[tokio::test]
async fn an_amount_cuts_off_the_batch_that_orders_it_and_gives_it_back() {
    let spi = sandbox().await;
    let a = spi.bank(A);
    script(
        &spi,
        json!([
            {"amount": "13.37", "do": "unavailable", "times": 1},
            {"amount": "13.37", "do": "reset", "times": 1},
        ]),
    )
    .await;
    let mut wire = Wire::connect(&spi, B, spi.primary).await;
    order(&a, "13.38").await;
    let first = wire.ask(&start(B), b"").await;
    assert_eq!(first.status, 200, "another amount");
    order(&a, "13.37").await;
    assert_eq!(next(&mut wire, &first).await.status, 503);
    let token = first.header("pi-pull-next");
    let request = format!("GET {token} HTTP/1.1\r\nHost: x\r\n\r\n");
    wire.send(request.as_bytes()).await;
    assert_eq!(wire.ending().await, (0, Some(ErrorKind::ConnectionReset)));
    let mut wire = Wire::connect(&spi, B, spi.primary).await;
    let second = next(&mut wire, &first).await;
    assert_eq!(second.status, 200);
    assert!(second.text().contains(">13.37<"), "{second:?}");
    assert_eq!(operate(&spi, "GET", "").await.1, json!([]));
}

#[tokio::test]
async fn twice_tells_the_same_message_with_the_same_id_and_then_goes_on() {
    let spi = sandbox().await;
    let a = spi.bank(A);
    script(&spi, json!([{"participant": B, "do": "twice", "times": 1}])).await;
    order(&a, "1.00").await;
    order(&a, "2.00").await;
    let mut wire = Wire::connect(&spi, B, spi.primary).await;
    let first = wire.ask(&start(B), b"").await;
    let again = next(&mut wire, &first).await;
    assert_eq!(
        (again.status, again.resource_ids(), &again.body),
        (200, first.resource_ids(), &first.body)
    );
    let other = next(&mut wire, &again).await;
    assert_eq!(other.status, 200);
    assert_ne!(other.resource_ids(), first.resource_ids());
    assert_eq!(spi.count("SELECT count(*) FROM confirmation").await, 1);
    let third = next(&mut wire, &other).await;
    assert_eq!(third.status, 204, "nothing a third time");
    assert_eq!(spi.count("SELECT count(*) FROM confirmation").await, 2);

    // Several in one answer, and a payment from end to end over it: money moves once.
    script(&spi, json!([{"do": "twice"}])).await;
    let b = spi.bank(B);
    let (mut from_a, mut from_b) = (a.reader(), b.reader());
    let order = a.order(B, "5.00");
    let id = order.end_to_end_id;
    a.post(a.pacs_008(vec![order])).await;
    wire.ask(&format!("DELETE {} HTTP/1.1", third.header("pi-pull-next")), b"")
        .await;
    let told = from_b.raw().await;
    assert_eq!(from_b.raw().await, told);
    b.post(b.pacs_002(&[(id, None)])).await;
    assert_eq!(
        from_b.hear_until(1).await,
        [status(id, "ACCC")],
        "after what was told twice"
    );
    assert_eq!(from_a.hear_until(1).await, [status(id, "ACSC")]);
    assert_eq!(spi.balance(B).await.0, "1000005.00");
}

#[tokio::test]
async fn a_bad_signature_is_bad_on_the_wire_only() {
    let spi = sandbox().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    script(
        &spi,
        json!([{"amount": "13.37", "do": "bad-signature", "times": 1}]),
    )
    .await;
    order(&a, "1.00").await;
    let heard = order(&a, "13.37").await;
    let mut from_b = b.reader();
    // Both may come in one answer or in two; the other message is sound either way.
    let mut spoiled = None;
    let reading = async {
        while spoiled.is_none() {
            spoiled = from_b.raw().await.into_iter().find(|(_, bytes)| b.doubts(bytes));
        }
    };
    tokio::time::timeout(SOON, reading).await.expect("in time");
    let (id, bad) = spoiled.expect("found above");
    assert_eq!(spi.ask("/status").await["sandbox_rules"], json!([]));
    // The reader does not confirm what it cannot trust; after its stream's time it comes again, and is right.
    let again = async {
        let mut another = b.reader();
        loop {
            let batch = another.raw().await;
            if let Some((_, bytes)) = batch.into_iter().find(|(other, _)| *other == id) {
                return bytes;
            }
        }
    };
    let good = tokio::time::timeout(SOON, again).await.expect("delivered again");
    let differing = good.iter().zip(&bad).filter(|(good, bad)| good != bad).count();
    assert_eq!((good.len(), differing), (bad.len(), 1));
    assert!(crate::support::said(&b.open(&good)).contains(&heard));
}

#[tokio::test]
async fn the_same_token_after_a_bad_signature_gives_the_right_bytes() {
    let spi = sandbox().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    order(&a, "1.00").await;
    let mut wire = Wire::connect(&spi, B, spi.primary).await;
    let first = wire.ask(&start(B), b"").await;
    order(&a, "2.00").await;
    script(
        &spi,
        json!([{"participant": B, "do": "bad-signature", "times": 1}]),
    )
    .await;
    let bad = next(&mut wire, &first).await;
    assert!(b.doubts(&bad.body));
    let asked = std::time::Instant::now();
    let good = next(&mut wire, &first).await;
    assert_eq!(good.resource_ids(), bad.resource_ids(), "the same batch");
    assert!(!b.doubts(&good.body));
    assert!(asked.elapsed() < AT_ONCE);
}
