//! The ICOM face: bytes in, one call inward, bytes out.

mod gate;
mod messages;
mod respond;
mod streams;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use iso20022::MessageDefinition;
use pix_domain::Ispb;
use pix_runtime::Clock as _;
use pix_runtime::http::{End, Handler, Peer};
use pix_runtime::problem::Problem;
use spi_core::outgoing::{Channel, Mailbox};
use tracing::Instrument as _;

use crate::app::App;

/// Seconds after which a participant tries again.
const RETRY_AFTER_SECONDS: u32 = 1;

pub(crate) use gate::Gate;

/// One channel's face.
pub(crate) struct Door {
    pub(crate) app: Arc<App>,
    pub(crate) channel: Channel,
}

impl Handler for Door {
    async fn handle(&self, request: Request<Incoming>, peer: Arc<Peer>) -> Response<Full<Bytes>> {
        answer(Arc::clone(&self.app), self.channel, request, peer).await
    }

    fn ended(&self, peer: &Peer, end: End) {
        if end == End::Broken {
            streams::broken(&self.app, peer.connection);
        }
    }

    async fn dismissed(&self, peer: &Peer) {
        self.app.registry.forgotten(&peer.certificate.issuer_serial).await;
    }
}

/// Answers one request on one channel.
async fn answer(
    app: Arc<App>,
    channel: Channel,
    request: Request<Incoming>,
    peer: Arc<Peer>,
) -> Response<Full<Bytes>> {
    let accepts_gzip = respond::accepts_gzip(request.headers());
    let head = gate::check_head(request.version(), request.headers(), &peer);
    let answered = match head.and_then(|()| route(&request)) {
        Ok(route) => {
            match authenticate(&app, &route, &peer).and_then(|ispb| app.gate.pass(ispb).map(|()| ispb)) {
                Ok(ispb) => {
                    let mailbox = Mailbox {
                        destination: ispb,
                        channel,
                    };
                    let span = tracing::info_span!(
                        "icom",
                        operation = route.name(),
                        channel = channel.as_str(),
                        participant.ispb = %ispb
                    );
                    dispatch(&app, route, mailbox, request, peer.connection)
                        .instrument(span)
                        .await
                }
                Err(problem) => Err(problem),
            }
        }
        Err(problem) => Err(problem),
    };
    let response = answered.unwrap_or_else(|problem| {
        metrics::counter!("spi_http_problems_total", "status" => problem.status.as_str().to_owned())
            .increment(1);
        problem.to_xml()
    });
    if accepts_gzip {
        respond::gzip(response)
    } else {
        response
    }
}

/// What a path asks for.
enum Route {
    /// `/api/v1/in/{ispb}/msgs`
    Post { ispb: String },
    /// `/api/v1/out/{ispb}/stream/start`
    Start { ispb: String },
    /// `/api/v1/out/{ispb}/stream/{token}`
    Next { ispb: String, token: String },
    /// The same, with DELETE.
    Close { ispb: String, token: String },
    /// `/api/v1/in/catalog`, `/api/v1/out/catalog`
    Catalog(&'static [MessageDefinition]),
}

impl Route {
    /// What traces call it.
    fn name(&self) -> &'static str {
        match self {
            Self::Post { .. } => "post",
            Self::Start { .. } => "start",
            Self::Next { .. } => "next",
            Self::Close { .. } => "close",
            Self::Catalog(_) => "catalog",
        }
    }

    fn ispb(&self) -> &str {
        match self {
            Self::Post { ispb }
            | Self::Start { ispb }
            | Self::Next { ispb, .. }
            | Self::Close { ispb, .. } => ispb,
            Self::Catalog(_) => "",
        }
    }
}

/// What participants may send: all that is read, in the one version of each that is.
const IN_CATALOG: &[MessageDefinition] = &[
    MessageDefinition::Admi002,
    MessageDefinition::Pacs002,
    MessageDefinition::Pacs008,
];
/// What they receive: all that the desk forms.
const OUT_CATALOG: &[MessageDefinition] = IN_CATALOG;

