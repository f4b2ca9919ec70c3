//! Rules as an operator sets them, and what a restart keeps.

use serde_json::json;

use crate::support::{A, PAYER, RECEIVER, Sandbox, status};

#[tokio::test]
async fn a_file_of_rules_holds_from_the_start_and_is_loud() {
    let mut sandbox = Sandbox::start_with(Some(
        "[[rule]]\nparticipant = \"99999A04\"\ndo = \"reject:AC06\"\n",
    ))
    .await;
    let a = sandbox.bank(A);
    let mut reader = a.reader();
    let id = a.pay(RECEIVER, "1.00").await;
    assert_eq!(reader.hear(1).await, [status(id, "RJCT AC06")]);
    let log = sandbox.log();
    assert!(log.contains("WARN") && log.contains("do not behave"), "{log}");
    let (_, metrics) = sandbox.call("GET", "/metrics", "").await;
    assert!(
        metrics
            .as_str()
            .is_some_and(|text| text.contains("sandbox_rules 1")),
        "{metrics}"
    );

    // What was set by call is forgotten by a kill; the file is read again.
    sandbox.script("[]").await;
    let id = a.pay(RECEIVER, "1.00").await;
    assert_eq!(reader.hear(1).await, [status(id, "ACSC")]);
    sandbox.kill().await;
    sandbox.run().await;
    let id = a.pay(RECEIVER, "1.00").await;
    assert_eq!(reader.hear(1).await, [status(id, "RJCT AC06")]);
    assert!(sandbox.stop().await, "{}", sandbox.log());
}

#[tokio::test]
async fn rules_are_replaced_added_and_shown_and_wrong_ones_change_nothing() {
    let sandbox = Sandbox::start().await;
    let status = sandbox.call("GET", "/status", "").await.1;
    assert_eq!(status["sandbox_rules"], 0);
    assert_eq!(
        status["participants"][0],
        json!({"ispb": PAYER, "indirect": ["9999A03V"]})
    );
    sandbox.script(r#"[{"do": "silence"}]"#).await;
    let (code, rules) = sandbox
        .call(
            "POST",
            "/rules",
            r#"{"amount": "1.00", "do": "twice", "times": 3}"#,
        )
        .await;
    let both = json!([{"amount": "1.00", "do": "twice", "times": 3}, {"do": "silence"}]);
    assert_eq!((code, &rules), (200, &both));
    for (method, path, body, says) in [
        ("PUT", "/rules", r#"[{"do": "explode"}]"#, "a behaviour is"),
        ("PUT", "/rules", "[", "EOF"),
        ("POST", "/rules", r#"{"do": "reject:ZZ"}"#, "the code"),
        ("POST", "/pay", r#"{"to": "1"}"#, "missing field"),
        (
            "POST",
            "/pay",
            r#"{"from": "22222222", "to": "11111111", "number": "1", "type": "CACC", "tax_id": "52998224725", "amount": "1.00"}"#,
            "no virtual participant",
        ),
    ] {
        let (code, problem) = sandbox.call(method, path, body).await;
        assert_eq!(code, 400, "{body}: {problem}");
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains(says)),
            "{problem}"
        );
    }
    assert_eq!(sandbox.call("GET", "/rules", "").await.1, both);
    assert_eq!(sandbox.call("GET", "/status", "").await.1["sandbox_rules"], 2);
    let (code, _) = sandbox.call("GET", "/payments/E1", "").await;
    assert_eq!(code, 400);
    let unknown = format!("/payments/E{A}202601010000abcdefghijk");
    assert_eq!(sandbox.call("GET", &unknown, "").await.0, 404);
}

#[tokio::test]
async fn what_was_not_answered_when_it_was_killed_is_answered_after() {
    let mut sandbox = Sandbox::start().await;
    let a = sandbox.bank(A);
    sandbox.kill().await;
    let id = a.pay(RECEIVER, "1.00").await;
    sandbox.run().await;
    assert_eq!(a.reader().hear(1).await, [status(id, "ACSC")]);
}

#[tokio::test]
async fn one_that_is_put_out_holds_up_no_other() {
    let mut sandbox = Sandbox::start().await;
    let a = sandbox.bank(A);
    assert!(sandbox.stop().await, "{}", sandbox.log());
    sandbox.put_out(RECEIVER).await;
    sandbox.run().await;
    let mut reader = a.reader();
    for (to, end) in [(PAYER, "ACSC"), (RECEIVER, "RJCT DS27")] {
        let id = a.pay(to, "1.00").await;
        assert_eq!(reader.hear(1).await, [status(id, end)]);
    }
}
