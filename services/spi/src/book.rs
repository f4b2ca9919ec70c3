//! The writer of the book: drains what waits, decides, commits, then answers, publishes and hands over.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pix_domain::{MsgId, ResourceId, Timestamp};
use pix_runtime::ops::Readiness;
use pix_runtime::{Clock, Stopping};
use spi_core::book::{Book, Command, Content, Decision, FundRefusal, Funded, Inbound, Receipt, Snapshot};
use spi_core::outgoing::{MessageRefusal, Parcel};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::Instrument as _;

use crate::adapters::hits::Hits;
use crate::adapters::pg::{StoreError, in_time};
use crate::adapters::pg_book::{BookStore, Event};
use crate::standing::Standing;
use crate::{events, stages};

/// Commands that may wait before a sender is told to come back (503).
pub(crate) const QUEUE_MAX: usize = 4096;
/// Commands in one COMMIT.
const BATCH_COMMANDS_MAX: usize = 512;
/// Octets of messages in one COMMIT; the batch closes with the command that reaches it.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often deadlines are looked at when nothing else happens.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// How often a batch is tried although the connection breaks each time: a batch that breaks it is poison.
const ATTEMPTS_MAX: u32 = 100;
/// Between attempts, from the third on.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Between attempts to reach Postgres again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// A command and whoever waits for it.
pub(crate) struct Job {
    pub(crate) command: Command,
    pub(crate) raw: Bytes,
    pub(crate) reply: Reply,
}

/// Who is told what a command came to; one that has gone will ask again.
pub(crate) enum Reply {
    Nobody,
    Message(oneshot::Sender<ResourceId>),
    Fund(oneshot::Sender<Result<Funded, NotFunded>>),
}

/// Why a funding did not happen.
pub(crate) enum NotFunded {
    Refused(FundRefusal),
    /// Postgres does not take it, for no reason that the book knows.
    Unwritable,
}

impl Reply {
    fn tell(self, receipt: Receipt) {
        match (self, receipt) {
            (Self::Message(sender), Receipt::Message(id)) => drop(sender.send(id)),
            (Self::Fund(sender), Receipt::Fund(came_to)) => {
                drop(sender.send(came_to.map_err(NotFunded::Refused)));
            }
            (Self::Nobody | Self::Message(_) | Self::Fund(_), _) => {}
        }
    }
}

impl Job {
    /// A command of our own.
    pub(crate) fn internal(command: Command) -> Self {
        Self {
            command,
            raw: Bytes::new(),
            reply: Reply::Nobody,
        }
    }
}

/// Figures of the book, for operators.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) open_payments: usize,
    pub(crate) last_batch: i64,
    pub(crate) last_seq: i64,
}

/// The writer.
pub(crate) struct Writer<C> {
    parts: Parts<C>,
    book: Book,
    audit_head: [u8; 32],
    stages: stages::Payments,
}

/// What the writer is made of.
pub(crate) struct Parts<C> {
    pub(crate) store: BookStore,
    pub(crate) clock: C,
    pub(crate) desk: mpsc::Sender<Vec<Parcel>>,
    pub(crate) published: Arc<Notify>,
    pub(crate) hits: Hits,
    pub(crate) figures: watch::Sender<Figures>,
    pub(crate) standing: watch::Sender<Standing>,
    pub(crate) readiness: Readiness,
    pub(crate) stopping: Stopping,
    pub(crate) queue: mpsc::Receiver<Job>,
}

/// Why the writer had to end. The supervisor starts the process again, and recovery sorts it out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fatal {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the book does not balance: {0}")]
    Inconsistent(#[from] spi_core::book::Inconsistent),
    #[error("the desk of outgoing messages is gone")]
    DeskGone,
}

/// Why one batch did not go through.
enum Failed {
    /// Postgres refuses it, or deciding it panics: there is a culprit in it.
    Poisoned(String),
    Fatal(Fatal),
}

impl<C: Clock> Writer<C> {
    /// Recovers the book from the tables.
    pub(crate) async fn start(mut parts: Parts<C>) -> Result<Self, Fatal> {
        let started = Instant::now();
        let (snapshot, audit_head) = parts.store.snapshot().await?;
        let Snapshot {
            last_batch, last_seq, ..
        } = snapshot;
        let book = Book::recover(snapshot)?;
        tracing::info!(
            open_payments = book.open_payments(),
            last_batch,
            last_seq,
            duration_ms = started.elapsed().as_millis(),
            "the book is recovered"
        );
        parts.standing.send_replace(Standing::of(&book));
        Ok(Self {
            parts,
            book,
            audit_head,
            stages: stages::Payments::default(),
        })
    }

    /// The last outbox number that the tables know.
    pub(crate) fn last_outbox_id(&self) -> i64 {
        self.book.last_outbox_id()
    }

