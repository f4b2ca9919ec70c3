//! Questions of operators, in JSON on the ops listener: the state of things, counts of entries.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use pix_domain::Ispb;
use pix_participants::Standing;
use pix_runtime::outbox;
use pix_runtime::problem::Problem;
use sqlx::PgPool;

use crate::adapters::pg::StoreError;
use crate::adapters::pg_views;
use crate::registry::Current;

#[derive(Clone)]
struct Ops {
    pool: PgPool,
    registry: Current,
    standing: Standing,
}

/// The routes beside health and metrics.
pub(crate) fn routes(pool: PgPool, registry: Current, standing: Standing) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/participants/{ispb}", get(participant))
        .with_state(Ops {
            pool,
            registry,
            standing,
        })
}

async fn status(State(ops): State<Ops>) -> Response {
    let (registry, standing) = (ops.registry.load(), ops.standing.now());
    match outbox::waiting(&ops.pool).await.map_err(StoreError::from) {
        Ok(events) => Json(serde_json::json!({
            "service": "dict",
            "version": env!("CARGO_PKG_VERSION"),
            "participants": registry.iter().count(),
            "participants_version": registry.version(),
            "participants_source": standing.origin,
            "participants_registry": standing.registry,
            "participants_followed": standing.followed,
            "participants_fault": standing.fault,
            "events_waiting": events,
        }))
        .into_response(),
        Err(error) => unavailable(&error),
    }
}

/// How many keys a participant has, by kind, and the VSync of each: never a key.
async fn participant(State(ops): State<Ops>, Path(ispb): Path<String>) -> Response {
    let Ok(ispb) = Ispb::parse(ispb.as_bytes()) else {
        return problem(&Problem::plain(
            StatusCode::BAD_REQUEST,
            "an ISPB is 8 of 0-9 and A-Z",
        ));
    };
    match pg_views::sets(&ops.pool, ispb).await {
        Ok(sets) => Json(serde_json::json!({ "ispb": ispb.to_string(), "sets": sets })).into_response(),
        Err(error) => unavailable(&error),
    }
}

fn unavailable(error: &StoreError) -> Response {
    tracing::warn!(%error, "a question could not be answered");
    let detail = "the database cannot be asked at present; try again";
    problem(&Problem::plain(StatusCode::SERVICE_UNAVAILABLE, detail))
}

fn problem(problem: &Problem) -> Response {
    problem.to_json().map(axum::body::Body::new).into_response()
}
