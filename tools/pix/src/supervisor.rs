//! Keeps processes running, and stops them in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pix_parts::{Process, ProcessSpec, READY_WITHIN, STOP_GRACE};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::backoff::Backoff;
use crate::board::Board;
use crate::up::say;

/// How often a process may end before its first readiness until we call it broken.
const FIRST_STARTS_MAX: u32 = 3;

/// How long a start may be silent until we say that we wait.
const PATIENCE: Duration = Duration::from_secs(3);

/// A process under supervision.
#[derive(Debug)]
pub(crate) struct Supervised {
    name: String,
    stop: watch::Sender<bool>,
    first: watch::Receiver<First>,
    task: JoinHandle<()>,
}

/// What became of the first start.
#[derive(Clone, Debug)]
enum First {
    Starting,
    Ready(Duration),
    Failed(String),
}

impl Supervised {
    /// Starts it, and again whenever it ends. `lost` hears its name when nobody does so any more: by a panic of ours.
    pub(crate) fn start(spec: ProcessSpec, board: Arc<Board>, lost: mpsc::Sender<String>) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (tell, first) = watch::channel(First::Starting);
        let name = spec.name.clone();
        let keeper = tokio::spawn(
            Keeper {
                spec,
                board,
                stopping,
                tell,
                ready_within: READY_WITHIN,
            }
            .keep(),
        );
        let kept = name.clone();
        let task = tokio::spawn(async move {
            if keeper.await.is_err() {
                // The first one lost stops everything; a full channel has heard of one.
                drop(lost.try_send(kept));
            }
        });
        Self {
            name,
            stop,
            first,
            task,
        }
    }

    /// Waits until it serves for the first time; gives how long that took from its start.
    ///
    /// # Errors
    /// One sentence, with the end of its log, when it does not.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<Duration> {
        loop {
            match self.first.borrow_and_update().clone() {
                First::Starting => {}
                First::Ready(took) => return Ok(took),
                First::Failed(why) => anyhow::bail!("{why}"),
            }
            match tokio::time::timeout(PATIENCE, self.first.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => anyhow::bail!(
                    "{} was stopped before it was ready: start again with `pix up`",
                    self.name
                ),
                Err(_) => say(&format!("still waiting for {}", self.name)),
            }
        }
    }

    /// Asks it to end and waits until it is gone. Call [`Self::ask_to_stop`] on several first to stop them together.
    pub(crate) async fn stopped(self) {
        self.ask_to_stop();
        // The task only ends by that request or by a panic, which has been printed.
        drop(self.task.await);
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn ask_to_stop(&self) {
        self.stop.send_replace(true);
    }
}

struct Keeper {
    spec: ProcessSpec,
    board: Arc<Board>,
    stopping: watch::Receiver<bool>,
    tell: watch::Sender<First>,
    ready_within: Duration,
}

impl Keeper {
    async fn keep(mut self) {
        let name = self.spec.name.clone();
        let mut backoff = Backoff::default();
        let mut has_served = false;
        let mut failed_starts = 0;
        loop {
            let started = Instant::now();
            let ended = match self.spec.spawn().await {
                Ok(process) => match self.watch(process, started, &mut has_served).await {
                    Some(how) => how,
                    None => return,
                },
                Err(error) => error.to_string(),
            };
            self.board
                .update(&name, |entry| (entry.pid, entry.ready) = (None, false));
            let wait = backoff.wait_after(started.elapsed());
            // However long each took: one that runs without ever serving is as broken as one that ends at once.
            failed_starts += 1;
            if !has_served && failed_starts >= FIRST_STARTS_MAX {
                self.tell.send_replace(First::Failed(ended));
                return;
            }
            // The error ends with the last lines of the log; on one line they would drown what matters.
            let how = ended.lines().next().unwrap_or_default();
            let how = how.split_once("; the end of ").map_or(how, |(how, _)| how);
            say(&format!("{how}; starting it again in {} ms", wait.as_millis()));
            tokio::select! {
                () = tokio::time::sleep(wait) => self.board.update(&name, |entry| entry.restarts += 1),
                () = asked_to_stop(&mut self.stopping) => return,
            }
        }
    }

