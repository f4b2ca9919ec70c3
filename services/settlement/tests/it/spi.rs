//! An SPI for what the real one does not do on request: to lose answers, to be slow, to refuse. Its book is a list.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::Stream;
use pix_proto::spi_v1 as proto;
use pix_proto::spi_v1::spi_server::{Spi, SpiServer};
use pix_testkit::{StopSwitch, TestPki};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What it does with a funding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As the SPI does.
    #[default]
    Sound,
    /// It moves the money and does not say so.
    LosesAnswers,
    /// It moves nothing and says nothing of use.
    Unavailable,
    /// It has not heard of the participant.
    NotYet,
    /// It has heard of this participant alone.
    KnowsOnly(&'static str),
}

#[derive(Debug, Default)]
struct Book {
    manner: Manner,
    /// By id: account, amount, what was answered.
    fundings: BTreeMap<String, (String, i64, proto::FundResponse)>,
    /// Every attempt, in order.
    asked: Vec<proto::FundRequest>,
}

/// The SPI.
#[derive(Clone)]
pub(crate) struct FakeSpi {
    pub(crate) port: u16,
    book: Arc<Mutex<Book>>,
    _stop: Arc<StopSwitch>,
}

impl FakeSpi {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("bound").port();
        let (stop, stopping) = StopSwitch::new();
        let spi = Self {
            port,
            book: Arc::default(),
            _stop: Arc::new(stop),
        };
        let own = TestPki::shared().await.inside("spi");
        let ends = pix_inside::Ends::from_pem(own.identity.certificate_pem, own.identity.key_pem, own.ca_pem);
        let served = ends
            .server()
            .expect("an identity")
            .add_service(SpiServer::new(Serving(Arc::clone(&spi.book))))
            .serve_with_incoming_shutdown(pix_inside::incoming(listener), async move {
                stopping.stopped().await;
            });
        tokio::spawn(served);
        spi
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub(crate) fn be(&self, manner: Manner) {
        self.book().manner = manner;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> Vec<proto::FundRequest> {
        self.book().asked.clone()
    }

    /// What is in a Conta PI.
    pub(crate) fn balance(&self, account: &str) -> i64 {
        balance(&self.book(), account)
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().expect("no panic")
    }
}

fn balance(book: &Book, account: &str) -> i64 {
    let of_account = book.fundings.values().filter(|(of, _, _)| of == account);
    of_account.map(|(_, amount, _)| amount).sum()
}

struct Serving(Arc<Mutex<Book>>);

#[tonic::async_trait]
impl Spi for Serving {
    type WatchAccountsStream = Streamed<proto::Accounts>;
    type SettlementsStream = Streamed<proto::PaymentsSettledBatch>;

    async fn fund(
        &self,
        request: Request<proto::FundRequest>,
    ) -> Result<Response<proto::FundResponse>, Status> {
        let asked = request.into_inner();
        let mut book = self.0.lock().expect("no panic");
        book.asked.push(asked.clone());
        match book.manner {
            Manner::Unavailable => return Err(Status::unavailable("away")),
            Manner::NotYet => return Err(Status::not_found("no Conta PI")),
            Manner::KnowsOnly(known) if asked.account != known => {
                return Err(Status::not_found("no Conta PI"));
            }
            Manner::KnowsOnly(_) | Manner::Sound | Manner::LosesAnswers => {}
        }
        if let Some((account, amount, answer)) = book.fundings.get(&asked.id) {
            return match (account, *amount) == (&asked.account, asked.amount_centavos) {
                true => Ok(Response::new(*answer)),
                false => Err(Status::already_exists("another funding")),
            };
        }
        let available = balance(&book, &asked.account) + asked.amount_centavos;
        if available < 0 {
            return Err(Status::failed_precondition("too little is available"));
        }
        let sequence = i64::try_from(book.fundings.len()).expect("few") + 1;
        let answer = proto::FundResponse {
            sequence,
            batch: sequence,
            available_centavos: available,
        };
        let row = (asked.account, asked.amount_centavos, answer);
        book.fundings.insert(asked.id, row);
        match book.manner {
            Manner::LosesAnswers => Err(Status::unavailable("the answer is lost")),
            _ => Ok(Response::new(answer)),
        }
    }

    async fn watch_accounts(
        &self,
        _request: Request<proto::WatchAccountsRequest>,
    ) -> Result<Response<Self::WatchAccountsStream>, Status> {
        Err(Status::unimplemented("not of funding"))
    }

    async fn head(
        &self,
        _request: Request<proto::HeadRequest>,
    ) -> Result<Response<proto::HeadResponse>, Status> {
        Err(Status::unimplemented("not of funding"))
    }

    async fn settlements(
        &self,
        _request: Request<proto::SettlementsRequest>,
    ) -> Result<Response<Self::SettlementsStream>, Status> {
        Err(Status::unimplemented("not of funding"))
    }

    async fn totals(
        &self,
        _request: Request<proto::TotalsRequest>,
    ) -> Result<Response<proto::TotalsResponse>, Status> {
        Err(Status::unimplemented("not of funding"))
    }
}
