//! The settlement service, sans-I/O: facts and commands in, decisions out; no clock, no chance.
//!
//! The shell gathers facts, asks a function here, and commits what it decided in one transaction.

pub mod balances;
pub mod certificate;
pub mod funding;
pub mod registry;
pub mod windows;
