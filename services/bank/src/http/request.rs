//! What every request with a body is read by.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bank_core::OrderKey;
use serde::de::DeserializeOwned;

use super::problem::Refused;

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The body, as JSON.
pub(super) fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Refused> {
    // A page of another origin must ask before it sends this type (CORS); one whose name was made to point
    // here need not, and is kept out by its name (see `here`).
    let kind = header(headers, CONTENT_TYPE.as_str());
    if !kind.is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(Refused::bad_request(
            "send the order as Content-Type: application/json",
        ));
    }
    serde_json::from_slice(body)
        .map_err(|e| Refused::bad_request(format!("the order is not as documented: {e}")))
}

/// The caller's own name for what it asks, if it gave one.
pub(super) fn order_key(headers: &HeaderMap) -> Result<Option<OrderKey>, Refused> {
    const NAME: &str = "idempotency-key";
    if !headers.contains_key(NAME) {
        return Ok(None);
    }
    let key = header(headers, NAME).and_then(|key| OrderKey::parse(key).ok());
    let key =
        key.ok_or_else(|| Refused::bad_request("an Idempotency-Key is 1 to 80 visible ASCII characters"))?;
    Ok(Some(key))
}

/// One field is wrong; `rule` says what it has to be.
pub(super) fn field(name: &str, rule: impl std::fmt::Display) -> Refused {
    Refused::bad_request(format!("{name}: {rule}"))
}
