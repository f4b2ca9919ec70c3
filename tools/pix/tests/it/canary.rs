//! What the switch tells its operators of a session: enough to find a payment everywhere, and nothing of a person.
//!
//! One switch at debug level, with traces and an ear on NATS, is paid with, refused by and fed rubbish, all of it full
//! of canaries: the CPFs, names, phones, e-mails and keys of its customers, and texts that occur nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::collector::{Collector, Span};
use crate::money::{order_by_key, until_all_ended};
use crate::reference;
use crate::switch::{A, B, Home, Switch};

/// Key of the receiver of the payment by key.
const ELISA: &str = "elisa.prado@horizonte.example";
/// A key that this test registers.
const CANARY_KEY: &str = "canario.secreto@aurora.example";
/// Nobody's, with right check digits.
const NOBODY: &str = "39053344705";
/// Texts that occur nowhere but in what this test sends.
const TEXTS: [&str; 3] = ["Canario Descricao Zt7", "Canario Xml Qw9", "canario-url-kv3"];

/// Every service that logs and measures, with the prefix of its settings.
const SERVICES: [&str; 5] = ["spi", "dict", "settlement", "bank", "virtual"];

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_found_everywhere_by_its_id_and_nobody_by_anything() {
    let collector = Collector::default();
    let endpoint = format!("http://{}", collector.listen().await);
    let mut home = Home::new().await;
    for service in SERVICES {
        let prefix = format!("PIX_{}_", service.to_uppercase());
        home.set(format!("{prefix}LOG_LEVEL"), "debug");
        home.set(format!("{prefix}OTLP_ENDPOINT"), &endpoint);
    }
    let switch = home.up(&["--no-payment"]).await;
    let heard = listen_on_nats(&switch).await;

    let registration = [
        "key",
        "add",
        "--bank",
        "A",
        "--account",
        "100002",
        "--key",
        CANARY_KEY,
        "--confirm",
    ];
    let (registered, said) = switch.home.run(&registration).await;
    assert!(registered, "{said}");
    let settled = order_by_key(&switch, A, ELISA, 1050, "canary-settled").await;
    let refused = pay_a_blocked_account(&switch).await;
    until_all_ended(&switch, A, B, &[settled.clone(), refused]).await;
    let mut canaries = canaries(&switch).await;
    canaries.extend([NOBODY.to_owned()].into_iter().chain(TEXTS.map(str::to_owned)));
    hostile(&switch).await;
    let (closed, said) = switch.home.run(&["window", "close"]).await;
    assert!(closed, "{said}");
    let metrics = scrape(&switch).await;
    declared(&metrics);
    counted(&metrics);

    let home = switch.stop().await;
    let mut outputs: BTreeMap<String, String> = logs(&home.dir());
    assert!(
        outputs.len() >= 5,
        "every service has its log: {:?}",
        outputs.keys()
    );
    for (service, log) in &outputs {
        if service.starts_with("spi") || service.starts_with("bank") {
            assert!(log.contains("DEBUG"), "{service} logs at debug level");
        }
    }
    outputs.insert("NATS".into(), heard.lock().expect("no holder panics").join("\n"));
    outputs.insert("traces".into(), collector.everything());
    outputs.extend(
        metrics
            .into_iter()
            .map(|(name, text)| (format!("/metrics of {name}"), text)),
    );
    for subject in ["pix.spi.payment", "pix.dict.entry", "pix.out."] {
        assert!(
            outputs["NATS"].contains(subject),
            "{subject}: {}",
            outputs["NATS"]
        );
    }
    let leaks: Vec<String> = canaries
        .iter()
        .flat_map(|canary| {
            outputs
                .iter()
                .filter_map(move |(name, text)| leak(name, text, canary))
        })
        .collect();
    assert!(leaks.is_empty(), "personal data got out:\n{}", leaks.join("\n"));

    one_trace(&collector.spans(), &settled);
}

/// The line that holds a canary, cut short.
fn leak(name: &str, text: &str, canary: &str) -> Option<String> {
    let line = text.lines().find(|line| line.contains(canary))?;
    let at = line.find(canary).expect("just found");
    let from = line.floor_char_boundary(at.saturating_sub(200));
    let to = line.floor_char_boundary((at + 200).min(line.len()));
    Some(format!("{canary} in {name}: ...{}...", &line[from..to]))
}

