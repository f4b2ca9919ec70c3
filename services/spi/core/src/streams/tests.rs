use std::collections::BTreeSet;

use pix_domain::Ispb;
use proptest::prelude::*;

use super::*;
use crate::outgoing::Channel;

fn mailbox() -> Mailbox {
    Mailbox {
        destination: Ispb::parse(b"11111111").expect("valid"),
        channel: Channel::Primary,
    }
}

fn delivery(id: i64) -> Delivery {
    Delivery {
        id,
        resource_id: ResourceId::new([u8::try_from(id % 250).expect("small"); 21]),
        formed_at: Timestamp::from_micros(id),
    }
}

/// The machine with what a shell around it knows.
#[derive(Default)]
struct World {
    streams: Streams,
    now_ms: i64,
    tokens: u128,
    waiters: u64,
}

impl World {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now_ms * 1000)
    }
    fn call(
        &mut self,
        f: impl FnOnce(&mut Streams, Waiter, Timestamp, &mut dyn FnMut() -> Token) -> Vec<Effect>,
    ) -> (Waiter, Vec<Effect>) {
        self.waiters += 1;
        let waiter = Waiter {
            id: self.waiters,
            connection: self.waiters,
        };
        let now = self.now();
        let tokens = &mut self.tokens;
        let mut fresh = || {
            *tokens += 1;
            Token(*tokens)
        };
        (waiter, f(&mut self.streams, waiter, now, &mut fresh))
    }
    fn formed(&mut self, ids: std::ops::Range<i64>) -> Vec<Effect> {
        self.call(|s, _, now, fresh| s.formed(ids.map(|id| (mailbox(), delivery(id))), now, fresh))
            .1
    }
    fn start(&mut self) -> (Waiter, Vec<Effect>) {
        self.call(|s, w, now, fresh| s.start(mailbox(), BATCH_MAX, w, now, fresh))
    }
    fn next(&mut self, token: Token) -> (Waiter, Vec<Effect>) {
        self.call(|s, w, now, fresh| s.next(mailbox(), token, BATCH_MAX, w, now, fresh))
    }
    fn close(&mut self, token: Token) -> (Waiter, Vec<Effect>) {
        self.call(|s, w, now, fresh| s.close(mailbox(), token, w, now, fresh))
    }
    fn confirmed(&mut self, id: StreamId) -> Vec<Effect> {
        self.call(|s, _, now, fresh| s.confirmed(id, now, fresh)).1
    }
    fn abandon(&mut self, waiter: Waiter) -> Vec<Effect> {
        self.call(|s, _, now, fresh| s.abandon(waiter, now, fresh)).1
    }
    fn broken(&mut self, waiter: Waiter) {
        let now = self.now();
        self.streams.broken(waiter.connection, now);
    }
    fn pass(&mut self, ms: i64) -> Vec<Effect> {
        self.now_ms += ms;
        self.call(|s, _, now, fresh| s.tick(now, fresh)).1
    }
}

fn batch_of(effects: &[Effect]) -> (Vec<i64>, Token) {
    match effects {
        [Effect::Reply(_, Reply::Batch { deliveries, next })] => {
            (deliveries.iter().map(|d| d.id).collect(), *next)
        }
        other => panic!("expected one batch: {other:?}"),
    }
}

fn confirm_of(effects: &[Effect]) -> (StreamId, Vec<i64>) {
    match effects {
        [Effect::Confirm(id, deliveries)] => (*id, deliveries.iter().map(|d| d.id).collect()),
        other => panic!("expected one confirmation: {other:?}"),
    }
}

