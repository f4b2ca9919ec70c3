//! A running DICT, and participants that speak to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::Full;
use pix_dict_api::{
    AccountText, CreateEntry, DeleteEntry, Entry, EntryText, OwnerText, Problem, ProblemKind, Response,
    UpdateEntry, Violation,
};
use pix_domain::{EndToEndId, Ispb, RequestId, Timestamp};
use pix_runtime::http::{Client, ClientError};
use pix_runtime::{Clock as _, Ids, SystemClock};
use pix_testkit::{
    FaultProxy, OwnParts, Process, ProcessSpec, Seat, TestPki, free_port, parts, unique_prefix,
};
use pix_xmldsig::{IssuerSerial, KeySource, Signer, VerifyingKey};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, Row as _};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The participant of the official examples.
pub(crate) const A: &str = "12345678";
pub(crate) const B: &str = "22222222";
/// An indirect participant of B.
pub(crate) const B_INDIRECT: &str = "2222000X";
/// A small indirect participant of B.
pub(crate) const B_SMALL: &str = "2222000G";
/// An indirect participant of A that is not active.
pub(crate) const INACTIVE: &str = "99999999";
/// Nobody.
pub(crate) const UNKNOWN: &str = "00000001";

/// How long anything may take.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A payer that nobody else uses.
pub(crate) const PAYER: &str = "70000000000";

/// Where a DICT keeps its things.
#[derive(Clone)]
pub(crate) struct Urls {
    pub(crate) server: String,
    pub(crate) owner: String,
    pub(crate) nats: String,
    pub(crate) redis: String,
}

impl Urls {
    /// The parts of the run, with a database of its own.
    async fn shared() -> Self {
        let database = pix_testkit::empty_database("dict").await;
        let shared = parts().await;
        Self {
            server: database.url_as("dict_app"),
            owner: database.url(),
            nats: shared.nats.url(),
            redis: shared.redis.url(),
        }
    }
}

/// A DICT process.
pub(crate) struct TestDict {
    pub(crate) pki: TestPki,
    pub(crate) urls: Urls,
    pub(crate) api: u16,
    pub(crate) np: u16,
    pub(crate) grpc: u16,
    pub(crate) ops: u16,
    seed: TempDir,
    spec: ProcessSpec,
    process: Option<Process>,
}

