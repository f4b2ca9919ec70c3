//! A running settlement service, and those that call it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use futures::StreamExt as _;
use pix_inside::Ends;
use pix_proto::settlement_v1 as proto;
use pix_proto::settlement_v1::participants_client::ParticipantsClient;
use pix_runtime::Ids;
use pix_testkit::{FaultProxy, OwnParts, Process, ProcessSpec, TestPki, free_port, parts};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, Row as _};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// Direct participants.
pub(crate) const A: &str = "11111111";
pub(crate) const B: &str = "22222222";
/// An indirect participant of A.
pub(crate) const A_INDIRECT: &str = "1111000X";
/// Nobody.
pub(crate) const UNKNOWN: &str = "00000001";

/// How long anything may take.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Where a settlement service keeps its things, and whom it calls.
#[derive(Clone)]
pub(crate) struct Urls {
    pub(crate) server: String,
    pub(crate) owner: String,
    pub(crate) nats: String,
    pub(crate) spi: String,
}

impl Urls {
    /// The parts of the run, with a database of its own. There is no SPI.
    pub(crate) async fn shared() -> Self {
        let database = pix_testkit::empty_database("settlement").await;
        let nobody = free_port().expect("a free port");
        Self {
            server: database.url_as("settlement_app"),
            owner: database.url(),
            nats: parts().await.nats.url(),
            spi: format!("https://127.0.0.1:{nobody}"),
        }
    }

    /// Parts that the test may kill.
    pub(crate) async fn own(parts: &OwnParts) -> Self {
        let mut admin = PgConnection::connect(&parts.postgres.url("postgres"))
            .await
            .expect("Postgres is there");
        let role = format!(
            "CREATE ROLE settlement_app LOGIN PASSWORD '{}'",
            parts.postgres.password()
        );
        for statement in [role, "CREATE DATABASE settlement".to_owned()] {
            sqlx::query(sqlx::AssertSqlSafe(statement))
                .execute(&mut admin)
                .await
                .expect("as superuser");
        }
        let nobody = free_port().expect("a free port");
        Self {
            server: parts.postgres.url_as("settlement_app", "settlement"),
            owner: parts.postgres.url("settlement"),
            nats: parts.nats.url(),
            spi: format!("https://127.0.0.1:{nobody}"),
        }
    }

    /// The same with a Postgres that is reached through a proxy.
    pub(crate) async fn behind_proxy(mut self) -> (Self, FaultProxy) {
        let (_, after) = self.server.rsplit_once(':').expect("a port");
        let port = after.split('/').next().expect("split gives one").to_owned();
        let proxy = FaultProxy::start(([127, 0, 0, 1], port.parse().expect("a number")).into()).await;
        let through = format!(":{}/", proxy.address().port());
        self.server = self.server.replace(&format!(":{port}/"), &through);
        assert!(self.server.contains(&through));
        (self, proxy)
    }
}

/// A settlement process.
pub(crate) struct TestSettlement {
    pub(crate) pki: TestPki,
    pub(crate) urls: Urls,
    pub(crate) port: u16,
    pub(crate) ops: u16,
    folder: TempDir,
    spec: ProcessSpec,
    process: Option<Process>,
}

impl TestSettlement {
    /// On the parts of the run, with an empty registry.
    pub(crate) async fn start() -> Self {
        Self::start_on(Urls::shared().await, &[]).await
    }

    /// On parts that are reached by these ways, with these settings besides.
    pub(crate) async fn start_on(urls: Urls, settings: &[(&str, &str)]) -> Self {
        let mut settlement = Self::prepare(urls, settings).await;
        settlement.run().await;
        settlement
    }

    /// The same, not started.
    pub(crate) async fn prepare(urls: Urls, settings: &[(&str, &str)]) -> Self {
        let pki = TestPki::shared().await;
        let inside = pki.inside("settlement");
        let folder = TempDir::with_prefix("pix-settlement-").expect("a folder can be made");
        let [port, ops] = std::array::from_fn(|_| free_port().expect("a free port"));
        let mut flags = vec![
            ("listen", format!("127.0.0.1:{port}")),
            ("ops.listen", format!("127.0.0.1:{ops}")),
            ("database.url", urls.server.clone()),
            ("database.owner_url", urls.owner.clone()),
            ("nats.url", urls.nats.clone()),
            ("spi.url", urls.spi.clone()),
            ("inside.certificate", inside.certificate.display().to_string()),
            ("inside.key", inside.key.display().to_string()),
            ("inside.ca", inside.ca.display().to_string()),
            ("log.level", "debug".to_owned()),
        ];
        flags.extend(settings.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let args = flags.iter().map(|(key, value)| format!("--{key}={value}"));
        let spec = ProcessSpec {
            name: "settlement".to_owned(),
            program: PathBuf::from(env!("CARGO_BIN_EXE_settlement")),
            args: args.collect(),
            env: BTreeMap::new(),
            dir: None,
            run_as: None,
            stop_signal: pix_parts::Signal::Terminate,
            log: folder.path().join("settlement.log"),
            probe: pix_parts::Probe::Http {
                address: ([127, 0, 0, 1], ops).into(),
                path: "/readyz".to_owned(),
            },
        };
        Self {
            pki,
            urls,
            port,
            ops,
            folder,
            spec,
            process: None,
        }
    }

    /// Another process on the same database.
    pub(crate) async fn beside(&self) -> Self {
        Self::start_on(self.urls.clone(), &[]).await
    }

    /// Starts the process and waits until it serves.
    pub(crate) async fn run(&mut self) {
        let mut process = self.spec.spawn().await.expect("settlement starts");
        let ready = process.ready(SOON).await;
        self.process = Some(process);
        assert!(ready.is_ok(), "it does not serve: {ready:?}\n{}", self.log());
    }

    /// SIGKILL, and the end of it.
    pub(crate) async fn kill(&mut self) {
        self.strike();
        let mut process = self.process.take().expect("running");
        process.wait().await.expect("can be waited for");
    }

    /// SIGKILL, while something else goes on; [`Self::kill`] has to follow.
    pub(crate) fn strike(&self) {
        let process = self.process.as_ref().expect("running");
        process.signal(pix_parts::Signal::Kill).expect("can be killed");
    }

    /// SIGTERM, to the end.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("running");
        process.stop(SOON).await.expect("stops")
    }

