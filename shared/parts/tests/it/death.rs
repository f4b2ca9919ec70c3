//! Nothing outlives whoever started it.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{runs, shell, sleeper, until_gone};

const FOLDER: &str = "PIX_TEST_DEATH_FOLDER";

/// Not a test: what the next test runs in a process of its own and kills.
#[tokio::test]
#[ignore = "started by children_die_with_a_parent_that_is_killed"]
async fn parent_that_waits_to_be_killed() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let process = sleeper(folder.as_ref()).spawn().await.unwrap();
    eprintln!("child {}", process.pid().unwrap());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn children_die_with_a_parent_that_is_killed() {
    let folder = TempDir::new().unwrap();
    let mut parent = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "death::parent_that_waits_to_be_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(parent.stderr.take().unwrap()).lines();
    let child = said
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("child ")?.parse().ok())
        .unwrap();
    assert!(runs(child));
    parent.kill().unwrap();
    parent.wait().unwrap();
    until_gone(child).await;
}

#[test]
fn a_child_outlives_the_thread_and_runtime_that_asked_for_it() {
    let folder = TempDir::new().unwrap();
    let spec = shell(
        folder.path(),
        "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done",
    );
    let asked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let process = runtime.block_on(spec.spawn()).unwrap();
        let pid = process.pid().unwrap();
        std::mem::forget(process); // dropped, it would be killed
        pid
    });
    let pid = asked.join().unwrap();
    // A signal for the end of the thread would be handled between two of these.
    let log = folder.path().join("shell.log");
    while std::fs::read_to_string(&log).unwrap_or_default().is_empty() {
        std::thread::yield_now();
    }
    assert!(runs(pid));
    Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status()
        .unwrap();
}

#[tokio::test]
async fn a_dropped_process_is_killed() {
    let folder = TempDir::new().unwrap();
    let process = sleeper(folder.path()).spawn().await.unwrap();
    let pid = process.pid().unwrap();
    drop(process);
    until_gone(pid).await;
}

#[tokio::test]
async fn one_that_refuses_to_end_is_killed_after_the_grace() {
    let folder = TempDir::new().unwrap();
    let mut process = shell(
        folder.path(),
        "trap '' TERM; echo deaf; while :; do sleep 0.05; done",
    )
    .spawn()
    .await
    .unwrap();
    while std::fs::read_to_string(&process.spec().log).unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let pid = process.pid().unwrap();
    let status = process.stop(Duration::from_millis(50)).await.unwrap();
    assert!(!status.success());
    assert!(!runs(pid));
}

#[tokio::test]
async fn one_that_ends_instead_of_serving_shows_its_last_words() {
    let folder = TempDir::new().unwrap();
    let mut spec = shell(folder.path(), "echo 'no disk left' >&2; exit 3");
    spec.probe = pix_parts::Probe::Redis { port: 1 };
    let fault = spec
        .spawn()
        .await
        .unwrap()
        .ready(Duration::from_secs(20))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        fault.contains("exit status: 3") && fault.contains("no disk left"),
        "{fault}"
    );
}
