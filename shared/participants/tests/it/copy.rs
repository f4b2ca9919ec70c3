//! A copy follows a registry, survives it, and believes nothing that does not fit.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use pix_inside::Ends;
use pix_participants::{Current, Directory, Follower, Origin, READY, Source, Standing, Use};
use pix_proto::settlement_v1::Participant;
use pix_runtime::ops::Readiness;
use pix_testkit::{Fault, FaultProxy, StopSwitch, TestDatabase, TestPki, eventually};
use pix_xmldsig::IssuerSerial;
use sqlx::{Connection as _, PgConnection};
use tonic::Status;

use crate::ispb;
use crate::registry::{Registry, change, participant};

const SOON: Duration = Duration::from_secs(20);
const MIGRATIONS: [&str; 2] = [
    include_str!("../../../../migrations/dict/20261121150000_participant_copy.sql"),
    include_str!("../../../../migrations/dict/20261121173000_copy_filled.sql"),
];

/// A database with an empty copy.
async fn database() -> TestDatabase {
    let database = pix_testkit::empty_database("dict").await;
    for migration in MIGRATIONS {
        execute(&database, migration).await;
    }
    database
}

async fn execute(database: &TestDatabase, statement: &'static str) {
    let mut owner = PgConnection::connect(&database.url()).await.unwrap();
    sqlx::raw_sql(statement).execute(&mut owner).await.unwrap();
}

/// A process that follows.
struct Process {
    current: Current<Directory>,
    standing: Standing,
    readiness: Readiness,
    _stop: StopSwitch,
}

impl Process {
    async fn start(database: &TestDatabase, port: u16) -> Self {
        let (directory, follower, standing) = open(database, port).await;
        let current = Current::new(directory);
        let readiness = Readiness::of(&[READY]);
        let (stop, stopping) = StopSwitch::new();
        tokio::spawn(follower.run(current.clone(), readiness.clone(), stopping));
        Self {
            current,
            standing,
            readiness,
            _stop: stop,
        }
    }

    /// Until it knows this version and follows.
    async fn knows(&self, version: &str) {
        eventually(&format!("version {version} is followed"), SOON, || async {
            let at = self.current.load().version() == version;
            (at && self.standing.now().followed).then_some(())
        })
        .await;
    }

    /// Until it says that it does not follow, and why.
    async fn complains(&self, why: &str) {
        eventually(&format!("it complains of {why:?}"), SOON, || async {
            let standing = self.standing.now();
            let fault = standing.fault.filter(|_| !standing.followed)?;
            fault.contains(why).then_some(())
        })
        .await;
    }

    fn is_active(&self, name: &str) -> Option<bool> {
        self.current.load().by_ispb(ispb(name)).map(|one| one.active)
    }
}

async fn open(database: &TestDatabase, port: u16) -> (Directory, Follower, Standing) {
    let inside = TestPki::shared().await.inside("dict");
    let own = inside.identity;
    let ends = Ends::from_pem(own.certificate_pem, own.key_pem, inside.ca_pem);
    let endpoint = ends.endpoint(&format!("https://127.0.0.1:{port}")).unwrap();
    let pool = pix_runtime::pg::pool(&database.url(), 2).await.unwrap();
    let source = Source::Settlement(Box::new(endpoint));
    source.open(pool).await.unwrap()
}

/// The DER of a participant's channel certificate, and what it is looked up by.
async fn channel(name: &str) -> (Vec<u8>, IssuerSerial) {
    let folder = TestPki::shared().await.participant(name);
    let pem = fs::read(folder.join("channel.crt")).unwrap();
    let certificate = pix_participants::Certificate::from_pem(Use::Channel, &pem).unwrap();
    (certificate.der.clone(), certificate.issuer_serial().clone())
}

fn suspended(name: &str) -> Participant {
    Participant {
        state: "SUSPENDED".to_owned(),
        ..participant(name, &[])
    }
}

#[test]
fn every_copy_has_the_same_tables() {
    let spi = [
        include_str!("../../../../migrations/spi/20261121150000_participant_copy.sql"),
        include_str!("../../../../migrations/spi/20261121173000_copy_filled.sql"),
    ];
    assert_eq!(MIGRATIONS, spi);
}

