//! Tasks that live and die together.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

/// Tells tasks that it is time to stop. Clones tell of the same stop.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

/// The other end of a [`Stopping`]. Dropped, it stops too.
#[derive(Debug)]
pub struct StopSwitch(watch::Sender<bool>);

impl StopSwitch {
    /// A switch that has not been thrown, and what it tells.
    #[must_use]
    pub fn new() -> (Self, Stopping) {
        let (switch, stopping) = watch::channel(false);
        (Self(switch), Stopping(stopping))
    }

    /// Tells everybody to stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stopping {
    /// Waits for the stop. Safe to drop and call again.
    pub async fn stopped(&self) {
        // An error means that the switch is gone, and with it whoever wanted us to run.
        drop(self.0.clone().wait_for(|stop| *stop).await);
    }

    /// Whether the stop has been told.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

/// What a task's end says. Before the stop every end is a failure.
pub trait TaskEnd: Send + 'static {
    /// What went wrong, if something did.
    fn failure(self) -> Option<String>;
}

impl TaskEnd for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Display + Send + 'static> TaskEnd for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|e| format!("{e:#}"))
    }
}

/// The tasks of a service: the first that ends, or a signal, stops all of them.
pub struct Lifecycle {
    tasks: JoinSet<Option<String>>,
    names: HashMap<Id, &'static str>,
    switch: StopSwitch,
    stopping: Stopping,
    grace: Duration,
}

impl Lifecycle {
    /// No tasks yet. `grace` is how long they may take to stop before they are aborted.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        let (switch, stopping) = StopSwitch::new();
        Self {
            tasks: JoinSet::new(),
            names: HashMap::new(),
            switch,
            stopping,
            grace,
        }
    }

    /// What tasks watch to stop in good order.
    #[must_use]
    pub fn stopping(&self) -> Stopping {
        self.stopping.clone()
    }

    /// Starts a task that is to run until the stop.
    pub fn spawn<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output: TaskEnd> + Send + 'static,
    {
        let handle = self.tasks.spawn(async move { task.await.failure() });
        self.names.insert(handle.id(), name);
    }

    /// Runs until SIGTERM, SIGINT or the end of any task; then stops all, waits for the grace, aborts.
    ///
    /// Success means: stopped by a signal, every task ended in good order and in time.
    ///
    /// # Panics
    /// When signal handlers cannot be installed, outside a runtime.
    pub async fn run(mut self) -> ExitCode {
        let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
        let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be handled");
        let mut clean = tokio::select! {
            _ = terminate.recv() => true,
            _ = interrupt.recv() => true,
            Some(ended) = self.tasks.join_next_with_id() => {
                self.report(ended, "before it was told to stop");
                false
            }
        };
        tracing::info!("stopping");
        self.switch.stop();
        let grace = tokio::time::sleep(self.grace);
        tokio::pin!(grace);
        loop {
            tokio::select! {
                ended = self.tasks.join_next_with_id() => match ended {
                    Some(ended) => clean &= self.report(ended, "while stopping"),
                    None => break,
                },
                () = &mut grace => {
                    let late: Vec<_> = self.names.values().copied().collect();
                    tracing::error!(tasks = ?late, "aborting tasks that did not stop in time");
                    self.tasks.shutdown().await;
                    clean = false;
                    break;
                }
                // Asked twice: somebody is in a hurry.
                _ = terminate.recv() => self.tasks.abort_all(),
                _ = interrupt.recv() => self.tasks.abort_all(),
            }
        }
        tracing::info!(clean, "stopped");
        if clean {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    /// Logs how a task ended; whether that was in good order.
    fn report(&mut self, ended: Result<(Id, Option<String>), JoinError>, when: &str) -> bool {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let task = self.names.remove(&id).unwrap_or("?");
        let failure = match ended {
            Ok((_, failure)) => failure,
            Err(e) if e.is_cancelled() => Some("aborted".to_owned()),
            Err(_) => Some("panicked".to_owned()), // the panic hook has logged where
        };
        match &failure {
            Some(failure) => tracing::error!(task, failure, "a task failed {when}"),
            None if self.stopping.is_stopped() => tracing::debug!(task, "a task stopped"),
            None => tracing::error!(task, "a task ended {when}"),
        }
        failure.is_none()
    }
}
