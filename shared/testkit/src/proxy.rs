//! A TCP proxy that breaks connections on demand: the network has no other way to fail on one machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the proxy does to every connection from now on, old and new. Octets are counted for each connection
/// from the moment the fault is set; under TLS they are octets of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Closes every connection, and new ones at once.
    Refuse,
    /// Passes so many octets from the server to the client, then cuts.
    CutAnswerAfter(u64),
    /// Passes so many octets from the client to the server, then cuts.
    CutRequestAfter(u64),
    /// Passes everything this much later.
    Delay(Duration),
    /// Passes nothing and closes nothing, as a network that swallows packets.
    Hold,
}

/// A proxy in front of one address. Dropped, it closes every connection.
pub struct FaultProxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    cut: AtomicU64,
}

/// The fault, and a number that tells when it was set again.
#[derive(Clone, Copy)]
struct State {
    fault: Fault,
    set: u64,
}

impl FaultProxy {
    /// A proxy on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (state, watched) = watch::channel(State {
            fault: Fault::None,
            set: 0,
        });
        let counts = Arc::new(Counts::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, upstream, watched, counts.clone()));
        Self {
            address,
            state,
            counts,
            _tasks: tasks,
        }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the fault and starts the count of octets again.
    pub fn set(&self, fault: Fault) {
        self.state.send_modify(|state| {
            *state = State {
                fault,
                set: state.set + 1,
            }
        });
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// How many of them a fault has ended so far.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.counts.cut.load(Ordering::Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    upstream: SocketAddr,
    state: watch::Receiver<State>,
    counts: Arc<Counts>,
) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                counts.accepted.fetch_add(1, Ordering::Relaxed);
                tasks.spawn(relay(client, upstream, state.clone(), counts.clone()));
            }
        }
    }
}

/// Both directions of one connection; the end of either cuts both.
async fn relay(client: TcpStream, upstream: SocketAddr, state: watch::Receiver<State>, counts: Arc<Counts>) {
    let cut = || counts.cut.fetch_add(1, Ordering::Relaxed);
    if state.borrow().fault == Fault::Refuse {
        cut();
        return;
    }
    let Ok(server) = TcpStream::connect(upstream).await else {
        return;
    };
    if client
        .set_nodelay(true)
        .and_then(|()| server.set_nodelay(true))
        .is_err()
    {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let ended = tokio::select! {
        ended = pump(from_client, to_server, state.clone(), |fault| match fault {
            Fault::CutRequestAfter(octets) => Some(octets),
            _ => None,
        }) => ended,
        ended = pump(from_server, to_client, state, |fault| match fault {
            Fault::CutAnswerAfter(octets) => Some(octets),
            _ => None,
        }) => ended,
    };
    if matches!(ended, Ok(End::Cut)) {
        cut();
    }
}

/// Why one direction passes nothing any more.
enum End {
    /// A side closed it.
    Closed,
    /// The fault wants it.
    Cut,
}

/// One direction, until it ends or is cut. `limit` is how many octets a fault lets through here.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    limit: fn(Fault) -> Option<u64>,
) -> io::Result<End> {
    let mut chunk = vec![0_u8; 16 * 1024];
    let (mut set, mut passed) = (u64::MAX, 0_u64);
    loop {
        let now = *state.borrow_and_update();
        if now.set != set {
            (set, passed) = (now.set, 0);
        }
        let allowed = limit(now.fault).map(|max| max.saturating_sub(passed));
        if now.fault == Fault::Refuse || allowed == Some(0) {
            return Ok(End::Cut);
        }
        let most = allowed
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(usize::MAX)
            .min(chunk.len());
        let read = tokio::select! {
            read = from.read(&mut chunk[..most]), if now.fault != Fault::Hold => read?,
            changed = state.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Ok(End::Closed), // the proxy is gone
            },
        };
        if read == 0 {
            return Ok(End::Closed);
        }
        if let Fault::Delay(span) = now.fault {
            tokio::time::sleep(span).await;
        }
        to.write_all(&chunk[..read]).await?;
        passed += u64::try_from(read).expect("a chunk is small");
    }
}