#[tokio::test]
async fn a_copy_from_before_the_mark_counts_as_filled_unless_it_is_empty() {
    for (state, filled) in [
        ("INSERT INTO participant_copy_state VALUES (true, 'one', 7)", true),
        (
            "INSERT INTO participant_copy_state VALUES (true, 'one', 0)",
            false,
        ),
    ] {
        let database = pix_testkit::empty_database("dict").await;
        for statement in [MIGRATIONS[0], state, MIGRATIONS[1]] {
            execute(&database, statement).await;
        }
        let registry = Registry::start().await;
        let (_, _, standing) = open(&database, registry.port).await;
        assert_eq!(standing.now().known, filled, "{state}");
    }
}

#[tokio::test]
async fn a_first_fill_that_was_cut_off_is_no_copy_to_judge_by() {
    let (database, registry) = (database().await, Registry::start().await);
    let proxy = FaultProxy::start(([127, 0, 0, 1], registry.port).into()).await;
    let (der, certificate) = channel("11111111").await;
    registry.add(participant("11111111", &[("CHANNEL", &der)]));
    registry.add(participant("22222222", &[]));
    // The third change revokes the certificate, and does not come yet.
    registry.tell(|tale| tale.listed = Some(3));
    let process = Process::start(&database, proxy.address().port()).await;
    process.knows("2").await;
    assert!(!process.readiness.is_ready() && !process.standing.now().known);
    drop(process);
    proxy.set(Fault::Refuse);

    let process = Process::start(&database, proxy.address().port()).await;
    process.complains("does not answer").await;
    assert_eq!(process.current.load().version(), "2", "what it has is kept");
    assert!(!process.readiness.is_ready() && !process.standing.now().known);

    let mut revoked = participant("11111111", &[("CHANNEL", &der)]);
    revoked.certificates[0].revoked_at_micros = Some(1);
    registry.add(revoked);
    proxy.set(Fault::None);
    tokio::time::timeout(SOON, process.standing.known())
        .await
        .unwrap();
    assert!(process.current.load().by_channel(&certificate).is_none());
    process.knows("3").await;
    assert!(process.readiness.is_ready());
    drop(process);
    proxy.set(Fault::Refuse);

    let (whole, _, standing) = open(&database, proxy.address().port()).await;
    assert!(standing.now().known && whole.version() == "3");
}

#[tokio::test]
async fn a_fill_that_had_stored_everything_is_whole_once_the_registry_says_so() {
    let (database, registry) = (database().await, Registry::start().await);
    registry.add(participant("11111111", &[]));
    registry.tell(|tale| tale.listed = Some(2));
    let process = Process::start(&database, registry.port).await;
    process.knows("1").await;
    drop(process);
    registry.tell(|tale| tale.listed = None);
    let process = Process::start(&database, registry.port).await;
    tokio::time::timeout(SOON, process.standing.known())
        .await
        .unwrap();
    let (_, _, standing) = open(&database, registry.port).await;
    assert!(standing.now().known);
}

#[tokio::test]
async fn an_empty_copy_waits_fills_follows_and_starts_without_the_registry() {
    let (database, registry) = (database().await, Registry::start().await);
    let proxy = FaultProxy::start(([127, 0, 0, 1], registry.port).into()).await;
    proxy.set(Fault::Refuse);
    let (der, certificate) = channel("11111111").await;
    registry.add(participant("11111111", &[("CHANNEL", &der)]));
    registry.add(participant("22222222", &[]));

    let process = Process::start(&database, proxy.address().port()).await;
    process.complains("does not answer").await;
    assert!(!process.readiness.is_ready() && !process.standing.now().known);
    proxy.set(Fault::None);
    process.knows("2").await;
    tokio::time::timeout(SOON, process.standing.known())
        .await
        .unwrap();
    assert!(process.readiness.is_ready());
    assert_eq!(process.standing.now().registry.as_deref(), Some("one"));
    let known = process
        .current
        .load()
        .by_channel(&certificate)
        .map(|one| one.ispb);
    assert_eq!(known, Some(ispb("11111111")));

    registry.add(suspended("22222222"));
    process.knows("3").await;
    assert_eq!(process.is_active("22222222"), Some(false));
    drop((process, registry));
    proxy.set(Fault::Refuse);

    // Nobody answers, and it knows what it knew.
    let process = Process::start(&database, proxy.address().port()).await;
    assert!(process.standing.now().known && process.current.load().version() == "3");
    assert!(process.current.load().by_channel(&certificate).is_some());
    assert_eq!(process.is_active("22222222"), Some(false));
    assert_eq!(process.standing.now().origin, Origin::Settlement);
    process.complains("does not answer").await;
    assert!(process.readiness.is_ready(), "to follow is not needed to serve");
}

