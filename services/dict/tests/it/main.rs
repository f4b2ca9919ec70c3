//! The DICT as participants, operators and the switch's own services meet it: a real process, real parts, real TLS.

mod bad_input;
mod examples;
mod faults;
mod given_up;
mod inside;
mod limits;
mod refusals;
mod registry;
mod repeats;
mod support;
mod synchronism;
