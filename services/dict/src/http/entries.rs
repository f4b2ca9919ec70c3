//! createEntry, getEntry, updateEntry, deleteEntry, getEntryStatistics.

use std::borrow::Cow;

use dict_core::buckets::Policy;
use dict_core::entry::{Create, CreateReason, Delete, DeleteReason, Update, UpdateReason, may_query};
use http::HeaderMap;
use hyper::body::Incoming;
use pix_dict_api::{
    DeleteEntryResponse, EntryRoot, GetEntryStatisticsResponse, Operation, ProblemKind, Request, Response,
    Violation, check_request_id,
};
use pix_domain::{Ispb, Key};
use pix_runtime::Clock as _;
use pix_runtime::payment_trace::Stage;

use super::problem::Refusal;
use super::respond::Reply;
use super::{Caller, limited, request};
use crate::answers;
use crate::app::App;
use crate::buckets::Ask;
use crate::registry::acts_for;

/// `POST /entries/`: registers a key; a repeat, told by its RequestId and content, gets the first answer.
pub(super) async fn create(
    app: &App,
    caller: Caller,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Reply, Refusal> {
    limited(app, caller.ask(Policy::EntriesWrite), async {
        let body = request::body(caller, headers, body).await?;
        let Request::CreateEntry(asked) = request::open(app, caller, &body, Operation::CreateEntry)? else {
            unreachable!("it was opened as a createEntry");
        };
        authorise(app, caller, &asked.entry.account.participant)?;
        let reason = CreateReason::parse(&asked.reason).ok_or_else(invalid_reason)?;
        let (entry, request_id) = (asked.entry.check(), check_request_id(&asked.request_id));
        let (entry, request_id) = both(entry, request_id.map_err(|violation| vec![violation]))?;
        let command = Create {
            entry,
            reason,
            request_id,
        };
        let registered = app.directory.create(&command, caller.turn()).await?;
        Ok(Reply::created(registered.answer))
    })
    .await
}

/// `GET /entries/{Key}`: who is behind a key.
pub(super) async fn get(
    app: &App,
    caller: Caller,
    key: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Reply, Refusal> {
    let with_statistics = request::include_statistics(query)?;
    let requesting = request::requesting(app, caller, headers)?;
    let payer = request::payer(headers)?;
    let end_to_end_id = request::end_to_end_id(headers)?;
    let key = request::key(key)?;
    let ask = Ask::Lookup {
        participant: requesting.ispb,
        category: requesting.category,
        payer,
        key: key.kind(),
        end_to_end_id,
    };
    let asked_at = app.clock.now();
    let replied = limited(app, ask, async {
        let found = app.directory.find(&key).await?;
        let entry = found.ok_or_else(Refusal::no_entry)?.entry;
        may_query(&entry, requesting.ispb)?;
        let statistics = match with_statistics {
            true => Some(Box::pin(app.statistics.of(&entry)).await?),
            false => None,
        };
        tracing::debug!(target: "payment", { payment.end_to_end_id = %end_to_end_id }, "a key was looked up for a payment");
        let response = answers::with_entry(EntryRoot::Get, app.answering(), entry, statistics);
        Ok(Reply::ok(answers::signed(&app.sealer, response).await))
    })
    .await;
    let status = match &replied {
        Ok(reply) => reply.status,
        Err(refusal) => refusal.status,
    };
    let stage = Stage {
        end_to_end_id,
        name: "dict.lookup",
        from: asked_at,
        to: app.clock.now(),
    };
    stage.send(&[
        ("participant.ispb", requesting.ispb.as_str()),
        ("http.status", status.as_str()),
    ]);
    replied
}

/// `PUT /entries/{Key}`: another account, or another name of the same owner.
pub(super) async fn update(
    app: &App,
    caller: Caller,
    key: &str,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Reply, Refusal> {
    limited(app, caller.ask(Policy::EntriesUpdate), async {
        let key = request::key(key)?;
        let body = request::body(caller, headers, body).await?;
        let Request::UpdateEntry(asked) = request::open(app, caller, &body, Operation::UpdateEntry)? else {
            unreachable!("it was opened as an updateEntry");
        };
        same_key(&key, &asked.key)?;
        if let Some(account) = &asked.account {
            authorise(app, caller, &account.participant)?;
        }
        let reason = UpdateReason::parse(&asked.reason).ok_or_else(invalid_reason)?;
        let account = asked.account.as_ref().map(|account| account.check()).transpose();
        let owner = asked.owner.as_ref().map(|owner| owner.check()).transpose();
        let (account, owner) = both(account, owner)?;
        let command = Update {
            key,
            account,
            owner,
            reason,
        };
        let registry = app.registry.load_full();
        let may_act = |holder| acts_for(&registry, caller.ispb, holder).is_ok();
        let entry = app.directory.update(&command, caller.turn(), may_act).await?;
        let response = answers::with_entry(EntryRoot::Update, app.answering(), entry, None);
        Ok(Reply::ok(answers::signed(&app.sealer, response).await))
    })
    .await
}

/// `POST /entries/{Key}/delete`: the key is nobody's from then on.
pub(super) async fn delete(
    app: &App,
    caller: Caller,
    key: &str,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Reply, Refusal> {
    limited(app, caller.ask(Policy::EntriesWrite), async {
        let key = request::key(key)?;
        let body = request::body(caller, headers, body).await?;
        let Request::DeleteEntry(asked) = request::open(app, caller, &body, Operation::DeleteEntry)? else {
            unreachable!("it was opened as a deleteEntry");
        };
        same_key(&key, &asked.key)?;
        authorise(app, caller, &asked.participant)?;
        let reason = DeleteReason::parse(&asked.reason).ok_or_else(invalid_reason)?;
        let participant = Ispb::parse(asked.participant.as_bytes()).map_err(|_| {
            Refusal::invalid(vec![Violation {
                reason: "Value does not match regex '^[0-9A-Z]{8}$'".to_owned(),
                value: Some(asked.participant.clone()),
                property: Some("participant".to_owned()),
            }])
        })?;
        let command = Delete {
            key,
            participant,
            reason,
        };
        app.directory.delete(&command, caller.turn()).await?;
        let response = Response::DeleteEntry(DeleteEntryResponse {
            head: app.answering().head(),
            key: Cow::Owned(command.key),
        });
        Ok(Reply::ok(answers::signed(&app.sealer, response).await))
    })
    .await
}

/// `GET /entries/{Key}/statistics`: what the switch knows of a key and its owner.
pub(super) async fn statistics(
    app: &App,
    caller: Caller,
    key: &str,
    headers: &HeaderMap,
) -> Result<Reply, Refusal> {
    let requesting = request::requesting(app, caller, headers)?;
    let key = request::key(key)?;
    let ask = Ask::One {
        participant: requesting.ispb,
        category: requesting.category,
        policy: Policy::EntriesStatisticsRead,
    };
    limited(app, ask, async {
        let found = app.directory.find(&key).await?;
        let entry = found.ok_or_else(Refusal::no_entry)?.entry;
        let statistics = Box::pin(app.statistics.of(&entry)).await?;
        let response = Response::GetEntryStatistics(GetEntryStatisticsResponse {
            head: app.answering().head(),
            key: Cow::Owned(key),
            statistics: Cow::Owned(statistics),
        });
        Ok(Reply::ok(answers::signed(&app.sealer, response).await))
    })
    .await
}

/// Refuses a participant that the caller may not speak for. A text that is no ISPB is left to the check of fields.
fn authorise(app: &App, caller: Caller, participant: &str) -> Result<(), Refusal> {
    if let Ok(ispb) = Ispb::parse(participant.as_bytes()) {
        acts_for(&app.registry.load(), caller.ispb, ispb)?;
    }
    Ok(())
}

/// The key of the body is that of the path.
fn same_key(path: &Key, body: &str) -> Result<(), Refusal> {
    if Key::parse(path.kind(), body).as_ref() == Ok(path) {
        return Ok(());
    }
    Err(Refusal::new(
        ProblemKind::BadRequest,
        "the key of the body is not that of the path",
    ))
}

/// Both, or the violations of both.
fn both<A, B>(one: Result<A, Vec<Violation>>, other: Result<B, Vec<Violation>>) -> Result<(A, B), Refusal> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(mut violations), Err(more)) => {
            violations.extend(more);
            Err(Refusal::invalid(violations))
        }
        (Err(violations), Ok(_)) | (Ok(_), Err(violations)) => Err(Refusal::invalid(violations)),
    }
}

fn invalid_reason() -> Refusal {
    Refusal::new(ProblemKind::InvalidReason, "the operation has no such reason")
}
