//! `dict.v1`: the directory for the switch's own services. Mutual TLS under an authority of its own; no bucket is
//! charged, but the rules of an entry are the same. Every service may read; those of [`WRITERS`] also write, for any
//! participant.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dict_core::entry::{Create, CreateReason, CreateRefusal, Delete, DeleteReason, DeleteRefusal};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use pix_dict_api::{AccountText, Entry, EntryText, OwnerText, ProblemKind, check_request_id};
use pix_domain::{Ispb, Key, KeyType, Timestamp};
use pix_proto::dict_v1 as proto;
use pix_proto::dict_v1::dict_server::{Dict, DictServer};
use pix_runtime::Stopping;
use pix_runtime::pg::DbClock;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::adapters::pg_entries::{PAGE_MAX, Stored, page};
use crate::directory::{Directory, Failure, Turn};
use crate::http::problem::Refusal;
use crate::registry::Current;

/// Names of the certificates whose services register and remove keys.
const WRITERS: &[&str] = &["pix"];
/// From a call to its COMMIT.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// Keys of a stream that are looked up at once.
const RESOLVE_CONCURRENT_MAX: usize = 16;

/// The calls.
pub(crate) struct Inside {
    pub(crate) directory: Arc<Directory>,
    pub(crate) registry: Current,
    /// For lists.
    pub(crate) pool: PgPool,
    pub(crate) clock: DbClock,
}

/// Serves until the stop.
pub(crate) async fn serve(
    listener: TcpListener,
    ends: pix_inside::Ends,
    inside: Inside,
    stopping: Stopping,
) -> Result<(), tonic::transport::Error> {
    let identify = pix_inside::identify(inside.clock.clone());
    ends.server()?
        .add_service(DictServer::with_interceptor(inside, identify))
        .serve_with_incoming_shutdown(pix_inside::incoming(listener), async move {
            stopping.stopped().await;
        })
        .await
}

#[tonic::async_trait]
impl Dict for Inside {
    type ResolveManyStream = Pin<Box<dyn Stream<Item = Result<proto::Resolution, Status>> + Send>>;
    type ListByParticipantStream = Pin<Box<dyn Stream<Item = Result<proto::Entry, Status>> + Send>>;

    async fn resolve(
        &self,
        request: Request<proto::ResolveRequest>,
    ) -> Result<Response<proto::Entry>, Status> {
        let key = guess(&request.into_inner().key)?;
        let stored = find(&self.directory, &key).await?;
        Ok(Response::new(on_wire(&stored.ok_or_else(not_found)?)))
    }

    async fn resolve_many(
        &self,
        request: Request<Streaming<proto::ResolveRequest>>,
    ) -> Result<Response<Self::ResolveManyStream>, Status> {
        let directory = Arc::clone(&self.directory);
        let resolve = move |asked: proto::ResolveRequest| {
            let directory = Arc::clone(&directory);
            async move {
                let stored = find(&directory, &guess(&asked.key)?).await?;
                Ok(proto::Resolution {
                    key: asked.key,
                    entry: stored.as_ref().map(on_wire),
                })
            }
        };
        let asked = request.into_inner();
        let resolutions = asked.map_ok(resolve).try_buffered(RESOLVE_CONCURRENT_MAX);
        Ok(Response::new(Box::pin(resolutions)))
    }

    async fn register(
        &self,
        request: Request<proto::RegisterRequest>,
    ) -> Result<Response<proto::Entry>, Status> {
        pix_inside::only(WRITERS, &request)?;
        let command = self.create_of(request.into_inner())?;
        let turn = turn_of(command.entry.account.participant);
        let registered = self.directory.create(&command, turn).await;
        let registered = registered.map_err(|failure: Failure<CreateRefusal>| refused(failure.into()))?;
        Ok(Response::new(on_wire(&registered.stored)))
    }

    async fn remove(
        &self,
        request: Request<proto::RemoveRequest>,
    ) -> Result<Response<proto::RemoveResponse>, Status> {
        pix_inside::only(WRITERS, &request)?;
        let asked = request.into_inner();
        let command = Delete {
            key: guess(&asked.key)?,
            participant: self.participant(&asked.participant)?,
            reason: DeleteReason::UserRequested,
        };
        let deleted = self
            .directory
            .delete(&command, turn_of(command.participant))
            .await;
        deleted.map_err(|failure: Failure<DeleteRefusal>| refused(failure.into()))?;
        Ok(Response::new(proto::RemoveResponse {}))
    }

    async fn list_by_participant(
        &self,
        request: Request<proto::ListByParticipantRequest>,
    ) -> Result<Response<Self::ListByParticipantStream>, Status> {
        let participant = self.participant(&request.into_inner().participant)?;
        let pool = self.pool.clone();
        let kinds = stream::iter(KeyType::ALL.iter().copied());
        let entries = kinds.flat_map(move |kind| entries_of(pool.clone(), participant, kind));
        Ok(Response::new(Box::pin(entries)))
    }
}

