//! How a participant reads its messages, and when one counts as read.
//!
//! A `PI-Pull-Next` token names the batch it confirms. A GET with the same token answers the same batch
//! again and never advances; only the next token confirms, and the confirmation is committed before the
//! next batch is answered. A stream without a GET for [`IDLE_MAX`] expires: its batch is delivered again
//! to whoever reads, its tokens are gone, its place among the [`STREAMS_MAX`] is free.
//!
//! The machine holds ids only. Every method returns what the shell must do; a reply goes out exactly once
//! to every waiter that was let in.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use pix_domain::{ResourceId, Timestamp};

use crate::outgoing::Mailbox;

/// How long a GET waits for a message (QA 88).
pub const LONG_POLL: Duration = Duration::from_secs(5);
/// How long a stream lives without a GET.
pub const IDLE_MAX: Duration = Duration::from_secs(15);
/// Streams of one participant on one channel (ICOM manual).
pub const STREAMS_MAX: usize = 6;
/// Messages in one multipart answer (ICOM manual).
pub const BATCH_MAX: usize = 10;

/// What `PI-Pull-Next` carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u128);

impl Token {
    /// Reads the 32 hexadecimal digits that `PI-Pull-Next` ends with.
    #[must_use]
    pub fn parse(wire: &str) -> Option<Self> {
        let hex = wire.len() == 32 && wire.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        hex.then(|| u128::from_str_radix(wire, 16).ok())
            .flatten()
            .map(Self)
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// How long a stream lives on whose connection broke: its reader may be back with the same token at once.
pub const BROKEN_GRACE: Duration = Duration::from_secs(1);

/// One request that waits for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waiter {
    /// Its number.
    pub id: u64,
    /// Number of the connection it came by.
    pub connection: u64,
}

/// One open stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u64);

/// A formed message, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Number, ascending in the order of forming.
    pub id: i64,
    /// The id its reader knows it by.
    pub resource_id: ResourceId,
    /// When it was formed; its day is the partition that holds it.
    pub formed_at: Timestamp,
}

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The batch, empty after a long poll without messages, and the token that confirms it.
    Batch {
        /// In the order of forming.
        deliveries: Vec<Delivery>,
        /// The next `PI-Pull-Next`.
        next: Token,
    },
    /// The token is old, foreign or expired: 410.
    Gone,
    /// All streams are taken: 429.
    TooMany,
    /// The stream is closed: 200.
    Closed,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer this request.
    Reply(Waiter, Reply),
    /// Commit these confirmations, then call [`Streams::confirmed`].
    Confirm(StreamId, Vec<Delivery>),
}

#[derive(Debug)]
enum State {
    /// The confirmation of the batch before is being committed.
    Confirming,
    /// Nothing to read yet.
    Waiting { since: Timestamp },
    /// This was, or is being, read by whoever waited for it; `next` confirms it.
    Answered {
        batch: Vec<Delivery>,
        next: Token,
        readers: Vec<Waiter>,
    },
    /// The last confirmation is being committed; then the stream is gone.
    Closing,
}

#[derive(Debug)]
struct Stream {
    mailbox: Mailbox,
    batch_max: usize,
    /// The token that asks for the present batch again; the first batch has none.
    current: Option<Token>,
    state: State,
    waiters: Vec<Waiter>,
    /// Since when no request is under way.
    idle_since: Timestamp,
    /// How long it lives like that.
    idle_max: Duration,
    /// By which its last request came.
    connection: u64,
}

#[derive(Debug, Default)]
struct Inbox {
    ready: BTreeMap<i64, Delivery>,
    streams: Vec<StreamId>,
}

/// All mailboxes and their readers.
#[derive(Debug, Default)]
pub struct Streams {
    inboxes: HashMap<Mailbox, Inbox>,
    streams: BTreeMap<StreamId, Stream>,
    tokens: HashMap<Token, StreamId>,
    waiters: HashMap<Waiter, StreamId>,
    last_stream: u64,
}

impl Streams {
    /// Formed messages, committed, are ready to be read.
    pub fn formed(
        &mut self,
        deliveries: impl IntoIterator<Item = (Mailbox, Delivery)>,
        now: Timestamp,
        fresh: &mut dyn FnMut() -> Token,
    ) -> Vec<Effect> {
        let mut touched = Vec::new();
        for (mailbox, delivery) in deliveries {
            self.inboxes
                .entry(mailbox)
                .or_default()
                .ready
                .insert(delivery.id, delivery);
            if !touched.contains(&mailbox) {
                touched.push(mailbox);
            }
        }
        let mut effects = Vec::new();
        for mailbox in touched {
            self.serve(mailbox, now, fresh, &mut effects);
        }
        effects
    }

