//! Asks the DICT what is to be asked about the customers' keys, until it has answered, and compares.
//!
//! Starting up is reconciliation: every open question is found in the store and asked, with the RequestId it
//! always had. Now and then every key is compared with the DICT, two hundred at a time: one that the DICT has no more
//! is registered anew, and one that it has although it ended here is removed there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bank_core::{
    DictRefusal, Doubt, Heard, KeyEvent, Question, Said, is_plausible_loss, judge_creation, judge_removal,
};
use pix_domain::{EndToEndId, Ispb, Key, RequestId};
use pix_runtime::{Clock, Ids, Stopping};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use crate::adapters::pg::{self, Comparable, OpenQuestion};
use crate::backoff::Backoff;
use crate::dict::{Directory, LookupFailure};
use crate::work::{KeyWork, Outcome, Work};
use crate::writer::{Bells, Bookkeeper};

/// Questions on their way at once.
const AT_ONCE: usize = 8;
/// Questions that wait here for their turn or their next attempt; those beyond wait in the store.
const WAITING_MAX: usize = 16_384;
/// From this attempt on, each failure is worth a warning.
const WARN_FROM: u32 = 3;
/// Whatever is open and rings no bell is found within a second.
const SWEEP: Duration = Duration::from_secs(1);
/// Before a question whose answer cannot be booked goes again.
const POISON_PAUSE: Duration = Duration::from_secs(60);
/// A question that we gave up can still arrive for so long: the DICT drops one whose sender went away, at the latest
/// when its own time for a request is over, which is shorter.
const LANDS_WITHIN: Duration = Duration::from_secs(10);
/// Keys of one checkKeys, as many as it takes.
const CHECK_MAX: usize = 200;
/// Between two checkKeys: the DICT refills their bucket with 70 tokens a minute, and people need some too.
const CHECK_PAUSE: Duration = Duration::from_secs(2);
/// From one comparison of all keys to the next.
const COMPARE_EVERY: Duration = Duration::from_secs(600);

/// Keeps the bank's copy of its keys and the DICT the same.
pub(crate) struct Registrar<C> {
    pub(crate) directory: Directory,
    pub(crate) ours: Ispb,
    pub(crate) store: pg::Reader,
    pub(crate) books: Bookkeeper,
    pub(crate) bells: Bells,
    pub(crate) clock: C,
    pub(crate) ids: Ids,
}

/// A question that waits for its turn, or for its next attempt.
struct Waiting {
    open: OpenQuestion,
    backoff: Backoff,
    attempts: u32,
    /// When an attempt last ended without an answer.
    doubted: Option<Instant>,
}

/// What there is to do where an attempt was not the last.
enum Next {
    /// Ask again; this attempt may have been carried out.
    InDoubt,
    /// Ask again.
    Again,
    /// Ask again when no attempt in doubt can arrive any more.
    NotYet,
}

impl Next {
    fn again(unknown: bool) -> Self {
        if unknown { Self::InDoubt } else { Self::Again }
    }
}

impl Waiting {
    /// What the store says may have left may have left a moment ago.
    fn new(open: OpenQuestion, ids: &Ids) -> Self {
        Self {
            doubted: open.sent.then(Instant::now),
            backoff: Backoff::new(ids.clone()),
            attempts: 0,
            open,
        }
    }

    /// How long an attempt in doubt can still arrive.
    fn landing(&self) -> Duration {
        self.doubted
            .map_or(Duration::ZERO, |at| LANDS_WITHIN.saturating_sub(at.elapsed()))
    }

    fn doubt(&self) -> Doubt {
        match self.doubted {
            None => Doubt::None,
            Some(_) if !self.landing().is_zero() => Doubt::Fresh,
            Some(_) => Doubt::Old,
        }
    }
}

