//! What an operator asks: where a payment is, what runs, what is wrong, what was logged.

use std::time::Duration;

use pix_testkit::eventually;
use serde_json::Value;

use crate::money::{order, order_by_key, until_all_ended};
use crate::switch::{A, B, Home, Switch, signal};

/// An account of bank B that is closed.
const CLOSED: &str = "200005";

/// Runs `pix` and reads what it prints for programs, whatever its exit code.
async fn told(home: &Home, arguments: &[&str]) -> Value {
    let out = home.pix(arguments).output().await.expect("pix starts");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("no JSON: {text}{}", String::from_utf8_lossy(&out.stderr)))
}

/// Where a payment is, as a person and as a program is told.
async fn payment(switch: &Switch, id: &str) -> (Option<i32>, String, Value) {
    let out = switch
        .home
        .pix(&["payment", id])
        .output()
        .await
        .expect("pix starts");
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (
        out.status.code(),
        text,
        told(&switch.home, &["payment", id, "--json"]).await,
    )
}

fn stages(story: &Value, who: &str) -> Vec<String> {
    let events = story["timeline"].as_array().expect("a timeline").iter();
    let of = events.filter(|event| event["who"] == who);
    of.map(|event| event["stage"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn a_settled_payment_is_one_story_of_three_with_durations_and_log_lines_everywhere() {
    let switch = Switch::new().await;
    let id = order_by_key(&switch, A, B.tax_id, 1050, "questions-settled").await;
    assert_eq!(until_all_ended(&switch, A, B, std::slice::from_ref(&id)).await, 1);
    let read = eventually("both have read the end", Duration::from_secs(20), async || {
        let (code, text, story) = payment(&switch, &id).await;
        let over = story["next"].as_str()?.contains("Nothing more happens");
        over.then_some((code, text, story))
    });
    let (code, text, story) = read.await;
    assert_eq!(code, Some(0), "{text}");
    let switch_stages = stages(&story, "switch");
    for stage in [
        "received",
        "blocked",
        "formed",
        "delivered",
        "confirmed",
        "answered",
        "settled",
        "told",
    ] {
        assert!(
            switch_stages.iter().any(|found| found == stage),
            "no {stage}: {text}"
        );
    }
    assert!(
        stages(&story, "Banco Aurora").contains(&"sent".to_owned()),
        "{text}"
    );
    assert!(
        stages(&story, "Banco Horizonte").contains(&"answered".to_owned()),
        "{text}"
    );
    let durations = story["durations"].as_object().expect("durations");
    for part in [
        "to_the_switch_ms",
        "block_ms",
        "hand_over_ms",
        "answer_ms",
        "total_ms",
    ] {
        assert!(durations.contains_key(part), "no {part}: {story:#}");
    }
    let named = story["timeline"].as_array().expect("events").iter();
    let messages = named.filter(|event| event["message_id"].is_string()).count();
    assert!(
        messages >= 4,
        "order, its forward, the answer and the news have ids: {story:#}"
    );
    assert!(
        text.contains("took (ms)") && text.contains("The money has moved"),
        "{text}"
    );

    let out = switch.home.pix(&["logs", "--e2e", &id, "--json"]).output().await;
    let lines = String::from_utf8(out.expect("pix starts").stdout).expect("UTF-8");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    for service in ["bank-11111111", "dict", "spi", "bank-22222222"] {
        let of = lines.iter().find(|line| line["service"] == service);
        let line = of.unwrap_or_else(|| panic!("{service} logged nothing of {id}: {lines:#?}"));
        assert_eq!(line["payment.end_to_end_id"], id.as_str(), "{line}");
    }
    let times: Vec<_> = lines
        .iter()
        .filter_map(|line| line["timestamp"].as_str())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    switch.stop().await;
}

#[tokio::test]
async fn a_payment_that_hangs_says_for_whom_it_waits_and_one_unknown_or_refused_what_to_do() {
    let switch = Switch::new().await;
    let receiver = switch.pid(&B.process()).await;
    signal("STOP", receiver).await;
    let id = order(&switch, A, B, 700, "questions-hang").await;
    let hangs = eventually("it hangs at the receiver", Duration::from_secs(20), async || {
        let answer = switch
            .http
            .get(switch.ops_port(), &format!("/payments/{id}"))
            .await
            .ok()?;
        (answer.body["state"] == "pending").then_some(answer.body)
    });
    let known = hangs.await;
    assert!(known["deadline"].as_str() > known["as_of"].as_str(), "{known}");
    let out = switch
        .home
        .pix(&["payment", &id])
        .output()
        .await
        .expect("pix starts");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(4), "{text}");
    assert!(
        text.contains(B.ispb)
            && text.contains("gives the money back by itself")
            && text.contains("do not pay again"),
        "{text}"
    );
    signal("CONT", receiver).await;
    assert_eq!(
        until_all_ended(&switch, A, B, &[id]).await,
        1,
        "it goes on where it was"
    );

    let (code, said) = {
        let pay = ["pay", "--to-account", CLOSED, "--amount", "1.00"];
        let out = switch.home.pix(&pay).output().await.expect("pix starts");
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stdout).into_owned(),
        )
    };
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("AC07") && said.contains("available again"),
        "{said}"
    );

    let unknown = format!("E11111111202611211200{}", "0".repeat(11));
    let (code, said, story) = payment(&switch, &unknown).await;
    assert_eq!(
        (code, &story["state"]),
        (Some(1), &Value::from("unknown")),
        "{said}"
    );
    assert!(
        said.contains("neither the switch nor a bank here knows"),
        "{said}"
    );
    assert!(
        story["next"]
            .as_str()
            .is_some_and(|next| next.contains("11111111")),
        "{story}"
    );
    switch.stop().await;
}

