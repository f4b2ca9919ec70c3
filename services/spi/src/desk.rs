//! The desk of outgoing messages: forms and signs what waits, commits it, and serves the readers.
//!
//! One task owns the [`Former`] and the [`Streams`]; signing happens on other threads, and one write is
//! under way at a time, so that whatever comes meanwhile shares the next COMMIT.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use iso20022::{AppHdr, MessageDefinition, Pacs008Group};
use pix_domain::{MsgId, ResourceId, SPI_ISPB, Timestamp};
use pix_runtime::{Clock, Ids, Stopping};
use pix_xmldsig::{Signer, vector};
use spi_core::former::{Former, Group, form_wait};
use spi_core::outgoing::{Form, Mailbox, Parcel, priority_of};
use spi_core::streams::{Delivery, Effect, LONG_POLL, Reply, StreamId, Streams, Token, Waiter};
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::adapters::nats::Wakeups;
use crate::adapters::pg::{StoreError, in_time};
use crate::adapters::pg_delivery::{self, Checkpoint, DeliveryStore, Formed};
use crate::bodies::Bodies;
use crate::handed::HandedOver;
use crate::stages;

/// Batches of the book that may wait for the desk.
pub(crate) const PARCELS_QUEUE_MAX: usize = 64;
/// Requests of readers that may wait for the desk.
pub(crate) const REQUESTS_MAX: usize = 4096;
/// Half of the threads that the runtime has for what blocks.
const SIGNERS_MAX: usize = 256;
/// Messages in one COMMIT.
const FORMED_PER_COMMIT_MAX: usize = 128;
/// How often long polls and idle streams are looked at.
const TICK_EVERY: Duration = Duration::from_millis(100);
/// How often the tables are searched for transactions that the desk was never told of.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// A transaction younger than this may still be on its way here.
const SWEEP_AGE_MIN: Duration = Duration::from_secs(1);
/// Between attempts to reach Postgres again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// Weight of the newest reading in the utilisation of the signers.
const UTILISATION_WEIGHT: f64 = 0.1;
/// What is left of it after each tick without any signing.
const UTILISATION_IDLE_DECAY: f64 = 0.5;
/// The Id of the signature's KeyInfo, as in the Central Bank's own client.
const KEY_INFO_ID: &str = "key-info-id";

/// What a reader asks.
pub(crate) enum Request {
    /// `GET stream/start`.
    Start {
        mailbox: Mailbox,
        batch_max: usize,
        waiter: Waiter,
        reply: oneshot::Sender<Reply>,
    },
    /// `GET {PI-Pull-Next}`.
    Next {
        mailbox: Mailbox,
        token: Token,
        batch_max: usize,
        waiter: Waiter,
        reply: oneshot::Sender<Reply>,
    },
    /// `DELETE {PI-Pull-Next}`.
    Close {
        mailbox: Mailbox,
        token: Token,
        waiter: Waiter,
        reply: oneshot::Sender<Reply>,
    },
    /// The request went away before its reply was on the way.
    Abandon { waiter: Waiter },
    /// A connection broke.
    Broken { connection: u64 },
}

/// What the desk is made of.
pub(crate) struct Parts<C> {
    pub(crate) store: DeliveryStore,
    pub(crate) pool: PgPool,
    pub(crate) clock: C,
    pub(crate) ids: Ids,
    pub(crate) signer: Signer,
    pub(crate) bodies: Bodies,
    pub(crate) wakeups: Wakeups,
    pub(crate) handed: HandedOver,
    pub(crate) stopping: Stopping,
    /// The last outbox number that the book knows.
    pub(crate) last_outbox_id: i64,
}

/// What was written by one COMMIT.
struct Written {
    store: DeliveryStore,
    formed: Vec<Formed>,
    confirmed: Vec<(StreamId, Vec<Delivery>)>,
}

