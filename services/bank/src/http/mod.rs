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
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
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

/// The page: three files, no other host, nothing inline.
static PAGE: &str = include_str!("../page/index.html");
static STYLE: &str = include_str!("../page/page.css");
static SCRIPT: &str = include_str!("../page/page.js");
static PAGE_POLICY: &str = "default-src 'none'; connect-src 'self'; style-src 'self'; script-src 'self'; img-src data:; \
                            base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

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
        .route("/", get(async || file("text/html; charset=utf-8", PAGE)))
        .route("/page.css", get(async || file("text/css; charset=utf-8", STYLE)))
        .route(
            "/page.js",
            get(async || file("text/javascript; charset=utf-8", SCRIPT)),
        )
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

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}

#[cfg(test)]
mod tests {
    use super::{PAGE, SCRIPT};

    /// What stands between `before` and the next quotation mark, wherever it does.
    fn quoted<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
        let rest = text.split(before).skip(1);
        rest.filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn every_word_of_the_page_is_in_its_table() {
        let written = [
            quoted(PAGE, "data-t=\""),
            quoted(PAGE, "data-label=\""),
            quoted(SCRIPT, " t(\""),
            quoted(SCRIPT, "(t(\""),
        ]
        .concat();
        assert!(written.len() > 50, "{}", written.len());
        for word in written {
            assert!(SCRIPT.contains(&format!(" {word}: [")), "{word}");
        }
    }
}