    /// `GET stream/start`.
    pub fn start(
        &mut self,
        mailbox: Mailbox,
        batch_max: usize,
        waiter: Waiter,
        now: Timestamp,
        fresh: &mut dyn FnMut() -> Token,
    ) -> Vec<Effect> {
        let inbox = self.inboxes.entry(mailbox).or_default();
        if inbox.streams.len() >= STREAMS_MAX {
            return vec![Effect::Reply(waiter, Reply::TooMany)];
        }
        self.last_stream += 1;
        let id = StreamId(self.last_stream);
        inbox.streams.push(id);
        let state = State::Waiting { since: now };
        let stream = Stream {
            mailbox,
            batch_max,
            current: None,
            state,
            waiters: vec![waiter],
            idle_since: now,
            idle_max: IDLE_MAX,
            connection: waiter.connection,
        };
        self.streams.insert(id, stream);
        self.waiters.insert(waiter, id);
        let mut effects = Vec::new();
        self.serve(mailbox, now, fresh, &mut effects);
        effects
    }

    /// `GET {PI-Pull-Next}`.
    pub fn next(
        &mut self,
        mailbox: Mailbox,
        token: Token,
        batch_max: usize,
        waiter: Waiter,
        now: Timestamp,
        fresh: &mut dyn FnMut() -> Token,
    ) -> Vec<Effect> {
        let Some((id, stream)) = self.find(mailbox, token) else {
            return vec![Effect::Reply(waiter, Reply::Gone)];
        };
        stream.idle_since = now;
        stream.idle_max = IDLE_MAX;
        stream.connection = waiter.connection;
        match &mut stream.state {
            State::Closing => vec![Effect::Reply(waiter, Reply::Gone)],
            State::Answered { batch, next, readers } if *next != token => {
                readers.push(waiter);
                let reply = Reply::Batch {
                    deliveries: batch.clone(),
                    next: *next,
                };
                vec![Effect::Reply(waiter, reply)]
            }
            State::Confirming => {
                stream.waiters.push(waiter);
                self.waiters.insert(waiter, id);
                Vec::new()
            }
            State::Waiting { since } => {
                // Whoever waited before may be gone, and something may have come since.
                if stream.waiters.is_empty() {
                    *since = now;
                }
                stream.waiters.push(waiter);
                self.waiters.insert(waiter, id);
                let mut effects = Vec::new();
                self.serve(mailbox, now, fresh, &mut effects);
                effects
            }
            State::Answered { batch, .. } => {
                let batch = std::mem::take(batch);
                let outdated = stream.current.replace(token);
                stream.batch_max = batch_max;
                stream.waiters.push(waiter);
                let mut effects = Vec::new();
                stream.state = match batch.is_empty() {
                    true => State::Waiting { since: now },
                    false => {
                        effects.push(Effect::Confirm(id, batch));
                        State::Confirming
                    }
                };
                self.waiters.insert(waiter, id);
                outdated.map(|token| self.tokens.remove(&token));
                self.serve(mailbox, now, fresh, &mut effects);
                effects
            }
        }
    }

    /// `DELETE {PI-Pull-Next}`: the next token confirms and closes; the present one only closes.
    pub fn close(
        &mut self,
        mailbox: Mailbox,
        token: Token,
        waiter: Waiter,
        now: Timestamp,
        fresh: &mut dyn FnMut() -> Token,
    ) -> Vec<Effect> {
        let Some((id, stream)) = self.find(mailbox, token) else {
            return vec![Effect::Reply(waiter, Reply::Gone)];
        };
        let mut effects = Vec::new();
        match &mut stream.state {
            State::Closing => effects.push(Effect::Reply(waiter, Reply::Gone)),
            State::Answered { batch, next, .. } if *next == token && !batch.is_empty() => {
                effects.push(Effect::Confirm(id, std::mem::take(batch)));
                stream.state = State::Closing;
                stream.waiters.push(waiter);
                let outdated = stream.current.replace(token);
                outdated.map(|token| self.tokens.remove(&token));
                self.waiters.insert(waiter, id);
            }
            State::Confirming => {
                // The commit under way confirms; whoever waited for a batch learns that the stream is gone.
                stream.state = State::Closing;
                let others = std::mem::replace(&mut stream.waiters, vec![waiter]);
                for other in others {
                    self.waiters.remove(&other);
                    effects.push(Effect::Reply(other, Reply::Gone));
                }
                self.waiters.insert(waiter, id);
            }
            State::Answered { .. } | State::Waiting { .. } => {
                self.end(id, Reply::Gone, now, fresh, &mut effects);
                effects.push(Effect::Reply(waiter, Reply::Closed));
            }
        }
        effects
    }

