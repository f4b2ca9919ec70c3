//! Reading for the page, for the posters, and for people.

use std::time::{Duration, Instant};

use bank_core::{Account, AccountId, Course, Payment};
use pix_domain::{AccountNumber, Branch, EndToEndId, MsgId, Timestamp};
use pix_icom::Channel;
use sqlx::PgPool;
use sqlx::types::time::OffsetDateTime;

use super::StoreError;
use super::rows::{AccountRow, PaymentRow, corrupt};

/// Lines of history that one page shows.
const HISTORY_MAX: i64 = 100;

/// Reads committed facts.
#[derive(Clone)]
pub(crate) struct Reader(pub(super) PgPool);

/// A payment in a list.
#[derive(Debug)]
pub(crate) struct PaymentLine {
    pub(crate) payment: Payment,
    pub(crate) created_at: Timestamp,
    /// Of a book transfer into the account: who paid.
    pub(crate) payer: Option<Account>,
}

/// A payment with its timeline: stage, when, detail.
#[derive(Debug)]
pub(crate) struct PaymentDetail {
    pub(crate) payment: Payment,
    pub(crate) account: Option<Account>,
    pub(crate) timeline: Vec<(String, Timestamp, Option<String>)>,
    /// Our messages that tell of it, in the order of their making.
    pub(crate) messages: Vec<MessageOut>,
}

/// A message of ours on its way to the SPI.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct MessageOut {
    pub(crate) message_id: String,
    pub(crate) kind: String,
    /// `waiting`, `taken` or `refused`.
    pub(crate) state: String,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) ended_at: Option<OffsetDateTime>,
    pub(crate) resource_id: Option<String>,
    /// HTTP status of a refusal.
    pub(crate) status: Option<i32>,
    pub(crate) attempts: Option<i32>,
}

/// Sums over the whole book, in centavos.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Totals {
    pub(crate) customers: i64,
    pub(crate) blocked: i64,
    pub(crate) provisional: i64,
    pub(crate) settlement: i64,
    pub(crate) in_transit: i64,
    pub(crate) opening: i64,
    pub(crate) pending: i64,
    pub(crate) waiting: i64,
    pub(crate) anomalies: i64,
}

/// A message that waits to go out.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) id: i64,
    pub(crate) message_id: MsgId,
    pub(crate) kind: String,
    pub(crate) body: bytes::Bytes,
    /// When it began to wait.
    pub(crate) since: Instant,
}

#[derive(sqlx::FromRow)]
struct LineRow {
    #[sqlx(flatten)]
    payment: PaymentRow,
    created_at: OffsetDateTime,
}

impl Reader {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    /// Every customer's account, by branch and number.
    pub(crate) async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let rows: Vec<AccountRow> = sqlx::query_as(
            "SELECT id, indirect, branch, number, kind, holder, tax_id, state, available, blocked, provisional
               FROM account WHERE indirect IS NULL ORDER BY branch::int, number",
        )
        .fetch_all(&self.0)
        .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// The accounts of indirect participants.
    pub(crate) async fn indirect(&self) -> Result<Vec<Account>, StoreError> {
        let rows: Vec<AccountRow> = sqlx::query_as(
            "SELECT id, indirect, branch, number, kind, holder, tax_id, state, available, blocked, provisional
               FROM account WHERE indirect IS NOT NULL ORDER BY indirect",
        )
        .fetch_all(&self.0)
        .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// One customer's account.
    pub(crate) async fn account(
        &self,
        branch: Branch,
        number: AccountNumber,
    ) -> Result<Option<Account>, StoreError> {
        let row: Option<AccountRow> = sqlx::query_as(
            "SELECT id, indirect, branch, number, kind, holder, tax_id, state, available, blocked, provisional
               FROM account WHERE number = $1 AND branch::int = $2 AND indirect IS NULL",
        )
        .bind(number.as_str())
        .bind(i32::from(branch.get()))
        .fetch_optional(&self.0)
        .await?;
        row.map(TryInto::try_into).transpose()
    }

    pub(super) async fn accounts_by_id(&self, ids: &[i64]) -> Result<Vec<Account>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<AccountRow> = sqlx::query_as(
            "SELECT id, indirect, branch, number, kind, holder, tax_id, state, available, blocked, provisional
               FROM account WHERE id = ANY($1)",
        )
        .bind(ids)
        .fetch_all(&self.0)
        .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// The latest payments of an account, both ways, newest first.
    pub(crate) async fn history(&self, account: AccountId) -> Result<Vec<PaymentLine>, StoreError> {
        let rows: Vec<LineRow> = sqlx::query_as(
            "SELECT * FROM (
                (SELECT * FROM payment WHERE account = $1 ORDER BY created_at DESC LIMIT $2)
                UNION ALL
                (SELECT * FROM payment WHERE receiver = $1 ORDER BY created_at DESC LIMIT $2)
             ) AS both_ways ORDER BY created_at DESC, end_to_end_id LIMIT $2",
        )
        .bind(account.0)
        .bind(HISTORY_MAX)
        .fetch_all(&self.0)
        .await?;
        let payers: Vec<i64> = rows
            .iter()
            .filter(|row| row.payment.receiver == Some(account.0))
            .filter_map(|row| row.payment.account)
            .collect();
        let payers = self.accounts_by_id(&payers).await?;
        let line = |row: LineRow| {
            let payment: Payment = row.payment.try_into()?;
            let payer = match payment.course {
                Course::Book { from, to, .. } if to == account => {
                    payers.iter().find(|payer| payer.id == from).cloned()
                }
                Course::Book { .. } | Course::Outgoing { .. } | Course::Incoming { .. } => None,
            };
            Ok(PaymentLine {
                payment,
                created_at: row.created_at.into(),
                payer,
            })
        };
        rows.into_iter().map(line).collect()
    }

