//! Paying, and how a payment stands.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use bank_core::{Accepted, Counterparty, Course, Destination, Order, OrderKey, OrderRefusal, Payee, Payer};
use bytes::Bytes;
use pix_domain::{
    AccountNumber, AccountType, Branch, EndToEndId, Ispb, Key, Money, MsgId, TaxId, Text, Timestamp,
};
use serde::{Deserialize, Serialize};

use super::App;
use super::accounts::{CounterpartyView, ReasonView};
use super::lookup;
use super::problem::Refused;
use super::request::{field, json, order_key};
use crate::adapters::pg::MessageOut;
use crate::icom::Trying;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayBody {
    from: FromBody,
    to: ToBody,
    /// Of the look-up that the payer was shown, when `to` is a key.
    end_to_end_id: Option<String>,
    amount: String,
    description: Option<String>,
}

/// An account here; or, with its `ispb`, a customer of an indirect participant which the bank settles for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FromBody {
    ispb: Option<String>,
    branch: Option<String>,
    number: String,
    r#type: Option<String>,
    tax_id: Option<String>,
    name: Option<String>,
}

/// A key, or an account.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToBody {
    key: Option<String>,
    ispb: Option<String>,
    branch: Option<String>,
    number: Option<String>,
    r#type: Option<String>,
    tax_id: Option<String>,
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
    let body: PayBody = json(&headers, &body)?;
    let name = order_key(&headers)?;
    let now = app.clock.now().to_millis();
    let Asked { mut order, shown } = read(body, name, now, |ispb| {
        EndToEndId::new(ispb.unwrap_or(app.about.ispb), now, app.ids.u128())
    })?;
    if let (Payee::Key(key), false) = (&order.to, shown) {
        order.end_to_end_id = look_up(&app, &order, key).await?;
        // The look-up came first, and the timeline says so.
        order.accepted_at = app.clock.now().to_millis();
    }
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

/// An order, and whether its payer was shown whom the key stands for.
struct Asked {
    order: Order,
    shown: bool,
}

/// Strings end here.
fn read(
    body: PayBody,
    key: Option<OrderKey>,
    now: Timestamp,
    fresh: impl FnOnce(Option<Ispb>) -> EndToEndId,
) -> Result<Asked, Refused> {
    let description = body.description.filter(|text| !text.trim().is_empty());
    let from = payer(body.from)?;
    let to = payee(body.to)?;
    let shown = match body.end_to_end_id {
        Some(id) => Some(EndToEndId::parse(id.as_bytes()).map_err(|e| field("end_to_end_id", e))?),
        None => None,
    };
    if shown.is_some() && !matches!(to, Payee::Key(_)) {
        return Err(field(
            "end_to_end_id",
            "only a payment by key has one, from the look-up of the key",
        ));
    }
    // A payment's name begins with who serves the payer.
    let participant = match &from {
        Payer::Customer(..) => None,
        Payer::Indirect(customer) => Some(customer.ispb),
    };
    if participant.is_some() && matches!(to, Payee::Key(_)) {
        return Err(field(
            "to.key",
            "an indirect participant looks keys up before it has its settler pay; name the account",
        ));
    }
    let order = Order {
        end_to_end_id: shown.unwrap_or_else(|| fresh(participant)),
        key,
        from,
        to,
        amount: Money::parse(body.amount.as_bytes()).map_err(|e| field("amount", e))?,
        description: description
            .as_deref()
            .map(Text::parse)
            .transpose()
            .map_err(|e| field("description", e))?,
        accepted_at: now,
    };
    let shown = shown.is_some();
    Ok(Asked { order, shown })
}

fn payer(from: FromBody) -> Result<Payer, Refused> {
    let branch = from
        .branch
        .map(|branch| Branch::parse(branch.as_bytes()))
        .transpose()
        .map_err(|e| field("from.branch", e))?;
    let number = AccountNumber::parse(from.number.as_bytes()).map_err(|e| field("from.number", e))?;
    let Some(ispb) = from.ispb else {
        if from.r#type.is_some() || from.tax_id.is_some() || from.name.is_some() {
            let why = "names type, tax_id and name only of an indirect participant's customer, with its ispb";
            return Err(field("from", why));
        }
        let branch =
            branch.ok_or_else(|| field("from.branch", "is missing; name the paying account whole"))?;
        return Ok(Payer::Customer(branch, number));
    };
    let given = |name: &str, value: Option<String>| {
        value.ok_or_else(|| field(name, "is missing; a payer elsewhere is named whole"))
    };
    let (kind, tax_id) = (
        given("from.type", from.r#type)?,
        given("from.tax_id", from.tax_id)?,
    );
    let name = given("from.name", from.name)?;
    Ok(Payer::Indirect(Counterparty {
        ispb: Ispb::parse(ispb.as_bytes()).map_err(|e| field("from.ispb", e))?,
        branch,
        number,
        kind: AccountType::parse(kind.as_bytes()).map_err(|e| field("from.type", e))?,
        tax_id: TaxId::parse(tax_id.as_bytes()).map_err(|e| field("from.tax_id", e))?,
        name: Some(Text::parse(&name).map_err(|e| field("from.name", e))?),
    }))
}

