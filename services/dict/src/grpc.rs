//! `dict.v1`: the directory for the switch's own services. Mutual TLS under an authority of its own; no bucket is
//! charged and nothing is signed, but the rules of an entry are the same.

use std::pin::Pin;
use std::sync::Arc;

use dict_core::entry::{Create, CreateReason, CreateRefusal, Delete, DeleteReason, DeleteRefusal};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use pix_dict_api::{AccountText, Entry, EntryText, OwnerText, ProblemKind, check_request_id};
use pix_domain::{Ispb, Key, KeyType, Timestamp};
use pix_proto::dict_v1 as proto;
use pix_proto::dict_v1::dict_server::{Dict, DictServer};
use pix_runtime::Stopping;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::adapters::pg_entries::{self, Stored};
use crate::directory::{Directory, Failure};
use crate::http::problem::Refusal;
use crate::registry::Current;

/// Entries of a list that wait for their reader.
const LIST_QUEUE_MAX: usize = 256;
/// Keys of a stream that are looked up at once.
const RESOLVE_CONCURRENT_MAX: usize = 16;

/// The calls.
pub(crate) struct Inside {
    pub(crate) directory: Arc<Directory>,
    pub(crate) registry: Current,
    /// For lists, which take long.
    pub(crate) pool: PgPool,
}

/// Serves until the stop.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: ServerTlsConfig,
    inside: Inside,
    stopping: Stopping,
) -> Result<(), tonic::transport::Error> {
    Server::builder()
        .tls_config(tls)?
        .add_service(DictServer::new(inside))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), async move {
            stopping.stopped().await;
        })
        .await
}

#[tonic::async_trait]
impl Dict for Inside {
    type ResolveManyStream = Pin<Box<dyn Stream<Item = Result<proto::Resolution, Status>> + Send>>;
    type ListByParticipantStream = ReceiverStream<Result<proto::Entry, Status>>;

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
        let command = self.create_of(request.into_inner())?;
        let registered = self.directory.create(&command, None).await;
        let registered = registered.map_err(|failure: Failure<CreateRefusal>| refused(failure.into()))?;
        Ok(Response::new(on_wire(&registered.stored)))
    }

    async fn remove(
        &self,
        request: Request<proto::RemoveRequest>,
    ) -> Result<Response<proto::RemoveResponse>, Status> {
        let asked = request.into_inner();
        let command = Delete {
            key: guess(&asked.key)?,
            participant: self.participant(&asked.participant)?,
            reason: DeleteReason::UserRequested,
        };
        let deleted = self.directory.delete(&command).await;
        deleted.map_err(|failure: Failure<DeleteRefusal>| refused(failure.into()))?;
        Ok(Response::new(proto::RemoveResponse {}))
    }

    async fn list_by_participant(
        &self,
        request: Request<proto::ListByParticipantRequest>,
    ) -> Result<Response<Self::ListByParticipantStream>, Status> {
        let participant = self.participant(&request.into_inner().participant)?;
        let (listed, list) = mpsc::channel(LIST_QUEUE_MAX);
        let pool = self.pool.clone();
        tokio::spawn(async move {
            for kind in KeyType::ALL {
                let mut entries = pg_entries::of_participant(&pool, participant, *kind);
                while let Some(entry) = entries.next().await {
                    let entry = entry
                        .map(|stored| on_wire(&stored))
                        .map_err(|error| refused(error.into()));
                    let last = entry.is_err();
                    // A reader that is gone needs no more.
                    if listed.send(entry).await.is_err() || last {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(list)))
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
