//! `GET .../stream/start`, `GET {PI-Pull-Next}`, `DELETE {PI-Pull-Next}`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::uri::Authority;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use pix_runtime::Clock as _;
use pix_runtime::problem::Problem;
use spi_core::outgoing::Mailbox;
use spi_core::sandbox::{self, Behaviour, Cut};
use spi_core::streams::{BATCH_MAX, Delivery, Reply, Token, Waiter};
use tokio::sync::{mpsc, oneshot};

use super::{RETRY_AFTER_SECONDS, header, respond, unavailable};
use crate::app::App;
use crate::config::PullNext;
use crate::desk::Request;

/// Opens a stream.
pub(super) async fn start(
    app: &Arc<App>,
    mailbox: Mailbox,
    headers: &HeaderMap,
    connection: u64,
) -> Result<Response<Full<Bytes>>, Problem> {
    let wanted = Wanted::of(app, mailbox, headers)?;
    if let Some(cut) = app.script.at_the_door(mailbox) {
        return cut_off(cut);
    }
    let batch_max = wanted.batch_max();
    let (reply, watch) = ask(app, connection, |waiter, reply| Request::Start {
        mailbox,
        batch_max,
        waiter,
        reply,
    })
    .await?;
    render(app, mailbox, &wanted, reply, watch).await
}

/// Confirms the batch before and reads the next.
pub(super) async fn next(
    app: &Arc<App>,
    mailbox: Mailbox,
    token: &str,
    headers: &HeaderMap,
    connection: u64,
) -> Result<Response<Full<Bytes>>, Problem> {
    let wanted = Wanted::of(app, mailbox, headers)?;
    let token = Token::parse(token).ok_or_else(gone)?;
    if let Some(cut) = app.script.at_the_door(mailbox) {
        return cut_off(cut);
    }
    if let Some(deliveries) = app.script.repeated(mailbox, token, app.clock.now()) {
        // The desk hears nothing of it: whoever asks with this token again confirms the batch, as ever.
        let bodies = bodies(app, mailbox, &deliveries).await?;
        return batch(app, mailbox, &wanted, token, &deliveries, bodies);
    }
    let batch_max = wanted.batch_max();
    let (reply, watch) = ask(app, connection, |waiter, reply| Request::Next {
        mailbox,
        token,
        batch_max,
        waiter,
        reply,
    })
    .await?;
    render(app, mailbox, &wanted, reply, watch).await
}

/// Confirms the last batch and closes.
pub(super) async fn close(
    app: &Arc<App>,
    mailbox: Mailbox,
    token: &str,
    connection: u64,
) -> Result<Response<Full<Bytes>>, Problem> {
    let token = Token::parse(token).ok_or_else(gone)?;
    let (reply, watch) = ask(app, connection, |waiter, reply| Request::Close {
        mailbox,
        token,
        waiter,
        reply,
    })
    .await?;
    let wanted = Wanted {
        multipart: false,
        base: String::new(),
    };
    render(app, mailbox, &wanted, reply, watch).await
}

/// What a GET asks for.
struct Wanted {
    multipart: bool,
    /// What stands before the path of `PI-Pull-Next`.
    base: String,
}

impl Wanted {
    fn of(app: &App, mailbox: Mailbox, headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            multipart: wants_multipart(headers)?,
            base: match app.pull_next {
                PullNext::Relative => String::new(),
                PullNext::Absolute => base(headers, app.ports.of(mailbox.channel)),
            },
        })
    }

    fn batch_max(&self) -> usize {
        if self.multipart { BATCH_MAX } else { 1 }
    }
}

/// `https://` and the host as the caller names it, so that its way back leads through whatever it came through; with
/// the port it came by when it names none, as it may. Nothing, which makes the URI relative, when it names no host
/// that can stand in a URI.
fn base(headers: &HeaderMap, port: u16) -> String {
    let host = header(headers, &HOST).and_then(|host| host.parse::<Authority>().ok());
    match host.filter(|host| !host.as_str().contains('@')) {
        Some(host) if host.port().is_some() => format!("https://{host}"),
        Some(host) => format!("https://{host}:{port}"),
        None => String::new(),
    }
}

/// The answer to a reader. One that a script cuts off is an answer that was never made: the batch is ready again.
async fn render(
    app: &Arc<App>,
    mailbox: Mailbox,
    wanted: &Wanted,
    reply: Reply,
    watch: Watch,
) -> Result<Response<Full<Bytes>>, Problem> {
    let answer = match reply {
        Reply::Batch { deliveries, next } => {
            let mut bodies = match bodies(app, mailbox, &deliveries).await {
                Ok(bodies) => bodies,
                Err(problem) => {
                    watch.done();
                    return Err(problem);
                }
            };
            match app.script.on_delivery(mailbox, &bodies) {
                None => {}
                Some((Behaviour::Cut(cut), _)) => return cut_off(cut),
                Some((Behaviour::BadSignature, touched)) => {
                    for position in touched {
                        bodies[position] = sandbox::spoil(&bodies[position]).into();
                    }
                }
                Some((Behaviour::Twice, touched)) => {
                    let again = touched.into_iter().map(|position| deliveries[position]).collect();
                    app.script.repeat(mailbox, next, again, app.clock.now());
                }
            }
            batch(app, mailbox, wanted, next, &deliveries, bodies)
        }
        Reply::Gone => Err(gone()),
        Reply::TooMany => {
            let detail = "six streams are open on this channel, which is all a participant may have";
            Err(Problem::icom(
                StatusCode::TOO_MANY_REQUESTS,
                "tooManyStreams",
                "Too many streams",
                detail,
            )
            .retry_after(RETRY_AFTER_SECONDS))
        }
        Reply::Closed => Ok(respond::closed()),
    };
    watch.done();
    answer
}

