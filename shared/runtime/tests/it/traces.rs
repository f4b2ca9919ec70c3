//! Traces leave when an endpoint is configured, and never hold a process up.

use std::env;
use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use pix_runtime::telemetry::{LogFormat, LogLevel, init};

const ENDPOINT: &str = "PIX_TEST_OTLP";

/// Not a test: a process that makes one span and ends.
#[test]
#[ignore = "started by the other test of this file"]
fn process_with_traces() {
    let Some(endpoint) = env::var_os(ENDPOINT) else {
        return;
    };
    let telemetry = init("test", LogFormat::Json, &LogLevel::default(), endpoint.to_str()).unwrap();
    tracing::info_span!("payment", payment.end_to_end_id = "E").in_scope(|| tracing::info!("paid"));
    telemetry.flush();
}

#[test]
fn spans_reach_for_the_collector_and_one_that_hangs_up_is_no_harm() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "traces::process_with_traces",
            "--ignored",
            "--nocapture",
        ])
        .env(ENDPOINT, format!("http://{}", collector.local_addr().unwrap()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stream, _) = collector.accept().unwrap();
    let mut preface = [0; 14];
    stream.read_exact(&mut preface).unwrap();
    assert_eq!(&preface, b"PRI * HTTP/2.0");
    drop((stream, collector));
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success());
    let log = String::from_utf8(ended.stderr).unwrap();
    assert!(log.contains("\"message\":\"paid\""), "{log}");
}
