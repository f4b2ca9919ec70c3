//! Keeps other sites' pages out, although the person's browser can reach this bank.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::{HOST, HeaderName, ORIGIN};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::uri::Authority;

use super::problem::Refused;

/// Refuses what a page of another site had a browser send.
///
/// A site whose name is made to resolve to this address (DNS rebinding) is, to the browser, at home here:
/// it may read and post as our page does. Only the name in `Host` gives it away, and an address or
/// `localhost` is none that a site can have.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = one(headers, &HOST).or_else(|| request.uri().authority().map(Authority::as_str));
    let Some(host) = host.filter(|host| is_here(host)) else {
        let detail = "ask by IP address or as localhost: other names are not this bank's";
        return Refused::forbidden(detail).into_response();
    };
    // Programs send no Origin; a browser puts one on every POST.
    let foreign = headers.contains_key(ORIGIN)
        && one(headers, &ORIGIN).is_none_or(|origin| {
            let of = origin.strip_prefix("http://");
            !of.is_some_and(|of| of.eq_ignore_ascii_case(host))
        });
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && foreign {
        return Refused::forbidden("only this bank's own page may send orders from a browser")
            .into_response();
    }
    next.run(request).await
}

/// The header's value, when it is there exactly once and is text.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// An IP address or `localhost`, with or without a port.
fn is_here(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    !host.contains('@')
        && (name.eq_ignore_ascii_case("localhost") || bare.unwrap_or(name).parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_here() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:4101",
            "localhost:4101",
            "LOCALHOST",
            "[::1]:4101",
            "10.0.0.7",
        ] {
            assert!(is_here(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:4101",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "a@localhost",
        ] {
            assert!(!is_here(host), "{host}");
        }
    }
}
