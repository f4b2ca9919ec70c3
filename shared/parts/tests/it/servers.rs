//! Postgres, Redis and NATS, as `pix` and the tests start them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use pix_parts::{
    Nats, PartError, Postgres, PostgresSize, Process, ProcessSpec, READY_WITHIN, Redis, STOP_GRACE,
    free_port, missing,
};
use tempfile::TempDir;

use crate::runs;

/// A folder that user `postgres` can enter.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
    folder
}

async fn start(spec: ProcessSpec) -> Process {
    let mut process = spec.spawn().await.unwrap();
    process.ready(READY_WITHIN).await.unwrap();
    process
}

/// All three in `folder`, on free ports.
async fn trio(folder: &Path) -> [Process; 3] {
    let port = || free_port().unwrap();
    let postgres = Postgres::prepare(&folder.join("postgres"), port(), PostgresSize::Test)
        .await
        .unwrap();
    let redis = Redis::prepare(&folder.join("redis"), port()).unwrap();
    let nats = Nats::prepare(&folder.join("nats"), port()).unwrap();
    [
        start(postgres.spec()).await,
        start(redis.spec()).await,
        start(nats.spec()).await,
    ]
}

#[tokio::test]
async fn two_sets_of_parts_run_side_by_side_and_leave_nothing() {
    assert_eq!(missing(), []);
    let (one, two) = (folder(), folder());
    let (first, second) = tokio::join!(trio(one.path()), trio(two.path()));
    for mut process in first.into_iter().chain(second) {
        let pid = process.pid().unwrap();
        process.stop(STOP_GRACE).await.unwrap();
        assert!(!runs(pid), "{} is gone", process.spec().name);
    }
    for left in ["postgres/data/postmaster.pid", "postgres/run/.s.PGSQL.5432"] {
        assert!(!one.path().join(left).exists(), "{left}");
    }
}

#[tokio::test]
async fn a_cluster_is_made_once_and_found_again() {
    let folder = folder();
    let dir = folder.path().join("postgres");
    let first = Postgres::prepare(&dir, free_port().unwrap(), PostgresSize::Test)
        .await
        .unwrap();
    let made = fs::metadata(dir.join("data/PG_VERSION")).unwrap().mtime_nsec();
    start(first.spec()).await.stop(STOP_GRACE).await.unwrap();

    let again = Postgres::prepare(&dir, free_port().unwrap(), PostgresSize::Test)
        .await
        .unwrap();
    assert_eq!(again.password(), first.password());
    assert_eq!(
        fs::metadata(dir.join("data/PG_VERSION")).unwrap().mtime_nsec(),
        made
    );
    assert_eq!(fs::metadata(dir.join("password")).unwrap().mode() & 0o777, 0o600);
    start(again.spec()).await.stop(STOP_GRACE).await.unwrap();
}

#[tokio::test]
async fn postgres_runs_as_its_own_user_when_we_are_root() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return eprintln!("skipped: this run is not root's");
    }
    let folder = folder();
    let postgres = Postgres::prepare(
        &folder.path().join("pg"),
        free_port().unwrap(),
        PostgresSize::Test,
    )
    .await
    .unwrap();
    let mut process = start(postgres.spec()).await;
    let uid = fs::metadata(format!("/proc/{}", process.pid().unwrap()))
        .unwrap()
        .uid();
    assert_ne!(uid, 0);
    assert_eq!(Some(uid), postgres.spec().run_as.map(|user| user.uid));
    process.stop(STOP_GRACE).await.unwrap();

    // A folder behind one that only root may enter: said before anything is started, with the fix.
    let private = TempDir::new().unwrap();
    fs::set_permissions(private.path(), Permissions::from_mode(0o700)).unwrap();
    let wanted = private.path().join("deep/postgres");
    let fault = Postgres::prepare(&wanted, 1, PostgresSize::Test)
        .await
        .unwrap_err();
    let PartError::Unreachable { blocked, .. } = &fault else {
        panic!("{fault}")
    };
    assert_eq!(blocked, private.path());
    assert!(
        fault
            .to_string()
            .contains(&format!("run `chmod o+x {}`", private.path().display())),
        "{fault}"
    );
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_leaves_tcp() {
    let folder = folder();
    let deep = folder.path().join("x".repeat(90));
    let postgres = Postgres::prepare(&deep, free_port().unwrap(), PostgresSize::Test)
        .await
        .unwrap();
    assert!(
        postgres
            .spec()
            .args
            .contains(&"unix_socket_directories=".to_owned())
    );
    start(postgres.spec()).await.stop(STOP_GRACE).await.unwrap();
}

#[tokio::test]
async fn what_people_pay_stays_out_of_the_log_and_the_log_is_its_owners() {
    let folder = folder();
    let postgres = Postgres::prepare(
        &folder.path().join("pg"),
        free_port().unwrap(),
        PostgresSize::Test,
    )
    .await
    .unwrap();
    let spec = postgres.spec();
    fs::write(&spec.log, "of an earlier version\n").unwrap();
    fs::set_permissions(&spec.log, Permissions::from_mode(0o644)).unwrap();
    let mut process = start(spec.clone()).await;
    let refused = tokio::process::Command::new(spec.program.with_file_name("psql"))
        .arg(postgres.url("postgres"))
        .args(["-c", "CREATE TABLE paid (tax_id text CHECK (tax_id = ''))"])
        .args(["-c", "INSERT INTO paid VALUES ('52998224725')"])
        .output()
        .await
        .unwrap();
    assert!(!refused.status.success());
    process.stop(STOP_GRACE).await.unwrap();

    let log = fs::read_to_string(&spec.log).unwrap();
    assert!(log.contains("violates check constraint"), "{log}");
    assert!(!log.contains("52998224725"), "{log}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&spec.log), 0o600);
    for private in [folder.path().join("pg"), folder.path().join("pg/run")] {
        assert_eq!(mode(&private), 0o700, "{}", private.display());
    }
}
