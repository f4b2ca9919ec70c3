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
const CUSTOMERS: [(&str, &str, &str, &str, &str); 5] = [
    (ANA, "CACC", "52998224725", "5000.00", "open"),
    (BRUNO, "CACC", "11144477735", "100.00", "open"),
    (CLOSED, "CACC", "11144477735", "0.00", "closed"),
    (BLOCKED, "CACC", "11144477735", "50.00", "blocked"),
    (SALARY, "SLRY", "11144477735", "0.00", "open"),
];

/// The sum of all opening balances.
pub(crate) const CUSTOMERS_TOTAL: &str = "5150.00";

/// What a bank is started with, so that it can be started again.
pub(crate) struct Setup {
    pub(crate) database_url: String,
    pub(crate) icom: [SocketAddr; 2],
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
        drop(pki.service("spi"));
        let folder = TempDir::with_prefix("pix-bank-").unwrap();
        let account = |(number, kind, tax_id, balance, state): &(&str, &str, &str, &str, &str)| {
            format!(
                "[[account]]\nbranch = \"0001\"\nnumber = \"{number}\"\ntype = \"{kind}\"\nname = \"Cliente {number}\"\n\
                 tax_id = \"{tax_id}\"\nbalance = \"{balance}\"\nstate = \"{state}\"\n"
            )
        };
        let customers: String = CUSTOMERS.iter().map(account).collect();
        std::fs::write(folder.path().join("customers.toml"), customers).unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let pki = pki.participant(OURS);
        Self {
            database_url,
            icom,
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

    /// Every pocket together is zero, whatever happened.
    pub(crate) async fn balanced(&self) -> Value {
        let totals = self.get("/api/totals").await;
        assert_eq!(totals["sum"], "0.00", "{totals}");
        totals
    }
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
