//! The DICT, sans-I/O: facts and commands in, decisions out; no clock, no chance.
//!
//! The shell gathers facts, asks a function here, and commits what it decided in one transaction. Every function is
//! total: whatever a participant sends, there is an answer.

pub mod buckets;
pub mod entry;
pub mod statistics;
