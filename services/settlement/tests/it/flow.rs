//! A real SPI and two banks between which payments flow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use iso20022::{
    AppHdr, CreditTransfer, CreditorAccount, DebtorAccount, Document, Envelope, GroupHeader,
    MessageDefinition, Pacs002, Pacs008, Party, TransactionStatusReport,
};
use pix_domain::{
    AccountNumber, AccountType, Branch, EndToEndId, Ispb, LocalInstrument, Money, MsgId, Priority, Purpose,
    ResourceId, SPI_ISPB, ServiceLevel, TaxId, Text, TransactionStatus,
};
use pix_icom::{Channel, Icom, Pulled, Said};
use pix_parts::{Probe, Signal};
use pix_runtime::{Clock as _, Ids, SystemClock};
use pix_testkit::{Process, ProcessSpec, Seat, TestPki, empty_database, eventually, free_port, parts};
use pix_xmldsig::{IssuerSerial, KeySource, Signer, VerifyingKey};
use sqlx::{Connection as _, PgConnection, Row as _};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::support::{A, B, SOON};

/// Orders of one message.
const ORDERS_MAX: usize = 10;

/// An SPI with banks A and B, a million each.
pub(crate) struct TestSpi {
    pub(crate) grpc: u16,
    pub(crate) owner_url: String,
    pki: TestPki,
    primary: u16,
    _folder: TempDir,
    _process: Process,
}

impl TestSpi {
    pub(crate) async fn start(nats: &str) -> Self {
        let pki = TestPki::shared().await;
        let direct = |ispb| Seat {
            ispb,
            settler: None,
            opening_balance: "1000000.00",
        };
        let folder = pki.seed(&[direct(A), direct(B)]);
        let database = empty_database("spi").await;
        let [primary, secondary, ops, grpc] = std::array::from_fn(|_| free_port().expect("a free port"));
        let own = pki.service("spi");
        let inside = pki.inside("spi");
        let file = |name: &str| own.join(name).display().to_string();
        let seed = folder.path().join("participants.toml").display().to_string();
        let flags = [
            ("listen.primary", format!("127.0.0.1:{primary}")),
            ("listen.secondary", format!("127.0.0.1:{secondary}")),
            ("grpc.listen", format!("127.0.0.1:{grpc}")),
            ("ops.listen", format!("127.0.0.1:{ops}")),
            ("database.url", database.url_as("spi_app")),
            ("database.owner_url", database.url()),
            ("nats.url", nats.to_owned()),
            ("redis.url", parts().await.redis.url()),
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
        let log = folder.path().join("spi.log");
        let spec = ProcessSpec {
            name: "spi".to_owned(),
            program: program("spi"),
            args: flags
                .iter()
                .map(|(key, value)| format!("--{key}={value}"))
                .collect(),
            env: BTreeMap::new(),
            dir: None,
            run_as: None,
            stop_signal: Signal::Terminate,
            log: log.clone(),
            probe: Probe::Http {
                address: ([127, 0, 0, 1], ops).into(),
                path: "/readyz".to_owned(),
            },
        };
        let mut process = spec.spawn().await.expect("spi starts");
        let ready = process.ready(SOON).await;
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        assert!(ready.is_ok(), "spi does not serve: {ready:?}\n{said}");
        Self {
            grpc,
            owner_url: database.url(),
            pki,
            primary,
            _folder: folder,
            _process: process,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.grpc)
    }

    pub(crate) async fn owner(&self) -> PgConnection {
        let connection = PgConnection::connect(&self.owner_url).await;
        connection.expect("the database is there")
    }

    /// What the book's postings of payments sum up to: how many, centavos, and by participant (sent, received). By
    /// another way than the SPI's own.
    pub(crate) async fn postings(&self) -> Postings {
        let rows = sqlx::query("SELECT debit, credit, amount FROM posting WHERE end_to_end_id IS NOT NULL")
            .fetch_all(&mut self.owner().await)
            .await
            .expect("postings");
        let mut postings = Postings::default();
        for row in &rows {
            let (debit, credit): (String, String) = (row.get(0), row.get(1));
            let amount: i64 = row.get(2);
            postings.count += 1;
            postings.gross += amount;
            postings.of.entry(debit).or_default().0 += amount;
            postings.of.entry(credit).or_default().1 += amount;
        }
        postings
    }

    /// Waits until so many payments are settled.
    pub(crate) async fn settled(&self, count: i64) {
        let pool = pix_runtime::pg::pool(&self.owner_url, 1)
            .await
            .expect("Postgres is there");
        eventually("payments are settled", 4 * SOON, async || {
            let row = sqlx::query("SELECT count(*) FROM posting WHERE end_to_end_id IS NOT NULL");
            let row = row.fetch_one(&pool).await.expect("postings");
            (row.get::<i64, _>(0) >= count).then_some(())
        })
        .await;
    }

    /// Payments in both directions, until they are stopped; both banks accept whatever comes.
    pub(crate) fn traffic(&self) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for (from, to) in [(A, B), (B, A)] {
            let bank = Arc::new(self.bank(from));
            let (payer, stopped) = (Arc::clone(&bank), Arc::clone(&stop));
            tasks.push(tokio::spawn(async move {
                let mut paid = 0;
                while !stopped.load(Ordering::Relaxed) {
                    paid += payer.pay(to, ORDERS_MAX).await;
                }
                paid
            }));
            // It reads on until the test ends: what was sent is to be answered.
            tokio::spawn(async move { bank.accept_all().await });
        }
        Traffic { stop, tasks }
    }