    /// The confirmations of this stream are committed.
    pub fn confirmed(
        &mut self,
        id: StreamId,
        now: Timestamp,
        fresh: &mut dyn FnMut() -> Token,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(stream) = self.streams.get_mut(&id) else {
            return effects;
        };
        let mailbox = stream.mailbox;
        match stream.state {
            State::Confirming => {
                stream.state = State::Waiting { since: now };
                stream.idle_since = now;
                self.serve(mailbox, now, fresh, &mut effects);
            }
            State::Closing => self.end(id, Reply::Closed, now, fresh, &mut effects),
            State::Waiting { .. } | State::Answered { .. } => {}
        }
        effects
    }

    /// The request went away before a byte of its reply was on the way. A batch that was given to it alone is
    /// ready again at once, and a stream whose first request went away has no token that anybody knows: its place
    /// is free at once.
    pub fn abandon(
        &mut self,
        waiter: Waiter,
        now: Timestamp,
        fresh: &mut dyn FnMut() -> Token,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(id) = self.waiters.remove(&waiter).or_else(|| self.reader(waiter)) else {
            return effects;
        };
        let Some(stream) = self.streams.get_mut(&id) else {
            return effects;
        };
        stream.waiters.retain(|other| *other != waiter);
        stream.idle_since = now;
        if let State::Answered { batch, next, readers } = &mut stream.state {
            readers.retain(|other| *other != waiter);
            if !readers.is_empty() {
                return effects;
            }
            // Nobody has seen this batch, nor the token that would confirm it.
            let inbox = self.inboxes.entry(stream.mailbox).or_default();
            inbox
                .ready
                .extend(batch.drain(..).map(|delivery| (delivery.id, delivery)));
            self.tokens.remove(next);
            stream.state = State::Waiting { since: now };
        }
        let mailbox = stream.mailbox;
        let unnamed = stream.current.is_none() && stream.waiters.is_empty();
        if unnamed && matches!(stream.state, State::Waiting { .. }) {
            self.streams.remove(&id);
            let inbox = self.inboxes.entry(mailbox).or_default();
            inbox.streams.retain(|other| *other != id);
        }
        self.serve(mailbox, now, fresh, &mut effects);
        effects
    }

    /// The stream whose present batch this request was given.
    fn reader(&self, waiter: Waiter) -> Option<StreamId> {
        let given = |stream: &Stream| matches!(&stream.state, State::Answered { readers, .. } if readers.contains(&waiter));
        let found = self.streams.iter().find(|(_, stream)| given(stream));
        found.map(|(id, _)| *id)
    }

    /// A connection broke: the streams that were last read by it expire in [`BROKEN_GRACE`], so that a reader that
    /// died neither keeps its batch nor its place, and one that only lost its connection goes on with its token.
    pub fn broken(&mut self, connection: u64, now: Timestamp) {
        for stream in self.streams.values_mut() {
            if stream.connection == connection {
                stream.idle_since = now;
                stream.idle_max = BROKEN_GRACE;
            }
        }
    }

