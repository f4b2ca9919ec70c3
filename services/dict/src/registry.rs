//! The participants as this process knows them now.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pix_domain::Ispb;
use pix_participants::{Directory, Participant};
use pix_runtime::Stopping;

/// How often the seed file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The latest reading of the seed file; shared.
pub(crate) type Current = Arc<ArcSwap<Directory>>;

/// Why one participant may not act for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotFor {
    /// Nobody has this ISPB, or it is not active.
    Invalid,
    /// It is settled by somebody else.
    Foreign,
}

/// The participant `wanted`, when it is `caller` itself or one that `caller` settles.
pub(crate) fn acts_for(directory: &Directory, caller: Ispb, wanted: Ispb) -> Result<&Participant, NotFor> {
    let participant = directory
        .by_ispb(wanted)
        .filter(|participant| participant.active)
        .ok_or(NotFor::Invalid)?;
    match participant.ispb == caller || participant.settler == caller {
        true => Ok(participant),
        false => Err(NotFor::Foreign),
    }
}

/// Reads the file and the certificates it names again and again; faults change nothing.
pub(crate) async fn follow(path: PathBuf, current: Current, stopping: Stopping) {
    let mut faulty = false;
    loop {
        tokio::select! {
            () = stopping.stopped() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let (file, known) = (path.clone(), current.load().version().to_owned());
        let read = tokio::task::spawn_blocking(move || Directory::load(&file)).await;
        match read {
            Ok(Ok(directory)) if directory.version() == known => faulty = false,
            Ok(Ok(directory)) => {
                faulty = false;
                tracing::info!(
                    participants = directory.iter().count(),
                    "participants were read again"
                );
                current.store(Arc::new(directory));
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
