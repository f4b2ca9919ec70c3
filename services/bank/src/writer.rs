//! The book's one writer: drains what waits, decides it in pure code, commits once, answers.
//!
//! A batch whose commit is in doubt is applied again after the fence (see `Ledger`): everything in it is
//! known by a name that the facts hold (EndToEndId, PI-ResourceId, MsgId), so what was in has no second
//! effect. A batch that Postgres refuses is halved until the culprit stands alone.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bank_core::{
    Accepted, Answer, Book, Changes, Course, KeyChanges, KeyRefusal, KeyTaken, Keyring, Lookup, Order,
    OrderRefusal, Payee, Payer, Refusal,
};
use pix_domain::{EndToEndId, Key, MsgId, ResourceId, Timestamp};
use pix_icom::Channel;
use pix_runtime::{Clock, Ids, Stopping};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};

use crate::adapters::pg::{Batch, Inbound, Known, Ledger, Names, Outbound, StoreError};
use crate::messages::{Identity, TRANSACTIONS_MAX};
use crate::steps::Step;
use crate::work::{Content, KeyWork, Moved, Outcome, Posted, Received, Work};

/// Requests that may wait for the writer; more are told to come back.
const QUEUE_MAX: usize = 1024;
/// Works that one commit holds.
const BATCH_MAX: usize = 256;
/// Between attempts while the database is away.
const PAUSE: Duration = Duration::from_millis(200);

/// What is done together, and where the outcomes go.
struct Request {
    works: Vec<Work>,
    done: oneshot::Sender<Vec<Outcome>>,
}

/// Hands work to the writer. Clones hand to the same one.
#[derive(Clone)]
pub(crate) struct Bookkeeper {
    queue: mpsc::Sender<Request>,
}

/// Why an order got no decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotDecided {
    /// Too much waits already.
    Busy,
    /// The bank stops; whether the order was taken is unknown.
    Stopping,
    /// The database refuses this very order.
    Poisoned,
}

impl Bookkeeper {
    /// Takes a customer's order, unless too much waits already.
    pub(crate) async fn order(&self, order: Order) -> Result<Result<Accepted, OrderRefusal>, NotDecided> {
        match self.decide(Work::Order(Box::new(order))).await? {
            Outcome::Order(decided) => Ok(decided),
            Outcome::Keys(_) | Outcome::Done | Outcome::Poisoned => Err(NotDecided::Poisoned),
        }
    }

    /// Keeps what a payer is about to be shown.
    pub(crate) async fn keep(&self, lookup: Lookup) -> Result<(), NotDecided> {
        match self.decide(Work::Lookup(Box::new(lookup))).await? {
            Outcome::Done => Ok(()),
            Outcome::Order(_) | Outcome::Keys(_) | Outcome::Poisoned => Err(NotDecided::Poisoned),
        }
    }

    /// Takes a wish about keys, unless too much waits already.
    pub(crate) async fn keys(
        &self,
        work: KeyWork,
    ) -> Result<Result<Option<KeyTaken>, KeyRefusal>, NotDecided> {
        match self.decide(Work::Keys(Box::new(work))).await? {
            Outcome::Keys(decided) => Ok(decided),
            Outcome::Order(_) | Outcome::Done | Outcome::Poisoned => Err(NotDecided::Poisoned),
        }
    }

    async fn decide(&self, work: Work) -> Result<Outcome, NotDecided> {
        let (done, outcome) = oneshot::channel();
        let works = vec![work];
        self.queue
            .try_send(Request { works, done })
            .map_err(|e| match e {
                mpsc::error::TrySendError::Full(_) => NotDecided::Busy,
                mpsc::error::TrySendError::Closed(_) => NotDecided::Stopping,
            })?;
        let outcome = outcome.await.map_err(|_| NotDecided::Stopping)?.pop();
        outcome.ok_or(NotDecided::Poisoned)
    }

    /// Books what the switch said, or did; waits for room. Nothing when the bank stops first.
    pub(crate) async fn book(&self, works: Vec<Work>) -> Option<Vec<Outcome>> {
        let (done, outcome) = oneshot::channel();
        self.queue.send(Request { works, done }).await.ok()?;
        outcome.await.ok()
    }
}

