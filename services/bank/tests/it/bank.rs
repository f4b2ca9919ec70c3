//! The bank's process, and what a customer's program sees of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use pix_domain::{
    AccountNumber, AccountType, Branch, EndToEndId, Ispb, LocalInstrument, Money, Purpose, TaxId, Text,
};
use pix_runtime::{Clock as _, Ids, SystemClock};
use pix_testkit::{TestPki, empty_database, eventually, free_port};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::dict::Dict;
use crate::switch::Switch;

pub(crate) const OURS: &str = "11111111";
pub(crate) const THEIRS: &str = "22222222";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Customers: number, type, CPF, balance, state.
pub(crate) const ANA: &str = "100001";
pub(crate) const BRUNO: &str = "100002";
pub(crate) const CLOSED: &str = "100003";
pub(crate) const BLOCKED: &str = "100004";
pub(crate) const SALARY: &str = "100005";
pub(crate) const COMPANY: &str = "100006";
const CUSTOMERS: [(&str, &str, &str, &str, &str); 6] = [
    (ANA, "CACC", ANA_CPF, "5000.00", "open"),
    (BRUNO, "CACC", "11144477735", "100.00", "open"),
    (CLOSED, "CACC", "11144477735", "0.00", "closed"),
    (BLOCKED, "CACC", "11144477735", "50.00", "blocked"),
    (SALARY, "SLRY", "11144477735", "0.00", "open"),
    (COMPANY, "CACC", COMPANY_CNPJ, "0.00", "open"),
];

pub(crate) const ANA_CPF: &str = "52998224725";
pub(crate) const COMPANY_CNPJ: &str = "12ABC34501DE35";
/// Ana's, by the customers file.
pub(crate) const ANA_PHONE: &str = "+5561999990000";
pub(crate) const ANA_EMAIL: &str = "ana@banco.example";

/// The sum of all opening balances.
pub(crate) const CUSTOMERS_TOTAL: &str = "5150.00";

/// What a bank is started with, so that it can be started again.
pub(crate) struct Setup {
    pub(crate) database_url: String,
    pub(crate) icom: [SocketAddr; 2],
    /// Nobody listens there unless a test says otherwise.
    pub(crate) dict: SocketAddr,
    /// The indirect participant behind it.
    pub(crate) settles_for: Option<&'static str>,
    listen: SocketAddr,
    pki: PathBuf,
    spi: PathBuf,
    folder: TempDir,
}

impl Setup {
    pub(crate) async fn new(pki: &TestPki, icom: [SocketAddr; 2]) -> Self {
        Self::with_database(pki, icom, empty_database("bank").await.url())
    }

    pub(crate) fn with_database(pki: &TestPki, icom: [SocketAddr; 2], database_url: String) -> Self {
        drop((pki.service("spi"), pki.service("dict")));
        let folder = TempDir::with_prefix("pix-bank-").unwrap();
        let account = |(number, kind, tax_id, balance, state): &(&str, &str, &str, &str, &str)| {
            let (name, contacts) = match *number {
                ANA => (
                    "Ana Souza",
                    format!("phones = [\"{ANA_PHONE}\"]\nemails = [\"{ANA_EMAIL}\"]\n"),
                ),
                _ => ("Outro Cliente", String::new()),
            };
            format!(
                "[[account]]\nbranch = \"0001\"\nnumber = \"{number}\"\ntype = \"{kind}\"\nname = \"{name}\"\n\
                 tax_id = \"{tax_id}\"\nbalance = \"{balance}\"\nstate = \"{state}\"\n{contacts}"
            )
        };
        let customers: String = CUSTOMERS.iter().map(account).collect();
        std::fs::write(folder.path().join("customers.toml"), customers).unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let pki = pki.participant(OURS);
        Self {
            database_url,
            icom,
            dict: SocketAddr::from(([127, 0, 0, 1], free_port().unwrap())),
            settles_for: None,
            listen,
            spi: pki.join("spi-signature.crt"),
            pki,
            folder,
        }
    }

