//! What both writers share: a connection of their own, a lock that makes them the only one, and the
//! meaning of what Postgres refuses.

use std::time::Duration;

use pix_domain::{Ispb, ResourceId, Timestamp};
use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, Row as _};
use time::OffsetDateTime;

/// Advisory locks of the SPI live under this number (`PI`).
const LOCK_SPACE: i32 = 0x5049;
/// How often a lock that somebody else holds is asked for again.
const LOCK_RETRY: Duration = Duration::from_millis(50);
/// What one exchange with the store may take; far above any batch, far below a deadline.
const STORE_WITHIN: Duration = Duration::from_secs(15);
/// How long a start waits for the lock: a process that was killed leaves its backend alive for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Why a write did not happen, or may not have happened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The data itself is refused: nothing was written, and asking again will not help.
    #[error("Postgres refuses the data: {0}")]
    Refused(#[source] sqlx::Error),
    /// Something that was read as absent is there: somebody else writes. The process must end.
    #[error("somebody else writes this shard: {0}")]
    SecondWriter(#[source] sqlx::Error),
    /// The connection, or the server, went away: whether the COMMIT happened is unknown.
    #[error("the connection to Postgres is lost: {0}")]
    Lost(#[source] sqlx::Error),
    /// Postgres says that it cannot keep what it is given (WAL, disk, memory). The process must end.
    #[error("Postgres cannot store: {0}")]
    Broken(#[source] sqlx::Error),
    /// A row does not hold what it should.
    #[error("the table {table} holds something else than we wrote: {what}")]
    Corrupt {
        /// Where.
        table: &'static str,
        /// What.
        what: String,
    },
    /// Another process holds the lock.
    #[error(
        "another spi process serves this database ({0:?}); stop it first, or give this one its own database.url"
    )]
    Locked(Lock),
    /// A COMMIT could be lost.
    #[error(
        "Postgres could lose payments that were answered: {0}; set them on, or start with --unsafe_durability=true"
    )]
    NotDurable(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = match &error {
            sqlx::Error::Database(database) => database.code().map(|code| code.into_owned()),
            sqlx::Error::Encode(_) => return Self::Refused(error),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => return Self::Broken(error),
            _ => None,
        };
        match code.as_deref() {
            Some("23505") => Self::SecondWriter(error),
            // Data exceptions, integrity constraints, missing partitions (23514), limits.
            Some(code) if matches!(&code[..2], "22" | "23" | "54") => Self::Refused(error),
            // Disk full, out of memory, I/O errors, internal errors, corruption; a schema or role that is not ours.
            Some(code) if matches!(&code[..2], "42" | "53" | "58" | "XX") && code != "53300" => {
                Self::Broken(error)
            }
            _ => Self::Lost(error),
        }
    }
}

/// Where a writer connects, and whether it insists on durability.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) unsafe_durability: bool,
}

/// A connection that is the only one of its kind.
pub(crate) struct Exclusive {
    pub(crate) connection: PgConnection,
    target: Target,
    lock: Lock,
    backend: Backend,
}

/// What only one process may do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lock {
    /// Write the book of the one shard.
    Book,
    /// Form and confirm messages.
    Desk,
}

impl Lock {
    fn number(self) -> i32 {
        match self {
            Self::Book => 0,
            Self::Desk => 1000,
        }
    }
}

/// A server process: ids are used again, so its start belongs to its name.
struct Backend {
    pid: i32,
    started_at: OffsetDateTime,
}

impl Exclusive {
    /// Connects and takes the lock; waits a little for a predecessor that is dying.
    pub(crate) async fn connect(target: &Target, lock: Lock) -> Result<Self, StoreError> {
        let (connection, backend) = open(target).await?;
        let target = target.clone();
        let mut this = Self {
            connection,
            target,
            lock,
            backend,
        };
        let asked = tokio::time::timeout(LOCK_PATIENCE, this.take_lock()).await;
        asked.map_err(|_| StoreError::Locked(lock))??;
        Ok(this)
    }

