//! The only place where SQL, keys and subjects are spelled.

pub(crate) mod grants;
pub(crate) mod hits;
pub(crate) mod nats;
pub(crate) mod partitions;
pub(crate) mod pg;
pub(crate) mod pg_audit;
pub(crate) mod pg_book;
pub(crate) mod pg_delivery;
pub(crate) mod pg_events;
pub(crate) mod pg_settlements;
pub(crate) mod pg_views;
