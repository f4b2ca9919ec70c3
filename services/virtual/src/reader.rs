//! Reads one stream of one virtual participant, and answers what comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use iso20022::{Document, Pacs002, Pacs008};
use pix_domain::{EndToEndId, ResourceId, TransactionStatus};
use pix_icom::{Channel, Pulled};
use pix_runtime::ops::Readiness;
use pix_runtime::payment_trace::Stage;

use crate::app::{App, pause};
use crate::memory::{State, in_words};
use crate::messages::{Answer, Opened, Participant};
use crate::script::Behaviour;

/// Answers in one message (rule of the SPI for a pacs.002).
const ANSWERS_MAX: usize = 10;

/// Before asking again a switch that refuses to let a participant read: it is put out until somebody changes that.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// Which participants the switch answers: ready when it does on every primary channel, be it with a refusal. One that
/// is put out (`active = false`) holds up nobody.
pub(crate) struct Up {
    primary: Vec<AtomicBool>,
    readiness: Readiness,
}

impl Up {
    /// Nobody hears it yet.
    pub(crate) fn new(participants: usize, readiness: Readiness) -> Self {
        let primary = std::iter::repeat_with(AtomicBool::default)
            .take(participants)
            .collect();
        Self { primary, readiness }
    }

    fn set(&self, seat: usize, up: bool) {
        self.primary[seat].store(up, Ordering::Relaxed);
        let all = self.primary.iter().all(|up| up.load(Ordering::Relaxed));
        self.readiness.set("switch", all);
    }
}

/// One stream.
pub(crate) struct Reader {
    pub(crate) app: Arc<App>,
    pub(crate) who: Arc<Participant>,
    /// The participant's place in the list.
    pub(crate) seat: usize,
    pub(crate) channel: Channel,
    pub(crate) up: Arc<Up>,
}

/// The signer of a message is not known here.
struct UnknownSigner;

impl Reader {
    /// Reads until the stop, then closes the stream. The GET of a token confirms the batch that came with it, so a
    /// token is only used once the switch has taken what is answered at once; what waits is lost with the process.
    pub(crate) async fn run(self) {
        let stopping = self.app.stopping.clone();
        let mut token: Option<String> = None;
        let mut met = false;
        while !stopping.is_stopped() {
            let pulled = tokio::select! {
                () = stopping.stopped() => break,
                pulled = self.pull(token.as_deref(), &mut met) => pulled,
            };
            let asked = match pulled {
                Pulled::Messages { next, messages } => match self.take(messages).await {
                    Ok(()) => {
                        self.heard(true);
                        token = Some(next);
                        continue;
                    }
                    Err(UnknownSigner) => {
                        self.heard(false);
                        tracing::error!(
                            participant = self.who.ispb.as_str(),
                            "a message is signed with a certificate that is not configured; \
                             update spi.signature_certificate and restart"
                        );
                        None
                    }
                },
                Pulled::Gone(status) => {
                    // 410 is a stream that ended; anything else is a switch that does not let us read.
                    let refused = status.as_u16() != 410;
                    if refused {
                        self.heard(true);
                        met = false;
                        tracing::warn!(
                            status = status.as_u16(),
                            participant = self.who.ispb.as_str(),
                            channel = self.channel.as_str(),
                            "the switch refuses to let a virtual participant read"
                        );
                    }
                    token = None;
                    refused.then_some(REFUSED_PAUSE)
                }
                Pulled::Later(why, asked) => {
                    self.heard(false);
                    met = false;
                    tracing::warn!(
                        why,
                        participant = self.who.ispb.as_str(),
                        channel = self.channel.as_str(),
                        "the stream does not answer"
                    );
                    asked
                }
            };
            tokio::select! {
                () = stopping.stopped() => break,
                () = pause(asked) => {}
            }
        }
        if let Some(token) = token {
            self.who.icom(self.channel).close(&token).await;
        }
    }

    /// After a silence the switch is greeted first: a long poll says only at its end that it is heard.
    async fn pull(&self, token: Option<&str>, met: &mut bool) -> Pulled {
        let icom = self.who.icom(self.channel);
        if !*met {
            *met = icom.answers().await;
            if *met {
                self.heard(true);
            }
        }
        icom.pull(token).await
    }

    fn heard(&self, up: bool) {
        if self.channel == Channel::Primary {
            self.up.set(self.seat, up);
        }
    }

