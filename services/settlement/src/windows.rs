//! Counts the book's batches into windows, ends windows, and proves them.
//!
//! Nothing is kept in memory: whoever counts takes the row of the open window, asks the core, and commits place,
//! positions and complete windows together. So it does not matter who tells of a batch, how often, or when we die.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use pix_domain::Timestamp;
use pix_runtime::pg::DbClock;
use pix_runtime::{Clock as _, Stopping};
use settlement_core::windows::{Batch, BookTotals, Heard, Ledger, Length, Looked, Proof, Window, prove};
use sqlx::PgPool;
use tokio::sync::{Mutex, Notify, watch};

use crate::adapters::pg::StoreError;
use crate::adapters::pg_windows::{self, Counting, Shown, State};
use crate::adapters::spi_book::{BookError, SpiBook};
use crate::events;

/// How often the book is asked where it stands: what no event told of is missing no longer than that.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long before a window is tried again that could not be proven for now.
const PROVE_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Batches counted in one transaction, when they are fetched,
const COUNT_MAX: usize = 256;
/// and settlements, beyond which no further batch is added.
const COUNT_SETTLED_MAX: usize = 10_000;
/// How long an operator waits for the window that he ended.
const CLOSE_WITHIN: Duration = Duration::from_secs(60);

/// Why windows do not go on for now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WindowError {
    /// Our database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The book.
    #[error(transparent)]
    Book(#[from] BookError),
    /// The book lacks what was counted of it.
    #[error("the SPI's book was set back: batch {counted} was counted, and it ends at {settled}")]
    WentBack {
        /// The last that was counted.
        counted: i64,
        /// Its last.
        settled: i64,
    },
    /// It takes longer than an operator waits.
    #[error("window {0} is closing; ask for it again")]
    StillClosing(i64),
}

/// Handles to all that windows need. Clones share it.
#[derive(Clone)]
pub(crate) struct Windows(Arc<Inner>);

struct Inner {
    parts: Parts,
    /// Held by whoever looks: two at once would fetch the same.
    looking: Mutex<()>,
    /// A look is wanted now.
    look_now: Notify,
    /// A window became complete.
    complete: Notify,
    /// The last window that we closed.
    closed: watch::Sender<i64>,
    /// The month (year * 12 + month) whose partition is there for sure.
    partition: AtomicI32,
}

/// What [`Windows`] is made of.
pub(crate) struct Parts {
    pub(crate) pool: PgPool,
    /// To make partitions.
    pub(crate) owner_url: String,
    pub(crate) spi: SpiBook,
    pub(crate) clock: DbClock,
    pub(crate) length: Length,
    /// Told when events are to be published.
    pub(crate) events: Arc<Notify>,
}

/// Which way a batch came.
#[derive(Clone, Copy, Debug)]
enum By {
    Event,
    Book,
}

impl By {
    fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Book => "book",
        }
    }
}

