//! The accept loop: TLS in a task of its own, then HTTP/1.1 with keep-alive, then a good end.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::crowd::Crowd;
use super::handshake::{Peer, PeerCertificate, reason};
use super::watched::Watched;
use crate::Stopping;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides said goodbye, or it was us who closed.
    Clean,
    /// The peer vanished: reset, silent, or closed without TLS's `close_notify`, as a process does that is killed.
    /// What was written last may never have been read.
    Broken,
}

/// Answers requests. Implemented by every `async fn(Request<Incoming>, Arc<Peer>) -> Response<Full<Bytes>>`.
pub trait Handler: Send + Sync + 'static {
    /// A connection has ended; every request on it was answered or dropped before.
    fn ended(&self, _peer: &Peer, _end: End) {}

    /// Comes to its end when this peer may stay no longer: its connection is reset then, whatever is under way on it.
    fn dismissed(&self, _peer: &Peer) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Answers one request of a peer that showed its certificate.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: Arc<Peer>,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

impl<F, Answer> Handler for F
where
    F: Fn(Request<Incoming>, Arc<Peer>) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Response<Full<Bytes>>> + Send,
{
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: Arc<Peer>,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send {
        self(request, peer)
    }
}

/// In an answer's extensions: nothing of the answer leaves, and the connection is reset instead. For those who test
/// how the other side takes it.
#[derive(Clone, Copy, Debug)]
pub struct Cut;

/// What hyper is told when a connection is cut: that its service failed, so that it writes nothing more.
#[derive(Debug, thiserror::Error)]
#[error("the answer was to cut the connection")]
struct WasCut;

/// Numbers connections.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// What a listener puts up with.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Connections at once; one more is closed at once.
    pub connections_max: usize,
    /// Connections of one address at once; one more is closed at once.
    pub connections_per_address_max: usize,
    /// Connections of one address that are in their handshake; one more is closed at once.
    pub handshakes_per_address_max: usize,
    /// Connections of one certificate at once; one more is told so.
    pub connections_per_certificate_max: usize,
    /// New connections a second, of one address and of one certificate: handshakes are the dearest thing a client
    /// can ask for.
    pub arrivals_per_second: NonZeroU32,
    /// How many of them may come at once, after a restart say.
    pub arrivals_burst: NonZeroU32,
    /// From accept to the end of the handshake.
    pub handshake_within: Duration,
    /// From the end of an answer, or of the handshake, to the end of the next request's headers. So it bounds
    /// both idle connections and headers that trickle.
    pub next_request_within: Duration,
    /// Request line and headers together, in octets; hyper may let up to twice as many through.
    pub head_bytes_max: usize,
    /// Header lines.
    pub headers_max: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            // 200 banks with six streams on two channels and 32 posts each, and as much again.
            connections_max: 20_000,
            connections_per_address_max: 10_000,
            handshakes_per_address_max: 512,
            connections_per_certificate_max: 256,
            arrivals_per_second: NonZeroU32::new(200).expect("not zero"),
            arrivals_burst: NonZeroU32::new(2_000).expect("not zero"),
            handshake_within: Duration::from_secs(10),
            next_request_within: Duration::from_secs(75),
            head_bytes_max: 64 * 1024,
            headers_max: 64,
        }
    }
}

/// How long to wait after an accept that failed for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a connection that is one too many may be silent.
const SURPLUS_PATIENCE: Duration = Duration::from_secs(1);

/// After this long without an acknowledgement the kernel gives a connection up, also one whose reader
/// never reads.
const SILENT_MAX: Duration = Duration::from_secs(30);