    /// Runs until the stop, then finishes what waits.
    pub(crate) async fn run(mut self) -> Result<(), Fatal> {
        let stopping = self.parts.stopping.clone();
        loop {
            let expiry = self
                .book
                .next_expiry()
                .map_or(SWEEP_EVERY, |at| at.since(self.parts.clock.now()));
            let mut jobs = Vec::new();
            tokio::select! {
                () = stopping.stopped(), if !self.parts.queue.is_closed() => {
                    self.parts.queue.close(); // what waits is finished, what comes gets 503
                    continue;
                }
                received = self.parts.queue.recv_many(&mut jobs, BATCH_COMMANDS_MAX) => {
                    if received == 0 {
                        return Ok(());
                    }
                }
                () = tokio::time::sleep(expiry.clamp(Duration::from_millis(1), SWEEP_EVERY)) => {}
            }
            metrics::gauge!("spi_book_queue").set(to_f64(self.parts.queue.len()));
            let span = tracing::info_span!("book", commands = jobs.len());
            self.process(split(jobs)).instrument(span).await?;
        }
    }

    /// Puts batches through; one with a culprit in it is halved until the culprit is alone.
    async fn process(&mut self, mut stack: VecDeque<Vec<Job>>) -> Result<(), Fatal> {
        while let Some(mut jobs) = stack.pop_front() {
            let attempted = self.attempt(&mut jobs, !stack.is_empty()).await;
            self.parts.standing.send_if_modified(Standing::rests);
            match attempted {
                Ok(()) => {}
                Err(Failed::Fatal(fatal)) => return Err(fatal),
                Err(Failed::Poisoned(why)) if jobs.len() > 1 => {
                    tracing::warn!(commands = jobs.len(), why, "a batch is refused; halving it");
                    let second = jobs.split_off(jobs.len() / 2);
                    stack.push_front(second);
                    stack.push_front(jobs);
                }
                Err(Failed::Poisoned(why)) => match jobs.pop() {
                    Some(job) => {
                        if let Some(replaced) = self.bury(job, &why).await? {
                            stack.push_front(vec![replaced]);
                        }
                    }
                    None => {
                        // Deadlines alone cannot be processed: nothing to bury, and nothing may stay blocked.
                        return Err(Fatal::Store(StoreError::Corrupt {
                            table: "batch",
                            what: why,
                        }));
                    }
                },
            }
        }
        Ok(())
    }

    /// A command that cannot be processed: its message is kept and answered with an admi.002.
    async fn bury(&mut self, job: Job, why: &str) -> Result<Option<Job>, Fatal> {
        let inbound = match &job.command {
            Command::Message(inbound) => inbound,
            Command::Fund(funding) => {
                tracing::error!(funding.id = %funding.id, why, "a funding cannot be written");
                if let Reply::Fund(sender) = job.reply {
                    drop(sender.send(Err(NotFunded::Unwritable)));
                }
                return Ok(None);
            }
            Command::Open { .. } => {
                return Err(Fatal::Store(StoreError::Corrupt {
                    table: "account",
                    what: why.to_owned(),
                }));
            }
        };
        if matches!(inbound.content, Content::Unreadable(_)) {
            // Even the refusal does not go through: the sender gets no 201 and tries again.
            tracing::error!(message.resource_id = %inbound.resource_id, why, "a message cannot even be refused");
            return Ok(None);
        }
        tracing::error!(message.resource_id = %inbound.resource_id, why, "a message goes to the dead letters");
        metrics::counter!("spi_dead_letters_total").increment(1);
        while let Err(error) = self
            .parts
            .store
            .dead_letter(inbound, why, self.parts.clock.now())
            .await
        {
            match self.survive(error).await {
                Ok(()) => {}
                Err(Failed::Fatal(fatal)) => return Err(fatal),
                Err(Failed::Poisoned(why)) => {
                    tracing::error!(why, "the dead letter is refused too");
                    break;
                }
            }
        }
        let reference = inbound.content.message_id();
        let content = Content::Unreadable(MessageRefusal {
            reference: reference.map_or_else(|| inbound.resource_id.to_string(), |id| id.to_string()),
            reason: "Erro interno".to_owned(),
            location: None,
            description: Some("the SPI could not process this message; its operator was told".to_owned()),
            additional: None,
        });
        let replaced = Inbound {
            content,
            ..(**inbound).clone()
        };
        Ok(Some(Job {
            command: Command::Message(Arc::new(replaced)),
            ..job
        }))
    }

