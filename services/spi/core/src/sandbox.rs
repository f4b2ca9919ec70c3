//! Scripted misbehaviour of the SPI towards participants' streams, for those who test their own connector.
//!
//! A rule acts at one of two moments, and at each the first rule that fits wins:
//! - at the door of a GET, before anything is read or confirmed: [`Cut`] without an amount;
//! - when a batch with messages is about to leave: every other rule. One with an amount fits a batch with an order
//!   (pacs.008) of exactly this amount, and touches the messages that have one.
//!
//! Whatever a rule does happens on the wire only: what is stored, what counts as read and who reads it next stay
//! as they are without it.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use memchr::{memchr, memmem};
use pix_domain::{Ispb, Money, Timestamp};

use crate::outgoing::Mailbox;
use crate::streams::{Delivery, IDLE_MAX, Token};

/// Rules at once: a script for a person to read.
pub const RULES_MAX: usize = 100;
/// Batches that may wait to be told again; the oldest go. Each waits as long as a stream lives.
const REPEATS_MAX: usize = 1024;
/// What stands before an order's amount in the messages that we form.
const AMOUNT: &[u8] = b"<IntrBkSttlmAmt Ccy=\"BRL\">";
/// What stands before the first octet of a signature.
const SIGNATURE_VALUE: &[u8] = b"<ds:SignatureValue>";

/// An answer that does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// 503 with `Retry-After`.
    Unavailable,
    /// The connection is reset instead of an answer.
    Reset,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// No answer.
    Cut(Cut),
    /// The next GET gives the messages once more, with the same ids, although it confirmed them.
    Twice,
    /// One octet of each message's signature is another.
    BadSignature,
}

impl Behaviour {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Cut(Cut::Unavailable),
        Self::Cut(Cut::Reset),
        Self::Twice,
        Self::BadSignature,
    ];

    /// As a script writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cut(Cut::Unavailable) => "unavailable",
            Self::Cut(Cut::Reset) => "reset",
            Self::Twice => "twice",
            Self::BadSignature => "bad-signature",
        }
    }

    /// Takes back what [`Self::as_str`] gave.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|behaviour| behaviour.as_str() == text)
    }
}

/// One line of the script. What is absent fits all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The participant that reads.
    pub participant: Option<Ispb>,
    /// An order of this amount is among the messages.
    pub amount: Option<Money>,
    /// What happens.
    pub behaviour: Behaviour,
    /// To how many answers it happens; then the rule goes. Absent: to all.
    pub times: Option<NonZeroU32>,
}

impl Rule {
    fn reads(&self, participant: Ispb) -> bool {
        self.participant.is_none_or(|wanted| wanted == participant)
    }

    /// Whether it acts before anything is read.
    fn is_at_the_door(&self) -> bool {
        matches!(self.behaviour, Behaviour::Cut(_)) && self.amount.is_none()
    }

    /// Positions of the messages that it touches.
    fn touches<B: AsRef<[u8]>>(&self, messages: &[B]) -> Vec<usize> {
        let touched = |message: &B| self.amount.is_none_or(|amount| orders(message.as_ref(), amount));
        let positions = messages.iter().enumerate();
        positions
            .filter(|(_, message)| touched(message))
            .map(|(position, _)| position)
            .collect()
    }
}

/// More rules than [`RULES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a script has at most {RULES_MAX} rules")]
pub struct TooManyRules;

/// A batch that is told again.
#[derive(Debug)]
struct Repeat {
    mailbox: Mailbox,
    /// The token that asks for what comes after it.
    token: Token,
    deliveries: Vec<Delivery>,
    /// From then on the stream may be gone, and the batch somebody else's.
    until: Timestamp,
}

/// The script, and what it still owes.
#[derive(Debug, Default)]
pub struct Sandbox {
    rules: Vec<Rule>,
    repeats: VecDeque<Repeat>,
}

