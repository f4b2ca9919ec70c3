//! Questions of operators, in JSON on the ops listener: Conta PI balances, one payment, the state of things.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use pix_domain::EndToEndId;
use pix_runtime::problem::Problem;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::adapters::pg::StoreError;
use crate::adapters::pg_views;
use crate::book::Figures;
use crate::registry::Current;

#[derive(Clone)]
struct Ops {
    pool: PgPool,
    registry: Current,
    figures: watch::Receiver<Figures>,
}

/// The routes beside health and metrics.
pub(crate) fn routes(pool: PgPool, registry: Current, figures: watch::Receiver<Figures>) -> Router {
    Router::new()
        .route("/accounts", get(accounts))
        .route("/payments/{end_to_end_id}", get(payment))
        .route("/status", get(status))
        .with_state(Ops {
            pool,
            registry,
            figures,
        })
}

async fn accounts(State(ops): State<Ops>) -> Response {
    let registry = ops.registry.load();
    let name = |ispb: &str| {
        let ispb = pix_domain::Ispb::parse(ispb.as_bytes()).ok()?;
        registry
            .directory
            .by_ispb(ispb)
            .map(|participant| participant.name.clone())
    };
    match pg_views::accounts(&ops.pool).await {
        Ok(accounts) => {
            let accounts: Vec<_> = accounts
                .into_iter()
                .map(|account| {
                    serde_json::json!({
                        "name": name(&account.ispb),
                        "ispb": account.ispb,
                        "available": account.available,
                        "blocked": account.blocked,
                    })
                })
                .collect();
            Json(serde_json::json!({ "accounts": accounts })).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

async fn payment(State(ops): State<Ops>, Path(id): Path<String>) -> Response {
    let Ok(id) = EndToEndId::parse(id.as_bytes()) else {
        let detail =
            "an EndToEndId is E, 8 characters of an ISPB, a minute yyyyMMddHHmm and 11 alphanumerics";
        return problem(&Problem::plain(StatusCode::BAD_REQUEST, detail));
    };
    match pg_views::payment(&ops.pool, id).await {
        Ok(view) => Json(view).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn status(State(ops): State<Ops>) -> Response {
    let figures = *ops.figures.borrow();
    let registry = ops.registry.load();
    Json(serde_json::json!({
        "service": "spi",
        "version": env!("CARGO_PKG_VERSION"),
        "participants": registry.directory.iter().count(),
        "participants_version": registry.directory.version(),
        "open_payments": figures.open_payments,
        "batch": figures.last_batch,
        "seq": figures.last_seq,
    }))
    .into_response()
}

fn unavailable(error: &StoreError) -> Response {
    tracing::warn!(%error, "a question could not be answered");
    let detail = "the database cannot be asked at present; try again";
    problem(&Problem::plain(StatusCode::SERVICE_UNAVAILABLE, detail))
}

fn problem(problem: &Problem) -> Response {
    problem.to_json().map(axum::body::Body::new).into_response()
}
