//! Questions of operators, in JSON on the ops listener: who takes part, how the service is.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use pix_domain::{Ispb, Money};
use pix_runtime::outbox;
use pix_runtime::problem::Problem;
use serde_json::{Value, json};
use settlement_core::certificate::Certificate;
use settlement_core::funding::Outcome;
use settlement_core::registry::Participant;
use sqlx::PgPool;

use crate::adapters::pg::{StoreError, in_time};
use crate::adapters::pg_funding::Recorded;
use crate::adapters::{pg_funding, pg_registry};
use crate::registry::Registrar;

/// Orders of a list.
const ORDERS_MAX: u32 = 100;

#[derive(Clone)]
struct Ops {
    pool: PgPool,
    registrar: Arc<Registrar>,
}

/// The routes beside health and metrics.
pub(crate) fn routes(pool: PgPool, registrar: Arc<Registrar>) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/participants", get(participants))
        .route("/participants/{ispb}", get(participant))
        .route("/participants/{ispb}/changes", get(changes))
        .route("/funding", get(funding))
        .with_state(Ops { pool, registrar })
}

async fn status(State(ops): State<Ops>) -> Response {
    let registry = ops.registrar.current();
    let waiting = in_time(async {
        let events = outbox::waiting(&ops.pool).await?;
        Ok::<_, StoreError>((events, pg_funding::pending(&ops.pool).await?))
    });
    match waiting.await {
        Ok((events, orders)) => Json(json!({
            "service": "settlement",
            "version": env!("CARGO_PKG_VERSION"),
            "registry": ops.registrar.id(),
            "registry_version": registry.version(),
            "participants": registry.iter().count(),
            "events_waiting": events,
            "funding_pending": orders,
        }))
        .into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn participants(State(ops): State<Ops>) -> Response {
    let registry = ops.registrar.current();
    let participants: Vec<_> = registry.iter().map(|one| view(one)).collect();
    Json(json!({
        "registry": ops.registrar.id(),
        "version": registry.version(),
        "participants": participants,
    }))
    .into_response()
}

async fn participant(State(ops): State<Ops>, Path(ispb): Path<String>) -> Response {
    let known = Ispb::parse(ispb.as_bytes()).ok();
    match known.and_then(|ispb| ops.registrar.get(ispb)) {
        Some(known) => Json(view(&known)).into_response(),
        None => problem(&Problem::plain(StatusCode::NOT_FOUND, "nobody has this ISPB")),
    }
}

/// Who changed a participant, when and how; newest first.
async fn changes(State(ops): State<Ops>, Path(ispb): Path<String>) -> Response {
    let Ok(ispb) = Ispb::parse(ispb.as_bytes()) else {
        return problem(&Problem::plain(StatusCode::NOT_FOUND, "nobody has this ISPB"));
    };
    match in_time(pg_registry::audit(&ops.pool, ispb)).await {
        Ok(ordered) => {
            let ordered = ordered.iter().map(|change| {
                json!({
                    "version": change.version,
                    "at": change.at.to_string(),
                    "kind": change.kind,
                    "ordered_by": change.ordered_by,
                    "reason": change.reason,
                })
            });
            Json(json!({ "changes": ordered.collect::<Vec<_>>() })).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

/// The newest orders.
async fn funding(State(ops): State<Ops>) -> Response {
    match in_time(pg_funding::newest(&ops.pool, None, ORDERS_MAX)).await {
        Ok(orders) => {
            let orders: Vec<_> = orders.iter().map(order).collect();
            Json(json!({ "orders": orders })).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

fn order(recorded: &Recorded) -> Value {
    let order = &recorded.order;
    let (state, reason, available) = match &recorded.outcome {
        None => ("ORDERED", None, None),
        Some(Outcome::Done { available, .. }) => ("DONE", None, Some(available)),
        Some(Outcome::Refused { reason }) => ("REFUSED", Some(reason), None),
    };
    json!({
        "id": order.id.to_string(),
        "ispb": order.ispb.to_string(),
        "amount_centavos": order.amount.centavos(),
        "note": order.note.as_str(),
        "opening": order.is_opening,
        "ordered_by": recorded.ordered_by,
        "ordered_at": recorded.ordered_at.to_string(),
        "state": state,
        "reason": reason,
        "available_centavos": available,
    })
}

fn view(known: &Participant) -> Value {
    let certificates: Vec<_> = known.certificates.iter().map(certificate).collect();
    json!({
        "ispb": known.ispb.to_string(),
        "name": known.name.as_str(),
        "settler": known.settler.to_string(),
        "direct": known.is_direct(),
        "category": known.category.as_str(),
        "state": known.state.as_str(),
        "low_liquidity_centavos": known.low_liquidity.map(Money::to_i64),
        "version": known.version,
        "certificates": certificates,
    })
}

fn certificate(known: &Certificate) -> Value {
    let revoked = known.revoked.as_ref();
    json!({
        "use": known.usage.as_str(),
        "fingerprint": known.fingerprint.to_string(),
        "not_before": known.not_before.to_string(),
        "not_after": known.not_after.to_string(),
        "revoked_at": revoked.map(|revoked| revoked.at.to_string()),
        "revoked_reason": revoked.map(|revoked| revoked.reason.as_str()),
    })
}

pub(crate) fn unavailable(error: &StoreError) -> Response {
    tracing::warn!(%error, "a question could not be answered");
    let detail = "the database cannot be asked at present; try again";
    problem(&Problem::plain(StatusCode::SERVICE_UNAVAILABLE, detail))
}

pub(crate) fn problem(problem: &Problem) -> Response {
    problem.to_json().map(axum::body::Body::new).into_response()
}