impl TestDict {
    /// On the parts of the run, with a database of its own.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more settings.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_on(Urls::shared().await, settings).await
    }

    /// The same with a Postgres that it reaches through a proxy.
    pub(crate) async fn start_behind_proxy() -> (Self, FaultProxy) {
        let mut urls = Urls::shared().await;
        let (_, after) = urls.server.rsplit_once(':').expect("a port");
        let port = after.split('/').next().expect("split gives one").to_owned();
        let proxy = FaultProxy::start(([127, 0, 0, 1], port.parse().expect("a number")).into()).await;
        let through = format!(":{}/", proxy.address().port());
        urls.server = urls.server.replace(&format!(":{port}/"), &through);
        assert!(urls.server.contains(&through));
        (Self::start_on(urls, &[]).await, proxy)
    }

    /// On parts that the test may kill.
    pub(crate) async fn start_on_own(parts: &OwnParts) -> Self {
        Self::start_on_own_with(parts, &[]).await
    }

    /// The same with more settings.
    pub(crate) async fn start_on_own_with(parts: &OwnParts, settings: &[(&str, &str)]) -> Self {
        let mut admin = PgConnection::connect(&parts.postgres.url("postgres"))
            .await
            .expect("Postgres is there");
        let role = format!(
            "CREATE ROLE dict_app LOGIN PASSWORD '{}'",
            parts.postgres.password()
        );
        for statement in [role, "CREATE DATABASE dict".to_owned()] {
            sqlx::query(sqlx::AssertSqlSafe(statement))
                .execute(&mut admin)
                .await
                .expect("as superuser");
        }
        let urls = Urls {
            server: parts.postgres.url_as("dict_app", "dict"),
            owner: parts.postgres.url("dict"),
            nats: parts.nats.url(),
            redis: parts.redis.url(),
        };
        Self::start_on(urls, settings).await
    }

    /// On parts that are reached by these ways.
    pub(crate) async fn start_on(urls: Urls, settings: &[(&str, &str)]) -> Self {
        let pki = TestPki::shared().await;
        let seed = seed(&pki);
        let (own, inside) = (pki.service("dict"), pki.inside("dict"));
        let [api, np, grpc, ops] = std::array::from_fn(|_| free_port().expect("a free port"));
        let file = |name: &str| own.join(name).display().to_string();
        let participants = seed.path().join("participants.toml");
        let mut flags = vec![
            ("listen", format!("127.0.0.1:{api}")),
            ("np.listen", format!("127.0.0.1:{np}")),
            ("grpc.listen", format!("127.0.0.1:{grpc}")),
            ("ops.listen", format!("127.0.0.1:{ops}")),
            ("database.url", urls.server.clone()),
            ("database.owner_url", urls.owner.clone()),
            ("nats.url", urls.nats.clone()),
            ("redis.url", urls.redis.clone()),
            ("redis.prefix", format!("{}:", unique_prefix())),
            // Tests of what things cost must not meet the rules of a Redis that is away, however busy the machine.
            ("redis.within_ms", "1000".to_owned()),
            ("participants.file", participants.display().to_string()),
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
        flags.extend(settings.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let args = flags.iter().map(|(key, value)| format!("--{key}={value}"));
        let spec = ProcessSpec {
            name: "dict".to_owned(),
            program: PathBuf::from(env!("CARGO_BIN_EXE_dict")),
            args: args.collect(),
            env: BTreeMap::new(),
            dir: None,
            run_as: None,
            stop_signal: pix_parts::Signal::Terminate,
            log: seed.path().join("dict.log"),
            probe: pix_parts::Probe::Http {
                address: ([127, 0, 0, 1], ops).into(),
                path: "/readyz".to_owned(),
            },
        };
        let mut dict = Self {
            pki,
            urls,
            api,
            np,
            grpc,
            ops,
            seed,
            spec,
            process: None,
        };
        dict.run().await;
        dict
    }

    /// Starts the process and waits until it serves.
    pub(crate) async fn run(&mut self) {
        let mut process = self.spec.spawn().await.expect("dict starts");
        let ready = process.ready(SOON).await;
        self.process = Some(process);
        assert!(ready.is_ok(), "dict does not serve: {ready:?}\n{}", self.log());
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        let mut process = self.process.take().expect("running");
        process.signal(pix_parts::Signal::Kill).expect("can be killed");
        process.wait().await.expect("can be waited for");
    }

    /// SIGTERM, to the end.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("running");
        process.stop(SOON).await.expect("stops")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.seed.path().join("dict.log")).unwrap_or_default()
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

    /// Rows of everything that a write leaves.
    pub(crate) async fn everything(&self) -> i64 {
        self.count(
            "SELECT (SELECT count(*) FROM entry) + (SELECT count(*) FROM entry_history)
                  + (SELECT count(*) FROM create_request) + (SELECT count(*) FROM cid_event)",
        )
        .await
    }

    /// A participant with its channel and signature.
    pub(crate) fn bank(&self, ispb: &str) -> Bank {
        let dict = std::fs::read(self.pki.service("dict").join("signature.crt")).expect("readable");
        Bank {
            ispb: Ispb::parse(ispb.as_bytes()).expect("an ISPB"),
            client: self.pki.client(ispb),
            signer: self.pki.signer(ispb),
            api: format!("https://localhost:{}", self.api),
            np: format!("https://localhost:{}", self.np),
            dict: DictKey(VerifyingKey::from_certificate_pem(&dict).expect("a certificate")),
            ids: Ids::system(),
        }
    }
}