/// What tells others that something was committed.
#[derive(Clone)]
pub(crate) struct Bells {
    /// Messages wait to go out, by channel.
    pub(crate) outbound: Arc<[Notify; 2]>,
    /// The DICT has to be asked something.
    pub(crate) keys: Arc<Notify>,
    /// Payments or keys moved.
    pub(crate) moved: broadcast::Sender<Moved>,
}

impl Bells {
    pub(crate) fn of(&self, channel: Channel) -> &Notify {
        match channel {
            Channel::Primary => &self.outbound[0],
            Channel::Secondary => &self.outbound[1],
        }
    }
}

/// The writer.
pub(crate) struct Writer<C> {
    pub(crate) ledger: Ledger,
    pub(crate) identity: Arc<Identity>,
    pub(crate) clock: C,
    pub(crate) ids: Ids,
    pub(crate) bells: Bells,
    pub(crate) up: Box<dyn Fn(bool) + Send>,
    /// A commit's answer was lost, and with it what to ring for.
    pub(crate) in_doubt: bool,
}

/// A queue to a writer.
pub(crate) fn queue() -> (Bookkeeper, Requests) {
    let (queue, requests) = mpsc::channel(QUEUE_MAX);
    (Bookkeeper { queue }, Requests(requests))
}

/// The writer's end of the queue.
pub(crate) struct Requests(mpsc::Receiver<Request>);

impl<C: Clock> Writer<C> {
    /// Works until the stop, when the queue is closed and what waits is still done.
    pub(crate) async fn run(mut self, mut requests: Requests, stopping: Stopping) {
        loop {
            let first = tokio::select! {
                biased;
                request = requests.0.recv() => request,
                () = stopping.stopped(), if !requests.0.is_closed() => {
                    requests.0.close();
                    continue;
                }
            };
            let Some(first) = first else { return };
            let mut batch = vec![first];
            let mut works = batch[0].works.len();
            while works < BATCH_MAX {
                let Ok(next) = requests.0.try_recv() else { break };
                works += next.works.len();
                batch.push(next);
            }
            if !self.serve(batch, &stopping).await {
                return;
            }
        }
    }

    /// Applies the requests and answers them; false when the bank stops while the database is away.
    async fn serve(&mut self, batch: Vec<Request>, stopping: &Stopping) -> bool {
        let works: Vec<Work> = batch
            .iter()
            .flat_map(|request| request.works.iter().cloned())
            .collect();
        let Some(mut outcomes) = self.apply(&works, stopping).await else {
            return false;
        };
        for request in batch {
            let rest = outcomes.split_off(request.works.len());
            // Nobody listens when the caller went away: the book holds the outcome all the same.
            drop(request.done.send(std::mem::replace(&mut outcomes, rest)));
        }
        true
    }

