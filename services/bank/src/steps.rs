//! What a commit did to payments, for the metrics and for the payments' traces.

use bank_core::Payment;
use pix_domain::{EndToEndId, Ispb, Timestamp};
use pix_runtime::payment_trace::Stage;

/// One payment, one step on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    end_to_end_id: EndToEndId,
    direction: &'static str,
    state: &'static str,
    reason: &'static str,
    accepted_at: Timestamp,
    /// This bank hears of it for the first time.
    is_first: bool,
}

impl Step {
    pub(crate) fn of(payment: &Payment, is_first: bool) -> Self {
        Self {
            end_to_end_id: payment.end_to_end_id,
            direction: payment.direction(),
            state: payment.state(),
            reason: payment.refusal().map_or("none", bank_core::Refusal::as_str),
            accepted_at: payment.accepted_at,
            is_first,
        }
    }

    /// Counts it and sends its span: the commit began at `from` and was over at `to`.
    pub(crate) fn tell(&self, bank: Ispb, from: Timestamp, to: Timestamp) {
        let labels = [
            ("direction", self.direction),
            ("state", self.state),
            ("reason", self.reason),
        ];
        metrics::counter!("bank_payments_total", &labels).increment(1);
        if self.state != "pending" {
            metrics::histogram!("bank_payment_seconds", &labels[..2])
                .record(to.since(self.accepted_at).as_secs_f64());
        }
        let (name, from) = match (self.direction, self.is_first) {
            ("outgoing", true) => ("bank.order", self.accepted_at),
            ("outgoing", false) => ("bank.pay", self.accepted_at),
            ("incoming", true) => ("bank.answer", from),
            ("incoming", false) => ("bank.credit", from),
            _ => return, // between its own customers: nobody else has a part in it
        };
        let stage = Stage {
            end_to_end_id: self.end_to_end_id,
            name,
            from,
            to,
        };
        stage.send(&[
            ("participant.ispb", bank.as_str()),
            ("payment.state", self.state),
            ("payment.reason", self.reason),
        ]);
    }
}
