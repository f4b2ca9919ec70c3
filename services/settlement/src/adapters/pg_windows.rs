//! Windows in Postgres: the open one is also our place in the book.

use std::collections::BTreeMap;

use pix_domain::{Ispb, Timestamp};
use pix_runtime::outbox::{self, Event};
use settlement_core::windows::{Ledger, Length, Phase, Position, Proof, Tally, Window};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Executor as _, PgPool, Postgres, Row as _, Transaction};
use time::{Date, OffsetDateTime};

use super::pg::{self, StoreError, parsed};
use super::spi_book::SHARD;

/// The row of the open window,
const OPEN: &str = "
    SELECT number, book, is_closing, opened_at, ends_at, after_batch, to_batch, decided_at, count, gross_centavos
    FROM open_window WHERE shard = $1";
/// and the same for whoever is about to count.
const OPEN_LOCKED: &str = "
    SELECT number, book, is_closing, opened_at, ends_at, after_batch, to_batch, decided_at, count, gross_centavos
    FROM open_window WHERE shard = $1 FOR UPDATE";
/// Where positions are.
const POSITIONS: &str = "moving_position, closed_position";

/// One transaction that counts; there is one at a time, whatever process it is of.
pub(crate) struct Counting {
    transaction: Transaction<'static, Postgres>,
    kept: Option<Window>,
}

impl Counting {
    /// Begins, and waits for those before.
    pub(crate) async fn begin(pool: &PgPool) -> Result<Self, StoreError> {
        let mut transaction = pg::begin(pool).await?;
        let row = sqlx::query(OPEN_LOCKED)
            .bind(SHARD)
            .fetch_optional(&mut *transaction)
            .await?;
        let kept = row.as_ref().map(window).transpose()?;
        Ok(Self { transaction, kept })
    }

    /// The window that was kept; `None` before anything was counted.
    pub(crate) fn ledger(&self, length: Length) -> Option<Ledger> {
        Some(Ledger::resume(self.kept.clone()?, length))
    }

    /// Makes it so: positions, windows that are complete, and our place, in one COMMIT. Whether anything was to be done.
    pub(crate) async fn commit(mut self, ledger: &Ledger) -> Result<bool, StoreError> {
        if self.kept.as_ref() == Some(ledger.current()) {
            return Ok(false);
        }
        for window in ledger.complete() {
            complete(&mut self.transaction, window).await?;
        }
        move_positions(&mut self.transaction, ledger.moved()).await?;
        keep(&mut self.transaction, ledger.current()).await?;
        self.transaction.commit().await.map_err(StoreError::Unknown)?;
        Ok(true)
    }
}

/// The window in which batches are counted, as it was a moment ago; `None` before any.
pub(crate) async fn current(pool: &PgPool) -> Result<Option<Window>, StoreError> {
    let row = sqlx::query(OPEN).bind(SHARD).fetch_optional(pool).await?;
    row.as_ref().map(window).transpose()
}

async fn complete(connection: &mut PgConnection, window: &Window) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO complete_window
             (shard, number, book, opened_at, ends_at, after_batch, to_batch, decided_at, count, gross_centavos)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(SHARD)
    .bind(window.number)
    .bind(&window.book)
    .bind(OffsetDateTime::from(window.opened_at))
    .bind(OffsetDateTime::from(window.ends_at))
    .bind(window.after_batch)
    .bind(window.to_batch)
    .bind(window.decided_at.map(OffsetDateTime::from))
    .bind(window.gross.count)
    .bind(window.gross.centavos)
    .execute(connection)
    .await?;
    Ok(())
}