    /// Takes a batch in, and answers it as the script says.
    async fn take(&self, messages: Vec<(ResourceId, Bytes)>) -> Result<(), UnknownSigner> {
        let app = &self.app;
        let mut to_do = Vec::new();
        for (resource, bytes) in messages {
            let now = app.now();
            match self.who.open(&bytes, resource, now, &app.spi) {
                Opened::Message(envelope) => match envelope.document {
                    Document::Pacs008(orders) => to_do.extend(self.decide(&orders)),
                    Document::Pacs002(statuses) => self.note(&statuses),
                    Document::Admi002(refusal) => {
                        tracing::info!(
                            participant = self.who.ispb.as_str(),
                            "the switch could not process a message of a virtual participant"
                        );
                        app.memory().message_refused(
                            refusal.reference.as_str(),
                            self.who.ispb,
                            refusal.reason.as_str(),
                            now,
                        );
                    }
                },
                Opened::Unreadable { answer, why } => {
                    tracing::warn!(
                        why,
                        participant = self.who.ispb.as_str(),
                        "a message cannot be processed"
                    );
                    let id = app.message_id(self.who.ispb);
                    let refusal = self.who.refusal(id, now, &answer);
                    app.post(&self.who, self.channel, refusal, REFUSAL_WITHIN).await;
                }
                Opened::UnknownSigner => return Err(UnknownSigner),
            }
        }
        self.answer(to_do).await;
        Ok(())
    }

    /// What to do with each order: what the script says, or said when it came for the first time.
    fn decide(&self, orders: &Pacs008) -> Vec<(EndToEndId, Behaviour)> {
        let mut decided = Vec::with_capacity(orders.transactions.len());
        for tx in &orders.transactions {
            let id = tx.end_to_end_id;
            let received_at = self.app.now();
            // One guard at a time, in this order everywhere.
            let known = self.app.memory().decided(id);
            let behaviour = known.unwrap_or_else(|| self.app.script().decide(tx.creditor_agent, tx.amount));
            self.app
                .memory()
                .received(id, tx.creditor_agent, tx.amount, behaviour, received_at);
            let stage = Stage {
                end_to_end_id: id,
                name: "virtual.decide",
                from: received_at,
                to: self.app.now(),
            };
            stage.send(&[
                ("participant.ispb", self.who.ispb.as_str()),
                ("behaviour", behaviour.name()),
            ]);
            metrics::counter!(
                "virtual_orders_total", "participant" => self.who.ispb.to_string(), "do" => behaviour.name()
            )
            .increment(1);
            if behaviour != Behaviour::Accept {
                tracing::info!(payment.end_to_end_id = %id, %behaviour, "an order is not simply accepted");
            }
            decided.push((id, behaviour));
        }
        // Rules that were used up are gone.
        let left = self.app.script().rules().len();
        metrics::gauge!("sandbox_rules").set(u32::try_from(left).unwrap_or(u32::MAX));
        decided
    }

    fn note(&self, statuses: &Pacs002) {
        for report in &statuses.transactions {
            let reason = report.reasons.iter().find_map(|reason| reason.code);
            let state = match report.status {
                TransactionStatus::SettledDebtor | TransactionStatus::SettledCreditor => State::Settled,
                TransactionStatus::Rejected => State::Refused,
                TransactionStatus::AcceptedSettlementInProcess => State::Pending,
            };
            let what = in_words(report.status, reason);
            let reason = reason.map(|code| code.to_string());
            self.app.memory().ended(
                report.original_end_to_end_id,
                self.who.ispb,
                state,
                reason,
                what,
                self.app.now(),
            );
        }
    }

    async fn answer(&self, to_do: Vec<(EndToEndId, Behaviour)>) {
        let mut together: Vec<Answer> = Vec::new();
        let mut apart: Vec<BoxFuture<'_, ()>> = Vec::new();
        for (id, behaviour) in to_do {
            let say = move |refusal| self.say(vec![(id, refusal)], true);
            match behaviour {
                Behaviour::Accept => together.push((id, None)),
                Behaviour::Reject(code) => together.push((id, Some(code))),
                Behaviour::Silence => {}
                Behaviour::Delay(span) => self.answer_later(id, span).await,
                Behaviour::AcceptThenReject(code) => apart.push(Box::pin(async move {
                    say(None).await;
                    say(Some(code)).await;
                })),
                Behaviour::Twice => apart.push(Box::pin(async move {
                    say(None).await;
                    say(None).await;
                })),
                Behaviour::BadSignature => apart.push(self.say(vec![(id, None)], false)),
            }
        }
        apart.extend(
            together
                .chunks(ANSWERS_MAX)
                .map(|chunk| self.say(chunk.to_vec(), true)),
        );
        join_all(apart).await;
    }

    fn say(&self, answers: Vec<Answer>, good: bool) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.app.answer(&self.who, self.channel, &answers, good).await })
    }

    /// Accepts after `span`, while the stream goes on.
    async fn answer_later(&self, id: EndToEndId, span: Duration) {
        let (app, who, channel) = (self.app.clone(), self.who.clone(), self.channel);
        let stopping = app.stopping.clone();
        let room = tokio::select! {
            () = stopping.stopped() => return,
            room = app.later.clone().acquire_owned() => room.expect("nobody closes it"),
        };
        tokio::spawn(async move {
            let _room = room;
            tokio::select! {
                () = stopping.stopped() => {}
                () = tokio::time::sleep(span) => app.answer(&who, channel, &[(id, None)], true).await,
            }
        });
    }
}

/// How long an admi.002 is brought to the switch before the stream goes on: nothing depends on it.
const REFUSAL_WITHIN: Duration = Duration::from_secs(5);