    /// Replaces a connection that was lost. The old backend is ended first, so that whatever it was still
    /// doing has either happened or never will.
    pub(crate) async fn reconnect(&mut self) -> Result<(), StoreError> {
        let (mut connection, backend) = open(&self.target).await?;
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE pid = $1 AND backend_start = $2 AND usename = current_user",
        )
        .bind(self.backend.pid)
        .bind(self.backend.started_at)
        .execute(&mut connection)
        .await?;
        self.connection = connection;
        self.backend = backend;
        self.take_lock().await
    }

    async fn take_lock(&mut self) -> Result<(), StoreError> {
        loop {
            let row = sqlx::query("SELECT pg_try_advisory_lock($1, $2)")
                .bind(LOCK_SPACE)
                .bind(self.lock.number())
                .fetch_one(&mut self.connection)
                .await?;
            if row.try_get::<bool, _>(0)? {
                return Ok(());
            }
            tokio::time::sleep(LOCK_RETRY).await;
        }
    }
}

/// Waits for the store only so long: a server that vanished without a word is as good as lost.
pub(crate) async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let silent = || StoreError::Lost(sqlx::Error::PoolTimedOut);
    tokio::time::timeout(STORE_WITHIN, work)
        .await
        .map_err(|_| silent())?
}

async fn open(target: &Target) -> Result<(PgConnection, Backend), StoreError> {
    let mut connection = pix_runtime::pg::connect(&target.url).await?;
    if !target.unsafe_durability {
        use pix_runtime::pg::UnsafePostgres;
        pix_runtime::pg::refuse_unsafe(&mut connection)
            .await
            .map_err(|refused| match refused {
                UnsafePostgres::Settings(off) => StoreError::NotDurable(off.join(", ")),
                UnsafePostgres::Query(error) => StoreError::Lost(error),
            })?;
    }
    let row = sqlx::query("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
        .fetch_one(&mut connection)
        .await?;
    let backend = Backend {
        pid: row.try_get(0)?,
        started_at: row.try_get(1)?,
    };
    index_paths_only(&mut connection).await?;
    Ok((connection, backend))
}

/// Keeps the planner on the index paths, with one plan a statement. A partition that was just made looks empty, and a
/// plan made for an empty table reads it whole: once it has grown, that is every row for every batch. And planning what a
/// batch writes costs more than writing a small one.
pub(crate) async fn index_paths_only(connection: &mut PgConnection) -> Result<(), StoreError> {
    connection
        .execute(
            "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
             SET plan_cache_mode = force_generic_plan",
        )
        .await?;
    Ok(())
}

/// The day (UTC) that `at` falls in.
pub(crate) fn day(at: Timestamp) -> time::Date {
    OffsetDateTime::from(at).date()
}

/// For a column that should hold 32 bytes.
pub(crate) fn bytes32(table: &'static str, raw: &[u8]) -> Result<[u8; 32], StoreError> {
    raw.try_into().map_err(|_| StoreError::Corrupt {
        table,
        what: format!("{} bytes, not 32", raw.len()),
    })
}

/// For a column that should hold a PI-ResourceId.
pub(crate) fn resource_id(table: &'static str, raw: &[u8]) -> Result<ResourceId, StoreError> {
    let raw = raw.try_into();
    raw.map(ResourceId::from_bytes).map_err(|_| StoreError::Corrupt {
        table,
        what: "a resource id that has not 24 bytes".to_owned(),
    })
}

/// For a column that should hold something that parses.
pub(crate) fn parsed<T, E: std::fmt::Display>(
    table: &'static str,
    result: Result<T, E>,
) -> Result<T, StoreError> {
    result.map_err(|e| StoreError::Corrupt {
        table,
        what: e.to_string(),
    })
}

/// For a column that should hold an ISPB.
pub(crate) fn ispb(table: &'static str, text: &str) -> Result<Ispb, StoreError> {
    parsed(table, Ispb::parse(text.as_bytes()))
}
