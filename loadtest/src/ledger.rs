//! What each payment of a run has come to, as the fleet's banks saw it: their books. Lock-free, bounded by the run.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pix_domain::{EndToEndId, Ispb, Timestamp};

use crate::schedule::{self, Order};

/// What a bank heard about a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The payer's participant: ACSC.
    Settled,
    /// The payer's participant: RJCT.
    Refused,
    /// The receiver's participant: ACCC.
    Credited,
    /// The receiver's participant: RJCT, of what it had accepted.
    Withdrawn,
    /// The receiver's participant: the order itself.
    Ordered,
}

impl Heard {
    fn shift(self) -> u32 {
        match self {
            Self::Settled => 8,
            Self::Refused => 12,
            Self::Credited => 16,
            Self::Withdrawn => 20,
            Self::Ordered => 24,
        }
    }
}

/// What the door said to the message of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// It was sent.
    Sent = 1,
    /// 201.
    Taken = 2,
    /// Refused for good, or not taken in time: never stored.
    Refused = 4,
}

/// How often each can be counted.
const COUNT_MAX: u32 = 15;

/// One payment.
#[derive(Default)]
struct Slot {
    payer: u16,
    receiver: u16,
    /// Microseconds from the start.
    scheduled: AtomicU64,
    /// Microseconds from the start; zero until then.
    started: AtomicU64,
    /// Three bits of the door, then four bits of each thing heard.
    state: AtomicU32,
}

/// All payments of one run.
pub(crate) struct Ledger {
    slots: Vec<Slot>,
    seed: u64,
    nonce: [u8; NONCE],
}

/// Characters of an EndToEndId that name the run, and those that number the payment.
const NONCE: usize = 5;
const NUMBER: usize = 6;
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

impl Ledger {
    pub(crate) fn new(orders: &[Order], seed: u64, entropy: u64) -> Self {
        let slot = |order: &Order| Slot {
            payer: order.payer,
            receiver: order.receiver,
            scheduled: AtomicU64::new(order.at),
            ..Slot::default()
        };
        let slots = orders
            .iter()
            .flat_map(|order| order.payments().map(move |_| slot(order)));
        Self {
            slots: slots.collect(),
            seed,
            nonce: digits(entropy),
        }
    }

    /// The id of payment `number`: it says which run and which payment it is.
    pub(crate) fn id(&self, number: u32, payer: Ispb, at: Timestamp) -> EndToEndId {
        let mut raw = *EndToEndId::new(payer, at, 0).as_bytes();
        raw[21..21 + NONCE].copy_from_slice(&self.nonce);
        raw[21 + NONCE..].copy_from_slice(&digits::<NUMBER>(u64::from(number)));
        EndToEndId::parse(&raw).expect("letters and digits in their places")
    }

    /// Which payment of this run it is; nothing of another.
    pub(crate) fn number(&self, id: &EndToEndId) -> Option<u32> {
        let tail = &id.as_bytes()[21..];
        let (nonce, number) = tail.split_at(NONCE);
        if nonce != self.nonce {
            return None;
        }
        let mut value = 0_u64;
        for digit in number {
            let digit = DIGITS.iter().position(|known| known == digit)?;
            value = value * 36 + crate::number::wide(digit);
        }
        u32::try_from(value)
            .ok()
            .filter(|number| self.slots.get(index(*number)).is_some())
    }

    pub(crate) fn amount(&self, number: u32) -> u64 {
        schedule::amount(self.seed, number)
    }

    /// Which of the fleet's banks pays it.
    pub(crate) fn payer(&self, number: u32) -> u16 {
        self.slots[index(number)].payer
    }

    pub(crate) fn scheduled(&self, number: u32) -> u64 {
        self.slots[index(number)].scheduled.load(Ordering::Relaxed)
    }

    pub(crate) fn started(&self, number: u32) -> u64 {
        self.slots[index(number)].started.load(Ordering::Relaxed)
    }

    /// One at a time has no plan: a payment's instant is when it starts.
    pub(crate) fn schedule_now(&self, number: u32, now: u64) {
        self.slots[index(number)].scheduled.store(now, Ordering::Relaxed);
    }

