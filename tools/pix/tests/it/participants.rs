//! Participants that join, are funded, suspended and resumed while everything runs; windows; balances.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use pix_domain::{Ispb, Timestamp};
use pix_pki::{DevPki, Subject, Use, Validity};
use pix_testkit::{eventually, free_port};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::money::{order_to, until_all_ended};
use crate::switch::{A, B, PIX, Switch};

/// The bank that joins, and its first account, as bank A's seed has it.
const NEW: &str = "44444444";
const ACCOUNT: &str = "100001";

const SOON: Duration = Duration::from_secs(20);
/// When the SPI gives up on a payment.
const DEADLINE: Duration = Duration::from_secs(40);

/// Runs `pix`, which succeeds, and reads what it prints for programs.
async fn told(switch: &Switch, arguments: &[&str]) -> Value {
    let out = switch.home.pix(&[arguments, &["--json"]].concat()).output().await;
    let out = out.expect("pix starts");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{arguments:?}: {said}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("no JSON: {said}"))
}

/// The `bank` program as another bank, on a database of its own.
struct Newcomer {
    port: u16,
    _process: Child,
}

impl Newcomer {
    /// With the settings of bank A but for what is its own.
    async fn start(switch: &Switch, files: &std::path::Path) -> Self {
        let dir = switch.home.dir();
        let read = |name: &str| fs::read_to_string(dir.join(name)).expect("pix up writes it");
        let port = free_port().expect("a port is free");
        let mut settings: toml::Table = read(&format!("config/bank-{}.toml", A.ispb))
            .parse()
            .expect("TOML");
        let url = settings["database"]["url"].as_str().expect("a URL").to_owned();
        let mut owner = PgConnection::connect(&url).await.expect("Postgres runs");
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE bank_{NEW}")))
            .execute(&mut owner)
            .await
            .expect("a new database");
        let mut set = |table: Option<&str>, key: &str, value: String| {
            let table = match table {
                Some(table) => settings[table].as_table_mut().expect("a table"),
                None => &mut settings,
            };
            table.insert(key.to_owned(), toml::Value::String(value));
        };
        let file = |name: &str| files.join(name).display().to_string();
        set(None, "ispb", NEW.to_owned());
        set(None, "name", "Banco Novo".to_owned());
        set(None, "listen", format!("127.0.0.1:{port}"));
        set(
            Some("database"),
            "url",
            url.replace(&format!("bank_{}", A.ispb), &format!("bank_{NEW}")),
        );
        set(Some("tls"), "certificate", file("channel.crt"));
        set(Some("tls"), "key", file("channel.key"));
        set(Some("signature"), "certificate", file("signature.crt"));
        set(Some("signature"), "key", file("signature.key"));
        let config = dir.join("bank-new.toml");
        fs::write(&config, toml::to_string(&settings).expect("TOML")).expect("writes");
        let log = fs::File::create(dir.join("bank-new.log")).expect("creates");
        let process = Command::new(std::path::Path::new(PIX).with_file_name("bank"))
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("bank is built");
        let one = Self {
            port,
            _process: process,
        };
        eventually("the new bank is ready", Duration::from_secs(60), async || {
            let ready = switch.http.get(port, "/readyz").await.ok()?;
            ready.is_success().then_some(())
        })
        .await;
        one
    }

    /// Pays bank B, and gives how it ended.
    async fn pays(&self, switch: &Switch, amount: &str) -> Value {
        let body = json!({
            "from": {"branch": "0001", "number": ACCOUNT}, "amount": amount,
            "to": {"ispb": B.ispb, "branch": "0001", "number": B.number, "type": "CACC", "tax_id": B.tax_id},
        });
        let taken = switch.http.post(self.port, "/api/payments", &body, None).await;
        let taken = taken.expect("the new bank answers");
        let id = taken.body["end_to_end_id"]
            .as_str()
            .unwrap_or_else(|| panic!("{taken:?}"));
        let path = format!("/api/payments/{id}");
        eventually("its payment ends", Duration::from_secs(60), async || {
            let payment = switch.http.get(self.port, &path).await.ok()?.body;
            (payment["state"] != "pending").then_some(payment)
        })
        .await
    }
}

/// What is available in the Conta PI of a participant, by the settlement service.
async fn available(switch: &Switch, ispb: &str) -> Option<String> {
    let out = switch.home.pix(&["balance", "--json"]).output().await.ok()?;
    let lines = String::from_utf8(out.stdout).ok()?;
    let mut balances = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let found = balances.rfind(|balance| balance["ispb"] == ispb)?;
    Some(found["available"].as_str()?.to_owned())
}