    /// Starts the process, which is to end by itself.
    pub(crate) async fn run_to_its_end(&mut self) -> ExitStatus {
        let mut process = self.spec.spawn().await.expect("settlement starts");
        process.wait().await.expect("can be waited for")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("settlement.log")).unwrap_or_default()
    }

    /// A question of an operator.
    pub(crate) async fn ask(&self, path: &str) -> Value {
        serde_json::from_str(&get_plain(self.ops, path).await).expect("JSON")
    }

    pub(crate) async fn owner(&self) -> PgConnection {
        PgConnection::connect(&self.urls.owner)
            .await
            .expect("the database is there")
    }

    /// One number from the database.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        let row = sqlx::query(sql).fetch_one(&mut self.owner().await).await;
        row.expect(sql).try_get(0).expect("one bigint")
    }

    /// A connection of the service of this name.
    pub(crate) fn channel(&self, name: &str) -> Channel {
        let own = self.pki.inside(name);
        let ends = Ends::from_pem(own.identity.certificate_pem, own.identity.key_pem, own.ca_pem);
        let origin = format!("https://localhost:{}", self.port);
        ends.service(&origin).expect("an origin and an identity")
    }

    /// `Participants` as operators call it.
    pub(crate) fn participants(&self) -> ParticipantsClient<Channel> {
        ParticipantsClient::new(self.channel("pix"))
    }

    /// The changes above a version, as `dict` follows them.
    pub(crate) async fn changes(&self, registry: &str, after_version: i64) -> Changes {
        self.try_changes(registry, after_version).await.expect("a stream")
    }

    /// The same, or why not.
    pub(crate) async fn try_changes(&self, registry: &str, after_version: i64) -> Result<Changes, Status> {
        let asked = proto::ChangesRequest {
            registry: registry.to_owned(),
            after_version,
        };
        let stream = ParticipantsClient::new(self.channel("dict"))
            .changes(asked)
            .await?;
        Ok(Changes(stream.into_inner()))
    }

    /// An order to add a direct participant with one certificate for each use.
    pub(crate) fn direct(&self, ispb: &str) -> proto::AddRequest {
        proto::AddRequest {
            ispb: ispb.to_owned(),
            name: format!("Banco {ispb}"),
            settler: String::new(),
            category: String::new(),
            channel_certificates: vec![self.pem(ispb, "channel")],
            signature_certificates: vec![self.pem(ispb, "signature")],
            low_liquidity_centavos: None,
        }
    }

    /// A certificate of a participant, PEM.
    pub(crate) fn pem(&self, ispb: &str, what: &str) -> String {
        let path = self.pki.participant(ispb).join(format!("{what}.crt"));
        std::fs::read_to_string(path).expect("readable")
    }
}

/// An order to add an indirect participant.
pub(crate) fn indirect(ispb: &str, settler: &str) -> proto::AddRequest {
    proto::AddRequest {
        ispb: ispb.to_owned(),
        name: format!("Banco {ispb}"),
        settler: settler.to_owned(),
        ..proto::AddRequest::default()
    }
}

/// A stream of changes.
#[derive(Debug)]
pub(crate) struct Changes(Streaming<proto::Change>);

impl Changes {
    /// The next one.
    pub(crate) async fn next(&mut self) -> proto::Change {
        self.try_next().await.expect("a change")
    }

    /// The next one, or why the stream ended.
    pub(crate) async fn try_next(&mut self) -> Result<proto::Change, Status> {
        let next = tokio::time::timeout(SOON, self.0.next()).await;
        next.expect("something comes").expect("the stream goes on")
    }

    /// The versions of the next few.
    pub(crate) async fn versions(&mut self, count: usize) -> Vec<i64> {
        let mut versions = Vec::with_capacity(count);
        while versions.len() < count {
            versions.push(self.next().await.version);
        }
        versions
    }
}

/// Asserts that a call was refused so; the message, for more.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, begins: &str) -> String {
    let status = answer.expect_err("refused");
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().starts_with(begins), "{status}");
    status.message().to_owned()
}

/// A UUID that nobody has drawn.
pub(crate) fn uuid() -> String {
    pix_domain::RequestId::new(Ids::system().u128()).to_string()
}

/// `GET` on a plain listener.
pub(crate) async fn get_plain(port: u16, path: &str) -> String {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
    let mut stream = stream.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.unwrap_or_default()
}
