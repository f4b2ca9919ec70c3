//! RSA-2048 signatures eight at a time.
//!
//! A processor with AVX-512 IFMA makes eight signatures side by side in the time of four. [`Library`] is what does it:
//! Intel's `libcrypto_mb`, loaded at run time and believed once it has signed what aws-lc verifies. [`Combiner`] brings
//! together the threads that want a signature at the same time, and lets each sign alone when they are few. [`Key`] is
//! a private key as the library takes it.
//!
//! What is not to be had this way (another processor, another key, a library that once was wrong) is signed by
//! whoever asked: he always brings along how he signs alone.

mod combiner;
mod key;
mod library;

pub use combiner::{CALL_MIN, Combiner, LANES, Lane, Vector, VectorFault};
pub use key::{Key, UnfitKey};
pub use library::{Library, LoadError};

/// Octets of an RSA-2048 signature.
pub const SIGNATURE_LEN: usize = 256;

/// An RSA-2048 signature, and what it is made of.
pub type Octets = [u8; SIGNATURE_LEN];
