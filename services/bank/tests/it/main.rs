//! The real program, real Postgres, real mutual TLS; the switch is scripted, to provoke what a healthy one
//! does not do. The end-to-end tests with the real `spi` are elsewhere.

#![expect(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

mod api;
mod bank;
mod faults;
mod paying;
mod receiving;
mod switch;
