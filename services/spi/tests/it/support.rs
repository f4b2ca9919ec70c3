//! A running SPI, and participants that speak to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::Bytes;
use iso20022::{
    Admi002, AppHdr, CreditTransfer, CreditorAccount, DebtorAccount, Document, Envelope, GroupHeader,
    MessageDefinition, Pacs002, Pacs008, Party, StatusReasonInformation, TransactionStatusReport,
};
use pix_domain::{
    AccountNumber, AccountType, Branch, EndToEndId, Ispb, LocalInstrument, Money, MsgId, Priority, Purpose,
    ResourceId, SPI_ISPB, ServiceLevel, StatusReason, TaxId, Text, Timestamp, TransactionStatus,
};
use pix_icom::{Channel, Icom, Pulled, Said};
use pix_runtime::{Clock as _, Ids, SystemClock};
use pix_testkit::{OwnParts, Process, ProcessSpec, Seat, TestPki, eventually, free_port, parts};
use pix_xmldsig::{IssuerSerial, KeySource, Signer, VerifyingKey};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, Row as _};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(crate) const A: &str = "11111111";
pub(crate) const B: &str = "22222222";
pub(crate) const C: &str = "33333333";
/// An indirect participant of B.
pub(crate) const B_INDIRECT: &str = "2222000X";

/// How long anything may take that is not a deadline of the SPI.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Three banks with a million each, and an indirect one.
pub(crate) fn seats() -> Vec<Seat<'static>> {
    let direct = |ispb| Seat {
        ispb,
        settler: None,
        opening_balance: "1000000.00",
    };
    let indirect = Seat {
        ispb: B_INDIRECT,
        settler: Some(B),
        opening_balance: "0.00",
    };
    vec![direct(A), direct(B), direct(C), indirect]
}

/// Where an SPI keeps its things.
#[derive(Clone)]
pub(crate) struct Urls {
    pub(crate) writer: String,
    pub(crate) owner: String,
    pub(crate) nats: String,
    pub(crate) redis: String,
}

/// An SPI process.
pub(crate) struct TestSpi {
    pub(crate) pki: TestPki,
    pub(crate) urls: Urls,
    pub(crate) primary: u16,
    pub(crate) secondary: u16,
    pub(crate) ops: u16,
    pub(crate) grpc: u16,
    pub(crate) seed: TempDir,
    spec: ProcessSpec,
    process: Option<Process>,
}

impl TestSpi {
    /// On the parts of the run, with a database of its own.
    pub(crate) async fn start() -> Self {
        let mut spi = Self::stopped().await;
        spi.run().await;
        spi
    }

    /// The same, before it runs.
    pub(crate) async fn stopped() -> Self {
        let database = pix_testkit::empty_database("spi").await;
        let shared = parts().await;
        Self::prepare(Urls {
            writer: database.url_as("spi_app"),
            owner: database.url(),
            nats: shared.nats.url(),
            redis: shared.redis.url(),
        })
        .await
    }

    /// One more setting for its next run.
    pub(crate) fn flag(&mut self, key: &str, value: &str) {
        self.spec.args.push(format!("--{key}={value}"));
    }

    /// For its next run: the participants are those of this settlement service, not those of the file.
    pub(crate) fn follow(&mut self, settlement_url: &str) {
        self.spec
            .args
            .retain(|flag| !flag.starts_with("--participants.file="));
        self.flag("settlement.url", settlement_url);
    }

    /// On parts that the test may kill.
    pub(crate) async fn start_on_own(parts: &OwnParts) -> Self {
        let mut spi = Self::prepare_on_own(parts).await;
        spi.run().await;
        spi
    }

    /// The same, before it runs.
    pub(crate) async fn prepare_on_own(parts: &OwnParts) -> Self {
        let mut admin = PgConnection::connect(&parts.postgres.url("postgres"))
            .await
            .expect("Postgres is there");
        let role = format!(
            "CREATE ROLE spi_app LOGIN PASSWORD '{}'",
            parts.postgres.password()
        );
        for statement in [role, "CREATE DATABASE spi".to_owned()] {
            sqlx::query(sqlx::AssertSqlSafe(statement))
                .execute(&mut admin)
                .await
                .expect("as superuser");
        }
        Self::prepare(Urls {
            writer: parts.postgres.url_as("spi_app", "spi"),
            owner: parts.postgres.url("spi"),
            nats: parts.nats.url(),
            redis: parts.redis.url(),
        })
        .await
    }

    pub(crate) async fn start_on(urls: Urls) -> Self {
        let mut spi = Self::prepare(urls).await;
        spi.run().await;
        spi
    }

