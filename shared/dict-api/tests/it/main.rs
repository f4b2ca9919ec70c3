//! Whole messages: against the official examples, against implementations of XML signature that are not ours, and
//! against whoever means harm.

mod check;
mod check_digits;
mod examples;
mod foreign;
mod golden;
mod hostile;
mod oracle;
mod properties;
mod support;
mod tamper;
