//! Rights of the role that serves: it appends, and may not change what is history.

use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use super::pg::StoreError;

/// The tables whose rows change, some of them in some columns only. A row is locked while it is published or asked
/// for, which takes the right to update it.
const UPDATED: &[(&str, &str)] = &[
    ("registry", "version"),
    (
        "participant",
        "name, category, state, low_liquidity_centavos, version",
    ),
    ("certificate", "revoked_at"),
    ("outbox_event", ""),
    ("funding_pending", ""),
    ("open_window", ""),
    ("moving_position", ""),
    ("liquidity", ""),
];
/// The tables whose rows go: events that are published, orders whose outcome is known, and windows as they
/// close: they are added where nothing changes.
const DELETED: &[&str] = &[
    "outbox_event",
    "funding_pending",
    "complete_window",
    "moving_position",
];

/// Grants what the role of `database_url` needs, unless it is the owner itself.
pub(crate) async fn to_the_server(owner: &mut PgConnection, database_url: &str) -> Result<(), StoreError> {
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
    for (table, columns) in UPDATED {
        let columns = match *columns {
            "" => String::new(),
            columns => format!("({columns})"),
        };
        statements.push_str(&format!("GRANT UPDATE {columns} ON {table} TO {role};"));
    }
    for table in DELETED {
        statements.push_str(&format!("GRANT DELETE ON {table} TO {role};"));
    }
    owner.execute(sqlx::raw_sql(AssertSqlSafe(statements))).await?;
    Ok(())
}
