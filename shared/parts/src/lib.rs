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

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

pub use error::PartError;
pub use nats::Nats;
pub use packages::{Missing, missing};
pub use postgres::{Postgres, PostgresSize};
pub use probe::Probe;
pub use process::{Process, ProcessSpec, Signal};
pub use redis::Redis;
pub use user::RunAs;

/// How long a part may take to answer its probe: crash recovery of a big WAL is inside.
pub const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a part may take to end by itself before it is killed.
pub const STOP_GRACE: Duration = Duration::from_secs(15);

/// A TCP port of 127.0.0.1 that nobody listens on just now.
///
/// # Errors
/// When the system has none left.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
