//! Whole messages: against the official samples and schemas, against implementations of XML signature that are
//! not ours, and against whoever means harm.

mod foreign;
mod hostile;
mod oracle;
mod properties;
mod rules;
mod samples;
mod schema;
mod support;
mod tamper;
