//! What was heard of each payment, for whoever asks; of the last ones only, and none after a restart. Pure.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use pix_domain::{EndToEndId, Ispb, Money, MsgId, StatusReason, Timestamp, TransactionStatus};
use serde::Serialize;

use crate::script::Behaviour;

/// Stage of an answer of ours.
const ANSWERED: &str = "answered";

/// Payments, and messages sent, that are remembered: the oldest go.
const REMEMBERED_MAX: usize = 10_000;
/// Things heard of one payment: a switch that repeats itself for ever fills no memory.
const HEARD_MAX: usize = 64;

/// Where a payment is, as far as these participants know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Pending,
    Settled,
    Refused,
}

/// Which end of a payment is here; of a payment between two of these participants, the payer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Direction {
    Out,
    In,
}

/// Something that happened, in the words of a payment's story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Event {
    at: String,
    /// Which of the participants.
    participant: String,
    stage: &'static str,
    detail: String,
}

/// One payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Payment {
    pub(crate) end_to_end_id: String,
    pub(crate) direction: Direction,
    pub(crate) state: State,
    /// Why it was refused: a code, or the words of an admi.002.
    pub(crate) reason: Option<String>,
    pub(crate) amount: Option<String>,
    /// What the script said to do with it, on the receiver's side.
    #[serde(rename = "do")]
    pub(crate) behaviour: Option<String>,
    pub(crate) timeline: Vec<Event>,
    #[serde(skip)]
    decided: Option<Behaviour>,
}

/// A message of ours, which an admi.002 may refer to.
#[derive(Clone, Debug)]
struct Sent {
    payments: Vec<EndToEndId>,
    /// Nothing of a refused order ever happens; a refused answer may be followed by a good one.
    orders: bool,
}

/// The last payments and messages.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    payments: Recent<EndToEndId, Payment>,
    sent: Recent<MsgId, Sent>,
}

impl Memory {
    /// What is known of a payment.
    pub(crate) fn payment(&self, id: EndToEndId) -> Option<&Payment> {
        self.payments.map.get(&id)
    }

    /// What was decided when the order came for the first time: the switch repeats what was not confirmed, and a
    /// rule counts orders, not deliveries.
    pub(crate) fn decided(&self, id: EndToEndId) -> Option<Behaviour> {
        self.payment(id)?.decided
    }

    /// An order of ours is about to go.
    pub(crate) fn ordered(
        &mut self,
        id: EndToEndId,
        from: Ispb,
        amount: Money,
        message: MsgId,
        at: Timestamp,
    ) {
        let payment = self.of(id, Direction::Out);
        payment.direction = Direction::Out;
        payment.amount = Some(amount.to_string());
        payment.note(at, from, "sent", format!("pacs.008 {message}"));
        let payments = vec![id];
        self.sent.put(
            message,
            Sent {
                payments,
                orders: true,
            },
        );
    }

    /// An order came.
    pub(crate) fn received(
        &mut self,
        id: EndToEndId,
        to: Ispb,
        amount: Money,
        behaviour: Behaviour,
        at: Timestamp,
    ) {
        let payment = self.of(id, Direction::In);
        payment.amount = Some(amount.to_string());
        payment.behaviour = Some(behaviour.to_string());
        payment.decided = Some(behaviour);
        payment.note(at, to, "received", format!("pacs.008, to do: {behaviour}"));
    }

    /// Answers of ours are about to go, which hold or not. A receiver's refusal is an end of which the SPI tells the
    /// payer alone, unless the receiver has said something else before.
    pub(crate) fn answered(
        &mut self,
        by: Ispb,
        message: MsgId,
        answers: &[(EndToEndId, Option<StatusReason>)],
        good: bool,
        at: Timestamp,
    ) {
        for (id, refusal) in answers {
            let payment = self.of(*id, Direction::In);
            let is_first = payment.timeline.iter().all(|event| event.stage != ANSWERED);
            if let (Some(code), State::Pending, true, true) = (refusal, payment.state, is_first, good) {
                payment.state = State::Refused;
                payment.reason = Some(code.to_string());
            }
            let status = match refusal {
                None => TransactionStatus::AcceptedSettlementInProcess,
                Some(_) => TransactionStatus::Rejected,
            };
            let spoiled = if good { "" } else { ", signature spoiled" };
            let detail = format!("pacs.002 {}{spoiled}", in_words(status, *refusal));
            payment.note(at, by, ANSWERED, detail);
        }
        let payments = answers.iter().map(|(id, _)| *id).collect();
        let orders = false;
        self.sent.put(message, Sent { payments, orders });
    }

    /// The SPI told how a payment ended: settled without a reason, or refused.
    pub(crate) fn ended(
        &mut self,
        id: EndToEndId,
        to: Ispb,
        state: State,
        reason: Option<String>,
        what: String,
        at: Timestamp,
    ) {
        let payment = self.of(id, Direction::In);
        // The first end is the true one; what comes later is a repeat, or a mistake that is worth seeing below.
        if payment.state == State::Pending {
            payment.state = state;
            payment.reason = reason;
        }
        let stage = match state {
            State::Settled => "settled",
            State::Refused => "refused",
            State::Pending => "heard",
        };
        payment.note(at, to, stage, format!("pacs.002 {what}"));
    }