    /// Everything but the process.
    pub(crate) async fn prepare(urls: Urls) -> Self {
        let pki = TestPki::shared().await;
        let seed = pki.seed(&seats());
        let (own, inside) = (pki.service("spi"), pki.inside("spi"));
        let [primary, secondary, grpc, ops] = std::array::from_fn(|_| free_port().expect("a free port"));
        let file = |name: &str| own.join(name).display().to_string();
        let flags = [
            ("listen.primary", format!("127.0.0.1:{primary}")),
            ("listen.secondary", format!("127.0.0.1:{secondary}")),
            ("grpc.listen", format!("127.0.0.1:{grpc}")),
            ("ops.listen", format!("127.0.0.1:{ops}")),
            ("database.url", urls.writer.clone()),
            ("database.owner_url", urls.owner.clone()),
            ("nats.url", urls.nats.clone()),
            ("redis.url", urls.redis.clone()),
            (
                "participants.file",
                seed.path().join("participants.toml").display().to_string(),
            ),
            ("tls.certificate", file("server.crt")),
            ("tls.key", file("server.key")),
            ("tls.client_ca", file("ca.crt")),
            ("signature.certificate", file("signature.crt")),
            ("signature.key", file("signature.key")),
            ("inside.certificate", inside.certificate.display().to_string()),
            ("inside.key", inside.key.display().to_string()),
            ("inside.ca", inside.ca.display().to_string()),
            ("log.level", "debug".to_owned()),
        ];
        let spec = ProcessSpec {
            name: "spi".to_owned(),
            program: PathBuf::from(env!("CARGO_BIN_EXE_spi")),
            args: flags
                .iter()
                .map(|(key, value)| format!("--{key}={value}"))
                .collect(),
            env: BTreeMap::new(),
            dir: None,
            run_as: None,
            stop_signal: pix_parts::Signal::Terminate,
            log: seed.path().join("spi.log"),
            probe: pix_parts::Probe::Http {
                address: ([127, 0, 0, 1], ops).into(),
                path: "/readyz".to_owned(),
            },
        };
        Self {
            pki,
            urls,
            primary,
            secondary,
            ops,
            grpc,
            seed,
            spec,
            process: None,
        }
    }

    /// Starts the process and waits until it serves.
    pub(crate) async fn run(&mut self) {
        let mut process = self.spec.spawn().await.expect("spi starts");
        let ready = process.ready(SOON).await;
        self.process = Some(process);
        assert!(ready.is_ok(), "spi does not serve: {ready:?}\n{}", self.log());
    }

    /// Starts a process that is expected to refuse to run.
    pub(crate) async fn run_to_end(&mut self) -> ExitStatus {
        let mut process = self.spec.spawn().await.expect("spi starts");
        tokio::time::timeout(SOON, process.wait())
            .await
            .expect("it ends")
            .expect("it can be waited for")
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        let mut process = self.process.take().expect("running");
        process.signal(pix_parts::Signal::Kill).expect("can be killed");
        process.wait().await.expect("can be waited for");
    }

