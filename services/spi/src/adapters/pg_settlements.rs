//! What was settled, told again from the postings: for those who add it up.

use pix_domain::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use time::{Date, Duration, OffsetDateTime};

use super::pg::StoreError;
use super::pg_book::SHARD;

/// Batches read at once.
const PAGE_BATCHES: i64 = 512;
/// Rows that the batches of a page have, but for a first one that has more by itself.
const PAGE_ROWS: i64 = 16 * 1024;

/// Rows by number: which partitions, and whether a range of them is worth its index, depends on the numbers. A plan for
/// any of them sorts a million rows on disk, with two more processes.
const PLANNED_ANEW: bool = false;

/// The settlements of one batch.
pub(crate) struct SettledBatch {
    pub(crate) number: i64,
    pub(crate) decided_at: Timestamp,
    /// Never empty.
    pub(crate) payments: Vec<Settled>,
}

/// A posting that settled a payment.
pub(crate) struct Settled {
    pub(crate) seq: i64,
    pub(crate) end_to_end_id: String,
    pub(crate) debited: String,
    pub(crate) credited: String,
    pub(crate) amount: i64,
}

/// Some batches.
pub(crate) struct Page {
    /// Those that settled something.
    pub(crate) batches: Vec<SettledBatch>,
    /// The last one that was looked at.
    pub(crate) up_to: i64,
}

/// What the postings of some batches sum up to.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) first_seq: i64,
    pub(crate) last_seq: i64,
    /// By participant, in no order.
    pub(crate) sent: Vec<(String, Sum)>,
    pub(crate) received: Vec<(String, Sum)>,
}

/// So many payments, so many centavos.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) count: i64,
    pub(crate) centavos: i64,
}

/// The name of this book.
pub(crate) async fn book_name(pool: &PgPool) -> Result<String, StoreError> {
    let row = sqlx::query("SELECT id FROM book").fetch_one(pool).await?;
    Ok(row.try_get(0)?)
}

/// The last batch up to this one that settled payments; 0 when none did.
pub(crate) async fn settled_up_to(pool: &PgPool, batch: i64) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT latest_settled FROM batch WHERE shard = $1 AND number = $2")
        .bind(SHARD)
        .bind(batch)
        .fetch_optional(pool)
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(0))
}

/// The settlements of the next batches after `after`, up to `to`; nothing when there is no batch.
pub(crate) async fn page(pool: &PgPool, after: i64, to: i64) -> Result<Option<Page>, StoreError> {
    let mut batches = sqlx::query(
        "SELECT number, first_seq, last_seq, decided_at FROM batch
         WHERE shard = $1 AND number > $2 AND number <= $3 ORDER BY number",
    )
    .bind(SHARD)
    .bind(after)
    .bind(to.min(after.saturating_add(PAGE_BATCHES)))
    .fetch_all(pool)
    .await?;
    let Some(first) = batches.first() else {
        return Ok(None);
    };
    let first_seq: i64 = first.try_get(1)?;
    let fits = |batch: &PgRow| {
        batch
            .try_get::<i64, _>(2)
            .is_ok_and(|last_seq| last_seq < first_seq + PAGE_ROWS)
    };
    let fitting = batches.iter().take_while(|batch| fits(batch)).count();
    batches.truncate(fitting.max(1));
    let (Some(first), Some(last)) = (batches.first(), batches.last()) else {
        return Ok(None);
    };
    let (from, until) = (day_of(first)?, day_of(last)?);
    let postings = sqlx::query(
        "SELECT seq, end_to_end_id, debit, credit, amount FROM posting
         WHERE day BETWEEN $1 AND $2 AND seq BETWEEN $3 AND $4 AND shard = $5 AND end_to_end_id IS NOT NULL
         ORDER BY seq",
    )
    .bind(from - Duration::DAY)
    .bind(until + Duration::DAY)
    .bind(first_seq)
    .bind(last.try_get::<i64, _>(2)?)
    .bind(SHARD)
    .persistent(PLANNED_ANEW)
    .fetch_all(pool)
    .await?;
    let mut postings = postings.iter().map(settled).peekable();
    let mut page = Page {
        batches: Vec::new(),
        up_to: last.try_get(0)?,
    };
    for row in &batches {
        let last_seq: i64 = row.try_get(2)?;
        let mut payments = Vec::new();
        while let Some(payment) =
            postings.next_if(|next| next.as_ref().is_ok_and(|next| next.seq <= last_seq))
        {
            payments.push(payment?);
        }
        if let Some(Err(error)) = postings.next_if(Result::is_err) {
            return Err(error.into());
        }
        if !payments.is_empty() {
            page.batches.push(SettledBatch {
                number: row.try_get(0)?,
                decided_at: row.try_get::<OffsetDateTime, _>(3)?.into(),
                payments,
            });
        }
    }
    Ok(Some(page))
}

