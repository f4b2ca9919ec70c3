//! The settlement service as the switch's own services and operators meet it: a real process, real parts, real TLS.

mod faults;
mod flow;
mod funding;
mod import;
mod participants;
mod refusals;
mod spi;
mod support;
mod switch;
mod windows;
