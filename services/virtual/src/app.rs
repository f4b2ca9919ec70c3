//! What all parts of the program share, and the way of its messages to the switch.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use pix_domain::{Ispb, MsgId, Timestamp};
use pix_icom::{Channel, Said};
use pix_runtime::{Clock as _, Ids, Stopping, SystemClock};
use tokio::sync::Semaphore;

use crate::memory::Memory;
use crate::messages::{Answer, Participant, SpiKeys, with_bad_signature};
use crate::script::{Rule, Script, TooManyRules};

/// Answers that wait for their time at once; then streams wait, as those of a participant that is overrun do.
const LATER_MAX: usize = 4096;
/// How long a message is brought to a switch that does not take it: past it every payment of it has ended.
const POST_WITHIN: Duration = Duration::from_secs(60);
/// Before trying again what the switch did not take, or did not answer.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that the switch may ask for.
const ASKED_MAX: Duration = Duration::from_secs(10);

/// The virtual participants and what they know.
pub(crate) struct App {
    /// One at least.
    pub(crate) participants: Vec<Arc<Participant>>,
    pub(crate) spi: SpiKeys,
    script: Mutex<Script>,
    memory: Mutex<Memory>,
    ids: Ids,
    pub(crate) later: Arc<Semaphore>,
    pub(crate) stopping: Stopping,
}

/// What became of a message at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Taken,
    Refused(StatusCode),
    /// Not taken in time, or perhaps taken and not answered.
    Unknown,
}

impl App {
    pub(crate) fn new(
        participants: Vec<Arc<Participant>>,
        spi: SpiKeys,
        script: Script,
        stopping: Stopping,
    ) -> Self {
        let app = Self {
            participants,
            spi,
            script: Mutex::new(script),
            memory: Mutex::default(),
            ids: Ids::system(),
            later: Arc::new(Semaphore::new(LATER_MAX)),
            stopping,
        };
        tell_loudly(&app.script());
        app
    }

    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        // Nothing in it can be half-changed: every change is one call.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These rules instead of those there are.
    ///
    /// # Errors
    /// [`TooManyRules`]: those there are stay.
    pub(crate) fn replace_rules(&self, rules: Vec<Rule>) -> Result<(), TooManyRules> {
        let mut script = self.script();
        *script = Script::new(rules)?;
        tell_loudly(&script);
        Ok(())
    }

    /// One more rule, before the others.
    ///
    /// # Errors
    /// [`TooManyRules`].
    pub(crate) fn add_rule(&self, rule: Rule) -> Result<(), TooManyRules> {
        let mut script = self.script();
        script.add(rule)?;
        tell_loudly(&script);
        Ok(())
    }

    /// The direct participant that is, or speaks for, this one.
    pub(crate) fn speaker(&self, ispb: Ispb) -> Option<&Arc<Participant>> {
        self.participants.iter().find(|one| one.speaks_for(ispb))
    }

    pub(crate) fn now(&self) -> Timestamp {
        SystemClock.now().to_millis()
    }

    pub(crate) fn message_id(&self, sender: Ispb) -> MsgId {
        MsgId::new(sender, self.ids.u128())
    }

    pub(crate) fn chance(&self) -> u128 {
        self.ids.u128()
    }

    /// Answers orders in one message of its own, until the switch has taken it.
    pub(crate) async fn answer(&self, who: &Participant, channel: Channel, answers: &[Answer], good: bool) {
        let (id, now) = (self.message_id(who.ispb), self.now());
        let mut message = who.answers(id, now, answers);
        if !good {
            message = with_bad_signature(&message);
        }
        self.memory().answered(who.ispb, id, answers, good, now);
        for (order, _) in answers {
            tracing::debug!(target: "payment", { payment.end_to_end_id = %order, message.id = %id }, "an order is answered");
        }
        match self.post(who, channel, message, POST_WITHIN).await {
            Fate::Taken => {}
            fate => tracing::warn!(message.id = %id, ?fate, "the switch has not taken an answer"),
        }
    }

    /// Brings a message to the door until it is taken, refused for good, or `within` is over.
    pub(crate) async fn post(
        &self,
        who: &Participant,
        channel: Channel,
        message: Bytes,
        within: Duration,
    ) -> Fate {
        let icom = who.icom(channel);
        let bring = async {
            loop {
                let (why, asked) = match icom.post(message.clone()).await {
                    Said::Taken(_) => return Fate::Taken,
                    Said::Refused(status) => return Fate::Refused(status),
                    Said::NotNow(status, asked) => (format!("HTTP {status}"), asked),
                    Said::Unknown(why, asked) => (why, asked),
                    Said::Away(why) => (why, None),
                };
                tracing::debug!(why, channel = channel.as_str(), "a message is not out yet");
                pause(asked).await;
            }
        };
        tokio::select! {
            () = self.stopping.stopped() => Fate::Unknown,
            fate = tokio::time::timeout(within, bring) => fate.unwrap_or(Fate::Unknown),
        }
    }
}

/// Waits before another try: what the switch asked for, or our own pause.
pub(crate) async fn pause(asked: Option<Duration>) {
    tokio::time::sleep(asked.map_or(PAUSE, |asked| asked.clamp(PAUSE, ASKED_MAX))).await;
}

/// A participant that misbehaves by order is easily taken for one that is broken.
fn tell_loudly(script: &Script) {
    let rules = script.rules();
    metrics::gauge!("sandbox_rules").set(u32::try_from(rules.len()).unwrap_or(u32::MAX));
    if rules.is_empty() {
        tracing::info!("the virtual participants accept everything");
    } else {
        tracing::warn!(
            rules = rules.len(),
            "the virtual participants do not behave: rules say what they do; `pix virtual rules` lists them"
        );
    }
}
