//! What every query shares: the meaning of what Postgres refuses, and rows that hold what we wrote.

use std::time::Duration;

use sqlx::{PgPool, Postgres, Transaction};

/// What one question to the store may take, waiting for a connection included.
const STORE_WITHIN: Duration = Duration::from_secs(8);
/// Begins a write. Postgres itself stops waiting for a lock: it is not told when whoever waits is given up.
const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '4s'";

/// Why the store did not do what it was asked, or may have done it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Nothing was written: Postgres is away, busy or refuses.
    #[error("Postgres did not answer: {0}")]
    Away(#[source] sqlx::Error),
    /// The COMMIT was sent and its answer is lost.
    #[error("the answer to a COMMIT is lost: {0}")]
    Unknown(#[source] sqlx::Error),
    /// A row does not hold what it should.
    #[error("the table {table} holds something else than we wrote: {what}")]
    Corrupt {
        /// Where.
        table: &'static str,
        /// What.
        what: String,
    },
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Away(error)
    }
}

/// Waits for the store only so long: a server that vanished without a word is as good as away. What it was asked may
/// have been a COMMIT.
pub(crate) async fn in_time<T, E: From<StoreError>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let silent = |_| StoreError::Unknown(sqlx::Error::PoolTimedOut);
    tokio::time::timeout(STORE_WITHIN, work).await.map_err(silent)?
}

/// Begins a transaction that writes.
pub(crate) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, StoreError> {
    Ok(pool.begin_with(BEGIN).await?)
}

/// For a column that should hold something that parses.
pub(crate) fn parsed<T, E: std::fmt::Display>(
    table: &'static str,
    result: Result<T, E>,
) -> Result<T, StoreError> {
    result.map_err(|error| StoreError::Corrupt {
        table,
        what: error.to_string(),
    })
}
