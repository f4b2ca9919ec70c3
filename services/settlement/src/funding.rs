//! Funding: orders are recorded first, then asked of the SPI until it has told what became of them. Whatever dies in
//! between, the same order with the same id is asked for again, and the book moves money for an id once.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use pix_domain::Timestamp;
use pix_proto::spi_v1::FundRequest;
use pix_proto::spi_v1::spi_client::SpiClient;
use pix_runtime::pg::DbClock;
use pix_runtime::{Clock as _, Stopping};
use settlement_core::funding::{Order, OrderId, Outcome, Refusal, judge};
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::adapters::pg::{self, StoreError, in_time};
use crate::adapters::pg_funding::{self, Due, Noted, Recorded};
use crate::registry::Registrar;

/// Orders that are asked for at once, each of another account.
const ASKED_MAX: u32 = 8;
/// How long the SPI may take over one.
const ASK_WITHIN: Duration = Duration::from_secs(4);
/// How long an order is ours: longer than the asking and the noting of its end.
const LEASE: Duration = Duration::from_secs(6);
/// Between one attempt and the next.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often the table is looked at without being told.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A refusal is no end while an earlier attempt may still arrive, whose connection is long given up by then.
const BELIEVE_AFTER: Duration = Duration::from_secs(30);
/// How long whoever orders waits for the end.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why an order is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It is not recorded.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The world broke.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is recorded, and its end is not known yet.
    #[error("the end is not known yet")]
    Pending,
}

/// Records orders and has them done.
pub(crate) struct Funder {
    pool: PgPool,
    clock: DbClock,
    registrar: Arc<Registrar>,
    spi: SpiClient<Channel>,
    /// There are orders to ask for.
    ordered: Notify,
    /// Counts ends that came to be known here.
    ends: watch::Sender<u64>,
}

impl Funder {
    /// Nothing is asked for before [`Self::run`].
    pub(crate) fn new(pool: PgPool, clock: DbClock, registrar: Arc<Registrar>, spi: Channel) -> Self {
        Self {
            pool,
            clock,
            registrar,
            spi: SpiClient::new(spi),
            ordered: Notify::new(),
            ends: watch::Sender::new(0),
        }
    }

    /// Records an order and waits for its end; one that is recorded already is only waited for.
    ///
    /// # Errors
    /// [`Failure`]; but for [`Failure::Refused`] it is safe to ask again with the same id.
    pub(crate) async fn fund(&self, order: &Order, ordered_by: &str) -> Result<Recorded, Failure> {
        let mut ends = self.ends.subscribe();
        if in_time(self.record(order, ordered_by)).await? {
            tracing::info!(funding.id = %order.id, participant = %order.ispb, ordered_by, "funding is ordered");
            self.ordered.notify_one();
        }
        let end = async {
            loop {
                if let Some(recorded) = in_time(self.find(order.id)).await?
                    && recorded.outcome.is_some()
                {
                    return Ok(recorded);
                }
                // Another process may be the one that hears of it.
                drop(tokio::time::timeout(LOOK_EVERY, ends.changed()).await);
            }
        };
        tokio::time::timeout(ANSWER_WITHIN, end)
            .await
            .map_err(|_| Failure::Pending)?
    }

    /// Whether it was new.
    async fn record(&self, order: &Order, ordered_by: &str) -> Result<bool, Failure> {
        let registry = self.registrar.current();
        let mut transaction = pg::begin(&self.pool).await?;
        let recorded = pg_funding::find(&mut transaction, order.id).await?;
        if !judge(
            order,
            recorded.as_ref().map(|recorded| &recorded.order),
            &registry,
        )? {
            return Ok(false);
        }
        let is_new = pg_funding::insert(&mut transaction, order, ordered_by, self.clock.now()).await?;
        if !is_new {
            // Somebody else was faster with the same id.
            let recorded = pg_funding::find(&mut transaction, order.id).await?;
            judge(
                order,
                recorded.as_ref().map(|recorded| &recorded.order),
                &registry,
            )?;
        }
        transaction.commit().await.map_err(StoreError::Unknown)?;
        Ok(is_new)
    }

