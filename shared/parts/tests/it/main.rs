//! Real servers and real deaths.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod death;
mod servers;

use std::fs;
use std::path::Path;

use pix_parts::{Probe, ProcessSpec, Signal};

/// A process that does nothing: `sleep`, with its log in `folder`.
fn sleeper(folder: &Path) -> ProcessSpec {
    shell(folder, "exec sleep 600")
}

fn shell(folder: &Path, script: &str) -> ProcessSpec {
    ProcessSpec {
        name: "shell".into(),
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: [].into(),
        dir: None,
        run_as: None,
        stop_signal: Signal::Terminate,
        log: folder.join("shell.log"),
        probe: Probe::Started,
    }
}

/// Whether a process runs; one that is dead and not waited for yet does not.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The process that reaps orphans may take a moment.
async fn until_gone(pid: u32) {
    let gone = async {
        while runs(pid) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone)
        .await
        .expect("the process ends");
}