async fn move_positions(
    connection: &mut PgConnection,
    moved: &BTreeMap<(i64, Ispb), Position>,
) -> Result<(), StoreError> {
    if moved.is_empty() {
        return Ok(());
    }
    let column = |value: fn(&Position) -> i64| moved.values().map(value).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO moving_position AS p
             (number, ispb, sent_centavos, sent_count, received_centavos, received_count,
              returned_centavos, returned_count)
         SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                              $7::bigint[], $8::bigint[])
         ON CONFLICT (number, ispb) DO UPDATE SET
             sent_centavos = p.sent_centavos + EXCLUDED.sent_centavos,
             sent_count = p.sent_count + EXCLUDED.sent_count,
             received_centavos = p.received_centavos + EXCLUDED.received_centavos,
             received_count = p.received_count + EXCLUDED.received_count,
             returned_centavos = p.returned_centavos + EXCLUDED.returned_centavos,
             returned_count = p.returned_count + EXCLUDED.returned_count",
    )
    .bind(moved.keys().map(|(number, _)| *number).collect::<Vec<_>>())
    .bind(moved.keys().map(|(_, ispb)| ispb.as_str().to_owned()).collect::<Vec<_>>())
    .bind(column(|position| position.sent.centavos))
    .bind(column(|position| position.sent.count))
    .bind(column(|position| position.received.centavos))
    .bind(column(|position| position.received.count))
    .bind(column(|position| position.returned.centavos))
    .bind(column(|position| position.returned.count))
    .execute(connection)
    .await?;
    Ok(())
}

async fn keep(connection: &mut PgConnection, window: &Window) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO open_window
             (shard, number, book, is_closing, opened_at, ends_at, after_batch, to_batch, decided_at, count,
              gross_centavos)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (shard) DO UPDATE SET
             number = EXCLUDED.number, book = EXCLUDED.book, is_closing = EXCLUDED.is_closing,
             opened_at = EXCLUDED.opened_at, ends_at = EXCLUDED.ends_at, after_batch = EXCLUDED.after_batch,
             to_batch = EXCLUDED.to_batch, decided_at = EXCLUDED.decided_at, count = EXCLUDED.count,
             gross_centavos = EXCLUDED.gross_centavos",
    )
    .bind(SHARD)
    .bind(window.number)
    .bind(&window.book)
    .bind(window.phase == Phase::Closing)
    .bind(OffsetDateTime::from(window.opened_at))
    .bind(OffsetDateTime::from(window.ends_at))
    .bind(window.after_batch)
    .bind(window.to_batch)
    .bind(window.decided_at.map(OffsetDateTime::from))
    .bind(window.gross.count)
    .bind(window.gross.centavos)
    .execute(connection)
    .await?;
    Ok(())
}

/// The oldest window that waits for its proof, with its positions: they do not change any more.
pub(crate) async fn oldest_complete(
    pool: &PgPool,
) -> Result<Option<(Window, BTreeMap<Ispb, Position>)>, StoreError> {
    let row = sqlx::query(
        "SELECT number, book, true, opened_at, ends_at, after_batch, to_batch, decided_at, count, gross_centavos
         FROM complete_window WHERE shard = $1 ORDER BY number LIMIT 1",
    )
    .bind(SHARD)
    .fetch_optional(pool)
    .await?;
    let Some(window) = row.as_ref().map(window).transpose()? else {
        return Ok(None);
    };
    let positions = moving_positions(pool, window.number).await?;
    Ok(Some((window, positions)))
}

async fn moving_positions(pool: &PgPool, number: i64) -> Result<BTreeMap<Ispb, Position>, StoreError> {
    let rows = sqlx::query(
        "SELECT ispb, sent_centavos, sent_count, received_centavos, received_count, returned_centavos, returned_count
         FROM moving_position WHERE number = $1",
    )
    .bind(number)
    .fetch_all(pool)
    .await?;
    rows.iter().map(position).collect()
}

/// Makes the partition that a window's positions go to, unless it is there. Needs the owner's connection.
pub(crate) async fn ensure_partition(owner: &mut PgConnection, window: &Window) -> Result<(), StoreError> {
    let first = settlement_date(window).replace_day(1);
    let first = first.expect("every month has a first");
    let next = (first + time::Duration::days(31)).replace_day(1);
    let next = next.expect("every month has a first");
    let name = format!(
        "closed_position_{:04}{:02}",
        first.year(),
        u8::from(first.month())
    );
    let exists = sqlx::query(
        "SELECT 1 FROM pg_class WHERE relname = $1 AND relnamespace = current_schema()::regnamespace",
    )
    .bind(&name)
    .fetch_optional(&mut *owner)
    .await?;
    if exists.is_some() {
        return Ok(());
    }
    // Names and bounds are ours, made from the calendar above. Its parent is locked for a moment: behind a long
    // question it would wait, and every question behind it.
    let statement = format!(
        "SET lock_timeout = '500ms';
         CREATE TABLE IF NOT EXISTS {name} PARTITION OF closed_position FOR VALUES FROM ('{first}') TO ('{next}')"
    );
    owner.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await?;
    Ok(())
}

