//! Keys of the bank's customers: registering, removing, and how each stands; contacts that may become keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use bank_core::{DictRefusal, KeyState, KeyTaken, Wish};
use bytes::Bytes;
use pix_domain::{AccountNumber, Branch, Key, KeyType, RequestId};
use serde::{Deserialize, Serialize};

use super::App;
use super::accounts;
use super::problem::Refused;
use super::request::{field, json, order_key};
use crate::adapters::pg::KeyLine;
use crate::work::KeyWork;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterBody {
    account: AccountBody,
    r#type: String,
    key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountBody {
    branch: String,
    number: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContactBody {
    contact: String,
}

/// `?branch=&number=`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfAccount {
    branch: Option<String>,
    number: Option<String>,
}

#[derive(Serialize)]
pub(super) struct KeyView {
    /// Names the registration, also before a random key is drawn.
    id: String,
    key: Option<String>,
    r#type: &'static str,
    state: &'static str,
    account: AccountView,
    requested_at: String,
    /// Why the DICT did not register it, or did not remove it: the type of its problem.
    reason: Option<String>,
    reason_text: Option<&'static str>,
    reason_text_pt: Option<&'static str>,
    steps: Vec<StepView>,
}

#[derive(Serialize)]
struct AccountView {
    branch: String,
    number: String,
}

#[derive(Serialize)]
struct StepView {
    stage: String,
    at: String,
    detail: Option<String>,
}

impl From<KeyLine> for KeyView {
    fn from(line: KeyLine) -> Self {
        let registration = line.registration;
        let why = match &registration.state {
            KeyState::Refused { why, .. } | KeyState::Active { kept: Some(why) } => Some(why),
            KeyState::Requested { .. }
            | KeyState::Active { kept: None }
            | KeyState::Removing { .. }
            | KeyState::Removed
            | KeyState::Lost => None,
        };
        Self {
            id: registration.request_id.to_string(),
            key: registration.key.as_ref().map(|key| key.as_str().to_owned()),
            r#type: registration.kind.as_str(),
            state: registration.state.as_str(),
            account: AccountView {
                branch: line.account.branch.to_string(),
                number: line.account.number.to_string(),
            },
            requested_at: registration.requested_at.to_string(),
            reason: why.map(|why| why.as_str().to_owned()),
            reason_text: why.map(DictRefusal::meaning),
            reason_text_pt: why.map(DictRefusal::meaning_in_portuguese),
            steps: line
                .steps
                .into_iter()
                .map(|(stage, at, detail)| StepView {
                    stage,
                    at: at.to_string(),
                    detail,
                })
                .collect(),
        }
    }
}

/// `GET /api/keys`: registrations in any state, newest first; with `?branch=&number=`, of one account.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    of: Result<Query<OfAccount>, QueryRejection>,
) -> Result<Json<Vec<KeyView>>, Refused> {
    let one_account = || Refused::bad_request("name an account by both: ?branch=0001&number=100001");
    let Query(of) = of.map_err(|_| one_account())?;
    let of = match (of.branch, of.number) {
        (Some(branch), Some(number)) => Some(accounts::find(&app, &branch, &number).await?.id),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(one_account()),
    };
    let lines = app.store.keys(of).await?;
    Ok(Json(lines.into_iter().map(KeyView::from).collect()))
}

/// `GET /api/keys/{key}`: the latest registration of the key, or the one of this id.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<KeyView>, Refused> {
    let line = app.store.key(&segment(name)?).await?;
    let line = line.ok_or_else(|| Refused::from(bank_core::KeyRefusal::KeyUnknown))?;
    Ok(Json(line.into()))
}

