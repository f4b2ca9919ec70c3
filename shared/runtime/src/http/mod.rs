//! HTTP/1.1 over mutual TLS: the server that shows who calls, and the client of the banks.

mod body;
mod client;
mod crowd;
mod handshake;
mod server;
mod watched;

pub use body::{BODY_WITHIN, BodyError, read_body};
pub use client::{Client, ClientError, ClientLimits};
pub use handshake::{Peer, PeerCertificate};
pub use server::{Cut, End, Handler, ServerLimits, serve};