impl Sandbox {
    /// Replaces the whole script; what the old one still owed is forgotten.
    ///
    /// # Errors
    /// [`TooManyRules`]; the old script stays.
    pub fn set(&mut self, rules: Vec<Rule>) -> Result<(), TooManyRules> {
        if rules.len() > RULES_MAX {
            return Err(TooManyRules);
        }
        self.rules = rules;
        self.repeats.clear();
        Ok(())
    }

    /// The rules that still act, with the times that are left.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether this participant's GET gets no answer.
    pub fn at_the_door(&mut self, participant: Ispb) -> Option<Cut> {
        let position = self
            .rules
            .iter()
            .position(|rule| rule.is_at_the_door() && rule.reads(participant))?;
        match self.spend(position) {
            Behaviour::Cut(cut) => Some(cut),
            Behaviour::Twice | Behaviour::BadSignature => None,
        }
    }

    /// What happens to a batch that is about to leave, and to which of its messages.
    pub fn on_delivery<B: AsRef<[u8]>>(
        &mut self,
        participant: Ispb,
        messages: &[B],
    ) -> Option<(Behaviour, Vec<usize>)> {
        let candidates = self.rules.iter().enumerate();
        let (position, touched) = candidates
            .filter(|(_, rule)| !rule.is_at_the_door() && rule.reads(participant))
            .map(|(position, rule)| (position, rule.touches(messages)))
            .find(|(_, touched)| !touched.is_empty())?;
        Some((self.spend(position), touched))
    }

    /// These will be told again to whoever asks with the token that confirms them.
    pub fn repeat(&mut self, mailbox: Mailbox, token: Token, deliveries: Vec<Delivery>, now: Timestamp) {
        if self.repeats.len() >= REPEATS_MAX {
            self.repeats.pop_front();
        }
        self.repeats.push_back(Repeat {
            mailbox,
            token,
            deliveries,
            until: now.plus(IDLE_MAX),
        });
    }

    /// What is told again instead of the next batch, once. The token stays as it is: the next GET with it confirms.
    pub fn repeated(&mut self, mailbox: Mailbox, token: Token, now: Timestamp) -> Option<Vec<Delivery>> {
        self.repeats.retain(|repeat| now < repeat.until);
        let owed = |repeat: &Repeat| (repeat.mailbox, repeat.token) == (mailbox, token);
        let position = self.repeats.iter().position(owed)?;
        self.repeats.remove(position).map(|repeat| repeat.deliveries)
    }

    /// Counts a rule down.
    fn spend(&mut self, position: usize) -> Behaviour {
        let rule = &mut self.rules[position];
        let behaviour = rule.behaviour;
        if let Some(times) = rule.times {
            match NonZeroU32::new(times.get() - 1) {
                Some(left) => rule.times = Some(left),
                None => drop(self.rules.remove(position)),
            }
        }
        behaviour
    }
}

/// Whether one of our messages orders a payment of this amount. Ours are canonical, so an amount is written one way.
fn orders(message: &[u8], amount: Money) -> bool {
    memmem::find_iter(message, AMOUNT).any(|at| {
        let rest = &message[at + AMOUNT.len()..];
        let digits = memchr(b'<', rest).map(|end| &rest[..end]);
        digits.is_some_and(|digits| Money::parse(digits) == Ok(amount))
    })
}