#[tokio::test]
async fn a_bank_joins_pays_is_suspended_and_resumed_while_everything_runs() {
    let switch = Switch::new().await;
    let files = switch.home.dir().join("newcomer");
    let pki = DevPki::open_or_create(&switch.home.dir().join("pki")).expect("a PKI");
    let ispb = Ispb::parse(NEW.as_bytes()).expect("an ISPB");
    pki.participant(ispb, &files).expect("its certificates");
    let file = |name: &str| files.join(name).display().to_string();
    let (channel, signature) = (file("channel.crt"), file("signature.crt"));
    let add = [
        "participant",
        "add",
        "--ispb",
        NEW,
        "--name",
        "Banco Novo",
        "--channel-cert",
        &channel,
        "--signature-cert",
        &signature,
    ];
    let added = told(&switch, &add).await;
    assert_eq!(
        (
            &added["state"],
            &added["category"],
            added["certificates"].as_array().map(Vec::len)
        ),
        (&json!("ACTIVE"), &json!("A"), Some(2)),
        "{added}"
    );
    assert_eq!(told(&switch, &add).await, added, "the same again changes nothing");
    let refused = async |arguments: &[&str], word: &str| {
        let out = switch.home.pix(arguments).output().await.expect("pix starts");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(3), "{said}");
        assert!(said.contains(word), "no {word:?} in: {said}");
    };
    let mut other = add;
    other[5] = "Banco Outro";
    refused(&other, "is there already").await;
    let expired = expired(&pki, ispb, &files);
    let certificate = [
        "participant",
        "certs",
        NEW,
        "--add",
        &expired,
        "--use",
        "signature",
    ];
    refused(&certificate, "expired at 2020-01-31").await;
    refused(&["participant", "show", "98765432"], "pix participant list").await;

    // The same order twice moves the money once.
    let id = "0f0e0d0c-0b0a-4908-8706-050403020100";
    let fund = [
        "participant",
        "fund",
        "--ispb",
        NEW,
        "--amount",
        "1000.00",
        "--id",
        id,
    ];
    let first = told(&switch, &fund).await;
    assert_eq!(
        (&first["state"], &first["available"]),
        (&json!("DONE"), &json!("1000.00")),
        "{first}"
    );
    assert_eq!(told(&switch, &fund).await, first);
    let out = told(
        &switch,
        &["participant", "fund", "--ispb", NEW, "--amount", "-250.00"],
    )
    .await;
    assert_eq!(out["available"], "750.00", "{out}");
    let too_much = ["participant", "fund", "--ispb", NEW, "--amount", "-750.01"];
    let out = switch.home.pix(&too_much).output().await.expect("pix starts");
    assert_eq!(out.status.code(), Some(3), "more than there is: {out:?}");

    let mut watch = switch
        .home
        .pix(&["balance", "--watch", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("pix starts");
    let mut watched = BufReader::new(watch.stdout.take().expect("piped")).lines();

    let bank = Newcomer::start(&switch, &files).await;
    let paid = bank.pays(&switch, "5.00").await;
    assert_eq!(paid["state"], "settled", "{paid}");
    let moved = async {
        loop {
            let line = watched.next_line().await.expect("reads").expect("more lines");
            let balance: Value = serde_json::from_str(&line).expect("JSON");
            if balance["ispb"] == NEW && balance["available"] == "745.00" {
                return;
            }
        }
    };
    let moved = tokio::time::timeout(SOON, moved).await;
    moved.expect("the balance that is watched moves");
    watch.kill().await.expect("our child");

    let to_it = json!({"ispb": NEW, "branch": "0001", "number": ACCOUNT, "type": "CACC", "tax_id": A.tax_id});
    let pays_it = async |key: &str| {
        let id = order_to(&switch, A, &to_it, 300, key).await;
        let path = format!("/api/payments/{id}");
        let end = eventually("it ends", Duration::from_secs(60), async || {
            let payment = switch.http.get(switch.bank_port(A), &path).await.ok()?.body;
            (payment["state"] != "pending").then_some(payment)
        });
        end.await
    };
    assert_eq!(pays_it("before").await["state"], "settled");
    let suspended = told(
        &switch,
        &["participant", "suspend", NEW, "--reason", "by the test"],
    )
    .await;
    assert_eq!(suspended["state"], "SUSPENDED", "{suspended}");
    // One that was decided before the SPI heard of it ends at its deadline, 40 s later.
    eventually("it is refused as receiver", DEADLINE + SOON, async || {
        let end = pays_it(&format!("suspended-{}", rand_key())).await;
        (end["reason"] == "DS27").then_some(())
    })
    .await;
    let resumed = told(&switch, &["participant", "resume", NEW]).await;
    assert_eq!(resumed["state"], "ACTIVE", "{resumed}");
    eventually("it is paid again", SOON, async || {
        let end = pays_it(&format!("resumed-{}", rand_key())).await;
        (end["state"] == "settled").then_some(())
    })
    .await;

    let list = told(&switch, &["participant", "list"]).await;
    let all = list["participants"].as_array().expect("participants");
    assert!(
        all.iter()
            .any(|one| one["ispb"] == NEW && one["state"] == "ACTIVE"),
        "{list}"
    );
    assert!(
        all.iter().any(|one| one["ispb"] == A.ispb),
        "the seed is in the registry: {list}"
    );
    drop(bank);
    switch.stop().await;
}

/// The file of a signature certificate whose time was over long ago.
fn expired(pki: &DevPki, ispb: Ispb, folder: &std::path::Path) -> String {
    let at = |text: &[u8]| Timestamp::parse(text).expect("a time");
    let validity = Validity {
        from: at(b"2020-01-01T00:00:00.000Z"),
        until: at(b"2020-01-31T00:00:00.000Z"),
    };
    let subject = Subject {
        common_name: format!("{ispb} signature"),
        ispb: Some(ispb),
    };
    let issued = pki
        .authority()
        .issue(&subject, Use::Signature, validity)
        .expect("issued");
    let path = folder.join("expired.crt");
    fs::write(&path, issued.certificate_pem).expect("writes");
    path.display().to_string()
}

/// A name for an order that no attempt before had.
fn rand_key() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

#[tokio::test]
async fn a_window_closes_with_its_proof() {
    let switch = Switch::new().await;
    let mut ids = Vec::new();
    for (centavos, key) in [(150, "window-1"), (250, "window-2")] {
        ids.push(crate::money::order(&switch, A, B, centavos, key).await);
    }
    assert_eq!(until_all_ended(&switch, A, B, &ids).await, 2);
    eventually("the balance is told", SOON, async || {
        (available(&switch, A.ispb).await? == "999996.00").then_some(())
    })
    .await;
    let window = told(&switch, &["window", "close"]).await;
    assert_eq!(window["state"], "CLOSED", "{window:#}");
    let proof = &window["proof"];
    assert_eq!(
        (&proof["holds"], &proof["net_sum"], &proof["book_count"]),
        (&json!(true), &json!("0.00"), &window["count"]),
        "{window:#}"
    );
    // The one that was open may have ended by itself meanwhile: what they hold together is known.
    let mut all = Vec::new();
    for one in told(&switch, &["window", "list"])
        .await
        .as_array()
        .expect("a list")
    {
        all.push(told(&switch, &["window", "show", &one["number"].to_string()]).await);
    }
    let net = |ispb: &str| -> f64 {
        let positions = all.iter().filter_map(|window| window["positions"].as_array());
        let of = positions.flatten().filter(|position| position["ispb"] == ispb);
        of.filter_map(|position| position["net"].as_str()?.parse::<f64>().ok())
            .sum()
    };
    let counts = all.iter().filter_map(|window| window["count"].as_u64());
    assert_eq!(
        (counts.sum::<u64>(), net(A.ispb), net(B.ispb)),
        (2, -4.0, 4.0),
        "{all:#?}"
    );

    let number = window["number"].to_string();
    assert_eq!(told(&switch, &["window", "show", &number]).await, window);
    let open = told(&switch, &["window", "show"]).await;
    assert_eq!(open["state"], "OPEN", "the next one is open: {open:#}");
    let list = told(&switch, &["window", "list"]).await;
    let numbers: Vec<_> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["number"].as_i64())
        .collect();
    assert_eq!(
        numbers.first().copied().flatten(),
        open["number"].as_i64(),
        "{list:#}"
    );
    let (worked, said) = switch.home.run(&["window", "show", &number]).await;
    assert!(worked && said.contains("It holds"), "{said}");
    switch.stop().await;
}
