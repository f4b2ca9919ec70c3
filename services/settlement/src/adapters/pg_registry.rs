//! The registry in Postgres: changes that only grow, and beside them what they made.

use std::sync::Arc;

use pix_domain::{Ispb, Money, Timestamp};
use pix_proto::settlement_v1 as proto;
use pix_runtime::outbox::{self, Event};
use prost::Message as _;
use settlement_core::registry::{Participant, Registry};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Postgres, Row as _, Transaction};
use time::OffsetDateTime;

use super::pg::{self, StoreError, parsed};
use crate::wire;

const CHANGE: &str = "change";

/// Changes of one page.
const PAGE_MAX: i64 = 100;

/// What is noted of a change beside the participant.
pub(crate) struct Audit<'a> {
    /// What kind of change.
    pub(crate) kind: &'static str,
    /// The service whose certificate ordered it.
    pub(crate) ordered_by: &'a str,
    /// The operator's reason, where one is asked for.
    pub(crate) reason: Option<&'a str>,
    /// When.
    pub(crate) at: Timestamp,
}

/// A change as it was stored.
pub(crate) struct Stored {
    pub(crate) version: i64,
    pub(crate) at: Timestamp,
    pub(crate) participant: proto::Participant,
}

/// The registry's name and all that is in it, of one moment.
pub(crate) async fn load(pool: &PgPool) -> Result<(String, Registry), StoreError> {
    let mut snapshot = pool
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let row = sqlx::query("SELECT id, version FROM registry")
        .fetch_one(&mut *snapshot)
        .await?;
    let rows = sqlx::query("SELECT c.participant FROM participant p JOIN change c ON c.version = p.version")
        .fetch_all(&mut *snapshot)
        .await?;
    let participants: Vec<_> = rows.iter().map(participant).collect::<Result<_, _>>()?;
    let participants = participants.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok((row.try_get(0)?, Registry::of(row.try_get(1)?, participants)))
}

/// The last version.
pub(crate) async fn head(pool: &PgPool) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT version FROM registry")
        .fetch_one(pool)
        .await?;
    Ok(row.try_get(0)?)
}

/// The next changes above a version, in order; none when there are none.
pub(crate) async fn changes_above(pool: &PgPool, version: i64) -> Result<Vec<Stored>, StoreError> {
    changes(&mut *pool.acquire().await?, version).await
}

/// A change as it was ordered.
pub(crate) struct Ordered {
    pub(crate) version: i64,
    pub(crate) at: Timestamp,
    pub(crate) kind: String,
    pub(crate) ordered_by: String,
    pub(crate) reason: Option<String>,
}

/// The latest changes of a participant, newest first.
pub(crate) async fn audit(pool: &PgPool, ispb: Ispb) -> Result<Vec<Ordered>, StoreError> {
    let rows = sqlx::query(
        "SELECT version, at, kind, ordered_by, reason FROM change WHERE ispb = $1
         ORDER BY version DESC LIMIT $2",
    )
    .bind(ispb.as_str())
    .bind(PAGE_MAX)
    .fetch_all(pool)
    .await?;
    let ordered = |row: &PgRow| {
        Ok(Ordered {
            version: row.try_get(0)?,
            at: row.try_get::<OffsetDateTime, _>(1)?.into(),
            kind: row.try_get(2)?,
            ordered_by: row.try_get(3)?,
            reason: row.try_get(4)?,
        })
    };
    rows.iter().map(ordered).collect()
}

async fn changes(connection: &mut PgConnection, version: i64) -> Result<Vec<Stored>, StoreError> {
    let rows = sqlx::query(
        "SELECT participant, version, at FROM change WHERE version > $1 ORDER BY version LIMIT $2",
    )
    .bind(version)
    .bind(PAGE_MAX)
    .fetch_all(connection)
    .await?;
    let stored = |row: &PgRow| {
        Ok(Stored {
            participant: participant(row)?,
            version: row.try_get(1)?,
            at: row.try_get::<OffsetDateTime, _>(2)?.into(),
        })
    };
    rows.iter().map(stored).collect()
}

fn participant(row: &PgRow) -> Result<proto::Participant, StoreError> {
    parsed(CHANGE, proto::Participant::decode(row.try_get::<&[u8], _>(0)?))
}

