//! Orders of funding in Postgres, and what became of them.

use pix_domain::{Ispb, Timestamp};
use settlement_core::funding::{Amount, Note, Order, OrderId, Outcome};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row as _};
use time::OffsetDateTime;

use super::pg::{self, StoreError, parsed};

const TABLE: &str = "funding_order";

/// An order with all that is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) order: Order,
    pub(crate) ordered_by: String,
    pub(crate) ordered_at: Timestamp,
    /// What became of it, once that is known.
    pub(crate) outcome: Option<Outcome>,
}

/// An order that is to be asked for now, and that nobody else asks for meanwhile.
pub(crate) struct Due {
    pub(crate) order: Order,
    pub(crate) ordered_by: String,
    /// The last attempt before this one whose answer is not known.
    pub(crate) unknown_at: Option<Timestamp>,
    /// Until when nobody else asks for it, which tells this claim from a later one.
    leased_until: Timestamp,
}

/// How an outcome that was learned stands to what was noted before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// It is the first, and stays.
    New,
    /// The same was noted before.
    Again,
    /// Another was noted before, and stays.
    Against(Outcome),
}

macro_rules! columns {
    () => {
        "o.id::text, o.ispb, o.amount_centavos, o.note, o.is_opening, o.ordered_by, o.ordered_at"
    };
}

fn order(row: &PgRow) -> Result<Order, StoreError> {
    Ok(Order {
        id: parsed(TABLE, OrderId::parse(row.try_get(0)?))?,
        ispb: parsed(TABLE, Ispb::parse(row.try_get::<&str, _>(1)?.as_bytes()))?,
        amount: parsed(TABLE, Amount::from_centavos(row.try_get(2)?))?,
        note: parsed(TABLE, Note::parse(row.try_get(3)?))?,
        is_opening: row.try_get(4)?,
    })
}

fn recorded(row: &PgRow) -> Result<Recorded, StoreError> {
    let outcome = match row.try_get::<Option<&str>, _>(7)? {
        None => None,
        Some("DONE") => Some(Outcome::Done {
            sequence: row.try_get(9)?,
            batch: row.try_get(10)?,
            available: row.try_get(11)?,
        }),
        Some(_) => Some(Outcome::Refused {
            reason: row.try_get(8)?,
        }),
    };
    Ok(Recorded {
        order: order(row)?,
        ordered_by: row.try_get(5)?,
        ordered_at: row.try_get::<OffsetDateTime, _>(6)?.into(),
        outcome,
    })
}

/// The order of this id.
pub(crate) async fn find(connection: &mut PgConnection, id: OrderId) -> Result<Option<Recorded>, StoreError> {
    let row = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        ", c.state, c.reason, c.sequence, c.batch, c.available_centavos
         FROM funding_order o LEFT JOIN funding_outcome c ON c.id = o.id WHERE o.id = $1::uuid"
    ))
    .bind(id.to_string())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(recorded).transpose()
}

/// The newest orders, of one participant or of all.
pub(crate) async fn newest(
    pool: &PgPool,
    ispb: Option<Ispb>,
    limit: u32,
) -> Result<Vec<Recorded>, StoreError> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        ", c.state, c.reason, c.sequence, c.batch, c.available_centavos
         FROM funding_order o LEFT JOIN funding_outcome c ON c.id = o.id
         WHERE $1::text IS NULL OR o.ispb = $1 ORDER BY o.number DESC LIMIT $2"
    ))
    .bind(ispb.as_ref().map(Ispb::as_str))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(recorded).collect()
}

/// Records an order, to be asked for from the next COMMIT on; whether it was new.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    order: &Order,
    ordered_by: &str,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let inserted = sqlx::query(
        "WITH new AS (
             INSERT INTO funding_order (id, ispb, amount_centavos, note, is_opening, ordered_by, ordered_at)
             VALUES ($1::uuid, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING
             RETURNING id, number, ispb
         )
         INSERT INTO funding_pending (id, number, ispb) SELECT id, number, ispb FROM new",
    )
    .bind(order.id.to_string())
    .bind(order.ispb.as_str())
    .bind(order.amount.centavos())
    .bind(order.note.as_str())
    .bind(order.is_opening)
    .bind(ordered_by)
    .bind(OffsetDateTime::from(at))
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// How many orders have no outcome yet.
pub(crate) async fn pending(pool: &PgPool) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT count(*) FROM funding_pending")
        .fetch_one(pool)
        .await?;
    Ok(row.try_get(0)?)
}