#[test]
fn only_the_next_token_confirms_and_the_same_one_repeats_the_batch() {
    let mut world = World::default();
    world.formed(1..3);
    let (first, t1) = batch_of(&world.start().1);
    assert_eq!(first, [1, 2]);
    world.formed(3..4);
    let (stream, confirmed) = confirm_of(&world.next(t1).1);
    assert_eq!(
        confirmed,
        [1, 2],
        "nothing is answered before the confirmation is committed"
    );
    assert!(world.next(t1).1.is_empty(), "a repeat joins the wait");
    let effects = world.confirmed(stream);
    assert_eq!(effects.len(), 2, "both get the batch");
    let (second, t2) = batch_of(&effects[..1]);
    assert_eq!(second, [3]);
    assert_eq!(
        batch_of(&world.next(t1).1),
        (second, t2),
        "the same token, the same batch, the same next"
    );
    let (_, last) = confirm_of(&world.next(t2).1);
    assert_eq!(last, [3]);
    assert_eq!(
        world.next(t1).1[0],
        Effect::Reply(
            Waiter {
                id: world.waiters,
                connection: world.waiters
            },
            Reply::Gone
        ),
        "an old token"
    );
}

#[test]
fn a_long_poll_ends_empty_and_its_token_goes_on() {
    let mut world = World::default();
    assert!(world.start().1.is_empty());
    assert!(world.pass(4_999).is_empty());
    let (empty, t1) = batch_of(&world.pass(1));
    assert!(empty.is_empty());
    assert!(
        world.next(t1).1.is_empty(),
        "an empty batch needs no confirmation"
    );
    assert_eq!(batch_of(&world.formed(1..2)).0, [1]);
}

#[test]
fn an_idle_stream_gives_its_batch_to_another_and_its_token_is_gone() {
    let mut world = World::default();
    world.formed(1..2);
    let (_, t1) = batch_of(&world.start().1);
    world.pass(12_000);
    assert!(
        world.start().1.is_empty(),
        "the batch is still the first reader's"
    );
    assert!(world.pass(2_999).is_empty());
    assert_eq!(batch_of(&world.pass(1)).0, [1]);
    assert!(matches!(world.next(t1).1[..], [Effect::Reply(_, Reply::Gone)]));
}

#[test]
fn six_streams_and_a_seventh_is_refused_until_one_closes() {
    let mut world = World::default();
    for _ in 0..STREAMS_MAX {
        assert!(world.start().1.is_empty());
    }
    assert!(matches!(world.start().1[..], [Effect::Reply(_, Reply::TooMany)]));
    let replies = world.pass(5_000);
    let Effect::Reply(_, Reply::Batch { next, .. }) = replies[0] else {
        panic!("{replies:?}")
    };
    assert!(matches!(
        world.close(next).1[..],
        [Effect::Reply(_, Reply::Closed)]
    ));
    assert!(world.start().1.is_empty());
}

#[test]
fn delete_with_the_next_token_confirms_and_with_the_present_one_does_not() {
    let mut world = World::default();
    world.formed(1..2);
    let (_, t1) = batch_of(&world.start().1);
    let (stream, confirmed) = confirm_of(&world.close(t1).1);
    assert_eq!(confirmed, [1]);
    assert!(matches!(
        world.confirmed(stream)[..],
        [Effect::Reply(_, Reply::Closed)]
    ));

    world.formed(2..3);
    let (_, t2) = batch_of(&world.start().1);
    let (stream, _) = confirm_of(&world.next(t2).1);
    world.formed(3..4);
    world.confirmed(stream);
    assert!(matches!(world.close(t2).1[..], [Effect::Reply(_, Reply::Closed)]));
    assert_eq!(
        batch_of(&world.start().1).0,
        [3],
        "unconfirmed, so delivered again"
    );
}

#[test]
fn a_reader_that_went_away_in_a_long_poll_swallows_nothing() {
    let mut world = World::default();
    let (waiter, _) = world.start();
    assert!(world.abandon(waiter).is_empty());
    assert!(world.formed(1..2).is_empty(), "nobody listens");
    assert_eq!(batch_of(&world.start().1).0, [1]);
}

