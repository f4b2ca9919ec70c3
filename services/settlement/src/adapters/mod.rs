//! The only place where SQL and subjects are spelled.

pub(crate) mod grants;
pub(crate) mod nats_events;
pub(crate) mod nats_settled;
pub(crate) mod pg;
pub(crate) mod pg_funding;
pub(crate) mod pg_liquidity;
pub(crate) mod pg_registry;
pub(crate) mod pg_windows;
pub(crate) mod spi_book;
