//! Windows and balances for operators, in JSON on the ops listener.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use pix_runtime::problem::Problem;
use serde::Deserialize;
use serde_json::{Value, json};
use settlement_core::windows::{Centavos, Tally};
use sqlx::PgPool;

use crate::adapters::pg_windows::{self, Shown};
use crate::balances::Balances;
use crate::grpc::windows::wanted;
use crate::ops::{problem, unavailable};

#[derive(Clone)]
struct Ops {
    pool: PgPool,
    balances: Balances,
}

/// The routes of windows and balances.
pub(crate) fn routes(pool: PgPool, balances: Balances) -> Router {
    Router::new()
        .route("/windows", get(windows))
        .route("/windows/{number}", get(window))
        .route("/balances", get(all_balances))
        .with_state(Ops { pool, balances })
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    settlement_date: String,
    #[serde(default)]
    limit: i64,
}

/// `GET /windows?settlement_date=2026-11-21&limit=5`: newest first, without their positions.
async fn windows(State(ops): State<Ops>, Query(asked): Query<Asked>) -> Response {
    let wanted = match wanted(&asked.settlement_date, asked.limit) {
        Ok(wanted) => wanted,
        Err(why) => return problem(&Problem::plain(StatusCode::BAD_REQUEST, why)),
    };
    match pg_windows::list(&ops.pool, wanted).await {
        Ok(shown) => {
            let windows: Vec<_> = shown.iter().map(head).collect();
            Json(json!({ "windows": windows })).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

/// `GET /windows/7`, or 0 for the one in which settlements are counted at present.
async fn window(State(ops): State<Ops>, Path(number): Path<i64>) -> Response {
    match pg_windows::find(&ops.pool, number).await {
        Ok(Some(shown)) => Json(whole(&shown)).into_response(),
        Ok(None) => problem(&Problem::plain(StatusCode::NOT_FOUND, "there is no such window")),
        Err(error) => unavailable(&error),
    }
}

async fn all_balances(State(ops): State<Ops>) -> Response {
    let (_, balances) = ops.balances.after(0);
    let balances: Vec<_> = balances
        .iter()
        .map(|balance| {
            json!({
                "ispb": balance.ispb.to_string(),
                "available": reais(balance.available),
                "blocked": reais(balance.blocked),
                "low": balance.is_low,
            })
        })
        .collect();
    // Not current: the SPI is away, and they are those of the moment at which it went.
    Json(json!({ "current": ops.balances.is_current(), "balances": balances })).into_response()
}

fn head(shown: &Shown) -> Value {
    let window = &shown.window;
    let proof = shown.proof.as_ref().map(|(proof, proven_at)| {
        json!({
            "holds": proof.holds(),
            "net_sum": reais(proof.net_sum),
            "first_sequence": proof.first_sequence,
            "last_sequence": proof.last_sequence,
            "book": tally(proof.book),
            "differences": proof.differences,
            "proven_at": proven_at.to_string(),
        })
    });
    json!({
        "number": window.number,
        "settlement_date": window.settlement_date(),
        "state": shown.state.as_str(),
        "opened_at": window.opened_at.to_string(),
        "ends_at": window.ends_at.to_string(),
        "book": window.book,
        "after_batch": window.after_batch,
        "to_batch": window.to_batch,
        "gross": tally(window.gross),
        "proof": proof,
    })
}

fn whole(shown: &Shown) -> Value {
    let positions: Vec<_> = shown
        .positions
        .iter()
        .map(|(ispb, position)| {
            json!({
                "ispb": ispb.to_string(),
                "sent": tally(position.sent),
                "received": tally(position.received),
                "returned": tally(position.returned),
                "net": reais(position.net()),
            })
        })
        .collect();
    let mut view = head(shown);
    view["positions"] = Value::Array(positions);
    view
}

fn tally(tally: Tally) -> Value {
    json!({ "amount": reais(tally.centavos), "count": tally.count })
}

fn reais(centavos: i64) -> String {
    Centavos(centavos.into()).to_string()
}
