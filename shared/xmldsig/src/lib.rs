//! XML signature as Pix uses it (Manual de Segurança do Pix): RSA-SHA256 over exclusive C14N, nothing else.

mod escape;
mod identity;
mod key;
mod signature;

pub use identity::IssuerSerial;
pub use key::{KeyError, KeySource, Signer, VerifyingKey};