/// CPFs, names, phones and e-mails of all customers, and every key that the DICT has.
async fn canaries(switch: &Switch) -> BTreeSet<String> {
    let mut canaries = BTreeSet::new();
    for bank in [A, B] {
        let file = switch.home.dir().join(format!("customers-{}.toml", bank.ispb));
        let customers = fs::read_to_string(file).expect("pix up wrote it");
        let quoted = customers.lines().filter(|line| {
            ["name", "tax_id", "phones", "emails"]
                .iter()
                .any(|field| line.trim_start().starts_with(field))
        });
        for line in quoted {
            canaries.extend(line.split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }
    let (_, keys) = switch.home.run(&["key", "list", "--all", "--json"]).await;
    let keys: Value = serde_json::from_str(&keys).expect("JSON");
    let keys = keys.as_array().expect("a list").iter();
    canaries.extend(keys.map(|row| row["key"].as_str().expect("a key").to_owned()));
    assert!(
        canaries.len() > 25
            && [A.tax_id, ELISA, CANARY_KEY]
                .iter()
                .all(|one| canaries.contains(*one)),
        "{canaries:?}"
    );
    canaries
}

/// A payment that the receiver refuses, with a text for it.
async fn pay_a_blocked_account(switch: &Switch) -> String {
    let order = json!({
        "from": {"branch": "0001", "number": A.number},
        "to": {"ispb": B.ispb, "branch": "0001", "number": "200004", "type": "CACC", "tax_id": "70020070683"},
        "amount": "1.00",
        "description": TEXTS[0],
    });
    let answer = switch
        .http
        .post(
            switch.bank_port(A),
            "/api/payments",
            &order,
            Some("canary-refused"),
        )
        .await;
    let answer = answer.expect("the bank answers");
    assert!(answer.is_success(), "{:?}", answer.body);
    answer.body["end_to_end_id"].as_str().expect("an id").to_owned()
}

/// Whatever a clumsy or hostile participant, customer or operator may send, with canaries at every place.
async fn hostile(switch: &Switch) {
    let home = &switch.home;
    let pki = home.dir().join(format!("pki/{}", A.ispb));
    let icom = format!("https://localhost:{}", home.port(4002));
    let dict = format!("https://localhost:{}", home.port(4001));
    let rubbish = format!("<Envelope><Nm>{}</Nm><CPF>{}</CPF>", TEXTS[1], A.tax_id);
    let xml = "Content-Type: application/xml; charset=utf-8";
    let payer = format!("PI-PayerId: {}", A.tax_id);
    let url = TEXTS[2];
    for arguments in [
        vec![
            &*format!("{icom}/api/v1/in/{}/msgs", A.ispb),
            "-H",
            xml,
            "--data",
            &rubbish,
        ],
        vec![
            &*format!("{icom}/api/v1/in/{}/msgs", A.tax_id),
            "-H",
            xml,
            "--data",
            &rubbish,
        ],
        vec![&*format!("{icom}/api/v1/out/{}/stream/{url}", A.ispb)],
        vec![&*format!("{icom}/{url}/{ELISA}")],
        vec![&*format!("{dict}/api/v2/entries/{NOBODY}")],
        vec![
            &*format!("{dict}/api/v2/entries/{NOBODY}"),
            "-H",
            &payer,
            "-H",
            "PI-EndToEndId: nonsense",
        ],
        vec![&*format!("{dict}/api/v2/entries/{url}"), "-H", &payer],
        vec![&*format!("{dict}/api/v2/entries/{ELISA}/statistics")],
        vec![
            &*format!("{dict}/api/v2/entries/"),
            "-H",
            "Content-Type: application/xml",
            "--data",
            &rubbish,
        ],
        vec![&*format!("{dict}/{url}/{}", A.tax_id)],
    ] {
        let status = curl(&pki, &arguments).await;
        assert!(
            (400..500).contains(&status) || status == 201,
            "{arguments:?}: {status}"
        );
    }
    let bank = switch.bank_port(A);
    for order in [
        json!({"from": {"branch": "0001", "number": A.number}, "to": {"key": NOBODY}, "amount": "1.00"}),
        json!({"from": {"branch": "0001", "number": A.number}, "to": {"key": TEXTS[2]}, "amount": "1.00"}),
        json!({"from": {"branch": "0001", "number": A.number}, "to": {"key": ELISA}, "amount": A.tax_id}),
        json!({"from": TEXTS[2], "to": A.tax_id, ELISA: A.tax_id}),
    ] {
        let answer = switch
            .http
            .post(bank, "/api/payments", &order, Some("canary-wrong"))
            .await;
        let status = answer.expect("the bank answers").status;
        assert!((400..500).contains(&status), "{order}: {status}");
    }
    for (port, path) in [
        (bank, format!("/api/payments/{NOBODY}")),
        (bank, format!("/{}", TEXTS[2])),
        (switch.ops_port(), format!("/payments/{NOBODY}")),
        (home.port(5001), format!("/participants/{ELISA}")),
        (home.port(5009), format!("/payments/{}", TEXTS[2])),
    ] {
        let status = switch.http.get(port, &path).await.expect("it answers").status;
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    let pay = json!({"from": "99999A03", "to": B.ispb, "number": TEXTS[2], "type": "CACC", "tax_id": NOBODY, "amount": "x"});
    let answer = switch.http.post(home.port(5009), "/pay", &pay, None).await;
    assert!((400..500).contains(&answer.expect("it answers").status));
}

/// Status of what bank A asks over its own mutual TLS.
async fn curl(pki: &Path, arguments: &[&str]) -> u16 {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--globoff",
            "--max-time",
            "20",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
        ])
        .arg("--cert")
        .arg(pki.join("channel.crt"))
        .arg("--key")
        .arg(pki.join("channel.key"))
        .arg("--cacert")
        .arg(pki.join("ca.crt"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .expect("curl is there");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("{arguments:?}: {output:?}"))
}

/// Subject and headers of everything that goes over NATS from now on. Payloads are for services, and sealed in no log.
async fn listen_on_nats(switch: &Switch) -> Arc<Mutex<Vec<String>>> {
    let url = format!("nats://127.0.0.1:{}", switch.home.port(4222));
    let client = async_nats::connect(url).await.expect("NATS is there");
    let mut messages = client.subscribe(">").await.expect("it listens");
    client.flush().await.expect("it listens");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&heard);
    tokio::spawn(async move {
        let _client = client;
        while let Some(message) = messages.next().await {
            let line = format!("{} {:?}", message.subject, message.headers);
            keep.lock().expect("no holder panics").push(line);
        }
    });
    heard
}

/// `/metrics` of every service, by name.
async fn scrape(switch: &Switch) -> BTreeMap<&'static str, String> {
    let mut metrics = BTreeMap::new();
    for (service, port) in [
        ("spi", switch.ops_port()),
        ("dict", switch.home.port(5001)),
        ("settlement", switch.home.port(5003)),
        ("virtual", switch.home.port(5009)),
        ("bank", switch.bank_port(A)),
        ("bank B", switch.bank_port(B)),
    ] {
        let url = format!("http://127.0.0.1:{port}/metrics");
        let output = Command::new("curl")
            .args(["--silent", "--max-time", "20", &url])
            .output()
            .await;
        let shown = String::from_utf8(output.expect("curl is there").stdout);
        metrics.insert(service, shown.expect("text"));
    }
    metrics
}

