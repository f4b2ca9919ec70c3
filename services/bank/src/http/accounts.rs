//! Accounts, their history, and the sums over the book.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use bank_core::{Account, AccountState, Counterparty, Course, Refusal};
use pix_domain::{AccountNumber, Branch, Money};
use serde::Serialize;

use super::App;
use super::problem::Refused;
use crate::adapters::pg::PaymentLine;

#[derive(Serialize)]
pub(super) struct AccountView {
    branch: String,
    number: String,
    r#type: &'static str,
    holder: String,
    tax_id: String,
    state: &'static str,
    balance: String,
    available: String,
    blocked: String,
    provisional: String,
}

impl From<&Account> for AccountView {
    fn from(account: &Account) -> Self {
        let held = account.balances;
        Self {
            branch: account.branch.to_string(),
            number: account.number.to_string(),
            r#type: account.kind.as_str(),
            holder: account.holder.as_str().to_owned(),
            tax_id: account.tax_id.masked(),
            state: account.state.as_str(),
            balance: held.owned().unwrap_or(Money::ZERO).to_string(),
            available: held.available.to_string(),
            blocked: held.blocked.to_string(),
            provisional: held.provisional.to_string(),
        }
    }
}

/// The other side of a payment, as a customer may see it.
#[derive(Serialize)]
pub(super) struct CounterpartyView {
    ispb: String,
    branch: Option<String>,
    number: String,
    r#type: &'static str,
    tax_id: String,
    name: Option<String>,
}

impl From<&Counterparty> for CounterpartyView {
    fn from(other: &Counterparty) -> Self {
        Self {
            ispb: other.ispb.to_string(),
            branch: other.branch.map(|branch| branch.to_string()),
            number: other.number.to_string(),
            r#type: other.kind.as_str(),
            tax_id: other.tax_id.masked(),
            name: other.name.as_ref().map(|name| name.as_str().to_owned()),
        }
    }
}

/// Why nothing was paid, in code, English and Portuguese; and what the payer can do.
#[derive(Serialize)]
pub(super) struct ReasonView {
    reason: Option<String>,
    reason_text: Option<&'static str>,
    reason_text_pt: Option<&'static str>,
    /// What the payer can do about it.
    advice: Option<&'static str>,
    advice_pt: Option<&'static str>,
}

impl From<Option<&Refusal>> for ReasonView {
    fn from(refusal: Option<&Refusal>) -> Self {
        Self {
            reason: refusal.map(Refusal::code),
            reason_text: refusal.map(Refusal::meaning),
            reason_text_pt: refusal.map(Refusal::meaning_in_portuguese),
            advice: refusal.map(|refusal| refusal.advice().in_english()),
            advice_pt: refusal.map(|refusal| refusal.advice().in_portuguese()),
        }
    }
}

#[derive(Serialize)]
pub(super) struct EntryView {
    end_to_end_id: String,
    direction: &'static str,
    book_transfer: bool,
    state: &'static str,
    #[serde(flatten)]
    reason: ReasonView,
    amount: String,
    counterparty: CounterpartyView,
    /// The receiver's key, when it was paid by one.
    key: Option<String>,
    description: Option<String>,
    at: String,
    ended_at: Option<String>,
}

/// `GET /api/accounts`.
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<AccountView>>, Refused> {
    let accounts = app.store.accounts().await?;
    Ok(Json(accounts.iter().map(AccountView::from).collect()))
}

/// The account of an indirect participant that the bank settles for.
#[derive(Serialize)]
pub(super) struct IndirectView {
    ispb: String,
    /// Whether the bank settles for it still.
    settled_here: bool,
    balance: String,
    available: String,
    blocked: String,
    provisional: String,
}

/// `GET /api/indirect`.
pub(super) async fn indirect(State(app): State<Arc<App>>) -> Result<Json<Vec<IndirectView>>, Refused> {
    let accounts = app.store.indirect().await?;
    let view = |account: &Account| {
        let held = account.balances;
        Some(IndirectView {
            ispb: account.indirect?.to_string(),
            settled_here: account.state == AccountState::Open,
            balance: held.owned().unwrap_or(Money::ZERO).to_string(),
            available: held.available.to_string(),
            blocked: held.blocked.to_string(),
            provisional: held.provisional.to_string(),
        })
    };
    Ok(Json(accounts.iter().filter_map(view).collect()))
}