/// The desk.
pub(crate) struct Desk<C> {
    /// At home unless a write is under way.
    store: Option<DeliveryStore>,
    pool: PgPool,
    clock: C,
    ids: Ids,
    signer: Signer,
    bodies: Bodies,
    wakeups: Wakeups,
    handed: HandedOver,
    stopping: Stopping,
    former: Former,
    streams: Streams,
    replies: HashMap<Waiter, oneshot::Sender<Reply>>,
    signing: JoinSet<Formed>,
    /// So many signatures under way keep the signers busy.
    signers: usize,
    /// Signatures that are asked for at the same time.
    signers_max: usize,
    utilisation: f64,
    /// Signed, waiting for the next COMMIT.
    signed: Vec<Formed>,
    /// Confirmations waiting for the next COMMIT.
    confirming: Vec<(StreamId, Vec<Delivery>)>,
    writing: JoinSet<Result<Written, StoreError>>,
    /// Outbox numbers that belong to no committed message.
    unformed: BTreeSet<i64>,
    /// Deliveries that are not confirmed, committed or not.
    unread: BTreeSet<i64>,
    last_outbox_id: i64,
    last_delivery_id: i64,
    checkpoint: Option<Checkpoint>,
    checkpoint_due: bool,
    sweeping: JoinSet<Result<Vec<Parcel>, StoreError>>,
    stages: stages::Messages,
}

impl<C: Clock + Clone> Desk<C> {
    /// Recovers what waits from the tables.
    pub(crate) async fn start(parts: Parts<C>) -> Result<Self, StoreError> {
        let Parts {
            mut store,
            pool,
            clock,
            ids,
            signer,
            bodies,
            wakeups,
            handed,
            stopping,
            last_outbox_id,
        } = parts;
        let backlog = store.backlog().await?;
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // Of those made side by side most only wait. From half of the lanes on, transactions wait for company instead: a
        // message that they share saves a whole signature.
        let (signers, signers_max) = vector::lanes().map_or((processors, processors), |lanes| {
            (lanes / 2, lanes.min(SIGNERS_MAX))
        });
        tracing::info!(
            unformed = backlog.unformed.len(),
            unread = backlog.unread.len(),
            "the desk of outgoing messages is recovered"
        );
        let mut desk = Self {
            store: Some(store),
            pool,
            clock,
            ids,
            signer,
            bodies,
            wakeups,
            handed,
            stopping,
            former: Former::default(),
            streams: Streams::default(),
            replies: HashMap::new(),
            signing: JoinSet::new(),
            signers,
            signers_max,
            utilisation: 0.0,
            signed: Vec::new(),
            confirming: Vec::new(),
            writing: JoinSet::new(),
            unformed: BTreeSet::new(),
            unread: backlog.unread.iter().map(|(_, delivery)| delivery.id).collect(),
            last_outbox_id,
            last_delivery_id: backlog.last_delivery_id,
            checkpoint: None,
            checkpoint_due: true,
            sweeping: JoinSet::new(),
            stages: stages::Messages::default(),
        };
        let now = desk.clock.now();
        let ids = desk.ids.clone();
        drop(
            desk.streams
                .formed(backlog.unread, now, &mut || Token(ids.u128())),
        );
        for parcel in backlog.unformed {
            desk.unformed.insert(parcel.id);
            desk.former.push(parcel);
        }
        Ok(desk)
    }

    /// Runs until the stop, then ends the long polls and finishes its writes.
    pub(crate) async fn run(
        mut self,
        mut parcels: mpsc::Receiver<Vec<Parcel>>,
        mut requests: mpsc::Receiver<Request>,
        mut woken: mpsc::Receiver<i64>,
    ) -> Result<(), StoreError> {
        let stopping = self.stopping.clone();
        let mut tick = tokio::time::interval(TICK_EVERY);
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        let mut stopped = false;
        loop {
            if !stopped {
                self.launch_signers();
            }
            self.launch_write();
            if stopped && self.signing.is_empty() && self.writing.is_empty() {
                return Ok(());
            }
            let due = self.due_in();
            tokio::select! {
                () = stopping.stopped(), if !stopped => {
                    stopped = true;
                    requests.close();
                    // Whoever waits gets its empty answer now; the token stays good for the next process to refuse.
                    let effects = self.tick(LONG_POLL);
                    self.carry_out(effects);
                }
                Some(arrived) = parcels.recv(), if !stopped => self.take_in(arrived),
                Some(request) = requests.recv() => self.request(request),
                Some(signed) = self.signing.join_next() => {
                    self.observe_signers();
                    // A signer that panics is a bug; its transactions are still in the outbox.
                    self.signed.push(signed.map_err(|e| broken("signing", &e))?);
                }
                Some(written) = self.writing.join_next() => {
                    let written = written.map_err(|e| broken("writing", &e))??;
                    self.written(written);
                }
                Some(found) = self.sweeping.join_next() => match found {
                    Ok(Ok(found)) => self.swept(found),
                    Ok(Err(error)) => tracing::warn!(%error, "the outbox could not be swept"),
                    Err(error) => tracing::error!(%error, "the sweeper panicked"),
                },
                Some(outbox_id) = woken.recv() => if outbox_id > self.last_outbox_id { self.launch_sweep() },
                () = tokio::time::sleep(due.unwrap_or(SWEEP_EVERY)), if due.is_some() => {}
                _ = tick.tick() => {
                    let effects = self.tick(Duration::ZERO);
                    self.carry_out(effects);
                    if self.signing.is_empty() {
                        self.utilisation *= UTILISATION_IDLE_DECAY;
                    }
                }
                _ = sweep.tick(), if !stopped => {
                    self.checkpoint_due = true;
                    self.launch_sweep();
                    self.observe();
                }
            }
        }
    }

