//! What integration tests share. Postgres, Redis and NATS are real: one of each for a whole run, a database
//! and a prefix for each test; [`OwnParts`] for the tests that kill them.
//!
//! Nothing here sleeps on a guess: tests advance a clock or wait for a condition with [`eventually`].
//! Functions panic with the reason, because that is how a test fails.

mod database;
mod golden;
mod own;
mod pki;
mod proxy;
mod run;
mod settlement;
mod wait;

use pix_runtime::Ids;

pub use database::{TestDatabase, database, empty_database};
pub use golden::{assert_golden, golden};
pub use own::{OwnPart, OwnParts};
pub use pix_parts::{Process, ProcessSpec, free_port};
pub use pix_runtime::{ManualClock, StopSwitch};
pub use pki::{Seat, TestPki};
pub use proxy::{Fault, FaultProxy};
pub use run::{Parts, parts};
pub use settlement::Settlement;
pub use wait::eventually;

/// A prefix nobody else has, for subjects of NATS and keys of Redis: `t4f1c…`, 17 characters.
#[must_use]
pub fn unique_prefix() -> String {
    format!("t{:016x}", u64::from_ne_bytes(Ids::system().bytes()))
}
