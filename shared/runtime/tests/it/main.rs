//! What every service relies on: real sockets, real TLS, real signals.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod config;
mod crowd;
mod dismissed;
mod http;
mod lifecycle;
mod mtls;
mod ops;
mod server;
mod traces;
