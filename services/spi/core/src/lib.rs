//! The SPI without its sockets, tables and clocks: what is decided, given facts and `now`.
//!
//! - [`order`]: what an order of payment is worth before the book is asked: identity, routing, rules.
//! - [`book`]: the Conta PI book, a batch machine: commands and facts in, rows and effects out.
//! - [`former`]: which waiting transactions go into one outgoing message, and when.
//! - [`streams`]: how a participant reads its messages, and when one counts as read.
//! - [`allowance`]: how much a participant may send.
//! - [`multipart`], [`gunzip`]: how bodies are packed.
//! - [`sandbox`]: scripted misbehaviour, for those who test their own connector.
//! - [`audit`]: what the audit chain of a batch is made of.

pub mod allowance;
pub mod audit;
pub mod book;
pub mod former;
pub mod gunzip;
pub mod multipart;
pub mod order;
pub mod outgoing;
pub mod participants;
pub mod sandbox;
pub mod streams;
