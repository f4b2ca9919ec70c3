//! Development PKI: one authority, a channel and a signature certificate for each participant, a server
//! and a signature certificate for each service, a second authority for calls between services. RSA-2048, as the SPB has it.
//!
//! [`Authority`] and [`Identity`] are in memory and pure but for their keys; [`DevPki`] keeps them in a
//! folder. Nothing of it is for production.

mod authority;
mod folder;

pub use authority::{Authority, Identity, PkiError, Subject, Use, Validity};
pub use folder::{DevPki, Inside};