    /// From the next start on, another certificate of the SPI is known besides.
    pub(crate) fn trust_too(&mut self, certificate: &Path) {
        let mut both = std::fs::read(&self.spi).unwrap();
        both.extend(std::fs::read(certificate).unwrap());
        self.spi = self.folder.path().join("spi.crt");
        std::fs::write(&self.spi, both).unwrap();
    }

    /// Starts the process; it need not be ready.
    pub(crate) fn spawn(&self) -> Bank {
        let pem = |name: &str| self.pki.join(name).display().to_string();
        let settings = [
            ("ispb", OURS.to_owned()),
            ("name", "Banco de Teste".to_owned()),
            ("listen", self.listen.to_string()),
            ("database.url", self.database_url.clone()),
            ("icom.primary", format!("https://{}", self.icom[0])),
            ("icom.secondary", format!("https://{}", self.icom[1])),
            ("dict.url", format!("https://{}", self.dict)),
            ("dict.np_url", format!("https://{}", self.dict)),
            ("dict.signature_certificate", pem("dict-signature.crt")),
            ("tls.certificate", pem("channel.crt")),
            ("tls.key", pem("channel.key")),
            ("tls.ca", pem("ca.crt")),
            ("signature.certificate", pem("signature.crt")),
            ("signature.key", pem("signature.key")),
            ("spi.signature_certificate", self.spi.display().to_string()),
            (
                "customers.file",
                self.folder.path().join("customers.toml").display().to_string(),
            ),
        ];
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_bank"))
            .args(settings.iter().map(|(key, value)| format!("--{key}={value}")))
            .args(self.settles_for.map(|ispb| format!("--indirect={ispb}")))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        Bank {
            child,
            client,
            base: format!("http://{}", self.listen),
        }
    }

    /// Starts the process and waits until it is ready.
    pub(crate) async fn start(&self) -> Bank {
        let bank = self.spawn();
        bank.ready().await;
        bank
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.folder.path().join("bank.log")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap()
    }

    /// One value of the bank's own database.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        let mut conn = pix_runtime::pg::connect(&self.database_url).await.unwrap();
        sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap()
    }
}

/// A running bank. Dropped, it is killed.
pub(crate) struct Bank {
    child: Child,
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

impl Drop for Bank {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Bank {
    /// Kills it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop and waits for the end.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        let asked = Command::new("kill")
            .arg("-TERM")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(asked.success());
        eventually("the bank stops", PATIENCE, || {
            std::future::ready(self.child.try_wait().unwrap())
        })
        .await
    }

    pub(crate) async fn ready(&self) {
        eventually("the bank is ready", PATIENCE, async || {
            let (status, _) = self.send(Method::GET, "/readyz", None, None).await?;
            status.is_success().then_some(())
        })
        .await;
    }

