//! The SPI as participants and operators meet it: a real process, real parts, real TLS.

mod answers;
mod audit;
mod hostile;
mod icom;
mod identity;
mod inside;
mod nothing_lost;
mod orders;
mod payments;
mod reading;
mod reasons;
mod registry;
mod sandbox;
mod storm;
mod support;
mod wire;
