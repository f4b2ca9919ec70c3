//! The script of the SPI's misbehaviour as operators write it, when there is one at all.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use pix_domain::{Ispb, Money, Timestamp};
use serde::{Deserialize, Serialize};
use spi_core::outgoing::Mailbox;
use spi_core::sandbox::{Behaviour, Cut, Rule, Sandbox};
use spi_core::streams::{Delivery, Token};

/// One rule in JSON: `{"participant": "11111111", "amount": "13.37", "do": "twice", "times": 1}`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    participant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    amount: Option<String>,
    #[serde(rename = "do")]
    behaviour: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<u32>,
}

/// The script; clones share it. Nothing can be scripted unless the process was started so.
#[derive(Clone)]
pub(crate) struct Script(Option<Arc<Mutex<Sandbox>>>);

/// Why a script is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ScriptRefusal {
    /// The process was not started for it.
    Off,
    /// What is wrong with which rule.
    Fault(String),
}

impl Script {
    /// Says so when it is on: this process may lie to participants.
    pub(crate) fn new(is_on: bool) -> Self {
        if is_on {
            tracing::warn!("SANDBOX: streams may be scripted to misbehave (sandbox); not for production");
        }
        let script = Self(is_on.then(Arc::default));
        script.change(|_| ());
        script
    }

    /// The rules that still act; `None` when nothing can be scripted.
    pub(crate) fn rules(&self) -> Option<Vec<RuleText>> {
        self.change(|sandbox| sandbox.rules().iter().map(RuleText::from).collect())
    }

    /// Replaces all rules.
    pub(crate) fn set(&self, texts: &[RuleText]) -> Result<(), ScriptRefusal> {
        if self.0.is_none() {
            return Err(ScriptRefusal::Off);
        }
        let rules: Result<Vec<Rule>, String> = texts
            .iter()
            .enumerate()
            .map(|(number, text)| text.parse().map_err(|why| format!("rule {}: {why}", number + 1)))
            .collect();
        let rules = rules.map_err(ScriptRefusal::Fault)?;
        for rule in &rules {
            tracing::warn!(
                participant.ispb = rule.participant.map(tracing::field::display),
                amount = rule.amount.map(tracing::field::display),
                behaviour = rule.behaviour.as_str(),
                times = rule.times.map(NonZeroU32::get),
                "SANDBOX: a rule is set"
            );
        }
        if rules.is_empty() {
            tracing::warn!("SANDBOX: no rules");
        }
        let set = self.change(|sandbox| sandbox.set(rules));
        set.unwrap_or(Ok(()))
            .map_err(|error| ScriptRefusal::Fault(error.to_string()))
    }

    /// Whether this GET gets no answer.
    pub(crate) fn at_the_door(&self, mailbox: Mailbox) -> Option<Cut> {
        let cut = self.change(|sandbox| sandbox.at_the_door(mailbox.destination))??;
        acted(mailbox, Behaviour::Cut(cut));
        Some(cut)
    }

    /// What happens to a batch that is about to leave, and to which of its messages.
    pub(crate) fn on_delivery<B: AsRef<[u8]>>(
        &self,
        mailbox: Mailbox,
        messages: &[B],
    ) -> Option<(Behaviour, Vec<usize>)> {
        let touched = self.change(|sandbox| sandbox.on_delivery(mailbox.destination, messages))??;
        acted(mailbox, touched.0);
        Some(touched)
    }

    /// These will be told again to whoever asks with the token that confirms them.
    pub(crate) fn repeat(&self, mailbox: Mailbox, token: Token, deliveries: Vec<Delivery>, now: Timestamp) {
        self.change(|sandbox| sandbox.repeat(mailbox, token, deliveries, now));
    }

    /// What is told again instead of the next batch.
    pub(crate) fn repeated(&self, mailbox: Mailbox, token: Token, now: Timestamp) -> Option<Vec<Delivery>> {
        self.change(|sandbox| sandbox.repeated(mailbox, token, now))?
    }

    fn change<T>(&self, how: impl FnOnce(&mut Sandbox) -> T) -> Option<T> {
        let mut sandbox = self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = how(&mut sandbox);
        metrics::gauge!("sandbox_rules").set(u32::try_from(sandbox.rules().len()).unwrap_or(u32::MAX));
        Some(changed)
    }
}

fn acted(mailbox: Mailbox, behaviour: Behaviour) {
    metrics::counter!("sandbox_acts_total", "behaviour" => behaviour.as_str()).increment(1);
    tracing::warn!(
        participant.ispb = %mailbox.destination,
        channel = mailbox.channel.as_str(),
        behaviour = behaviour.as_str(),
        "SANDBOX: a rule acts"
    );
}

impl RuleText {
    fn parse(&self) -> Result<Rule, String> {
        let participant = self.participant.as_deref();
        let participant = participant.map(|text| Ispb::parse(text.as_bytes())).transpose();
        let amount = self.amount.as_deref();
        let amount = amount.map(|text| Money::parse(text.as_bytes())).transpose();
        let behaviour = Behaviour::parse(&self.behaviour).ok_or_else(|| {
            let known = Behaviour::ALL.map(Behaviour::as_str).join(", ");
            format!(
                "do: the SPI's own behaviours are {known}; those of receivers belong to virtual participants"
            )
        });
        let times = self.times.map(|times| {
            NonZeroU32::new(times).ok_or("times: a rule acts at least once; without times it acts always")
        });
        Ok(Rule {
            participant: participant.map_err(|error| format!("participant: {error}"))?,
            amount: amount.map_err(|error| format!("amount: {error}"))?,
            behaviour: behaviour?,
            times: times.transpose()?,
        })
    }
}

impl From<&Rule> for RuleText {
    fn from(rule: &Rule) -> Self {
        Self {
            participant: rule.participant.map(|ispb| ispb.to_string()),
            amount: rule.amount.map(|amount| amount.to_string()),
            behaviour: rule.behaviour.as_str().to_owned(),
            times: rule.times.map(NonZeroU32::get),
        }
    }
}
