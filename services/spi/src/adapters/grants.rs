//! Rights of the role that the service writes with: it appends, and may not change what is audited.

use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use super::pg::StoreError;

/// The tables whose rows change: balances, marks of progress that can be lost, and the copy of the participants.
const UPDATED: &str = "account, event_cursor, delivery_checkpoint, participant_copy, participant_copy_state";

/// Grants what the role of `database_url` needs, unless it is the owner itself.
pub(crate) async fn to_the_writer(owner: &mut PgConnection, database_url: &str) -> Result<(), StoreError> {
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
            "database.url connects as the owner: nothing but our own care keeps audited rows from changing"
        );
        return Ok(());
    }
    let role: String = row.try_get(0)?;
    let statement = format!(
        "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {role};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};
         GRANT UPDATE ON {UPDATED} TO {role}"
    );
    owner.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await?;
    Ok(())
}
