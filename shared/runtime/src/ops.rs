//! The ops listener of a service: plain HTTP on loopback, for operators and supervisors, never for banks.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;

use crate::Stopping;
use crate::telemetry::metrics_handle;

/// Named checks that a service sets; ready when all hold. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, bool>>>);

impl Readiness {
    /// These checks, none of which holds yet.
    #[must_use]
    pub fn of(checks: &[&'static str]) -> Self {
        Self(Arc::new(Mutex::new(
            checks.iter().map(|name| (*name, false)).collect(),
        )))
    }

    /// Says whether a check holds.
    pub fn set(&self, check: &'static str, holds: bool) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(check, holds);
    }

    /// Whether every check holds.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks().values().all(|holds| *holds)
    }

    fn checks(&self) -> BTreeMap<&'static str, bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// `/healthz` (the process answers), `/readyz` (200 or 503 and each check) and `/metrics` (Prometheus), for a
/// service that has a router of its own to merge them with.
pub fn routes(readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(readiness)
}

/// Serves [`routes`] and the service's own until the stop. Whoever serves them elsewhere has [`upkeep`] run.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    own: Router,
    stopping: Stopping,
) -> io::Result<()> {
    let app = routes(readiness).merge(own);
    let upkeep = tokio::spawn(upkeep(stopping.clone()));
    let served = axum::serve(listener, app)
        .with_graceful_shutdown(async move { stopping.stopped().await })
        .await;
    upkeep.abort();
    served
}

/// Keeps histograms small although nobody asks for them, until the stop.
pub async fn upkeep(stopping: Stopping) {
    const EVERY: Duration = Duration::from_secs(5);
    loop {
        tokio::select! {
            () = stopping.stopped() => return,
            () = tokio::time::sleep(EVERY) => metrics_handle().run_upkeep(),
        }
    }
}

async fn readyz(State(readiness): State<Readiness>) -> impl IntoResponse {
    let checks = readiness.checks();
    let ready = checks.values().all(|holds| *holds);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(serde_json::json!({ "ready": ready, "checks": checks })),
    )
}

async fn metrics() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4")],
        metrics_handle().render(),
    )
}
