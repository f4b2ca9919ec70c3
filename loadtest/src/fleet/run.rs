//! A run: started, watched, brought to its end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pix_domain::Timestamp;
use pix_runtime::{Clock as _, SystemClock};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use super::{Bank, Directory, pay, read};
use crate::ledger::{Ledger, Tally};
use crate::plan::{Lookups, Sign};
use crate::recorder::{Figures, Lately, Recorder};
use crate::schedule::Order;

/// Between the last start and the last end: a payment lives 40 s, then its end has to travel.
const DRAIN_WITHIN: Duration = Duration::from_secs(75);
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(100);
/// Messages on their way at once, of the whole fleet; far above what a switch lets wait.
const IN_FLIGHT_MAX: usize = 20_000;

/// What is to be done.
pub(crate) struct Load {
    /// In order of time.
    pub(crate) orders: Vec<Order>,
    pub(crate) what: What,
    pub(crate) seed: u64,
    /// How long payments are started, microseconds.
    pub(crate) span: u64,
    /// Of it, what does not count.
    pub(crate) warm_up: u64,
    /// Where in it a burst lies, microseconds; empty without one.
    pub(crate) burst: std::ops::Range<u64>,
    /// Each key is looked up before one is again.
    pub(crate) keys_in_turn: bool,
    /// Each waits for the one before.
    pub(crate) one_at_a_time: bool,
    /// Keys that are paid to, or looked up.
    pub(crate) directory: Directory,
}

/// Which of the two interfaces is under load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum What {
    /// ICOM.
    Payments {
        sign: Sign,
        lookups: Lookups,
        answer_delay: Duration,
        /// Of the payments, those that their receiver refuses.
        refuse: f64,
    },
    /// The DICT alone.
    Lookups,
}

/// A run under way. Times are microseconds from its beginning.
pub(crate) struct Run {
    pub(crate) load: Load,
    pub(crate) ledger: Ledger,
    began: Instant,
    began_at: Timestamp,
    recorder: Mutex<Recorder>,
    errors: Mutex<BTreeMap<String, u64>>,
    pub(crate) unbelievable: AtomicU64,
    pub(crate) repeated: AtomicU64,
    pub(crate) repeated_otherwise: AtomicU64,
    pub(crate) delivered_again: AtomicU64,
    pub(crate) started_late: AtomicU64,
    pub(crate) not_started: AtomicU64,
    pub(crate) asked: AtomicU64,
    pub(crate) found: AtomicU64,
    /// A payment of one at a time has ended.
    pub(crate) ended: Notify,
}

/// What a run came to.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) figures: Figures,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) unbelievable: u64,
    pub(crate) repeated: u64,
    pub(crate) repeated_otherwise: u64,
    pub(crate) delivered_again: u64,
    pub(crate) started_late: u64,
    pub(crate) not_started: u64,
    pub(crate) asked: u64,
    pub(crate) found: u64,
}

impl Run {
    fn new(load: Load, entropy: u64, begins_in: Duration) -> Self {
        Self {
            ledger: Ledger::new(&load.orders, load.seed, entropy),
            recorder: Mutex::new(Recorder::new(load.span, load.warm_up).with_burst(load.burst.clone())),
            began: Instant::now() + begins_in,
            began_at: SystemClock.now().plus(begins_in),
            errors: Mutex::default(),
            unbelievable: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            repeated_otherwise: AtomicU64::new(0),
            delivered_again: AtomicU64::new(0),
            started_late: AtomicU64::new(0),
            not_started: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            found: AtomicU64::new(0),
            ended: Notify::new(),
            load,
        }
    }

    /// Microseconds from the beginning; zero before it.
    pub(crate) fn now(&self) -> u64 {
        micros(self.began.elapsed())
    }

    /// When `at` is, for who sleeps.
    pub(crate) fn instant(&self, at: u64) -> tokio::time::Instant {
        (self.began + Duration::from_micros(at)).into()
    }

    /// When `at` is, on the calendar.
    pub(crate) fn timestamp(&self, at: u64) -> Timestamp {
        self.began_at.plus(Duration::from_micros(at)).to_millis()
    }

