//! `Participants`: who takes part, as those need it that keep a copy, and as operators change it.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use pix_domain::{Category, Ispb, Money, Text};
use pix_inside::Caller;
use pix_proto::settlement_v1 as proto;
use pix_proto::settlement_v1::participants_server::Participants;
use settlement_core::certificate::{Certificate, FingerprintDigits, Use};
use settlement_core::registry::{Command, NewParticipant, Participant, Refusal};
use tonic::{Request, Response, Status};

use super::{Inside, WRITERS, invalid, stopping, unavailable};
use crate::adapters::pg::in_time;
use crate::adapters::pg_registry::{self, Stored};
use crate::registry::Failure;
use crate::wire;

/// Certificates of one call.
const GIVEN_MAX: usize = 32;

type Answer = Result<Response<proto::Participant>, Status>;

#[tonic::async_trait]
impl Participants for Inside {
    type ChangesStream = Pin<Box<dyn Stream<Item = Result<proto::Change, Status>> + Send>>;

    async fn changes(
        &self,
        request: Request<proto::ChangesRequest>,
    ) -> Result<Response<Self::ChangesStream>, Status> {
        let asked = request.into_inner();
        let after = asked.after_version;
        let id = self.registrar.id();
        if asked.registry.is_empty() && after != 0 {
            return Err(invalid(
                "registry",
                "versions count in a registry; name it, or begin at 0",
            ));
        }
        if !asked.registry.is_empty() && asked.registry != id {
            return Err(Status::failed_precondition(format!(
                "this is registry {id}, not the one that the copy is of; begin a copy of it at 0"
            )));
        }
        let head = in_time(pg_registry::head(&self.pool)).await;
        let head = head.map_err(|error| unavailable(&error))?;
        if !(0..=head).contains(&after) {
            return Err(Status::out_of_range(format!(
                "the registry ends at version {head}; version {after} was never given here"
            )));
        }
        Ok(Response::new(self.changes_after(after)))
    }

    async fn list(
        &self,
        _request: Request<proto::ListRequest>,
    ) -> Result<Response<proto::ListResponse>, Status> {
        let registry = self.registrar.current();
        Ok(Response::new(proto::ListResponse {
            registry: self.registrar.id().to_owned(),
            version: registry.version(),
            participants: registry.iter().map(|one| wire::participant(one)).collect(),
        }))
    }

    async fn get(&self, request: Request<proto::GetRequest>) -> Answer {
        let ispb = ispb("ispb", &request.into_inner().ispb)?;
        let known = self.registrar.get(ispb);
        let known = known.ok_or_else(|| Status::not_found(Refusal::Unknown(ispb).to_string()))?;
        Ok(Response::new(wire::participant(&known)))
    }

    async fn add(&self, request: Request<proto::AddRequest>) -> Answer {
        let by = writer(&request)?;
        let asked = request.into_inner();
        let of_channel = certificates("channel_certificates", Use::Channel, &asked.channel_certificates)?;
        let of_signature = certificates(
            "signature_certificates",
            Use::Signature,
            &asked.signature_certificates,
        )?;
        let own = ispb("ispb", &asked.ispb)?;
        let command = Command::Add(NewParticipant {
            ispb: own,
            name: text("name", &asked.name)?,
            settler: match asked.settler.as_str() {
                "" => own,
                settler => ispb("settler", settler)?,
            },
            category: match asked.category.as_str() {
                "" => Category::A,
                letter => category(letter)?,
            },
            certificates: [of_channel, of_signature].concat(),
            low_liquidity: asked.low_liquidity_centavos.map(threshold).transpose()?,
        });
        self.change(&command, &by).await
    }

    async fn update(&self, request: Request<proto::UpdateRequest>) -> Answer {
        let by = writer(&request)?;
        let asked = request.into_inner();
        let low_liquidity = asked.low_liquidity_centavos.map(|centavos| match centavos {
            ..0 => Ok(None),
            centavos => threshold(centavos).map(Some),
        });
        let command = Command::Update {
            ispb: ispb("ispb", &asked.ispb)?,
            name: asked.name.map(|name| text("name", &name)).transpose()?,
            category: asked.category.map(|letter| category(&letter)).transpose()?,
            low_liquidity: low_liquidity.transpose()?,
        };
        self.change(&command, &by).await
    }

    async fn suspend(&self, request: Request<proto::SuspendRequest>) -> Answer {
        let by = writer(&request)?;
        let asked = request.into_inner();
        let command = Command::Suspend {
            ispb: ispb("ispb", &asked.ispb)?,
            reason: text("reason", &asked.reason)?,
        };
        self.change(&command, &by).await
    }

    async fn resume(&self, request: Request<proto::ResumeRequest>) -> Answer {
        let by = writer(&request)?;
        let ispb = ispb("ispb", &request.into_inner().ispb)?;
        self.change(&Command::Resume { ispb }, &by).await
    }