    /// Takes over what the book decided. What the sweeper found before is not taken twice: numbers ascend.
    fn take_in(&mut self, parcels: Vec<Parcel>) {
        for parcel in parcels {
            if parcel.id > self.last_outbox_id {
                self.last_outbox_id = parcel.id;
                self.unformed.insert(parcel.id);
                self.former.push(parcel);
            }
        }
    }

    fn request(&mut self, request: Request) {
        let (now, ids) = (self.clock.now(), self.ids.clone());
        let fresh = &mut || Token(ids.u128());
        let effects = match request {
            Request::Start {
                mailbox,
                batch_max,
                waiter,
                reply,
            } => {
                self.replies.insert(waiter, reply);
                self.streams.start(mailbox, batch_max, waiter, now, fresh)
            }
            Request::Next {
                mailbox,
                token,
                batch_max,
                waiter,
                reply,
            } => {
                self.replies.insert(waiter, reply);
                self.streams.next(mailbox, token, batch_max, waiter, now, fresh)
            }
            Request::Close {
                mailbox,
                token,
                waiter,
                reply,
            } => {
                self.replies.insert(waiter, reply);
                self.streams.close(mailbox, token, waiter, now, fresh)
            }
            Request::Abandon { waiter } => {
                self.replies.remove(&waiter);
                self.streams.abandon(waiter, now, fresh)
            }
            Request::Broken { connection } => {
                self.streams.broken(connection, now);
                Vec::new()
            }
        };
        self.carry_out(effects);
    }