    /// Decides and commits one batch. On success every job is answered and `jobs` is empty. `more` tells that
    /// other jobs were taken from the queue after these.
    async fn attempt(&mut self, jobs: &mut Vec<Job>, more: bool) -> Result<(), Failed> {
        let commands: Vec<Command> = jobs.iter().map(|job| job.command.clone()).collect();
        let raw: Vec<Bytes> = jobs.iter().map(|job| job.raw.clone()).collect();
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 1 {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            // Both are read anew each time: while Postgres was away, answers came that must be heard first.
            let now = self.decides();
            let horizon = horizon(&commands, more || !self.parts.queue.is_empty(), now);
            let expired = |at: Timestamp| horizon.is_some_and(|horizon| at <= horizon);
            if commands.is_empty() && !self.book.next_expiry().is_some_and(expired) {
                return Ok(());
            }
            let started = Instant::now();
            let needed = self.book.facts_needed(&commands);
            let facts = match in_time(self.parts.store.facts(&needed, now)).await {
                Ok(facts) => facts,
                Err(error) => {
                    self.survive(error).await?;
                    continue;
                }
            };
            let decided = std::panic::catch_unwind(AssertUnwindSafe(|| {
                let decision = self.book.decide(&commands, &facts, now, horizon);
                let parcels: Vec<Parcel> = decision.batch.outbox.iter().map(Parcel::from).collect();
                let events = events::of(&decision.batch);
                let audit_hash = audit_hash(&self.audit_head, &decision);
                (decision, parcels, events, audit_hash)
            }));
            let Ok((decision, parcels, events, audit_hash)) = decided else {
                return Err(Failed::Poisoned("deciding it panicked".to_owned()));
            };
            let writing = Instant::now();
            match in_time(
                self.parts
                    .store
                    .commit(&decision.batch, &raw, &parcels, &events, &audit_hash),
            )
            .await
            {
                Ok(()) => {
                    let took = started.elapsed().as_secs_f64();
                    metrics::histogram!("spi_book_batch_seconds").record(took);
                    metrics::histogram!("spi_commit_seconds", "writer" => "book")
                        .record(writing.elapsed().as_secs_f64());
                }
                Err(error) => {
                    // Whether the COMMIT happened is unknown until the batch's own row is looked for.
                    if !self
                        .survive_commit(error, decision.batch.number, &audit_hash)
                        .await?
                    {
                        continue;
                    }
                }
            }
            return self.conclude(jobs, decision, parcels, &events, audit_hash).await;
        }
        Err(Failed::Poisoned(format!(
            "Postgres went away {ATTEMPTS_MAX} times while it was written"
        )))
    }

    /// The time that the next batch is decided at. From here until it is known whether the batch happened, nobody is
    /// told that everything decided up to then is there.
    fn decides(&self) -> Timestamp {
        let mut now = Timestamp::from_micros(i64::MIN);
        self.parts.standing.send_if_modified(|standing| {
            now = self.parts.clock.now();
            standing.decides(now)
        });
        now
    }

    /// After the COMMIT: install, answer, hand over, tell.
    async fn conclude(
        &mut self,
        jobs: &mut Vec<Job>,
        decision: Decision,
        parcels: Vec<Parcel>,
        events: &[Event],
        audit_hash: [u8; 32],
    ) -> Result<(), Failed> {
        let receipts = decision.batch.receipts.clone();
        let batch = (decision.batch.number, decision.batch.last_seq);
        metrics::histogram!("spi_book_batch_commands").record(to_f64(jobs.len()));
        self.stages.committed(&decision.batch, self.parts.clock.now());
        // Only what a repeat is recognised by: a message that was refused may be sound when it comes again.
        let keyed = decision
            .batch
            .messages
            .iter()
            .filter(|row| row.inbound.content.message_id().is_some());
        let taken_in: Vec<_> = keyed
            .map(|row| (row.inbound.sender, row.inbound.digest, row.inbound.resource_id))
            .collect();
        for row in &decision.batch.messages {
            note_complaint(&row.inbound);
        }
        for step in &decision.batch.steps {
            let outcome = step.end.as_ref().map_or("blocked", spi_core::book::End::as_str);
            tracing::debug!(target: "payment", { payment.end_to_end_id = %step.end_to_end_id, outcome }, "a payment moved on");
        }
        let changed = decision.batch.balances.clone();
        self.book.install(decision);
        let book = &self.book;
        self.parts
            .standing
            .send_if_modified(|standing| standing.committed(book, &changed));
        self.audit_head = audit_hash;
        metrics::gauge!("spi_payments_open").set(to_f64(self.book.open_payments()));
        self.parts.figures.send_replace(Figures {
            open_payments: self.book.open_payments(),
            last_batch: batch.0,
            last_seq: batch.1,
        });
        for (job, receipt) in jobs.drain(..).zip(receipts) {
            job.reply.tell(receipt);
        }
        // At the stop the desk may be gone before us: what it did not get waits in the outbox.
        let handed_over = parcels.is_empty() || self.parts.desk.send(parcels).await.is_ok();
        if !handed_over && !self.parts.stopping.is_stopped() {
            return Err(Failed::Fatal(Fatal::DeskGone));
        }
        if !events.is_empty() {
            self.parts.published.notify_one();
        }
        self.parts.hits.remember(taken_in);
        Ok(())
    }