    /// The SPI could not process the message of this id.
    pub(crate) fn message_refused(&mut self, reference: &str, to: Ispb, reason: &str, at: Timestamp) {
        let message = MsgId::parse(reference.as_bytes()).ok();
        let Some(sent) = message.and_then(|id| self.sent.map.get(&id).cloned()) else {
            return;
        };
        for id in sent.payments {
            let payment = self.of(id, Direction::In);
            if sent.orders && payment.state == State::Pending {
                payment.state = State::Refused;
                payment.reason = Some(reason.to_owned());
            }
            payment.note(at, to, "heard", format!("admi.002 {reason}"));
        }
    }

    fn of(&mut self, id: EndToEndId, direction: Direction) -> &mut Payment {
        self.payments.get_or_put(id, || Payment {
            end_to_end_id: id.to_string(),
            direction,
            state: State::Pending,
            reason: None,
            amount: None,
            behaviour: None,
            timeline: Vec::new(),
            decided: None,
        })
    }
}

impl Payment {
    fn note(&mut self, at: Timestamp, participant: Ispb, stage: &'static str, detail: String) {
        if self.timeline.len() < HEARD_MAX {
            self.timeline.push(Event {
                at: String::from_utf8_lossy(&at.to_wire()).into_owned(),
                participant: participant.to_string(),
                stage,
                detail,
            });
        }
    }
}

/// `RJCT AC03`, as a status is told to people.
pub(crate) fn in_words(status: TransactionStatus, reason: Option<StatusReason>) -> String {
    reason.map_or_else(|| status.to_string(), |reason| format!("{status} {reason}"))
}

/// The last things put in, by key.
#[derive(Debug)]
struct Recent<K, V> {
    map: HashMap<K, V>,
    /// Oldest first; the keys of `map`.
    order: VecDeque<K>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            map: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    fn put(&mut self, key: K, value: V) {
        if self.map.insert(key, value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > REMEMBERED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.map.remove(&oldest);
            }
        }
    }

    fn get_or_put(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        if !self.map.contains_key(&key) {
            self.put(key, new());
        }
        self.map.get_mut(&key).expect("it was there or has been put")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn ispb() -> Ispb {
        Ispb::parse(b"99999A03").expect("an ISPB")
    }

    fn id(entropy: u128) -> EndToEndId {
        EndToEndId::new(ispb(), NOW, entropy)
    }

    #[test]
    fn the_first_end_stays_and_later_ones_are_seen() {
        let mut memory = Memory::default();
        memory.received(id(1), ispb(), Money::from_centavos(100), Behaviour::Twice, NOW);
        for (state, what) in [(State::Settled, "ACCC"), (State::Refused, "RJCT AB03")] {
            memory.ended(id(1), ispb(), state, None, what.to_owned(), NOW);
        }
        let payment = memory.payment(id(1)).expect("known");
        assert_eq!((payment.state, payment.timeline.len()), (State::Settled, 3));
        assert_eq!(memory.decided(id(1)), Some(Behaviour::Twice));
    }

    #[test]
    fn a_refused_order_is_over_and_a_refused_answer_is_not() {
        let mut memory = Memory::default();
        let message = |n| MsgId::new(ispb(), n);
        memory.ordered(id(1), ispb(), Money::from_centavos(100), message(1), NOW);
        memory.answered(ispb(), message(2), &[(id(2), None)], true, NOW);
        for n in [1, 2] {
            memory.message_refused(message(n).as_str(), ispb(), "XML inválido", NOW);
        }
        memory.message_refused("M", ispb(), "nobody knows it", NOW);
        let state = |n| memory.payment(id(n)).map(|payment| payment.state);
        assert_eq!((state(1), state(2)), (Some(State::Refused), Some(State::Pending)));
    }

    #[test]
    fn a_refusal_of_ours_is_an_end_unless_it_comes_late_or_does_not_hold() {
        let mut memory = Memory::default();
        let code = Some(StatusReason::AC03);
        let mut message = 0;
        let mut answer = |id, refusal, good| {
            message += 1;
            memory.answered(ispb(), MsgId::new(ispb(), message), &[(id, refusal)], good, NOW);
        };
        answer(id(1), code, true);
        answer(id(2), None, true);
        answer(id(2), code, true);
        answer(id(3), code, false);
        let state = |n| memory.payment(id(n)).map(|payment| payment.state);
        assert_eq!(
            [1, 2, 3].map(state),
            [State::Refused, State::Pending, State::Pending].map(Some)
        );
    }

    #[test]
    fn the_oldest_are_forgotten_and_repeats_are_bounded() {
        let mut memory = Memory::default();
        let count = u128::try_from(REMEMBERED_MAX).expect("few") + 1;
        for n in 0..count {
            memory.received(id(n), ispb(), Money::from_centavos(1), Behaviour::Accept, NOW);
        }
        assert!(memory.payment(id(0)).is_none() && memory.payment(id(1)).is_some());
        for _ in 0..=HEARD_MAX {
            memory.ended(id(1), ispb(), State::Settled, None, "ACCC".to_owned(), NOW);
        }
        assert_eq!(memory.payment(id(1)).map(|p| p.timeline.len()), Some(HEARD_MAX));
    }
}
