//! Starting, stopping, and living beside others.

use std::time::Duration;

use pix_testkit::eventually;
use tokio::process::Command;

use crate::money::{Money, order, until_all_ended};
use crate::switch::{A, B, Home, PIX, Switch, is_alive, signal};

#[tokio::test]
async fn two_instances_run_side_by_side() {
    let one = Switch::new().await;
    let two = Home::beside_another().up(&["--no-payment"]).await;
    let untouched = Money::count(&two).await;
    let id = order(&one, A, B, 100, "side-by-side").await;
    assert_eq!(until_all_ended(&one, A, B, &[id]).await, 1);
    assert_eq!(Money::count(&two).await, untouched);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_second_up_in_the_same_folder_says_who_runs_there() {
    let switch = Switch::new().await;
    let (worked, said) = switch.home.run(&["up"]).await;
    assert!(
        !worked && said.contains("already running") && said.contains("--port-offset"),
        "{said}"
    );
    // Elsewhere it fails as well, and changes nothing for those who ask without an offset.
    let dir = switch.home.dir().display().to_string();
    let pix = async |arguments: &[&str]| {
        let out = Command::new(PIX)
            .args(["--dir", &dir])
            .args(arguments)
            .output()
            .await
            .expect("pix starts");
        (
            out.status.success(),
            String::from_utf8_lossy(&out.stdout).into_owned(),
        )
    };
    let (worked, said) = pix(&["--port-offset", "0", "up"]).await;
    assert!(!worked, "{said}");
    let (healthy, said) = pix(&["status"]).await;
    assert!(healthy, "{said}");
    let instance = std::fs::read_to_string(switch.home.dir().join("instance.toml")).expect("it is there");
    let offset = format!("port_offset = {}\n", switch.home.port(0));
    assert!(instance.contains(&offset), "{instance}");
    switch.stop().await;
}

#[tokio::test]
async fn an_up_that_finds_a_port_busy_leaves_the_instance_where_it_was() {
    let home = Switch::new().await.stop().await;
    let instance = home.dir().join("instance.toml");
    let before = std::fs::read_to_string(&instance).expect("it is there");
    let other = Home::beside_another();
    let _taken =
        std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, other.port(4432))).expect("free");
    let out = Command::new(PIX)
        .arg("--dir")
        .arg(home.dir())
        .args(["--port-offset", &other.port(0).to_string(), "up"])
        .output()
        .await
        .expect("pix starts");
    assert!(!out.status.success());
    assert_eq!(std::fs::read_to_string(&instance).expect("it is there"), before);
}

#[tokio::test]
async fn supervision_and_an_orderly_stop_outlive_whoever_read_the_output() {
    let mut switch = Switch::new().await;
    switch.close_outputs().await;
    for bank in [A, B] {
        let old = switch.kill(&bank.process()).await;
        switch.until_restarted(&bank.process(), old).await;
    }
    let home = switch.stop_by("TERM").await;
    let log = std::fs::read_to_string(home.dir().join("postgres/postgres.log")).expect("Postgres has a log");
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("database system is shut down"), "{log}");
}

#[tokio::test]
async fn a_killed_supervisor_leaves_no_process_and_down_purge_no_file() {
    let (home, processes) = Switch::new().await.kill_supervisor().await;
    eventually("every child has followed", Duration::from_secs(30), async || {
        processes.iter().all(|(_, pid)| !is_alive(*pid)).then_some(())
    })
    .await;
    let switch = home.up(&["--no-payment"]).await;
    let (worked, said) = switch.home.run(&["down", "--purge"]).await;
    assert!(worked, "{said}");
    assert!(!switch.home.dir().exists(), "{said}");
}

#[tokio::test]
async fn down_purge_after_a_kill_removes_no_data_under_a_running_child() {
    let switch = Switch::new().await;
    // One that does not follow.
    let stuck = switch.pid(&A.process()).await;
    signal("STOP", stuck).await;
    let (home, processes) = switch.kill_supervisor().await;
    let (worked, said) = home.run(&["down", "--purge"]).await;
    assert!(worked && said.contains("waiting for what it left"), "{said}");
    for (name, pid) in processes {
        assert!(!is_alive(pid), "{name} (pid {pid}): {said}");
    }
    assert!(!home.dir().exists(), "{said}");
}

/// curl, as an outside bank's engineer would try it: the status of a GET, or nothing when TLS failed.
async fn curl(identity: &[&str], switch: &Switch, files: &std::path::Path, path: &str) -> Option<String> {
    let out = Command::new("curl")
        .current_dir(files)
        .args([
            "--silent",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--cacert",
            "ca.crt",
        ])
        .args(identity)
        .arg(format!("https://localhost:{}{path}", switch.home.port(4002)))
        .output()
        .await
        .expect("curl is installed by make test");
    out.status
        .success()
        .then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

#[tokio::test]
async fn an_outside_bank_joins_a_running_switch_with_its_files() {
    let switch = Switch::new().await;
    let files = tempfile::tempdir().expect("a folder can be made");
    let out = files.path().display().to_string();
    let arguments = [
        "pki",
        "participant",
        "--ispb",
        "33333333",
        "--out",
        &out,
        "--balance",
        "750.00",
    ];
    let (worked, said) = switch.home.run(&arguments).await;
    assert!(worked, "{said}");

    eventually("it has a Conta PI", Duration::from_secs(15), async || {
        let book = switch.http.get(switch.ops_port(), "/accounts").await.ok()?.body;
        let conta = book["accounts"]
            .as_array()?
            .iter()
            .find(|conta| conta["ispb"] == "33333333")?
            .clone();
        (conta["available"] == "750.00").then_some(())
    })
    .await;
    let identity = ["--cert", "channel.crt", "--key", "channel.key"];
    let own = curl(
        &identity,
        &switch,
        files.path(),
        "/api/v1/out/33333333/stream/start",
    )
    .await;
    assert_eq!(own.as_deref(), Some("204"), "nothing waits for it yet");
    let foreign = curl(
        &identity,
        &switch,
        files.path(),
        "/api/v1/out/11111111/stream/start",
    )
    .await;
    assert_eq!(
        foreign.as_deref(),
        Some("403"),
        "another bank's stream is closed to it"
    );
    assert_eq!(
        curl(&[], &switch, files.path(), "/api/v1/out/33333333/stream/start").await,
        None,
        "no certificate, no TLS"
    );
    switch.stop().await;
}