impl Windows {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            looking: Mutex::new(()),
            look_now: Notify::new(),
            complete: Notify::new(),
            closed: watch::Sender::new(0),
            partition: AtomicI32::new(i32::MIN),
        }))
    }

    fn parts(&self) -> &Parts {
        &self.0.parts
    }

    /// Counts what events told of, and fetches what they did not; afterwards all of it has had its effect.
    pub(crate) async fn hear(&self, told: &[(String, Batch)]) -> Result<(), WindowError> {
        let counting = Counting::begin(&self.parts().pool).await?;
        let Some(mut ledger) = counting.ledger(self.parts().length) else {
            // Which book it is, the SPI says: events of others may be about.
            drop(counting);
            return self.look().await;
        };
        let mut tally = Counted::default();
        for (book, batch) in told {
            match *book == ledger.current().book {
                true => tally.note(ledger.hear(batch)),
                false => tally.gaps += 1,
            }
        }
        self.commit(counting, &ledger).await?;
        tally.tell(By::Event);
        match tally.gaps {
            0 => Ok(()),
            _ => self.look().await,
        }
    }

    /// Asks where the book stands, counts what is missing, and ends what is over.
    pub(crate) async fn look(&self) -> Result<(), WindowError> {
        let _alone = self.0.looking.lock().await;
        let parts = self.parts();
        let seen = pg_windows::current(&parts.pool).await?;
        let head = parts.spi.head().await?;
        let mut known = 0;
        if let Some(window) = seen {
            known = window.to_batch;
            // Mostly nothing is to be done, and then nothing is locked either.
            let mut ledger = Ledger::resume(window.clone(), parts.length);
            if ledger.look(&head, known) == Looked::UpToDate && *ledger.current() == window {
                return Ok(());
            }
        }
        loop {
            let counting = Counting::begin(&parts.pool).await?;
            let ledger = counting.ledger(parts.length);
            let mut ledger = ledger.unwrap_or_else(|| Ledger::begin(head.book.clone(), parts.length));
            let looked = ledger.look(&head, known);
            self.commit(counting, &ledger).await?;
            match looked {
                Looked::UpToDate => return Ok(()),
                Looked::Behind { after } => self.fetch(&head.book, after, head.settled_batch).await?,
                Looked::OtherBook => {
                    tracing::warn!(
                        book = head.book,
                        "the SPI keeps another book than before: windows go on with it, from its beginning"
                    );
                    known = 0;
                }
                Looked::WentBack { counted } => {
                    return Err(WindowError::WentBack {
                        counted,
                        settled: head.settled_batch,
                    });
                }
            }
        }
    }

    /// Counts the batches after one, up to another, from the truth.
    async fn fetch(&self, book: &str, after: i64, to: i64) -> Result<(), WindowError> {
        let batches = self.parts().spi.settlements(after, to).await?;
        let mut batches = std::pin::pin!(batches);
        let mut is_over = false;
        let mut last = after;
        while !is_over {
            let mut chunk = Vec::new();
            let mut settled = 0;
            while chunk.len() < COUNT_MAX && settled < COUNT_SETTLED_MAX {
                let Some(batch) = batches.next().await else {
                    is_over = true;
                    break;
                };
                let batch = batch?;
                settled += batch.settled.len();
                last = batch.number;
                chunk.push(batch);
            }
            self.count_fetched(book, &chunk).await?;
        }
        match last == to {
            true => Ok(()),
            // We would ask for ever.
            false => {
                Err(BookError::Unreadable(format!("its last batch is {to}, and it ends at {last}")).into())
            }
        }
    }

    async fn count_fetched(&self, book: &str, batches: &[Batch]) -> Result<(), WindowError> {
        let counting = Counting::begin(&self.parts().pool).await?;
        let Some(mut ledger) = counting.ledger(self.parts().length) else {
            return Ok(());
        };
        let mut tally = Counted::default();
        for batch in batches {
            if ledger.current().book != book {
                // Somebody saw another book meanwhile; the next look sees it too.
                return Ok(());
            }
            let heard = ledger.hear(batch);
            if let Heard::Gap { after } = heard {
                let what = format!(
                    "batch {} follows {:?}, and {after} is there",
                    batch.number, batch.previous
                );
                return Err(BookError::Unreadable(what).into());
            }
            tally.note(heard);
        }
        self.commit(counting, &ledger).await?;
        tally.tell(By::Book);
        Ok(())
    }

    async fn commit(&self, counting: Counting, ledger: &Ledger) -> Result<(), StoreError> {
        if counting.commit(ledger).await? {
            let window = ledger.current();
            #[expect(clippy::cast_precision_loss, reason = "a gauge for people")]
            metrics::gauge!("settlement_counted_batch").set(window.to_batch as f64);
            for window in ledger.complete() {
                tracing::debug!(window.number, window.to_batch, "a window is complete");
            }
            if !ledger.complete().is_empty() {
                self.0.complete.notify_one();
            }
        }
        Ok(())
    }

    /// Ends the window now; answers when it is closed, with its proof.
    pub(crate) async fn end_now(&self) -> Result<Shown, WindowError> {
        // Without payments its time may be long over: it moves to today first.
        self.look().await?;
        let head = self.parts().spi.head().await?;
        let counting = Counting::begin(&self.parts().pool).await?;
        let ledger = counting.ledger(self.parts().length);
        let mut ledger = ledger.unwrap_or_else(|| Ledger::begin(head.book.clone(), self.parts().length));
        let number = ledger.end_now(head.as_of);
        let mut closed = self.0.closed.subscribe();
        self.commit(counting, &ledger).await?;
        tracing::info!(window.number = number, "an operator ended a window");
        let asked = Instant::now();
        loop {
            self.0.look_now.notify_one();
            let found = pg_windows::find(&self.parts().pool, number).await?;
            if let Some(found) = found.filter(|found| found.state == State::Closed) {
                return Ok(found);
            }
            if asked.elapsed() >= CLOSE_WITHIN {
                return Err(WindowError::StillClosing(number));
            }
            // Another process may be the one that closes it.
            let news = tokio::time::timeout(LOOK_EVERY / 5, closed.changed()).await;
            drop(news);
        }
    }

    /// Looks now and then until the stop.
    pub(crate) async fn keep_looking(self, stopping: Stopping) {
        let mut failing = Failing::default();
        loop {
            let looked = tokio::select! {
                () = stopping.stopped() => return,
                looked = self.look() => looked,
            };
            failing.note(
                &looked,
                "windows do not go on until Postgres and the SPI are there",
            );
            tokio::select! {
                () = stopping.stopped() => return,
                () = self.0.look_now.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Proves windows as they become complete, until the stop.
    pub(crate) async fn keep_proving(self, stopping: Stopping) {
        let mut failing = Failing::default();
        loop {
            let proven = tokio::select! {
                () = stopping.stopped() => return,
                proven = self.prove_next() => proven,
            };
            failing.note(
                &proven,
                "windows wait for their proof until Postgres and the SPI are there",
            );
            if matches!(proven, Ok(true)) {
                continue;
            }
            tokio::select! {
                () = stopping.stopped() => return,
                () = self.0.complete.notified() => {}
                () = tokio::time::sleep(PROVE_AGAIN_AFTER) => {}
            }
        }
    }

    /// Proves and closes the oldest complete window; whether there was one.
    async fn prove_next(&self) -> Result<bool, WindowError> {
        let parts = self.parts();
        let Some((window, positions)) = pg_windows::oldest_complete(&parts.pool).await? else {
            return Ok(false);
        };
        let head = parts.spi.head().await?;
        let mut book = None;
        if head.book == window.book {
            let totals = parts.spi.totals(&head.book, window.after_batch, window.to_batch);
            book = totals.await?;
        }
        // A book that has no such batches proves nothing.
        let book = book.unwrap_or_else(|| BookTotals {
            book: head.book,
            ..BookTotals::default()
        });
        let proof = prove(&window, &positions, &book);
        self.ensure_partition(&window).await?;
        let event = events::window_closed(&window, &proof);
        let at = parts.clock.now();
        if pg_windows::close(&parts.pool, &window, &proof, &event, at).await? {
            parts.events.notify_one();
            tell_closed(&window, &proof, at);
        }
        self.0.closed.send_replace(window.number);
        Ok(true)
    }

    async fn ensure_partition(&self, window: &Window) -> Result<(), StoreError> {
        let (year, month, _) = window.opened_at.date();
        let month = year * 12 + i32::from(month);
        if self.0.partition.load(Ordering::Relaxed) != month {
            let mut owner = pix_runtime::pg::connect(&self.parts().owner_url).await?;
            pg_windows::ensure_partition(&mut owner, window).await?;
            self.0.partition.store(month, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn tell_closed(window: &Window, proof: &Proof, at: Timestamp) {
    let holds = proof.holds();
    let label = if holds { "holds" } else { "fails" };
    metrics::counter!("settlement_windows_closed_total", "proof" => label).increment(1);
    metrics::histogram!("settlement_window_close_seconds").record(at.since(window.ends_at).as_secs_f64());
    if holds {
        tracing::info!(
            window.number,
            window.count = window.gross.count,
            window.first_sequence = proof.first_sequence,
            window.last_sequence = proof.last_sequence,
            "a window closed; its proof holds"
        );
    } else {
        tracing::error!(
            window.number,
            differences = ?proof.differences,
            "A WINDOW CLOSED AND ITS PROOF DOES NOT HOLD: windows and the book's postings differ; find out why before \
             anybody relies on either"
        );
    }
}

/// What became of some batches.
#[derive(Default)]
struct Counted {
    applied: u64,
    known: u64,
    gaps: u64,
}

impl Counted {
    fn note(&mut self, heard: Heard) {
        match heard {
            Heard::Applied => self.applied += 1,
            Heard::AlreadyKnown => self.known += 1,
            Heard::Gap { .. } => self.gaps += 1,
        }
    }

    fn tell(&self, by: By) {
        for (became, count) in [
            ("counted", self.applied),
            ("known", self.known),
            ("gap", self.gaps),
        ] {
            metrics::counter!("settlement_batches_total", "by" => by.as_str(), "became" => became)
                .increment(count);
        }
    }
}

/// Says once that something fails, and once that it goes on.
#[derive(Default)]
struct Failing(bool);

impl Failing {
    fn note<T>(&mut self, done: &Result<T, WindowError>, meaning: &'static str) {
        match done {
            Ok(_) if std::mem::take(&mut self.0) => tracing::info!("windows go on"),
            Ok(_) => {}
            Err(error) => {
                metrics::counter!("settlement_window_failures_total").increment(1);
                match (std::mem::replace(&mut self.0, true), error) {
                    (true, _) => {}
                    (false, WindowError::WentBack { .. }) => {
                        tracing::error!(%error, "WINDOWS STAND STILL: restore the book, or begin another settlement database");
                    }
                    (false, _) => tracing::warn!(%error, "{meaning}"),
                }
            }
        }
    }
}
