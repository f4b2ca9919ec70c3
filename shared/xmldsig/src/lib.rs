//! XML signature as Pix uses it (Manual de Segurança do Pix): RSA-SHA256 over exclusive C14N, nothing else.
//!
//! One mechanism, two profiles. Both sign the KeyInfo and what encloses the signature; that of the SPI signs
//! the Document beside it as well, that of the DICT has nothing beside it: its signature is a child of the
//! message's root.
//!
//! Two ways lead to the same answer. [`Cursor`] and [`CanonicalSignature`] read an input that is its own
//! canonical form, in the pass that also parses it, and digest its slices. [`tree`] takes any XML 1.0 without
//! DOCTYPE, processing instructions and comments, canonicalises it slowly and obviously, and is the oracle of
//! the first.

mod cursor;
mod error;
pub mod escape;
mod identity;
mod key;
mod profile;
mod signature;
pub mod tree;
pub mod vector;

pub use cursor::{Cursor, NotCanonical, Token, unescape};
pub use error::SignatureError;
pub use identity::IssuerSerial;
pub use key::{KeyError, KeySource, Signer, VerifyingKey, first_certificate};
pub use profile::{DSIG, Digest, digest, is_key_info_id};
pub use signature::{CanonicalSignature, sign_enveloped, sign_spi};