/// The entries of a participant of one kind. A page is read when the reader has taken the one before: it keeps no
/// connection while it dawdles.
fn entries_of(
    pool: PgPool,
    participant: Ispb,
    kind: KeyType,
) -> impl Stream<Item = Result<proto::Entry, Status>> + Send {
    let pages = stream::try_unfold(Some(String::new()), move |after| {
        let pool = pool.clone();
        async move {
            let Some(after) = after else {
                return Ok::<_, Status>(None);
            };
            let page = page(&pool, participant, kind, &after).await;
            let page = page.map_err(|error| refused(error.into()))?;
            let is_last = page.len() < PAGE_MAX;
            let last = page.last().filter(|_| !is_last);
            let next = last.map(|stored| stored.entry.key.as_str().to_owned());
            let entries: Vec<_> = page.iter().map(|stored| Ok(on_wire(stored))).collect();
            Ok(Some((stream::iter(entries), next)))
        }
    });
    Box::pin(pages.try_flatten())
}

/// A write for a participant that begins now.
fn turn_of(participant: Ispb) -> Turn {
    Turn {
        participant,
        by: Instant::now() + CALL_WITHIN,
    }
}

impl Inside {
    /// A participant that is there and active.
    fn participant(&self, ispb: &str) -> Result<Ispb, Status> {
        let known = Ispb::parse(ispb.as_bytes()).ok().filter(|ispb| {
            let registry = self.registry.load();
            registry
                .by_ispb(*ispb)
                .is_some_and(|participant| participant.active)
        });
        known.ok_or_else(|| {
            refused(Refusal::new(
                ProblemKind::ParticipantInvalid,
                "the participant is unknown or not active",
            ))
        })
    }

    /// What is to be registered, checked as if a participant had asked.
    fn create_of(&self, asked: proto::RegisterRequest) -> Result<Create, Status> {
        let (Some(account), Some(owner)) = (asked.account, asked.owner) else {
            return Err(Status::invalid_argument(
                "BadRequest: account and owner are required",
            ));
        };
        self.participant(&account.participant)?;
        let text = EntryText {
            key: asked.key,
            key_type: asked.key_type,
            account: AccountText {
                participant: account.participant,
                branch: account.branch,
                number: account.number,
                kind: account.account_type,
                opened_at: Timestamp::from_micros(account.opened_at_micros).to_string(),
            },
            owner: OwnerText {
                person_type: owner.person_type,
                tax_id: owner.tax_id,
                name: owner.name,
                trade_name: owner.trade_name,
            },
        };
        let entry = text
            .check()
            .map_err(|violations| refused(Refusal::invalid(violations)))?;
        let request_id = check_request_id(&asked.request_id)
            .map_err(|violation| refused(Refusal::invalid(vec![violation])))?;
        Ok(Create {
            entry,
            reason: CreateReason::UserRequested,
            request_id,
        })
    }
}

async fn find(directory: &Directory, key: &Key) -> Result<Option<Stored>, Status> {
    directory.find(key).await.map_err(|error| refused(error.into()))
}

fn guess(key: &str) -> Result<Key, Status> {
    Key::guess(key).map_err(|_| Status::invalid_argument("BadRequest: the key has the form of no key"))
}

fn not_found() -> Status {
    refused(Refusal::no_entry())
}

/// The refusal as a status, whose message begins with the DICT's error type.
fn refused(refusal: Refusal) -> Status {
    let code = match refusal.kind {
        ProblemKind::NotFound => Code::NotFound,
        ProblemKind::BadRequest | ProblemKind::EntryInvalid | ProblemKind::InvalidReason => {
            Code::InvalidArgument
        }
        ProblemKind::ServiceUnavailable => Code::Unavailable,
        ProblemKind::InternalServerError => Code::Unknown,
        _ => Code::FailedPrecondition,
    };
    let fields: Vec<&str> = refusal
        .violations
        .iter()
        .filter_map(|violation| violation.property.as_deref())
        .collect();
    let mut message = format!("{}: {}", refusal.kind.as_str(), refusal.detail);
    if !fields.is_empty() {
        message = format!("{message}: {}", fields.join(", "));
    }
    Status::new(code, message)
}

fn on_wire(stored: &Stored) -> proto::Entry {
    let Entry {
        key, account, owner, ..
    } = &stored.entry;
    let owner_text = OwnerText::from(owner);
    proto::Entry {
        key: key.as_str().to_owned(),
        key_type: key.kind().as_str().to_owned(),
        account: Some(proto::Account {
            participant: account.participant.to_string(),
            branch: account.branch.map(|branch| branch.to_string()),
            number: account.number.to_string(),
            account_type: account.kind.as_str().to_owned(),
            opened_at_micros: account.opened_at.as_micros(),
        }),
        owner: Some(proto::Owner {
            person_type: owner_text.person_type,
            tax_id: owner_text.tax_id,
            name: owner_text.name,
            trade_name: owner_text.trade_name,
        }),
        created_at_micros: stored.entry.created_at.as_micros(),
        owned_since_micros: stored.entry.owned_since.as_micros(),
        cid: stored.cid.to_string(),
    }
}
