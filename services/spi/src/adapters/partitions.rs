//! Partitions, made ahead and analysed, so that no payment meets a table without its partition or statistics.

use pix_domain::{Month, Timestamp};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};

use super::pg::{StoreError, day};

/// Tables by day; yesterday is needed for what was written before midnight.
const BY_DAY: &[(&str, &str)] = &[
    ("message_in", "day"),
    ("message_key", "day"),
    ("posting", "day"),
    ("outbox", "day"),
    ("delivery", "day"),
    ("delivery_item", "outbox_day"),
    ("confirmation", "delivery_day"),
];
/// Tables by the month inside an EndToEndId.
const BY_MONTH: &[&str] = &["payment", "payment_step"];
/// Days made ahead. Maintenance runs hourly, so a service that cannot make new ones has two days to be noticed.
const DAYS_AHEAD: i64 = 2;

/// Makes what is missing around `now`: a day back and [`DAYS_AHEAD`] on, a month back and one on (FF08's
/// tolerance of 12 hours never reaches further). Needs the owner's connection.
pub(crate) async fn ensure(owner: &mut PgConnection, now: Timestamp) -> Result<(), StoreError> {
    // Making one locks its parent for a moment. Behind a long query it would wait, and every payment behind it.
    owner.execute("SET lock_timeout = '500ms'").await?;
    let today = day(now);
    for (table, key) in BY_DAY {
        for offset in -1..=DAYS_AHEAD {
            let from = today + time::Duration::days(offset);
            let to = from + time::Duration::days(1);
            let name = format!(
                "{table}_{:04}{:02}{:02}",
                from.year(),
                u8::from(from.month()),
                from.day()
            );
            create(owner, table, &name, &format!("'{from}'"), &format!("'{to}'"), key).await?;
        }
    }
    let this = Month::of(now);
    for table in BY_MONTH {
        for month in [this.previous(), this, this.next()] {
            let name = format!("{table}_{}", month.get());
            let (from, to) = (month.get().to_string(), month.next().get().to_string());
            create(owner, table, &name, &from, &to, "month").await?;
        }
    }
    Ok(())
}

async fn create(
    owner: &mut PgConnection,
    table: &str,
    name: &str,
    from: &str,
    to: &str,
    key: &str,
) -> Result<(), StoreError> {
    let exists = sqlx::query(
        "SELECT 1 FROM pg_class WHERE relname = $1 AND relnamespace = current_schema()::regnamespace",
    )
    .bind(name)
    .fetch_optional(&mut *owner)
    .await?;
    if exists.is_some() {
        return Ok(());
    }
    tracing::debug!(partition = name, by = key, "making a partition");
    // Names and bounds are ours, built from the calendar above.
    let statement = format!(
        "CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table} FOR VALUES FROM ({from}) TO ({to}); ANALYZE {name}"
    );
    owner.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await?;
    Ok(())
}