/// What a stored participant says.
pub(crate) fn read(wire: &proto::Participant) -> Result<Participant, StoreError> {
    parsed(CHANGE, wire::read_participant(wire))
}

/// Takes changes as they were stored.
pub(crate) fn install(registry: &mut Registry, page: &[Stored]) -> Result<(), StoreError> {
    for stored in page {
        parsed(CHANGE, registry.apply(Arc::new(read(&stored.participant)?)))?;
    }
    Ok(())
}

/// One transaction that changes the registry; there is one at a time.
pub(crate) struct Write(Transaction<'static, Postgres>);

impl Write {
    /// Begins, and waits for those before; brings `known` up to what they did.
    pub(crate) async fn begin(pool: &PgPool, known: &mut Registry) -> Result<Self, StoreError> {
        let mut transaction = pg::begin(pool).await?;
        let row = sqlx::query("SELECT version FROM registry FOR UPDATE")
            .fetch_one(&mut *transaction)
            .await?;
        let head: i64 = row.try_get(0)?;
        while known.version() < head {
            let page = changes(&mut transaction, known.version()).await?;
            if page.is_empty() {
                break;
            }
            install(known, &page)?;
        }
        parsed(CHANGE, same(known.version(), head))?;
        Ok(Self(transaction))
    }

    /// Writes what `participant` becomes, with the event that tells of it.
    pub(crate) async fn change(
        &mut self,
        participant: &Participant,
        audit: &Audit<'_>,
        event: &Event,
    ) -> Result<(), StoreError> {
        let at = OffsetDateTime::from(audit.at);
        sqlx::query(
            "INSERT INTO change (version, at, ispb, kind, ordered_by, reason, participant)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(participant.version)
        .bind(at)
        .bind(participant.ispb.as_str())
        .bind(audit.kind)
        .bind(audit.ordered_by)
        .bind(audit.reason)
        .bind(wire::participant(participant).encode_to_vec())
        .execute(&mut *self.0)
        .await?;
        sqlx::query(
            "INSERT INTO participant (ispb, name, settler, category, state, low_liquidity_centavos, version)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (ispb) DO UPDATE
             SET name = EXCLUDED.name, category = EXCLUDED.category, state = EXCLUDED.state,
                 low_liquidity_centavos = EXCLUDED.low_liquidity_centavos, version = EXCLUDED.version",
        )
        .bind(participant.ispb.as_str())
        .bind(participant.name.as_str())
        .bind(participant.settler.as_str())
        .bind(participant.category.as_str())
        .bind(participant.state.as_str())
        .bind(participant.low_liquidity.map(Money::to_i64))
        .bind(participant.version)
        .execute(&mut *self.0)
        .await?;
        for certificate in &participant.certificates {
            let revoked = certificate.revoked.as_ref();
            sqlx::query(
                "INSERT INTO certificate (fingerprint, ispb, use, not_before, not_after, revoked_at)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (fingerprint) DO UPDATE SET revoked_at = EXCLUDED.revoked_at
                 WHERE certificate.revoked_at IS DISTINCT FROM EXCLUDED.revoked_at",
            )
            .bind(certificate.fingerprint.as_bytes())
            .bind(participant.ispb.as_str())
            .bind(certificate.usage.as_str())
            .bind(OffsetDateTime::from(certificate.not_before))
            .bind(OffsetDateTime::from(certificate.not_after))
            .bind(revoked.map(|revoked| OffsetDateTime::from(revoked.at)))
            .execute(&mut *self.0)
            .await?;
        }
        sqlx::query("UPDATE registry SET version = $1")
            .bind(participant.version)
            .execute(&mut *self.0)
            .await?;
        Ok(outbox::write(&mut self.0, event, audit.at).await?)
    }

    /// For what else belongs into it.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.0
    }

    /// Makes all of it so.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        self.0.commit().await.map_err(StoreError::Unknown)
    }
}

/// A database that knows less than we do is another one, or an older copy of it.
fn same(known: i64, head: i64) -> Result<(), String> {
    match known == head {
        true => Ok(()),
        false => Err(format!("it ends at change {head}, and change {known} was there")),
    }
}
