//! The directory's operations, for participants and for the switch's own services alike: gather facts, decide in
//! `dict_core`, commit once.

use std::sync::Arc;

use bytes::Bytes;
use dict_core::entry::{
    self, Create, CreateFacts, CreateRefusal, Created, Delete, DeleteRefusal, Held, Update, UpdateFacts,
    UpdateRefusal, UsedRequest,
};
use pix_dict_api::{CorrelationId, Entry, EntryRoot};
use pix_domain::{Ispb, Key, Timestamp};
use pix_runtime::pg::DbClock;
use pix_runtime::{Clock as _, Ids, Shares};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::adapters::pg::StoreError;
use crate::adapters::pg_entries::{Answered, Change, CidMove, Entries, Stored, Version, Write};
use crate::answers::{self, Answering};
use crate::events;
use crate::sealer::Sealer;

/// How often facts are gathered anew when somebody else was faster.
const ATTEMPTS_MAX: usize = 5;
/// Transactions of one participant at once, a quarter of the connections that write: one whose requests wait for each
/// other leaves the others theirs.
const WRITES_MAX: usize = 4;

/// Why an operation did not happen, or may not have happened.
#[derive(Debug)]
pub(crate) enum Failure<R> {
    /// A rule says no.
    Refused(R),
    /// The store did not do it, or may have.
    Store(StoreError),
}

impl<R> From<StoreError> for Failure<R> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Who writes, and until when everything but the COMMIT is done: a request whose sender has given it up and asks
/// again does not come true later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) participant: Ispb,
    pub(crate) by: Instant,
}

/// What became of a createEntry.
pub(crate) struct Registered {
    pub(crate) stored: Stored,
    /// The bytes that were answered first.
    pub(crate) answer: Bytes,
}

/// What a createEntry comes to when nothing in the directory speaks against it.
struct Draft {
    at: Timestamp,
    evp: Key,
    /// None when the request itself is against a rule.
    answer: Option<Bytes>,
}

/// What a transaction came to.
enum Attempt<T> {
    /// Everything is written but the COMMIT.
    Commit(Write, T),
    /// There is nothing to write.
    Done(T),
    /// Somebody else was faster: what was read is no longer so.
    Again,
}

/// The directory.
pub(crate) struct Directory {
    pub(crate) entries: Entries,
    pub(crate) clock: DbClock,
    pub(crate) ids: Ids,
    pub(crate) sealer: Sealer,
    pub(crate) writing: Shares<WRITES_MAX>,
    /// Rung when there is an event to publish.
    pub(crate) told: Arc<Notify>,
}

impl Directory {
    /// The head of an answer that is given now.
    pub(crate) fn answering(&self) -> Answering {
        Answering {
            at: self.clock.now().to_millis(),
            correlation_id: CorrelationId::new(self.ids.u128()),
        }
    }

    /// Registers a key, or repeats the first answer.
    pub(crate) async fn create(
        &self,
        command: &Create,
        turn: Turn,
    ) -> Result<Registered, Failure<CreateRefusal>> {
        // Signed before anything is locked: others wait for the store, and not for the signature.
        let draft = self.draft(command).await;
        for _ in 0..ATTEMPTS_MAX {
            let attempt = Box::pin(self.try_create(command, &draft));
            if let Some(done) = self.finish(turn, attempt).await? {
                return Ok(done);
            }
        }
        Err(StoreError::Contended.into())
    }

    async fn draft(&self, command: &Create) -> Draft {
        let answering = self.answering();
        let facts = CreateFacts {
            used: None,
            existing: None,
            account_keys: 0,
            now: answering.at,
            evp: Key::random(self.ids.u128()),
        };
        let answer = match entry::create(command, &facts) {
            Ok(Created::New(registered)) => {
                let response = answers::with_entry(EntryRoot::Create, answering, registered.entry, None);
                Some(answers::signed(&self.sealer, response).await)
            }
            Ok(Created::Repeat) | Err(_) => None,
        };
        Draft {
            at: facts.now,
            evp: facts.evp,
            answer,
        }
    }

