//! Promises that a run is held to: `p99<50ms`, `errors<0.1%`, `rate>1000`. Pure.

use std::str::FromStr;

use crate::recorder::Figures;

/// One promise.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slo {
    text: String,
    figure: Figure,
    limit: f64,
    is_below: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    P50,
    P90,
    P95,
    P99,
    P999,
    Max,
    /// Of what was sent: refused at the door, never sent, or rejected against the plan.
    Errors,
    /// Settled a second.
    Rate,
}

const FORM: &str = "a promise is written like p99<50ms, p99.9<1s, max<2s, errors<0.1% or rate>1000";

impl FromStr for Slo {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let at = compact.find(['<', '>']).ok_or(FORM)?;
        let is_below = compact.as_bytes()[at] == b'<';
        let limit = compact[at + 1..].trim_start_matches('=');
        let figure = match &compact[..at] {
            "p50" => Figure::P50,
            "p90" => Figure::P90,
            "p95" => Figure::P95,
            "p99" => Figure::P99,
            "p999" | "p99.9" => Figure::P999,
            "max" => Figure::Max,
            "errors" => Figure::Errors,
            "rate" => Figure::Rate,
            _ => return Err(FORM),
        };
        let number = |text: &str| {
            text.parse::<f64>()
                .ok()
                .filter(|n| n.is_finite() && *n >= 0.0)
                .ok_or(FORM)
        };
        let (limit, fits) = match figure {
            Figure::Errors => (number(limit.strip_suffix('%').ok_or(FORM)?)? / 100.0, is_below),
            Figure::Rate => (number(limit.trim_end_matches("/s"))?, !is_below),
            _ => {
                let millis = if let Some(millis) = limit.strip_suffix("ms") {
                    number(millis)?
                } else {
                    number(limit.strip_suffix('s').ok_or(FORM)?)? * 1000.0
                };
                (millis, is_below)
            }
        };
        // A rate is promised from below, everything else from above.
        if !fits {
            return Err(FORM);
        }
        Ok(Self {
            text: compact,
            figure,
            limit,
            is_below,
        })
    }
}

impl Slo {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The figure, and whether it keeps the promise. `errors`: 0 to 1.
    pub(crate) fn judge(&self, figures: &Figures, errors: f64) -> (f64, bool) {
        let latency = &figures.latency;
        let figure = match self.figure {
            Figure::P50 => latency.p50_ms,
            Figure::P90 => latency.p90_ms,
            Figure::P95 => latency.p95_ms,
            Figure::P99 => latency.p99_ms,
            Figure::P999 => latency.p999_ms,
            Figure::Max => latency.max_ms,
            Figure::Errors => errors,
            Figure::Rate => figures.rate,
        };
        // Nothing settled: nothing was fast.
        let is_known = latency.count > 0 || self.figure == Figure::Errors;
        let holds = if self.is_below {
            figure < self.limit || figure <= 0.0 && self.limit <= 0.0
        } else {
            figure > self.limit
        };
        (figure, is_known && holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Curve;

    fn figures() -> Figures {
        Figures {
            rate: 1_000.0,
            latency: Curve {
                count: 10,
                p50_ms: 5.0,
                p99_ms: 49.0,
                p999_ms: 120.0,
                max_ms: 300.0,
                ..Curve::default()
            },
            ..Figures::default()
        }
    }

    #[test]
    fn promises_are_kept_or_broken() {
        let judged = |text: &str, errors| text.parse::<Slo>().unwrap().judge(&figures(), errors).1;
        for (text, errors, holds) in [
            ("p99<50ms", 0.0, true),
            ("p99 < 49ms", 0.0, false),
            ("p50<=0.006s", 0.0, true),
            ("p99.9<100ms", 0.0, false),
            ("p999<1s", 0.0, true),
            ("max<0.2s", 0.0, false),
            ("errors<0.1%", 0.0005, true),
            ("errors<0.1%", 0.002, false),
            ("errors<0%", 0.0, true),
            ("rate>999", 0.0, true),
            ("rate>1000/s", 0.0, false),
        ] {
            assert_eq!(judged(text, errors), holds, "{text}");
        }
    }

    #[test]
    fn nothing_settled_keeps_no_promise_of_speed() {
        let slo: Slo = "p99<50ms".parse().unwrap();
        assert!(!slo.judge(&Figures::default(), 0.0).1);
    }

    #[test]
    fn what_is_no_promise_is_refused() {
        for text in [
            "", "p99", "p99<", "p99<50", "p42<5ms", "p99>50ms", "errors<1", "rate<5", "p99<-1ms",
        ] {
            assert!(text.parse::<Slo>().is_err(), "{text}");
        }
    }
}
