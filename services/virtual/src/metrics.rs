//! The metrics of the virtual participants, each in its line of the table; `docs/metrics.md` is written from it.

use pix_runtime::metric::{Label, Metric};

const PARTICIPANT: Label = Label::any("participant");

/// All of them.
pub(crate) static METRICS: &[Metric] = &[
    Metric::counter("virtual_payments_total", "payments", "Payments made on request.").by(&[PARTICIPANT]),
    Metric::counter("virtual_orders_total", "orders", "Orders answered, and how.")
        .by(&[PARTICIPANT, Label::any("do")]),
    Metric::gauge("sandbox_rules", "rules", "Rules that decide the answers."),
];
