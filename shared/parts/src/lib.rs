//! Private Postgres, Redis and NATS from Debian's packages, on loopback, in folders of ours.
//!
//! `pix` supervises them, the tests share them; nobody touches a default cluster or a system daemon.
//! Every part is a [`ProcessSpec`]; a [`Process`] started from one dies with the process that started
//! it, whatever kills that.
//!
//! ```no_run
//! # async fn example() -> Result<(), pix_parts::PartError> {
//! use pix_parts::{Postgres, PostgresSize, READY_WITHIN};
//! let postgres = Postgres::prepare(".pix/postgres".as_ref(), 4432, PostgresSize::Service).await?;
//! let mut process = postgres.spec().spawn().await?;
//! process.ready(READY_WITHIN).await?;
//! println!("{}", postgres.url("postgres"));
//! process.stop(pix_parts::STOP_GRACE).await?;
//! # Ok(()) }
//! ```

mod error;
mod nats;
mod packages;
mod postgres;
mod probe;
mod process;
mod redis;
mod user;
mod versions;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use error::PartError;
pub use nats::Nats;
pub use packages::{Missing, missing};
pub use postgres::{Postgres, PostgresSize};
pub use probe::Probe;
pub use process::{Process, ProcessSpec, Signal};
pub use redis::Redis;
pub use user::RunAs;
pub use versions::{Installed, Version, installed};

/// How long a part may take to answer its probe: crash recovery of a big WAL is inside.
pub const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a part may take to end by itself before it is killed.
pub const STOP_GRACE: Duration = Duration::from_secs(15);

/// Ports below Linux's range for outgoing connections (32768 and up): one of those could take the port
/// between our look and the server's start.
const PORTS: Range<u16> = 20_000..32_000;

/// A TCP port of 127.0.0.1 that nobody listens on just now, by chance. It is this process's until its end: no
/// other that asks here gets it, also while the server on it is not yet up or is being started again.
///
/// # Errors
/// When none is found.
pub fn free_port() -> io::Result<u16> {
    const ATTEMPTS_MAX: u32 = 1000;
    let mut last = io::Error::other("no port was tried");
    for _ in 0..ATTEMPTS_MAX {
        let chance = RandomState::new().build_hasher().finish() % u64::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(chance).expect("below the length of the range");
        match claim(port) {
            Ok(()) => return Ok(port),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// A name that the kernel gives to one process at a time and takes back when that ends, without a file.
fn claim(port: u16) -> io::Result<()> {
    static CLAIMED: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let name = SocketAddr::from_abstract_name(format!("pix-port-{port}"))?;
    let claimed = UnixListener::bind_addr(&name)?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    CLAIMED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(claimed);
    Ok(())
}
