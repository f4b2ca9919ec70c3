//! Settlements as the SPI's events tell them.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, AckKind, Message};
use futures::{FutureExt as _, StreamExt as _};
use pix_domain::Timestamp;
use pix_proto::spi_v1 as proto;
use prost::Message as _;
use settlement_core::windows::Batch;

use super::spi_book::{SHARD, read_settled};

/// The stream of the SPI's events; the SPI makes it.
const STREAM: &str = "PIX_SPI";
/// Payments whose money moved.
const PAYMENT_SETTLED: &str = "pix.spi.payment_settled.v1";
/// `ce-source` of an event, before the name of the book.
const SOURCE: &str = "/pix/spi/";
/// What is not acknowledged by then comes again.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(30);
/// What could not be handled comes again after that.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A consumer that nobody asks for so long is gone, and with it the database that it is named for.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
/// Events counted in one transaction.
const FETCH_MAX: usize = 256;
/// How long a fetch goes on.
const FETCH_WITHIN: Duration = Duration::from_secs(1);

/// Our place in the events.
pub(crate) struct Subscription {
    consumer: PullConsumer,
    /// What the server was asked for and has not sent yet.
    fetch: Option<pull::Batch>,
    /// Whether anything came by it.
    came: bool,
}

/// An event, to be acknowledged when its effect is there.
pub(crate) struct Event(Message);

impl Subscription {
    /// The place is kept by the server under the database's name: each hears everything once, and a new one from the
    /// beginning.
    pub(crate) async fn open(client: async_nats::Client, database: &str) -> anyhow::Result<Self> {
        let name = format!("settlement-{database}-windows");
        let wanted = pull::Config {
            durable_name: Some(name.clone()),
            filter_subject: PAYMENT_SETTLED.to_owned(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACKNOWLEDGE_WITHIN,
            inactive_threshold: FORGOTTEN_AFTER,
            ..pull::Config::default()
        };
        let stream = jetstream::new(client).get_stream(STREAM).await?;
        Ok(Self {
            consumer: stream.get_or_create_consumer(&name, wanted).await?,
            fetch: None,
            came: false,
        })
    }

    /// The next events as soon as there are some, all that are there; none when nothing comes for a second. An error
    /// when the place is gone: a NATS that lost its store would leave us waiting in silence.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Vec<Event>> {
        let fetch = match &mut self.fetch {
            Some(fetch) => fetch,
            None => {
                let batch = self
                    .consumer
                    .batch()
                    .max_messages(FETCH_MAX)
                    .expires(FETCH_WITHIN);
                self.came = false;
                self.fetch.insert(batch.messages().await?)
            }
        };
        let mut events = Vec::new();
        let mut next = fetch.next().await;
        loop {
            match next {
                Some(Ok(message)) => events.push(Event(message)),
                Some(Err(error)) => {
                    self.fetch = None;
                    return Err(anyhow::anyhow!("the fetch broke off: {error}"));
                }
                None => {
                    self.fetch = None;
                    break;
                }
            }
            match fetch.next().now_or_never() {
                Some(ready) => next = ready,
                None => break,
            }
        }
        self.came |= !events.is_empty();
        if self.fetch.is_none() && !self.came {
            self.consumer.get_info().await?;
        }
        Ok(events)
    }
}

impl Event {
    /// The book that it tells of, and the batch; `None` for a shard that is not ours.
    pub(crate) fn read(&self) -> anyhow::Result<Option<(String, Batch)>> {
        let event = proto::PaymentsSettled::decode(self.0.payload.clone())?;
        let position = event
            .position
            .ok_or_else(|| anyhow::anyhow!("an event without its position"))?;
        if i16::try_from(position.shard) != Ok(SHARD) {
            return Ok(None);
        }
        let headers = self.0.headers.as_ref();
        let source = headers.and_then(|headers| headers.get("ce-source"));
        let book = source.and_then(|source| source.as_str().strip_prefix(SOURCE));
        let book = book.ok_or_else(|| anyhow::anyhow!("an event of no book"))?;
        let settled = event.payments.iter().map(|payment| {
            read_settled(
                &payment.end_to_end_id,
                &payment.debited,
                &payment.credited,
                payment.amount_centavos,
            )
        });
        let batch = Batch {
            number: position.batch,
            previous: position.previous,
            decided_at: Timestamp::from_micros(position.decided_at_micros),
            settled: settled.collect::<Result<_, _>>()?,
        };
        Ok(Some((book.to_owned(), batch)))
    }

    /// Its effect is there, or it can have none.
    pub(crate) async fn done(&self) {
        // Lost, it comes again, and has no effect again.
        drop(self.0.ack().await);
    }

    /// It is to come again soon.
    pub(crate) async fn again(&self) {
        drop(self.0.ack_with(AckKind::Nak(Some(AGAIN_AFTER))).await);
    }
}
