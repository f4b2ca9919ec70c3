//! Asks the DICT what is to be asked about the customers' keys, until it has answered.
//!
//! Starting up is reconciliation: every open question is found in the store and asked, with the RequestId it
//! always had; keys that the DICT has no more are found by asking for all of them once, two hundred at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bank_core::{DictRefusal, Heard, KeyEvent, Question, Said, judge_creation, judge_removal};
use pix_domain::{EndToEndId, Ispb, Key, RequestId};
use pix_runtime::{Clock, Ids, Stopping};
use tokio::sync::Semaphore;
use tokio::task::{Id, JoinSet};

use crate::adapters::pg::{self, OpenQuestion};
use crate::backoff::Backoff;
use crate::dict::Directory;
use crate::work::{KeyWork, Outcome, Work};
use crate::writer::{Bells, Bookkeeper};

/// Questions on their way at once.
const AT_ONCE: usize = 8;
/// Questions taken up at once: those beyond wait in the store until one of these is answered.
const OPEN_MAX: usize = 256;
/// From this attempt on, each failure is worth a warning.
const WARN_FROM: u32 = 3;
/// Whatever is open and rings no bell is found within a second.
const SWEEP: Duration = Duration::from_secs(1);
/// Before a question whose answer cannot be booked goes again.
const POISON_PAUSE: Duration = Duration::from_secs(60);
/// Keys of one checkKeys, as many as it takes.
const CHECK_MAX: usize = 200;
/// Between two checkKeys: the DICT refills their bucket with 70 tokens a minute, and people need some too.
const CHECK_PAUSE: Duration = Duration::from_secs(2);

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

