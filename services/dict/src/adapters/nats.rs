//! What the SPI tells: orders that it received, and payments that it settled.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, AckKind, Message};
use futures::StreamExt as _;
use pix_domain::{EndToEndId, Key, TaxId, Timestamp};
use pix_proto::spi_v1 as proto;
use prost::Message as _;

use super::pg_statistics::Settled;

/// The stream of the SPI's events; the SPI makes it.
const STREAM: &str = "PIX_SPI";
/// Orders of payment that were taken in.
const ORDER_RECEIVED: &str = "pix.spi.order_received.v1";
/// Payments whose money moved.
const PAYMENT_SETTLED: &str = "pix.spi.payment_settled.v1";
/// What is not acknowledged by then comes again.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(30);
/// What could not be handled comes again after that.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A consumer that nobody asks for so long is gone, and with it the database that it is named for.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
/// Events fetched at once.
const FETCH_MAX: usize = 64;
/// How long a fetch waits for the first.
const FETCH_WITHIN: Duration = Duration::from_secs(1);

/// Which events.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Topic {
    /// Orders that were received.
    Orders,
    /// Payments that were settled.
    Settlements,
}

/// The place of one directory in a topic.
pub(crate) struct Subscription(PullConsumer);

/// An event, to be acknowledged when its effect is there.
pub(crate) struct Event(Message);

impl Subscription {
    /// The place is kept by the server under the directory's name: each database hears everything once, and a new
    /// one from the beginning.
    pub(crate) async fn open(
        client: async_nats::Client,
        directory: &str,
        topic: Topic,
    ) -> anyhow::Result<Self> {
        let (name, subject) = match topic {
            Topic::Orders => ("orders", ORDER_RECEIVED),
            Topic::Settlements => ("settlements", PAYMENT_SETTLED),
        };
        let name = format!("dict-{directory}-{name}");
        let wanted = pull::Config {
            durable_name: Some(name.clone()),
            filter_subject: subject.to_owned(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACKNOWLEDGE_WITHIN,
            inactive_threshold: FORGOTTEN_AFTER,
            ..pull::Config::default()
        };
        let stream = jetstream::new(client).get_stream(STREAM).await?;
        Ok(Self(stream.get_or_create_consumer(&name, wanted).await?))
    }

    /// The next events; none when nothing comes for a second. An error when the place is gone: a NATS that lost
    /// its store would leave us waiting in silence.
    pub(crate) async fn next(&self) -> anyhow::Result<Vec<Event>> {
        let batch = self.0.batch().max_messages(FETCH_MAX).expires(FETCH_WITHIN);
        let mut messages = batch.messages().await?;
        let mut events = Vec::new();
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| anyhow::anyhow!("the fetch broke off: {error}"))?;
            events.push(Event(message));
        }
        if events.is_empty() {
            self.0.get_info().await?;
        }
        Ok(events)
    }
}

impl Event {
    /// The orders it tells of: their names and payers. What is neither is counted and left out.
    pub(crate) fn orders(&self) -> anyhow::Result<Vec<(EndToEndId, TaxId)>> {
        let event = proto::OrdersReceived::decode(self.0.payload.clone())?;
        let orders = event.orders.iter().filter_map(|order| {
            let id = EndToEndId::parse(order.end_to_end_id.as_bytes());
            let payer = TaxId::parse(order.debtor_tax_id.as_bytes());
            Some((known("end_to_end_id", id)?, known("debtor_tax_id", payer)?))
        });
        Ok(orders.collect())
    }

    /// The settlements it tells of. An order may name as its key what is none; the receiver counts all the same.
    pub(crate) fn settled(&self) -> anyhow::Result<Settled> {
        let event = proto::PaymentsSettled::decode(self.0.payload.clone())?;
        let position = event
            .position
            .ok_or_else(|| anyhow::anyhow!("an event without its position"))?;
        let headers = self.0.headers.as_ref();
        let source = headers.and_then(|headers| headers.get("ce-source"));
        let persons = event.payments.iter().map(|payment| &payment.creditor_tax_id);
        let keys = event
            .payments
            .iter()
            .filter_map(|payment| payment.creditor_key.as_ref());
        Ok(Settled {
            source: source.map_or_else(String::new, ToString::to_string),
            shard: i32::try_from(position.shard)?,
            batch: position.batch,
            decided_at: Timestamp::from_micros(position.decided_at_micros),
            persons: persons
                .filter_map(|id| known("creditor_tax_id", TaxId::parse(id.as_bytes())))
                .collect(),
            keys: keys
                .filter_map(|key| known("creditor_key", Key::guess(key)))
                .collect(),
        })
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

/// What was read; what could not be is counted by its field, and never told: it may be anybody's data.
fn known<T, E>(field: &'static str, read: Result<T, E>) -> Option<T> {
    if read.is_err() {
        metrics::counter!("dict_event_fields_left_out_total", "field" => field).increment(1);
    }
    read.ok()
}
