//! How long each stage of a payment takes: for the metrics, and as spans of the payment's trace.
//!
//! The book's stages are told after each COMMIT, the desk's with each message. What is needed of payments and
//! messages under way is kept here, bounded, and lost at a restart: those go uncounted.

use std::collections::{BTreeMap, HashMap};

use metrics::Histogram;
use pix_domain::{EndToEndId, Ispb, Timestamp};
use pix_runtime::payment_trace::{self, Stage};
use spi_core::book::{Batch, Content, End, PaymentRow};
use spi_core::outgoing::{Form, Item};

/// Payments, and messages, that are followed at once.
const FOLLOWED_MAX: usize = 65_536;

/// Payments on their way through the book.
pub(crate) struct Payments {
    begun: HashMap<EndToEndId, Begun>,
    blocked: Histogram,
    answered: Histogram,
    settled: Histogram,
}

#[derive(Clone, Copy)]
struct Begun {
    received_at: Timestamp,
    blocked_at: Timestamp,
}

impl Default for Payments {
    fn default() -> Self {
        Self {
            begun: HashMap::new(),
            blocked: histogram(ORDER, "blocked"),
            answered: histogram(ORDER, "answered"),
            settled: histogram(ORDER, "settled"),
        }
    }
}

impl Payments {
    /// A batch is committed.
    pub(crate) fn committed(&mut self, batch: &Batch, at: Timestamp) {
        count_steps(batch);
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
                    let Some(row) = orders.get(&id) else { continue };
                    let begun = Begun {
                        received_at: row.received_at,
                        blocked_at: at,
                    };
                    record(&self.blocked, row.received_at, at);
                    send(id, "spi.block", row.received_at, at, row.order.payer);
                    if self.begun.len() < FOLLOWED_MAX {
                        self.begun.insert(id, begun);
                    }
                }
                Some(end) => {
                    let reason = end.refusal().map_or("none", |refusal| refusal.reason.as_str());
                    let begun = self.begun.remove(&id);
                    if let Some(begun) = begun
                        && let Some(&(answered_at, receiver)) = answers.get(&id)
                    {
                        record(&self.answered, begun.blocked_at, answered_at);
                        send(id, "spi.wait", begun.blocked_at, answered_at, receiver);
                        record(&self.settled, answered_at, at);
                        send(id, "spi.settle", answered_at, at, receiver);
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
fn answers(batch: &Batch) -> HashMap<EndToEndId, (Timestamp, Ispb)> {
    let mut answers = HashMap::new();
    for row in &batch.messages {
        if let Content::Answers { answers: given, .. } = &row.inbound.content {
            for answer in given {
                let said = (row.inbound.received_at, row.inbound.sender);
                answers.entry(answer.end_to_end_id).or_insert(said);
            }
        }
    }
    answers
}

/// Counted before they are told: what comes together is mostly of one kind.
fn count_steps(batch: &Batch) {
    let mut counts = BTreeMap::new();
    for step in &batch.steps {
        let state = step.end.as_ref().map_or("blocked", End::as_str);
        let refusal = step.end.as_ref().and_then(End::refusal);
        let reason = refusal.map_or("none", |refusal| refusal.reason.as_str());
        *counts.entry((state, reason)).or_insert(0) += 1;
    }
    for ((state, reason), count) in counts {
        metrics::counter!("spi_payments_total", "state" => state, "reason" => reason).increment(count);
    }
}

fn count_statuses(batch: &Batch) {
    let mut counts = BTreeMap::new();
    for outgoing in &batch.outbox {
        if let Item::Status { report, .. } = &outgoing.item {
            let reason = report.reason.map_or("none", |reason| reason.as_str());
            *counts.entry((report.status.as_str(), reason)).or_insert(0) += 1;
        }
    }
    for ((status, reason), count) in counts {
        metrics::counter!("spi_statuses_total", "status" => status, "reason" => reason).increment(count);
    }
}

const ORDER: &str = "order";
const STATUS: &str = "status";

/// Messages on their way to their readers.
pub(crate) struct Messages {
    followed: HashMap<i64, OnItsWay>,
    orders: Way,
    statuses: Way,
}

/// The stages of one kind of message.
struct Way {
    formed: Histogram,
    delivered: Histogram,
    confirmed: Histogram,
    form_span: &'static str,
    deliver_span: &'static str,
    confirm_span: &'static str,
}

struct OnItsWay {
    is_order: bool,
    reader: Ispb,
    formed_at: Timestamp,
    delivered_at: Option<Timestamp>,
    /// Its payments, when there are traces.
    end_to_end_ids: Vec<EndToEndId>,
}

/// A transaction of a message that is formed: when it was decided, and its payment.
pub(crate) type Transaction = (i64, Timestamp, Option<EndToEndId>);

impl Default for Messages {
    fn default() -> Self {
        let way = |message, form_span, deliver_span, confirm_span| Way {
            formed: histogram(message, "formed"),
            delivered: histogram(message, "delivered"),
            confirmed: histogram(message, "confirmed"),
            form_span,
            deliver_span,
            confirm_span,
        };
        Self {
            followed: HashMap::new(),
            orders: way(ORDER, "spi.form", "spi.deliver", "spi.confirm"),
            statuses: way(
                STATUS,
                "spi.form_status",
                "spi.deliver_status",
                "spi.confirm_status",
            ),
        }
    }
}

impl Messages {
    /// A message is committed.
    pub(crate) fn formed(
        &mut self,
        delivery: i64,
        form: Form,
        reader: Ispb,
        transactions: &[Transaction],
        at: Timestamp,
    ) {
        let (is_order, way) = match form {
            Form::Order(_) => (true, &self.orders),
            Form::Status => (false, &self.statuses),
            Form::Refusal => return, // tells of no payment
        };
        let mut end_to_end_ids = Vec::new();
        for (_, decided_at, payment) in transactions {
            record(&way.formed, *decided_at, at);
            if let Some(id) = payment.filter(|_| payment_trace::is_on()) {
                send(id, way.form_span, *decided_at, at, reader);
                end_to_end_ids.push(id);
            }
        }
        if self.followed.len() < FOLLOWED_MAX {
            let on_its_way = OnItsWay {
                is_order,
                reader,
                formed_at: at,
                delivered_at: None,
                end_to_end_ids,
            };
            self.followed.insert(delivery, on_its_way);
        }
    }

    /// A reader is given it; again, after its stream broke, counts for nothing.
    pub(crate) fn delivered(&mut self, delivery: i64, at: Timestamp) {
        if let Some(it) = self.followed.get_mut(&delivery)
            && it.delivered_at.is_none()
        {
            it.delivered_at = Some(at);
            let way = if it.is_order { &self.orders } else { &self.statuses };
            record(&way.delivered, it.formed_at, at);
            for id in &it.end_to_end_ids {
                send(*id, way.deliver_span, it.formed_at, at, it.reader);
            }
        }
    }

    /// Its confirmation is committed.
    pub(crate) fn confirmed(&mut self, delivery: i64, at: Timestamp) {
        if let Some(it) = self.followed.remove(&delivery)
            && let Some(delivered_at) = it.delivered_at
        {
            let way = if it.is_order { &self.orders } else { &self.statuses };
            record(&way.confirmed, delivered_at, at);
            for id in &it.end_to_end_ids {
                send(*id, way.confirm_span, delivered_at, at, it.reader);
            }
        }
    }
}

/// Asked for once: finding a metric by its labels costs more than recording into it.
fn histogram(message: &'static str, stage: &'static str) -> Histogram {
    metrics::histogram!("spi_stage_seconds", "message" => message, "stage" => stage)
}

fn record(histogram: &Histogram, from: Timestamp, to: Timestamp) {
    histogram.record(to.since(from).as_secs_f64());
}

fn send(end_to_end_id: EndToEndId, name: &'static str, from: Timestamp, to: Timestamp, participant: Ispb) {
    let stage = Stage {
        end_to_end_id,
        name,
        from,
        to,
    };
    stage.send(&[("participant.ispb", participant.as_str())]);
}
