//! The only place where SQL is spelled.

pub(crate) mod pg;
