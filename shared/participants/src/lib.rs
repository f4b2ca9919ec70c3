//! The participants of the switch and their certificates: what a service authenticates by.
//!
//! The settlement service has the registry. [`copy`] keeps a copy of it in a service's own database and follows it;
//! a switch without settlement service has a file instead ([`seed`]). Either gives [`Record`]s, of which the
//! [`Directory`] is made; a [`Source`] says which of the two it is, and [`Current`] holds the latest directory.

pub mod copy;
mod current;
mod directory;
mod record;
pub mod seed;
mod source;
mod standing;

pub use current::{Current, Resident};
pub use directory::{Contradiction, Contradictions, Directory, Participant};
pub use record::{Certificate, Record, RecordFault, Use};
pub use seed::{Seed, SeedFault, SeedFaults};
pub use source::{FILE, Follower, OpenError, READY, SETTLEMENT, Source};
pub use standing::{METRICS, Origin, Standing, State};
