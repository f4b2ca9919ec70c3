//! Signatures that are wanted at the same time are made together.
//!
//! A combiner has a few places, and whoever signs has one: alone, or for eight with one vector call. Who comes while a
//! place is free signs alone, at once; who comes while none is waits for one. Whoever leaves a place hands it on to
//! those who wait: five of them or more to a call, else to the first, who signs alone. So nobody waits for company,
//! and calls are made when there is so much to sign that requests queue.
//!
//! Whoever gets a signature from a call verifies it himself. One that is not right never leaves: it ends the calls, for
//! good, because half of a faulty RSA computation can give the key away, and the signature is made alone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{self, Digest};

use crate::{Key, Octets, SIGNATURE_LEN};

/// Signatures of one call.
pub const LANES: usize = 8;
/// Fewer than these sign alone: a call takes as long as four single signatures, however many lanes it fills.
pub const CALL_MIN: usize = 5;

/// What makes eight signatures side by side.
pub trait Vector: Send + Sync {
    /// Raises every lane's message to its private key.
    ///
    /// # Errors
    /// When it made no signatures; it is not asked again.
    fn sign(&self, lanes: &[Lane<'_>; LANES]) -> Result<[Octets; LANES], VectorFault>;
}

/// One of the eight.
#[derive(Clone, Copy)]
pub struct Lane<'a> {
    /// Whose signature.
    pub key: &'a Key,
    /// What is signed, padded.
    pub message: &'a Octets,
}

/// A call failed, with this status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the vector call ended with status {0:#x}")]
pub struct VectorFault(pub u32);

/// Brings signatures together.
pub struct Combiner<V> {
    vector: V,
    places: usize,
    state: Mutex<State>,
    is_faulty: AtomicBool,
}

#[derive(Default)]
struct State {
    taken: usize,
    /// Bounded by the threads of the process: each waits for its own.
    waiting: VecDeque<Request>,
}

struct Request {
    key: Arc<Key>,
    message: Octets,
    ticket: Arc<Ticket>,
}

/// Where a thread waits for its turn.
#[derive(Default)]
struct Ticket {
    turn: Mutex<Option<Turn>>,
    came: Condvar,
}

enum Turn {
    /// It has a place, and signs its own.
    Alone,
    /// It has a place, and makes the call for these; its own is among them.
    Call(Call),
    /// Somebody's call made it.
    Made(Box<Octets>),
    /// Somebody's call failed.
    Failed,
}

impl<V: Vector> Combiner<V> {
    /// With so many places, one at least.
    pub fn new(vector: V, places: usize) -> Self {
        Self {
            vector,
            places: places.max(1),
            state: Mutex::default(),
            is_faulty: AtomicBool::new(false),
        }
    }

    /// How many signatures are made at the same time when every place has a full call.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.places * LANES
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 over `message`. Blocks for its turn. `alone` makes the same signature in another
    /// way, on this thread; it is asked when few want one, and when the vector cannot be believed.
    pub fn sign(&self, key: &Arc<Key>, message: &[u8], alone: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        if self.is_faulty.load(Ordering::Acquire) {
            return alone();
        }
        let digest = digest_of(message);
        let Some(ticket) = self.queue(key, &digest) else {
            let _place = Place(self);
            return alone();
        };
        let made = match ticket.wait() {
            Turn::Alone => {
                let _place = Place(self);
                return alone();
            }
            Turn::Call(call) => {
                let place = Place(self);
                self.make(call);
                // Those who wait need not wait for what is done with ours.
                drop(place);
                match ticket.wait() {
                    Turn::Made(signature) => Some(signature),
                    _ => None,
                }
            }
            Turn::Made(signature) => Some(signature),
            Turn::Failed => None,
        };
        match made {
            Some(signature) if key.verifies(&digest, &*signature) => signature.to_vec(),
            Some(_) => {
                self.end("a signature made side by side does not verify");
                alone()
            }
            None => alone(),
        }
    }

    /// Takes a free place, or queues.
    fn queue(&self, key: &Arc<Key>, digest: &Digest) -> Option<Arc<Ticket>> {
        let mut state = self.state();
        if state.taken < self.places {
            state.taken += 1;
            return None;
        }
        let ticket = Arc::<Ticket>::default();
        state.waiting.push_back(Request {
            key: Arc::clone(key),
            message: padded(digest),
            ticket: Arc::clone(&ticket),
        });
        Some(ticket)
    }

    /// Hands a place on.
    fn leave(&self) {
        let mut state = self.state();
        let is_faulty = self.is_faulty.load(Ordering::Acquire);
        let taken = match state.waiting.len() {
            0 => {
                state.taken -= 1;
                return;
            }
            waiting if waiting >= CALL_MIN && !is_faulty => waiting.min(LANES),
            _ => 1,
        };
        let requests: Vec<Request> = state.waiting.drain(..taken).collect();
        drop(state);
        let first = Arc::clone(&requests[0].ticket);
        first.call(match requests.len() {
            1 => Turn::Alone,
            _ => Turn::Call(Call(requests)),
        });
    }

    /// Makes the call, and tells everybody in it.
    fn make(&self, mut call: Call) {
        let requests = &call.0;
        let lanes = std::array::from_fn(|lane| {
            // What is not needed repeats the first.
            let request = requests.get(lane).unwrap_or(&requests[0]);
            Lane {
                key: &request.key,
                message: &request.message,
            }
        });
        match self.vector.sign(&lanes) {
            Ok(signatures) => {
                for (request, signature) in call.0.drain(..).zip(signatures) {
                    request.ticket.call(Turn::Made(Box::new(signature)));
                }
            }
            // Going, it tells them.
            Err(fault) => self.end(&fault.to_string()),
        }
    }

    /// No more calls.
    fn end(&self, why: &str) {
        if !self.is_faulty.swap(true, Ordering::AcqRel) {
            tracing::error!(
                fault = why,
                "signatures are not made eight at a time any more: the library or the processor is faulty"
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place; it is handed on also when its owner panics.
struct Place<'a, V: Vector>(&'a Combiner<V>);

impl<V: Vector> Drop for Place<'_, V> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// At most eight; those who have got nothing when it goes are told so.
struct Call(Vec<Request>);

impl Drop for Call {
    fn drop(&mut self) {
        for request in self.0.drain(..) {
            request.ticket.call(Turn::Failed);
        }
    }
}

impl Ticket {
    fn wait(&self) -> Turn {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match turn.take() {
                Some(turn) => return turn,
                None => turn = self.came.wait(turn).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn call(&self, turn: Turn) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = Some(turn);
        self.came.notify_one();
    }
}

pub(crate) fn digest_of(message: &[u8]) -> Digest {
    digest::digest(&digest::SHA256, message)
}

/// EMSA-PKCS1-v1_5 (RFC 8017, 9.2) of a SHA-256.
pub(crate) fn padded(digest: &Digest) -> Octets {
    /// DER of DigestInfo up to the digest: SHA-256, no parameters.
    const DIGEST_INFO: [u8; 19] = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
        0x04, 0x20,
    ];
    let digest = digest.as_ref();
    let digest_at = SIGNATURE_LEN - digest.len();
    let info_at = digest_at - DIGEST_INFO.len();
    let mut padded = [0xff; SIGNATURE_LEN];
    padded[0] = 0;
    padded[1] = 1;
    padded[info_at - 1] = 0;
    padded[info_at..digest_at].copy_from_slice(&DIGEST_INFO);
    padded[digest_at..].copy_from_slice(digest);
    padded
}

#[cfg(test)]
mod tests;