#[tokio::test]
async fn doctor_is_content_with_a_healthy_switch_and_names_what_is_broken() {
    let switch = Switch::new().await;
    let (healthy, said) = switch.home.run(&["doctor"]).await;
    assert!(healthy, "{said}");
    for check in [
        "programs",
        "disk",
        "clock",
        "certificates",
        "processes",
        "database",
        "books",
    ] {
        let line = said
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some(check));
        assert!(
            line.is_some_and(|line| !line.starts_with("wrong")),
            "{check}: {said}"
        );
    }
    let (_, said) = switch.home.run(&["doctor", "--free-gib", "1000000"]).await;
    assert!(
        said.contains("watch  disk") && said.contains("free some"),
        "{said}"
    );

    let report = told(&switch.home, &["status", "--json"]).await;
    let processes = report["processes"].as_array().expect("processes");
    for process in processes {
        assert!(process["version"].is_string(), "{process}");
        assert!(
            process["ports"]
                .as_object()
                .is_some_and(|ports| !ports.is_empty()),
            "{process}"
        );
    }
    let spi = processes
        .iter()
        .find(|process| process["name"] == "spi")
        .expect("spi runs");
    assert!(spi["rates_per_second"]["in"].is_number(), "{spi}");

    // Whoever has stopped is found by its silence.
    let bank = switch.pid(&A.process()).await;
    signal("STOP", bank).await;
    let report = told(&switch.home, &["doctor", "--json"]).await;
    signal("CONT", bank).await;
    assert_eq!(report["healthy"], false, "{report:#}");
    let findings = report["findings"].as_array().expect("findings").iter();
    let wrong: Vec<_> = findings.filter(|finding| finding["verdict"] == "wrong").collect();
    assert!(
        wrong.iter().any(|finding| {
            let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
            text("found").contains("bank-11111111") && text("fix").contains("pix logs")
        }),
        "{wrong:#?}"
    );
    switch.stop().await;
}

#[tokio::test]
async fn completions_are_there_for_every_shell() {
    let home = Home::beside_another();
    for shell in ["bash", "zsh", "fish"] {
        let (worked, said) = home.run(&["completions", shell]).await;
        assert!(
            worked && said.contains("participant") && said.contains("doctor"),
            "{said}"
        );
    }
}
