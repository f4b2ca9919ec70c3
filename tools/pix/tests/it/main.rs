//! Whole switches: `pix up` with real processes, killed and cut off; nothing may be lost.
//!
//! One at a time (`.config/nextest.toml`; the lock in `switch.rs` where cargo runs them): each starts eleven processes.
#![allow(clippy::print_stderr, reason = "what a test says belongs to its output")]

mod browser;
mod canary;
mod collector;
mod deploy;
mod docs;
mod first_payment;
#[path = "../../src/http.rs"]
#[allow(dead_code, reason = "the command's own client; tests need part of it")]
mod http;
mod keys;
mod kills;
mod lifecycle;
mod mistakes;
mod money;
mod participants;
mod questions;
mod readme;
mod reference;
mod switch;
mod virtuals;
mod webdriver;