    /// SIGTERM, to the end.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.process
            .take()
            .expect("running")
            .stop(SOON)
            .await
            .expect("stops")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.seed.path().join("spi.log")).unwrap_or_default()
    }

    /// `spi audit`: whether the chain holds, and what it said.
    pub(crate) async fn audit(&self) -> (bool, String) {
        let mut command = tokio::process::Command::new(&self.spec.program);
        let output = command
            .arg("audit")
            .args(&self.spec.args)
            .output()
            .await
            .expect("runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    /// A question of an operator.
    pub(crate) async fn ask(&self, path: &str) -> Value {
        let (status, body) = get(self.ops, path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Available and blocked of a Conta PI, in reais.
    pub(crate) async fn balance(&self, ispb: &str) -> (String, String) {
        let answer = self.ask("/accounts").await;
        let account = answer["accounts"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|a| a["ispb"] == ispb);
        let account = account.expect("the account exists");
        let text = |field: &str| account[field].as_str().expect("text").to_owned();
        (text("available"), text("blocked"))
    }

    pub(crate) async fn owner(&self) -> PgConnection {
        PgConnection::connect(&self.urls.owner)
            .await
            .expect("the database is there")
    }

    /// One number from the database.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        let row = sqlx::query(sql)
            .fetch_one(&mut self.owner().await)
            .await
            .expect(sql);
        row.try_get(0).expect("one bigint")
    }

    /// A participant with its channel and signature.
    pub(crate) fn bank(&self, ispb: &str) -> Bank {
        self.bank_at(ispb, self.primary)
    }

    /// The same through another port: a proxy, or the secondary channel.
    pub(crate) fn bank_at(&self, ispb: &str, port: u16) -> Bank {
        let spi = std::fs::read(self.pki.service("spi").join("signature.crt")).expect("readable");
        let channel = if port == self.secondary {
            Channel::Secondary
        } else {
            Channel::Primary
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

/// `GET` on a plain listener.
pub(crate) async fn get(port: u16, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status");
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default();
    (status, body)
}

pub(crate) fn parse(ispb: &str) -> Ispb {
    Ispb::parse(ispb.as_bytes()).expect("an ISPB")
}

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// The only key that what comes from the SPI may be signed with.
pub(crate) struct SpiKey(VerifyingKey);

impl KeySource for SpiKey {
    fn find(&self, issuer_serial: &IssuerSerial) -> Option<VerifyingKey> {
        (self.0.issuer_serial() == issuer_serial).then(|| self.0.clone())
    }
}

/// A participant: what it signs and sends.
pub(crate) struct Bank {
    pub(crate) icom: Icom,
    pub(crate) signer: Signer,
    spi: SpiKey,
    ids: Ids,
}

impl Bank {
    /// A payment by account, sound in every way.
    pub(crate) fn order(&self, to: &str, reais: &str) -> CreditTransfer {
        CreditTransfer {
            instruction_id: None,
            end_to_end_id: EndToEndId::new(self.icom.ispb, now(), self.ids.u128()),
            tx_id: None,
            amount: Money::parse(reais.as_bytes()).expect("an amount"),
            accepted_at: now().to_millis(),
            local_instrument: LocalInstrument::Manual,
            initiator: None,
            debtor: Party {
                name: Text::parse("Fulano da Silva").expect("a name"),
                tax_id: TaxId::parse(b"70000000000").expect("a CPF"),
            },
            debtor_account: DebtorAccount {
                number: AccountNumber::parse(b"500000").expect("an account"),
                branch: Some(Branch::parse(b"0001").expect("a branch")),
                kind: AccountType::Current,
            },
            debtor_agent: self.icom.ispb,
            creditor_agent: parse(to),
            creditor: TaxId::parse(b"80000000000").expect("a CPF"),
            creditor_account: CreditorAccount {
                number: AccountNumber::parse(b"600000").expect("an account"),
                branch: Some(Branch::parse(b"0001").expect("a branch")),
                kind: AccountType::Savings,
                proxy: None,
            },
            purpose: Purpose::InstantPayment,
            tax: None,
            remittance: None,
        }
    }

    pub(crate) fn message_id(&self) -> MsgId {
        MsgId::new(self.icom.ispb, self.ids.u128())
    }

    /// Orders of priority payments, signed.
    pub(crate) fn pacs_008(&self, transactions: Vec<CreditTransfer>) -> Bytes {
        let message_id = self.message_id();
        let document = Document::Pacs008(Pacs008 {
            group: GroupHeader {
                message_id,
                created_at: now().to_millis(),
                number_of_transactions: transactions.len() as u64,
                priority: Priority::High,
                service_level: ServiceLevel::Priority,
            },
            transactions,
        });
        self.sealed(message_id, MessageDefinition::Pacs008, document)
    }

    /// Answers: `None` accepts.
    pub(crate) fn pacs_002(&self, answers: &[(EndToEndId, Option<StatusReason>)]) -> Bytes {
        let reports = answers.iter().map(|(id, refusal)| match refusal {
            None => report(*id, TransactionStatus::AcceptedSettlementInProcess, None),
            Some(code) => report(*id, TransactionStatus::Rejected, Some(*code)),
        });
        self.reporting(reports.collect())
    }

    /// The same status for all of these, without a reason: also what nobody may say.
    pub(crate) fn pacs_002_saying(&self, ids: &[EndToEndId], status: TransactionStatus) -> Bytes {
        self.reporting(ids.iter().map(|id| report(*id, status, None)).collect())
    }

    fn reporting(&self, transactions: Vec<TransactionStatusReport>) -> Bytes {
        let message_id = self.message_id();
        let document = Document::Pacs002(Pacs002 {
            message_id,
            created_at: now().to_millis(),
            transactions,
        });
        self.sealed(message_id, MessageDefinition::Pacs002, document)
    }

    pub(crate) fn sealed(
        &self,
        message_id: MsgId,
        definition: MessageDefinition,
        document: Document,
    ) -> Bytes {
        let header = AppHdr {
            from: self.icom.ispb,
            to: SPI_ISPB,
            message_id,
            definition,
            created_at: now().to_millis(),
        };
        iso20022::seal_envelope(&Envelope { header, document }, &self.signer, "key-info-id").into()
    }

    /// Posts until it is taken, as a bank must: the same bytes each time.
    pub(crate) async fn post(&self, message: Bytes) -> ResourceId {
        eventually("the message is taken", SOON, || async {
            match self.icom.post(message.clone()).await {
                Said::Taken(id) => Some(id),
                Said::Refused(status) => panic!("the message was refused: {status}"),
                Said::NotNow(..) | Said::Unknown(..) | Said::Away(_) => None,
            }
        })
        .await
    }

    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader {
            bank: self,
            next: None,
            seen: BTreeSet::new(),
        }
    }

    /// Whether the SPI's signature on this does not hold.
    pub(crate) fn doubts(&self, bytes: &[u8]) -> bool {
        iso20022::open(bytes, &self.spi).is_err()
    }

    /// An admi.002: this participant could not process what it names.
    pub(crate) fn admi_002(&self, reference: &str, reason: &str) -> Bytes {
        let document = Document::Admi002(Admi002 {
            reference: Text::truncated(reference),
            reason: Text::truncated(reason),
            rejected_at: None,
            location: None,
            description: None,
            additional: None,
        });
        self.sealed(self.message_id(), MessageDefinition::Admi002, document)
    }

    /// Opens what the SPI sent; panics when its signature does not hold.
    pub(crate) fn open(&self, bytes: &[u8]) -> Envelope {
        let opened = iso20022::open(bytes, &self.spi).expect("signed by the SPI");
        assert_eq!(
            opened.envelope.header.to, self.icom.ispb,
            "addressed to its reader"
        );
        opened.envelope
    }
}

fn report(id: EndToEndId, status: TransactionStatus, code: Option<StatusReason>) -> TransactionStatusReport {
    let reason = code.map(|code| StatusReasonInformation {
        code: Some(code),
        additional: Vec::new(),
    });
    TransactionStatusReport {
        original_instruction_id: id.into(),
        original_end_to_end_id: id,
        status,
        reasons: reason.into_iter().collect(),
        settled_at: None,
        settlement_date: None,
    }
}

/// What a participant hears, transaction by transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Heard {
    /// pacs.008
    Order(EndToEndId),
    /// pacs.002: status, and reason when refused.
    Status(EndToEndId, String),
    /// admi.002: reference and reason.
    Refusal(String, String),
}

/// One stream of a participant. It survives whatever happens to the connection or the SPI.
pub(crate) struct Reader<'a> {
    bank: &'a Bank,
    pub(crate) next: Option<String>,
    seen: BTreeSet<ResourceId>,
}

impl Reader<'_> {
    /// The next batch, raw, repeats included; empty after a long poll without messages. The token of the
    /// batch before is what confirms it.
    pub(crate) async fn raw(&mut self) -> Vec<(ResourceId, Bytes)> {
        eventually("the stream answers", SOON, || async {
            match self.bank.icom.pull(self.next.as_deref()).await {
                Pulled::Messages { next, messages } => Some((next, messages)),
                Pulled::Gone(_) => Some((String::new(), Vec::new())),
                Pulled::Later(..) => None,
            }
        })
        .await
        .pipe(|(next, messages)| {
            self.next = Some(next).filter(|next| !next.is_empty());
            messages
        })
    }

    /// The next batch as what it says, without repeats.
    pub(crate) async fn hear(&mut self) -> Vec<(ResourceId, Heard)> {
        let mut heard = Vec::new();
        for (id, bytes) in self.raw().await {
            if self.seen.insert(id) {
                heard.extend(said(&self.bank.open(&bytes)).into_iter().map(|what| (id, what)));
            }
        }
        heard
    }

    /// Reads until `count` things were heard.
    pub(crate) async fn hear_until(&mut self, count: usize) -> Vec<Heard> {
        let mut all = Vec::new();
        let reading = async {
            while all.len() < count {
                all.extend(self.hear().await.into_iter().map(|(_, what)| what));
            }
        };
        let in_time = tokio::time::timeout(SOON, reading).await;
        assert!(in_time.is_ok(), "{} heard only {all:?}", self.bank.icom.ispb);
        all
    }
}

/// What an envelope says, transaction by transaction.
pub(crate) fn said(envelope: &Envelope) -> Vec<Heard> {
    match &envelope.document {
        Document::Pacs008(message) => message
            .transactions
            .iter()
            .map(|tx| Heard::Order(tx.end_to_end_id))
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
        Document::Admi002(refusal) => {
            vec![Heard::Refusal(
                refusal.reference.to_string(),
                refusal.reason.to_string(),
            )]
        }
    }
}

pub(crate) fn status(id: EndToEndId, text: &str) -> Heard {
    Heard::Status(id, text.to_owned())
}

/// `value.pipe(f)`: a step after an `await` without a name for what is between.
trait Pipe: Sized {
    fn pipe<T>(self, f: impl FnOnce(Self) -> T) -> T {
        f(self)
    }
}

impl<T> Pipe for T {}