    /// Commits the works, in order, in as few transactions as Postgres lets it.
    async fn apply(&mut self, works: &[Work], stopping: &Stopping) -> Option<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(works.len());
        let mut parts = vec![works];
        while let Some(part) = parts.pop() {
            match self.commit(part).await {
                Ok(done) => outcomes.extend(done),
                Err(StoreError::Lost(why)) => {
                    (self.up)(false);
                    self.in_doubt = true;
                    tracing::warn!(why, works = part.len(), "the database is away; trying again");
                    tokio::select! {
                        () = stopping.stopped() => return None,
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                    parts.push(part);
                }
                Err(refused) if part.len() > 1 => {
                    tracing::warn!(error = %refused, works = part.len(), "a batch was refused; halving it");
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(refused) => {
                    metrics::counter!("bank_poisoned_total").increment(1);
                    tracing::error!(error = %refused, work = %name(&part[0]), "a work is refused by the database");
                    if !self.bury(&part[0], &refused, stopping).await {
                        return None;
                    }
                    outcomes.push(Outcome::Poisoned);
                }
            }
        }
        Some(outcomes)
    }

    /// Keeps a message that cannot be applied, so that the stream goes on and people can look at it.
    async fn bury(&mut self, work: &Work, why: &StoreError, stopping: &Stopping) -> bool {
        let Work::Message(message) = work else { return true };
        loop {
            let names = Names {
                inbound: vec![message.resource_id],
                ..Names::default()
            };
            let buried = self.ledger.apply(names, self.clock.now(), |known| {
                let inbound = inbound(message, "poisoned", Some(why.to_string()));
                let fresh = known.inbound.is_empty();
                (
                    Batch {
                        inbound: if fresh { vec![inbound] } else { Vec::new() },
                        ..Batch::default()
                    },
                    (),
                )
            });
            match buried.await {
                Err(StoreError::Lost(_)) => tokio::select! {
                    () = stopping.stopped() => return false,
                    () = tokio::time::sleep(PAUSE) => {}
                },
                // Refused even so: the log above is all that is left of it.
                Ok(()) | Err(_) => return true,
            }
        }
    }

    #[tracing::instrument(name = "commit", skip_all, fields(works = works.len()))]
    async fn commit(&mut self, works: &[Work]) -> Result<Vec<Outcome>, StoreError> {
        let began = Instant::now();
        let now = self.clock.now();
        let (identity, ids) = (self.identity.clone(), self.ids.clone());
        let decided = self.ledger.apply(names(works), now, |known| {
            // Signing takes a quarter of a millisecond a message: other tasks must not wait behind it.
            tokio::task::block_in_place(|| decide(&identity, &ids, known, works, now))
        });
        let decided = decided.await?;
        (self.up)(true);
        self.tell(&decided);
        for step in &decided.steps {
            step.tell(self.identity.ispb, now, self.clock.now());
        }
        if std::mem::take(&mut self.in_doubt) {
            // What was in the first time is only known the second time, and asks for no bell: ring for it.
            for channel in Channel::ALL {
                self.bells.of(channel).notify_one();
            }
            self.bells.keys.notify_one();
        }
        metrics::histogram!("bank_commit_seconds").record(began.elapsed().as_secs_f64());
        metrics::histogram!("bank_commit_works").record(u32::try_from(works.len()).unwrap_or(u32::MAX));
        Ok(decided.outcomes)
    }

    /// After the commit: whoever waits for it, and the metrics.
    fn tell(&self, decided: &Decided) {
        for channel in &decided.channels {
            self.bells.of(*channel).notify_one();
        }
        if decided.ask {
            self.bells.keys.notify_one();
        }
        for moved in &decided.moved {
            // Nobody may be looking.
            drop(self.bells.moved.send(*moved));
            match moved {
                Moved::Payment { end_to_end_id, state } => {
                    tracing::debug!(target: "payment", { payment.end_to_end_id = %end_to_end_id, state }, "a payment moved on");
                }
                Moved::Key { state, .. } => {
                    metrics::counter!("bank_keys_moved_total", "state" => *state).increment(1);
                }
            }
        }
        for (kind, outcome) in &decided.messages {
            metrics::counter!("bank_messages_total", "kind" => *kind, "outcome" => *outcome).increment(1);
        }
        for anomaly in &decided.anomalies {
            let kind = anomaly.kind.as_str();
            metrics::counter!("bank_anomalies_total", "kind" => kind).increment(1);
            tracing::error!(payment.end_to_end_id = %anomaly.end_to_end_id, kind, "an event does not fit the book");
        }
    }
}

/// What a batch came to, for those outside it.
#[derive(Default)]
struct Decided {
    outcomes: Vec<Outcome>,
    channels: Vec<Channel>,
    /// The DICT has to be asked something.
    ask: bool,
    moved: Vec<Moved>,
    steps: Vec<Step>,
    messages: Vec<(&'static str, &'static str)>,
    anomalies: Vec<bank_core::Anomaly>,
}

/// What the log may say of a work.
fn name(work: &Work) -> String {
    match work {
        Work::Order(order) => format!("order {}", order.end_to_end_id),
        Work::Message(message) => format!("message {}", message.resource_id),
        Work::Posted { message_id, .. } => format!("answer to {message_id}"),
        Work::Lookup(lookup) => format!("look-up {}", lookup.end_to_end_id),
        Work::Keys(work) => match &**work {
            KeyWork::Register { wish, .. } => format!("registration {}", wish.request_id),
            KeyWork::Heard(id, _) => format!("answer to registration {id}"),
            KeyWork::Remove(_) => "removal of a key".to_owned(),
            KeyWork::Confirm { .. } => "contact".to_owned(),
        },
    }
}

/// Everything that the works name.
fn names(works: &[Work]) -> Names {
    let mut names = Names::default();
    for work in works {
        match work {
            Work::Order(order) => {
                names.payments.push(order.end_to_end_id);
                match &order.from {
                    Payer::Customer(_, number) => names.accounts.push(*number),
                    Payer::Indirect(customer) => names.participants.push(customer.ispb),
                }
                match &order.to {
                    Payee::Account(to) => {
                        names.accounts.push(to.number);
                        names.participants.push(to.ispb);
                    }
                    Payee::Key(_) => names.lookups.push(order.end_to_end_id),
                }
                names.keys.extend(order.key.clone());
            }
            Work::Lookup(_) => {}
            Work::Keys(work) => names_of_keys(work, &mut names),
            Work::Posted {
                message_id, posted, ..
            } => {
                names.outbound.push(*message_id);
                if let Posted::Taken(id) = posted {
                    names.taken.push(*id);
                }
            }
            Work::Message(message) => {
                names.inbound.push(message.resource_id);
                match &message.content {
                    Content::Orders(orders) => {
                        names
                            .payments
                            .extend(orders.iter().map(|order| order.end_to_end_id));
                        names.accounts.extend(orders.iter().map(|order| order.to.number));
                        names
                            .participants
                            .extend(orders.iter().map(|order| order.to.ispb));
                    }
                    Content::Statuses(reports) => {
                        names
                            .payments
                            .extend(reports.iter().map(|report| report.end_to_end_id));
                    }
                    Content::Refusal { reference } => match reference_of(reference.as_str()) {
                        Some(Reference::Message(id)) => names.outbound.push(id),
                        Some(Reference::Resource(id)) => names.references.push(id),
                        None => {}
                    },
                    Content::Unreadable { .. } => {}
                }
            }
        }
    }
    names
}

fn names_of_keys(work: &KeyWork, names: &mut Names) {
    match work {
        KeyWork::Register { wish, account } => {
            names.registrations.push(wish.request_id);
            names.wishes.extend(wish.name.clone());
            let key = wish.key.as_deref().map(|key| Key::parse(wish.kind, key));
            names.dict_keys.extend(key.and_then(Result::ok));
            names.accounts.push(account.1);
        }
        KeyWork::Remove(key) => names.dict_keys.push(key.clone()),
        KeyWork::Confirm { contact, account } => {
            names.dict_keys.push(contact.clone());
            names.accounts.push(account.1);
        }
        KeyWork::Heard(id, _) => names.registrations.push(*id),
    }
}

/// What an admi.002 refers to.
enum Reference {
    Message(MsgId),
    Resource(ResourceId),
}

fn reference_of(text: &str) -> Option<Reference> {
    let message = MsgId::parse(text.as_bytes()).map(Reference::Message);
    message
        .or_else(|_| ResourceId::parse(text.as_bytes()).map(Reference::Resource))
        .ok()
}

fn inbound(message: &Received, outcome: &'static str, detail: Option<String>) -> Inbound {
    Inbound {
        resource_id: message.resource_id,
        channel: message.channel,
        message_id: message.message_id,
        kind: message.content.kind(),
        outcome,
        detail,
        stored: message.stored.clone(),
    }
}

/// Decides a batch over its facts, and signs what must go out.
fn decide(
    identity: &Identity,
    ids: &Ids,
    mut known: Known,
    works: &[Work],
    now: Timestamp,
) -> (Batch, Decided) {
    let facts = std::mem::take(&mut known.facts);
    let mut desk = Desk {
        now,
        book: Book::new(identity.ispb, facts),
        keyring: Keyring::new(std::mem::take(&mut known.keys)),
        seen: known.inbound.iter().copied().collect(),
        known,
        batch: Batch::default(),
        decided: Decided::default(),
        to_send: Vec::new(),
        answers: BTreeMap::new(),
        refusals: Vec::new(),
    };
    for work in works {
        let outcome = match work {
            Work::Order(order) => desk.order(order),
            Work::Posted {
                message_id,
                posted,
                attempts,
            } => desk.posted(*message_id, *posted, *attempts),
            Work::Message(message) => desk.message(message),
            Work::Lookup(lookup) => {
                desk.batch.lookups.push((**lookup).clone());
                Outcome::Done
            }
            Work::Keys(work) => desk.keys(work),
        };
        desk.decided.outcomes.push(outcome);
    }
    desk.finish(identity, ids)
}

/// A batch in the making.
struct Desk {
    now: Timestamp,
    book: Book,
    keyring: Keyring,
    known: Known,
    seen: HashSet<ResourceId>,
    batch: Batch,
    decided: Decided,
    to_send: Vec<EndToEndId>,
    answers: BTreeMap<Channel, Vec<Answer>>,
    refusals: Vec<(Channel, iso20022::Admi002)>,
}

impl Desk {
    fn order(&mut self, order: &Order) -> Outcome {
        let decided = self.book.order(order, self.now);
        if let Ok(Accepted::ToSend(id)) = decided {
            self.to_send.push(id);
        }
        Outcome::Order(decided)
    }