/// Takes the next orders that nobody asks for at `now`, at most one of an account, until `until`: those that waited
/// longest since they were asked for, so that accounts whose orders come to no end hold up nobody else. Whatever is taken
/// counts as asked with an unknown end, unless it is [`settle`]d or [`release`]d.
pub(crate) async fn claim(
    pool: &PgPool,
    now: Timestamp,
    until: Timestamp,
    max: u32,
) -> Result<Vec<Due>, StoreError> {
    let rows = sqlx::query(concat!(
        "WITH due AS (
             SELECT p.id, p.unknown_at FROM funding_pending p
             WHERE p.leased_until <= $1
               AND NOT EXISTS (SELECT FROM funding_pending e WHERE e.ispb = p.ispb AND e.number < p.number)
             ORDER BY p.leased_until, p.number LIMIT $3 FOR UPDATE SKIP LOCKED
         ), claimed AS (
             UPDATE funding_pending p SET leased_until = $2, unknown_at = $1 FROM due WHERE p.id = due.id
         )
         SELECT ",
        columns!(),
        ", due.unknown_at FROM due JOIN funding_order o ON o.id = due.id ORDER BY o.number"
    ))
    .bind(OffsetDateTime::from(now))
    .bind(OffsetDateTime::from(until))
    .bind(i64::from(max))
    .fetch_all(pool)
    .await?;
    let due = |row: &PgRow| {
        Ok(Due {
            order: order(row)?,
            ordered_by: row.try_get(5)?,
            unknown_at: row.try_get::<Option<OffsetDateTime>, _>(7)?.map(Timestamp::from),
            leased_until: until,
        })
    };
    rows.iter().map(due).collect()
}

/// Notes what became of an order. The first outcome stays, and is told when it is another.
pub(crate) async fn settle(
    pool: &PgPool,
    id: OrderId,
    outcome: &Outcome,
    at: Timestamp,
) -> Result<Noted, StoreError> {
    let (state, reason, posting) = match outcome {
        Outcome::Done {
            sequence,
            batch,
            available,
        } => ("DONE", None, Some((*sequence, *batch, *available))),
        Outcome::Refused { reason } => ("REFUSED", Some(reason.as_str()), None),
    };
    let mut transaction = pg::begin(pool).await?;
    let inserted = sqlx::query(
        "INSERT INTO funding_outcome (id, state, at, reason, sequence, batch, available_centavos)
         VALUES ($1::uuid, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING",
    )
    .bind(id.to_string())
    .bind(state)
    .bind(OffsetDateTime::from(at))
    .bind(reason)
    .bind(posting.map(|(sequence, _, _)| sequence))
    .bind(posting.map(|(_, batch, _)| batch))
    .bind(posting.map(|(_, _, available)| available))
    .execute(&mut *transaction)
    .await?;
    let noted = match inserted.rows_affected() {
        0 => match find(&mut transaction, id).await?.and_then(|known| known.outcome) {
            Some(earlier) if earlier != *outcome => Noted::Against(earlier),
            _ => Noted::Again,
        },
        _ => Noted::New,
    };
    sqlx::query("DELETE FROM funding_pending WHERE id = $1::uuid")
        .bind(id.to_string())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await.map_err(StoreError::Unknown)?;
    Ok(noted)
}

/// Lets an order be asked for again at `again_at`; `unknown_at` is the last attempt whose answer is not known. Nothing
/// when somebody else claimed it meanwhile, whose attempt is later.
pub(crate) async fn release(
    pool: &PgPool,
    due: &Due,
    unknown_at: Option<Timestamp>,
    again_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE funding_pending SET leased_until = $2, unknown_at = $3
         WHERE id = $1::uuid AND leased_until = $4",
    )
    .bind(due.order.id.to_string())
    .bind(OffsetDateTime::from(again_at))
    .bind(unknown_at.map(OffsetDateTime::from))
    .bind(OffsetDateTime::from(due.leased_until))
    .execute(pool)
    .await?;
    Ok(())
}