    /// Time passes: long polls end empty, idle streams expire.
    pub fn tick(&mut self, now: Timestamp, fresh: &mut dyn FnMut() -> Token) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut expired = Vec::new();
        for (id, stream) in &mut self.streams {
            let idle = stream.waiters.is_empty() && stream.idle_since.plus(stream.idle_max) <= now;
            match stream.state {
                State::Waiting { since } if !stream.waiters.is_empty() && since.plus(LONG_POLL) <= now => {
                    answer(
                        *id,
                        stream,
                        Vec::new(),
                        now,
                        fresh(),
                        (&mut self.tokens, &mut self.waiters),
                        &mut effects,
                    );
                }
                State::Waiting { .. } | State::Answered { .. } if idle => expired.push(*id),
                State::Waiting { .. } | State::Answered { .. } | State::Confirming | State::Closing => {}
            }
        }
        for id in expired {
            self.end(id, Reply::Gone, now, fresh, &mut effects);
        }
        effects
    }

    /// By mailbox: how many messages are ready and not in any batch, and when the oldest that is not confirmed, in a
    /// batch or not, was formed.
    pub fn depths(&self) -> impl Iterator<Item = (Mailbox, usize, Option<Timestamp>)> + '_ {
        let given = |id| match self.streams.get(id).map(|stream| &stream.state) {
            Some(State::Answered { batch, .. }) => batch.first(),
            _ => None,
        };
        self.inboxes.iter().map(move |(mailbox, inbox)| {
            let ready = inbox.ready.first_key_value().map(|(_, delivery)| delivery);
            let unconfirmed = inbox.streams.iter().filter_map(given).chain(ready);
            let oldest = unconfirmed.map(|delivery| delivery.formed_at).min();
            (*mailbox, inbox.ready.len(), oldest)
        })
    }

    fn find(&mut self, mailbox: Mailbox, token: Token) -> Option<(StreamId, &mut Stream)> {
        let id = *self.tokens.get(&token)?;
        let stream = self
            .streams
            .get_mut(&id)
            .filter(|stream| stream.mailbox == mailbox)?;
        Some((id, stream))
    }

    /// Gives what is ready to the streams that wait, the longest waiting first.
    fn serve(
        &mut self,
        mailbox: Mailbox,
        now: Timestamp,
        fresh: &mut dyn FnMut() -> Token,
        effects: &mut Vec<Effect>,
    ) {
        let inbox = self.inboxes.entry(mailbox).or_default();
        while !inbox.ready.is_empty() {
            let longest = inbox
                .streams
                .iter()
                .filter_map(|id| match self.streams.get(id) {
                    Some(Stream {
                        state: State::Waiting { since },
                        waiters,
                        ..
                    }) if !waiters.is_empty() => Some((*since, *id)),
                    _ => None,
                })
                .min();
            let Some((_, id)) = longest else { return };
            let stream = self.streams.get_mut(&id).expect("found above");
            let mut batch = Vec::with_capacity(stream.batch_max.min(inbox.ready.len()));
            while batch.len() < stream.batch_max {
                let Some((_, delivery)) = inbox.ready.pop_first() else {
                    break;
                };
                batch.push(delivery);
            }
            answer(
                id,
                stream,
                batch,
                now,
                fresh(),
                (&mut self.tokens, &mut self.waiters),
                effects,
            );
        }
    }

    /// Ends a stream: its batch is ready again, its tokens are gone, its waiters get `reply`.
    fn end(
        &mut self,
        id: StreamId,
        reply: Reply,
        now: Timestamp,
        fresh: &mut dyn FnMut() -> Token,
        effects: &mut Vec<Effect>,
    ) {
        let Some(stream) = self.streams.remove(&id) else {
            return;
        };
        let inbox = self.inboxes.entry(stream.mailbox).or_default();
        inbox.streams.retain(|other| *other != id);
        let mut dead = stream.current;
        if let State::Answered { batch, next, .. } = stream.state {
            inbox
                .ready
                .extend(batch.into_iter().map(|delivery| (delivery.id, delivery)));
            self.tokens.remove(&next);
        }
        dead.take().map(|token| self.tokens.remove(&token));
        for waiter in stream.waiters {
            self.waiters.remove(&waiter);
            effects.push(Effect::Reply(waiter, reply.clone()));
        }
        self.serve(stream.mailbox, now, fresh, effects);
    }
}

/// Decides the answer of a stream's present token, for all who asked with it.
fn answer(
    id: StreamId,
    stream: &mut Stream,
    batch: Vec<Delivery>,
    now: Timestamp,
    next: Token,
    (tokens, waiters): (&mut HashMap<Token, StreamId>, &mut HashMap<Waiter, StreamId>),
    effects: &mut Vec<Effect>,
) {
    tokens.insert(next, id);
    let readers = std::mem::take(&mut stream.waiters);
    for &waiter in &readers {
        waiters.remove(&waiter);
        effects.push(Effect::Reply(
            waiter,
            Reply::Batch {
                deliveries: batch.clone(),
                next,
            },
        ));
    }
    stream.state = State::Answered { batch, next, readers };
    stream.idle_since = now;
}

#[cfg(test)]
mod tests;
