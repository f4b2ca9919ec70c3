//! Starting, stopping, and living beside others.

use std::time::Duration;

use pix_testkit::eventually;

use crate::money::{Money, order, until_all_ended};
use crate::switch::{A, B, Home, Switch, is_alive};

#[tokio::test]
async fn two_instances_run_side_by_side() {
    let one = Switch::new().await;
    let two = Switch::new().await;
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
    switch.stop().await;
}

#[tokio::test]
async fn a_busy_port_is_named_with_the_way_out() {
    let home = Home::new();
    let port = home.port(4432);
    let _taken = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).expect("free");
    let (worked, said) = home.run(&["up"]).await;
    assert!(!worked, "{said}");
    assert!(
        said.contains(&format!("port {port} (postgres)")) && said.contains("--port-offset"),
        "{said}"
    );
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
