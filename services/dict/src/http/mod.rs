//! The DICT API, version 2: bytes in, one call inward, bytes out.
//!
//! A request passes, in this order: the participant of the channel's certificate; a place among the requests under
//! way; its route; its bucket; its body and signature; the participants that it names; its reason; its fields; what was asked before; the rules of the
//! directory. The first that refuses is the one answered.
//!
//! Where the document leaves it open:
//!
//! - The document's types of problems are the only ones. What HTTP has a status for goes under that status as
//!   `BadRequest`: 404 for a path that is none of the document's (`NotFound` is only said of what a path names), 405,
//!   408, 413, and 415 for another type, charset or coding of a body. A path of the document that is not built is 501
//!   `ServiceUnavailable`.
//! - A key on a path that has the form of no key is `BadRequest`; a CPF or CNPJ whose check digits are wrong is
//!   nobody's: `NotFound`, and it costs what that costs. In a path `+` is a plus.
//! - A participant speaks for itself and for those that it settles: for others `Forbidden`, for unknown or inactive
//!   ones `ParticipantInvalid`. Buckets of reads are those of `PI-RequestingParticipant`, buckets of writes those of
//!   the channel's participant, whose body is not read yet.
//! - An entry that another participant holds is neither changed nor removed: `Forbidden`, also when the body's
//!   `Participant` is not the entry's.
//! - An update with the same data changes nothing, tells nothing, and is answered 200.
//! - When the answer to a COMMIT is lost, or something of ours is broken, it is 500 `InternalServerError`: the request
//!   may have been carried out, and a createEntry is repeated with its RequestId. 503 means that nothing was done.
//! - A request is given up, and leaves nothing, when its participant goes away or when it has not come as far as its
//!   COMMIT [`REQUEST_WITHIN`] after its head: whoever asks again is not overtaken by what it gave up.
//! - Answers are signed, problems too, but for what is said before any work is done: 429, 503, and 403 to a channel that
//!   is no participant's.

mod door;
mod entries;
mod keys;
mod policies;
pub(crate) mod problem;
mod request;
mod respond;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dict_core::buckets::Policy;
use futures::FutureExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use pix_dict_api::ProblemKind;
use pix_domain::{Category, Ispb};
use pix_runtime::Clock as _;
use pix_runtime::http::{Handler, Peer};
use tokio::time::Instant;
use tracing::Instrument as _;

pub(crate) use self::door::Door;
use self::door::Place;
use self::problem::Refusal;
use self::respond::Reply;
use crate::app::App;
use crate::buckets::Ask;
use crate::directory::Turn;

/// From a request's head to its COMMIT. Shorter than participants wait (5 s), so that none asks again while the first
/// request may still begin.
const REQUEST_WITHIN: Duration = Duration::from_secs(4);

/// Which of the two hosts a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// `dict`, `/api/v2/`.
    Main,
    /// `dict-np`, `/api-np/v2/`.
    Np,
}

/// The direct participant whose channel a request came by.
#[derive(Clone, Copy, Debug)]
struct Caller {
    ispb: Ispb,
    category: Category,
    /// When its request is given up.
    by: Instant,
}

/// One host's face.
pub(crate) struct Face {
    pub(crate) app: Arc<App>,
    pub(crate) host: Host,
}

impl Handler for Face {
    async fn handle(&self, request: Request<Incoming>, peer: Arc<Peer>) -> Response<Full<Bytes>> {
        answer(Arc::clone(&self.app), self.host, request, peer).await
    }

    async fn dismissed(&self, peer: &Peer) {
        self.app.registry.forgotten(&peer.certificate.issuer_serial).await;
    }
}

/// Answers one request. Dropped when the participant goes away meanwhile; what panics in it is answered.
async fn answer(
    app: Arc<App>,
    host: Host,
    request: Request<Incoming>,
    peer: Arc<Peer>,
) -> Response<Full<Bytes>> {
    let accepts_gzip = respond::accepts_gzip(request.headers());
    let response = match let_in(&app, &peer) {
        Ok((caller, _place)) => {
            let work = carry_out(&app, host, request, caller);
            match Box::pin(guarded(work)).await {
                Ok(reply) => respond::done(reply),
                Err(refusal) => respond::refused(&app, refusal).await,
            }
        }
        Err(refusal) => respond::turned_away(&app, &refusal),
    };
    respond::finish(response, accepts_gzip, app.keep_alive)
}

/// Who asks, and its place among the requests under way.
fn let_in(app: &App, peer: &Peer) -> Result<(Caller, Place), Refusal> {
    if peer.is_surplus {
        metrics::counter!("dict_turned_away_total", "why" => "connections").increment(1);
        let detail = "too many connections of this certificate, or too many new ones: keep them open and use them again";
        return Err(Refusal::busy(detail));
    }
    let caller = authenticate(app, peer)?;
    Ok((caller, app.door.enter(caller.ispb)?))
}

