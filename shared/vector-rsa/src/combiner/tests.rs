//! The combiner with a vector of the tests' own: it looks up what aws-lc signed before.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;
use std::thread;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};

use super::*;
use crate::key::tests::fresh;

/// Somebody who signs.
struct Owner {
    pair: KeyPair,
    key: Arc<Key>,
}

impl Owner {
    fn new() -> Self {
        let (pair, der) = fresh(KeySize::Rsa2048);
        let key = Key::from_der(&der, pair.public_key().as_ref()).expect("a fit key");
        Self {
            pair,
            key: Arc::new(key),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; SIGNATURE_LEN];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .expect("a signature");
        signature
    }
}

/// What the vector does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Right,
    /// The third lane has a wrong bit.
    Wrong,
    Fails,
    Panics,
}

struct Fake {
    mood: Mood,
    /// By what is signed and whose: the padded message and the greater prime.
    known: HashMap<(Octets, u64), Octets>,
    /// Of each call: different messages, and different keys.
    calls: Mutex<Vec<(usize, usize)>>,
}

impl Vector for Fake {
    fn sign(&self, lanes: &[Lane<'_>; LANES]) -> Result<[Octets; LANES], VectorFault> {
        let messages: BTreeSet<&Octets> = lanes.iter().map(|lane| lane.message).collect();
        let keys: BTreeSet<u64> = lanes.iter().map(|lane| lane.key.p[0]).collect();
        self.calls.lock().unwrap().push((messages.len(), keys.len()));
        let mut signatures = lanes.map(|lane| self.known[&(*lane.message, lane.key.p[0])]);
        match self.mood {
            Mood::Right => Ok(signatures),
            Mood::Wrong => {
                signatures[2][100] ^= 1;
                Ok(signatures)
            }
            Mood::Fails => Err(VectorFault(0x20)),
            Mood::Panics => panic!("a vector that panics"),
        }
    }
}

/// What came of a number of threads that wanted a signature while the only place was taken.
struct Outcome {
    combiner: Combiner<Fake>,
    signatures: Vec<thread::Result<Vec<u8>>>,
    right: Vec<Vec<u8>>,
    alone: usize,
}

impl Outcome {
    fn calls(&self) -> Vec<(usize, usize)> {
        self.combiner.vector.calls.lock().unwrap().clone()
    }

    fn assert_all_right(&self) {
        let all: Vec<&Vec<u8>> = self
            .signatures
            .iter()
            .map(|signature| signature.as_ref().expect("no panic"))
            .collect();
        assert!(
            all.iter()
                .zip(&self.right)
                .all(|(signature, right)| *signature == right)
        );
    }
}

fn message(number: usize) -> Vec<u8> {
    format!("message {number}").into_bytes()
}

fn together(threads: usize, owners: &[Owner], mood: Mood) -> Outcome {
    let owner = |number: usize| &owners[number % owners.len()];
    let right: Vec<Vec<u8>> = (0..threads).map(|n| owner(n).sign(&message(n))).collect();
    let known = right.iter().enumerate().map(|(n, signature)| {
        let place = (padded(&digest_of(&message(n))), owner(n).key.p[0]);
        (place, signature.as_slice().try_into().expect("256 octets"))
    });
    let fake = Fake {
        mood,
        known: known.collect(),
        calls: Mutex::default(),
    };
    let combiner = Combiner::new(fake, 1);
    let alone = AtomicUsize::new(0);
    let (leave, left) = mpsc::channel::<()>();
    let signatures = thread::scope(|scope| {
        let combiner = &combiner;
        let first = scope.spawn(move || {
            combiner.sign(&owners[0].key, b"first", || {
                left.recv().expect("told to go on");
                Vec::new()
            })
        });
        while combiner.state().taken == 0 {
            thread::yield_now();
        }
        let all: Vec<_> = (0..threads)
            .map(|n| {
                let alone = &alone;
                let thread = scope.spawn(move || {
                    combiner.sign(&owner(n).key, &message(n), || {
                        alone.fetch_add(1, Ordering::Relaxed);
                        owner(n).sign(&message(n))
                    })
                });
                // In their order, so that it is known who meets whom.
                while combiner.state().waiting.len() <= n {
                    thread::yield_now();
                }
                thread
            })
            .collect();
        leave.send(()).expect("the first waits");
        first.join().expect("the first signs alone");
        all.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let state = combiner.state();
    assert_eq!((state.taken, state.waiting.len()), (0, 0));
    drop(state);
    Outcome {
        combiner,
        signatures,
        right,
        alone: alone.into_inner(),
    }
}

#[test]
fn eight_that_wait_are_one_call() {
    let outcome = together(8, &[Owner::new()], Mood::Right);
    outcome.assert_all_right();
    assert_eq!((outcome.calls(), outcome.alone), (vec![(8, 1)], 0));
}

#[test]
fn thirteen_are_two_calls_and_lanes_that_nobody_needs_repeat_the_first() {
    let outcome = together(13, &[Owner::new()], Mood::Right);
    outcome.assert_all_right();
    assert_eq!((outcome.calls(), outcome.alone), (vec![(8, 1), (5, 1)], 0));
}

#[test]
fn fewer_than_five_sign_alone() {
    let outcome = together(CALL_MIN - 1, &[Owner::new()], Mood::Right);
    outcome.assert_all_right();
    assert_eq!((outcome.calls(), outcome.alone), (vec![], CALL_MIN - 1));
}

#[test]
fn lanes_may_have_different_keys() {
    let owners: Vec<Owner> = std::iter::repeat_with(Owner::new).take(3).collect();
    let outcome = together(8, &owners, Mood::Right);
    outcome.assert_all_right();
    assert_eq!((outcome.calls(), outcome.alone), (vec![(8, 3)], 0));
}

#[test]
fn one_who_comes_alone_is_signed_at_once() {
    let owner = Owner::new();
    let fake = Fake {
        mood: Mood::Right,
        known: HashMap::new(),
        calls: Mutex::default(),
    };
    let combiner = Combiner::new(fake, 0);
    assert_eq!(combiner.lanes(), LANES, "one place at least");
    for _ in 0..3 {
        assert_eq!(combiner.sign(&owner.key, b"x", || vec![7]), [7]);
    }
    assert!(combiner.vector.calls.lock().unwrap().is_empty());
}

#[test]
fn a_wrong_signature_is_never_given_out_and_ends_the_calls() {
    let outcome = together(16, &[Owner::new()], Mood::Wrong);
    outcome.assert_all_right();
    assert!(outcome.combiner.is_faulty.load(Ordering::Acquire));
    // The second call may have begun before the first one's signatures were looked at.
    assert!((1..=2).contains(&outcome.calls().len()) && outcome.alone >= 1);
    let calls = outcome.calls().len();
    let owner = Owner::new();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(outcome.combiner.sign(&owner.key, b"x", || vec![7]), [7]));
        }
    });
    assert_eq!(outcome.calls().len(), calls);
}

#[test]
fn a_call_that_fails_leaves_everybody_to_sign_alone() {
    let outcome = together(16, &[Owner::new()], Mood::Fails);
    outcome.assert_all_right();
    assert!(outcome.combiner.is_faulty.load(Ordering::Acquire));
    assert_eq!((outcome.calls().len(), outcome.alone), (1, 16));
}

#[test]
fn a_panic_in_a_call_keeps_nobody_waiting() {
    let outcome = together(8, &[Owner::new()], Mood::Panics);
    let panicked = outcome
        .signatures
        .iter()
        .filter(|signature| signature.is_err())
        .count();
    assert_eq!((panicked, outcome.alone), (1, 7));
}
