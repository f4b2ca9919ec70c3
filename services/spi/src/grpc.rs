//! `spi.v1`: the book for the switch's own services, with mutual TLS under an authority of their own. Every service may
//! read; [`FUNDERS`] also move money. What reads much has connections of its own: the writer never waits for it.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use pix_domain::{Ispb, Text};
use pix_proto::spi_v1 as proto;
use pix_proto::spi_v1::spi_server::{Spi, SpiServer};
use pix_runtime::Stopping;
use pix_runtime::pg::DbClock;
use spi_core::book::{Account, Command, FundRefusal, Funding, FundingId};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::adapters::pg::StoreError;
use crate::adapters::pg_book::SHARD;
use crate::adapters::pg_settlements::{self, SettledBatch};
use crate::book::{Job, NotFunded, Reply};
use crate::standing::Standing;

/// Names of the certificates whose services move money in and out.
const FUNDERS: &[&str] = &["settlement"];
/// How long a caller is kept waiting while Postgres is away.
const FUND_WITHIN: Duration = Duration::from_secs(30);
/// Changes of balances within such a time are told together.
const TELL_EVERY: Duration = Duration::from_millis(50);

/// The calls.
pub(crate) struct Inside {
    /// The book's name.
    pub(crate) name: String,
    pub(crate) book: mpsc::Sender<Job>,
    pub(crate) standing: watch::Receiver<Standing>,
    pub(crate) pool: PgPool,
    pub(crate) clock: DbClock,
    pub(crate) stopping: Stopping,
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
        .add_service(SpiServer::with_interceptor(inside, identify))
        .serve_with_incoming_shutdown(pix_inside::incoming(listener), async move {
            stopping.stopped().await;
        })
        .await
}

#[tonic::async_trait]
impl Spi for Inside {
    type WatchAccountsStream = Pin<Box<dyn Stream<Item = Result<proto::Accounts, Status>> + Send>>;
    type SettlementsStream = Pin<Box<dyn Stream<Item = Result<proto::PaymentsSettledBatch, Status>> + Send>>;

    async fn fund(
        &self,
        request: Request<proto::FundRequest>,
    ) -> Result<Response<proto::FundResponse>, Status> {
        pix_inside::only(FUNDERS, &request)?;
        let funding = funding_of(&request.into_inner())?;
        let id = funding.id;
        let (reply, decided) = oneshot::channel();
        let job = Job {
            command: Command::Fund(funding),
            raw: Bytes::new(),
            reply: Reply::Fund(reply),
        };
        self.book.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => {
                Status::unavailable("too much waits for the book; ask again with the same id")
            }
            TrySendError::Closed(_) => stops(),
        })?;
        let decided = tokio::time::timeout(FUND_WITHIN, decided).await;
        // Without an answer it may still happen: the same id finds out.
        let decided =
            decided.map_err(|_| Status::unavailable("not known yet; ask again with the same id"))?;
        let decided = decided.map_err(|_| stops())?;
        let outcome = if decided.is_ok() { "funded" } else { "refused" };
        metrics::counter!("spi_fundings_total", "outcome" => outcome).increment(1);
        let funded = decided.map_err(not_funded)?;
        tracing::info!(funding.id = %id, sequence = funded.sequence, "a Conta PI was funded");
        Ok(Response::new(proto::FundResponse {
            sequence: funded.sequence,
            batch: funded.batch,
            available_centavos: funded.available,
        }))
    }

    async fn watch_accounts(
        &self,
        _request: Request<proto::WatchAccountsRequest>,
    ) -> Result<Response<Self::WatchAccountsStream>, Status> {
        let told = Told {
            standing: self.standing.clone(),
            stopping: self.stopping.clone(),
            last: None,
        };
        Ok(Response::new(Box::pin(stream::unfold(Some(told), tell))))
    }

    async fn head(
        &self,
        request: Request<proto::HeadRequest>,
    ) -> Result<Response<proto::HeadResponse>, Status> {
        our_shard(request.into_inner().shard)?;
        let standing = self.standing.borrow();
        Ok(Response::new(proto::HeadResponse {
            book: self.name.clone(),
            batch: standing.batch,
            settled_batch: standing.settled_batch,
            as_of_micros: standing.as_of(&self.clock).as_micros(),
        }))
    }

    async fn settlements(
        &self,
        request: Request<proto::SettlementsRequest>,
    ) -> Result<Response<Self::SettlementsStream>, Status> {
        let asked = request.into_inner();
        our_shard(asked.shard)?;
        let to = match asked.to_batch {
            0 => self.standing.borrow().batch,
            to => to,
        };
        self.known_batches(asked.after_batch, to)?;
        let previous = pg_settlements::settled_up_to(&self.pool, asked.after_batch).await;
        let previous = previous.map_err(|error| unavailable(&error))?;
        Ok(Response::new(Box::pin(settlements(
            self.pool.clone(),
            asked.after_batch,
            to,
            previous,
        ))))
    }

    async fn totals(
        &self,
        request: Request<proto::TotalsRequest>,
    ) -> Result<Response<proto::TotalsResponse>, Status> {
        let asked = request.into_inner();
        our_shard(asked.shard)?;
        self.known_batches(asked.after_batch, asked.to_batch)?;
        if asked.after_batch == asked.to_batch {
            return Ok(Response::new(proto::TotalsResponse::default()));
        }
        let totals = pg_settlements::totals(&self.pool, asked.after_batch, asked.to_batch).await;
        Ok(Response::new(totals_on_wire(
            totals.map_err(|error| unavailable(&error))?,
        )))
    }
}