/// Closes a complete window with its proof; false when somebody else has.
pub(crate) async fn close(
    pool: &PgPool,
    window: &Window,
    proof: &Proof,
    event: &Event,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let mut transaction = pg::begin(pool).await?;
    let ours = sqlx::query("DELETE FROM complete_window WHERE number = $1")
        .bind(window.number)
        .execute(&mut *transaction)
        .await?;
    if ours.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO closed_window
             (shard, number, book, settlement_date, opened_at, ends_at, after_batch, to_batch, decided_at, count,
              gross_centavos, net_sum_centavos, first_sequence, last_sequence, book_count, book_gross_centavos,
              differences, proven_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
    )
    .bind(SHARD)
    .bind(window.number)
    .bind(&window.book)
    .bind(settlement_date(window))
    .bind(OffsetDateTime::from(window.opened_at))
    .bind(OffsetDateTime::from(window.ends_at))
    .bind(window.after_batch)
    .bind(window.to_batch)
    .bind(window.decided_at.map(OffsetDateTime::from))
    .bind(window.gross.count)
    .bind(window.gross.centavos)
    .bind(proof.net_sum)
    .bind(proof.first_sequence)
    .bind(proof.last_sequence)
    .bind(proof.book.count)
    .bind(proof.book.centavos)
    .bind(&proof.differences)
    .bind(OffsetDateTime::from(at))
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "WITH gone AS (DELETE FROM moving_position WHERE number = $1 RETURNING *)
         INSERT INTO closed_position
             (settlement_date, number, ispb, sent_centavos, sent_count, received_centavos, received_count,
              returned_centavos, returned_count, net_centavos)
         SELECT $2, number, ispb, sent_centavos, sent_count, received_centavos, received_count,
                returned_centavos, returned_count, received_centavos - sent_centavos
         FROM gone",
    )
    .bind(window.number)
    .bind(settlement_date(window))
    .execute(&mut *transaction)
    .await?;
    outbox::write(&mut transaction, event, at).await?;
    transaction.commit().await.map_err(StoreError::Unknown)?;
    Ok(true)
}

/// Which windows somebody asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Of this settlement date only.
    pub(crate) date: Option<Date>,
    pub(crate) limit: i64,
}

/// A window as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) window: Window,
    pub(crate) state: State,
    /// By ISPB; only when one window was asked for.
    pub(crate) positions: BTreeMap<Ispb, Position>,
    /// Once it is closed, and when it was proven.
    pub(crate) proof: Option<(Proof, Timestamp)>,
}

/// What a window is to those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Closing,
    Closed,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Closing => "CLOSING",
            Self::Closed => "CLOSED",
        }
    }
}

/// Every window, whichever table it is in.
const SHOWN: &str = "
    SELECT number, book, is_closing, opened_at, ends_at, after_batch, to_batch, decided_at, count, gross_centavos,
           false AS is_closed, (opened_at AT TIME ZONE 'UTC')::date AS settlement_date,
           NULL::bigint AS net_sum_centavos, NULL::bigint AS first_sequence, NULL::bigint AS last_sequence,
           NULL::bigint AS book_count, NULL::bigint AS book_gross_centavos, NULL::text[] AS differences,
           NULL::timestamptz AS proven_at
    FROM open_window
    UNION ALL
    SELECT number, book, true, opened_at, ends_at, after_batch, to_batch, decided_at, count, gross_centavos,
           false, (opened_at AT TIME ZONE 'UTC')::date, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM complete_window
    UNION ALL
    SELECT number, book, true, opened_at, ends_at, after_batch, to_batch, decided_at, count, gross_centavos,
           true, settlement_date, net_sum_centavos, first_sequence, last_sequence, book_count, book_gross_centavos,
           differences, proven_at
    FROM closed_window";

