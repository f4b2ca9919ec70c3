//! With the real SPI: its copy of the registry, its book, and what a kill of either does to funding.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures::future::join_all;
use pix_parts::{Probe, Signal};
use pix_proto::settlement_v1 as proto;
use pix_proto::settlement_v1::funding_client::FundingClient;
use pix_testkit::{Process, ProcessSpec, Seat, TestDatabase, TestPki, eventually, free_port, parts};
use sqlx::{Connection as _, PgConnection, Row as _};
use tempfile::TempDir;
use tonic::Code;

use crate::support::{A, B, SOON, TestSettlement, Urls, get_plain, uuid};

const C: &str = "33333333";

/// The SPI of a switch whose participants are the settlement service's.
struct Spi {
    ops: u16,
    database: TestDatabase,
    folder: TempDir,
    spec: ProcessSpec,
    process: Option<Process>,
}

impl Spi {
    /// Everything but the process. `participants` is its setting of where they come from.
    async fn prepare(grpc: u16, participants: (&str, &str)) -> Self {
        let pki = TestPki::shared().await;
        let (own, inside) = (pki.service("spi"), pki.inside("spi"));
        let database = pix_testkit::empty_database("spi").await;
        let folder = TempDir::with_prefix("pix-spi-").expect("a folder can be made");
        let [primary, secondary, ops] = std::array::from_fn(|_| free_port().expect("a free port"));
        let shared = parts().await;
        let file = |name: &str| own.join(name).display().to_string();
        let flags = [
            ("listen.primary", format!("127.0.0.1:{primary}")),
            ("listen.secondary", format!("127.0.0.1:{secondary}")),
            ("grpc.listen", format!("127.0.0.1:{grpc}")),
            ("ops.listen", format!("127.0.0.1:{ops}")),
            ("database.url", database.url_as("spi_app")),
            ("database.owner_url", database.url()),
            ("nats.url", shared.nats.url()),
            ("redis.url", shared.redis.url()),
            ("tls.certificate", file("server.crt")),
            ("tls.key", file("server.key")),
            ("tls.client_ca", file("ca.crt")),
            ("signature.certificate", file("signature.crt")),
            ("signature.key", file("signature.key")),
            ("inside.certificate", inside.certificate.display().to_string()),
            ("inside.key", inside.key.display().to_string()),
            ("inside.ca", inside.ca.display().to_string()),
        ];
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
            log: folder.path().join("spi.log"),
            probe: Probe::Http {
                address: ([127, 0, 0, 1], ops).into(),
                path: "/readyz".to_owned(),
            },
        };
        let mut spi = Self {
            ops,
            database,
            folder,
            spec,
            process: None,
        };
        spi.participants(participants);
        spi
    }

    /// Where its participants come from, from its next start on.
    fn participants(&mut self, (key, value): (&str, &str)) {
        let other =
            |arg: &String| !arg.starts_with("--participants.file=") && !arg.starts_with("--settlement.url=");
        self.spec.args.retain(other);
        self.spec.args.push(format!("--{key}={value}"));
    }

    async fn run(&mut self) {
        let mut process = self.spec.spawn().await.expect("spi starts");
        let ready = process.ready(SOON).await;
        self.process = Some(process);
        let log = std::fs::read_to_string(self.folder.path().join("spi.log")).unwrap_or_default();
        assert!(ready.is_ok(), "spi does not serve: {ready:?}\n{log}");
    }

    async fn end_by(&mut self, signal: Signal) {
        let mut process = self.process.take().expect("running");
        process.signal(signal).expect("can be told");
        process.wait().await.expect("can be waited for");
    }

    /// Centavos that a Conta PI has; none when there is no such Conta PI.
    async fn available(&self, ispb: &str) -> Option<i64> {
        let mut owner = PgConnection::connect(&self.database.url())
            .await
            .expect("Postgres is there");
        let row = sqlx::query("SELECT available FROM account WHERE account = $1")
            .bind(ispb)
            .fetch_optional(&mut owner)
            .await;
        row.expect("the table is there").map(|row| row.get(0))
    }

    /// One number from its database.
    async fn count(&self, sql: &'static str) -> i64 {
        let mut owner = PgConnection::connect(&self.database.url())
            .await
            .expect("Postgres is there");
        let row = sqlx::query(sql).fetch_one(&mut owner).await;
        row.expect(sql).try_get(0).expect("one bigint")
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

/// A has R$ 1,000.00 and B R$ 0.01 to start with.
async fn seed() -> TempDir {
    let seat = |ispb, opening_balance| Seat {
        ispb,
        settler: None,
        opening_balance,
    };
    TestPki::shared()
        .await
        .seed(&[seat(A, "1000.00"), seat(B, "0.01")])
}

/// A settlement service that takes the file over, and an SPI that is not started yet.
async fn switch(seed: &TempDir) -> (TestSettlement, Spi) {
    let grpc = free_port().expect("a free port");
    let urls = Urls {
        spi: format!("https://localhost:{grpc}"),
        ..Urls::shared().await
    };
    let file = seed.path().join("participants.toml");
    let settings = [("participants.file", file.to_str().expect("UTF-8"))];
    let settlement = TestSettlement::start_on(urls, &settings).await;
    let origin = format!("https://localhost:{}", settlement.port);
    let spi = Spi::prepare(grpc, ("settlement.url", &origin)).await;
    (settlement, spi)
}

fn order(ispb: &str, amount_centavos: i64) -> proto::FundRequest {
    proto::FundRequest {
        id: uuid(),
        ispb: ispb.to_owned(),
        amount_centavos,
        note: "test".to_owned(),
    }
}

/// The end of an order, asked for until it is known.
async fn funded(settlement: &TestSettlement, asked: &proto::FundRequest) -> proto::FundingOrder {
    eventually("an order has its end", SOON, || async {
        let answer = FundingClient::new(settlement.channel("pix"))
            .fund(asked.clone())
            .await;
        match answer {
            Ok(order) => Some(order.into_inner()),
            Err(status) => {
                let lost = [Code::Unavailable, Code::Unknown, Code::Cancelled];
                assert!(lost.contains(&status.code()), "{status}");
                None
            }
        }
    })
    .await
}

async fn nothing_pending(settlement: &TestSettlement) {
    eventually("every order has its end", SOON, || async {
        (settlement.ask("/status").await["funding_pending"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_file_says_reaches_the_book_once_and_a_newcomer_is_funded_at_once() {
    let seed = seed().await;
    let (settlement, mut spi) = switch(&seed).await;
    spi.run().await;
    nothing_pending(&settlement).await;
    assert_eq!(
        (spi.available(A).await, spi.available(B).await),
        (Some(100_000), Some(1))
    );

    let add = settlement.direct(C);
    settlement.participants().add(add).await.expect("added");
    let credit = funded(&settlement, &order(C, 25_000)).await;
    assert_eq!(
        (credit.state.as_str(), credit.available_centavos),
        ("DONE", Some(25_000))
    );
    let out = funded(&settlement, &order(C, -25_001)).await;
    assert_eq!(out.state, "REFUSED");
    assert!(
        out.reason.contains("25000 centavos are available"),
        "{}",
        out.reason
    );
    let out = funded(&settlement, &order(C, -25_000)).await;
    assert_eq!((out.state.as_str(), out.available_centavos), ("DONE", Some(0)));
    assert_eq!(
        spi.count("SELECT sum(available + blocked)::bigint FROM account")
            .await,
        0
    );
    assert_eq!(spi.count("SELECT count(*) FROM funding").await, 4);
    let told = get_plain(spi.ops, "/accounts").await;
    assert!(told.contains(C), "{told}");
}

#[tokio::test]
async fn kills_of_either_side_in_the_middle_of_funding_move_each_order_once() {
    let seed = seed().await;
    let (mut settlement, mut spi) = switch(&seed).await;
    spi.run().await;
    nothing_pending(&settlement).await;
    let orders: Vec<_> = (0..32).map(|n| order([A, B][n % 2], 100)).collect();
    for (round, some) in orders.chunks(8).enumerate() {
        let before = settlement.count("SELECT count(*) FROM funding_outcome").await;
        let under_way = join_all(some.iter().map(|order| {
            let order = order.clone();
            let mut client = FundingClient::new(settlement.channel("pix"));
            async move { client.fund(order).await }
        }));
        let in_the_middle = async {
            eventually("some are done", SOON, || async {
                let ends = settlement.count("SELECT count(*) FROM funding_outcome").await;
                (ends > before).then_some(())
            })
            .await;
        };
        tokio::select! {
            _ = under_way => {}
            () = in_the_middle => {}
        }
        if round % 2 == 0 {
            spi.end_by(Signal::Kill).await;
            spi.run().await;
        } else {
            settlement.kill().await;
            settlement.run().await;
        }
    }
    let ends = join_all(orders.iter().map(|order| funded(&settlement, order))).await;
    assert!(ends.iter().all(|end| end.state == "DONE"));
    nothing_pending(&settlement).await;
    assert_eq!(spi.available(A).await, Some(100_000 + 1_600));
    assert_eq!(spi.available(B).await, Some(1 + 1_600));
    assert_eq!(spi.count("SELECT count(*) FROM funding").await, 34);
    assert_eq!(
        spi.count("SELECT sum(available + blocked)::bigint FROM account")
            .await,
        0
    );
    assert_eq!(settlement.count("SELECT count(*) FROM funding_outcome").await, 34);
}
