//! Balances in real time: follows the book, tells whoever watches, and says once who is low.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use pix_runtime::pg::DbClock;
use pix_runtime::{Clock as _, Stopping};
use settlement_core::balances::{Balance, Board, Crossing};
use sqlx::PgPool;
use tokio::sync::{Notify, watch};

use crate::adapters::pg::StoreError;
use crate::adapters::pg_liquidity;
use crate::adapters::spi_book::SpiBook;
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
        let mut failing = false;
        loop {
            let broken = tokio::select! {
                () = stopping.stopped() => return,
                broken = self.follow_once(&parts, &mut failing) => broken,
            };
            self.0.is_current.store(false, Ordering::Relaxed);
            metrics::gauge!("settlement_balances_current").set(0);
            if !std::mem::replace(&mut failing, true) {
                let error =
                    broken.map_or_else(|error| format!("{error:#}"), |()| "the stream ended".to_owned());
                tracing::warn!(error, "balances are not followed for now");
            }
            tokio::select! {
                () = stopping.stopped() => return,
                () = tokio::time::sleep(RETRY_AFTER) => {}
            }
        }
    }

    async fn follow_once(&self, parts: &Parts, failing: &mut bool) -> anyhow::Result<()> {
        // Who was told is read again each time: another process may have told meanwhile.
        let told = pg_liquidity::told(&parts.pool).await?;
        let thresholds = pg_liquidity::thresholds(&parts.pool).await?;
        {
            let mut board = self.board();
            board.set_told(told);
            board.set_thresholds(thresholds);
        }
        let accounts = parts.spi.watch().await?;
        let mut accounts = std::pin::pin!(accounts);
        let mut look = tokio::time::interval(THRESHOLDS_EVERY);
        loop {
            tokio::select! {
                told = accounts.next() => {
                    let Some(told) = told else { return Ok(()) };
                    let told = told?;
                    let mut board = self.board();
                    for account in &told {
                        board.set(account.ispb, account.available, account.blocked);
                    }
                    drop(board);
                    self.0.is_current.store(true, Ordering::Relaxed);
                    metrics::gauge!("settlement_balances_current").set(1);
                    if std::mem::take(failing) {
                        tracing::info!("balances are followed again");
                    }
                }
                _ = look.tick() => {
                    let thresholds = pg_liquidity::thresholds(&parts.pool).await?;
                    self.board().set_thresholds(thresholds);
                }
            }
            let version = self.board().version();
            self.0
                .news
                .send_if_modified(|known| std::mem::replace(known, version) != version);
            self.tell_crossings(parts).await?;
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