    /// Survives a failure before anything was written.
    async fn survive(&mut self, error: StoreError) -> Result<(), Failed> {
        match error {
            StoreError::Lost(cause) => {
                tracing::warn!(error = %cause, "Postgres is away; the book waits");
                self.reconnect().await.map_err(Failed::Fatal)
            }
            StoreError::Refused(cause) => Err(Failed::Poisoned(cause.to_string())),
            other => Err(Failed::Fatal(other.into())),
        }
    }

    /// Survives a failure of a COMMIT; tells whether the batch is in.
    async fn survive_commit(
        &mut self,
        error: StoreError,
        batch: i64,
        audit_hash: &[u8; 32],
    ) -> Result<bool, Failed> {
        self.survive(error).await?;
        loop {
            match in_time(self.parts.store.has_batch(batch, audit_hash)).await {
                Ok(true) => {
                    tracing::info!(batch, "the COMMIT whose answer was lost had happened");
                    return Ok(true);
                }
                Ok(false) => {
                    // Not there, and after the fence it never will be: start over from the tables.
                    tracing::info!(
                        batch,
                        "the COMMIT whose answer was lost had not happened; deciding again"
                    );
                    match in_time(self.parts.store.snapshot()).await {
                        Ok((snapshot, audit_head)) => {
                            self.book = Book::recover(snapshot).map_err(|e| Failed::Fatal(e.into()))?;
                            self.audit_head = audit_head;
                            return Ok(false);
                        }
                        Err(error) => self.survive(error).await?,
                    }
                }
                Err(error) => self.survive(error).await?,
            }
        }
    }

    /// Connects again, fence included, for as long as it takes.
    async fn reconnect(&mut self) -> Result<(), Fatal> {
        metrics::counter!("spi_book_reconnects_total").increment(1);
        self.parts.readiness.set("book", false);
        loop {
            match in_time(self.parts.store.reconnect()).await {
                Ok(()) => {
                    self.parts.readiness.set("book", true);
                    return Ok(());
                }
                Err(StoreError::Lost(_) | StoreError::Broken(_)) if !self.parts.stopping.is_stopped() => {
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What may expire: everything up to now; while answers wait, only up to the receipt of the last one taken,
/// and nothing when none was.
fn horizon(commands: &[Command], waiting: bool, now: Timestamp) -> Option<Timestamp> {
    if !waiting {
        return Some(now);
    }
    commands.iter().rev().find_map(|command| match command {
        Command::Message(inbound) => Some(inbound.received_at.min(now)),
        Command::Open { .. } | Command::Fund(_) => None,
    })
}

/// Cuts what was drained into batches of bounded size.
fn split(jobs: Vec<Job>) -> VecDeque<Vec<Job>> {
    let mut batches = VecDeque::from([Vec::new()]);
    let mut bytes = 0;
    for job in jobs {
        if bytes >= BATCH_BYTES_MAX {
            batches.push_back(Vec::new());
            bytes = 0;
        }
        bytes += job.raw.len();
        batches.back_mut().expect("starts with one").push(job);
    }
    batches
}

fn audit_hash(head: &[u8; 32], decision: &Decision) -> [u8; 32] {
    let record = spi_core::audit::record(decision.batch.number, spi_core::audit::lines(&decision.batch));
    pix_xmldsig::digest(&[head, &record])
}

/// A participant could not process a message of ours: an operator should look, and its row in `complaint` tells more.
fn note_complaint(inbound: &Inbound) {
    let Content::Complaint { reference, .. } = &inbound.content else {
        return;
    };
    let sender = inbound.sender;
    metrics::counter!("spi_complaints_total", "participant" => sender.to_string()).increment(1);
    // Only an id: the field holds whatever somebody wrote.
    let wire = reference.as_str().as_bytes();
    let about = MsgId::parse(wire).map(|id| id.to_string());
    let about = about.or_else(|_| ResourceId::parse(wire).map(|id| id.to_string()));
    tracing::warn!(
        participant.ispb = %sender,
        message.resource_id = %inbound.resource_id,
        about = about.as_deref().unwrap_or("no id"),
        "a participant could not process a message of ours (admi.002)"
    );
}

#[expect(clippy::cast_precision_loss, reason = "queue lengths are far below 2^52")]
fn to_f64(n: usize) -> f64 {
    n as f64
}