    /// Until the process ends by itself (how it did) or was asked to (nothing).
    async fn watch(
        &mut self,
        mut process: Process,
        started: Instant,
        has_served: &mut bool,
    ) -> Option<String> {
        let name = &self.spec.name;
        self.board.update(name, |entry| entry.pid = process.pid());
        let ready = async {
            loop {
                match process.ready(self.ready_within).await {
                    // It has served before, and may be recovering just now: a restart would begin that anew.
                    Err(_) if *has_served && process.pid().is_some() => say(&format!(
                        "{name} has not answered for {} s; waiting on (its log: {})",
                        started.elapsed().as_secs(),
                        self.spec.log.display()
                    )),
                    known => return known,
                }
            }
        };
        tokio::select! {
            ready = ready => match ready {
                Ok(()) => {
                    self.board.update(name, |entry| entry.ready = true);
                    if *has_served {
                        say(&format!("{name} serves again after {} ms", started.elapsed().as_millis()));
                    }
                    *has_served = true;
                    self.tell.send_if_modified(|first| {
                        let is_first = matches!(first, First::Starting);
                        if is_first {
                            *first = First::Ready(started.elapsed());
                        }
                        is_first
                    });
                }
                Err(error) => {
                    stop(name, process).await;
                    return Some(error.to_string());
                }
            },
            () = asked_to_stop(&mut self.stopping) => {
                stop(name, process).await;
                return None;
            }
        }
        let ended = tokio::select! {
            ended = process.wait() => ended,
            () = asked_to_stop(&mut self.stopping) => {
                stop(name, process).await;
                return None;
            }
        };
        let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
        Some(format!(
            "{name} ended with {how} (its log: {})",
            self.spec.log.display()
        ))
    }
}

async fn asked_to_stop(stopping: &mut watch::Receiver<bool>) {
    // A dropped sender means that nobody supervises any more: stop as well.
    drop(stopping.wait_for(|asked| *asked).await);
}

async fn stop(name: &str, mut process: Process) {
    let asked = Instant::now();
    if let Err(error) = process.stop(STOP_GRACE).await {
        say(&error.to_string());
    }
    if asked.elapsed() >= STOP_GRACE {
        say(&format!(
            "{name} did not end within {} s and was killed",
            STOP_GRACE.as_secs()
        ));
    } else if asked.elapsed() >= Duration::from_secs(2) {
        say(&format!("{name} took {} ms to end", asked.elapsed().as_millis()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pix_parts::{Probe, Signal};

    use super::*;
    use crate::place::Place;

    /// A process that runs and never answers.
    fn mute(folder: &std::path::Path, ready_within: Duration) -> (Keeper, watch::Sender<bool>) {
        let place = Place::find(&folder.join("x"), None).expect("find");
        place.create().expect("create");
        let spec = ProcessSpec {
            name: "mute".into(),
            program: "/bin/sleep".into(),
            args: vec!["1000".into()],
            env: BTreeMap::new(),
            dir: None,
            run_as: None,
            stop_signal: Signal::Terminate,
            log: place.path("logs/mute.log"),
            probe: Probe::Http {
                address: ([127, 0, 0, 1], 1).into(),
                path: "/readyz".into(),
            },
        };
        let board = Arc::new(Board::new(place));
        board.enter("mute", 1, true);
        let (stop, stopping) = watch::channel(false);
        let keeper = Keeper {
            spec,
            board,
            stopping,
            tell: watch::channel(First::Starting).0,
            ready_within,
        };
        (keeper, stop)
    }

    #[tokio::test]
    async fn one_that_runs_and_never_serves_is_called_broken() {
        let folder = tempfile::tempdir().expect("tempdir");
        let (keeper, _stop) = mute(folder.path(), Duration::from_millis(10));
        let first = keeper.tell.subscribe();
        keeper.keep().await;
        let First::Failed(why) = first.borrow().clone() else {
            panic!("{first:?}")
        };
        assert!(why.starts_with("mute did not answer in"), "{why}");
    }

    #[tokio::test]
    async fn one_that_has_served_may_take_its_time() {
        let folder = tempfile::tempdir().expect("tempdir");
        let (mut keeper, stop) = mute(folder.path(), Duration::from_millis(10));
        let process = keeper.spec.spawn().await.expect("sleep starts");
        let mut has_served = true;
        let watched = keeper.watch(process, Instant::now(), &mut has_served);
        let waited = tokio::time::timeout(Duration::from_millis(100), watched).await;
        assert!(waited.is_err(), "ten waits in vain: {waited:?}");
        drop(stop);
    }
}