/// Serves until the stop: then accepts no more, lets requests under way be answered, and closes.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    limits: ServerLimits,
    handler: Arc<H>,
    stopping: Stopping,
) {
    let acceptor = TlsAcceptor::from(tls);
    let crowd = Arc::new(Crowd::new(limits));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stopping.stopped() => break,
            Some(ended) = connections.join_next() => note(ended),
            accepted = listener.accept() => match accepted {
                Ok(_) if connections.len() >= limits.connections_max => {
                    metrics::counter!("http_connections_refused_total").increment(1);
                }
                Ok((stream, address)) => {
                    let Some((place, shaking)) = crowd.arrive(address.ip()) else {
                        metrics::counter!("http_connections_refused_total").increment(1);
                        continue;
                    };
                    let (acceptor, handler, stopping) = (acceptor.clone(), handler.clone(), stopping.clone());
                    let crowd = Arc::clone(&crowd);
                    connections.spawn(async move {
                        let _place = place;
                        let shaken = tokio::select! {
                            () = stopping.stopped() => None,
                            shaken = handshake(acceptor, stream, address, limits.handshake_within) => shaken,
                        };
                        drop(shaking);
                        if let Some((tls, mut peer)) = shaken {
                            let (_place, is_surplus) = crowd.greet(peer.certificate.issuer_serial.clone());
                            peer.is_surplus = is_surplus;
                            converse(tls, Arc::new(peer), limits, handler, stopping).await;
                        }
                    });
                }
                Err(e) => {
                    tracing::error!(error = %e, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        note(ended);
    }
}

/// A handler that panics costs its connection, nothing else; the panic hook has logged it.
fn note(ended: Result<(), JoinError>) {
    if ended.is_err() {
        metrics::counter!("http_handler_panics_total").increment(1);
    }
}

/// The connection and who is there; nothing when it was turned away, which is logged and counted.
async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    within: Duration,
) -> Option<(TlsStream<TcpStream>, Peer)> {
    let refused = |reason: &'static str, error: &dyn std::fmt::Display| {
        metrics::counter!("tls_handshakes_refused_total", "reason" => reason).increment(1);
        tracing::warn!(peer.address = %address, reason, error = %error, "a TLS handshake was refused");
    };
    if let Err(e) = tune(&stream) {
        refused("connection", &e);
        return None;
    }
    let tls = match tokio::time::timeout(within, acceptor.accept(stream)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(e)) => {
            refused(reason(&e), &e);
            return None;
        }
        Err(e) => {
            refused("timeout", &e);
            return None;
        }
    };
    let Some(certificate) = PeerCertificate::of(tls.get_ref().1) else {
        refused("bad_certificate", &"its issuer and serial number cannot be read");
        return None;
    };
    metrics::counter!("tls_handshakes_total").increment(1);
    let connection = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    let peer = Peer {
        connection,
        address,
        certificate,
        is_surplus: false,
    };
    Some((tls, peer))
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(SILENT_MAX)
            .with_interval(SILENT_MAX / 3),
    )?;
    socket.set_tcp_user_timeout(Some(SILENT_MAX))
}

/// Requests and answers until either side closes, or the stop comes and the answer under way is out.
async fn converse<H: Handler>(
    tls: TlsStream<TcpStream>,
    peer: Arc<Peer>,
    limits: ServerLimits,
    handler: Arc<H>,
    stopping: Stopping,
) {
    let _open = OpenConnection::count();
    let address = peer.address;
    let (stream, fate) = Watched::new(tls);
    let service = service_fn(|request| {
        let (handler, peer, fate) = (handler.clone(), peer.clone(), Arc::clone(&fate));
        async move {
            let response = handler.handle(request, peer).await;
            if response.extensions().get::<Cut>().is_none() {
                return Ok(response);
            }
            fate.cut();
            Err(WasCut)
        }
    });
    let ended = {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(match peer.is_surplus {
                true => SURPLUS_PATIENCE,
                false => limits.next_request_within,
            })
            .max_buf_size(limits.head_bytes_max)
            .max_headers(limits.headers_max)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = handler.dismissed(&peer) => {
                metrics::counter!("http_connections_dismissed_total").increment(1);
                tracing::warn!(peer.address = %address, "a connection is cut: its certificate is good no longer");
                fate.cut();
                Ok(())
            }
            () = stopping.stopped() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(e) = &ended {
        tracing::debug!(peer.address = %address, error = %e, "a connection broke");
    }
    // Requests that come too late or make no sense end a connection, too; those peers are still there.
    let end = match fate.has_failed() {
        true => End::Broken,
        false => End::Clean,
    };
    handler.ended(&peer, end);
}

/// Counts an open connection for as long as it lives, also when its handler panics.
struct OpenConnection;

impl OpenConnection {
    fn count() -> Self {
        metrics::gauge!("http_connections_open").increment(1);
        Self
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        metrics::gauge!("http_connections_open").decrement(1);
    }
}
