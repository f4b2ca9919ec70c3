//! An SPI, the virtual participants beside it, and a bank that pays and is paid.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use iso20022::{
    AppHdr, CreditTransfer, CreditorAccount, DebtorAccount, Document, Envelope, GroupHeader,
    MessageDefinition, Pacs002, Pacs008, Party, TransactionStatusReport,
};
use pix_domain::{
    AccountNumber, AccountType, Branch, EndToEndId, Ispb, LocalInstrument, Money, MsgId, Priority, Purpose,
    ResourceId, SPI_ISPB, ServiceLevel, TaxId, Text, Timestamp, TransactionStatus,
};
use pix_icom::{Channel, Icom, Pulled, Said};
use pix_parts::{Probe, Signal};
use pix_runtime::{Clock as _, Ids, SystemClock};
use pix_testkit::{Process, ProcessSpec, Seat, TestPki, eventually, free_port, parts};
use pix_xmldsig::{IssuerSerial, KeySource, Signer, VerifyingKey};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A bank outside.
pub(crate) const A: &str = "11111111";
/// Pays on request.
pub(crate) const PAYER: &str = "99999A03";
/// Accepts.
pub(crate) const RECEIVER: &str = "99999A04";
/// Indirect ones behind them.
pub(crate) const PAYER_INDIRECT: &str = "9999A03V";
pub(crate) const RECEIVER_INDIRECT: &str = "9999A04V";

/// How long anything may take that is not a deadline of the SPI.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What the SPI leaves an order that is sent when its payer's 34 s are nearly over: 40 s less this much.
pub(crate) const LATE: Duration = Duration::from_secs(33);

/// An SPI and the virtual participants.
pub(crate) struct Sandbox {
    pki: TestPki,
    folder: TempDir,
    primary: u16,
    secondary: u16,
    spi_ops: u16,
    ops: u16,
    spec: ProcessSpec,
    participants: Option<Process>,
    _spi: Process,
}

impl Sandbox {
    /// Both, serving.
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Both; the participants with a file of rules.
    pub(crate) async fn start_with(rules: Option<&str>) -> Self {
        let pki = TestPki::shared().await;
        let direct = |ispb| Seat {
            ispb,
            settler: None,
            opening_balance: "1000000.00",
        };
        let indirect = |ispb, settler| Seat {
            ispb,
            settler: Some(settler),
            opening_balance: "0.00",
        };
        let folder = pki.seed(&[
            direct(A),
            direct(PAYER),
            direct(RECEIVER),
            indirect(PAYER_INDIRECT, PAYER),
            indirect(RECEIVER_INDIRECT, RECEIVER),
        ]);
        let [primary, secondary, grpc, spi_ops, ops] =
            std::array::from_fn(|_| free_port().expect("a free port"));
        let spi = spi(&pki, &folder, [primary, secondary, grpc, spi_ops]).await;
        let mut sandbox = Self {
            spec: participants(&pki, &folder, [primary, secondary, ops], rules),
            pki,
            folder,
            primary,
            secondary,
            spi_ops,
            ops,
            participants: None,
            _spi: spi,
        };
        sandbox.run().await;
        sandbox
    }

    /// Starts the participants, and waits until all of them hear the switch.
    pub(crate) async fn run(&mut self) {
        let log = self.spec.log.clone();
        self.participants = Some(serving(&self.spec, &log).await);
    }

    /// SIGKILL to the participants.
    pub(crate) async fn kill(&mut self) {
        let mut process = self.participants.take().expect("running");
        process.signal(Signal::Kill).expect("can be killed");
        process.wait().await.expect("can be waited for");
    }