    fn keys(&mut self, work: &KeyWork) -> Outcome {
        let decided = match work {
            KeyWork::Register { wish, account } => {
                let account = self.book.account_at(account);
                self.keyring.register(wish, account).map(Some)
            }
            KeyWork::Remove(key) => self.keyring.remove(key, self.now).map(Some),
            KeyWork::Confirm { contact, account } => {
                let account = self.book.account_at(account);
                self.keyring.confirm_contact(contact, account).map(|()| None)
            }
            KeyWork::Heard(id, event) => {
                self.keyring.hear(*id, event.clone(), self.now);
                Ok(None)
            }
        };
        self.decided.ask |= matches!(decided, Ok(Some(KeyTaken::ToAsk(_))));
        Outcome::Keys(decided)
    }

    /// Our message is in, or will never be. Its PI-ResourceId may have been refused already.
    fn posted(&mut self, message_id: MsgId, posted: Posted, attempts: i32) -> Outcome {
        self.batch.posted.push((message_id, posted, attempts));
        match posted {
            Posted::Taken(resource_id) => {
                self.known.by_resource.insert(resource_id, message_id);
                if self.known.early_refusals.contains(&resource_id) {
                    self.refuse(message_id, &Refusal::Message);
                }
            }
            Posted::Refused { status } => self.refuse(message_id, &Refusal::Door { status }),
        }
        Outcome::Done
    }