/// Windows without their positions, newest first.
pub(crate) async fn list(pool: &PgPool, wanted: Wanted) -> Result<Vec<Shown>, StoreError> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT * FROM ({SHOWN}) AS w WHERE $1::date IS NULL OR settlement_date = $1 ORDER BY number DESC LIMIT $2"
    )))
    .bind(wanted.date)
    .bind(wanted.limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(shown).collect()
}

/// One window with its positions; 0 is the one in which batches are counted at present.
pub(crate) async fn find(pool: &PgPool, number: i64) -> Result<Option<Shown>, StoreError> {
    // Of one moment: a window that closes meanwhile has its positions in another table.
    let mut snapshot = pool
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT * FROM ({SHOWN}) AS w
         WHERE number = CASE WHEN $1 = 0 THEN (SELECT number FROM open_window WHERE shard = $2) ELSE $1 END"
    )))
    .bind(number)
    .bind(SHARD)
    .fetch_optional(&mut *snapshot)
    .await?;
    let Some(mut found) = row.as_ref().map(shown).transpose()? else {
        return Ok(None);
    };
    let rows = sqlx::query(
        "SELECT ispb, sent_centavos, sent_count, received_centavos, received_count, returned_centavos, returned_count
         FROM moving_position WHERE number = $1
         UNION ALL
         SELECT ispb, sent_centavos, sent_count, received_centavos, received_count, returned_centavos, returned_count
         FROM closed_position WHERE number = $1 AND settlement_date = $2",
    )
    .bind(found.window.number)
    .bind(settlement_date(&found.window))
    .fetch_all(&mut *snapshot)
    .await?;
    found.positions = rows.iter().map(position).collect::<Result<_, _>>()?;
    Ok(Some(found))
}

fn settlement_date(window: &Window) -> Date {
    OffsetDateTime::from(window.opened_at).date()
}

fn window(row: &PgRow) -> Result<Window, StoreError> {
    let at = |index: usize| Ok::<_, StoreError>(row.try_get::<OffsetDateTime, _>(index)?.into());
    Ok(Window {
        number: row.try_get(0)?,
        book: row.try_get(1)?,
        phase: if row.try_get(2)? {
            Phase::Closing
        } else {
            Phase::Open
        },
        opened_at: at(3)?,
        ends_at: at(4)?,
        after_batch: row.try_get(5)?,
        to_batch: row.try_get(6)?,
        decided_at: row.try_get::<Option<OffsetDateTime>, _>(7)?.map(Timestamp::from),
        gross: Tally {
            count: row.try_get(8)?,
            centavos: row.try_get(9)?,
        },
    })
}

fn position(row: &PgRow) -> Result<(Ispb, Position), StoreError> {
    let ispb = parsed(POSITIONS, Ispb::parse(row.try_get::<&str, _>(0)?.as_bytes()))?;
    let tally = |from: usize| {
        Ok::<_, StoreError>(Tally {
            centavos: row.try_get(from)?,
            count: row.try_get(from + 1)?,
        })
    };
    Ok((
        ispb,
        Position {
            sent: tally(1)?,
            received: tally(3)?,
            returned: tally(5)?,
        },
    ))
}

fn shown(row: &PgRow) -> Result<Shown, StoreError> {
    let window = window(row)?;
    let state = match (row.try_get("is_closed")?, window.phase) {
        (true, _) => State::Closed,
        (false, Phase::Closing) => State::Closing,
        (false, Phase::Open) => State::Open,
    };
    let proof = match state {
        State::Open | State::Closing => None,
        State::Closed => Some((
            Proof {
                net_sum: row.try_get("net_sum_centavos")?,
                first_sequence: row.try_get("first_sequence")?,
                last_sequence: row.try_get("last_sequence")?,
                book: Tally {
                    count: row.try_get("book_count")?,
                    centavos: row.try_get("book_gross_centavos")?,
                },
                differences: row.try_get("differences")?,
            },
            row.try_get::<OffsetDateTime, _>("proven_at")?.into(),
        )),
    };
    Ok(Shown {
        window,
        state,
        positions: BTreeMap::new(),
        proof,
    })
}
