//! What an operator, or an integrator's test, asks and tells: JSON on loopback.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use pix_domain::EndToEndId;
use pix_runtime::problem::Problem;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::app::{App, Fate};
use crate::pay::{Asked, Request};
use crate::script::Rule;

/// A body: all rules there may be fit.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long an order is brought to the switch: whoever asked waits.
const PAY_WITHIN: Duration = Duration::from_secs(8);

/// The routes beside health and metrics.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/rules", get(rules).put(replace_rules).post(add_rule))
        .route("/pay", post(pay))
        .route("/payments/{end_to_end_id}", get(payment))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

type Answer = Result<Response, Problem>;

/// A problem as the answer it is.
struct Refused(Problem);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.0.to_json().map(axum::body::Body::new)
    }
}

async fn status(State(app): State<Arc<App>>) -> Response {
    let participants: Vec<_> = app
        .participants
        .iter()
        .map(|one| {
            let indirect: Vec<_> = one.indirect.iter().map(ToString::to_string).collect();
            json!({ "ispb": one.ispb.to_string(), "indirect": indirect })
        })
        .collect();
    Json(json!({
        "service": "virtual",
        "version": env!("CARGO_PKG_VERSION"),
        "participants": participants,
        "sandbox_rules": app.script().rules().len(),
    }))
    .into_response()
}

async fn rules(State(app): State<Arc<App>>) -> Json<Vec<Rule>> {
    Json(app.script().rules().to_vec())
}

async fn replace_rules(State(app): State<Arc<App>>, body: Bytes) -> Result<Json<Vec<Rule>>, Refused> {
    app.replace_rules(read(&body)?).map_err(|e| bad(e.to_string()))?;
    Ok(rules(State(app)).await)
}

async fn add_rule(State(app): State<Arc<App>>, body: Bytes) -> Result<Json<Vec<Rule>>, Refused> {
    app.add_rule(read(&body)?).map_err(|e| bad(e.to_string()))?;
    Ok(rules(State(app)).await)
}

async fn pay(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, Refused> {
    let request: Request = read::<Asked>(&body)?.try_into().map_err(bad)?;
    Ok(order(&app, &request).await?)
}

async fn order(app: &App, request: &Request) -> Answer {
    let from = request.from.unwrap_or(app.participants[0].ispb);
    let Some(who) = app.speaker(from) else {
        return Err(bad(format!(
            "from: {from} is no virtual participant; /status lists them"
        )));
    };
    let (id, now) = (app.message_id(who.ispb), app.now());
    let tx = request.order(from, now, app.chance());
    let end_to_end_id = tx.end_to_end_id;
    let message = who.order(id, now, &request.group(), &tx);
    app.memory().ordered(end_to_end_id, from, tx.amount, id, now);
    tracing::debug!(target: "payment", { payment.end_to_end_id = %end_to_end_id, message.id = %id }, "a payment is ordered");
    match app.post(who, request.channel(), message, PAY_WITHIN).await {
        Fate::Taken => {
            metrics::counter!("virtual_payments_total", "participant" => from.to_string()).increment(1);
            let body = Json(json!({ "end_to_end_id": end_to_end_id.as_str() }));
            Ok((StatusCode::ACCEPTED, body).into_response())
        }
        Fate::Refused(status) => Err(Problem::plain(
            StatusCode::BAD_GATEWAY,
            format!("the switch does not take the order: HTTP {status}"),
        )),
        Fate::Unknown => Err(Problem::plain(
            StatusCode::GATEWAY_TIMEOUT,
            format!("the switch has not confirmed the order; whether {end_to_end_id} happens, it will tell"),
        )),
    }
}

async fn payment(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Refused> {
    let id = EndToEndId::parse(id.as_bytes()).map_err(|e| bad(e.to_string()))?;
    let memory = app.memory();
    let unknown = || {
        let why = "the virtual participants have heard nothing of it since they started, or long ago";
        Problem::plain(StatusCode::NOT_FOUND, why)
    };
    Ok(Json(memory.payment(id).ok_or_else(unknown)?).into_response())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|e| bad(e.to_string()))
}

fn bad(why: impl Into<String>) -> Problem {
    Problem::plain(StatusCode::BAD_REQUEST, why)
}