/// Counters and gauges of which such a session knows nothing: their labels come with the disturbance, or with a setting.
const QUIET: [&str; 9] = [
    "sandbox_rules",
    "spi_complaints_total",
    "spi_identity_refused_total",
    "dict_identity_refused_total",
    "dict_event_fields_left_out_total",
    "dict_rate_limited_total",
    "bank_anomalies_total",
    "sandbox_acts_total",
    "tls_handshakes_refused_total",
];

/// Every metric that is shown is declared, and every one that is declared is shown.
fn declared(metrics: &BTreeMap<&'static str, String>) {
    for service in SERVICES {
        let declared = reference::metrics(service);
        let shown: BTreeSet<&str> = metrics
            .iter()
            .filter(|(name, _)| name.split(' ').next() == Some(service))
            .flat_map(|(_, text)| text.lines())
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        for name in &shown {
            assert!(
                declared.contains_key(*name),
                "{service} shows {name}, which its table does not have"
            );
        }
        for name in declared.keys().filter(|name| !shown.contains(name.as_str())) {
            let quiet = QUIET.contains(&name.as_str()) || service == "virtual";
            assert!(
                quiet,
                "{service} declares {name} and does not show it after a session"
            );
        }
    }
}

/// The two payments, by how they ended and stage by stage.
fn counted(metrics: &BTreeMap<&'static str, String>) {
    for (service, line) in [
        ("spi", "spi_payments_total{state=\"settled\",reason=\"none\"} 1"),
        ("spi", "spi_payments_total{state=\"released\",reason=\"AC06\"} 1"),
        ("spi", "spi_payment_seconds_count{state=\"settled\"} 1"),
        (
            "spi",
            "spi_stage_seconds_count{message=\"order\",stage=\"blocked\"} 2",
        ),
        (
            "spi",
            "spi_stage_seconds_count{message=\"order\",stage=\"formed\"} 2",
        ),
        (
            "spi",
            "spi_stage_seconds_count{message=\"order\",stage=\"answered\"} 2",
        ),
        (
            "spi",
            "spi_stage_seconds_count{message=\"order\",stage=\"settled\"} 2",
        ),
        (
            "spi",
            "spi_stage_seconds_count{message=\"order\",stage=\"delivered\"} ",
        ),
        (
            "spi",
            "spi_stage_seconds_count{message=\"order\",stage=\"confirmed\"} ",
        ),
        (
            "spi",
            "spi_stage_seconds_count{message=\"status\",stage=\"confirmed\"} ",
        ),
        (
            "bank",
            "bank_payments_total{direction=\"outgoing\",state=\"settled\",reason=\"none\"} 1",
        ),
        (
            "bank",
            "bank_payments_total{direction=\"outgoing\",state=\"refused\",reason=\"AC06\"} 1",
        ),
        (
            "bank B",
            "bank_payments_total{direction=\"incoming\",state=\"settled\",reason=\"none\"} 1",
        ),
    ] {
        let shown = metrics[service].lines().any(|shown| shown.starts_with(line));
        assert!(shown, "{service} does not show {line}:\n{}", metrics[service]);
    }
}