    pub(crate) fn bank(&self, ispb: &str) -> Bank {
        let spi = std::fs::read(self.pki.service("spi").join("signature.crt")).expect("readable");
        Bank {
            icom: Icom {
                client: self.pki.client(ispb),
                channel: Channel::Primary,
                base: format!("https://localhost:{}", self.primary),
                ispb: parse(ispb),
            },
            signer: self.pki.signer(ispb),
            spi: SpiKey(VerifyingKey::from_certificate_pem(&spi).expect("a certificate")),
            ids: Ids::system(),
        }
    }
}

/// What postings sum up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Postings {
    pub(crate) count: i64,
    pub(crate) gross: i64,
    /// By ISPB: sent, received.
    pub(crate) of: BTreeMap<String, (i64, i64)>,
}

/// Payments under way.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<usize>>,
}

impl Traffic {
    /// No new ones; how many there were. All of them will be settled.
    pub(crate) async fn stop(self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut paid = 0;
        for task in self.tasks {
            paid += task.await.expect("payments are sent");
        }
        i64::try_from(paid).expect("few")
    }
}

/// A program of the switch: beside ours, where one build has made all of them.
fn program(name: &str) -> PathBuf {
    let ours = Path::new(env!("CARGO_BIN_EXE_settlement"));
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

fn parse(ispb: &str) -> Ispb {
    Ispb::parse(ispb.as_bytes()).expect("an ISPB")
}

/// The only key that what comes from the SPI may be signed with.
struct SpiKey(VerifyingKey);

impl KeySource for SpiKey {
    fn find(&self, issuer_serial: &IssuerSerial) -> Option<VerifyingKey> {
        (self.0.issuer_serial() == issuer_serial).then(|| self.0.clone())
    }
}

/// A bank outside.
pub(crate) struct Bank {
    icom: Icom,
    signer: Signer,
    spi: SpiKey,
    ids: Ids,
}

impl Bank {
    /// Sends one message with so many orders of 0.01 to 5.00; gives how many they are.
    pub(crate) async fn pay(&self, to: &str, orders: usize) -> usize {
        let amounts = (0..orders).map(|_| 1 + u64::try_from(self.ids.u128() % 500).expect("below 500"));
        self.pay_amounts(to, &amounts.collect::<Vec<_>>()).await;
        orders
    }

    /// Sends one message with orders of so many centavos.
    pub(crate) async fn pay_amounts(&self, to: &str, centavos: &[u64]) {
        let message_id = MsgId::new(self.icom.ispb, self.ids.u128());
        let document = Document::Pacs008(Pacs008 {
            group: GroupHeader {
                message_id,
                created_at: SystemClock.now().to_millis(),
                number_of_transactions: centavos.len() as u64,
                priority: Priority::High,
                service_level: ServiceLevel::Priority,
            },
            transactions: centavos
                .iter()
                .map(|centavos| self.order(to, *centavos))
                .collect(),
        });
        self.post(message_id, MessageDefinition::Pacs008, document).await;
    }

    fn order(&self, to: &str, centavos: u64) -> CreditTransfer {
        let branch = Some(Branch::parse(b"0001").expect("a branch"));
        CreditTransfer {
            instruction_id: None,
            end_to_end_id: EndToEndId::new(self.icom.ispb, SystemClock.now(), self.ids.u128()),
            tx_id: None,
            amount: Money::from_centavos(centavos),
            accepted_at: SystemClock.now().to_millis(),
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

    /// Accepts every order that comes, until the test ends.
    pub(crate) async fn accept_all(&self) {
        let mut next: Option<String> = None;
        let mut seen = BTreeSet::new();
        loop {
            let Pulled::Messages {
                next: token,
                messages,
            } = self.icom.pull(next.as_deref()).await
            else {
                next = None;
                continue;
            };
            next = Some(token);
            let new: Vec<_> = messages.into_iter().filter(|(id, _)| seen.insert(*id)).collect();
            for orders in self.orders(&new).chunks(ORDERS_MAX) {
                self.accept(orders).await;
            }
        }
    }

    fn orders(&self, messages: &[(ResourceId, Bytes)]) -> Vec<EndToEndId> {
        let mut orders = Vec::new();
        for (_, bytes) in messages {
            let opened = iso20022::open(bytes, &self.spi).expect("signed by the SPI");
            if let Document::Pacs008(message) = opened.envelope.document {
                orders.extend(message.transactions.iter().map(|tx| tx.end_to_end_id));
            }
        }
        orders
    }

    async fn accept(&self, orders: &[EndToEndId]) {
        let message_id = MsgId::new(self.icom.ispb, self.ids.u128());
        let report = |id: &EndToEndId| TransactionStatusReport {
            original_instruction_id: (*id).into(),
            original_end_to_end_id: *id,
            status: TransactionStatus::AcceptedSettlementInProcess,
            reasons: Vec::new(),
            settled_at: None,
            settlement_date: None,
        };
        let document = Document::Pacs002(Pacs002 {
            message_id,
            created_at: SystemClock.now().to_millis(),
            transactions: orders.iter().map(report).collect(),
        });
        self.post(message_id, MessageDefinition::Pacs002, document).await;
    }

    /// Posts until it is taken, as a bank must: the same bytes each time.
    async fn post(&self, message_id: MsgId, definition: MessageDefinition, document: Document) {
        let header = AppHdr {
            from: self.icom.ispb,
            to: SPI_ISPB,
            message_id,
            definition,
            created_at: SystemClock.now().to_millis(),
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
}