    /// SIGTERM to the participants; whether they ended in good order.
    pub(crate) async fn stop(&mut self) -> bool {
        let mut process = self.participants.take().expect("running");
        process.stop(SOON).await.expect("stops").success()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("virtual.log")).unwrap_or_default()
    }

    /// What an operator asks of the participants, or tells them.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = call(self.ops, method, path, body).await;
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    /// Sets these rules instead of those there are.
    pub(crate) async fn script(&self, rules: &str) {
        let (status, said) = self.call("PUT", "/rules", rules).await;
        assert_eq!(status, 200, "{said}");
    }

    /// Has a virtual participant pay; gives the payment.
    pub(crate) async fn pay(&self, body: &Value) -> EndToEndId {
        let (status, said) = self.call("POST", "/pay", &body.to_string()).await;
        assert_eq!(status, 202, "{said}");
        let id = said["end_to_end_id"].as_str().expect("an id");
        EndToEndId::parse(id.as_bytes()).expect("an id")
    }

    /// What the participants know of a payment once it has ended.
    pub(crate) async fn ended(&self, id: EndToEndId) -> Value {
        eventually("the virtual participants know the end", SOON, || async {
            let (status, payment) = self.call("GET", &format!("/payments/{id}"), "").await;
            (status == 200 && payment["state"] != "pending").then_some(payment)
        })
        .await
    }

    /// Puts a participant out, and waits until the SPI knows.
    pub(crate) async fn put_out(&self, ispb: &str) {
        let version = || async {
            let (_, body) = call(self.spi_ops, "GET", "/status", "").await;
            let status: Value = serde_json::from_str(&body).expect("JSON");
            status["participants_version"].clone()
        };
        let before = version().await;
        let file = self.folder.path().join("participants.toml");
        let text = std::fs::read_to_string(&file).expect("it is there");
        let line = format!("ispb = \"{ispb}\"\n");
        let text = text.replace(&line, &format!("{line}active = false\n"));
        std::fs::write(&file, text).expect("it is ours");
        eventually("the SPI has read it", SOON, || async {
            (version().await != before).then_some(())
        })
        .await;
    }

    /// Available and blocked of a Conta PI, in reais.
    pub(crate) async fn balance(&self, ispb: &str) -> (String, String) {
        let (_, body) = call(self.spi_ops, "GET", "/accounts", "").await;
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        let accounts = answer["accounts"].as_array().expect("a list");
        let account = accounts.iter().find(|a| a["ispb"] == ispb).expect("the account");
        let text = |field: &str| account[field].as_str().expect("text").to_owned();
        (text("available"), text("blocked"))
    }

    /// A bank outside, on the primary channel.
    pub(crate) fn bank(&self, ispb: &str) -> Bank {
        self.bank_on(ispb, Channel::Primary)
    }

    /// The same on either channel.
    pub(crate) fn bank_on(&self, ispb: &str, channel: Channel) -> Bank {
        let spi = std::fs::read(self.pki.service("spi").join("signature.crt")).expect("readable");
        let port = match channel {
            Channel::Primary => self.primary,
            Channel::Secondary => self.secondary,
        };
        Bank {
            icom: Icom {
                client: self.pki.client(ispb),
                channel,
                base: format!("https://localhost:{port}"),
                ispb: parse(ispb),
            },
            signer: self.pki.signer(ispb),
            spi: SpiKey(VerifyingKey::from_certificate_pem(&spi).expect("a certificate")),
            ids: Ids::system(),
        }
    }
}

/// A program of the switch: beside ours, where one build has made all of them.
fn program(name: &str) -> PathBuf {
    let ours = Path::new(env!("CARGO_BIN_EXE_virtual"));
    let folder = std::env::var_os("PIX_TEST_BINARIES").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| ours.parent().expect("it lies in a folder").to_path_buf());
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "{} is missing: run `make test`, or build it with `cargo build -p {name}`",
        program.display()
    );
    program
}

fn spec(name: &str, program: PathBuf, folder: &TempDir, ops: u16, flags: &[(&str, String)]) -> ProcessSpec {
    ProcessSpec {
        name: name.to_owned(),
        program,
        args: flags
            .iter()
            .map(|(key, value)| format!("--{key}={value}"))
            .collect(),
        env: BTreeMap::new(),
        dir: None,
        run_as: None,
        stop_signal: Signal::Terminate,
        log: folder.path().join(format!("{name}.log")),
        probe: Probe::Http {
            address: ([127, 0, 0, 1], ops).into(),
            path: "/readyz".to_owned(),
        },
    }
}

async fn serving(spec: &ProcessSpec, log: &Path) -> Process {
    let mut process = spec.spawn().await.expect("it starts");
    let ready = process.ready(SOON).await;
    let said = std::fs::read_to_string(log).unwrap_or_default();
    assert!(ready.is_ok(), "{} does not serve: {ready:?}\n{said}", spec.name);
    process
}

async fn spi(pki: &TestPki, folder: &TempDir, [primary, secondary, grpc, ops]: [u16; 4]) -> Process {
    let database = pix_testkit::empty_database("spi").await;
    let shared = parts().await;
    let (own, inside) = (pki.service("spi"), pki.inside("spi"));
    let file = |name: &str| own.join(name).display().to_string();
    let seed = folder.path().join("participants.toml").display().to_string();
    let flags = [
        ("listen.primary", format!("127.0.0.1:{primary}")),
        ("listen.secondary", format!("127.0.0.1:{secondary}")),
        ("grpc.listen", format!("127.0.0.1:{grpc}")),
        ("ops.listen", format!("127.0.0.1:{ops}")),
        ("database.url", database.url_as("spi_app")),
        ("database.owner_url", database.url()),
        ("nats.url", shared.nats.url()),
        ("redis.url", shared.redis.url()),
        ("participants.file", seed),
        ("tls.certificate", file("server.crt")),
        ("tls.key", file("server.key")),
        ("tls.client_ca", file("ca.crt")),
        ("signature.certificate", file("signature.crt")),
        ("signature.key", file("signature.key")),
        ("inside.certificate", inside.certificate.display().to_string()),
        ("inside.key", inside.key.display().to_string()),
        ("inside.ca", inside.ca.display().to_string()),
    ];
    let spec = spec("spi", program("spi"), folder, ops, &flags);
    let log = spec.log.clone();
    serving(&spec, &log).await
}