    /// One payment and its timeline.
    pub(crate) async fn payment(&self, id: EndToEndId) -> Result<Option<PaymentDetail>, StoreError> {
        let row: Option<PaymentRow> = sqlx::query_as("SELECT * FROM payment WHERE end_to_end_id = $1")
            .bind(id.as_str())
            .fetch_optional(&self.0)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let account = self.accounts_by_id(row.account.as_slice()).await?.pop();
        let steps: Vec<(String, OffsetDateTime, Option<String>)> = sqlx::query_as(
            "SELECT stage, at, detail FROM payment_step WHERE end_to_end_id = $1 ORDER BY at, id",
        )
        .bind(id.as_str())
        .fetch_all(&self.0)
        .await?;
        let timeline = steps
            .into_iter()
            .map(|(stage, at, detail)| (stage, at.into(), detail))
            .collect();
        let messages = sqlx::query_as(
            "SELECT o.message_id, o.kind, o.state, o.created_at, o.ended_at, o.resource_id, o.status, o.attempts
               FROM outbound_item i JOIN outbound o USING (message_id) WHERE i.end_to_end_id = $1 ORDER BY o.id",
        )
        .bind(id.as_str())
        .fetch_all(&self.0)
        .await?;
        Ok(Some(PaymentDetail {
            payment: row.try_into()?,
            account,
            timeline,
            messages,
        }))
    }

    /// Sums over the whole book, of one instant.
    pub(crate) async fn totals(&self) -> Result<Totals, StoreError> {
        let own = "SELECT balance FROM own_account WHERE name = ";
        let text = format!(
            "SELECT COALESCE(SUM(available + blocked), 0)::bigint AS customers,
                    COALESCE(SUM(blocked), 0)::bigint AS blocked,
                    COALESCE(SUM(provisional), 0)::bigint AS provisional,
                    ({own} 'settlement') AS settlement,
                    ({own} 'in_transit') AS in_transit,
                    ({own} 'opening') AS opening,
                    (SELECT COUNT(*) FROM payment WHERE state = 'pending') AS pending,
                    (SELECT COUNT(*) FROM outbound WHERE state = 'waiting') AS waiting,
                    (SELECT COUNT(*) FROM anomaly) AS anomalies
               FROM account"
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(text))
            .fetch_one(&self.0)
            .await?)
    }

    /// The oldest messages of a channel that wait to go out, without those in `in_flight`.
    pub(crate) async fn waiting(
        &self,
        channel: Channel,
        in_flight: &[i64],
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError> {
        let rows: Vec<(i64, String, String, Vec<u8>, f64)> = sqlx::query_as(
            "SELECT id, message_id, kind, body, EXTRACT(EPOCH FROM clock_timestamp() - created_at)::float8
               FROM outbound
              WHERE channel = $1 AND state = 'waiting' AND NOT id = ANY($2) ORDER BY id LIMIT $3",
        )
        .bind(channel.as_str())
        .bind(in_flight)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.0)
        .await?;
        let now = Instant::now();
        let read = |(id, message_id, kind, body, age_s): (i64, String, String, Vec<u8>, f64)| {
            let message_id = MsgId::parse(message_id.as_bytes()).map_err(|_| corrupt("message_id")())?;
            Ok(Waiting {
                id,
                message_id,
                kind,
                body: body.into(),
                // `created_at` is this process's clock, or that of one before it.
                since: Duration::try_from_secs_f64(age_s)
                    .ok()
                    .and_then(|age| now.checked_sub(age))
                    .unwrap_or(now),
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// The newest message there is: up to this one, earlier processes may have tried.
    pub(crate) async fn newest_outbound(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) FROM outbound")
            .fetch_one(&self.0)
            .await?)
    }
}
