//! Tasks live and die together, signals end them in good order.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use pix_runtime::{Lifecycle, Stopping};

const GRACE: Duration = Duration::from_secs(20);

async fn until_stopped(stopping: Stopping) {
    stopping.stopped().await;
}

#[tokio::test]
async fn the_end_of_any_task_stops_all_and_is_a_failure() {
    let mut lifecycle = Lifecycle::new(GRACE);
    let stopping = lifecycle.stopping();
    lifecycle.spawn("patient", until_stopped(stopping.clone()));
    lifecycle.spawn("failing", async { Err::<(), _>("no luck") });
    assert_eq!(lifecycle.run().await, ExitCode::FAILURE);
    assert!(stopping.is_stopped());
}

#[tokio::test]
async fn a_panic_is_such_an_end() {
    let mut lifecycle = Lifecycle::new(GRACE);
    lifecycle.spawn("patient", until_stopped(lifecycle.stopping()));
    let broken: fn() = || panic!("a bug");
    lifecycle.spawn("broken", async move { broken() });
    assert_eq!(lifecycle.run().await, ExitCode::FAILURE);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_stop_is_aborted_after_the_grace() {
    let mut lifecycle = Lifecycle::new(GRACE);
    lifecycle.spawn("deaf", std::future::pending::<()>());
    lifecycle.spawn("short", async {});
    assert_eq!(lifecycle.run().await, ExitCode::FAILURE);
}

/// Not a test: a service that the next test ends by signals.
#[test]
#[ignore = "started by signals_stop_in_good_order"]
fn service_that_waits_for_a_signal() {
    let Some(how) = env::var_os("PIX_TEST_LIFECYCLE") else {
        return;
    };
    let code = pix_runtime::build_runtime().unwrap().block_on(async {
        let mut lifecycle = Lifecycle::new(GRACE);
        lifecycle.spawn("patient", until_stopped(lifecycle.stopping()));
        if how == "deaf" {
            lifecycle.spawn("deaf", std::future::pending::<()>());
        }
        // Polled once so that signals are handled before the parent is told.
        let mut run = std::pin::pin!(lifecycle.run());
        tokio::select! { biased; _ = run.as_mut() => {}, () = std::future::ready(()) => {} }
        eprintln!("ready");
        run.await
    });
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

#[test]
fn signals_stop_in_good_order() {
    for (how, signals, code) in [
        ("good", &["TERM"][..], 0),
        ("good", &["INT"], 0),
        ("deaf", &["TERM", "TERM"], 1),
    ] {
        let mut service = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "lifecycle::service_that_waits_for_a_signal",
                "--ignored",
                "--nocapture",
            ])
            .env("PIX_TEST_LIFECYCLE", how)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(service.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        assert!(said.any(|line| line == "ready"));
        let pid = service.id().to_string();
        let status = loop {
            for signal in signals {
                Command::new("kill")
                    .args([&format!("-{signal}"), &pid])
                    .stderr(Stdio::null())
                    .status()
                    .unwrap();
            }
            // Two equal signals sent at once may arrive as one: a person asks again, too.
            match service.try_wait().unwrap() {
                Some(status) => break status,
                None if how == "deaf" => std::thread::yield_now(),
                None => break service.wait().unwrap(),
            }
        };
        assert_eq!(status.code(), Some(code), "{how} {signals:?}");
    }
}
