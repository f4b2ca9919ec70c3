//! The participants of the switch and their certificates: the copy that a service authenticates by.
//!
//! For now it is read from a seed file, `participants.toml`:
//!
//! ```toml
//! [[participant]]
//! ispb = "11111111"
//! name = "Banco Aurora"
//! opening_balance = "1000000.00"                 # of its Conta PI; direct participants only
//! active = true                                  # the default
//! category = "A"                                 # of its DICT limits, A to H; A is the default
//! channel_certificates = ["pki/11111111/channel.crt"]      # paths relative to this file
//! signature_certificates = ["pki/11111111/signature.crt"]
//!
//! [[participant]]
//! ispb = "33333333"
//! name = "Banco Indireto"
//! settler = "11111111"                           # an indirect participant: no Conta PI, no certificates
//! ```

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