impl Inside {
    /// Refuses batches that are not there: who asks for them knows another book.
    fn known_batches(&self, after: i64, to: i64) -> Result<(), Status> {
        let last = self.standing.borrow().batch;
        match 0 <= after && after <= to && to <= last {
            true => Ok(()),
            false => Err(Status::out_of_range(format!(
                "batches after {after} up to {to}: the book has those from 1 to {last}"
            ))),
        }
    }
}

fn funding_of(asked: &proto::FundRequest) -> Result<Funding, Status> {
    let invalid =
        |field: &str, why: &dyn std::fmt::Display| Status::invalid_argument(format!("{field}: {why}"));
    Ok(Funding {
        id: FundingId::parse(&asked.id).map_err(|why| invalid("id", &why))?,
        account: Ispb::parse(asked.account.as_bytes()).map_err(|why| invalid("account", &why))?,
        amount: asked.amount_centavos,
        ordered_by: Text::parse(&asked.ordered_by).map_err(|why| invalid("ordered_by", &why))?,
    })
}

fn not_funded(why: NotFunded) -> Status {
    match why {
        NotFunded::Refused(refusal) => match refusal {
            FundRefusal::OtherContent { .. } => Status::already_exists(refusal.to_string()),
            FundRefusal::Amount => Status::invalid_argument(refusal.to_string()),
            // Our copy of the participants may be behind: whoever orders knows better, and asks again.
            FundRefusal::NoAccount(_) => Status::not_found(refusal.to_string()),
            FundRefusal::NotEnough { .. } | FundRefusal::BookFull => {
                Status::failed_precondition(refusal.to_string())
            }
        },
        NotFunded::Unwritable => Status::internal("the book cannot write it; its log says why"),
    }
}

/// One watcher: what it was told.
struct Told {
    standing: watch::Receiver<Standing>,
    stopping: Stopping,
    /// The batch that it knows everything up to, and since when.
    last: Option<(i64, Instant)>,
}

