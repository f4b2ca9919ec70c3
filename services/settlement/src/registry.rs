//! The registry of this process: as the database has it, changed by one at a time, told to whoever follows it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pix_domain::Ispb;
use pix_runtime::pg::DbClock;
use pix_runtime::{Clock as _, Stopping};
use settlement_core::certificate::Use;
use settlement_core::funding::Order;
use settlement_core::registry::{Command, Decision, Participant, Refusal, Registry, State};
use sqlx::PgPool;
use tokio::sync::{Mutex, Notify, watch};

use crate::adapters::pg::{StoreError, in_time};
use crate::adapters::pg_funding;
use crate::adapters::pg_registry::{self, Audit, Write};
use crate::events;

/// How often the database is looked at: another process may have written, or our own COMMIT have got no answer.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often metrics are shown although nothing changed: certificates grow older.
const SHOW_EVERY: Duration = Duration::from_secs(10);

/// Why a change did not happen, or may have happened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The registry says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The world broke.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The registry.
pub(crate) struct Registrar {
    pool: PgPool,
    clock: DbClock,
    /// Its name.
    id: String,
    current: ArcSwap<Registry>,
    /// The last version that [`Self::current`] has.
    head: watch::Sender<i64>,
    /// Whoever changes something; what waits here waits in no connection.
    writing: Mutex<()>,
    /// There are events to publish.
    told: Arc<Notify>,
}

impl Registrar {
    /// Reads what the database has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn start(pool: PgPool, clock: DbClock, told: Arc<Notify>) -> Result<Self, StoreError> {
        let (id, registry) = pg_registry::load(&pool).await?;
        Ok(Self {
            pool,
            clock,
            id,
            head: watch::Sender::new(registry.version()),
            current: ArcSwap::from_pointee(registry),
            writing: Mutex::new(()),
            told,
        })
    }

    /// The registry's name.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Who takes part now.
    pub(crate) fn current(&self) -> Arc<Registry> {
        self.current.load_full()
    }

    /// The last version, and each new one.
    pub(crate) fn heads(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }

    /// Does what is ordered; the participant as it is then. What was done already is not done again.
    ///
    /// # Errors
    /// [`Failure`]; after a [`StoreError::Unknown`] it is safe to ask again.
    pub(crate) async fn change(
        &self,
        command: &Command,
        ordered_by: &str,
    ) -> Result<Arc<Participant>, Failure> {
        in_time(async {
            let _turn = self.writing.lock().await;
            let mut next = Registry::clone(&self.current.load());
            let mut write = Write::begin(&self.pool, &mut next).await?;
            let changed = self.stage(&mut write, &mut next, command, ordered_by).await?;
            write.commit().await?;
            self.install(next);
            Ok(changed)
        })
        .await
    }

    /// Does all of it, when nobody takes part yet; whether it did.
    ///
    /// # Errors
    /// [`Failure`]; then it did nothing, or all.
    pub(crate) async fn import(
        &self,
        commands: &[Command],
        openings: &[Order],
        ordered_by: &str,
    ) -> Result<bool, Failure> {
        let _turn = self.writing.lock().await;
        let mut next = Registry::clone(&self.current.load());
        let mut write = Write::begin(&self.pool, &mut next).await?;
        let is_empty = next.version() == 0;
        if is_empty {
            for command in commands {
                self.stage(&mut write, &mut next, command, ordered_by).await?;
            }
            for order in openings {
                pg_funding::insert(write.connection(), order, ordered_by, self.clock.now()).await?;
            }
        }
        write.commit().await?;
        self.install(next);
        Ok(is_empty)
    }

    /// Decides and writes, without COMMIT.
    async fn stage(
        &self,
        write: &mut Write,
        next: &mut Registry,
        command: &Command,
        ordered_by: &str,
    ) -> Result<Arc<Participant>, Failure> {
        let now = self.clock.now();
        let participant = match next.decide(command, now)? {
            Decision::AsItIs(participant) => return Ok(participant),
            Decision::Change(participant) => participant,
        };
        let audit = Audit {
            kind: command.kind(),
            ordered_by,
            reason: command.reason().map(|reason| reason.as_str()),
            at: now,
        };
        let event = events::participant_changed(&participant);
        write.change(&participant, &audit, &event).await?;
        metrics::counter!("settlement_registry_changes_total", "kind" => command.kind()).increment(1);
        let applied = next.apply(Arc::clone(&participant));
        applied.expect("a decision makes the next version");
        Ok(participant)
    }

    /// Makes it what everybody sees, unless that is newer.
    fn install(&self, next: Registry) {
        let version = next.version();
        let next = Arc::new(next);
        self.current.rcu(|current| match current.version() < version {
            true => Arc::clone(&next),
            false => Arc::clone(current),
        });
        self.head.send_if_modified(|head| {
            let is_news = *head < version;
            *head = version.max(*head);
            is_news
        });
        self.told.notify_one();
    }

    /// Reads what others wrote, until the stop.
    ///
    /// # Errors
    /// When the database turns out to be another one.
    pub(crate) async fn follow(self: Arc<Self>, stopping: Stopping) -> Result<(), StoreError> {
        let mut failing = false;
        let mut shown: Option<(i64, Instant)> = None;
        loop {
            let version = self.current.load().version();
            if shown.is_none_or(|(last, at)| last != version || at.elapsed() >= SHOW_EVERY) {
                self.show();
                shown = Some((version, Instant::now()));
            }
            tokio::select! {
                () = stopping.stopped() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            match in_time(self.look()).await {
                Ok(()) => failing = false,
                Err(error @ StoreError::Corrupt { .. }) => return Err(error),
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "the registry cannot be read; what is known goes on");
                    }
                    failing = true;
                }
            }
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        let known = self.current.load_full();
        let head = pg_registry::head(&self.pool).await?;
        // Read before the head, so it can only have grown since.
        if head < known.version() {
            return Err(StoreError::Corrupt {
                table: "registry",
                what: format!(
                    "it ends at change {head}, and change {} was there",
                    known.version()
                ),
            });
        }
        let mut next = Registry::clone(&known);
        while next.version() < head {
            let page = pg_registry::changes_above(&self.pool, next.version()).await?;
            if page.is_empty() {
                return Ok(());
            }
            pg_registry::install(&mut next, &page)?;
        }
        if next.version() > known.version() {
            self.install(next);
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "counts and seconds for people")]
    fn show(&self) {
        let (registry, now) = (self.current.load(), self.clock.now());
        metrics::gauge!("settlement_registry_version").set(registry.version() as f64);
        for state in [State::Active, State::Suspended] {
            let count = registry.iter().filter(|one| one.state == state).count();
            metrics::gauge!("settlement_participants", "state" => state.as_str()).set(count as f64);
        }
        for participant in registry.iter().filter(|one| one.is_direct()) {
            for usage in [Use::Channel, Use::Signature] {
                let last = participant.good_until(usage, now);
                let left = last.map_or(0.0, |last| last.since(now).as_secs_f64());
                let ispb = participant.ispb.to_string();
                metrics::gauge!(
                    "settlement_certificate_expires_seconds", "ispb" => ispb, "use" => usage.as_str()
                )
                .set(left);
            }
        }
    }

    /// The participant of this ISPB.
    pub(crate) fn get(&self, ispb: Ispb) -> Option<Arc<Participant>> {
        self.current.load().get(ispb).cloned()
    }
}
