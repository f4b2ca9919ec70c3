//! The only place where SQL, keys and subjects are spelled.

pub(crate) mod grants;
pub(crate) mod nats;
pub(crate) mod nats_events;
pub(crate) mod pg;
pub(crate) mod pg_debts;
pub(crate) mod pg_entries;
pub(crate) mod pg_statistics;
pub(crate) mod pg_views;
pub(crate) mod redis_buckets;