    fn message(&mut self, message: &Received) -> Outcome {
        if !self.seen.insert(message.resource_id) {
            self.decided.messages.push((message.content.kind(), "repeated"));
            return Outcome::Done;
        }
        let mut outcome = ("applied", None);
        match &message.content {
            Content::Orders(orders) => {
                let answers = orders
                    .iter()
                    .filter_map(|order| self.book.incoming(order, self.now));
                self.answers.entry(message.channel).or_default().extend(answers);
            }
            Content::Statuses(reports) => reports
                .iter()
                .for_each(|report| self.book.status(report, self.now)),
            Content::Refusal { reference } => {
                if !self.refused_by_switch(reference.as_str()) {
                    outcome = ("ignored", Some("it refers to no message of ours".to_owned()));
                }
            }
            Content::Unreadable { answer, why } => {
                tracing::error!(
                    message.resource_id = %message.resource_id, why,
                    "a message of the SPI cannot be verified or read; answering admi.002"
                );
                self.refusals.push((message.channel, answer.clone()));
                outcome = ("unreadable", Some(why.clone()));
            }
        }
        self.decided.messages.push((message.content.kind(), outcome.0));
        self.batch.inbound.push(inbound(message, outcome.0, outcome.1));
        Outcome::Done
    }

    /// admi.002 on a message of ours. False when it is none that could be ours.
    fn refused_by_switch(&mut self, reference: &str) -> bool {
        let message_id = match reference_of(reference) {
            Some(Reference::Message(id)) => id,
            Some(Reference::Resource(id)) => match self.known.by_resource.get(&id) {
                Some(message_id) => *message_id,
                None => {
                    // The 201 that names it is still on its way to us.
                    self.batch.early_refusals.push(id);
                    self.known.early_refusals.push(id);
                    return true;
                }
            },
            None => return false,
        };
        tracing::error!(message.id = %message_id, "the switch could not process a message of ours");
        self.refuse(message_id, &Refusal::Message);
        self.known.outbound.contains_key(&message_id)
    }

