//! Balances in real time: follows the book, tells whoever watches, and says once who is low.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use pix_runtime::pg::DbClock;
use pix_runtime::{Clock as _, Stopping};
use settlement_core::balances::{Balance, Board, Crossing};
use sqlx::PgPool;
use tokio::sync::{Notify, watch};

use crate::adapters::pg::StoreError;
use crate::adapters::pg_liquidity;
use crate::adapters::spi_book::{BookError, SpiBook};
use crate::events;

/// How long before the book is followed again.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How often thresholds are read.
const THRESHOLDS_EVERY: Duration = Duration::from_secs(1);

/// All balances. Clones share them.
#[derive(Clone)]
pub(crate) struct Balances(Arc<Inner>);

struct Inner {
    board: Mutex<Board>,
    /// The board's version; those who watch compare it with theirs.
    news: watch::Sender<u64>,
    is_current: AtomicBool,
}

/// What following needs.
pub(crate) struct Parts {
    pub(crate) pool: PgPool,
    pub(crate) spi: SpiBook,
    pub(crate) clock: DbClock,
    /// Told when events are to be published.
    pub(crate) events: Arc<Notify>,
}

impl Balances {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            board: Mutex::default(),
            news: watch::Sender::new(0),
            is_current: AtomicBool::new(false),
        }))
    }

    /// Whether the book is being followed: otherwise they are those of the moment at which it was lost.
    pub(crate) fn is_current(&self) -> bool {
        self.0.is_current.load(Ordering::Relaxed)
    }

    /// What changed after a version, and the version that it makes.
    pub(crate) fn after(&self, version: u64) -> (u64, Vec<Balance>) {
        let board = self.board();
        (board.version(), board.after(version).collect())
    }

    /// Tells of new versions.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.0.news.subscribe()
    }

    /// Follows the book until the stop.
    pub(crate) async fn follow(self, parts: Parts, stopping: Stopping) {
        tokio::select! {
            () = stopping.stopped() => {}
            () = self.follow_book(&parts.spi) => {}
            () = self.tell_low(&parts) => {}
        }
    }

    async fn follow_book(&self, spi: &SpiBook) {
        let mut failing = false;
        loop {
            let broken = self.follow_once(spi, &mut failing).await;
            self.set_current(false);
            if !std::mem::replace(&mut failing, true) {
                let error = broken.map_or_else(|error| error.to_string(), |()| "the stream ended".to_owned());
                tracing::warn!(error, "balances are not followed for now");
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    async fn follow_once(&self, spi: &SpiBook, failing: &mut bool) -> Result<(), BookError> {
        let accounts = spi.watch().await?;
        let mut accounts = std::pin::pin!(accounts);
        while let Some(told) = accounts.next().await {
            let told = told?;
            self.change(|board| {
                for account in &told {
                    board.set(account.ispb, account.available, account.blocked);
                }
            });
            self.set_current(true);
            if std::mem::take(failing) {
                tracing::info!("balances are followed again");
            }
        }
        Ok(())
    }

    /// Tells of those that cross their threshold. It needs our database; who only watches goes on without.
    async fn tell_low(&self, parts: &Parts) {
        let mut news = self.news();
        let mut is_told_known = false;
        let mut failing = false;
        loop {
            let done = async {
                if !is_told_known {
                    let told = pg_liquidity::told(&parts.pool).await?;
                    self.board().set_told(told);
                    is_told_known = true;
                }
                let thresholds = pg_liquidity::thresholds(&parts.pool).await?;
                self.change(|board| board.set_thresholds(thresholds));
                let read_at = Instant::now();
                while read_at.elapsed() < THRESHOLDS_EVERY {
                    news.borrow_and_update();
                    self.tell_crossings(parts).await?;
                    let left = THRESHOLDS_EVERY.saturating_sub(read_at.elapsed());
                    // Its sender is ours: there will be news, or the time is over.
                    drop(tokio::time::timeout(left, news.changed()).await);
                }
                Ok::<_, StoreError>(())
            };
            match done.await {
                Ok(()) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "who is low is not told for now");
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    async fn tell_crossings(&self, parts: &Parts) -> Result<(), StoreError> {
        let crossings = self.board().crossings();
        for crossing in &crossings {
            let event = events::liquidity_low(crossing);
            let noted = pg_liquidity::note(&parts.pool, crossing, event.as_ref(), parts.clock.now()).await?;
            if noted {
                parts.events.notify_one();
                say(crossing);
            }
            self.board().told(crossing);
        }
        Ok(())
    }

    fn set_current(&self, is_current: bool) {
        if self.0.is_current.swap(is_current, Ordering::Relaxed) != is_current {
            // No new version, but something to tell.
            self.0.news.send_modify(|_| {});
        }
        metrics::gauge!("settlement_balances_current").set(f64::from(u8::from(is_current)));
    }

    /// Changes the board and tells those who watch.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Board)) {
        let version = {
            let mut board = self.board();
            change(&mut board);
            board.version()
        };
        // Versions only grow: of two that change at once, the later one is told.
        self.0
            .news
            .send_if_modified(|known| std::mem::replace(known, version.max(*known)) < version);
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn say(crossing: &Crossing) {
    if crossing.is_low {
        metrics::counter!("settlement_liquidity_low_total").increment(1);
        tracing::warn!(
            participant.ispb = %crossing.ispb,
            available_centavos = crossing.available,
            threshold_centavos = crossing.threshold,
            "a participant's liquidity is low"
        );
    } else {
        tracing::info!(participant.ispb = %crossing.ispb, "a participant's liquidity is not low any more");
    }
}
