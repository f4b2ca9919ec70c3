//! The participants under whose load the switch is: real certificates, ICOM and the DICT's API, nothing else.

mod bank;
mod keys;
mod pay;
mod read;
mod run;

pub(crate) use bank::Bank;
pub(crate) use keys::{Directory, payer};
pub(crate) use run::{Fleet, Load, Outcome, Run, What};