    /// Its message is being sent.
    pub(crate) fn start(&self, number: u32, now: u64) {
        self.slots[index(number)].started.store(now, Ordering::Relaxed);
        self.door(number, Door::Sent);
    }

    pub(crate) fn door(&self, number: u32, door: Door) {
        self.slots[index(number)]
            .state
            .fetch_or(door as u32, Ordering::Relaxed);
    }

    /// Notes it; whether it is heard for the first time.
    pub(crate) fn hear(&self, number: u32, what: Heard) -> bool {
        let shift = what.shift();
        let more =
            |state: u32| ((state >> shift) & COUNT_MAX < COUNT_MAX).then_some(state.wrapping_add(1 << shift));
        let before = self.slots[index(number)]
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        // Refused by `more`: it has been heard often.
        before.is_ok_and(|state| (state >> shift) & COUNT_MAX == 0)
    }

    /// Adds up what happened, for the gate.
    pub(crate) fn tally(&self, banks: usize) -> Tally {
        let mut tally = Tally {
            moved: vec![0; banks],
            ..Tally::default()
        };
        for (number, slot) in (0_u32..).zip(&self.slots) {
            tally.add(
                slot,
                i64::try_from(self.amount(number)).expect("a hundred at most"),
            );
        }
        tally
    }
}

/// What all payments came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Sent at all.
    pub(crate) sent: u64,
    /// Taken by the switch: 201, or an end where the 201 was lost.
    pub(crate) accepted: u64,
    /// Refused at the door: never stored.
    pub(crate) refused_at_door: u64,
    /// ACSC.
    pub(crate) settled: u64,
    /// RJCT.
    pub(crate) rejected: u64,
    /// Accepted, without an end.
    pub(crate) open: u64,
    /// Sent, and nobody knows.
    pub(crate) unknown: u64,
    /// With more than one end, or an end though it was refused at the door.
    pub(crate) ended_twice: u64,
    /// ACSC without ACCC.
    pub(crate) uncredited: u64,
    /// ACCC without ACSC, or more than one.
    pub(crate) credited_wrongly: u64,
    /// Of settled payments.
    pub(crate) status_reports: u64,
    /// By bank, in centavos: what its customers have more, as it knows.
    pub(crate) moved: Vec<i64>,
}

impl Tally {
    fn add(&mut self, slot: &Slot, amount: i64) {
        let state = slot.state.load(Ordering::Relaxed);
        let door = |door: Door| state & door as u32 != 0;
        let heard = |what: Heard| u64::from((state >> what.shift()) & COUNT_MAX);
        if !door(Door::Sent) {
            return;
        }
        self.sent += 1;
        let (settled, refused, credited) = (
            heard(Heard::Settled),
            heard(Heard::Refused),
            heard(Heard::Credited),
        );
        let ends = settled + refused;
        self.settled += u64::from(settled > 0);
        self.rejected += u64::from(settled == 0 && refused > 0);
        if door(Door::Taken) || ends > 0 {
            self.accepted += 1;
            self.open += u64::from(ends == 0);
        } else if door(Door::Refused) {
            self.refused_at_door += 1;
        } else {
            self.unknown += 1;
        }
        let is_wrong = ends > 1 || ends > 0 && door(Door::Refused) && !door(Door::Taken);
        self.ended_twice += u64::from(is_wrong);
        self.uncredited += u64::from(settled > 0 && credited == 0);
        self.credited_wrongly += u64::from(credited > 1 || credited > 0 && settled == 0);
        if settled > 0 {
            self.status_reports += settled + credited;
            self.moved[usize::from(slot.payer)] -= amount;
        }
        if credited > 0 {
            self.moved[usize::from(slot.receiver)] += amount;
        }
    }

    /// Whether nothing more is to come.
    pub(crate) fn is_over(&self) -> bool {
        self.open == 0 && self.unknown == 0 && self.uncredited == 0
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("32 bits fit")
}

/// The last `N` digits to the base of 36.
fn digits<const N: usize>(mut value: u64) -> [u8; N] {
    let mut out = [b'0'; N];
    for digit in out.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(value % 36).expect("below 36")];
        value /= 36;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(payments: u8) -> Ledger {
        let order = Order {
            at: 5,
            payer: 0,
            receiver: 1,
            first: 0,
            count: payments,
            twice: false,
        };
        Ledger::new(&[order], 7, 0x1234_5678)
    }

