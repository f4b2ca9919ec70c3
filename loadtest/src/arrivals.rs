//! When payments are to start: pure, and the same for the same seed.
//!
//! An open loop: the instants are fixed before the run, whatever the switch does. Rates are payments a second;
//! payments that travel in one message have one instant.

use std::time::Duration;

use crate::chance::Chance;
use crate::number::{float, whole};

/// A stretch of time over which the rate goes evenly from one value to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stretch {
    pub(crate) span: Duration,
    /// A second.
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// How events lie inside what the rate allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spacing {
    /// As far from each other as the rate says.
    Even,
    /// By chance, as independent customers come (a Poisson process).
    Poisson,
}

/// The instants of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Arrivals {
    /// By rate.
    Shaped {
        stretches: Vec<Stretch>,
        spacing: Spacing,
    },
    /// As they are written down: microseconds from the start, ascending.
    Trace(Vec<u64>),
    /// The next one begins when the one before has ended; no open loop, and no load.
    OneAtATime { span: Duration },
}

/// A constant rate.
pub(crate) fn constant(rate: f64, span: Duration) -> Vec<Stretch> {
    vec![Stretch {
        span,
        from: rate,
        to: rate,
    }]
}

/// A higher rate in the middle of a lower one.
pub(crate) fn burst(base: f64, peak: f64, span: Duration, before: Duration) -> Vec<Stretch> {
    [
        constant(base, before),
        constant(peak, span),
        constant(base, before),
    ]
    .concat()
}

impl Arrivals {
    /// How long payments are started.
    pub(crate) fn span(&self) -> Duration {
        match self {
            Self::Shaped { stretches, .. } => stretches.iter().map(|stretch| stretch.span).sum(),
            Self::Trace(instants) => Duration::from_micros(instants.last().map_or(0, |last| last + 1)),
            Self::OneAtATime { span } => *span,
        }
    }

    /// The highest rate asked for, a second; of a trace its busiest second.
    pub(crate) fn peak(&self) -> f64 {
        match self {
            Self::Shaped { stretches, .. } => stretches
                .iter()
                .flat_map(|stretch| [stretch.from, stretch.to])
                .fold(0.0, f64::max),
            Self::Trace(instants) => {
                let most = instants
                    .chunk_by(|a, b| a / 1_000_000 == b / 1_000_000)
                    .map(<[u64]>::len);
                most.max().map_or(0.0, |most| float(crate::number::wide(most)))
            }
            Self::OneAtATime { .. } => 0.0,
        }
    }

    /// Where a burst lies: a higher constant rate between two of the same baseline.
    pub(crate) fn burst_span(&self) -> Option<std::ops::Range<Duration>> {
        let Self::Shaped { stretches, .. } = self else {
            return None;
        };
        match stretches[..] {
            [before, peak, after] if peak.from > before.to && peak.to > after.from => {
                Some(before.span..before.span + peak.span)
            }
            _ => None,
        }
    }

    /// Microseconds from the start, ascending; `per_event` payments come at each. None of one at a time.
    pub(crate) fn instants(&self, per_event: u64, seed: u64) -> Vec<u64> {
        match self {
            Self::Shaped { stretches, spacing } => shaped(stretches, *spacing, float(per_event), seed),
            // A line of a trace is one payment: those that travel together leave with the last of them.
            Self::Trace(instants) => {
                let size = usize::try_from(per_event.max(1)).expect("ten at most");
                instants
                    .chunks(size)
                    .filter_map(|chunk| chunk.last().copied())
                    .collect()
            }
            Self::OneAtATime { .. } => Vec::new(),
        }
    }
}

/// Event `n` lies where the area under the rate reaches `n`; by chance, where it reaches a sum of `n` random gaps.
fn shaped(stretches: &[Stretch], spacing: Spacing, per_event: f64, seed: u64) -> Vec<u64> {
    let mut chance = Chance::seeded(seed);
    let mut gap = move || match spacing {
        Spacing::Even => 1.0,
        Spacing::Poisson => chance.exponential(),
    };
    let mut instants = Vec::new();
    // Evenly spaced events begin at once; by chance the first waits for its gap.
    let mut due = if spacing == Spacing::Even { 0.0 } else { gap() };
    let mut began = 0.0;
    for stretch in stretches {
        let seconds = stretch.span.as_secs_f64();
        let (from, to) = (stretch.from / per_event, stretch.to / per_event);
        let area = f64::midpoint(from, to) * seconds;
        while due < area {
            instants.push(whole((began + reached(due, from, to, seconds)) * 1e6));
            due += gap();
        }
        due -= area;
        began += seconds;
    }
    instants
}

/// When the area under a line from `from` to `to` is `due`.
fn reached(due: f64, from: f64, to: f64, seconds: f64) -> f64 {
    let slope = (to - from) / seconds;
    // Of the two forms of the solution the one that also holds without a slope.
    2.0 * due / (from + (from * from + 2.0 * slope * due).max(0.0).sqrt()).max(f64::MIN_POSITIVE)
}

