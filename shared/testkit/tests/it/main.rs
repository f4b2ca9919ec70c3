//! The kit itself: what every other test builds on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod databases;
mod golden;
mod keeper;
mod own;
mod pki;
mod proxy;
