//! Postgres: connections, the durability we insist on, and its clock.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use pix_domain::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};
use tracing::log::LevelFilter;

use crate::{Clock, Stopping};

/// How long a connection may take to open, or to be free in a pool.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Statements slower than this are logged, without their values.
const SLOW: Duration = Duration::from_secs(1);

fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(PgConnectOptions::from_str(url)?
        // Compiling pays for long analyses alone, and a planner that is kept from reading whole tables prices what is
        // left so high that it compiled our smallest questions.
        .options([("jit", "off")])
        .log_statements(LevelFilter::Off)
        .log_slow_statements(LevelFilter::Warn, SLOW))
}

/// One connection of one's own.
///
/// # Errors
/// When the database cannot be reached in [`CONNECT_WITHIN`], or refuses.
pub async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    let options = options(url)?;
    tokio::time::timeout(CONNECT_WITHIN, PgConnection::connect_with(&options))
        .await
        .map_err(|_| sqlx::Error::PoolTimedOut)?
}

/// A pool of at most `max` connections, one of them opened to see that it works.
///
/// # Errors
/// When the database cannot be reached in [`CONNECT_WITHIN`], or refuses.
pub async fn pool(url: &str, max: u32) -> Result<PgPool, sqlx::Error> {
    PgPoolOptions::new()
        .max_connections(max)
        .acquire_timeout(CONNECT_WITHIN)
        .connect_with(options(url)?)
        .await
}

/// What the role that serves may do beside reading and appending.
#[derive(Clone, Copy, Debug)]
pub struct Rights {
    /// The tables whose rows change, and the columns, separated by commas; all of them when that is empty.
    pub updated: &'static [(&'static str, &'static str)],
    /// The tables whose rows go.
    pub deleted: &'static [&'static str],
}

/// Grants what the role of `database_url` needs, unless it is the owner itself: what is history it appends to, and may
/// not change.
///
/// # Errors
/// What Postgres says.
pub async fn grant(owner: &mut PgConnection, database_url: &str, rights: &Rights) -> Result<(), sqlx::Error> {
    let role = PgConnectOptions::from_str(database_url)?
        .get_username()
        .to_owned();
    // Quoted by Postgres itself: DDL takes no parameters.
    let row = sqlx::query("SELECT quote_ident($1), $1 = current_user")
        .bind(&role)
        .fetch_one(&mut *owner)
        .await?;
    if row.try_get::<bool, _>(1)? {
        tracing::warn!(
            "database.url connects as the owner: nothing but our own care keeps history from changing"
        );
        return Ok(());
    }
    let role: String = row.try_get(0)?;
    let mut statements = format!(
        "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {role};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};"
    );
    for (table, columns) in rights.updated {
        let columns = match *columns {
            "" => String::new(),
            columns => format!("({columns})"),
        };
        statements.push_str(&format!("GRANT UPDATE {columns} ON {table} TO {role};"));
    }
    for table in rights.deleted {
        statements.push_str(&format!("GRANT DELETE ON {table} TO {role};"));
    }
    owner.execute(sqlx::raw_sql(AssertSqlSafe(statements))).await?;
    Ok(())
}

/// Why a Postgres is not trusted with money.
#[derive(Debug, thiserror::Error)]
pub enum UnsafePostgres {
    /// A COMMIT would not be durable.
    #[error("Postgres could lose payments that were answered: {}; set them on, or start with --unsafe_durability=true", .0.join(", "))]
    Settings(Vec<String>),
    /// It did not tell.
    #[error("Postgres does not tell whether it is durable: {0}")]
    Query(#[from] sqlx::Error),
}

/// Checks that a COMMIT is durable when it is answered (DESIGN 4.1).
///
/// # Errors
/// [`UnsafePostgres::Settings`] names the settings that are off.
pub async fn refuse_unsafe(connection: &mut PgConnection) -> Result<(), UnsafePostgres> {
    let off: Vec<(String, String)> = sqlx::query_as(
        "SELECT name, setting FROM pg_settings
         WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')
           AND setting NOT IN ('on', 'remote_apply')
         ORDER BY name",
    )
    .fetch_all(connection)
    .await?;
    if off.is_empty() {
        return Ok(());
    }
    Err(UnsafePostgres::Settings(
        off.into_iter()
            .map(|(name, value)| format!("{name} is {value}"))
            .collect(),
    ))
}

/// The time of the database, without asking it each time: deadlines are database time (DESIGN 4.12).
///
/// It is sampled every [`SAMPLE_EVERY`] and carried on by our monotonic clock in between, also while the
/// database is away. It never goes backwards. Clones share it.
#[derive(Clone)]
pub struct DbClock(Arc<Shared>);

struct Shared {
    /// What `offset` is counted from.
    start: Instant,
    /// Database time at `start`, in microseconds since 1970.
    offset: AtomicI64,
    /// The latest time given out.
    latest: AtomicI64,
}

/// How often the database's clock is read.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// A sample that took longer says too little: the reading happened somewhere within.
const SAMPLE_WITHIN: Duration = Duration::from_millis(50);

impl DbClock {
    /// Reads the database's clock once.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn start(url: &str) -> Result<Self, sqlx::Error> {
        let clock = Self(Arc::new(Shared {
            start: Instant::now(),
            offset: AtomicI64::new(0),
            latest: AtomicI64::new(i64::MIN),
        }));
        let (offset, _) = clock.sample(&mut connect(url).await?).await?;
        clock.0.offset.store(offset, Ordering::Release);
        Ok(clock)
    }

    /// Keeps the clock true until the stop: a task for the lifecycle.
    pub async fn run(self, url: String, stopping: Stopping) {
        let mut connection = None;
        loop {
            tokio::select! {
                () = stopping.stopped() => return,
                () = tokio::time::sleep(SAMPLE_EVERY) => {}
            }
            if let Err(e) = self.follow(&url, &mut connection).await {
                tracing::warn!(error = %e, "the database's clock cannot be read; going on by our own");
                connection = None;
            }
        }
    }

    async fn follow(&self, url: &str, connection: &mut Option<PgConnection>) -> Result<(), sqlx::Error> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(connect(url).await?),
        };
        let (offset, took) = tokio::time::timeout(CONNECT_WITHIN, self.sample(connection))
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)??;
        if took <= SAMPLE_WITHIN {
            self.0.offset.store(offset, Ordering::Release);
        }
        Ok(())
    }

    /// Database time at `start`, taking the middle of the round trip for the reading; and the round trip.
    async fn sample(&self, connection: &mut PgConnection) -> Result<(i64, Duration), sqlx::Error> {
        let asked = self.0.start.elapsed();
        let micros: i64 =
            sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
                .fetch_one(connection)
                .await?;
        let took = self.0.start.elapsed().saturating_sub(asked);
        Ok((micros.saturating_sub(micros_of(asked + took / 2)), took))
    }
}

impl Clock for DbClock {
    fn now(&self) -> Timestamp {
        let offset = self.0.offset.load(Ordering::Acquire);
        let now = offset.saturating_add(micros_of(self.0.start.elapsed()));
        Timestamp::from_micros(now.max(self.0.latest.fetch_max(now, Ordering::AcqRel)))
    }
}

fn micros_of(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
