//! Whom a key stands for, shown to a payer before the payment.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use bank_core::{Account, AccountState, Counterparty, DictRefusal, KeyEvent, KeyState, Lookup, OrderRefusal};
use pix_dict_api::Entry;
use pix_domain::{EndToEndId, Key, Text};
use pix_runtime::payment_trace::Stage;
use serde::{Deserialize, Serialize};

use super::App;
use super::accounts;
use super::keys::segment;
use super::problem::Refused;
use crate::dict::LookupFailure;
use crate::work::KeyWork;

/// `?branch=&number=` of the account that wants to pay.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Payer {
    branch: String,
    number: String,
}

#[derive(Serialize)]
pub(super) struct LookupView {
    /// Goes with the payment, to pay exactly whom this shows.
    end_to_end_id: String,
    key: String,
    r#type: &'static str,
    name: Option<String>,
    tax_id: String,
    ispb: String,
    /// The receiver's bank by name, where this bank knows it: its own.
    bank: Option<String>,
    own: bool,
}

/// `POST /api/keys/{key}/lookup?branch=&number=`: it spends a payer's tokens at the DICT, and a `GET` any site could
/// make a browser do.
#[tracing::instrument(name = "look_up", skip_all)]
pub(super) async fn look_up(
    State(app): State<Arc<App>>,
    key: Result<Path<String>, PathRejection>,
    payer: Result<Query<Payer>, QueryRejection>,
) -> Result<Json<LookupView>, Refused> {
    let Query(payer) =
        payer.map_err(|_| Refused::bad_request("name the paying account: ?branch=0001&number=100001"))?;
    let key = Key::guess(&segment(key)?).map_err(Refused::no_key)?;
    let payer = accounts::find(&app, &payer.branch, &payer.number).await?;
    let found = find(&app, &payer, key).await?;
    let own = found.to.ispb == app.about.ispb;
    Ok(Json(LookupView {
        end_to_end_id: found.end_to_end_id.to_string(),
        key: found.key.as_str().to_owned(),
        r#type: found.key.kind().as_str(),
        name: found.to.name.as_ref().map(|name| name.as_str().to_owned()),
        tax_id: found.to.tax_id.masked(),
        ispb: found.to.ispb.to_string(),
        bank: own.then(|| app.about.name.clone()),
        own,
    }))
}

/// Looks a key up for a payer and keeps what was found. A key of this bank asks nobody.
pub(super) async fn find(app: &App, payer: &Account, key: Key) -> Result<Lookup, Refused> {
    match payer.state {
        AccountState::Closed => return Err(OrderRefusal::PayerClosed.into()),
        AccountState::Blocked => return Err(OrderRefusal::PayerBlocked.into()),
        AccountState::Open => {}
    }
    let now = app.clock.now().to_millis();
    let id = EndToEndId::new(app.about.ispb, now, app.ids.u128());
    let to = match own(app, &key).await? {
        Some(account) => Counterparty {
            ispb: app.about.ispb,
            branch: Some(account.branch),
            number: account.number,
            kind: account.kind,
            tax_id: account.tax_id,
            name: Some(account.holder),
        },
        None => elsewhere(app, payer, &key, id).await?,
    };
    let lookup = Lookup {
        end_to_end_id: id,
        account: payer.id,
        key,
        to,
        at: now,
    };
    app.books.keep(lookup.clone()).await?;
    Ok(lookup)
}

/// The account here that has the key.
async fn own(app: &App, key: &Key) -> Result<Option<Account>, Refused> {
    let Some((registration, account)) = app.store.live_key(key).await? else {
        return Ok(None);
    };
    match registration.state {
        KeyState::Active { .. } => Ok(Some(account)),
        // The DICT would only say that the key is, or may be, ours.
        KeyState::Requested { .. } | KeyState::Removing { .. } => Err(Refused::key_in_motion()),
        KeyState::Refused { .. } | KeyState::Removed | KeyState::Lost => Ok(None),
    }
}

async fn elsewhere(app: &App, payer: &Account, key: &Key, id: EndToEndId) -> Result<Counterparty, Refused> {
    let asked_at = app.clock.now();
    let found = app.directory.look_up(key, payer.tax_id, id).await;
    let end = match &found {
        Ok(_) => "found",
        Err(LookupFailure::Refused(_)) => "refused",
        Err(LookupFailure::Away(_)) => "away",
    };
    metrics::counter!("bank_lookups_total", "end" => end).increment(1);
    let stage = Stage {
        end_to_end_id: id,
        name: "bank.lookup",
        from: asked_at,
        to: app.clock.now(),
    };
    stage.send(&[("participant.ispb", app.about.ispb.as_str()), ("lookup.end", end)]);
    match found {
        Ok(entry) => Ok(counterparty(entry)),
        Err(LookupFailure::Refused(why)) => {
            if why == DictRefusal::BookTransfer {
                begin_settling(app, key).await?;
            }
            Err(why.into())
        }
        Err(LookupFailure::Away(why)) => {
            tracing::warn!(why, "the DICT does not answer a look-up");
            Err(Refused::dict_away())
        }
    }
}

/// The DICT has a key of this bank although it ended here: what has to follow is begun. One that the copy never knew
/// is left to whoever registers it.
async fn begin_settling(app: &App, key: &Key) -> Result<(), Refused> {
    tracing::warn!("the DICT has a key of this bank that the bank's copy does not know");
    if let Some(latest) = app.store.key(key.as_str()).await? {
        let id = latest.registration.request_id;
        app.books.keys(KeyWork::Heard(id, KeyEvent::Present)).await??;
    }
    Ok(())
}

fn counterparty(entry: Entry) -> Counterparty {
    Counterparty {
        ispb: entry.account.participant,
        branch: entry.account.branch,
        number: entry.account.number,
        kind: entry.account.kind,
        tax_id: entry.owner.tax_id,
        // The DICT's names may be ten characters longer than a payment's.
        name: Some(Text::truncated(entry.owner.name.as_str())),
    }
}