/// What every process wrote, by file.
fn logs(dir: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(dir.join("logs")).expect("there are logs");
    let files: Vec<PathBuf> = files.map(|file| file.expect("readable").path()).collect();
    files
        .into_iter()
        .map(|file| {
            let name = file.file_name().expect("a file").to_string_lossy().into_owned();
            let bytes = fs::read(&file).expect("readable");
            (name, String::from_utf8_lossy(&bytes).into_owned())
        })
        .collect()
}

/// The payment's trace, whose id anybody can compute, goes through the payer's bank, the DICT, the SPI and the
/// receiver's bank.
fn one_trace(spans: &[Span], end_to_end_id: &str) {
    let digest = pix_xmldsig::digest(&[end_to_end_id.as_bytes()]);
    let of_payment: Vec<&Span> = spans.iter().filter(|span| span.trace == digest[..16]).collect();
    let seen: BTreeSet<(&str, &str, &str)> = of_payment
        .iter()
        .map(|span| {
            let participant = span.attributes.get("participant.ispb").map_or("", String::as_str);
            (span.service.as_str(), span.name.as_str(), participant)
        })
        .collect();
    for wanted in [
        ("bank", "bank.lookup", A.ispb),
        ("dict", "dict.lookup", A.ispb),
        ("bank", "bank.order", A.ispb),
        ("spi", "spi.block", A.ispb),
        ("spi", "spi.form", B.ispb),
        ("spi", "spi.deliver", B.ispb),
        ("bank", "bank.answer", B.ispb),
        ("spi", "spi.confirm", B.ispb),
        ("spi", "spi.wait", B.ispb),
        ("spi", "spi.settle", B.ispb),
        ("spi", "spi.form_status", A.ispb),
        ("bank", "bank.credit", B.ispb),
        ("bank", "bank.pay", A.ispb),
        ("spi", "payment", ""),
    ] {
        assert!(seen.contains(&wanted), "the trace has no {wanted:?}: {seen:#?}");
    }
    for span in of_payment {
        assert_eq!(span.attributes["payment.end_to_end_id"], end_to_end_id);
        assert!(span.began <= span.ended, "{span:?}");
        match span.name.as_str() {
            "payment" => assert_eq!(
                (&span.span[..], span.parent.len()),
                (&digest[16..24], 0),
                "{span:?}"
            ),
            _ => assert_eq!(span.parent, digest[16..24], "{span:?}"),
        }
    }
}
