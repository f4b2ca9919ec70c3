//! A settlement service that tells what it is told to: the real one never leaves a gap.

use std::pin::Pin;

use futures::{Stream, StreamExt as _, stream};
use pix_proto::settlement_v1::participants_server::{Participants, ParticipantsServer};
use pix_proto::settlement_v1::{
    AddCertificateRequest, AddRequest, Certificate, Change, ChangesRequest, GetRequest, ListRequest,
    ListResponse, Participant, ResumeRequest, RevokeCertificateRequest, SuspendRequest, UpdateRequest,
};
use pix_testkit::TestPki;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status};

/// What it tells.
#[derive(Clone, Default)]
pub(crate) struct Tale {
    pub(crate) registry: String,
    pub(crate) changes: Vec<Change>,
    /// The version that it lists itself at, when it is not that of the last change that it tells.
    pub(crate) listed: Option<i64>,
    /// Instead of any change.
    pub(crate) refusal: Option<Status>,
}

/// It, while it runs.
pub(crate) struct Registry {
    pub(crate) port: u16,
    tale: watch::Sender<Tale>,
    task: JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registry {
    /// With nothing to tell yet.
    pub(crate) async fn start() -> Self {
        let own = TestPki::shared().await.inside("settlement").identity;
        let ca = TestPki::shared().await.inside("settlement").ca_pem;
        let ends = pix_inside::Ends::from_pem(own.certificate_pem, own.key_pem, ca);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tale = watch::Sender::new(Tale {
            registry: "one".to_owned(),
            ..Tale::default()
        });
        let service = ParticipantsServer::new(Teller(tale.clone()));
        let server = ends.server().unwrap().add_service(service);
        let task = tokio::spawn(async move {
            let served = server.serve_with_incoming(pix_inside::incoming(listener));
            served.await.unwrap();
        });
        Self { port, tale, task }
    }

    /// Changes what it tells from now on; calls that listen hear it at once.
    pub(crate) fn tell(&self, change: impl FnOnce(&mut Tale)) {
        self.tale.send_modify(change);
    }

    /// One more change, with the next version.
    pub(crate) fn add(&self, participant: Participant) {
        self.tell(|tale| {
            let version = i64::try_from(tale.changes.len()).unwrap() + 1;
            tale.changes.push(change(&tale.registry, version, participant));
        });
    }
}

/// A change of a registry.
pub(crate) fn change(registry: &str, version: i64, participant: Participant) -> Change {
    Change {
        registry: registry.to_owned(),
        version,
        at_micros: version * 1_000_000,
        participant: Some(Participant {
            version,
            ..participant
        }),
    }
}

/// A direct participant with these certificates of use and DER.
pub(crate) fn participant(ispb: &str, certificates: &[(&str, &[u8])]) -> Participant {
    let certificate = |(usage, der): &(&str, &[u8])| Certificate {
        r#use: (*usage).to_owned(),
        der: der.to_vec(),
        fingerprint: fingerprint(der),
        ..Certificate::default()
    };
    Participant {
        ispb: ispb.to_owned(),
        name: format!("Banco {ispb}"),
        settler: ispb.to_owned(),
        category: "A".to_owned(),
        state: "ACTIVE".to_owned(),
        certificates: certificates.iter().map(certificate).collect(),
        ..Participant::default()
    }
}

fn fingerprint(der: &[u8]) -> String {
    let purpose = pix_participants::Use::Channel;
    let read = pix_participants::Certificate::from_der(purpose, der);
    read.unwrap().fingerprint()
}

struct Teller(watch::Sender<Tale>);

type Told<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Participants for Teller {
    type ChangesStream = Pin<Box<dyn Stream<Item = Result<Change, Status>> + Send>>;

    async fn changes(&self, request: Request<ChangesRequest>) -> Told<Self::ChangesStream> {
        let after = request.into_inner().after_version;
        let tale = self.0.subscribe();
        if let Some(refusal) = tale.borrow().refusal.clone() {
            return Err(refusal);
        }
        // What it tells, in the order in which it is there, then what is added.
        let changes = stream::unfold((tale, 0), |(mut tale, at)| async move {
            let told = tale.wait_for(|tale| tale.changes.len() > at).await.ok()?;
            let change = told.changes[at].clone();
            drop(told);
            Some((change, (tale, at + 1)))
        });
        let changes = changes.filter(move |change| std::future::ready(change.version > after));
        Ok(Response::new(changes.map(Ok).boxed()))
    }

    async fn list(&self, _request: Request<ListRequest>) -> Told<ListResponse> {
        let tale = self.0.borrow();
        let last = tale.changes.last().map_or(0, |last| last.version);
        Ok(Response::new(ListResponse {
            registry: tale.registry.clone(),
            version: tale.listed.unwrap_or(last),
            participants: Vec::new(),
        }))
    }

    async fn get(&self, _request: Request<GetRequest>) -> Told<Participant> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn add(&self, _request: Request<AddRequest>) -> Told<Participant> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn update(&self, _request: Request<UpdateRequest>) -> Told<Participant> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn suspend(&self, _request: Request<SuspendRequest>) -> Told<Participant> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn resume(&self, _request: Request<ResumeRequest>) -> Told<Participant> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn add_certificate(&self, _request: Request<AddCertificateRequest>) -> Told<Participant> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn revoke_certificate(&self, _request: Request<RevokeCertificateRequest>) -> Told<Participant> {
        Err(Status::unimplemented("nobody asks"))
    }
}