    #[test]
    fn an_id_tells_its_payment_and_its_run() {
        let ledger = ledger(10);
        let payer = Ispb::parse(b"98000001").unwrap();
        let at = Timestamp::parse(b"2026-11-21T12:00:00.000Z").unwrap();
        for number in 0..10 {
            let id = ledger.id(number, payer, at);
            assert_eq!(ledger.number(&id), Some(number));
            assert_eq!(id.agent(), payer);
            assert_eq!(id.minute().unwrap(), at);
        }
        assert_eq!(ledger.number(&ledger.id(10, payer, at)), None, "there are ten");
        let other = Ledger::new(&[], 7, 0x1234_5679);
        assert_eq!(other.number(&ledger.id(1, payer, at)), None);
        assert_eq!(ledger.number(&EndToEndId::new(payer, at, 77)), None);
    }

    #[test]
    fn a_settled_payment_moves_its_amount_once() {
        let ledger = ledger(2);
        for number in 0..2 {
            ledger.start(number, 10);
            ledger.door(number, Door::Taken);
            assert!(ledger.hear(number, Heard::Ordered));
            assert!(ledger.hear(number, Heard::Settled));
            assert!(ledger.hear(number, Heard::Credited));
        }
        let tally = ledger.tally(2);
        let both = i64::try_from(ledger.amount(0) + ledger.amount(1)).unwrap();
        assert_eq!(tally.moved, [-both, both]);
        assert_eq!(
            (tally.sent, tally.accepted, tally.settled, tally.status_reports),
            (2, 2, 2, 4)
        );
        assert!(tally.is_over());
        assert!(!ledger.hear(1, Heard::Credited));
        let tally = ledger.tally(2);
        assert_eq!((tally.credited_wrongly, tally.status_reports), (1, 5));
        assert_eq!(tally.moved, [-both, both]);
    }

    #[test]
    fn every_other_course_is_told_apart() {
        let tally = |course: &dyn Fn(&Ledger)| {
            let ledger = ledger(1);
            ledger.start(0, 10);
            course(&ledger);
            ledger.tally(2)
        };
        assert_eq!(ledger(3).tally(2).sent, 0);
        assert_eq!(tally(&|_| ()).unknown, 1);
        let open = tally(&|ledger| ledger.door(0, Door::Taken));
        assert_eq!((open.accepted, open.open), (1, 1));
        assert_eq!(tally(&|ledger| ledger.door(0, Door::Refused)).refused_at_door, 1);
        let rejected = tally(&|ledger| {
            ledger.door(0, Door::Taken);
            ledger.hear(0, Heard::Refused);
        });
        assert_eq!(
            (rejected.rejected, rejected.settled, rejected.moved),
            (1, 0, vec![0, 0])
        );
        let lost_201 = tally(&|ledger| {
            ledger.hear(0, Heard::Refused);
        });
        assert_eq!((lost_201.accepted, lost_201.unknown), (1, 0));
        let both = tally(&|ledger| {
            ledger.hear(0, Heard::Refused);
            ledger.hear(0, Heard::Settled);
        });
        assert_eq!((both.ended_twice, both.uncredited), (1, 1));
        let ghost = tally(&|ledger| {
            ledger.door(0, Door::Refused);
            ledger.hear(0, Heard::Settled);
        });
        assert_eq!(ghost.ended_twice, 1);
        let unpaid = tally(&|ledger| {
            ledger.hear(0, Heard::Credited);
        });
        assert_eq!(unpaid.credited_wrongly, 1);
    }

    #[test]
    fn counting_stops_before_it_overflows() {
        let ledger = ledger(1);
        for _ in 0..100 {
            ledger.hear(0, Heard::Settled);
        }
        ledger.start(0, 1);
        let tally = ledger.tally(2);
        assert_eq!((tally.settled, tally.rejected, tally.ended_twice), (1, 0, 1));
    }
}
