//! What every query shares: the meaning of what Postgres refuses, and rows that hold what we wrote.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pix_domain::{Ispb, Key, KeyType};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};
use tokio::sync::{Semaphore, SemaphorePermit};

/// What one question to the store may take, waiting for a connection included; below a participant's patience.
pub(crate) const STORE_WITHIN: Duration = Duration::from_secs(4);

/// Why the store did not do what it was asked, or may have done it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Nothing was written: Postgres is away, busy or refuses.
    #[error("Postgres did not answer: {0}")]
    Away(#[source] sqlx::Error),
    /// The COMMIT was sent and its answer is lost.
    #[error("the answer to a COMMIT is lost: {0}")]
    Unknown(#[source] sqlx::Error),
    /// The request's time was over before its COMMIT; nothing was written.
    #[error("the request came to no end in its time")]
    Late,
    /// Others changed the same rows each time the facts were gathered.
    #[error("the facts changed under every attempt")]
    Contended,
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

/// Waits for the store only so long: a server that vanished without a word is as good as away.
pub(crate) async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let silent = |_| StoreError::Away(sqlx::Error::PoolTimedOut);
    tokio::time::timeout(STORE_WITHIN, work).await.map_err(silent)?
}

/// Connections that read, given out one by one. Unlike a general pool it asks nothing of a connection before or
/// after its one question: a lookup is a single exchange with Postgres.
pub(crate) struct Readers {
    url: String,
    idle: Mutex<Vec<PgConnection>>,
    places: Semaphore,
}

/// One connection of [`Readers`]. Dropped, it is closed.
pub(crate) struct Reader<'a> {
    pub(crate) connection: PgConnection,
    /// Whether it answered before: then its failure may be old news.
    pub(crate) was_kept: bool,
    _place: SemaphorePermit<'a>,
}

impl Readers {
    /// At most `max` connections to `url`, opened as they are needed.
    pub(crate) fn new(url: &str, max: usize) -> Self {
        Self {
            url: url.to_owned(),
            idle: Mutex::new(Vec::with_capacity(max)),
            places: Semaphore::new(max),
        }
    }

    /// A connection: one that was kept, or another when there is none or `fresh` is asked for. A fresh one is asked
    /// for when a kept one turned out dead; the server restarted, so the others are forgotten with it.
    pub(crate) async fn take(&self, fresh: bool) -> Result<Reader<'_>, StoreError> {
        let place = self.places.acquire().await.expect("never closed");
        let kept = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if fresh {
                idle.clear();
            }
            idle.pop()
        };
        let was_kept = kept.is_some();
        let connection = match kept {
            Some(connection) => connection,
            None => Box::pin(connect(&self.url)).await?,
        };
        Ok(Reader {
            connection,
            was_kept,
            _place: place,
        })
    }

    /// Takes a connection back that answered.
    pub(crate) fn keep(&self, reader: Reader<'_>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(reader.connection);
    }

    /// Says goodbye to Postgres.
    pub(crate) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in idle {
            drop(connection.close().await); // a connection that is gone needs no goodbye
        }
    }
}

/// A connection that stays on the index paths: a plan made while a table was empty reads it whole for ever.
async fn connect(url: &str) -> Result<PgConnection, StoreError> {
    let mut connection = pix_runtime::pg::connect(url).await?;
    connection.execute("SET enable_seqscan = off").await?;
    Ok(connection)
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

/// For a column that should hold `N` bytes.
pub(crate) fn bytes<const N: usize>(table: &'static str, raw: &[u8]) -> Result<[u8; N], StoreError> {
    raw.try_into().map_err(|_| StoreError::Corrupt {
        table,
        what: format!("{} bytes, not {N}", raw.len()),
    })
}

/// For a column that should hold an ISPB.
pub(crate) fn ispb(table: &'static str, text: &str) -> Result<Ispb, StoreError> {
    parsed(table, Ispb::parse(text.as_bytes()))
}

/// For two columns that should hold a key.
pub(crate) fn key(table: &'static str, kind: &str, text: &str) -> Result<Key, StoreError> {
    let kind = parsed(table, KeyType::parse(kind.as_bytes()))?;
    parsed(table, Key::parse(kind, text))
}