fn route(request: &Request<Incoming>) -> Result<Route, Problem> {
    let path = request.uri().path();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (route, allowed): (Route, Method) = match (parts.as_slice(), request.method()) {
        (["api", "v1", "in", "catalog"], _) => (Route::Catalog(IN_CATALOG), Method::GET),
        (["api", "v1", "out", "catalog"], _) => (Route::Catalog(OUT_CATALOG), Method::GET),
        (["api", "v1", "in", ispb, "msgs"], _) => (
            Route::Post {
                ispb: (*ispb).to_owned(),
            },
            Method::POST,
        ),
        (["api", "v1", "out", ispb, "stream", "start"], _) => (
            Route::Start {
                ispb: (*ispb).to_owned(),
            },
            Method::GET,
        ),
        (["api", "v1", "out", ispb, "stream", token], method) => {
            let (ispb, token) = ((*ispb).to_owned(), (*token).to_owned());
            match *method {
                Method::DELETE => (Route::Close { ispb, token }, Method::DELETE),
                _ => (Route::Next { ispb, token }, Method::GET),
            }
        }
        _ => {
            let detail = "there is nothing at this path";
            return Err(Problem::icom(
                StatusCode::NOT_FOUND,
                "notFound",
                "Not found",
                detail,
            ));
        }
    };
    if *request.method() != allowed {
        let detail = format!("this path takes {allowed}");
        let status = StatusCode::METHOD_NOT_ALLOWED;
        return Err(Problem::icom(
            status,
            "methodNotAllowed",
            "Method not allowed",
            detail,
        ));
    }
    Ok(route)
}

/// The participant of the certificate, when the path is its own. Nothing of the body is read before.
fn authenticate(app: &App, route: &Route, peer: &Peer) -> Result<Ispb, Problem> {
    let path = Ispb::parse(route.ispb().as_bytes()).ok();
    let refuse = |why: &'static str| {
        // Only a valid ISPB: the path is whatever somebody wrote.
        let ispb = path.map(|ispb| ispb.to_string());
        tracing::warn!(peer.address = %peer.address, path.ispb = ispb, why, "a request was refused");
        metrics::counter!("spi_identity_refused_total", "why" => why).increment(1);
        Err(Problem::icom(
            StatusCode::FORBIDDEN,
            "forbidden",
            "Forbidden",
            why,
        ))
    };
    if peer.certificate.not_after < app.clock.now() {
        return refuse("the channel certificate has expired since the connection was made");
    }
    let registry = app.registry.load();
    let Some(participant) = registry.directory.by_channel(&peer.certificate.issuer_serial) else {
        return refuse("the channel certificate is not registered for any participant");
    };
    if !matches!(route, Route::Catalog(_)) && path != Some(participant.ispb) {
        return refuse("the ISPB of the path is not that of the channel certificate");
    }
    if !participant.is_direct() {
        return refuse("only direct participants connect; an indirect one speaks through its settler");
    }
    if !participant.active {
        return refuse("the participant is not active");
    }
    Ok(participant.ispb)
}

async fn dispatch(
    app: &Arc<App>,
    route: Route,
    mailbox: Mailbox,
    request: Request<Incoming>,
    connection: u64,
) -> Result<Response<Full<Bytes>>, Problem> {
    match route {
        Route::Post { .. } => messages::post(app, mailbox, request).await,
        Route::Start { .. } => streams::start(app, mailbox, request.headers(), connection).await,
        Route::Next { token, .. } => streams::next(app, mailbox, &token, request.headers(), connection).await,
        Route::Close { token, .. } => streams::close(app, mailbox, &token, connection).await,
        Route::Catalog(messages) => Ok(respond::catalog(messages)),
    }
}

/// A header as text, when it is there and is text.
fn header<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// 503: nothing is wrong with the request, only with the moment.
fn unavailable(detail: &'static str) -> Problem {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Problem::icom(status, "serviceUnavailable", "Service unavailable", detail)
        .retry_after(RETRY_AFTER_SECONDS)
}
