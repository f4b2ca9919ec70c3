//! One bank's accounts and payments. Sans-I/O: facts and events in, changes out; no clock, no chance.
//!
//! The shell loads what a batch of events names into a [`Book`], feeds it the events in order, and
//! commits [`Changes`] in one transaction. Every function here is total: whatever the switch sends, in
//! whatever order and however often, there is an answer, and no money appears or vanishes.
//!
//! Money lives in [`Pocket`]s and moves only by [`Posting`]s, each from one pocket to another, so the sum
//! over all pockets never changes.

mod account;
mod book;
mod payment;
mod reason;
mod receive;
#[cfg(test)]
mod simulation;

pub use account::{Account, AccountId, AccountState, Balances, InvalidAccountState, Pocket, Posting};
pub use book::{
    Accepted, Anomaly, AnomalyKind, Answer, Book, Changes, EarlyStatus, Facts, IncomingOrder, Order,
    OrderKey, OrderRefusal, StatusReport, Step,
};
pub use payment::{Counterparty, Course, Destination, Incoming, Outgoing, Payment, Refusal, Stage, Verdict};
pub use reason::meaning_in_portuguese;
pub use receive::judge_receiver;
