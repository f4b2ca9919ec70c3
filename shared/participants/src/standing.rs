//! How well a process knows the participants: for operators, for readiness, for the doors that wait for it.

use pix_runtime::Stopping;
use pix_runtime::metric::{Label, Metric};
use serde::Serialize;
use tokio::sync::watch;

/// What a service shows of it.
pub static METRICS: &[Metric] = &[
    Metric::gauge(
        "participants_followed",
        "0 or 1",
        "Whether changes of participants arrive at present.",
    ),
    Metric::gauge(
        "participants_version",
        "changes",
        "The last change of the registry that the service's copy holds.",
    ),
    Metric::counter(
        "participants_follow_faults_total",
        "calls",
        "Calls to the settlement service for changes that came to an end, by why.",
    )
    .by(&[Label::of(
        "why",
        &["away", "foreign", "gap", "unreadable", "store"],
    )]),
];

/// Where the participants come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// `participants.file`
    File,
    /// `settlement.url`
    Settlement,
}

/// The state of what is known, as `/status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Where it comes from.
    pub origin: Origin,
    /// The registry that it is a copy of, once one is known.
    pub registry: Option<String>,
    /// Whether changes arrive at present.
    pub followed: bool,
    /// Why not.
    pub fault: Option<String>,
    /// Whether anybody can be judged by it: false until a copy has been filled.
    pub known: bool,
}

/// The present state; clones show the same.
#[derive(Clone, Debug)]
pub struct Standing(watch::Receiver<State>);

impl Standing {
    /// As it is now.
    #[must_use]
    pub fn now(&self) -> State {
        self.0.borrow().clone()
    }

    /// Waits until the participants are known. For ever, when they never will be.
    pub async fn known(&self) {
        if self.0.clone().wait_for(|state| state.known).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Serves once the participants are known: whoever connects before waits, and nobody is taken for a stranger.
    pub async fn once_known(self, serve: impl Future<Output = ()>, stopping: Stopping) {
        tokio::select! {
            () = stopping.stopped() => {}
            () = self.known() => serve.await,
        }
    }
}

/// Where the state is told.
pub(crate) struct Telling(watch::Sender<State>);

impl Telling {
    pub(crate) fn new(state: State) -> (Self, Standing) {
        let (telling, told) = watch::channel(state);
        let telling = Self(telling);
        telling.show();
        (telling, Standing(told))
    }

    pub(crate) fn tell(&self, change: impl FnOnce(&mut State)) {
        self.0.send_modify(change);
        self.show();
    }

    pub(crate) fn is_known(&self) -> bool {
        self.0.borrow().known
    }

    fn show(&self) {
        let followed = self.0.borrow().followed;
        metrics::gauge!("participants_followed").set(f64::from(u8::from(followed)));
    }
}