impl<C: Clock + 'static> Registrar<C> {
    /// Asks until the stop. What is open then is asked again after the next start.
    pub(crate) async fn run(self: Arc<Self>, stopping: Stopping) {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let mut backoff = Backoff::new(self.ids.clone());
        let mut tasks = JoinSet::new();
        let mut in_flight: HashMap<Id, String> = HashMap::new();
        while !stopping.is_stopped() {
            let free = OPEN_MAX - in_flight.len();
            let held: Vec<String> = in_flight.values().cloned().collect();
            let open = match self.store.questions(&held, free).await {
                Ok(open) => open,
                Err(e) => {
                    tracing::warn!(error = %e, "cannot read what the DICT has to be asked");
                    backoff.wait(None, &stopping).await;
                    continue;
                }
            };
            backoff.reset();
            for question in open {
                let id = question.registration.request_id.to_string();
                let answered = self.clone().answer(question, turns.clone(), stopping.clone());
                in_flight.insert(tasks.spawn(answered).id(), id);
            }
            metrics::gauge!("bank_key_questions").set(u32::try_from(in_flight.len()).unwrap_or(u32::MAX));
            tokio::select! {
                () = stopping.stopped() => {}
                () = self.bells.keys.notified(), if in_flight.len() < OPEN_MAX => {}
                () = tokio::time::sleep(SWEEP), if in_flight.len() < OPEN_MAX => {}
                Some(ended) = tasks.join_next_with_id() => {
                    in_flight.remove(&ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, ())| *id));
                    while let Some(ended) = tasks.try_join_next_with_id() {
                        in_flight.remove(&ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, ())| *id));
                    }
                }
            }
        }
    }

    /// One question, until its answer is in the book.
    #[tracing::instrument(name = "key", skip_all, fields(key.request_id = %open.registration.request_id))]
    async fn answer(self: Arc<Self>, open: OpenQuestion, turns: Arc<Semaphore>, stopping: Stopping) {
        let id = open.registration.request_id;
        let Some(event) = self.ask(&open, &turns, &stopping).await else {
            return;
        };
        match &event {
            KeyEvent::Refused(why) => {
                tracing::info!(key.request_id = %id, why = why.as_str(), "the DICT does not register a key");
            }
            KeyEvent::RemovalRefused(why) => {
                tracing::warn!(key.request_id = %id, why = why.as_str(), "the DICT does not remove a key");
            }
            KeyEvent::Asking | KeyEvent::Created { .. } | KeyEvent::Removed | KeyEvent::Missing => {}
        }
        if !self.book(id, event).await {
            Backoff::new(self.ids.clone())
                .wait(Some(POISON_PAUSE), &stopping)
                .await;
        }
    }

    /// Asks until there is an answer; nothing when the bank stops first.
    async fn ask(&self, open: &OpenQuestion, turns: &Semaphore, stopping: &Stopping) -> Option<KeyEvent> {
        let id = open.registration.request_id;
        let mut backoff = Backoff::new(self.ids.clone());
        let mut doubt = open.sent;
        let mut attempts = 0_u32;
        // Before the first question leaves, the store says that it may have.
        while !open.sent && !self.book(id, KeyEvent::Asking).await {
            if !backoff.wait(Some(POISON_PAUSE), stopping).await {
                return None;
            }
        }
        loop {
            let asked = async {
                let _turn = turns.acquire().await.expect("the semaphore is never closed");
                self.ask_once(open, doubt).await
            };
            let heard = tokio::select! {
                () = stopping.stopped() => return None,
                heard = asked => heard,
            };
            doubt = match heard {
                Ok(event) => return Some(event),
                Err(doubt) => doubt,
            };
            attempts += 1;
            if attempts >= WARN_FROM {
                tracing::warn!(key.request_id = %id, attempts, "the DICT has not answered about a key yet");
            }
            if !backoff.wait(None, stopping).await {
                return None;
            }
        }
    }

    /// Asks once: what happened, or whether this or an earlier attempt may have been carried out.
    async fn ask_once(&self, open: &OpenQuestion, doubt: bool) -> Result<KeyEvent, bool> {
        let OpenQuestion {
            registration,
            account,
            ..
        } = open;
        match (open.question, &registration.key) {
            (Question::Create, key) => {
                let (request_id, kind) = (registration.request_id, registration.kind);
                let made = self
                    .directory
                    .create(request_id, kind, key.as_ref(), account, open.opened_at);
                let said = made.await;
                count("create", &said);
                match judge_creation(said, doubt) {
                    Heard::Done((key, stored_at)) => Ok(KeyEvent::Created { key, stored_at }),
                    Heard::Refused(why) => Ok(KeyEvent::Refused(why)),
                    Heard::Again { doubt } => Err(doubt),
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
                    Heard::Again { doubt } => Err(doubt),
                }
            }
            // The store's own rule keeps this from happening: only a requested key may be unknown.
            (Question::Remove, None) => Ok(KeyEvent::RemovalRefused(DictRefusal::NotFound)),
        }
    }

    /// Whether it is in the book; not so when the database refuses it, or the bank stops.
    async fn book(&self, id: RequestId, event: KeyEvent) -> bool {
        let work = Work::Keys(Box::new(KeyWork::Heard(id, event)));
        let booked = self.books.book(vec![work]).await;
        !matches!(booked.as_deref(), None | Some([Outcome::Poisoned]))
    }

    /// Asks once for every active key whether the DICT still has it. That somebody has it is all that this
    /// tells: whose it is, the reconciliation by content identifiers will.
    pub(crate) async fn check(self: Arc<Self>, stopping: Stopping) {
        let mut backoff = Backoff::new(self.ids.clone());
        let (mut after, mut checked, mut missing) = (String::new(), 0, 0);
        loop {
            let batch = match self.check_batch(&after).await {
                Ok(None) => break,
                Ok(Some(batch)) => batch,
                Err(why) => {
                    tracing::warn!(why, "cannot compare the bank's keys with the DICT yet");
                    if !backoff.wait(None, &stopping).await {
                        return;
                    }
                    continue;
                }
            };
            backoff.reset();
            after = batch.last;
            checked += batch.checked;
            missing += batch.missing;
            if batch.checked < CHECK_MAX {
                break;
            }
            tokio::select! {
                () = stopping.stopped() => return,
                () = tokio::time::sleep(CHECK_PAUSE) => {}
            }
        }
        tracing::info!(
            checked,
            missing,
            "the bank's active keys were compared with the DICT"
        );
        stopping.stopped().await;
    }

    async fn check_batch(&self, after: &str) -> Result<Option<Checked>, String> {
        let active = self.store.active_keys(after, CHECK_MAX).await;
        let active: Vec<(RequestId, Key)> = active.map_err(|e| e.to_string())?;
        let Some((last, _)) = active.last() else {
            return Ok(None);
        };
        let keys: Vec<String> = active.iter().map(|(_, key)| key.as_str().to_owned()).collect();
        let there = self.directory.check(&keys).await?;
        let gone = active.iter().zip(there).filter(|(_, there)| !there);
        let mut missing = 0;
        for ((id, _), _) in gone {
            tracing::warn!(key.request_id = %id, "the DICT has an active key of ours no more; it is marked as lost");
            self.book(*id, KeyEvent::Missing).await;
            missing += 1;
        }
        Ok(Some(Checked {
            last: last.to_string(),
            checked: active.len(),
            missing,
        }))
    }
}

/// What one checkKeys came to.
struct Checked {
    last: String,
    checked: usize,
    missing: usize,
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