#[test]
fn a_batch_whose_reader_died_before_a_byte_left_goes_to_another_at_once() {
    let mut world = World::default();
    let (dead, _) = world.start();
    let (other, _) = world.start();
    let given = world.formed(1..2);
    assert!(matches!(given[..], [Effect::Reply(waiter, _)] if waiter == dead));
    let moved = world.abandon(dead);
    assert!(matches!(moved[..], [Effect::Reply(waiter, _)] if waiter == other));
    assert_eq!(batch_of(&moved).0, [1]);
}

#[test]
fn a_token_whose_answer_was_lost_with_its_connection_still_answers_the_same_for_a_second() {
    let mut world = World::default();
    world.formed(1..2);
    let (_, t1) = batch_of(&world.start().1);
    let (reader, effects) = world.next(t1);
    let (stream, _) = confirm_of(&effects);
    world.formed(2..3);
    let seen = batch_of(&world.confirmed(stream));
    world.broken(reader);
    world.pass(900);
    assert_eq!(
        batch_of(&world.next(t1).1),
        seen,
        "the reader is back, on another connection"
    );
    world.pass(14_000);
    assert_eq!(batch_of(&world.next(t1).1), seen, "and has all its time again");
}

#[test]
fn a_reader_that_died_leaves_its_batch_and_its_place_after_a_second() {
    let mut world = World::default();
    world.formed(1..2);
    let (dead, effects) = world.start();
    let (_, token) = batch_of(&effects);
    world.broken(dead);
    world.pass(1_000);
    assert_eq!(batch_of(&world.start().1).0, [1]);
    assert!(matches!(world.next(token).1[..], [Effect::Reply(_, Reply::Gone)]));
}

#[test]
fn a_token_asked_again_after_a_lost_long_poll_gets_what_came_meanwhile() {
    let mut world = World::default();
    world.formed(1..2);
    let (_, t1) = batch_of(&world.start().1);
    let (gone, effects) = world.next(t1);
    world.confirmed(confirm_of(&effects).0);
    world.abandon(gone);
    assert!(world.formed(2..3).is_empty());
    assert_eq!(batch_of(&world.next(t1).1).0, [2]);
}

