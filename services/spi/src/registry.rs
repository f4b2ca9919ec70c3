//! The participants as this process knows them now.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pix_domain::Money;
use pix_participants::Directory;
use pix_runtime::Stopping;
use spi_core::book::Command;
use spi_core::participants::{Participant, Participants};
use tokio::sync::mpsc;

use crate::book::Job;

/// How often the seed file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One reading of the seed file.
pub(crate) struct Registry {
    pub(crate) directory: Directory,
    pub(crate) participants: Participants,
}

/// The latest reading; shared.
pub(crate) type Current = Arc<ArcSwap<Registry>>;

impl Registry {
    /// Reads the seed file.
    ///
    /// # Errors
    /// Every fault of the file.
    pub(crate) fn load(path: &Path) -> Result<Self, pix_participants::SeedFaults> {
        let directory = Directory::load(path)?;
        let participants = directory
            .iter()
            .map(|p| {
                (
                    p.ispb,
                    Participant {
                        settler: p.settler,
                        active: p.active,
                    },
                )
            })
            .collect();
        Ok(Self {
            directory,
            participants,
        })
    }

    /// The Conta PI that every direct participant needs, as commands for the book.
    pub(crate) fn accounts(&self) -> Vec<Job> {
        let direct = self.directory.iter().filter(|p| p.is_direct());
        direct
            .map(|p| {
                Job::internal(Command::Open {
                    account: p.ispb,
                    balance: p.opening_balance.unwrap_or(Money::ZERO),
                })
            })
            .collect()
    }
}

/// Reads the file and the certificates it names again and again; faults change nothing.
pub(crate) async fn follow(path: PathBuf, current: Current, book: mpsc::Sender<Job>, stopping: Stopping) {
    let mut faulty = false;
    loop {
        tokio::select! {
            () = stopping.stopped() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let (file, known) = (path.clone(), current.load().directory.version().to_owned());
        let read = tokio::task::spawn_blocking(move || Registry::load(&file)).await;
        match read {
            Ok(Ok(registry)) if registry.directory.version() == known => faulty = false,
            Ok(Ok(registry)) => {
                faulty = false;
                tracing::info!(
                    participants = registry.directory.iter().count(),
                    "participants were read again"
                );
                for job in registry.accounts() {
                    if book.send(job).await.is_err() {
                        return;
                    }
                }
                current.store(Arc::new(registry));
            }
            Ok(Err(faults)) => {
                if !faulty {
                    tracing::error!(%faults, "the participants file has faults; the last good one stays");
                }
                faulty = true;
            }
            Err(error) => tracing::error!(%error, "the participants file could not be read"),
        }
    }
}