    pub(crate) async fn not_ready(&self) {
        eventually("the bank is not ready", PATIENCE, async || {
            let (status, _) = self.send(Method::GET, "/readyz", None, None).await?;
            (!status.is_success()).then_some(())
        })
        .await;
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Option<(StatusCode, Bytes)> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        if body.is_some() {
            request = request.header("Content-Type", "application/json");
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let response = self
            .client
            .request(request.body(Full::new(bytes.into())).unwrap())
            .await
            .ok()?;
        let status = response.status();
        Some((status, response.into_body().collect().await.ok()?.to_bytes()))
    }

    /// A request as a person's program makes it: status, and the body as JSON.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let (status, body) = self
            .send(method, path, body, None)
            .await
            .expect("the bank answers");
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// `Retry-After` of what a GET answers.
    pub(crate) async fn retry_after(&self, path: &str) -> Option<String> {
        let request = Request::post(self.uri(path))
            .body(Full::default())
            .expect("a request");
        let answer = self.client.request(request).await.expect("the bank answers");
        let value = answer.headers().get("Retry-After")?;
        Some(value.to_str().unwrap().to_owned())
    }

    pub(crate) fn uri(&self, path: &str) -> http::Uri {
        format!("{}{path}", self.base).parse().unwrap()
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        let (_, body) = self
            .send(Method::GET, path, None, None)
            .await
            .expect("the bank answers");
        String::from_utf8(body.to_vec()).unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    pub(crate) async fn pay_with_key(&self, order: &Value, key: &str) -> (StatusCode, Value) {
        let (status, body) = self
            .send(Method::POST, "/api/payments", Some(order), Some(key))
            .await
            .expect("the bank answers");
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Pays and gives the payment's id.
    pub(crate) async fn pay(&self, order: &Value) -> EndToEndId {
        let (status, body) = self.call(Method::POST, "/api/payments", Some(order)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        EndToEndId::parse(body["end_to_end_id"].as_str().unwrap().as_bytes()).unwrap()
    }

    /// Why an order is refused.
    pub(crate) async fn refused(&self, order: &Value) -> (u16, String) {
        let (status, body) = self.call(Method::POST, "/api/payments", Some(order)).await;
        (
            status.as_u16(),
            body["detail"].as_str().unwrap_or_default().to_owned(),
        )
    }

    pub(crate) async fn payment(&self, id: EndToEndId) -> Value {
        self.get(&format!("/api/payments/{id}")).await
    }

    /// Waits until the payment is there in this state.
    pub(crate) async fn becomes(&self, id: EndToEndId, state: &str) -> Value {
        eventually(&format!("{id} is {state}"), PATIENCE, async || {
            let (_, payment) = self.call(Method::GET, &format!("/api/payments/{id}"), None).await;
            (payment["state"] == state).then_some(payment)
        })
        .await
    }

    /// Available, blocked and provisional of an account.
    pub(crate) async fn held(&self, number: &str) -> [String; 3] {
        let accounts = self.get("/api/accounts").await;
        let account = accounts
            .as_array()
            .unwrap()
            .iter()
            .find(|account| account["number"] == number)
            .unwrap();
        ["available", "blocked", "provisional"].map(|pocket| account[pocket].as_str().unwrap().to_owned())
    }

    /// Asks for a key and gives the registration as it was taken.
    pub(crate) async fn wants(&self, number: &str, kind: &str, key: Option<&str>) -> (u16, Value) {
        let wish = json!({ "account": { "branch": "0001", "number": number }, "type": kind, "key": key });
        let (status, body) = self.call(Method::POST, "/api/keys", Some(&wish)).await;
        (status.as_u16(), body)
    }

    /// Asks for a key and gives the id of its registration.
    pub(crate) async fn register(&self, number: &str, kind: &str, key: Option<&str>) -> String {
        let (status, body) = self.wants(number, kind, key).await;
        assert_eq!(status, 202, "{body}");
        body["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the registration of this id, or the latest of this key, is there in this state.
    pub(crate) async fn key_becomes(&self, name: &str, state: &str) -> Value {
        let path = format!("/api/keys/{}", segment(name));
        eventually(&format!("the key is {state}"), PATIENCE, async || {
            let (_, key) = self.call(Method::GET, &path, None).await;
            (key["state"] == state).then_some(key)
        })
        .await
    }

    /// Waits until the registration is requested no more.
    pub(crate) async fn key_becomes_settled(&self, id: &str) -> Value {
        eventually("the DICT has answered", PATIENCE, async || {
            let key = self.get(&format!("/api/keys/{id}")).await;
            (key["state"] != "requested").then_some(key)
        })
        .await
    }

    /// Waits until the registration carries this reason.
    pub(crate) async fn key_reason(&self, id: &str, reason: &str) -> Value {
        eventually("the DICT has refused", PATIENCE, async || {
            let key = self.get(&format!("/api/keys/{id}")).await;
            (key["reason"] == reason).then_some(key)
        })
        .await
    }

    /// Asks for a key under a name of the caller's own.
    pub(crate) async fn wants_named(&self, wish: &Value, name: &str) -> (u16, Value) {
        let sent = self.send(Method::POST, "/api/keys", Some(wish), Some(name));
        let (status, body) = sent.await.expect("the bank answers");
        (status.as_u16(), serde_json::from_slice(&body).unwrap())
    }

    pub(crate) async fn give_up(&self, key: &str) -> (u16, Value) {
        let path = format!("/api/keys/{}", segment(key));
        let (status, body) = self.call(Method::DELETE, &path, None).await;
        (status.as_u16(), body)
    }

    /// Whom a key stands for, asked for an account.
    pub(crate) async fn look_up(&self, number: &str, key: &str) -> (u16, Value) {
        let path = format!("/api/keys/{}/lookup?branch=0001&number={number}", segment(key));
        let (status, body) = self.call(Method::POST, &path, None).await;
        (status.as_u16(), body)
    }

    /// Every pocket together is zero, whatever happened.
    pub(crate) async fn balanced(&self) -> Value {
        let totals = self.get("/api/totals").await;
        assert_eq!(totals["sum"], "0.00", "{totals}");
        totals
    }
}

/// A key as a segment of a path.
fn segment(key: &str) -> String {
    key.replace('+', "%2B").replace('@', "%40")
}

/// An order from Ana to whoever has the key.
pub(crate) fn order_by_key(key: &str, amount: &str) -> Value {
    json!({ "from": { "branch": "0001", "number": ANA }, "to": { "key": key }, "amount": amount })
}

/// An order from Ana to an account at the other bank.
pub(crate) fn order(amount: &str) -> Value {
    json!({
        "from": { "branch": "0001", "number": ANA },
        "to": { "ispb": THEIRS, "branch": "0001", "number": "200001", "type": "CACC", "tax_id": "11222333000181" },
        "amount": amount,
        "description": "aluguel",
    })
}

/// An order from the other bank to an account here, by the CPF of its holder.
pub(crate) fn incoming(number: &str, amount: &str) -> iso20022::CreditTransfer {
    let (_, kind, tax_id, ..) = CUSTOMERS
        .iter()
        .find(|row| row.0 == number)
        .unwrap_or(&CUSTOMERS[0]);
    let agent = Ispb::parse(THEIRS.as_bytes()).unwrap();
    let now = SystemClock.now().to_millis();
    let branch = Some(Branch::parse(b"0001").unwrap());
    iso20022::CreditTransfer {
        instruction_id: None,
        end_to_end_id: EndToEndId::new(agent, now, Ids::system().u128()),
        tx_id: None,
        amount: Money::parse(amount.as_bytes()).unwrap(),
        accepted_at: now,
        local_instrument: LocalInstrument::Manual,
        initiator: None,
        debtor: iso20022::Party {
            name: Text::parse("Carla Dias").unwrap(),
            tax_id: TaxId::parse(b"11222333000181").unwrap(),
        },
        debtor_account: iso20022::DebtorAccount {
            number: AccountNumber::parse(b"200001").unwrap(),
            branch,
            kind: AccountType::Current,
        },
        debtor_agent: agent,
        creditor_agent: Ispb::parse(OURS.as_bytes()).unwrap(),
        creditor: TaxId::parse(tax_id.as_bytes()).unwrap(),
        creditor_account: iso20022::CreditorAccount {
            number: AccountNumber::parse(number.as_bytes()).unwrap(),
            branch,
            kind: AccountType::parse(kind.as_bytes()).unwrap(),
            proxy: None,
        },
        purpose: Purpose::InstantPayment,
        tax: None,
        remittance: None,
    }
}

/// A switch and a bank that is ready.
pub(crate) async fn world() -> (Switch, Setup, Bank) {
    let pki = TestPki::shared().await;
    let switch = Switch::start(&pki, OURS).await;
    let setup = Setup::new(&pki, switch.addresses()).await;
    let bank = setup.start().await;
    (switch, setup, bank)
}

/// A switch, a DICT and a bank that is ready.
pub(crate) async fn world_with_dict() -> (Switch, Dict, Setup, Bank) {
    let pki = TestPki::shared().await;
    let switch = Switch::start(&pki, OURS).await;
    let dict = Dict::start(&pki).await;
    let mut setup = Setup::new(&pki, switch.addresses()).await;
    setup.dict = dict.address();
    let bank = setup.start().await;
    (switch, dict, setup, bank)
}