fn participants(
    pki: &TestPki,
    folder: &TempDir,
    [primary, secondary, ops]: [u16; 3],
    rules: Option<&str>,
) -> ProcessSpec {
    let seat = |ispb: &str| format!("{ispb}={}", pki.participant(ispb).display());
    let spi = pki.service("spi").join("signature.crt");
    let mut flags = vec![
        ("participants", format!("{},{}", seat(PAYER), seat(RECEIVER))),
        (
            "indirect",
            format!("{PAYER_INDIRECT}={PAYER},{RECEIVER_INDIRECT}={RECEIVER}"),
        ),
        ("icom.primary", format!("https://localhost:{primary}")),
        ("icom.secondary", format!("https://localhost:{secondary}")),
        ("spi.signature_certificate", spi.display().to_string()),
        ("listen.ops", format!("127.0.0.1:{ops}")),
        ("log.format", "json".to_owned()),
    ];
    if let Some(rules) = rules {
        let file = folder.path().join("rules.toml");
        std::fs::write(&file, rules).expect("a file can be written");
        flags.push(("rules.file", file.display().to_string()));
    }
    let program = PathBuf::from(env!("CARGO_BIN_EXE_virtual"));
    spec("virtual", program, folder, ops, &flags)
}

/// A request on a plain listener.
async fn call(port: u16, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("it listens");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    (status.expect("a status"), body.unwrap_or_default())
}

pub(crate) fn parse(ispb: &str) -> Ispb {
    Ispb::parse(ispb.as_bytes()).expect("an ISPB")
}

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// The only key that what comes from the SPI may be signed with.
struct SpiKey(VerifyingKey);

impl KeySource for SpiKey {
    fn find(&self, issuer_serial: &IssuerSerial) -> Option<VerifyingKey> {
        (self.0.issuer_serial() == issuer_serial).then(|| self.0.clone())
    }
}

/// A bank outside: what it signs and sends.
pub(crate) struct Bank {
    icom: Icom,
    signer: Signer,
    spi: SpiKey,
    ids: Ids,
}

impl Bank {
    /// A payment by account, sound in every way.
    pub(crate) fn order(&self, to: &str, reais: &str) -> CreditTransfer {
        let branch = Some(Branch::parse(b"0001").expect("a branch"));
        CreditTransfer {
            instruction_id: None,
            end_to_end_id: EndToEndId::new(self.icom.ispb, now(), self.ids.u128()),
            tx_id: None,
            amount: Money::parse(reais.as_bytes()).expect("an amount"),
            accepted_at: now().to_millis(),
            local_instrument: LocalInstrument::Manual,
            initiator: None,
            debtor: Party {
                name: Text::parse("Ana Souza").expect("a name"),
                tax_id: TaxId::parse(b"70000000000").expect("a CPF"),
            },
            debtor_account: DebtorAccount {
                number: AccountNumber::parse(b"500000").expect("an account"),
                branch,
                kind: AccountType::Current,
            },
            debtor_agent: self.icom.ispb,
            creditor_agent: parse(to),
            creditor: TaxId::parse(b"80000000000").expect("a CPF"),
            creditor_account: CreditorAccount {
                number: AccountNumber::parse(b"600000").expect("an account"),
                branch,
                kind: AccountType::Savings,
                proxy: None,
            },
            purpose: Purpose::InstantPayment,
            tax: None,
            remittance: None,
        }
    }

    /// Sends an order; gives the payment.
    pub(crate) async fn pay(&self, to: &str, reais: &str) -> EndToEndId {
        self.send(self.order(to, reais)).await
    }

    /// Sends an order that has but a few seconds left.
    pub(crate) async fn pay_late(&self, to: &str, reais: &str) -> EndToEndId {
        let mut order = self.order(to, reais);
        order.accepted_at = now().minus(LATE).to_millis();
        self.send(order).await
    }

    async fn send(&self, order: CreditTransfer) -> EndToEndId {
        let id = order.end_to_end_id;
        self.send_all(vec![order]).await;
        id
    }