    pub(crate) fn recorder<T>(&self, note: impl FnOnce(&mut Recorder) -> T) -> T {
        note(&mut self.recorder.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn error(&self, reason: impl Into<String>, payments: u64) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        *errors.entry(reason.into()).or_default() += payments;
    }

    pub(crate) fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last whole slice of time.
    pub(crate) fn lately(&self) -> Lately {
        let now = self.now();
        self.recorder(|recorder| recorder.lately(now))
    }

    fn outcome(&self, banks: usize) -> Outcome {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Outcome {
            tally: self.ledger.tally(banks),
            figures: self.recorder(|recorder| recorder.finish(self.load.span)),
            errors: self.errors(),
            unbelievable: of(&self.unbelievable),
            repeated: of(&self.repeated),
            repeated_otherwise: of(&self.repeated_otherwise),
            delivered_again: of(&self.delivered_again),
            started_late: of(&self.started_late),
            not_started: of(&self.not_started),
            asked: of(&self.asked),
            found: of(&self.found),
        }
    }
}

/// What the fleet's tasks share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) banks: Arc<[Bank]>,
    /// Places to send, of each bank.
    pub(crate) posts: Arc<[Arc<Semaphore>]>,
    current: Arc<RwLock<Option<Arc<Run>>>>,
}

impl Shared {
    /// The run that messages belong to; none before the first.
    pub(crate) fn current(&self) -> Option<Arc<Run>> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The banks, reading their streams.
pub(crate) struct Fleet {
    shared: Shared,
    stop: watch::Sender<bool>,
    readers: JoinSet<()>,
}

impl Fleet {
    /// Begins to read `streams` streams of each bank; each may send `connections` messages at once.
    pub(crate) fn start(banks: Vec<Bank>, streams: usize, connections: usize) -> Self {
        let posts = banks.iter().map(|_| Arc::new(Semaphore::new(connections)));
        let shared = Shared {
            posts: posts.collect(),
            banks: banks.into(),
            current: Arc::default(),
        };
        let (stop, stopping) = watch::channel(false);
        let mut readers = JoinSet::new();
        for index in 0..shared.banks.len() {
            for _ in 0..streams {
                let index = u16::try_from(index).expect("two hundred banks at most");
                readers.spawn(read::read(shared.clone(), index, stopping.clone()));
            }
        }
        Self {
            shared,
            stop,
            readers,
        }
    }

    pub(crate) fn banks(&self) -> &[Bank] {
        &self.shared.banks
    }

    /// Runs `load` to its end. `watch` is given the run while it goes on.
    ///
    /// # Errors
    /// When orders cannot be signed ahead in time.
    pub(crate) async fn run(
        &self,
        load: Load,
        entropy: u64,
        watch: impl AsyncFnOnce(Arc<Run>),
    ) -> anyhow::Result<Outcome> {
        pay::open_connections(&self.shared, &load).await;
        let (run, ahead) = self.prepare(load, entropy).await?;
        *self
            .shared
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&run));
        let work = async {
            pay::all(&self.shared, &run, ahead, Arc::new(Semaphore::new(IN_FLIGHT_MAX))).await;
            self.drained(&run).await;
        };
        tokio::select! {
            () = work => {}
            // Whoever watches goes on until the work is done.
            () = async { watch(Arc::clone(&run)).await; std::future::pending::<()>().await } => {}
        }
        Ok(run.outcome(self.shared.banks.len()))
    }

    async fn prepare(&self, load: Load, entropy: u64) -> anyhow::Result<(Arc<Run>, Option<Vec<Bytes>>)> {
        let signs_ahead = matches!(
            load.what,
            What::Payments {
                sign: Sign::Ahead,
                ..
            }
        );
        if !signs_ahead {
            return Ok((Arc::new(Run::new(load, entropy, Duration::ZERO)), None));
        }
        let begins_in = pay::time_to_sign(&self.shared, &load)?;
        let run = Arc::new(Run::new(load, entropy, begins_in));
        let (shared, all) = (self.shared.clone(), Arc::clone(&run));
        let signed = tokio::task::spawn_blocking(move || pay::sign_ahead(&shared, &all)).await?;
        anyhow::ensure!(
            Instant::now() < run.began,
            "signing ahead took longer than announced: something else used the processors; try again"
        );
        Ok((run, Some(signed)))
    }

    /// Until every payment has its end, or cannot have one any more.
    async fn drained(&self, run: &Run) {
        if run.load.what == What::Lookups {
            return;
        }
        let began = Instant::now();
        while began.elapsed() < DRAIN_WITHIN {
            if run.ledger.tally(self.shared.banks.len()).is_over() {
                return;
            }
            tokio::time::sleep(DRAIN_LOOK_EVERY).await;
        }
    }

    /// Confirms what was read, and leaves.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.readers.join_next().await.is_some() {}
    }
}

pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).expect("a run ends before half a million years are over")
}
