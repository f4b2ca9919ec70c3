//! Questions of operators, in JSON on the ops listener: Conta PI balances, one payment, the state of things; and the
//! script of the sandbox.

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use pix_domain::EndToEndId;
use pix_participants::Standing;
use pix_runtime::problem::Problem;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::adapters::pg::StoreError;
use crate::adapters::pg_views;
use crate::book::Figures;
use crate::handed::HandedOver;
use crate::registry::Current;
use crate::sandbox::{RuleText, Script, ScriptRefusal};

/// A whole script, in octets.
const SCRIPT_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone)]
struct Ops {
    pool: PgPool,
    registry: Current,
    standing: Standing,
    figures: watch::Receiver<Figures>,
    handed: HandedOver,
    script: Script,
}

/// The routes beside health and metrics.
pub(crate) fn routes(
    pool: PgPool,
    registry: Current,
    standing: Standing,
    figures: watch::Receiver<Figures>,
    handed: HandedOver,
    script: Script,
) -> Router {
    Router::new()
        .route("/accounts", get(accounts))
        .route("/payments/{end_to_end_id}", get(payment))
        .route("/status", get(status))
        .route("/sandbox", get(sandbox).put(set_sandbox).delete(clear_sandbox))
        .layer(DefaultBodyLimit::max(SCRIPT_BYTES_MAX))
        .with_state(Ops {
            pool,
            registry,
            standing,
            figures,
            handed,
            script,
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
    match pg_views::payment(&ops.pool, &ops.handed, id).await {
        Ok(view) => Json(view).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn status(State(ops): State<Ops>) -> Response {
    let figures = *ops.figures.borrow();
    let (registry, standing) = (ops.registry.load(), ops.standing.now());
    let rules = ops.script.rules();
    Json(serde_json::json!({
        "service": "spi",
        "version": env!("CARGO_PKG_VERSION"),
        "participants": registry.directory.iter().count(),
        "participants_version": registry.directory.version(),
        "participants_source": standing.origin,
        "participants_registry": standing.registry,
        "participants_followed": standing.followed,
        "participants_fault": standing.fault,
        "open_payments": figures.open_payments,
        "batch": figures.last_batch,
        "seq": figures.last_seq,
        "sandbox": rules.is_some(),
        "sandbox_rules": rules.unwrap_or_default(),
    }))
    .into_response()
}

/// `GET /sandbox`: the rules that still act, with the times that are left.
async fn sandbox(State(ops): State<Ops>) -> Response {
    match ops.script.rules() {
        Some(rules) => Json(rules).into_response(),
        None => sandbox_is_off(),
    }
}

/// `PUT /sandbox`: these rules instead of those there are.
async fn set_sandbox(State(ops): State<Ops>, body: Bytes) -> Response {
    if ops.script.rules().is_none() {
        return sandbox_is_off();
    }
    match serde_json::from_slice::<Vec<RuleText>>(&body) {
        Ok(rules) => script(&ops, &rules),
        Err(error) => {
            let detail = format!("a script is a JSON list of rules: {error}");
            problem(&Problem::plain(StatusCode::BAD_REQUEST, detail))
        }
    }
}

/// `DELETE /sandbox`: no rules.
async fn clear_sandbox(State(ops): State<Ops>) -> Response {
    script(&ops, &[])
}

fn script(ops: &Ops, rules: &[RuleText]) -> Response {
    match ops.script.set(rules) {
        Ok(()) => Json(ops.script.rules()).into_response(),
        Err(ScriptRefusal::Off) => sandbox_is_off(),
        Err(ScriptRefusal::Fault(why)) => problem(&Problem::plain(StatusCode::BAD_REQUEST, why)),
    }
}

fn sandbox_is_off() -> Response {
    problem(&Problem::plain(
        StatusCode::FORBIDDEN,
        "start spi with sandbox=true",
    ))
}

fn unavailable(error: &StoreError) -> Response {
    tracing::warn!(%error, "a question could not be answered");
    let detail = "the database cannot be asked at present; try again";
    problem(&Problem::plain(StatusCode::SERVICE_UNAVAILABLE, detail))
}

fn problem(problem: &Problem) -> Response {
    problem.to_json().map(axum::body::Body::new).into_response()
}