fn payee(to: ToBody) -> Result<Payee, Refused> {
    let Some(key) = to.key else {
        return Ok(Payee::Account(destination(to)?));
    };
    if to.ispb.is_some()
        || to.branch.is_some()
        || to.number.is_some()
        || to.r#type.is_some()
        || to.tax_id.is_some()
    {
        return Err(field("to", "name a key or an account, not both"));
    }
    Ok(Payee::Key(Key::guess(&key).map_err(|e| field("to.key", e))?))
}

fn destination(to: ToBody) -> Result<Destination, Refused> {
    let given = |name: &str, value: Option<String>| {
        value.ok_or_else(|| field(name, "is missing; name an account whole, or a key"))
    };
    Ok(Destination {
        ispb: Ispb::parse(given("to.ispb", to.ispb)?.as_bytes()).map_err(|e| field("to.ispb", e))?,
        branch: to
            .branch
            .filter(|branch| !branch.is_empty())
            .map(|branch| Branch::parse(branch.as_bytes()))
            .transpose()
            .map_err(|e| field("to.branch", e))?,
        number: AccountNumber::parse(given("to.number", to.number)?.as_bytes())
            .map_err(|e| field("to.number", e))?,
        kind: AccountType::parse(given("to.type", to.r#type)?.as_bytes()).map_err(|e| field("to.type", e))?,
        tax_id: TaxId::parse(given("to.tax_id", to.tax_id)?.as_bytes()).map_err(|e| field("to.tax_id", e))?,
    })
}

/// Looks the key up for a payer who was not shown it; the payment takes the id of the look-up. An order that
/// was taken before needs none, and gets its first answer.
async fn look_up(app: &App, order: &Order, key: &Key) -> Result<EndToEndId, Refused> {
    if let Some(name) = &order.key
        && app.store.is_used(name).await?
    {
        return Ok(order.end_to_end_id);
    }
    if order.amount.is_zero() {
        return Err(OrderRefusal::AmountZero.into());
    }
    let payer = match &order.from {
        Payer::Customer(branch, number) => app.store.account(*branch, *number).await?,
        Payer::Indirect(_) => None,
    };
    let payer = payer.ok_or_else(|| Refused::from(OrderRefusal::PayerUnknown))?;
    let available = payer.balances.available;
    // The book judges again; what cannot be paid is not worth a token of the payer's at the DICT.
    if available < order.amount {
        return Err(OrderRefusal::InsufficientFunds { available }.into());
    }
    Ok(lookup::find(app, &payer, key.clone()).await?.end_to_end_id)
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
    /// The customer of an indirect participant whom this bank paid for, or was paid for.
    on_behalf_of: Option<CounterpartyView>,
    /// The receiver's key, when it was paid by one.
    key: Option<String>,
    description: Option<String>,
    accepted_at: String,
    timeline: Vec<StepView>,
    messages: Vec<MessageView>,
}

/// A message of ours about the payment, on its way to the SPI.
#[derive(Serialize)]
struct MessageView {
    message_id: String,
    kind: String,
    /// `waiting`, `taken` or `refused`.
    state: String,
    created_at: String,
    ended_at: Option<String>,
    resource_id: Option<String>,
    /// HTTP status of a refusal.
    status: Option<i32>,
    /// So far.
    attempts: i32,
    /// What the last attempt came to, while it waits.
    why: Option<String>,
}

impl MessageView {
    fn new(message: MessageOut, trying: &Trying) -> Self {
        // The process counts while a message waits, the table once it has ended.
        let failed = MsgId::parse(message.message_id.as_bytes())
            .ok()
            .and_then(|id| trying.of(id));
        let so_far = failed.as_ref().map_or(0, |failed| failed.attempts);
        Self {
            attempts: message.attempts.unwrap_or(so_far),
            why: failed.map(|failed| failed.why),
            message_id: message.message_id,
            kind: message.kind,
            state: message.state,
            created_at: Timestamp::from(message.created_at).to_string(),
            ended_at: message.ended_at.map(|at| Timestamp::from(at).to_string()),
            resource_id: message.resource_id,
            status: message.status,
        }
    }
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
    let detail = found.ok_or_else(Refused::no_payment)?;
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
        on_behalf_of: payment.on_behalf_of.as_ref().map(Into::into),
        key: payment.key.as_ref().map(|key| key.as_str().to_owned()),
        description: payment.description.as_ref().map(|text| text.as_str().to_owned()),
        accepted_at: payment.accepted_at.to_string(),
        timeline: steps
            .map(|(stage, at, detail)| StepView {
                stage,
                at: at.to_string(),
                detail,
            })
            .collect(),
        messages: detail
            .messages
            .into_iter()
            .map(|message| MessageView::new(message, &app.trying))
            .collect(),
    }))
}
