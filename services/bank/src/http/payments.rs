//! Paying, and how a payment stands.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use bank_core::{Accepted, Course, Destination, Order, OrderKey};
use bytes::Bytes;
use pix_domain::{AccountNumber, AccountType, Branch, EndToEndId, Ispb, Money, TaxId, Text, Timestamp};
use serde::{Deserialize, Serialize};

use super::App;
use super::accounts::{CounterpartyView, ReasonView};
use super::problem::Refused;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayBody {
    from: FromBody,
    to: ToBody,
    amount: String,
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FromBody {
    branch: String,
    number: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToBody {
    ispb: String,
    branch: Option<String>,
    number: String,
    r#type: String,
    tax_id: String,
}

#[derive(Serialize)]
pub(super) struct TakenView {
    end_to_end_id: String,
    state: &'static str,
}

/// `POST /api/payments`: the order is taken when this answers; how it ends is told by the timeline.
#[tracing::instrument(name = "pay", skip_all)]
pub(super) async fn pay(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<TakenView>), Refused> {
    let now = app.clock.now().to_millis();
    let id = EndToEndId::new(app.about.ispb, now, app.ids.u128());
    let order = read(&headers, &body, id, now)?;
    let (id, state) = match app.books.order(order).await?? {
        Accepted::ToSend(id) => (id, "pending"),
        Accepted::Settled(id) => (id, "settled"),
        Accepted::Again(id) => {
            let known = app.store.payment(id).await?;
            (id, known.map_or("pending", |known| known.payment.state()))
        }
    };
    Ok((
        StatusCode::ACCEPTED,
        Json(TakenView {
            end_to_end_id: id.to_string(),
            state,
        }),
    ))
}

/// Strings end here.
fn read(headers: &HeaderMap, body: &[u8], id: EndToEndId, now: Timestamp) -> Result<Order, Refused> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // A page of another origin must ask before it sends this type (CORS); one whose name was made to point
    // here need not, and is kept out by its name (see `here`).
    if !header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(Refused::bad_request(
            "send the order as Content-Type: application/json",
        ));
    }
    let key = match headers.contains_key("idempotency-key") {
        true => {
            let key = header("idempotency-key").and_then(|key| OrderKey::parse(key).ok());
            Some(key.ok_or_else(|| {
                Refused::bad_request("an Idempotency-Key is 1 to 80 visible ASCII characters")
            })?)
        }
        false => None,
    };
    let body: PayBody = serde_json::from_slice(body)
        .map_err(|e| Refused::bad_request(format!("the order is not as documented: {e}")))?;
    let description = body.description.filter(|text| !text.trim().is_empty());
    Ok(Order {
        end_to_end_id: id,
        key,
        from: (
            Branch::parse(body.from.branch.as_bytes()).map_err(|e| field("from.branch", e))?,
            AccountNumber::parse(body.from.number.as_bytes()).map_err(|e| field("from.number", e))?,
        ),
        to: Destination {
            ispb: Ispb::parse(body.to.ispb.as_bytes()).map_err(|e| field("to.ispb", e))?,
            branch: body
                .to
                .branch
                .filter(|branch| !branch.is_empty())
                .map(|branch| Branch::parse(branch.as_bytes()))
                .transpose()
                .map_err(|e| field("to.branch", e))?,
            number: AccountNumber::parse(body.to.number.as_bytes()).map_err(|e| field("to.number", e))?,
            kind: AccountType::parse(body.to.r#type.as_bytes()).map_err(|e| field("to.type", e))?,
            tax_id: TaxId::parse(body.to.tax_id.as_bytes()).map_err(|e| field("to.tax_id", e))?,
        },
        amount: Money::parse(body.amount.as_bytes()).map_err(|e| field("amount", e))?,
        description: description
            .as_deref()
            .map(Text::parse)
            .transpose()
            .map_err(|e| field("description", e))?,
        accepted_at: now,
    })
}

fn field(name: &str, rule: impl std::fmt::Display) -> Refused {
    Refused::bad_request(format!("{name}: {rule}"))
}

#[derive(Serialize)]
pub(super) struct PaymentView {
    end_to_end_id: String,
    direction: &'static str,
    book_transfer: bool,
    state: &'static str,
    #[serde(flatten)]
    reason: ReasonView,
    amount: String,
    account: Option<OwnAccountView>,
    counterparty: CounterpartyView,
    description: Option<String>,
    accepted_at: String,
    timeline: Vec<StepView>,
}

#[derive(Serialize)]
struct OwnAccountView {
    branch: String,
    number: String,
}

#[derive(Serialize)]
struct StepView {
    stage: String,
    at: String,
    detail: Option<String>,
}

/// `GET /api/payments/{e2e}`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<PaymentView>, Refused> {
    let id = EndToEndId::parse(id.as_bytes()).map_err(|e| Refused::bad_request(e.to_string()))?;
    let found = app.store.payment(id).await?;
    let detail = found.ok_or_else(|| Refused::not_found("this bank has no payment with that EndToEndId"))?;
    let payment = &detail.payment;
    let steps = detail.timeline.into_iter();
    Ok(Json(PaymentView {
        end_to_end_id: id.to_string(),
        direction: if matches!(payment.course, Course::Incoming { .. }) {
            "in"
        } else {
            "out"
        },
        book_transfer: matches!(payment.course, Course::Book { .. }),
        state: payment.state(),
        reason: payment.refusal().into(),
        amount: payment.amount.to_string(),
        account: detail.account.map(|account| OwnAccountView {
            branch: account.branch.to_string(),
            number: account.number.to_string(),
        }),
        counterparty: (&payment.counterparty).into(),
        description: payment.description.as_ref().map(|text| text.as_str().to_owned()),
        accepted_at: payment.accepted_at.to_string(),
        timeline: steps
            .map(|(stage, at, detail)| StepView {
                stage,
                at: at.to_string(),
                detail,
            })
            .collect(),
    }))
}
