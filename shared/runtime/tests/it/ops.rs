//! What operators and supervisors ask.

use axum::Router;
use axum::routing::get;
use pix_runtime::ops::{self, Readiness};
use pix_runtime::{StopSwitch, telemetry};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A plain request; the whole answer.
pub(crate) async fn ask(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn health_readiness_metrics_and_the_services_own_routes() {
    let _telemetry = telemetry::init(
        "test",
        telemetry::LogFormat::Text,
        &"error".parse().unwrap(),
        None,
    )
    .unwrap();
    let readiness = Readiness::of(&["database", "clock"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = StopSwitch::new();
    let own = Router::new().route("/status", get(|| async { "own" }));
    let served = tokio::spawn(ops::serve(listener, readiness.clone(), own, stopping));

    assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(ask(address, "/status").await.ends_with("own"));
    readiness.set("database", true);
    let answer = ask(address, "/readyz").await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("\"clock\":false"),
        "{answer}"
    );
    readiness.set("clock", true);
    assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    metrics::counter!("orders_total").increment(3);
    metrics::histogram!("commit_seconds").record(0.002);
    let answer = ask(address, "/metrics").await;
    assert!(
        answer.contains("orders_total 3") && answer.contains("commit_seconds_bucket{le=\"0.0025\"} 1"),
        "{answer}"
    );

    stop.stop();
    served.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
