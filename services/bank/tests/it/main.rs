//! The real program, real Postgres, real mutual TLS; the switch and the DICT are scripted, to provoke
//! what healthy ones do not do. The end-to-end tests with the real `spi` and `dict` are elsewhere.

#![expect(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

mod api;
mod bank;
mod dict;
mod faults;
mod indirect;
mod key_faults;
mod keys;
mod lookups;
mod paying;
mod receiving;
mod switch;
