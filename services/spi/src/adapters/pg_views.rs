//! What operators ask of the tables.

use pix_domain::{EndToEndId, Money, ResourceId, Timestamp};
use serde::Serialize;
use sqlx::{PgPool, Row as _};
use time::OffsetDateTime;

use super::pg::StoreError;
use crate::handed::{HandedOver, Times};

/// One Conta PI.
#[derive(Serialize)]
pub(crate) struct AccountView {
    pub(crate) ispb: String,
    pub(crate) available: String,
    pub(crate) blocked: String,
}

/// One payment as the SPI knows it.
#[derive(Serialize)]
pub(crate) struct PaymentView {
    pub(crate) end_to_end_id: String,
    /// `pending`, `settled`, `refused` or `unknown`.
    pub(crate) state: &'static str,
    pub(crate) reason: Option<String>,
    pub(crate) reason_text: Option<&'static str>,
    pub(crate) amount: Option<String>,
    pub(crate) payer_agent: Option<String>,
    pub(crate) receiver_agent: Option<String>,
    pub(crate) deadline: Option<String>,
    /// Database time of this answer: what `deadline` is compared with.
    pub(crate) as_of: String,
    pub(crate) timeline: Vec<Stage>,
}

/// One thing that happened to a payment.
#[derive(Serialize)]
pub(crate) struct Stage {
    pub(crate) stage: &'static str,
    pub(crate) at: String,
    pub(crate) detail: String,
    pub(crate) message_id: Option<String>,
    pub(crate) resource_id: Option<String>,
    /// Of a message that was handed to its reader: how often, until the reader asked for what comes after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempts: Option<i32>,
}

impl Stage {
    fn new(stage: &'static str, at: impl Into<Timestamp>, detail: impl Into<String>) -> Self {
        Self {
            stage,
            at: at.into().to_string(),
            detail: detail.into(),
            message_id: None,
            resource_id: None,
            attempts: None,
        }
    }
}

/// The most rows of the book between a message and the last of its own effects: 500 transactions, each with its
/// payment, its step and its posting.
const ROWS_OF_MESSAGE_MAX: i64 = 2_000;

/// A message that a participant posted.
struct Posted {
    resource_id: Option<String>,
    message_id: Option<String>,
    sender: String,
    kind: String,
    received_at: OffsetDateTime,
}

/// The message whose effect is row `seq` of the book: rows are numbered in the order of decisions, so it is the last
/// one before.
async fn cause(pool: &PgPool, seq: i64, decided_at: OffsetDateTime) -> Result<Option<Posted>, StoreError> {
    let row = sqlx::query(
        "SELECT resource_id, message_id, sender, kind, received_at FROM message_in
         WHERE day = $1 AND seq >= $2 AND seq < $3 ORDER BY seq DESC LIMIT 1",
    )
    .bind(decided_at.date())
    .bind(seq - ROWS_OF_MESSAGE_MAX)
    .bind(seq)
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Posted {
        resource_id: super::pg::resource_id("message_in", row.try_get(0)?)
            .ok()
            .map(|id| id.to_string()),
        message_id: row.try_get(1)?,
        sender: row.try_get(2)?,
        kind: row.try_get(3)?,
        received_at: row.try_get(4)?,
    }))
}

/// Every account, the funding account included.
pub(crate) async fn accounts(pool: &PgPool) -> Result<Vec<AccountView>, StoreError> {
    let rows = sqlx::query("SELECT account, available, blocked FROM account ORDER BY account")
        .fetch_all(pool)
        .await?;
    let view = |row: &sqlx::postgres::PgRow| -> Result<AccountView, StoreError> {
        let available: i64 = row.try_get(1)?;
        let sign = if available < 0 { "-" } else { "" };
        Ok(AccountView {
            ispb: row.try_get(0)?,
            available: format!("{sign}{}", Money::from_centavos(available.unsigned_abs())),
            blocked: Money::from_centavos(row.try_get::<i64, _>(2)?.unsigned_abs()).to_string(),
        })
    };
    rows.iter().map(view).collect()
}