    async fn find(&self, id: OrderId) -> Result<Option<Recorded>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        pg_funding::find(&mut connection, id).await
    }

    /// Asks for what is ordered, until the stop.
    pub(crate) async fn run(self: Arc<Self>, stopping: Stopping) {
        let mut failing = false;
        loop {
            let round = tokio::select! {
                () = stopping.stopped() => return,
                round = self.round() => round,
            };
            let pause = match round {
                Ok(Round::Nothing) => {
                    failing = false;
                    LOOK_EVERY
                }
                Ok(Round::NotDue) => LOOK_EVERY,
                Ok(Round::Ends) => {
                    failing = false;
                    continue;
                }
                Ok(Round::Unknown(why)) => {
                    if !failing {
                        tracing::warn!(why, "funding waits until the SPI tells what became of it");
                    }
                    failing = true;
                    AGAIN_AFTER
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "funding waits until Postgres is there");
                    }
                    failing = true;
                    AGAIN_AFTER
                }
            };
            tokio::select! {
                () = stopping.stopped() => return,
                () = self.ordered.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn round(&self) -> Result<Round, StoreError> {
        let pending = in_time(pg_funding::pending(&self.pool)).await?;
        #[expect(clippy::cast_precision_loss, reason = "a count of orders")]
        metrics::gauge!("settlement_funding_pending").set(pending as f64);
        if pending == 0 {
            return Ok(Round::Nothing);
        }
        let now = self.clock.now();
        let due = in_time(pg_funding::claim(&self.pool, now, now.plus(LEASE), ASKED_MAX)).await?;
        let mut asked: FuturesUnordered<_> = due.iter().map(|due| self.ask(due)).collect();
        let mut round = Round::NotDue;
        while let Some(end) = asked.next().await {
            match end? {
                None => round = Round::Ends,
                Some(why) if !matches!(round, Round::Ends) => round = Round::Unknown(why),
                Some(_) => {}
            }
        }
        Ok(round)
    }

    /// Asks the SPI for one; why its end is not known, when it is not.
    async fn ask(&self, due: &Due) -> Result<Option<String>, StoreError> {
        let Order { id, ispb, amount, .. } = due.order;
        let asked = FundRequest {
            id: id.to_string(),
            account: ispb.to_string(),
            amount_centavos: amount.centavos(),
            ordered_by: due.ordered_by.clone(),
        };
        let mut spi = self.spi.clone();
        let answer = tokio::time::timeout(ASK_WITHIN, spi.fund(asked)).await;
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("the SPI says nothing")));
        let end = match answer {
            Ok(done) => {
                let done = done.into_inner();
                End::Known(Outcome::Done {
                    sequence: done.sequence,
                    batch: done.batch,
                    available: done.available_centavos,
                })
            }
            Err(status) => end_of(status),
        };
        let now = self.clock.now();
        let again_at = now.plus(AGAIN_AFTER);
        match end {
            End::Known(outcome @ Outcome::Refused { .. }) if !is_over(due.unknown_at, now) => {
                in_time(pg_funding::release(&self.pool, due, due.unknown_at, again_at)).await?;
                Ok(Some(format!(
                    "{outcome:?}, but an earlier attempt may still arrive"
                )))
            }
            End::Known(outcome) => {
                let noted = in_time(pg_funding::settle(&self.pool, id, &outcome, now)).await?;
                match noted {
                    Noted::New => {
                        let word = match outcome {
                            Outcome::Done { .. } => "done",
                            Outcome::Refused { .. } => "refused",
                        };
                        metrics::counter!("settlement_funding_ends_total", "outcome" => word).increment(1);
                        tracing::info!(funding.id = %id, participant = %ispb, outcome = word, "funding came to its end");
                    }
                    Noted::Again => {}
                    Noted::Against(noted) => {
                        metrics::counter!("settlement_funding_contradictions_total").increment(1);
                        tracing::error!(
                            funding.id = %id,
                            participant = %ispb,
                            ?noted,
                            told = ?outcome,
                            "the SPI tells another end of a funding than is noted, which stays"
                        );
                    }
                }
                self.ends.send_modify(|ends| *ends += 1);
                Ok(None)
            }
            End::NotYet(why) => {
                in_time(pg_funding::release(&self.pool, due, due.unknown_at, again_at)).await?;
                Ok(Some(why))
            }
            End::Unknown(why) => {
                metrics::counter!("settlement_funding_unknown_total").increment(1);
                in_time(pg_funding::release(&self.pool, due, Some(now), again_at)).await?;
                Ok(Some(why))
            }
        }
    }
}

/// What came of a round.
enum Round {
    /// Every order has its end.
    Nothing,
    /// Some have none, and it is not time to ask for them.
    NotDue,
    /// The end of at least one order.
    Ends,
    /// No end, and why.
    Unknown(String),
}

/// What came of an attempt.
enum End {
    /// This.
    Known(Outcome),
    /// Nothing, and the next attempt may do better.
    NotYet(String),
    /// The SPI may have done it.
    Unknown(String),
}

fn end_of(status: Status) -> End {
    let why = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::FailedPrecondition | Code::InvalidArgument | Code::AlreadyExists => {
            End::Known(Outcome::Refused {
                reason: status.message().to_owned(),
            })
        }
        // The Conta PI of a participant that the SPI has not heard of yet; we know that it will.
        Code::NotFound => End::NotYet(why),
        _ => End::Unknown(why),
    }
}

/// Whether no earlier attempt can arrive any more.
fn is_over(unknown_at: Option<Timestamp>, now: Timestamp) -> bool {
    unknown_at.is_none_or(|at| now.since(at) >= BELIEVE_AFTER)
}