/// The message with one octet of its `SignatureValue` changed.
#[must_use]
pub fn spoil(message: &[u8]) -> Vec<u8> {
    let mut spoiled = message.to_vec();
    let first = memmem::find(message, SIGNATURE_VALUE).map(|at| at + SIGNATURE_VALUE.len());
    if let Some(octet) = first.and_then(|at| spoiled.get_mut(at)) {
        *octet = if *octet == b'A' { b'B' } else { b'A' };
    }
    spoiled
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pix_domain::ResourceId;

    use super::*;
    use crate::outgoing::Channel;

    fn ispb(text: &str) -> Ispb {
        Ispb::parse(text.as_bytes()).expect("an ISPB")
    }

    fn rule(participant: Option<&str>, amount: Option<u64>, text: &str, times: Option<u32>) -> Rule {
        Rule {
            participant: participant.map(ispb),
            amount: amount.map(Money::from_centavos),
            behaviour: Behaviour::parse(text).expect("a behaviour"),
            times: times.and_then(NonZeroU32::new),
        }
    }

    fn sandbox(rules: &[Rule]) -> Sandbox {
        let mut sandbox = Sandbox::default();
        sandbox.set(rules.to_vec()).expect("few rules");
        sandbox
    }

    fn order(amount: &str) -> Vec<u8> {
        format!("<CdtTrfTxInf><IntrBkSttlmAmt Ccy=\"BRL\">{amount}</IntrBkSttlmAmt></CdtTrfTxInf>")
            .into_bytes()
    }

    const A: &str = "11111111";
    const B: &str = "22222222";

    #[test]
    fn every_behaviour_is_read_as_it_is_written() {
        for behaviour in Behaviour::ALL {
            assert_eq!(Behaviour::parse(behaviour.as_str()), Some(behaviour));
        }
        for foreign in ["", "Twice", "accept", "reject:AB03", "twice "] {
            assert_eq!(Behaviour::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn without_rules_nothing_happens() {
        let mut sandbox = Sandbox::default();
        assert_eq!(sandbox.at_the_door(ispb(A)), None);
        assert_eq!(sandbox.on_delivery(ispb(A), &[order("1.00")]), None);
    }

    #[test]
    fn the_first_that_fits_wins_and_goes_when_its_times_are_over() {
        let mut sandbox = sandbox(&[
            rule(Some(B), None, "reset", None),
            rule(Some(A), None, "reset", Some(1)),
            rule(None, None, "unavailable", Some(2)),
        ]);
        assert_eq!(sandbox.at_the_door(ispb(A)), Some(Cut::Reset));
        assert_eq!(sandbox.rules().len(), 2);
        assert_eq!(sandbox.at_the_door(ispb(A)), Some(Cut::Unavailable));
        assert_eq!(
            sandbox.rules()[1].times.map(NonZeroU32::get),
            Some(1),
            "one is left"
        );
        assert_eq!(sandbox.at_the_door(ispb(A)), Some(Cut::Unavailable));
        assert_eq!(sandbox.at_the_door(ispb(A)), None);
        for _ in 0..3 {
            assert_eq!(sandbox.at_the_door(ispb(B)), Some(Cut::Reset), "without end");
        }
    }

    #[test]
    fn a_rule_acts_at_its_own_moment_only() {
        let mut sandbox = sandbox(&[
            rule(None, None, "twice", Some(1)),
            rule(None, None, "reset", Some(1)),
        ]);
        assert_eq!(sandbox.at_the_door(ispb(A)), Some(Cut::Reset));
        let nothing: [Vec<u8>; 0] = [];
        assert_eq!(sandbox.on_delivery(ispb(A), &nothing), None, "an empty batch");
        let batch = [order("1.00"), order("2.00")];
        assert_eq!(
            sandbox.on_delivery(ispb(A), &batch),
            Some((Behaviour::Twice, vec![0, 1]))
        );
        assert!(sandbox.rules().is_empty());
    }

    #[test]
    fn an_amount_fits_the_messages_that_order_it_and_no_door() {
        let mut sandbox = sandbox(&[
            rule(None, Some(1337), "unavailable", Some(1)),
            rule(None, Some(1337), "bad-signature", None),
        ]);
        assert_eq!(sandbox.at_the_door(ispb(A)), None);
        assert_eq!(
            sandbox.on_delivery(ispb(A), &[order("13.38"), order("113.37")]),
            None
        );
        let status = b"<TxSts>ACSC</TxSts>".to_vec();
        let batch = [status, order("13.37"), [order("1.00"), order("13.37")].concat()];
        let cut = Behaviour::Cut(Cut::Unavailable);
        assert_eq!(sandbox.on_delivery(ispb(A), &batch), Some((cut, vec![1, 2])));
        let spoiled = Behaviour::BadSignature;
        assert_eq!(sandbox.on_delivery(ispb(A), &batch), Some((spoiled, vec![1, 2])));
    }

    #[test]
    fn a_message_cut_short_orders_nothing() {
        for end in 0..order("13.37").len() {
            let message = &order("13.37")[..end];
            let whole = memmem::find(message, b"</").is_some() || message.ends_with(b"13.37<");
            assert_eq!(orders(message, Money::from_centavos(1337)), whole, "{end}");
        }
    }

    #[test]
    fn a_script_too_long_leaves_the_old_one() {
        let mut sandbox = sandbox(&[rule(None, None, "twice", None)]);
        let long = vec![rule(None, None, "reset", None); RULES_MAX + 1];
        assert_eq!(sandbox.set(long), Err(TooManyRules));
        assert_eq!(sandbox.rules(), [rule(None, None, "twice", None)]);
    }

    #[test]
    fn a_batch_is_told_again_once_to_its_own_reader_while_its_stream_lives() {
        let now = Timestamp::parse(b"2026-11-21T12:00:00.000Z").expect("a time");
        let mailbox = |text| Mailbox {
            destination: ispb(text),
            channel: Channel::Primary,
        };
        let deliveries = vec![Delivery {
            id: 1,
            resource_id: ResourceId::from_bytes([7; 24]),
            formed_at: now,
        }];
        let mut sandbox = Sandbox::default();
        sandbox.repeat(mailbox(A), Token(1), deliveries.clone(), now);
        assert_eq!(
            sandbox.repeated(mailbox(B), Token(1), now),
            None,
            "another reader"
        );
        assert_eq!(sandbox.repeated(mailbox(A), Token(2), now), None, "another token");
        assert_eq!(
            sandbox.repeated(mailbox(A), Token(1), now),
            Some(deliveries.clone())
        );
        assert_eq!(sandbox.repeated(mailbox(A), Token(1), now), None, "a second time");
        sandbox.repeat(mailbox(A), Token(1), deliveries.clone(), now);
        let late = now.plus(IDLE_MAX);
        assert_eq!(sandbox.repeated(mailbox(A), Token(1), late), None);
        // A script that is replaced owes nothing.
        sandbox.repeat(mailbox(A), Token(1), deliveries.clone(), now);
        sandbox.set(Vec::new()).expect("no rules");
        assert_eq!(sandbox.repeated(mailbox(A), Token(1), now), None);
        for token in 0..=REPEATS_MAX {
            sandbox.repeat(mailbox(A), Token(token as u128), deliveries.clone(), now);
        }
        let soon = now.plus(Duration::from_secs(1));
        assert_eq!(
            sandbox.repeated(mailbox(A), Token(0), soon),
            None,
            "the oldest is gone"
        );
        assert_eq!(sandbox.repeated(mailbox(A), Token(1), soon), Some(deliveries));
    }

    #[test]
    fn spoiling_changes_one_octet_of_the_signature() {
        let message = b"<ds:SignatureValue>Abc=</ds:SignatureValue><Document>A</Document>";
        let spoiled = spoil(message);
        let changed: Vec<usize> = (0..message.len())
            .filter(|at| message[*at] != spoiled[*at])
            .collect();
        assert_eq!(changed, [SIGNATURE_VALUE.len()]);
        assert_ne!(spoil(b"<ds:SignatureValue>xyz="), b"<ds:SignatureValue>xyz=");
        assert_eq!(spoil(b"unsigned"), b"unsigned");
        assert_eq!(spoil(SIGNATURE_VALUE), SIGNATURE_VALUE);
    }
}