    async fn try_create(
        &self,
        command: &Create,
        draft: &Draft,
    ) -> Result<Attempt<Registered>, Failure<CreateRefusal>> {
        let participant = command.entry.account.participant;
        let mut write = self.entries.begin().await?;
        write.lock_account(&command.entry.account).await?;
        let used = write.used(participant, &command.request_id).await?;
        let existing = match &command.entry.key {
            Some(key) => write.entry(key).await?,
            None => None,
        };
        let facts = CreateFacts {
            used: used.as_ref().map(|used| UsedRequest {
                key: used.key.clone(),
                cid: used.cid,
            }),
            existing: existing.as_ref().map(|stored| (&stored.entry).into()),
            account_keys: write.account_keys(&command.entry.account).await?,
            now: draft.at,
            evp: draft.evp.clone(),
        };
        let registered = match entry::create(command, &facts).map_err(Failure::Refused)? {
            Created::New(registered) => registered,
            Created::Repeat => {
                let used = used.expect("only a request that was used is a repeat");
                let stored = write.version(used.sequence).await?;
                let answer = used.answer.into();
                return Ok(Attempt::Done(Registered { stored, answer }));
            }
        };
        let stored = Stored {
            entry: registered.entry,
            request_id: registered.request_id,
            cid: registered.cid,
        };
        let answer = draft.answer.clone();
        let answer = answer.expect("what is registered among others is registered alone, too");
        if !write.insert(&stored).await? {
            return Ok(Attempt::Again);
        }
        let sequence = write.next_change().await?;
        let version = Version {
            sequence,
            change: Change::Created,
            reason: command.reason.as_str(),
            at: facts.now,
            stored: &stored,
        };
        write.record(&version, &events::of(&version, None)).await?;
        let answered = Answered {
            participant,
            stored: &stored,
            sequence,
            at: facts.now,
            answer: &answer,
        };
        if !write.remember(&answered).await? {
            return Ok(Attempt::Again);
        }
        let kind = stored.entry.key.kind();
        write
            .move_cid(participant, kind, &stored.cid, CidMove::Added, facts.now)
            .await?;
        Ok(Attempt::Commit(write, Registered { stored, answer }))
    }

    /// Changes an entry. `may_act` tells whether the sender may act for the participant that holds it.
    pub(crate) async fn update(
        &self,
        command: &Update,
        turn: Turn,
        may_act: impl Fn(Ispb) -> bool + Sync,
    ) -> Result<Entry, Failure<UpdateRefusal>> {
        let attempt = Box::pin(self.try_update(command, may_act));
        let done = self.finish(turn, attempt).await?;
        done.ok_or_else(|| StoreError::Contended.into())
    }

    async fn try_update(
        &self,
        command: &Update,
        may_act: impl Fn(Ispb) -> bool + Sync,
    ) -> Result<Attempt<Entry>, Failure<UpdateRefusal>> {
        let mut write = self.entries.begin().await?;
        if let Some(account) = &command.account {
            write.lock_account(account).await?;
        }
        let held = write.lock_entry(&command.key).await?;
        let facts = UpdateFacts {
            may_act: held
                .as_ref()
                .is_some_and(|stored| may_act(stored.entry.account.participant)),
            held: held.map(Held::from),
            account_keys: match &command.account {
                Some(account) => write.account_keys(account).await?,
                None => 0,
            },
        };
        let updated = entry::update(command, &facts).map_err(Failure::Refused)?;
        if !updated.changed {
            return Ok(Attempt::Done(updated.entry));
        }
        let at = self.clock.now().to_millis();
        let stored = Stored {
            entry: updated.entry,
            request_id: updated.request_id,
            cid: updated.cid_after,
        };
        let version = Version {
            sequence: write.next_change().await?,
            change: Change::Updated,
            reason: command.reason.as_str(),
            at,
            stored: &stored,
        };
        write.update(&stored).await?;
        write
            .record(&version, &events::of(&version, Some(&updated.cid_before)))
            .await?;
        if updated.cid_before != updated.cid_after {
            let (participant, kind) = (stored.entry.account.participant, stored.entry.key.kind());
            let moves = [
                (&updated.cid_before, CidMove::Removed),
                (&updated.cid_after, CidMove::Added),
            ];
            for (cid, way) in moves {
                write.move_cid(participant, kind, cid, way, at).await?;
            }
        }
        Ok(Attempt::Commit(write, stored.entry))
    }