/// Reads a trace: one payment a line, seconds from the start, ascending; `#` begins a comment.
///
/// # Errors
/// One sentence with the line.
pub(crate) fn trace(text: &str) -> anyhow::Result<Arrivals> {
    let mut instants = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let seconds: f64 = line
            .parse()
            .ok()
            .filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
            .ok_or_else(|| anyhow::anyhow!("line {number} of the trace is no number of seconds: {line}"))?;
        let at = whole(seconds * 1e6);
        anyhow::ensure!(
            instants.last().is_none_or(|last| *last <= at),
            "line {number} of the trace lies before the line above it"
        );
        instants.push(at);
    }
    anyhow::ensure!(!instants.is_empty(), "the trace has no payment");
    Ok(Arrivals::Trace(instants))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instants(stretches: Vec<Stretch>, spacing: Spacing, per_event: u64) -> Vec<u64> {
        Arrivals::Shaped { stretches, spacing }.instants(per_event, 7)
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn within(instants: &[u64], from: u64, to: u64) -> usize {
        instants
            .iter()
            .filter(|at| (from * 1_000_000..to * 1_000_000).contains(*at))
            .count()
    }

    #[test]
    fn a_constant_rate_is_even_and_begins_at_once() {
        let all = instants(constant(4.0, 2 * SECOND), Spacing::Even, 1);
        assert_eq!(
            all,
            [
                0, 250_000, 500_000, 750_000, 1_000_000, 1_250_000, 1_500_000, 1_750_000
            ]
        );
        let tens = instants(constant(1_000.0, 2 * SECOND), Spacing::Even, 10);
        assert_eq!((tens.len(), tens[1]), (200, 10_000));
    }

    #[test]
    fn a_ramp_has_the_area_under_it_and_grows() {
        let ramp = vec![Stretch {
            span: 10 * SECOND,
            from: 0.0,
            to: 200.0,
        }];
        let all = instants(ramp, Spacing::Even, 1);
        assert_eq!(all.len(), 1_000);
        assert!(all.is_sorted());
        let by_second: Vec<_> = (0..10).map(|second| within(&all, second, second + 1)).collect();
        assert_eq!(by_second.iter().sum::<usize>(), 1_000);
        assert!(by_second.is_sorted(), "{by_second:?}");
        assert!((9..=11).contains(&by_second[0]) && (189..=191).contains(&by_second[9]));
        let down = Stretch {
            span: 10 * SECOND,
            from: 200.0,
            to: 0.0,
        };
        let down = instants(vec![down], Spacing::Even, 1);
        assert!((999..=1_000).contains(&down.len()), "{}", down.len());
    }

    #[test]
    fn a_burst_stands_on_its_baseline() {
        let all = instants(burst(50.0, 75.0, 4 * SECOND, 2 * SECOND), Spacing::Even, 1);
        assert_eq!(
            [(0, 2), (2, 6), (6, 8)].map(|(from, to)| within(&all, from, to)),
            [100, 300, 100]
        );
    }

    #[test]
    fn poisson_keeps_the_rate_and_repeats_by_its_seed() {
        let arrivals = Arrivals::Shaped {
            stretches: constant(1_000.0, 20 * SECOND),
            spacing: Spacing::Poisson,
        };
        let all = arrivals.instants(1, 7);
        assert!(
            all.is_sorted() && (19_500..20_500).contains(&all.len()),
            "{}",
            all.len()
        );
        assert_eq!(all, arrivals.instants(1, 7));
        assert_ne!(all, arrivals.instants(1, 8));
        // Of a Poisson process the counts of a stretch vary as much as they are: of an even one not at all.
        let mut counts = vec![0.0; 2_000];
        for at in &all {
            counts[usize::try_from(at / 10_000).unwrap()] += 1.0;
        }
        let mean = counts.iter().sum::<f64>() / 2_000.0;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 2_000.0;
        assert!((0.85..1.15).contains(&(variance / mean)), "{variance} / {mean}");
    }

    #[test]
    fn a_trace_is_taken_as_it_is() {
        let arrivals = trace("# mine\n0.5\n0.75 # two\n\n1.5\n").unwrap();
        assert_eq!(arrivals.instants(1, 0), [500_000, 750_000, 1_500_000]);
        assert_eq!(arrivals.instants(2, 0), [750_000, 1_500_000]);
        assert_eq!(arrivals.span(), Duration::from_micros(1_500_001));
        assert!((arrivals.peak() - 2.0).abs() < 1e-9);
        for (text, why) in [
            ("1\n0.5", "line 2"),
            ("x", "line 1"),
            ("-1", "line 1"),
            ("#\n", "no payment"),
        ] {
            let error = trace(text).expect_err(text).to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