    fn tick(&mut self, ahead: Duration) -> Vec<Effect> {
        let ids = self.ids.clone();
        self.streams
            .tick(self.clock.now().plus(ahead), &mut || Token(ids.u128()))
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply(waiter, reply) => {
                    if let Some(sender) = self.replies.remove(&waiter) {
                        self.note_handed_over(&reply);
                        drop(sender.send(reply)); // a reader that is gone asks again, or its stream expires
                    }
                }
                Effect::Confirm(stream, deliveries) => self.confirming.push((stream, deliveries)),
            }
        }
    }

    fn note_handed_over(&mut self, reply: &Reply) {
        if let Reply::Batch { deliveries, .. } = reply {
            let now = self.clock.now();
            self.handed.note(deliveries, now);
            for delivery in deliveries {
                self.stages.delivered(delivery.id, now);
            }
        }
    }

    /// How long until a message is due, when a signer is free to form it.
    fn due_in(&self) -> Option<Duration> {
        if self.signing.len() >= self.signers_max {
            return None;
        }
        let due = self.former.due_at(form_wait(self.utilisation))?;
        Some(due.since(self.clock.now()).max(Duration::from_micros(500)))
    }

    /// Forms messages while there are signers and messages due.
    fn launch_signers(&mut self) {
        while self.signing.len() < self.signers_max {
            let now = self.clock.now();
            let Some((group, parcels)) = self.former.pop(now, form_wait(self.utilisation)) else {
                return;
            };
            self.last_delivery_id += 1;
            let delivery = Delivery {
                id: self.last_delivery_id,
                resource_id: ResourceId::new(self.ids.bytes()),
                formed_at: now.to_millis(),
            };
            self.unread.insert(delivery.id);
            let message_id = MsgId::new(SPI_ISPB, self.ids.u128());
            let signer = self.signer.clone();
            metrics::histogram!("spi_message_transactions").record(f64::from(small(parcels.len())));
            self.signing
                .spawn_blocking(move || form(delivery, group, message_id, parcels, &signer));
            self.observe_signers();
        }
    }

    fn observe_signers(&mut self) {
        let busy = f64::from(small(self.signing.len().min(self.signers))) / f64::from(small(self.signers));
        self.utilisation += UTILISATION_WEIGHT * (busy - self.utilisation);
    }

    /// Starts the next COMMIT when none is under way and there is something to commit.
    fn launch_write(&mut self) {
        if self.signed.is_empty() && self.confirming.is_empty() {
            return;
        }
        let Some(store) = self.store.take() else { return };
        let formed: Vec<_> = self
            .signed
            .drain(..self.signed.len().min(FORMED_PER_COMMIT_MAX))
            .collect();
        let confirmed = std::mem::take(&mut self.confirming);
        let checkpoint = self.next_checkpoint();
        let (clock, stopping) = (self.clock.clone(), self.stopping.clone());
        let handed = self.handed.clone();
        self.writing.spawn(write(
            store, formed, confirmed, checkpoint, handed, clock, stopping,
        ));
    }

    /// Where recovery may start reading, now and then.
    fn next_checkpoint(&mut self) -> Option<Checkpoint> {
        if !std::mem::take(&mut self.checkpoint_due) {
            return None;
        }
        let checkpoint = Checkpoint {
            outbox_from: self.unformed.first().copied().unwrap_or(self.last_outbox_id + 1),
            delivery_from: self.unread.first().copied().unwrap_or(self.last_delivery_id + 1),
            last_delivery_id: self.last_delivery_id,
        };
        let changed = self.checkpoint != Some(checkpoint);
        self.checkpoint = Some(checkpoint);
        changed.then_some(checkpoint)
    }

    /// After the COMMIT: readers get what is ready, and go on.
    fn written(&mut self, written: Written) {
        self.store = Some(written.store);
        let (now, ids) = (self.clock.now(), self.ids.clone());
        let fresh = &mut || Token(ids.u128());
        let mut ready = Vec::with_capacity(written.formed.len());
        let mut woken: BTreeMap<Mailbox, i64> = BTreeMap::new();
        for formed in written.formed {
            let destination = formed.group.mailbox.destination;
            for (outbox_id, _, end_to_end_id) in &formed.parcels {
                if let Some(id) = end_to_end_id {
                    tracing::debug!(
                        target: "payment",
                        { payment.end_to_end_id = %id, message.id = %formed.message_id, %destination },
                        "a payment is in a message"
                    );
                }
                self.unformed.remove(outbox_id);
                woken.insert(formed.group.mailbox, *outbox_id);
            }
            let Group { mailbox, form } = formed.group;
            self.stages.formed(
                formed.delivery.id,
                form,
                mailbox.destination,
                &formed.parcels,
                now,
            );
            self.bodies.insert(formed.delivery.id, formed.bytes);
            ready.push((formed.group.mailbox, formed.delivery));
        }
        self.wakeups.publish(woken);
        let effects = self.streams.formed(ready, now, fresh);
        self.carry_out(effects);
        for (stream, deliveries) in written.confirmed {
            for delivery in &deliveries {
                self.unread.remove(&delivery.id);
                self.handed.forget(delivery.id);
                self.bodies.remove(delivery.id);
                self.stages.confirmed(delivery.id, now);
            }
            let ids = self.ids.clone();
            let effects = self.streams.confirmed(stream, now, &mut || Token(ids.u128()));
            self.carry_out(effects);
        }
    }

    /// Searches the tables for what the hand-over in memory may have lost.
    fn launch_sweep(&mut self) {
        if self.sweeping.is_empty() {
            // The hand-over is a queue, so what it can lose is its tail: numbers that never arrived here.
            let from = self.last_outbox_id + 1;
            let pool = self.pool.clone();
            self.sweeping
                .spawn(async move { pg_delivery::sweep(&pool, from).await });
        }
    }

    fn swept(&mut self, found: Vec<Parcel>) {
        let old = self.clock.now().minus(SWEEP_AGE_MIN);
        let lost: Vec<_> = found
            .into_iter()
            .filter(|parcel| parcel.id > self.last_outbox_id && parcel.created_at < old)
            .collect();
        if !lost.is_empty() {
            tracing::warn!(
                transactions = lost.len(),
                "the sweeper found transactions that nobody had handed over"
            );
            self.take_in(lost);
        }
    }

    fn observe(&self) {
        metrics::gauge!("spi_outbox_waiting").set(f64::from(small(self.former.len())));
        let now = self.clock.now();
        let age = |since: Option<Timestamp>| since.map_or(0.0, |since| now.since(since).as_secs_f64());
        metrics::gauge!("spi_outbox_age_seconds").set(age(self.former.oldest()));
        metrics::gauge!("spi_signer_utilisation").set(self.utilisation);
        for (mailbox, depth, oldest) in self.streams.depths() {
            let labels = [
                ("participant", mailbox.destination.to_string()),
                ("channel", mailbox.channel.as_str().to_owned()),
            ];
            metrics::gauge!("spi_stream_depth", &labels).set(f64::from(small(depth)));
            metrics::gauge!("spi_stream_age_seconds", &labels).set(age(oldest));
        }
    }
}