    /// Orders of a message that was refused as a whole give their money back. Answers (pacs.002) of such
    /// a message stay as they are: the switch's deadline ends those payments.
    fn refuse(&mut self, message_id: MsgId, refusal: &Refusal) {
        let Some(message) = self
            .known
            .outbound
            .get(&message_id)
            .filter(|message| message.orders)
        else {
            return;
        };
        for id in &message.payments {
            self.book.message_refused(*id, refusal, self.now);
        }
    }

    /// Signs what must go out and closes the batch.
    fn finish(mut self, identity: &Identity, ids: &Ids) -> (Batch, Decided) {
        let mut outbound = Vec::new();
        let mut add = |kind, channel, payments: Vec<EndToEndId>, seal: &dyn Fn(MsgId) -> Vec<u8>| {
            let message_id = MsgId::new(identity.ispb, ids.u128());
            outbound.push(Outbound {
                message_id,
                kind,
                channel,
                body: seal(message_id),
                payments,
            });
        };
        for group in self.to_send.chunks(TRANSACTIONS_MAX) {
            let orders: Vec<_> = group.iter().filter_map(|id| self.with_payer(id)).collect();
            add("pacs.008", Channel::Primary, group.to_vec(), &|id| {
                identity.orders(id, self.now, &orders)
            });
        }
        for (channel, answers) in &self.answers {
            for group in answers.chunks(TRANSACTIONS_MAX) {
                let payments = group.iter().map(|answer| answer.end_to_end_id).collect();
                add("pacs.002", *channel, payments, &|id| {
                    identity.answers(id, self.now, group)
                });
            }
        }
        for (channel, refusal) in &self.refusals {
            add("admi.002", *channel, Vec::new(), &|id| {
                identity.refusal(id, self.now, refusal)
            });
        }
        self.decided.channels = outbound.iter().map(|message| message.channel).collect();
        self.decided.channels.sort_unstable();
        self.decided.channels.dedup();
        self.batch.outbound = outbound;
        self.batch.changes = self.book.into_changes();
        self.batch.keys = self.keyring.into_changes();
        self.decided.steps = steps(&self.batch.changes);
        self.decided.moved = moved(&self.batch.changes, &self.batch.keys);
        self.decided.anomalies = self.batch.changes.anomalies.clone();
        (self.batch, self.decided)
    }

    fn with_payer(&self, id: &EndToEndId) -> Option<(&bank_core::Payment, &bank_core::Account)> {
        let payment = self.book.payment(id)?;
        let Course::Outgoing { account, .. } = payment.course else {
            return None;
        };
        Some((payment, self.book.account(account)?))
    }
}

fn steps(changes: &Changes) -> Vec<Step> {
    let created = changes.created.iter().map(|payment| Step::of(payment, true));
    let updated = changes.updated.iter().map(|payment| Step::of(payment, false));
    created.chain(updated).collect()
}

fn moved(changes: &Changes, keys: &KeyChanges) -> Vec<Moved> {
    let payments = changes.created.iter().chain(&changes.updated);
    let payments = payments.map(|payment| Moved::Payment {
        end_to_end_id: payment.end_to_end_id,
        state: payment.state(),
    });
    let keys = keys.created.iter().chain(&keys.updated);
    let keys = keys.map(|registration| Moved::Key {
        request_id: registration.request_id,
        state: registration.state.as_str(),
    });
    payments.chain(keys).collect()
}