    async fn add_certificate(&self, request: Request<proto::AddCertificateRequest>) -> Answer {
        let by = writer(&request)?;
        let asked = request.into_inner();
        let usage = Use::parse(&asked.r#use).map_err(|fault| invalid("use", fault))?;
        let certificate = Certificate::from_pem(usage, &asked.pem);
        let command = Command::AddCertificate {
            ispb: ispb("ispb", &asked.ispb)?,
            certificate: certificate.map_err(|fault| invalid("pem", fault))?,
        };
        self.change(&command, &by).await
    }

    async fn revoke_certificate(&self, request: Request<proto::RevokeCertificateRequest>) -> Answer {
        let by = writer(&request)?;
        let asked = request.into_inner();
        let digits = FingerprintDigits::parse(&asked.fingerprint);
        let command = Command::RevokeCertificate {
            ispb: ispb("ispb", &asked.ispb)?,
            digits: digits.map_err(|fault| invalid("fingerprint", fault))?,
            reason: text("reason", &asked.reason)?,
        };
        self.change(&command, &by).await
    }
}

impl Inside {
    async fn change(&self, command: &Command, by: &str) -> Answer {
        let changed = self.registrar.change(command, by).await;
        let changed: Arc<Participant> = changed.map_err(|failure| match failure {
            Failure::Refused(refusal) => refused(&refusal, command),
            Failure::Store(error) => unavailable(&error),
        })?;
        tracing::info!(
            participant = %changed.ispb,
            kind = command.kind(),
            version = changed.version,
            ordered_by = by,
            "a participant is as ordered"
        );
        Ok(Response::new(wire::participant(&changed)))
    }

    /// Page by page from the database, then the same again whenever there is news: what is live and what is history
    /// is one and the same list.
    fn changes_after(&self, after: i64) -> <Self as Participants>::ChangesStream {
        let (registry, pool) = (self.registrar.id().to_owned(), self.pool.clone());
        let (heads, stop) = (self.registrar.heads(), self.stopping.clone());
        let following = Following::begin();
        let pages = stream::try_unfold((after, heads), move |(after, mut heads)| {
            let (registry, pool, stop) = (registry.clone(), pool.clone(), stop.clone());
            let _ = &following; // it lives as long as the stream
            async move {
                tokio::select! {
                    biased;
                    () = stop.stopped() => return Err(stopping()),
                    news = heads.wait_for(|head| *head > after) => drop(news.map_err(|_| stopping())?),
                }
                let page = in_time(pg_registry::changes_above(&pool, after)).await;
                let page = page.map_err(|error| unavailable(&error))?;
                let last = page.last().map_or(after, |stored| stored.version);
                let changes = page.into_iter().map(move |stored| Ok(change(&registry, stored)));
                Ok::<_, Status>(Some((stream::iter(changes), (last, heads))))
            }
        });
        pages.try_flatten().boxed()
    }
}

/// A copy that follows; counted until it leaves.
struct Following;

impl Following {
    fn begin() -> Self {
        metrics::gauge!("settlement_followers").increment(1);
        Self
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        metrics::gauge!("settlement_followers").decrement(1);
    }
}

fn change(registry: &str, stored: Stored) -> proto::Change {
    proto::Change {
        registry: registry.to_owned(),
        version: stored.version,
        at_micros: stored.at.as_micros(),
        participant: Some(stored.participant),
    }
}

/// The service that calls, when it is one of those that order.
pub(super) fn writer<T>(request: &Request<T>) -> Result<String, Status> {
    pix_inside::only(WRITERS, request)?;
    let Caller(name) = request.extensions().get().expect("it was among the writers");
    Ok(name.clone())
}

pub(super) fn ispb(field: &str, text: &str) -> Result<Ispb, Status> {
    Ispb::parse(text.as_bytes()).map_err(|fault| invalid(field, fault))
}

pub(super) fn text<const MAX: usize>(field: &str, given: &str) -> Result<Text<MAX>, Status> {
    Text::parse(given.trim()).map_err(|fault| invalid(field, fault))
}

fn category(letter: &str) -> Result<Category, Status> {
    let parsed = Category::parse(letter.as_bytes());
    parsed.map_err(|_| invalid("category", "a category is a letter from A to H"))
}

fn threshold(centavos: i64) -> Result<Money, Status> {
    let centavos = u64::try_from(centavos);
    let centavos = centavos.map_err(|_| invalid("low_liquidity_centavos", "a threshold is not below zero"));
    Ok(Money::from_centavos(centavos?))
}

fn certificates(field: &str, usage: Use, pems: &[String]) -> Result<Vec<Certificate>, Status> {
    if pems.len() > GIVEN_MAX {
        return Err(invalid(field, format!("at most {GIVEN_MAX} at once")));
    }
    let read = pems.iter().map(|pem| Certificate::from_pem(usage, pem));
    read.collect::<Result<_, _>>()
        .map_err(|fault| invalid(field, fault))
}

/// The refusal as a status. Where a field of the request is at fault the message begins with its name.
fn refused(refusal: &Refusal, command: &Command) -> Status {
    let of = |usage: Use| match (command, usage) {
        (Command::AddCertificate { .. }, _) => "pem",
        (_, Use::Channel) => "channel_certificates",
        (_, Use::Signature) => "signature_certificates",
    };
    match refusal {
        Refusal::Unknown(_) | Refusal::CertificateUnknown(_) => Status::not_found(refusal.to_string()),
        Refusal::Exists(_) | Refusal::CertificateTaken { .. } => Status::already_exists(refusal.to_string()),
        Refusal::IsTheSpi => invalid("ispb", refusal),
        Refusal::SettlerNotDirect(_) => invalid("settler", refusal),
        Refusal::IndirectHasNoCertificates { usage, .. } => invalid(of(*usage), refusal),
        Refusal::IndirectHasNoContaPi(_) => invalid("low_liquidity_centavos", refusal),
        Refusal::CertificateExpired { usage, .. } => invalid(of(*usage), refusal),
        Refusal::CertificateAmbiguous(_) => invalid("fingerprint", refusal),
        Refusal::SettlerSuspended(_) | Refusal::CertificateRevoked(_) | Refusal::TooManyCertificates(_) => {
            Status::failed_precondition(refusal.to_string())
        }
    }
}