/// Writes and signs one message.
fn form(
    delivery: Delivery,
    group: Group,
    message_id: MsgId,
    parcels: Vec<Parcel>,
    signer: &Signer,
) -> Formed {
    let at = delivery.formed_at;
    let fragments: Vec<_> = parcels
        .iter()
        .map(|parcel| Arc::clone(&parcel.fragment))
        .collect();
    let (definition, document) = match group.form {
        Form::Order(service_level) => {
            let header = Pacs008Group {
                priority: priority_of(service_level),
                service_level,
            };
            (
                MessageDefinition::Pacs008,
                iso20022::pacs_008_document(message_id, at, &header, &fragments),
            )
        }
        Form::Status => (
            MessageDefinition::Pacs002,
            iso20022::pacs_002_document(message_id, at, &fragments),
        ),
        Form::Refusal => (MessageDefinition::Admi002, fragments[0].to_vec()),
    };
    let header = AppHdr {
        from: SPI_ISPB,
        to: group.mailbox.destination,
        message_id,
        definition,
        created_at: at,
    };
    let bytes = iso20022::seal(&header, &document, signer, KEY_INFO_ID);
    let parcels = parcels
        .into_iter()
        .map(|p| (p.id, p.created_at, p.end_to_end_id))
        .collect();
    Formed {
        delivery,
        group,
        message_id,
        parcels,
        bytes: bytes.into(),
    }
}

/// One COMMIT, asked for again on a new connection until Postgres has it. When its answer got lost, the
/// first message tells whether it happened; confirmations alone may be written twice.
async fn write<C: Clock>(
    mut store: DeliveryStore,
    formed: Vec<Formed>,
    confirmed: Vec<(StreamId, Vec<Delivery>)>,
    checkpoint: Option<Checkpoint>,
    handed: HandedOver,
    clock: C,
    stopping: Stopping,
) -> Result<Written, StoreError> {
    let confirmations: Vec<_> = confirmed
        .iter()
        .flat_map(|(_, deliveries)| deliveries)
        .map(|delivery| (*delivery, handed.of(delivery.id)))
        .collect();
    let mut lost = false;
    loop {
        let attempt = in_time(async {
            if lost {
                store.reconnect().await?;
                if let Some(first) = formed.first()
                    && store.has(first).await?
                {
                    return Ok(());
                }
            }
            let writing = Instant::now();
            store
                .commit(&formed, &confirmations, checkpoint, clock.now())
                .await?;
            metrics::histogram!("spi_commit_seconds", "writer" => "desk")
                .record(writing.elapsed().as_secs_f64());
            Ok(())
        });
        match attempt.await {
            Ok(()) => {
                return Ok(Written {
                    store,
                    formed,
                    confirmed,
                });
            }
            Err(StoreError::Lost(cause)) if !stopping.is_stopped() => {
                if !lost {
                    tracing::warn!(error = %cause, "Postgres is away; the desk waits");
                    metrics::counter!("spi_desk_reconnects_total").increment(1);
                }
                lost = true;
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn broken(what: &str, error: &tokio::task::JoinError) -> StoreError {
    StoreError::Corrupt {
        table: "delivery",
        what: format!("{what} ended badly: {error}"),
    }
}

fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