async fn carry_out(
    app: &App,
    host: Host,
    request: Request<Incoming>,
    caller: Caller,
) -> Result<Reply, Refusal> {
    let route = route(host, request.method(), request.uri().path())?;
    let span = tracing::info_span!("dict", operation = route.name(), participant.ispb = %caller.ispb);
    let asked = std::time::Instant::now();
    let operation = route.name();
    let replied = dispatch(app, caller, route, request).instrument(span).await;
    metrics::histogram!("dict_request_seconds", "operation" => operation)
        .record(asked.elapsed().as_secs_f64());
    replied
}

/// What a path asks for; keys and names as they stand in it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Create,
    Get(String),
    Update(String),
    Delete(String),
    Statistics(String),
    Check,
    Policies,
    Policy(String),
}

impl Route {
    /// Its name in the API's document; metrics and traces call it so.
    fn name(&self) -> &'static str {
        match self {
            Self::Create => "createEntry",
            Self::Get(_) => "getEntry",
            Self::Update(_) => "updateEntry",
            Self::Delete(_) => "deleteEntry",
            Self::Statistics(_) => "getEntryStatistics",
            Self::Check => "checkKeys",
            Self::Policies => "bucketStates",
            Self::Policy(_) => "getPolicy",
        }
    }
}

/// First segments of the paths that the document has and this DICT has not yet.
const NOT_BUILT: &[&str] = &[
    "cids",
    "claims",
    "event-notifications",
    "fraud-markers",
    "funds-recoveries",
    "infraction-reports",
    "persons",
    "refunds",
    "sync-verifications",
];

fn route(host: Host, method: &Method, path: &str) -> Result<Route, Refusal> {
    let nothing = || Refusal::transport(StatusCode::NOT_FOUND, "there is nothing at this path");
    let base = match host {
        Host::Main => "/api/v2/",
        Host::Np => "/api-np/v2/",
    };
    let rest = path.strip_prefix(base).ok_or_else(nothing)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let parts: Vec<&str> = rest.split('/').collect();
    let (route, allowed) = match (host, parts.as_slice()) {
        (Host::Np, ["keys", "check"]) => (Route::Check, "POST"),
        (Host::Main, ["entries"]) => (Route::Create, "POST"),
        (Host::Main, ["entries", key]) if *method == Method::PUT => {
            (Route::Update((*key).to_owned()), "GET, PUT")
        }
        (Host::Main, ["entries", key]) => (Route::Get((*key).to_owned()), "GET, PUT"),
        (Host::Main, ["entries", key, "delete"]) => (Route::Delete((*key).to_owned()), "POST"),
        (Host::Main, ["entries", key, "statistics"]) => (Route::Statistics((*key).to_owned()), "GET"),
        (Host::Main, ["policies"]) => (Route::Policies, "GET"),
        (Host::Main, ["policies", name]) => (Route::Policy((*name).to_owned()), "GET"),
        (Host::Main, [first, ..]) if NOT_BUILT.contains(first) => {
            let detail = "this DICT does not offer the operation yet";
            return Err(Refusal {
                status: StatusCode::NOT_IMPLEMENTED,
                ..Refusal::new(ProblemKind::ServiceUnavailable, detail)
            });
        }
        _ => return Err(nothing()),
    };
    if !allowed.split(", ").any(|taken| taken == method.as_str()) {
        let detail = format!("this path does not take {method}");
        return Err(Refusal {
            allow: Some(allowed),
            ..Refusal::transport(StatusCode::METHOD_NOT_ALLOWED, detail)
        });
    }
    Ok(route)
}

/// The participant of the certificate. Nothing of the body is read before.
fn authenticate(app: &App, peer: &Peer) -> Result<Caller, Refusal> {
    let refuse = |why: &'static str| {
        tracing::warn!(peer.address = %peer.address, why, "a request was refused");
        metrics::counter!("dict_identity_refused_total", "why" => why).increment(1);
        Err(Refusal::new(ProblemKind::Forbidden, why))
    };
    if peer.certificate.not_after < app.clock.now() {
        return refuse("the channel certificate has expired since the connection was made");
    }
    let registry = app.registry.load();
    let Some(participant) = registry.by_channel(&peer.certificate.issuer_serial) else {
        return refuse("the channel certificate is not registered for any participant");
    };
    if !participant.is_direct() {
        return refuse("only direct participants connect; an indirect one speaks through its settler");
    }
    if !participant.active {
        return refuse("the participant is not active");
    }
    Ok(Caller {
        ispb: participant.ispb,
        category: participant.category,
        by: Instant::now() + REQUEST_WITHIN,
    })
}

