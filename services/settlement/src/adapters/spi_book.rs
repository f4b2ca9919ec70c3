//! What the SPI says of its book.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use pix_domain::{Ispb, Money, ReturnId, Timestamp};
use pix_proto::spi_v1 as proto;
use pix_proto::spi_v1::spi_client::SpiClient;
use settlement_core::windows::{Batch, BookTotal, BookTotals, Head, Settled, Tally};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// The shard whose batches we count: there is one so far.
pub(crate) const SHARD: i16 = 0;

/// How long the SPI may take to say where its book stands.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long it may take to sum up a window: it reads every posting of it.
const TOTALS_WITHIN: Duration = Duration::from_secs(60);
/// How long it may be silent between two batches.
const BATCH_WITHIN: Duration = Duration::from_secs(20);

/// Why we do not know.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BookError {
    /// It did not answer, or refused.
    #[error("the SPI does not say: {0}")]
    Status(#[from] Status),
    /// It is silent.
    #[error("the SPI does not answer in time")]
    Silent,
    /// It says what cannot be.
    #[error("the SPI says what cannot be: {0}")]
    Unreadable(String),
}

/// The SPI, as one who asks about its book.
#[derive(Clone)]
pub(crate) struct SpiBook(SpiClient<Channel>);

impl SpiBook {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(SpiClient::new(channel))
    }

    /// Where it stands.
    pub(crate) async fn head(&self) -> Result<Head, BookError> {
        let mut client = self.0.clone();
        let asked = client.head(proto::HeadRequest { shard: shard() });
        let said = in_time(HEAD_WITHIN, asked).await?.into_inner();
        Ok(Head {
            book: said.book,
            settled_batch: said.settled_batch,
            as_of: Timestamp::from_micros(said.as_of_micros),
        })
    }

    /// The batches that settled something after one, up to another, in order.
    pub(crate) async fn settlements(
        &self,
        after_batch: i64,
        to_batch: i64,
    ) -> Result<impl Stream<Item = Result<Batch, BookError>> + use<>, BookError> {
        let mut client = self.0.clone();
        let asked = client.settlements(proto::SettlementsRequest {
            shard: shard(),
            after_batch,
            to_batch,
        });
        let batches = in_time(BATCH_WITHIN, asked).await?.into_inner();
        Ok(futures::stream::try_unfold(batches, async |mut batches| {
            let next = in_time(BATCH_WITHIN, batches.message()).await?;
            Ok(next.map(read_batch).transpose()?.map(|batch| (batch, batches)))
        }))
    }

    /// What the postings of the batches after one, up to another, sum up to. `None` when the book has no such batches.
    pub(crate) async fn totals(
        &self,
        book: &str,
        after_batch: i64,
        to_batch: i64,
    ) -> Result<Option<BookTotals>, BookError> {
        let mut client = self.0.clone();
        let mut asked = Request::new(proto::TotalsRequest {
            shard: shard(),
            after_batch,
            to_batch,
        });
        asked.set_timeout(TOTALS_WITHIN);
        match in_time(TOTALS_WITHIN, client.totals(asked)).await {
            Ok(said) => read_totals(book, said.into_inner()).map(Some),
            Err(BookError::Status(status)) if status.code() == Code::OutOfRange => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Balances: all of them, then those that change, until it breaks off.
    pub(crate) async fn watch(
        &self,
    ) -> Result<impl Stream<Item = Result<Vec<AccountNow>, BookError>> + use<>, BookError> {
        let mut client = self.0.clone();
        let asked = client.watch_accounts(proto::WatchAccountsRequest {});
        let told = in_time(HEAD_WITHIN, asked).await?.into_inner();
        Ok(told.map(|accounts| read_accounts(&accounts?)))
    }
}

/// A Conta PI as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccountNow {
    pub(crate) ispb: Ispb,
    pub(crate) available: i64,
    pub(crate) blocked: i64,
}

/// A settlement as an event or the book tells it: names, centavos.
pub(crate) fn read_settled(
    end_to_end_id: &str,
    debited: &str,
    credited: &str,
    centavos: i64,
) -> Result<Settled, BookError> {
    let centavos = u64::try_from(centavos).map_err(|_| unreadable("an amount below zero"))?;
    Ok(Settled {
        debited: read_ispb(debited)?,
        credited: read_ispb(credited)?,
        amount: Money::from_centavos(centavos),
        is_return: ReturnId::parse(end_to_end_id.as_bytes()).is_ok(),
    })
}

fn read_batch(said: proto::PaymentsSettledBatch) -> Result<Batch, BookError> {
    let settled = said.payments.iter().map(|settled| {
        read_settled(
            &settled.end_to_end_id,
            &settled.debited,
            &settled.credited,
            settled.amount_centavos,
        )
    });
    Ok(Batch {
        number: said.batch,
        previous: Some(said.previous),
        decided_at: Timestamp::from_micros(said.decided_at_micros),
        settled: settled.collect::<Result<_, _>>()?,
    })
}

fn read_totals(book: &str, said: proto::TotalsResponse) -> Result<BookTotals, BookError> {
    let mut totals = BTreeMap::new();
    for total in &said.totals {
        let both = BookTotal {
            sent: Tally {
                centavos: total.sent_centavos,
                count: total.sent_count,
            },
            received: Tally {
                centavos: total.received_centavos,
                count: total.received_count,
            },
        };
        if totals.insert(read_ispb(&total.account)?, both).is_some() {
            return Err(unreadable("a Conta PI twice"));
        }
    }
    Ok(BookTotals {
        book: book.to_owned(),
        first_sequence: said.first_sequence,
        last_sequence: said.last_sequence,
        count: said.count,
        totals,
    })
}

fn read_accounts(told: &proto::Accounts) -> Result<Vec<AccountNow>, BookError> {
    let account = |account: &proto::Account| {
        Ok(AccountNow {
            ispb: read_ispb(&account.account)?,
            available: account.available_centavos,
            blocked: account.blocked_centavos,
        })
    };
    told.accounts.iter().map(account).collect()
}

fn read_ispb(text: &str) -> Result<Ispb, BookError> {
    Ispb::parse(text.as_bytes()).map_err(|why| unreadable(&why.to_string()))
}

fn unreadable(why: &str) -> BookError {
    BookError::Unreadable(why.to_owned())
}

fn shard() -> u32 {
    u32::try_from(SHARD).expect("shards count from zero")
}

async fn in_time<T>(
    within: Duration,
    asked: impl Future<Output = Result<T, Status>>,
) -> Result<T, BookError> {
    let said = tokio::time::timeout(within, asked).await;
    Ok(said.map_err(|_| BookError::Silent)??)
}
