//! What people and programs of the bank use: JSON, events and one page. Plain HTTP, on loopback unless
//! configured otherwise; the switch never comes this way.

mod accounts;
mod events;
mod here;
mod keys;
mod lookup;
mod payments;
mod problem;
mod request;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use pix_domain::Ispb;
use pix_runtime::{Clock, Ids, Stopping};
use serde::Serialize;

use crate::adapters::pg::Reader;
use crate::dict::Directory;
use crate::icom::Trying;
use crate::writer::{Bells, Bookkeeper};

/// Octets of an order.
const BODY_MAX: usize = 16 * 1024;

/// The page: one file, no other host.
static PAGE: &str = include_str!("../page/index.html");
static PAGE_POLICY: &str = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; \
                            script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; \
                            frame-ancestors 'none'";

/// What handlers need.
pub(crate) struct App {
    pub(crate) about: About,
    pub(crate) store: Reader,
    pub(crate) books: Bookkeeper,
    pub(crate) bells: Bells,
    pub(crate) trying: Trying,
    pub(crate) directory: Directory,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) ids: Ids,
    pub(crate) stopping: Stopping,
}

/// Who this bank is.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) ispb: Ispb,
    pub(crate) name: String,
    pub(crate) color: String,
}

/// Every route of the bank but those of operations.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/api/bank", get(bank))
        .route("/api/accounts", get(accounts::list))
        .route("/api/indirect", get(accounts::indirect))
        .route("/api/accounts/{branch}/{number}/entries", get(accounts::entries))
        .route(
            "/api/accounts/{branch}/{number}/contacts",
            get(keys::contacts).post(keys::confirm),
        )
        .route("/api/keys", get(keys::list).post(keys::register))
        .route("/api/keys/{key}", get(keys::show).delete(keys::remove))
        .route("/api/keys/{key}/lookup", post(lookup::look_up))
        .route("/api/totals", get(accounts::totals))
        .route("/api/payments", post(payments::pay))
        .route("/api/payments/{end_to_end_id}", get(payments::show))
        .route("/api/events", get(events::stream))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(axum::middleware::from_fn(here::guard))
        .with_state(app)
}

#[derive(Serialize)]
struct BankView<'a> {
    ispb: &'a str,
    name: &'a str,
    color: &'a str,
    version: &'static str,
}

async fn bank(State(app): State<Arc<App>>) -> impl IntoResponse {
    let About { ispb, name, color } = &app.about;
    let view = BankView {
        ispb: ispb.as_str(),
        name,
        color,
        version: env!("CARGO_PKG_VERSION"),
    };
    Json(view).into_response()
}

async fn page() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, PAGE)
}