async fn dispatch(
    app: &App,
    caller: Caller,
    route: Route,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    let (head, body) = request.into_parts();
    let headers = &head.headers;
    match route {
        Route::Create => entries::create(app, caller, headers, body).await,
        Route::Get(key) => entries::get(app, caller, &key, head.uri.query(), headers).await,
        Route::Update(key) => entries::update(app, caller, &key, headers, body).await,
        Route::Delete(key) => entries::delete(app, caller, &key, headers, body).await,
        Route::Statistics(key) => entries::statistics(app, caller, &key, headers).await,
        Route::Check => keys::check(app, caller, headers, body).await,
        Route::Policies => policies::list(app, caller, headers).await,
        Route::Policy(name) => policies::get(app, caller, &name, headers).await,
    }
}

/// Carries `work` out when its buckets admit it, and settles them by the status it comes to, a panic included.
async fn limited(
    app: &App,
    ask: Ask,
    work: impl Future<Output = Result<Reply, Refusal>>,
) -> Result<Reply, Refusal> {
    let work = Box::pin(guarded(work));
    let admission = app.buckets.admit(&ask).await?;
    let replied = work.await;
    let status = match &replied {
        Ok(reply) => reply.status,
        Err(refusal) => refusal.status,
    };
    app.buckets.settle(admission, status.as_u16()).await;
    replied
}

/// What `work` comes to; a panic in it is a fault of ours that costs this request alone.
async fn guarded(work: impl Future<Output = Result<Reply, Refusal>>) -> Result<Reply, Refusal> {
    let replied = AssertUnwindSafe(work).catch_unwind().await;
    replied.unwrap_or_else(|_| {
        metrics::counter!("dict_panics_total").increment(1);
        Err(Refusal::broken())
    })
}

impl Caller {
    /// Its turn to write.
    fn turn(self) -> Turn {
        Turn {
            participant: self.ispb,
            by: self.by,
        }
    }

    /// A bucket of the caller itself.
    fn ask(self, policy: Policy) -> Ask {
        Ask::One {
            participant: self.ispb,
            category: self.category,
            policy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: Host, method: &Method, path: &str) -> Result<Route, (ProblemKind, u16)> {
        route(host, method, path).map_err(|refusal| (refusal.kind, refusal.status.as_u16()))
    }

    #[tokio::test]
    async fn internal_server_error_when_deciding_panics() {
        let refused = guarded(async { panic!("an invariant is broken") }).await;
        let refusal = refused.err().expect("refused");
        assert_eq!(
            (refusal.kind, refusal.status.as_u16()),
            (ProblemKind::InternalServerError, 500)
        );
    }

    #[test]
    fn paths_are_those_of_the_document() {
        let (get, post, put) = (&Method::GET, &Method::POST, &Method::PUT);
        for (host, method, path, expected) in [
            (Host::Main, post, "/api/v2/entries/", Route::Create),
            (Host::Main, post, "/api/v2/entries", Route::Create),
            (Host::Main, get, "/api/v2/entries/+55", Route::Get("+55".into())),
            (
                Host::Main,
                put,
                "/api/v2/entries/%2B55",
                Route::Update("%2B55".into()),
            ),
            (
                Host::Main,
                post,
                "/api/v2/entries/1/delete",
                Route::Delete("1".into()),
            ),
            (
                Host::Main,
                get,
                "/api/v2/entries/1/statistics",
                Route::Statistics("1".into()),
            ),
            (Host::Main, get, "/api/v2/policies/", Route::Policies),
            (
                Host::Main,
                get,
                "/api/v2/policies/KEYS_CHECK",
                Route::Policy("KEYS_CHECK".into()),
            ),
            (Host::Np, post, "/api-np/v2/keys/check", Route::Check),
        ] {
            assert_eq!(at(host, method, path), Ok(expected), "{method} {path}");
        }
    }

    #[test]
    fn what_is_nowhere_is_404_of_its_own_type_and_what_is_not_built_says_so() {
        let get = &Method::GET;
        for (host, path) in [
            (Host::Main, "/"),
            (Host::Main, "/api/v1/entries/1"),
            (Host::Main, "/api/v2/keys/check"),
            (Host::Main, "/api/v2/entries/a/b/c"),
            (Host::Main, "/api-np/v2/keys/check"),
            (Host::Np, "/api/v2/entries/1"),
        ] {
            assert_eq!(at(host, get, path), Err((ProblemKind::BadRequest, 404)), "{path}");
        }
        assert_eq!(
            at(Host::Main, get, "/api/v2/claims/"),
            Err((ProblemKind::ServiceUnavailable, 501))
        );
        assert_eq!(
            at(Host::Main, &Method::DELETE, "/api/v2/entries/1"),
            Err((ProblemKind::BadRequest, 405))
        );
    }
}