#[tokio::test]
async fn an_empty_registry_is_an_answer() {
    let (database, registry) = (database().await, Registry::start().await);
    let process = Process::start(&database, registry.port).await;
    tokio::time::timeout(SOON, process.standing.known())
        .await
        .unwrap();
    assert_eq!(process.current.load().iter().count(), 0);
    registry.add(participant("11111111", &[]));
    process.knows("1").await;
}

#[tokio::test]
async fn a_certificate_is_forgotten_once_it_is_revoked() {
    let (database, registry) = (database().await, Registry::start().await);
    let (der, certificate) = channel("11111111").await;
    registry.add(participant("11111111", &[("CHANNEL", &der)]));
    let process = Process::start(&database, registry.port).await;
    process.knows("1").await;
    let (_, stranger) = channel("22222222").await;
    let forgotten = tokio::spawn({
        let (current, certificate) = (process.current.clone(), certificate.clone());
        async move { current.forgotten(&certificate).await }
    });
    let stays = tokio::spawn({
        let current = process.current.clone();
        async move { current.forgotten(&stranger).await }
    });
    let mut revoked = participant("11111111", &[("CHANNEL", &der)]);
    revoked.certificates[0].revoked_at_micros = Some(1);
    registry.add(revoked);
    tokio::time::timeout(SOON, forgotten).await.unwrap().unwrap();
    assert!(process.current.load().by_channel(&certificate).is_none());
    assert!(!stays.is_finished(), "who was never known is not forgotten");
}

#[tokio::test]
async fn a_gap_is_never_crossed() {
    let (database, registry) = (database().await, Registry::start().await);
    registry.add(participant("11111111", &[]));
    let process = Process::start(&database, registry.port).await;
    process.knows("1").await;
    registry.tell(|tale| tale.changes.push(change("one", 3, participant("33333333", &[]))));
    process.complains("told change 3 after change 1").await;
    assert_eq!(process.current.load().version(), "1");
    assert_eq!(process.is_active("33333333"), None);
    registry.tell(|tale| {
        tale.changes
            .insert(1, change("one", 2, participant("22222222", &[])))
    });
    process.knows("3").await;
    assert_eq!(process.is_active("22222222"), Some(true));
}

#[tokio::test]
async fn while_changes_do_not_fit_nobody_says_that_they_are_followed() {
    let shown = Shown::default();
    let _recorder = metrics::set_default_local_recorder(&shown);
    let (database, registry) = (database().await, Registry::start().await);
    registry.add(participant("11111111", &[]));
    let process = Process::start(&database, registry.port).await;
    process.knows("1").await;
    registry.tell(|tale| tale.changes.push(change("one", 3, participant("33333333", &[]))));
    process.complains("told change 3 after change 1").await;
    let before = shown.followed().len();
    // It is called and called again, and each call is answered.
    eventually("it complained ten times", SOON, || async {
        (shown.followed().len() >= before + 10).then_some(())
    })
    .await;
    assert!(shown.followed()[before..].iter().all(|shown| *shown == 0.0));

    // It is not told any more: the registry was mended, and there is nothing new.
    registry.tell(|tale| tale.changes.truncate(1));
    process.knows("1").await;
    registry.add(participant("22222222", &[]));
    process.knows("2").await;
}

/// Every value that the gauge of being followed was set to.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<f64>>>);

impl Shown {
    fn followed(&self) -> Vec<f64> {
        self.0.lock().unwrap().clone()
    }
}

impl GaugeFn for Shown {
    fn increment(&self, _value: f64) {}

    fn decrement(&self, _value: f64) {}

