//! One bank's accounts and payments. Sans-I/O: facts and events in, changes out; no clock, no chance.
//!
//! The shell loads what a batch of events names into a [`Book`], feeds it the events in order, and
//! commits [`Changes`] in one transaction. Every function here is total: whatever the switch sends, in
//! whatever order and however often, there is an answer, and no money appears or vanishes.
//!
//! Money lives in [`Pocket`]s and moves only by [`Posting`]s, each from one pocket to another, so the sum
//! over all pockets never changes.
//!
//! An indirect participant that the bank settles for has one account in this book. Its customers' payments move it as a
//! customer's own move his, and name the customer ([`Payment::on_behalf_of`]); who they are is not this bank's business.
//!
//! Keys live in a [`Keyring`]: the bank's copy of what the DICT has, which only an answer of the DICT changes.

mod account;
mod book;
mod dict;
mod keyring;
#[cfg(test)]
mod keyring_simulation;
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
pub use dict::{DictRefusal, Doubt, Heard, Said, is_plausible_loss, judge_creation, judge_removal};
pub use keyring::{
    KeyChanges, KeyEvent, KeyFacts, KeyRefusal, KeyStage, KeyState, KeyStep, KeyTaken, Keyring, Question,
    Registration, Wish,
};
pub use payment::{
    Counterparty, Course, Destination, Incoming, LOOKUP_VALID, Lookup, Outgoing, Payee, Payer, Payment,
    Refusal, Stage, Verdict,
};
pub use reason::{Advice, meaning_in_portuguese};
pub use receive::{judge_indirect, judge_receiver};
