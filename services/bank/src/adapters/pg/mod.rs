//! Postgres: the truth.
//!
//! [`Ledger`] is the one connection that writes; a session lock makes it the only one of its database, so
//! facts that it has read cannot change before it commits. [`Reader`] answers the page from a pool.

mod changes;
mod facts;
mod keys;
mod read;
mod rows;
mod seed;

use std::time::Duration;

use pix_domain::Timestamp;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tracing::log::LevelFilter;

pub(crate) use changes::{Batch, Inbound, Outbound};
pub(crate) use facts::{Known, Names};
pub(crate) use keys::{Comparable, KeyLine, OpenQuestion};
pub(crate) use read::{MessageOut, PaymentLine, Reader, Waiting};
pub(crate) use seed::Customer;

/// `pg_advisory_lock` key of "the writer of a bank's book": "PIXBANK" in ASCII.
const WRITER_LOCK: i64 = 0x0050_4958_4241_4E4B;
/// After this long waiting for the lock, the log says what for.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// The schema, embedded.
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/bank");

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The connection or the server is gone: whether the transaction committed is unknown.
    #[error("the database is away: {0}")]
    Lost(String),
    /// The server refuses these very rows.
    #[error("the database refuses the rows: SQLSTATE {code}, constraint {constraint}")]
    Refused {
        /// SQLSTATE.
        code: String,
        /// Name of the constraint, if any.
        constraint: String,
    },
    /// A stored value that the domain does not admit.
    #[error("the database holds an impossible {0}")]
    Corrupt(&'static str),
    /// A sum beyond 63 bits of centavos.
    #[error("an amount of the batch is beyond all money there is")]
    Overflow,
}

impl From<sqlx::Error> for StoreError {
    /// Server messages may repeat values of rows, so only codes are kept.
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default().into_owned();
                let constraint = database.constraint().unwrap_or("none").to_owned();
                // Classes 22 and 23: bad data, broken constraints. The rest is the server's state.
                if code.starts_with("22") || code.starts_with("23") {
                    Self::Refused { code, constraint }
                } else {
                    Self::Lost(format!("SQLSTATE {code}"))
                }
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Corrupt("column"),
            other => Self::Lost(other.to_string()),
        }
    }
}

/// Brings the schema of the database up to this program.
///
/// # Errors
/// When the database is away, or was migrated by a newer program.
pub(crate) async fn migrate(url: &str) -> anyhow::Result<()> {
    let mut conn = pix_runtime::pg::connect(url).await?;
    MIGRATIONS.run(&mut conn).await?;
    Ok(conn.close().await?)
}

/// The one writer of the book.
pub(crate) struct Ledger {
    options: PgConnectOptions,
    unsafe_durability: bool,
    name: String,
    conn: Option<PgConnection>,
}

impl Ledger {
    /// A writer that will connect when it is first needed. `token` tells this process from every other.
    ///
    /// # Errors
    /// When the URL is none.
    pub(crate) fn new(url: &str, token: u64, unsafe_durability: bool) -> anyhow::Result<Self> {
        let name = format!("bank-writer-{token:016x}");
        let options: PgConnectOptions = url.parse()?;
        let options = options.application_name(&name).log_statements(LevelFilter::Off);
        Ok(Self {
            options,
            unsafe_durability,
            name,
            conn: None,
        })
    }

    /// Makes sure that this process is the writer.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when the database is away.
    pub(crate) async fn ready(&mut self) -> Result<&mut PgConnection, StoreError> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.take_over().await?,
        };
        Ok(self.conn.insert(conn))
    }

    /// Reads what `names` names, lets `decide` make a batch of it, commits the batch.
    ///
    /// # Errors
    /// [`StoreError::Lost`]: nobody knows whether the batch is in; the next call fences first, and what
    /// was in is then found among the facts. Any other: the batch is not in.
    pub(crate) async fn apply<R>(
        &mut self,
        names: Names,
        now: Timestamp,
        decide: impl FnOnce(Known) -> (Batch, R),
    ) -> Result<R, StoreError> {
        let done = self.attempt(names, now, decide).await;
        if matches!(done, Err(StoreError::Lost(_))) {
            self.conn = None;
        }
        done
    }

    async fn attempt<R>(
        &mut self,
        names: Names,
        now: Timestamp,
        decide: impl FnOnce(Known) -> (Batch, R),
    ) -> Result<R, StoreError> {
        let mut tx = self.ready().await?.begin().await?;
        let known = facts::gather(&mut tx, names).await?;
        let (batch, result) = decide(known);
        changes::write(&mut tx, &batch, now).await?;
        tx.commit().await?;
        Ok(result)
    }

    /// Opens accounts that are not there yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn seed(&mut self, customers: &[Customer], now: Timestamp) -> Result<usize, StoreError> {
        let mut tx = self.ready().await?.begin().await?;
        let opened = seed::open_accounts(&mut tx, customers, now).await?;
        tx.commit().await?;
        Ok(opened)
    }

    /// A new connection, after this process's older ones are gone: only then is it known what they
    /// committed. Another process that writes this book keeps the lock, and us waiting.
    async fn take_over(&self) -> Result<PgConnection, StoreError> {
        let mut conn = PgConnection::connect_with(&self.options).await?;
        if !self.unsafe_durability {
            pix_runtime::pg::refuse_unsafe(&mut conn)
                .await
                .map_err(|e| StoreError::Lost(e.to_string()))?;
        }
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE application_name = $1 AND datname = current_database() AND pid <> pg_backend_pid()",
        )
        .bind(&self.name)
        .execute(&mut conn)
        .await?;
        await_lock(&mut conn).await?;
        Ok(conn)
    }
}

async fn await_lock(conn: &mut PgConnection) -> Result<(), StoreError> {
    let lock = sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(WRITER_LOCK)
        .execute(conn);
    tokio::pin!(lock);
    if let Ok(locked) = tokio::time::timeout(LOCK_PATIENCE, &mut lock).await {
        locked?;
        return Ok(());
    }
    tracing::warn!("another process writes this bank's book; waiting until it ends");
    lock.await?;
    Ok(())
}