fn settled(row: &PgRow) -> Result<Settled, sqlx::Error> {
    Ok(Settled {
        seq: row.try_get(0)?,
        end_to_end_id: row.try_get(1)?,
        debited: row.try_get(2)?,
        credited: row.try_get(3)?,
        amount: row.try_get(4)?,
    })
}

/// The sums of the batches after `after`, up to `to`, all of which have to be there.
pub(crate) async fn totals(pool: &PgPool, after: i64, to: i64) -> Result<Totals, StoreError> {
    let ends = sqlx::query(
        "SELECT number, first_seq, last_seq, decided_at FROM batch
         WHERE shard = $1 AND number IN ($2, $3) ORDER BY number",
    )
    .bind(SHARD)
    .bind(after.saturating_add(1))
    .bind(to)
    .fetch_all(pool)
    .await?;
    let (Some(first), Some(last)) = (ends.first(), ends.last()) else {
        return Ok(Totals::default());
    };
    let (found, asked) = (
        (first.try_get(0)?, last.try_get(0)?),
        (after.saturating_add(1), to),
    );
    if found != asked {
        let what = format!("the batches {found:?} where {asked:?} were asked for");
        return Err(StoreError::Corrupt { table: "batch", what });
    }
    let mut totals = Totals {
        first_seq: first.try_get(1)?,
        last_seq: last.try_get(2)?,
        ..Totals::default()
    };
    if totals.last_seq < totals.first_seq {
        return Ok(Totals::default());
    }
    // One pass over the rows of these days, for both sides.
    let sums = sqlx::query(
        "SELECT debit, credit, count(*), sum(amount)::bigint FROM posting
         WHERE day BETWEEN $1 AND $2 AND seq BETWEEN $3 AND $4 AND shard = $5 AND end_to_end_id IS NOT NULL
         GROUP BY GROUPING SETS ((debit), (credit))",
    )
    .bind(day_of(first)? - Duration::DAY)
    .bind(day_of(last)? + Duration::DAY)
    .bind(totals.first_seq)
    .bind(totals.last_seq)
    .bind(SHARD)
    .persistent(PLANNED_ANEW)
    .fetch_all(pool)
    .await?;
    for row in &sums {
        let sum = Sum {
            count: row.try_get(2)?,
            centavos: row.try_get(3)?,
        };
        match (row.try_get(0)?, row.try_get(1)?) {
            (Some(debited), None) => totals.sent.push((debited, sum)),
            (None, Some(credited)) => totals.received.push((credited, sum)),
            (debited, credited) => {
                let what = format!("a sum for {debited:?} and {credited:?}");
                return Err(StoreError::Corrupt {
                    table: "posting",
                    what,
                });
            }
        }
    }
    Ok(totals)
}

/// The day whose partition holds the batch's rows. One of either side is looked at as well: the clock of a database that
/// takes over may be behind.
fn day_of(batch: &PgRow) -> Result<Date, StoreError> {
    Ok(batch.try_get::<OffsetDateTime, _>(3)?.date())
}