/// A payment and its timeline.
pub(crate) async fn payment(
    pool: &PgPool,
    handed: &HandedOver,
    id: EndToEndId,
) -> Result<PaymentView, StoreError> {
    let as_of: OffsetDateTime = sqlx::query_scalar("SELECT now()").fetch_one(pool).await?;
    let mut view = PaymentView {
        end_to_end_id: id.to_string(),
        state: "unknown",
        reason: None,
        reason_text: None,
        amount: None,
        payer_agent: None,
        receiver_agent: None,
        deadline: None,
        as_of: Timestamp::from(as_of).to_string(),
        timeline: Vec::new(),
    };
    let Ok(month) = id.month() else { return Ok(view) };
    let row = sqlx::query(
        "SELECT debtor_agent, creditor_agent, amount, received_at, deadline, resource_id, receiver FROM payment
         WHERE month = $1 AND end_to_end_id = $2",
    )
    .bind(month.get())
    .bind(id.as_str())
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(view) };
    let received_at: OffsetDateTime = row.try_get(3)?;
    view.state = "pending";
    view.payer_agent = row.try_get(0)?;
    view.receiver_agent = row.try_get(1)?;
    view.amount = Some(Money::from_centavos(row.try_get::<i64, _>(2)?.unsigned_abs()).to_string());
    view.deadline = Some(Timestamp::from(row.try_get::<OffsetDateTime, _>(4)?).to_string());
    let receiver: String = row.try_get(6)?;
    let order = super::pg::resource_id("payment", row.try_get(5)?).ok();
    view.timeline.push(Stage {
        resource_id: order.map(|id| id.to_string()),
        ..Stage::new("received", received_at, "pacs.008 from the payer's participant")
    });
    let steps = sqlx::query(
        "SELECT outcome, reason, detail, at, seq FROM payment_step WHERE month = $1 AND end_to_end_id = $2 ORDER BY step",
    )
    .bind(month.get())
    .bind(id.as_str())
    .fetch_all(pool)
    .await?;
    for step in &steps {
        let reason: Option<String> = step.try_get(1)?;
        let (stage, state) = match step.try_get::<&str, _>(0)? {
            "blocked" => ("blocked", "pending"),
            "settled" => ("settled", "settled"),
            "released" => ("released", "refused"),
            _ => ("refused", "refused"),
        };
        view.state = state;
        view.reason_text = reason
            .as_deref()
            .and_then(|code| pix_domain::StatusReason::parse(code.as_bytes()).ok())
            .map(pix_domain::StatusReason::meaning);
        let at: OffsetDateTime = step.try_get(3)?;
        let cause = cause(pool, step.try_get(4)?, at).await?;
        match (stage, cause) {
            ("blocked" | "refused", Some(order)) if order.resource_id == view.timeline[0].resource_id => {
                view.timeline[0].message_id = order.message_id;
            }
            // At the deadline nobody's message ends it.
            ("settled" | "released", Some(answer))
                if reason.as_deref() != Some("AB03")
                    && answer.kind == "pacs.002"
                    && answer.sender == receiver =>
            {
                let says = if stage == "settled" { "accepts" } else { "refuses" };
                view.timeline.push(Stage {
                    message_id: answer.message_id,
                    resource_id: answer.resource_id,
                    ..Stage::new(
                        "answered",
                        answer.received_at,
                        format!("pacs.002 of {receiver} {says}"),
                    )
                });
            }
            _ => {}
        }
        let detail: Option<String> = step.try_get(2)?;
        let texts = [reason.clone(), detail.filter(|text| !text.is_empty())];
        let texts = texts.into_iter().flatten().collect::<Vec<_>>();
        view.timeline.push(Stage::new(stage, at, texts.join(": ")));
        view.reason = reason;
    }
    // Messages about it were decided between its receipt and its end; what was told again later is not shown.
    let ended_at = steps
        .iter()
        .filter(|_| view.state != "pending")
        .map(|step| step.try_get(3))
        .last();
    let until: OffsetDateTime = ended_at.unwrap_or_else(|| Ok(received_at + time::Duration::days(1)))?;
    let deliveries = sqlx::query(
        "SELECT o.form, d.destination, d.message_id, d.resource_id, d.created_at, c.at, c.delivered_at, c.attempts, d.id
         FROM outbox o
         JOIN delivery_item i ON i.outbox_day = o.day AND i.outbox_id = o.id
         JOIN delivery d ON d.day = i.delivery_day AND d.id = i.delivery_id
         LEFT JOIN confirmation c ON c.delivery_day = d.day AND c.delivery_id = d.id
         WHERE o.end_to_end_id = $1 AND o.created_at BETWEEN $2 AND $3 AND o.day BETWEEN $4 AND $5
         ORDER BY o.id",
    )
    .bind(id.as_str())
    .bind(received_at)
    .bind(until)
    .bind(received_at.date())
    .bind(until.date())
    .fetch_all(pool)
    .await?;
    for row in &deliveries {
        let destination: &str = row.try_get(1)?;
        let what = match row.try_get::<&str, _>(0)? {
            "STATUS" => "pacs.002",
            "REFUSAL" => "admi.002",
            _ => "pacs.008",
        };
        let resource_id: &[u8] = row.try_get(3)?;
        let resource_id = <[u8; 24]>::try_from(resource_id)
            .ok()
            .map(|raw| ResourceId::from_bytes(raw).to_string());
        let message_id: Option<String> = row.try_get(2)?;
        let about = |stage: &'static str, at: OffsetDateTime, detail: String| Stage {
            message_id: message_id.clone(),
            resource_id: resource_id.clone(),
            ..Stage::new(stage, at, detail)
        };
        let formed_at: OffsetDateTime = row.try_get(4)?;
        view.timeline
            .push(about("formed", formed_at, format!("{what} for {destination}")));
        let read_at: Option<OffsetDateTime> = row.try_get(5)?;
        let times = match (row.try_get::<Option<OffsetDateTime>, _>(6)?, row.try_get(7)?) {
            (Some(first_at), Some(attempts)) => Some(Times {
                first_at: first_at.into(),
                attempts,
            }),
            _ => handed.of(row.try_get(8)?),
        };
        if let Some(Times { first_at, attempts }) = times {
            view.timeline.push(Stage {
                attempts: Some(attempts),
                ..about(
                    "delivered",
                    first_at.into(),
                    format!("{what} handed to {destination}"),
                )
            });
        }
        if let Some(at) = read_at {
            // An order is confirmed, an end is told.
            let stage = if what == "pacs.008" { "confirmed" } else { "told" };
            view.timeline
                .push(about(stage, at, format!("{what} read by {destination}")));
        }
    }
    let told: Vec<String> = view
        .timeline
        .iter()
        .filter(|stage| stage.stage == "formed")
        .flat_map(|stage| [stage.message_id.clone(), stage.resource_id.clone()])
        .flatten()
        .collect();
    let readers: Vec<&str> = deliveries
        .iter()
        .map(|row| row.try_get(1))
        .collect::<Result<_, _>>()?;
    let complaints = sqlx::query(
        "SELECT sender, reference, reason, at, resource_id FROM complaint
         WHERE reference = ANY ($1) AND sender = ANY ($2)",
    )
    .bind(&told)
    .bind(&readers)
    .fetch_all(pool)
    .await?;
    for row in &complaints {
        let (sender, reference, reason): (&str, &str, &str) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        view.timeline.push(Stage {
            resource_id: super::pg::resource_id("complaint", row.try_get(4)?)
                .ok()
                .map(|id| id.to_string()),
            ..Stage::new(
                "complaint",
                row.try_get::<OffsetDateTime, _>(3)?,
                format!("admi.002 of {sender} about {reference}: {reason}"),
            )
        });
    }
    view.timeline.sort_by(|a, b| a.at.cmp(&b.at));
    Ok(view)
}