/// What the watcher is told next, once there is something. It is called when the one before is on its way: a watcher
/// that is slow gets the newest, and nobody waits for it.
async fn tell(told: Option<Told>) -> Option<(Result<proto::Accounts, Status>, Option<Told>)> {
    let mut told = told?;
    loop {
        if let Some((_, since)) = told.last {
            let news = async {
                told.standing.changed().await.ok()?;
                tokio::time::sleep_until(since + TELL_EVERY).await;
                Some(())
            };
            let news = tokio::select! {
                () = told.stopping.stopped() => None,
                news = news => news,
            };
            if news.is_none() {
                return Some((Err(stops()), None));
            }
        }
        let after = told.last.map(|(batch, _)| batch);
        let (batch, changed) = {
            let standing = told.standing.borrow_and_update();
            (standing.batch, standing.changed_after(after))
        };
        told.last = Some((batch, Instant::now()));
        // The first is told even if there is no account yet: the watcher knows then that it has all of them.
        if after.is_none() || !changed.is_empty() {
            let accounts = proto::Accounts {
                shard: shard(),
                batch,
                accounts: changed.into_iter().map(account_on_wire).collect(),
            };
            return Some((Ok(accounts), Some(told)));
        }
    }
}

/// A page is read when the reader has taken the one before: it keeps no connection while it dawdles.
fn settlements(
    pool: PgPool,
    after: i64,
    to: i64,
    previous: i64,
) -> impl Stream<Item = Result<proto::PaymentsSettledBatch, Status>> + Send {
    let pages = stream::try_unfold((after, previous), move |(after, mut previous)| {
        let pool = pool.clone();
        async move {
            let page = pg_settlements::page(&pool, after, to).await;
            let Some(page) = page.map_err(|error| unavailable(&error))? else {
                return Ok::<_, Status>(None);
            };
            let batches = page.batches.into_iter().map(|batch| {
                let before = std::mem::replace(&mut previous, batch.number);
                Ok(settled_on_wire(batch, before))
            });
            let batches: Vec<_> = batches.collect();
            Ok(Some((stream::iter(batches), (page.up_to, previous))))
        }
    });
    pages.try_flatten().boxed()
}

fn settled_on_wire(batch: SettledBatch, previous: i64) -> proto::PaymentsSettledBatch {
    let payments = batch.payments.into_iter().map(|settled| proto::Settled {
        sequence: settled.seq,
        end_to_end_id: settled.end_to_end_id,
        debited: settled.debited,
        credited: settled.credited,
        amount_centavos: settled.amount,
    });
    proto::PaymentsSettledBatch {
        shard: shard(),
        batch: batch.number,
        previous,
        decided_at_micros: batch.decided_at.as_micros(),
        payments: payments.collect(),
    }
}

/// Both sides of every participant, by ISPB.
fn totals_on_wire(totals: pg_settlements::Totals) -> proto::TotalsResponse {
    let mut by_account: std::collections::BTreeMap<String, proto::Total> = std::collections::BTreeMap::new();
    let mut count = 0;
    for (account, sum) in totals.sent {
        count += sum.count;
        let total = by_account.entry(account).or_default();
        (total.sent_count, total.sent_centavos) = (sum.count, sum.centavos);
    }
    for (account, sum) in totals.received {
        let total = by_account.entry(account).or_default();
        (total.received_count, total.received_centavos) = (sum.count, sum.centavos);
    }
    let totals_of = by_account.into_iter();
    proto::TotalsResponse {
        first_sequence: totals.first_seq,
        last_sequence: totals.last_seq,
        count,
        totals: totals_of
            .map(|(account, total)| proto::Total { account, ..total })
            .collect(),
    }
}

fn account_on_wire((ispb, account): (Ispb, Account)) -> proto::Account {
    proto::Account {
        account: ispb.to_string(),
        available_centavos: account.available,
        blocked_centavos: account.blocked,
    }
}

fn shard() -> u32 {
    u32::try_from(SHARD).expect("shards count from zero")
}

fn our_shard(asked: u32) -> Result<(), Status> {
    match asked == shard() {
        true => Ok(()),
        false => Err(Status::not_found(format!("shard: {asked} is none of this book"))),
    }
}

fn stops() -> Status {
    Status::unavailable("the SPI is stopping; ask again, with the same id if there is one")
}

fn unavailable(error: &StoreError) -> Status {
    tracing::warn!(%error, "a call inside could not be answered");
    Status::unavailable("the database cannot be asked at present; ask again")
}
