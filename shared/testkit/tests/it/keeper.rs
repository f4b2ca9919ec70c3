//! The parts of a run are shared, end with it, and leave nothing behind.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use pix_testkit::{eventually, parts, unique_prefix};
use tempfile::TempDir;

const RUN: &str = "NEXTEST_RUN_ID";
const SECOND: Duration = Duration::from_secs(1);

/// Not a test: what the tests below run in processes of their own. Says where the parts are, then stays
/// until its standard input ends.
#[tokio::test]
#[ignore = "started by the other tests of this file"]
async fn a_test_process_that_uses_the_parts() {
    let Some(answer) = env::var_os("PIX_TEST_ANSWER") else {
        return;
    };
    let parts = parts().await;
    std::fs::write(answer, parts.folder.as_os_str().as_encoded_bytes()).unwrap();
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()))
        .await
        .unwrap()
        .unwrap();
}

/// A run of its own: the process that stands for nextest, with the test processes as its children.
struct Run {
    runner: Child,
    stays: Option<ChildStdin>,
    folder: TempDir,
    name: String,
}

impl Run {
    /// Starts `users` test processes under one runner, which waits for its input to end.
    fn start(users: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let name = unique_prefix();
        let script = "for answer in $ANSWERS; do PIX_TEST_ANSWER=$answer \"$@\" <&0 & done; cat; kill $(jobs -p); wait";
        let answers: Vec<_> = (0..users)
            .map(|n| folder.path().join(n.to_string()).display().to_string())
            .collect();
        let mut runner = Command::new("bash")
            .args(["-c", script, "runner"])
            .arg(env::current_exe().unwrap())
            .args([
                "--exact",
                "keeper::a_test_process_that_uses_the_parts",
                "--ignored",
            ])
            .env("ANSWERS", answers.join(" "))
            .env(RUN, &name)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stays = runner.stdin.take();
        Self {
            runner,
            stays,
            folder,
            name,
        }
    }

    /// The folder that a test process says its parts are in.
    async fn answer_of(&self, user: usize) -> PathBuf {
        let path = self.folder.path().join(user.to_string());
        eventually("the parts are there", 60 * SECOND, || async {
            std::fs::read_to_string(&path)
                .ok()
                .filter(|text| !text.is_empty())
                .map(PathBuf::from)
        })
        .await
    }
}

/// Processes with `path` in their command line, or at work in it: Redis writes its own command line.
fn processes_of(path: &Path) -> Vec<u32> {
    let text = path.as_os_str().as_encoded_bytes();
    let all = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        line.windows(text.len()).any(|window| window == text) || folder.starts_with(path)
    })
    .collect()
}

async fn until_nothing_is_left(parts: &Path) {
    eventually("nothing is left", 30 * SECOND, || async {
        let gone =
            !parts.exists() && !parts.with_extension("lock").exists() && processes_of(parts).is_empty();
        gone.then_some(())
    })
    .await;
}

#[tokio::test]
async fn test_processes_of_a_run_share_the_parts_and_the_end_of_the_run_takes_them_away() {
    let mut run = Run::start(3);
    let parts = run.answer_of(0).await;
    assert!(parts.to_string_lossy().contains(&run.name));
    assert_eq!(
        (run.answer_of(1).await, run.answer_of(2).await),
        (parts.clone(), parts.clone())
    );
    let servers = processes_of(&parts);
    assert!(servers.len() > 3, "three servers and the keeper: {servers:?}");
    drop(run.stays.take());
    run.runner.wait().unwrap();
    until_nothing_is_left(&parts).await;
}

#[tokio::test]
async fn a_runner_that_is_killed_takes_the_parts_with_it() {
    let mut run = Run::start(1);
    let parts = run.answer_of(0).await;
    run.runner.kill().unwrap();
    run.runner.wait().unwrap();
    until_nothing_is_left(&parts).await;
}

#[tokio::test]
async fn a_keeper_that_is_killed_takes_the_servers_with_it() {
    let run = Run::start(1);
    let parts = run.answer_of(0).await;
    let script = parts.join("keeper.sh");
    for keeper in processes_of(&script) {
        assert!(
            Command::new("kill")
                .args(["-KILL", &keeper.to_string()])
                .status()
                .unwrap()
                .success()
        );
    }
    eventually("the servers are gone", 30 * SECOND, || async {
        processes_of(&parts).is_empty().then_some(())
    })
    .await;
    std::fs::remove_dir_all(&parts).unwrap();
    std::fs::remove_file(parts.with_extension("lock")).unwrap();
    drop(run);
}

#[tokio::test]
async fn parts_that_nobody_uses_go_although_the_runner_stays() {
    let mut run = Run::start(1);
    let parts = run.answer_of(0).await;
    // The test process is the runner's only child; the runner goes on reading.
    let user = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.runner.id())).unwrap();
    for pid in user.split_whitespace() {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        if !line.starts_with(b"cat") {
            Command::new("kill").args(["-KILL", pid]).status().unwrap();
        }
    }
    until_nothing_is_left(&parts).await;
    assert!(
        run.runner.try_wait().unwrap().is_none(),
        "the runner is still there"
    );
}