/// `POST /api/keys`: the wish is taken when this answers; what comes of it is told by its state and steps.
#[tracing::instrument(name = "register", skip_all)]
pub(super) async fn register(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<KeyView>), Refused> {
    let body: RegisterBody = json(&headers, &body)?;
    let name = order_key(&headers)?;
    let account = read_account(&body.account)?;
    let kind = KeyType::parse(body.r#type.as_bytes()).map_err(|_| field("type", KINDS))?;
    let wish = Wish {
        request_id: RequestId::new(app.ids.u128()),
        name,
        kind,
        key: body.key.filter(|key| !key.is_empty()).map(Into::into),
        at: app.clock.now(),
    };
    let taken = app.books.keys(KeyWork::Register { wish, account }).await??;
    answer(&app, taken).await
}

/// `DELETE /api/keys/{key}`: likewise.
#[tracing::instrument(name = "remove_key", skip_all)]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    key: Result<Path<String>, PathRejection>,
) -> Result<(StatusCode, Json<KeyView>), Refused> {
    let key = Key::guess(&segment(key)?).map_err(Refused::no_key)?;
    let taken = app.books.keys(KeyWork::Remove(key)).await??;
    answer(&app, taken).await
}

/// The key of a path.
pub(super) fn segment(path: Result<Path<String>, PathRejection>) -> Result<String, Refused> {
    let Path(segment) = path.map_err(|_| field("key", "is not UTF-8 behind its percent signs"))?;
    Ok(segment)
}

const KINDS: &str = "the type of a key is CPF, CNPJ, PHONE, EMAIL or EVP";

fn read_account(body: &AccountBody) -> Result<(Branch, AccountNumber), Refused> {
    Ok((
        Branch::parse(body.branch.as_bytes()).map_err(|e| field("account.branch", e))?,
        AccountNumber::parse(body.number.as_bytes()).map_err(|e| field("account.number", e))?,
    ))
}

/// 202 while the DICT has to be asked, 201 once that has led to a key.
async fn answer(app: &App, taken: Option<KeyTaken>) -> Result<(StatusCode, Json<KeyView>), Refused> {
    let (Some(KeyTaken::ToAsk(id)) | Some(KeyTaken::Again(id))) = taken else {
        return Err(Refused::not_taken());
    };
    let line = app.store.key(&id.to_string()).await?;
    let line = line.ok_or_else(|| Refused::from(bank_core::KeyRefusal::KeyUnknown))?;
    let status = match line.registration.state {
        KeyState::Active { .. } => StatusCode::CREATED,
        KeyState::Requested { .. }
        | KeyState::Refused { .. }
        | KeyState::Removing { .. }
        | KeyState::Removed
        | KeyState::Lost => StatusCode::ACCEPTED,
    };
    Ok((status, Json(line.into())))
}

#[derive(Serialize)]
pub(super) struct ContactsView {
    phones: Vec<String>,
    emails: Vec<String>,
}

/// `GET /api/accounts/{branch}/{number}/contacts`: phones and e-mails confirmed to be the customer's.
pub(super) async fn contacts(
    State(app): State<Arc<App>>,
    Path((branch, number)): Path<(String, String)>,
) -> Result<Json<ContactsView>, Refused> {
    let account = accounts::find(&app, &branch, &number).await?;
    let known = app.store.contacts(&account.tax_id).await?;
    let (phones, emails): (Vec<_>, Vec<_>) = known.iter().partition(|key| key.kind() == KeyType::Phone);
    let texts = |keys: Vec<&Key>| keys.iter().map(|key| key.as_str().to_owned()).collect();
    Ok(Json(ContactsView {
        phones: texts(phones),
        emails: texts(emails),
    }))
}

/// `POST /api/accounts/{branch}/{number}/contacts`: a clerk says that the phone or e-mail is the customer's.
pub(super) async fn confirm(
    State(app): State<Arc<App>>,
    Path((branch, number)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<ContactsView>), Refused> {
    let body: ContactBody = json(&headers, &body)?;
    let contact = Key::guess(&body.contact).map_err(|_| Refused::from(bank_core::KeyRefusal::NoContact))?;
    let account = accounts::find(&app, &branch, &number).await?;
    let account = (account.branch, account.number);
    app.books.keys(KeyWork::Confirm { contact, account }).await??;
    let view = contacts(State(app), Path((branch, number))).await?;
    Ok((StatusCode::CREATED, view))
}