#[test]
fn six_readers_that_went_away_leave_their_places() {
    let mut world = World::default();
    for _ in 0..STREAMS_MAX {
        let (waiter, _) = world.start();
        world.abandon(waiter);
    }
    assert!(world.start().1.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Form,
    Start,
    Next(usize),
    Close(usize),
    Commit,
    Abandon(usize),
    /// The replies of the next step are lost before a byte of them leaves.
    Lose,
    /// The connection of a request that was answered breaks.
    Break(u64),
    Pass(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Form),
        2 => Just(Step::Start),
        5 => (0_usize..8).prop_map(Step::Next),
        1 => (0_usize..8).prop_map(Step::Close),
        4 => Just(Step::Commit),
        1 => (0_usize..8).prop_map(Step::Abandon),
        1 => Just(Step::Lose),
        1 => (0_u64..12).prop_map(Step::Break),
        3 => (1_i64..9_000).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    /// Whatever readers do: no message is confirmed twice or before it was answered, none is lost, a token
    /// always answers the same, and every waiter gets at most one reply.
    #[test]
    fn no_order_of_requests_loses_or_doubles_a_message(steps in steps()) {
        let mut world = World::default();
        let mut formed = 0_i64;
        let mut confirmed = BTreeSet::new();
        let mut shown = BTreeSet::new();
        let mut committing: Vec<(StreamId, Vec<i64>)> = Vec::new();
        let mut tokens: Vec<Token> = Vec::new();
        let mut replied = BTreeSet::new();
        let mut waiting: Vec<Waiter> = Vec::new();
        let mut asked: HashMap<Waiter, Token> = HashMap::new();
        let mut answers: HashMap<Token, (Vec<i64>, Token)> = HashMap::new();
        let mut lose = false;
        for step in steps {
            let mut this = None;
            let lost = std::mem::take(&mut lose);
            let mut effects = match step {
                Step::Form => { formed += 1; world.formed(formed..formed + 1) }
                Step::Start => { let (w, e) = world.start(); this = Some(w); e }
                Step::Next(i) if !tokens.is_empty() => {
                    let token = tokens[tokens.len() - 1 - i % tokens.len()];
                    let (w, e) = world.next(token);
                    asked.insert(w, token);
                    this = Some(w);
                    e
                }
                Step::Close(i) if !tokens.is_empty() => {
                    let (w, e) = world.close(tokens[tokens.len() - 1 - i % tokens.len()]);
                    this = Some(w);
                    e
                }
                Step::Commit if !committing.is_empty() => {
                    let (stream, ids) = committing.remove(0);
                    for id in ids { prop_assert!(confirmed.insert(id), "{id} confirmed twice"); }
                    world.confirmed(stream)
                }
                Step::Abandon(i) if !waiting.is_empty() => {
                    let waiter = waiting.remove(i % waiting.len());
                    replied.insert(waiter.id);
                    world.abandon(waiter)
                }
                Step::Lose => { lose = true; Vec::new() }
                Step::Break(back) => {
                    let id = world.waiters.saturating_sub(back);
                    world.broken(Waiter { id, connection: id });
                    Vec::new()
                }
                Step::Pass(ms) => world.pass(ms),
                Step::Next(_) | Step::Close(_) | Step::Commit | Step::Abandon(_) => Vec::new(),
            };
            waiting.extend(this);
            let mut at = 0;
            while at < effects.len() {
                let effect = effects[at].clone();
                at += 1;
                match effect {
                    Effect::Reply(waiter, _) if lost && replied.insert(waiter.id) => {
                        waiting.retain(|other| *other != waiter);
                        effects.extend(world.abandon(waiter));
                    }
                    Effect::Confirm(stream, deliveries) => {
                        let ids: Vec<_> = deliveries.iter().map(|d| d.id).collect();
                        for id in &ids { prop_assert!(shown.contains(id), "{id} confirmed unseen"); }
                        committing.push((stream, ids));
                    }
                    Effect::Reply(waiter, reply) => {
                        prop_assert!(replied.insert(waiter.id), "{waiter:?} answered twice");
                        waiting.retain(|other| *other != waiter);
                        if let Reply::Batch { deliveries, next } = reply {
                            let ids: Vec<_> = deliveries.iter().map(|d| d.id).collect();
                            for id in &ids { prop_assert!(!confirmed.contains(id), "{id} shown after confirmation"); }
                            shown.extend(ids.iter().copied());
                            if let Some(token) = asked.get(&waiter) {
                                let first = answers.entry(*token).or_insert_with(|| (ids.clone(), next));
                                prop_assert_eq!(first.clone(), (ids, next), "a token's answer changed");
                            }
                            tokens.push(next);
                        }
                    }
                }
            }
        }
        // Everybody stops; whatever was not confirmed can still be read by somebody new.
        while !committing.is_empty() {
            let (stream, ids) = committing.remove(0);
            for id in ids { prop_assert!(confirmed.insert(id)); }
            for effect in world.confirmed(stream) {
                if let Effect::Confirm(stream, deliveries) = effect {
                    committing.push((stream, deliveries.iter().map(|d| d.id).collect()));
                }
            }
        }
        for waiter in waiting { world.abandon(waiter); }
        world.pass(20_000);
        world.pass(20_000);
        let mut left = BTreeSet::new();
        loop {
            let (_, effects) = world.start();
            let Some(Effect::Reply(_, Reply::Batch { deliveries, next })) = effects.first() else { break };
            left.extend(deliveries.iter().map(|d| d.id));
            if let [Effect::Confirm(stream, _)] = &world.close(*next).1[..] { world.confirmed(*stream); }
        }
        world.pass(20_000);
        world.pass(20_000);
        prop_assert!(world.streams.tokens.is_empty() && world.streams.waiters.is_empty(), "nothing leaks");
        let expected: BTreeSet<_> = (1..=formed).filter(|id| !confirmed.contains(id)).collect();
        prop_assert_eq!(left, expected);
    }
}