impl<C: Clock + 'static> Registrar<C> {
    /// Asks until the stop. What is open then is asked again after the next start.
    pub(crate) async fn run(self: Arc<Self>, stopping: Stopping) {
        let mut backoff = Backoff::new(self.ids.clone());
        let mut tasks = JoinSet::new();
        let mut asking: HashMap<Id, RequestId> = HashMap::new();
        // In the order of their turns, so that whoever waits longest is asked first.
        let mut waiting: BTreeMap<(Instant, RequestId), Waiting> = BTreeMap::new();
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut look = true;
        while !stopping.is_stopped() {
            if std::mem::take(&mut look) {
                let here = asking.values().chain(waiting.keys().map(|(_, id)| id));
                let here: Vec<String> = here.map(ToString::to_string).collect();
                match self.store.questions(&here, WAITING_MAX - waiting.len()).await {
                    Ok(open) => {
                        backoff.reset();
                        let now = Instant::now();
                        for open in open {
                            let id = open.registration.request_id;
                            waiting.insert((now, id), Waiting::new(open, &self.ids));
                        }
                    }
                    Err(e) => {
                        tracing::warn!(error = %e, "cannot read what the DICT has to be asked");
                        backoff.wait(None, &stopping).await;
                        look = true;
                    }
                }
            }
            while asking.len() < AT_ONCE
                && let Some(next) = waiting.first_entry()
                && next.key().0 <= Instant::now()
            {
                let ((_, id), next) = next.remove_entry();
                let attempt = self.clone().attempt(next, stopping.clone());
                asking.insert(tasks.spawn(attempt).id(), id);
            }
            let open = asking.len() + waiting.len();
            metrics::gauge!("bank_key_questions").set(u32::try_from(open).unwrap_or(u32::MAX));
            let due = waiting.first_key_value().map(|((due, _), _)| *due);
            tokio::select! {
                () = stopping.stopped() => {}
                () = self.bells.keys.notified() => look = true,
                _ = sweep.tick() => look = true,
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)),
                    if due.is_some() && asking.len() < AT_ONCE => {}
                Some(ended) = tasks.join_next_with_id() => {
                    let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, _)| *id);
                    let asked = asking.remove(&id);
                    if let (Some(request), Ok((_, Some((pause, again))))) = (asked, ended) {
                        waiting.insert((Instant::now() + pause, request), again);
                    }
                }
            }
        }
    }

    /// Asks once and books the answer; gives when to ask again where there is none, or none that can be booked.
    #[tracing::instrument(name = "key", skip_all, fields(key.request_id = %waiting.open.registration.request_id))]
    async fn attempt(
        self: Arc<Self>,
        mut waiting: Waiting,
        stopping: Stopping,
    ) -> Option<(Duration, Waiting)> {
        let id = waiting.open.registration.request_id;
        // Before the first question leaves, the store says that it may have.
        if !waiting.open.sent {
            if !self.book(id, KeyEvent::Asking).await {
                return Some((POISON_PAUSE, waiting));
            }
            waiting.open.sent = true;
        }
        let doubt = waiting.doubt();
        let heard = tokio::select! {
            () = stopping.stopped() => return None,
            heard = self.ask_once(&waiting.open, doubt) => heard,
        };
        match heard {
            Ok(event) => {
                tell(id, &event);
                let booked = self.book(id, event).await;
                return (!booked).then_some((POISON_PAUSE, waiting));
            }
            Err(Next::NotYet) => return Some((waiting.landing(), waiting)),
            Err(Next::InDoubt) => waiting.doubted = Some(Instant::now()),
            Err(Next::Again) => {}
        }
        waiting.attempts += 1;
        if waiting.attempts >= WARN_FROM {
            let attempts = waiting.attempts;
            tracing::warn!(attempts, "the DICT has not answered about a key yet");
        }
        Some((waiting.backoff.pause(None), waiting))
    }

    /// Asks once: what happened, or what to do next.
    async fn ask_once(&self, open: &OpenQuestion, doubt: Doubt) -> Result<KeyEvent, Next> {
        let OpenQuestion {
            registration,
            account,
            ..
        } = open;
        match (open.question, &registration.key) {
            (Question::Create, key) => {
                let said = self.directory.create(registration, account, open.opened_at);
                let said = said.await;
                count("create", &said);
                let refused = |why| KeyEvent::Refused {
                    why,
                    doubt: doubt != Doubt::None,
                };
                match judge_creation(said, doubt) {
                    Heard::Done((key, stored_at)) => Ok(KeyEvent::Created { key, stored_at }),
                    Heard::Refused(why) => Ok(refused(why)),
                    Heard::InTheWay => match key {
                        Some(key) => self.clear(key).await.map(refused),
                        None => Ok(refused(DictRefusal::AlreadyExists)),
                    },
                    Heard::NotYet => Err(Next::NotYet),
                    Heard::Again { unknown } => Err(Next::again(unknown)),
                }
            }
            (Question::Remove, Some(key)) => {
                let now = self.clock.now().to_millis();
                let id = EndToEndId::new(self.ours, now, self.ids.u128());
                let said = self.directory.remove(key, account.tax_id, id).await;
                count("remove", &said);
                match judge_removal(said, doubt) {
                    Heard::Done(()) => Ok(KeyEvent::Removed),
                    Heard::Refused(why) => Ok(KeyEvent::RemovalRefused(why)),
                    Heard::NotYet => Err(Next::NotYet),
                    Heard::Again { unknown } => Err(Next::again(unknown)),
                    Heard::InTheWay => Err(Next::Again),
                }
            }
            // The store's own rule keeps this from happening: only a requested key may be unknown.
            (Question::Remove, None) => Ok(KeyEvent::RemovalRefused(DictRefusal::NotFound)),
        }
    }

    /// Removes an entry of this bank that the copy knows nothing of, so that the registration can go on; or why the
    /// DICT keeps it.
    async fn clear(&self, key: &Key) -> Result<DictRefusal, Next> {
        tracing::warn!(
            "the DICT has a key that the bank's copy does not know; it is removed and registered anew"
        );
        let said = self.directory.clear(key).await;
        count("clear", &said);
        match judge_removal(said, Doubt::None) {
            Heard::Refused(why) => Ok(why),
            Heard::Done(()) | Heard::InTheWay | Heard::NotYet | Heard::Again { .. } => Err(Next::Again),
        }
    }

    /// Whether it is in the book; not so when the database refuses it, or the bank stops.
    async fn book(&self, id: RequestId, event: KeyEvent) -> bool {
        let work = Work::Keys(Box::new(KeyWork::Heard(id, event)));
        let booked = self.books.book(vec![work]).await;
        !matches!(booked.as_deref(), None | Some([Outcome::Poisoned]))
    }

    /// Compares every key with the DICT, at once and from time to time, until the stop.
    pub(crate) async fn compare(self: Arc<Self>, stopping: Stopping) {
        let mut backoff = Backoff::new(self.ids.clone());
        while !stopping.is_stopped() {
            let mut round = Round::default();
            while !round.is_over {
                match self.compare_batch(&mut round).await {
                    Ok(()) => backoff.reset(),
                    Err(why) => {
                        tracing::warn!(why, "cannot compare the bank's keys with the DICT yet");
                        if !backoff.wait(None, &stopping).await {
                            return;
                        }
                        continue;
                    }
                }
                let pause = if round.is_over {
                    Duration::ZERO
                } else {
                    CHECK_PAUSE
                };
                tokio::select! {
                    () = stopping.stopped() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
            self.repair(round).await;
            tokio::select! {
                () = stopping.stopped() => return,
                () = tokio::time::sleep(COMPARE_EVERY) => {}
            }
        }
    }

    /// The next two hundred. That somebody has an active key is all that this tells of it: whose it is, the
    /// reconciliation by content identifiers will.
    async fn compare_batch(&self, round: &mut Round) -> Result<(), String> {
        let batch = self.store.comparable(&round.after, CHECK_MAX).await;
        let batch = batch.map_err(|e| e.to_string())?;
        let Some(last) = batch.last() else {
            round.is_over = true;
            return Ok(());
        };
        let keys: Vec<String> = batch.iter().map(|one| one.key.as_str().to_owned()).collect();
        let there = self.directory.check(&keys).await?;
        for (one, there) in batch.iter().zip(there) {
            round.active += usize::from(one.active);
            match (one.active, there) {
                (true, false) => round.missing.push(one.request_id),
                (false, true) => self.found(one).await,
                (true, true) | (false, false) => {}
            }
        }
        last.key.as_str().clone_into(&mut round.after);
        round.is_over = batch.len() < CHECK_MAX;
        Ok(())
    }

    /// A key that had ended here is there: whose, a look-up for its former owner tells.
    async fn found(&self, one: &Comparable) {
        let now = self.clock.now().to_millis();
        let id = EndToEndId::new(self.ours, now, self.ids.u128());
        let event = match self.directory.look_up(&one.key, one.holder, id).await {
            Err(LookupFailure::Refused(DictRefusal::BookTransfer)) => KeyEvent::Present,
            Ok(entry) if entry.account.participant != self.ours => KeyEvent::Elsewhere,
            // The next comparison asks again.
            Ok(_) | Err(_) => return,
        };
        if event == KeyEvent::Present {
            tracing::warn!(key.request_id = %one.request_id, "the DICT has a key of ours that had ended here");
        }
        self.book(one.request_id, event).await;
    }

    async fn repair(&self, round: Round) {
        let (compared, missing) = (round.active, round.missing.len());
        metrics::gauge!("bank_keys_missing").set(u32::try_from(missing).unwrap_or(u32::MAX));
        if !is_plausible_loss(compared, missing) {
            tracing::error!(
                compared,
                missing,
                "the DICT does not know so many of the bank's active keys that none is marked as lost: \
                 look whether it is the right one"
            );
            return;
        }
        for id in round.missing {
            tracing::warn!(key.request_id = %id, "the DICT has an active key of ours no more; it is marked as lost");
            let again = RequestId::new(self.ids.u128());
            self.book(id, KeyEvent::Missing { again }).await;
        }
        tracing::info!(compared, missing, "the bank's keys were compared with the DICT");
    }
}

/// One comparison of all keys.
#[derive(Default)]
struct Round {
    /// The last key that was compared.
    after: String,
    /// Active keys compared.
    active: usize,
    missing: Vec<RequestId>,
    is_over: bool,
}

fn tell(id: RequestId, event: &KeyEvent) {
    match event {
        KeyEvent::Refused { why, .. } => {
            tracing::info!(key.request_id = %id, why = why.as_str(), "the DICT does not register a key");
        }
        KeyEvent::RemovalRefused(why) => {
            tracing::warn!(key.request_id = %id, why = why.as_str(), "the DICT does not remove a key");
        }
        KeyEvent::Asking
        | KeyEvent::Created { .. }
        | KeyEvent::Removed
        | KeyEvent::Missing { .. }
        | KeyEvent::Present
        | KeyEvent::Elsewhere => {}
    }
}

fn count<T>(operation: &'static str, said: &Said<T>) {
    let end = match said {
        Said::Done(_) => "done",
        Said::Refused(_) => "refused",
        Said::NotSent => "not_sent",
        Said::Unknown => "unknown",
    };
    metrics::counter!("bank_dict_requests_total", "operation" => operation, "end" => end).increment(1);
}