/// A and B, an indirect one of B, and one of A that is not active.
fn seed(pki: &TestPki) -> TempDir {
    let seat = |ispb, settler| Seat {
        ispb,
        settler,
        opening_balance: "0.00",
    };
    let seed = pki.seed(&[seat(A, None), seat(B, None), seat(B_INDIRECT, Some(B))]);
    let path = seed.path().join("participants.toml");
    let mut text = std::fs::read_to_string(&path).expect("just written");
    text.push_str(&format!(
        "[[participant]]\nispb = \"{INACTIVE}\"\nname = \"Banco Parado\"\nsettler = \"{A}\"\nactive = false\n\
         [[participant]]\nispb = \"{B_SMALL}\"\nname = \"Banco Pequeno\"\nsettler = \"{B}\"\ncategory = \"G\"\n"
    ));
    std::fs::write(&path, text).expect("writable");
    seed
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

/// The only key that the DICT may sign with.
#[derive(Clone)]
pub(crate) struct DictKey(VerifyingKey);

impl KeySource for DictKey {
    fn find(&self, issuer_serial: &IssuerSerial) -> Option<VerifyingKey> {
        (self.0.issuer_serial() == issuer_serial).then(|| self.0.clone())
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A participant: what it signs and sends.
pub(crate) struct Bank {
    pub(crate) ispb: Ispb,
    pub(crate) client: Client,
    pub(crate) signer: Signer,
    pub(crate) api: String,
    pub(crate) np: String,
    dict: DictKey,
    pub(crate) ids: Ids,
}

impl Bank {
    /// The same participant through the client that banks use.
    pub(crate) fn as_client(&self) -> pix_dict_client::Dict {
        pix_dict_client::Dict {
            client: self.client.clone(),
            base: self.api.clone(),
            np_base: self.np.clone(),
            ispb: self.ispb,
            signer: self.signer.clone(),
            keys: std::sync::Arc::new(self.dict.clone()),
        }
    }

    /// A person's entry, sound in every way, on an account of its own.
    pub(crate) fn entry(&self, kind: &str, key: Option<&str>) -> EntryText {
        EntryText {
            key: key.map(str::to_owned),
            key_type: kind.to_owned(),
            account: AccountText {
                participant: self.ispb.to_string(),
                branch: Some("0001".to_owned()),
                number: format!("{:020}", self.ids.u128() % 1_000_000_000_000_000),
                kind: "CACC".to_owned(),
                opened_at: "2010-01-10T03:00:00Z".to_owned(),
            },
            owner: OwnerText {
                person_type: "NATURAL_PERSON".to_owned(),
                tax_id: "52998224725".to_owned(),
                name: "João Silva".to_owned(),
                trade_name: None,
            },
        }
    }

    /// A createEntry of it, with a RequestId of its own.
    pub(crate) fn create_of(&self, entry: EntryText) -> CreateEntry {
        CreateEntry {
            entry,
            reason: "USER_REQUESTED".to_owned(),
            request_id: RequestId::new(self.ids.u128()).to_string(),
        }
    }

    /// A createEntry of a phone that nobody has.
    pub(crate) fn new_phone(&self) -> CreateEntry {
        self.create_of(self.entry("PHONE", Some(&self.phone())))
    }

    /// A phone that nobody has.
    pub(crate) fn phone(&self) -> String {
        format!("+55619{:011}", self.ids.u128() % 10_000_000_000)[..14].to_owned()
    }

    pub(crate) fn seal(&self, request: pix_dict_api::Request) -> Vec<u8> {
        pix_dict_api::seal_request(&request, &self.signer, "key-info-id")
    }

    pub(crate) fn sealed_create(&self, create: &CreateEntry) -> Vec<u8> {
        self.seal(pix_dict_api::Request::CreateEntry(create.clone()))
    }

    pub(crate) async fn create(&self, create: &CreateEntry) -> Answer {
        self.post("/api/v2/entries/", self.sealed_create(create)).await
    }

    /// Registers an entry, which has to go well.
    pub(crate) async fn register(&self, entry: EntryText) -> Entry {
        let answer = self.create(&self.create_of(entry)).await;
        assert_eq!(answer.status, 201, "{:?}", self.problem(&answer));
        self.entry_of(&answer)
    }

    pub(crate) async fn update(&self, update: &UpdateEntry) -> Answer {
        let path = format!("/api/v2/entries/{}", on_path(&update.key));
        let body = self.seal(pix_dict_api::Request::UpdateEntry(update.clone()));
        self.send(Method::PUT, &self.api, &path, &[XML], body).await
    }

    pub(crate) async fn delete(&self, key: &str) -> Answer {
        self.delete_by(&self.delete_of(key)).await
    }

    pub(crate) fn delete_of(&self, key: &str) -> DeleteEntry {
        DeleteEntry {
            key: key.to_owned(),
            participant: self.ispb.to_string(),
            reason: "USER_REQUESTED".to_owned(),
        }
    }

    pub(crate) async fn delete_by(&self, delete: &DeleteEntry) -> Answer {
        let path = format!("/api/v2/entries/{}/delete", on_path(&delete.key));
        self.post(
            &path,
            self.seal(pix_dict_api::Request::DeleteEntry(delete.clone())),
        )
        .await
    }

    /// getEntry with all headers.
    pub(crate) async fn look_up(&self, key: &str) -> Answer {
        self.look_up_as(PAYER, key).await
    }

    pub(crate) async fn look_up_as(&self, payer: &str, key: &str) -> Answer {
        let id = EndToEndId::new(self.ispb, now(), self.ids.u128()).to_string();
        let headers = [
            REQUESTING(&self.ispb),
            ("PI-PayerId", payer),
            ("PI-EndToEndId", &id),
        ];
        self.get(&format!("/api/v2/entries/{key}"), &headers).await
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, &self.api, path, headers, Vec::new()).await
    }

    /// GET with nothing but PI-RequestingParticipant.
    pub(crate) async fn get_own(&self, path: &str) -> Answer {
        self.get(path, &[REQUESTING(&self.ispb)]).await
    }

    pub(crate) async fn post(&self, path: &str, body: Vec<u8>) -> Answer {
        self.send(Method::POST, &self.api, path, &[XML], body).await
    }

    pub(crate) async fn check_keys(&self, body: Vec<u8>) -> Answer {
        self.send(Method::POST, &self.np, "/api-np/v2/keys/check", &[XML], body)
            .await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        base: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        self.try_send(method, base, path, headers, body)
            .await
            .expect("answered")
    }

    pub(crate) async fn try_send(
        &self,
        method: Method,
        base: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(method).uri(format!("{base}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let (head, body) = self.client.send(request).await?;
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }

    /// The answer, whose signature has to be the DICT's.
    pub(crate) fn opened(&self, answer: &Answer) -> Response<'static> {
        assert!(
            answer.status < 300,
            "{}: {:?}",
            answer.status,
            self.problem(answer)
        );
        assert_eq!(answer.headers["content-type"], "application/xml; charset=utf-8");
        let opened = pix_dict_api::open_response(&answer.body, &self.dict);
        opened.expect("signed by the DICT").response
    }

    pub(crate) fn entry_of(&self, answer: &Answer) -> Entry {
        match self.opened(answer) {
            Response::Entry(response) => response.entry.into_owned(),
            other => panic!("no entry: {other:?}"),
        }
    }

    /// The problem, signed unless it was said before any work.
    pub(crate) fn problem(&self, answer: &Answer) -> Problem {
        assert_eq!(
            answer.headers["content-type"],
            "application/problem+xml; charset=utf-8"
        );
        let problem = match answer.status {
            429 | 503 => pix_dict_api::parse_problem(&answer.body).expect("a problem"),
            _ => {
                let opened = pix_dict_api::open_problem(&answer.body, &self.dict);
                opened.expect("a problem signed by the DICT").problem
            }
        };
        let text = String::from_utf8_lossy(&answer.body);
        assert!(text.contains("urn:ietf:rfc:7807"), "{text}");
        let kind = format!(
            "https://dict.pi.rsfn.net.br/api/v2/error/{}",
            problem.kind.as_str()
        );
        assert!(text.contains(&kind), "{text}");
        assert_eq!(problem.status, answer.status);
        assert!(problem.correlation_id.is_some(), "{text}");
        problem
    }

    /// Asserts that the answer is this problem.
    pub(crate) fn assert_refused(&self, answer: &Answer, status: u16, kind: ProblemKind) -> Problem {
        let problem = self.problem(answer);
        assert_eq!((answer.status, problem.kind), (status, kind), "{problem:?}");
        problem
    }
}

/// What every body is sent as.
pub(crate) const XML: (&str, &str) = ("Content-Type", "application/xml; charset=utf-8");

/// `PI-RequestingParticipant` of a participant.
#[expect(non_snake_case, reason = "stands beside XML")]
pub(crate) fn REQUESTING(ispb: &Ispb) -> (&'static str, &str) {
    ("PI-RequestingParticipant", ispb.as_str())
}

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// The properties that violations name.
pub(crate) fn properties(violations: &[Violation]) -> Vec<&str> {
    violations
        .iter()
        .filter_map(|violation| violation.property.as_deref())
        .collect()
}

/// A key as it stands in a path.
pub(crate) fn on_path(key: &str) -> String {
    key.replace('/', "%2F")
        .replace('#', "%23")
        .replace('?', "%3F")
        .replace('@', "%40")
}