    /// Removes an entry.
    pub(crate) async fn delete(&self, command: &Delete, turn: Turn) -> Result<(), Failure<DeleteRefusal>> {
        let done = self.finish(turn, Box::pin(self.try_delete(command))).await?;
        done.ok_or_else(|| StoreError::Contended.into())
    }

    async fn try_delete(&self, command: &Delete) -> Result<Attempt<()>, Failure<DeleteRefusal>> {
        let mut write = self.entries.begin().await?;
        let held = write.lock_entry(&command.key).await?.map(Held::from);
        let deleted = entry::delete(command, held.as_ref()).map_err(Failure::Refused)?;
        let at = self.clock.now().to_millis();
        let stored = Stored {
            entry: deleted.entry,
            request_id: deleted.request_id,
            cid: deleted.cid,
        };
        let version = Version {
            sequence: write.next_change().await?,
            change: Change::Deleted,
            reason: command.reason.as_str(),
            at,
            stored: &stored,
        };
        write.delete(&command.key).await?;
        write
            .record(&version, &events::of(&version, Some(&stored.cid)))
            .await?;
        let kind = command.key.kind();
        write
            .move_cid(command.participant, kind, &stored.cid, CidMove::Removed, at)
            .await?;
        Ok(Attempt::Commit(write, ()))
    }

    /// Commits what was attempted; none when the facts were no longer so. Dropped before the COMMIT, because the peer
    /// is gone, nothing happens.
    async fn finish<T, R>(
        &self,
        turn: Turn,
        attempt: impl Future<Output = Result<Attempt<T>, Failure<R>>>,
    ) -> Result<Option<T>, Failure<R>> {
        let in_turn = async {
            // Before a connection: whoever waits here keeps none from the others.
            let share = self.writing.wait(turn.participant).await;
            (attempt.await, share)
        };
        let attempted = tokio::time::timeout_at(turn.by, in_turn).await;
        let (attempted, _share) = attempted.map_err(|_| StoreError::Late)?;
        match attempted? {
            Attempt::Commit(write, done) => {
                let committing = std::time::Instant::now();
                write.commit().await?;
                metrics::histogram!("dict_commit_seconds").record(committing.elapsed().as_secs_f64());
                self.told.notify_one();
                Ok(Some(done))
            }
            Attempt::Done(done) => Ok(Some(done)),
            Attempt::Again => {
                metrics::counter!("dict_write_conflicts_total").increment(1);
                Ok(None)
            }
        }
    }

    /// The entry of a key. A CPF or CNPJ with wrong check digits is nobody's, without asking.
    pub(crate) async fn find(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        if !key.has_valid_check_digits() {
            return Ok(None);
        }
        self.entries.find(key).await
    }

    /// Which of these texts are registered keys, in their order. What has the form of no key is none.
    pub(crate) async fn which_exist(&self, texts: &[String]) -> Result<Vec<bool>, StoreError> {
        let keys: Vec<Option<Key>> = texts.iter().map(|text| Key::guess(text).ok()).collect();
        let known: Vec<Key> = keys.iter().flatten().cloned().collect();
        let mut found = self.entries.which_exist(&known).await?.into_iter();
        let exists = |key: &Option<Key>| key.is_some() && found.next().unwrap_or(false);
        Ok(keys.iter().map(exists).collect())
    }
}

impl From<Stored> for Held {
    fn from(stored: Stored) -> Self {
        Self {
            entry: stored.entry,
            request_id: stored.request_id,
        }
    }
}
