//! The metrics of a service, each declared once: what it counts, in which unit, by which labels.
//!
//! ```
//! use pix_runtime::metric::{self, Label, Metric};
//!
//! static METRICS: &[Metric] = &[
//!     Metric::counter("spi_messages_total", "messages", "Messages taken in.")
//!         .by(&[Label::of("outcome", &["committed", "seen"])]),
//!     Metric::histogram("spi_post_seconds", "s", "From the last byte of a message to its answer."),
//! ];
//! metric::declare(METRICS);
//! ```
//!
//! `docs/metrics.md` is written from these tables, and a test finds that a running service shows nothing else.

use serde_json::{Value, json};

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; asked for by `rate()`.
    Counter,
    /// What is the case now.
    Gauge,
    /// How often which values came; asked for by `histogram_quantile()`.
    Histogram,
}

impl Kind {
    /// As Prometheus calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A label of a metric. Never a person's: at most a participant's ISPB.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// All of its values, where they are few and known; empty where they come as they come.
    pub values: &'static [&'static str],
}

impl Label {
    /// A label whose values are these.
    #[must_use]
    pub const fn of(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, values }
    }

    /// A label whose values are not listed.
    #[must_use]
    pub const fn any(name: &'static str) -> Self {
        Self { name, values: &[] }
    }
}

/// One metric that a service shows.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, which begins with the service's.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// What it counts: `s`, `messages`.
    pub unit: &'static str,
    /// Its labels.
    pub labels: &'static [Label],
    /// What it tells, in a sentence.
    pub help: &'static str,
}

impl Metric {
    /// A counter.
    #[must_use]
    pub const fn counter(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Counter, unit, help)
    }

    /// A gauge.
    #[must_use]
    pub const fn gauge(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Gauge, unit, help)
    }

    /// A histogram; those whose name ends in `_seconds` have buckets of time, the others of small numbers.
    #[must_use]
    pub const fn histogram(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Histogram, unit, help)
    }

    const fn new(name: &'static str, kind: Kind, unit: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind,
            unit,
            labels: &[],
            help,
        }
    }

    /// With these labels.
    #[must_use]
    pub const fn by(mut self, labels: &'static [Label]) -> Self {
        self.labels = labels;
        self
    }

    fn to_json(self) -> Value {
        let labels = self.labels.iter();
        let labels = labels.map(|label| json!({ "name": label.name, "values": label.values }));
        json!({
            "name": self.name,
            "kind": self.kind.as_str(),
            "unit": self.unit,
            "labels": labels.collect::<Vec<_>>(),
            "help": self.help,
        })
    }
}

/// What every service with a face to banks shows of its connections.
pub static CONNECTIONS: &[Metric] = &[
    Metric::gauge(
        "http_connections_open",
        "connections",
        "Connections of participants that are open.",
    ),
    Metric::counter(
        "http_connections_refused_total",
        "connections",
        "Connections refused because their address or their certificate had too many.",
    ),
    Metric::counter(
        "http_connections_dismissed_total",
        "connections",
        "Connections cut because their certificate is good no longer.",
    ),
    Metric::counter(
        "http_handler_panics_total",
        "requests",
        "Requests whose handling panicked: bugs.",
    ),
    Metric::counter(
        "tls_handshakes_total",
        "handshakes",
        "TLS handshakes that succeeded.",
    ),
    Metric::counter(
        "tls_handshakes_refused_total",
        "handshakes",
        "TLS handshakes that did not, by reason.",
    )
    .by(&[Label::any("reason")]),
];

/// Tells `/metrics` what these mean, and starts every counter whose labels are known at zero: a rate over a
/// counter that appears with its first event misses that event.
pub fn declare(metrics: &'static [Metric]) {
    for metric in metrics {
        match metric.kind {
            Kind::Counter => {
                metrics::describe_counter!(metric.name, metric.help);
                for labels in combinations(metric.labels) {
                    metrics::counter!(metric.name, &labels).increment(0);
                }
            }
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

/// Every combination of the labels' values; none when one of them has values that are not listed.
fn combinations(labels: &[Label]) -> Vec<Vec<(&'static str, &'static str)>> {
    labels.iter().fold(vec![Vec::new()], |made, label| {
        let with = |made: &Vec<_>, value: &'static str| {
            let mut made = made.clone();
            made.push((label.name, value));
            made
        };
        made.iter()
            .flat_map(|made| label.values.iter().map(|value| with(made, value)))
            .collect()
    })
}

/// The tables as JSON, for `--describe`.
pub(crate) fn to_json(tables: &[&'static [Metric]]) -> Value {
    tables
        .iter()
        .flat_map(|table| table.iter())
        .map(|metric| metric.to_json())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_starts_with_every_combination_of_values_that_is_known() {
        let closed = [Label::of("kind", &["a", "b"]), Label::of("end", &["x", "y"])];
        let made = combinations(&closed);
        assert_eq!(made.len(), 4);
        assert!(made.contains(&vec![("kind", "b"), ("end", "x")]));
        assert_eq!(combinations(&[]), [vec![]], "no label: one counter");
        assert!(combinations(&[closed[0], Label::any("participant")]).is_empty());
    }
}