/// `GET /api/accounts/{branch}/{number}/entries`: the latest payments, both ways, newest first.
pub(super) async fn entries(
    State(app): State<Arc<App>>,
    Path((branch, number)): Path<(String, String)>,
) -> Result<Json<Vec<EntryView>>, Refused> {
    let account = find(&app, &branch, &number).await?;
    let lines = app.store.history(account.id).await?;
    Ok(Json(lines.iter().map(|line| entry(&app, line)).collect()))
}

/// The account of this branch and number.
pub(super) async fn find(app: &App, branch: &str, number: &str) -> Result<Account, Refused> {
    let branch = Branch::parse(branch.as_bytes()).map_err(|e| Refused::bad_request(e.to_string()))?;
    let number = AccountNumber::parse(number.as_bytes()).map_err(|e| Refused::bad_request(e.to_string()))?;
    let account = app.store.account(branch, number).await?;
    account.ok_or_else(Refused::no_account)
}

fn entry(app: &App, line: &PaymentLine) -> EntryView {
    let payment = &line.payment;
    let from_here = |payer: &Account| CounterpartyView {
        ispb: app.about.ispb.to_string(),
        branch: Some(payer.branch.to_string()),
        number: payer.number.to_string(),
        r#type: payer.kind.as_str(),
        tax_id: payer.tax_id.masked(),
        name: Some(payer.holder.as_str().to_owned()),
    };
    let payer = line.payer.as_ref().map(|payer| match &payment.on_behalf_of {
        Some(customer) => customer.into(),
        None => from_here(payer),
    });
    let incoming = payer.is_some() || matches!(payment.course, Course::Incoming { .. });
    EntryView {
        end_to_end_id: payment.end_to_end_id.to_string(),
        direction: if incoming { "in" } else { "out" },
        book_transfer: matches!(payment.course, Course::Book { .. }),
        state: payment.state(),
        reason: payment.refusal().into(),
        amount: payment.amount.to_string(),
        counterparty: payer.unwrap_or_else(|| (&payment.counterparty).into()),
        key: payment.key.as_ref().map(|key| key.as_str().to_owned()),
        description: payment.description.as_ref().map(|text| text.as_str().to_owned()),
        at: line.created_at.to_string(),
        ended_at: payment.ended_at().map(|at| at.to_string()),
    }
}

/// Sums in decimal; the bank's own may be negative.
#[derive(Serialize)]
pub(super) struct TotalsView {
    customers: String,
    blocked: String,
    provisional: String,
    own: OwnView,
    /// Every pocket together: 0.00, or the book is broken.
    sum: String,
    pending_payments: i64,
    messages_waiting: i64,
    anomalies: i64,
}

#[derive(Serialize)]
struct OwnView {
    /// What final payments moved through the Conta PI, seen from the customers' side: what left less what arrived.
    settlement: String,
    in_transit: String,
    opening: String,
}

/// `GET /api/totals`: for checks that no money appears or vanishes.
pub(super) async fn totals(State(app): State<Arc<App>>) -> Result<Json<TotalsView>, Refused> {
    let sums = app.store.totals().await?;
    let all = [
        sums.customers,
        sums.provisional,
        sums.settlement,
        sums.in_transit,
        sums.opening,
    ];
    let sum = all.iter().map(|centavos| i128::from(*centavos)).sum();
    Ok(Json(TotalsView {
        customers: signed(sums.customers.into()),
        blocked: signed(sums.blocked.into()),
        provisional: signed(sums.provisional.into()),
        own: OwnView {
            settlement: signed(sums.settlement.into()),
            in_transit: signed(sums.in_transit.into()),
            opening: signed(sums.opening.into()),
        },
        sum: signed(sum),
        pending_payments: sums.pending,
        messages_waiting: sums.waiting,
        anomalies: sums.anomalies,
    }))
}

fn signed(centavos: i128) -> String {
    let sign = if centavos < 0 { "-" } else { "" };
    let amount = centavos.unsigned_abs();
    format!("{sign}{}.{:02}", amount / 100, amount % 100)
}

#[cfg(test)]
mod tests {
    use super::signed;

    #[test]
    fn sums_keep_their_sign() {
        assert_eq!(
            [signed(-5), signed(0), signed(123_456)],
            ["-0.05", "0.00", "1234.56"]
        );
    }
}