async fn bodies(app: &App, mailbox: Mailbox, deliveries: &[Delivery]) -> Result<Vec<Bytes>, Problem> {
    app.bodies.of(deliveries).await.map_err(|error| {
        tracing::error!(%error, participant.ispb = %mailbox.destination, "messages cannot be read");
        unavailable("the messages cannot be read at present; ask again")
    })
}

fn batch(
    app: &App,
    mailbox: Mailbox,
    wanted: &Wanted,
    next: Token,
    deliveries: &[Delivery],
    bodies: Vec<Bytes>,
) -> Result<Response<Full<Bytes>>, Problem> {
    if bodies.len() > 1 && !wanted.multipart {
        let detail = "this batch was first asked for as multipart/mixed and has several messages";
        return Err(Problem::icom(
            StatusCode::NOT_ACCEPTABLE,
            "notAcceptable",
            "Not acceptable",
            detail,
        ));
    }
    let messages: Vec<_> = deliveries.iter().map(|d| d.resource_id).zip(bodies).collect();
    metrics::counter!("spi_messages_read_total").increment(messages.len() as u64);
    Ok(respond::batch(
        &wanted.base,
        mailbox.destination,
        next,
        messages,
        wanted.multipart,
        &app.ids,
    ))
}

/// No answer, because a script says so.
fn cut_off(cut: Cut) -> Result<Response<Full<Bytes>>, Problem> {
    match cut {
        Cut::Unavailable => Err(unavailable("the SPI is unavailable, by its sandbox's script")),
        Cut::Reset => Ok(respond::cut()),
    }
}

/// Asks the desk; a caller that goes away before its answer is made is forgotten there too.
async fn ask(
    app: &Arc<App>,
    connection: u64,
    request: impl FnOnce(Waiter, oneshot::Sender<Reply>) -> Request,
) -> Result<(Reply, Watch), Problem> {
    static WAITERS: AtomicU64 = AtomicU64::new(1);
    let waiter = Waiter {
        id: WAITERS.fetch_add(1, Ordering::Relaxed),
        connection,
    };
    let (reply, answered) = oneshot::channel();
    let stopping = || unavailable("the SPI is stopping; ask again");
    app.desk
        .send(request(waiter, reply))
        .await
        .map_err(|_| stopping())?;
    let watch = Watch {
        waiter,
        desk: Some(app.desk.clone()),
    };
    match answered.await {
        Ok(reply) => Ok((reply, watch)),
        Err(_) => {
            watch.done();
            Err(stopping())
        }
    }
}

/// Tells the desk of a connection that broke.
pub(super) fn broken(app: &Arc<App>, connection: u64) {
    tell(&app.desk, Request::Broken { connection });
}

fn tell(desk: &mpsc::Sender<Request>, request: Request) {
    if let Err(mpsc::error::TrySendError::Full(request)) = desk.try_send(request) {
        let desk = desk.clone();
        tokio::spawn(async move { drop(desk.send(request).await) });
    }
}

/// Tells the desk when a request is dropped before its answer is made.
struct Watch {
    waiter: Waiter,
    desk: Option<mpsc::Sender<Request>>,
}

impl Watch {
    fn done(mut self) {
        self.desk = None;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some(desk) = self.desk.take() else { return };
        tell(&desk, Request::Abandon { waiter: self.waiter });
    }
}

fn wants_multipart(headers: &HeaderMap) -> Result<bool, Problem> {
    let Some(accept) = header(headers, &ACCEPT) else {
        return Ok(false);
    };
    let accept = accept.to_ascii_lowercase();
    let mut types = accept
        .split(',')
        .map(|part| part.split(';').next().unwrap_or_default().trim());
    if types.clone().any(|wanted| wanted == "multipart/mixed") {
        return Ok(true);
    }
    if types.any(|wanted| matches!(wanted, "application/xml" | "application/*" | "*/*")) {
        return Ok(false);
    }
    let detail = "messages are given as application/xml or multipart/mixed";
    Err(Problem::icom(
        StatusCode::NOT_ACCEPTABLE,
        "notAcceptable",
        "Not acceptable",
        detail,
    ))
}

fn gone() -> Problem {
    let detail = "the stream is closed, expired or not yours, or the token is an old one; start another";
    Problem::icom(StatusCode::GONE, "gone", "Gone", detail)
}