    fn set(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

impl Recorder for Shown {
    fn describe_counter(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}

    fn describe_gauge(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}

    fn describe_histogram(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}

    fn register_counter(&self, _key: &Key, _metadata: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _metadata: &Metadata<'_>) -> Gauge {
        match key.name() {
            "participants_followed" => Gauge::from_arc(Arc::new(self.clone())),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, _key: &Key, _metadata: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn another_registry_or_an_older_one_changes_nothing() {
    let (database, registry) = (database().await, Registry::start().await);
    for name in ["11111111", "22222222"] {
        registry.add(participant(name, &[]));
    }
    let process = Process::start(&database, registry.port).await;
    process.knows("2").await;
    drop(registry);
    drop(process);

    // Each is met by a process that starts, as after a restore of the settlement service's database.
    let told = |registry: &str| -> Vec<_> {
        let all = ["44444444", "55555555", "66666666"].into_iter().zip(1..);
        all.map(|(name, version)| change(registry, version, participant(name, &[])))
            .collect()
    };
    let again = |at: i64| {
        let mut changes = told("one");
        changes[1].participant = Some(participant("22222222", &[]));
        changes[1].at_micros = at;
        changes
    };
    for (changes, refusal, why) in [
        (told("two"), None, "another registry"),
        (told("one"), None, "does not tell change 2"),
        (again(7), None, "does not tell change 2"),
        (
            Vec::new(),
            Some(Status::failed_precondition("two")),
            "another registry",
        ),
        (Vec::new(), Some(Status::out_of_range("ends at 0")), "ends at 0"),
    ] {
        let registry = Registry::start().await;
        registry.tell(|tale| {
            tale.changes = changes;
            tale.refusal = refusal;
        });
        let process = Process::start(&database, registry.port).await;
        process.complains(why).await;
        assert!(process.readiness.is_ready(), "{why}");
        let known = process.current.load();
        let known: Vec<_> = known.iter().map(|one| one.ispb.to_string()).collect();
        assert_eq!(known, ["11111111", "22222222"], "{why}");
    }
    let registry = Registry::start().await;
    registry.tell(|tale| tale.changes = again(2_000_000));
    Process::start(&database, registry.port).await.knows("3").await;
}

#[tokio::test]
async fn what_makes_no_sense_changes_nothing_and_is_asked_again() {
    let (database, registry) = (database().await, Registry::start().await);
    let (der, _) = channel("11111111").await;
    registry.add(participant("11111111", &[("CHANNEL", &der)]));
    let process = Process::start(&database, registry.port).await;
    process.knows("1").await;
    let mut nobodys = participant("22222222", &[]);
    nobodys.settler = "99999999".to_owned();
    let mut odd = participant("22222222", &[]);
    odd.state = "ASLEEP".to_owned();
    let taken = participant("22222222", &[("CHANNEL", der.as_slice())]);
    for (nonsense, why) in [
        (nobodys, "its settler 99999999 is not a direct participant"),
        (odd, "ASLEEP"),
        (taken, "is there twice"),
    ] {
        // What comes before it counts, however they arrive.
        let good = change("one", 2, participant("33333333", &[]));
        registry.tell(|tale| {
            tale.changes.truncate(1);
            tale.changes.extend([good, change("one", 3, nonsense)]);
        });
        process.complains(why).await;
        assert_eq!(process.is_active("33333333"), Some(true), "{why}");
        assert_eq!(process.is_active("22222222"), None, "{why}");
    }
    registry.tell(|tale| {
        tale.changes.truncate(2);
        tale.changes.push(change("one", 3, participant("22222222", &[])));
    });
    process.knows("3").await;
}

#[tokio::test]
async fn a_registry_that_falls_silent_is_found_again() {
    let (database, registry) = (database().await, Registry::start().await);
    let proxy = FaultProxy::start(([127, 0, 0, 1], registry.port).into()).await;
    registry.add(participant("11111111", &[]));
    let process = Process::start(&database, proxy.address().port()).await;
    process.knows("1").await;
    proxy.set(Fault::Hold);
    registry.add(participant("22222222", &[]));
    process.complains("does not answer").await;
    assert_eq!(process.is_active("22222222"), None);
    proxy.set(Fault::None);
    process.knows("2").await;
}

#[tokio::test]
async fn processes_that_share_a_copy_each_follow_and_the_newest_is_kept() {
    let (database, registry) = (database().await, Registry::start().await);
    registry.add(participant("11111111", &[]));
    let first = Process::start(&database, registry.port).await;
    let second = Process::start(&database, registry.port).await;
    for version in 2..=20 {
        registry.add(match version % 2 {
            0 => suspended("11111111"),
            _ => participant("11111111", &[]),
        });
    }
    for process in [&first, &second] {
        process.knows("20").await;
    }
    let (kept, ..) = open(&database, registry.port).await;
    assert_eq!(kept.version(), "20");
    assert!(kept.by_ispb(ispb("11111111")).is_some_and(|one| !one.active));
}
