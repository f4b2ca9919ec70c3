//! How long each stage of a payment takes: for the metrics, and as spans of the payment's trace.
//!
//! The book's stages are told after each COMMIT, the desk's with each message. What is needed of payments and
//! messages under way is kept here, bounded, and lost at a restart: those go uncounted.

use std::collections::HashMap;

use pix_domain::{EndToEndId, Timestamp};
use pix_runtime::payment_trace::{self, Stage};
use spi_core::book::{Batch, Content, PaymentRow};
use spi_core::outgoing::{Form, Item};

/// Payments, and messages, that are followed at once.
const FOLLOWED_MAX: usize = 65_536;

/// Payments on their way through the book.
#[derive(Default)]
pub(crate) struct Payments(HashMap<EndToEndId, Begun>);

#[derive(Clone, Copy)]
struct Begun {
    received_at: Timestamp,
    blocked_at: Timestamp,
}

impl Payments {
    /// A batch is committed.
    pub(crate) fn committed(&mut self, batch: &Batch, at: Timestamp) {
        count_statuses(batch);
        if batch.steps.is_empty() {
            return;
        }
        let orders = batch.payments.iter();
        let orders: HashMap<EndToEndId, &PaymentRow> =
            orders.map(|row| (row.order.end_to_end_id, row)).collect();
        let answers = answers(batch);
        for step in &batch.steps {
            let id = step.end_to_end_id;
            match &step.end {
                None => {
                    count("blocked", "none");
                    let Some(row) = orders.get(&id) else { continue };
                    let begun = Begun {
                        received_at: row.received_at,
                        blocked_at: at,
                    };
                    let payer = row.order.payer.to_string();
                    stage(id, ORDER, "blocked", "spi.block", (row.received_at, at), &payer);
                    if self.0.len() < FOLLOWED_MAX {
                        self.0.insert(id, begun);
                    }
                }
                Some(end) => {
                    let reason = end.refusal().map_or("none", |refusal| refusal.reason.as_str());
                    count(end.as_str(), reason);
                    let begun = self.0.remove(&id);
                    if let Some(begun) = begun
                        && let Some((answered_at, receiver)) = answers.get(&id)
                    {
                        let waited = (begun.blocked_at, *answered_at);
                        stage(id, ORDER, "answered", "spi.wait", waited, receiver);
                        stage(id, ORDER, "settled", "spi.settle", (*answered_at, at), receiver);
                    }
                    let received_at = begun.map(|begun| begun.received_at);
                    let received_at = received_at.or_else(|| orders.get(&id).map(|row| row.received_at));
                    let Some(received_at) = received_at else { continue };
                    metrics::histogram!("spi_payment_seconds", "state" => end.as_str())
                        .record(at.since(received_at).as_secs_f64());
                    let whole = Stage {
                        end_to_end_id: id,
                        name: "payment",
                        from: received_at,
                        to: at,
                    };
                    whole.send_as_root(&[("payment.state", end.as_str()), ("payment.reason", reason)]);
                }
            }
        }
    }
}

/// When, and by whom, the payments of a batch were answered; only what is in time ends one.
fn answers(batch: &Batch) -> HashMap<EndToEndId, (Timestamp, String)> {
    let mut answers = HashMap::new();
    for row in &batch.messages {
        if let Content::Answers { answers: given, .. } = &row.inbound.content {
            for answer in given {
                let said = (row.inbound.received_at, row.inbound.sender.to_string());
                answers.entry(answer.end_to_end_id).or_insert(said);
            }
        }
    }
    answers
}

fn count(state: &'static str, reason: &'static str) {
    metrics::counter!("spi_payments_total", "state" => state, "reason" => reason).increment(1);
}

fn count_statuses(batch: &Batch) {
    for outgoing in &batch.outbox {
        if let Item::Status { report, .. } = &outgoing.item {
            let reason = report.reason.map_or("none", |reason| reason.as_str());
            let labels = [("status", report.status.as_str()), ("reason", reason)];
            metrics::counter!("spi_statuses_total", &labels).increment(1);
        }
    }
}

const ORDER: &str = "order";
const STATUS: &str = "status";

/// Messages on their way to their readers.
#[derive(Default)]
pub(crate) struct Messages(HashMap<i64, OnItsWay>);

struct OnItsWay {
    message: &'static str,
    reader: String,
    formed_at: Timestamp,
    delivered_at: Option<Timestamp>,
    /// Its payments, when there are traces.
    end_to_end_ids: Vec<EndToEndId>,
}

/// A transaction of a message that is formed: when it was decided, and its payment.
pub(crate) type Transaction = (i64, Timestamp, Option<EndToEndId>);

impl Messages {
    /// A message is committed.
    pub(crate) fn formed(
        &mut self,
        delivery: i64,
        form: Form,
        reader: &str,
        transactions: &[Transaction],
        at: Timestamp,
    ) {
        let message = match form {
            Form::Order(_) => ORDER,
            Form::Status => STATUS,
            Form::Refusal => return, // tells of no payment
        };
        let name = if message == ORDER {
            "spi.form"
        } else {
            "spi.form_status"
        };
        let mut end_to_end_ids = Vec::new();
        for (_, decided_at, payment) in transactions {
            observe(message, "formed", *decided_at, at);
            if let Some(id) = payment.filter(|_| payment_trace::is_on()) {
                send(id, name, *decided_at, at, reader);
                end_to_end_ids.push(id);
            }
        }
        if self.0.len() < FOLLOWED_MAX {
            let on_its_way = OnItsWay {
                message,
                reader: reader.to_owned(),
                formed_at: at,
                delivered_at: None,
                end_to_end_ids,
            };
            self.0.insert(delivery, on_its_way);
        }
    }

    /// A reader is given it; again, after its stream broke, counts for nothing.
    pub(crate) fn delivered(&mut self, delivery: i64, at: Timestamp) {
        if let Some(it) = self.0.get_mut(&delivery)
            && it.delivered_at.is_none()
        {
            it.delivered_at = Some(at);
            observe(it.message, "delivered", it.formed_at, at);
            let name = if it.message == ORDER {
                "spi.deliver"
            } else {
                "spi.deliver_status"
            };
            for id in &it.end_to_end_ids {
                send(*id, name, it.formed_at, at, &it.reader);
            }
        }
    }

    /// Its confirmation is committed.
    pub(crate) fn confirmed(&mut self, delivery: i64, at: Timestamp) {
        if let Some(it) = self.0.remove(&delivery)
            && let Some(delivered_at) = it.delivered_at
        {
            observe(it.message, "confirmed", delivered_at, at);
            let name = if it.message == ORDER {
                "spi.confirm"
            } else {
                "spi.confirm_status"
            };
            for id in &it.end_to_end_ids {
                send(*id, name, delivered_at, at, &it.reader);
            }
        }
    }
}

fn stage(
    id: EndToEndId,
    message: &'static str,
    stage: &'static str,
    name: &'static str,
    (from, to): (Timestamp, Timestamp),
    participant: &str,
) {
    observe(message, stage, from, to);
    send(id, name, from, to, participant);
}

fn observe(message: &'static str, stage: &'static str, from: Timestamp, to: Timestamp) {
    metrics::histogram!("spi_stage_seconds", "message" => message, "stage" => stage)
        .record(to.since(from).as_secs_f64());
}

fn send(end_to_end_id: EndToEndId, name: &'static str, from: Timestamp, to: Timestamp, participant: &str) {
    let stage = Stage {
        end_to_end_id,
        name,
        from,
        to,
    };
    stage.send(&[("participant.ispb", participant)]);
}