    /// Sends orders in one message, by the priority of their channel.
    pub(crate) async fn send_all(&self, transactions: Vec<CreditTransfer>) {
        let message_id = self.message_id();
        let (priority, service_level) = match self.icom.channel {
            Channel::Primary => (Priority::High, ServiceLevel::Priority),
            Channel::Secondary => (Priority::Normal, ServiceLevel::Scheduled),
        };
        let document = Document::Pacs008(Pacs008 {
            group: GroupHeader {
                message_id,
                created_at: now().to_millis(),
                number_of_transactions: transactions.len() as u64,
                priority,
                service_level,
            },
            transactions,
        });
        self.post(message_id, MessageDefinition::Pacs008, document).await;
    }

    /// Accepts an order.
    pub(crate) async fn accept(&self, id: EndToEndId) {
        let message_id = self.message_id();
        let document = Document::Pacs002(Pacs002 {
            message_id,
            created_at: now().to_millis(),
            transactions: vec![TransactionStatusReport {
                original_instruction_id: id.into(),
                original_end_to_end_id: id,
                status: TransactionStatus::AcceptedSettlementInProcess,
                reasons: Vec::new(),
                settled_at: None,
                settlement_date: None,
            }],
        });
        self.post(message_id, MessageDefinition::Pacs002, document).await;
    }

    fn message_id(&self) -> MsgId {
        MsgId::new(self.icom.ispb, self.ids.u128())
    }

    /// Posts until it is taken, as a bank must: the same bytes each time.
    async fn post(&self, message_id: MsgId, definition: MessageDefinition, document: Document) {
        let header = AppHdr {
            from: self.icom.ispb,
            to: SPI_ISPB,
            message_id,
            definition,
            created_at: now().to_millis(),
        };
        let envelope = Envelope { header, document };
        let message: Bytes = iso20022::seal_envelope(&envelope, &self.signer, "key-info-id").into();
        eventually("the message is taken", SOON, || async {
            match self.icom.post(message.clone()).await {
                Said::Taken(_) => Some(()),
                Said::Refused(status) => panic!("the message was refused: {status}"),
                Said::NotNow(..) | Said::Unknown(..) | Said::Away(_) => None,
            }
        })
        .await;
    }

    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader {
            bank: self,
            next: None,
            seen: BTreeSet::new(),
        }
    }
}

/// What a bank hears, transaction by transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// pacs.008
    Order(Box<CreditTransfer>),
    /// pacs.002: status, and reason when refused.
    Status(EndToEndId, String),
    /// admi.002
    Refusal,
}

pub(crate) fn status(id: EndToEndId, text: &str) -> Heard {
    Heard::Status(id, text.to_owned())
}

/// One stream of a bank.
pub(crate) struct Reader<'a> {
    bank: &'a Bank,
    next: Option<String>,
    seen: BTreeSet<ResourceId>,
}

impl Reader<'_> {
    /// Reads until `count` things were heard.
    pub(crate) async fn hear(&mut self, count: usize) -> Vec<Heard> {
        let mut all = Vec::new();
        let reading = async {
            while all.len() < count {
                all.extend(self.batch().await);
            }
        };
        let in_time = tokio::time::timeout(SOON, reading).await;
        assert!(in_time.is_ok(), "{} heard only {all:?}", self.bank.icom.ispb);
        all
    }

    async fn batch(&mut self) -> Vec<Heard> {
        let Pulled::Messages { next, messages } = self.bank.icom.pull(self.next.as_deref()).await else {
            self.next = None;
            return Vec::new();
        };
        self.next = Some(next);
        let new = messages.into_iter().filter(|(id, _)| self.seen.insert(*id));
        let open = |(_, bytes): (ResourceId, Bytes)| {
            let opened = iso20022::open(&bytes, &self.bank.spi).expect("signed by the SPI");
            said(opened.envelope)
        };
        new.flat_map(open).collect()
    }
}

fn said(envelope: Envelope) -> Vec<Heard> {
    match envelope.document {
        Document::Pacs008(message) => message
            .transactions
            .into_iter()
            .map(|tx| Heard::Order(Box::new(tx)))
            .collect(),
        Document::Pacs002(message) => message
            .transactions
            .iter()
            .map(|report| {
                let reason = report.reasons.iter().find_map(|information| information.code);
                let text = reason.map_or_else(
                    || report.status.to_string(),
                    |reason| format!("{} {reason}", report.status),
                );
                Heard::Status(report.original_end_to_end_id, text)
            })
            .collect(),
        Document::Admi002(_) => vec![Heard::Refusal],
    }
}
