//! How long payments took: from their scheduled instant, which is what a customer waits, and beside it from the
//! moment their message left. Pure: every method is told the time, in microseconds from the start of the run.
//!
//! Who measures from the moment of sending alone hides what a stalled switch does to those behind it (coordinated
//! omission): the sender, held up, sends less just while it is slow.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::number::{millis, share};

/// Figures with three digits, up to an hour.
const DIGITS: u8 = 3;
/// Those of a slice of time: there are many of them.
const SLICE_DIGITS: u8 = 2;
/// Slices of a run, at most about so many.
const SLICES: u64 = 300;
const SECOND: u64 = 1_000_000;

fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new(digits).expect("one to five digits")
}

fn record(histogram: &mut Histogram<u64>, micros: u64) {
    // It grows by itself; a value that no memory holds is no duration of ours.
    histogram
        .record(micros.max(1))
        .expect("a histogram that resizes takes what fits 64 bits");
}

/// The figures of a run.
pub(crate) struct Recorder {
    /// What is scheduled before does not count: connections and caches are made then.
    warm_up: u64,
    slice: u64,
    slices: Vec<Slice>,
    latency: Histogram<u64>,
    service: Histogram<u64>,
    lag: Histogram<u64>,
    consumed: Histogram<u64>,
    answered: Histogram<u64>,
    looked_up: Histogram<u64>,
    /// Where a burst lies, and the latencies of what was due in it.
    burst: std::ops::Range<u64>,
    in_burst: Histogram<u64>,
    due: u64,
    settled: u64,
    last_end: u64,
}

/// What happened in one slice of time.
struct Slice {
    scheduled: u64,
    started: u64,
    settled: u64,
    rejected: u64,
    failed: u64,
    latency: Histogram<u64>,
}

impl Default for Slice {
    fn default() -> Self {
        Self {
            scheduled: 0,
            started: 0,
            settled: 0,
            rejected: 0,
            failed: 0,
            latency: histogram(SLICE_DIGITS),
        }
    }
}

impl Recorder {
    /// For a run of `span`, of which `warm_up` does not count.
    pub(crate) fn new(span: u64, warm_up: u64) -> Self {
        Self {
            warm_up,
            // Whole seconds, so that the figures of a slice are figures a second.
            slice: (span / SLICES).div_ceil(SECOND).max(1) * SECOND,
            slices: Vec::new(),
            latency: histogram(DIGITS),
            service: histogram(DIGITS),
            lag: histogram(DIGITS),
            consumed: histogram(DIGITS),
            answered: histogram(DIGITS),
            looked_up: histogram(DIGITS),
            burst: 0..0,
            in_burst: histogram(DIGITS),
            due: 0,
            settled: 0,
            last_end: 0,
        }
    }

    /// What is due in `burst` is counted by itself too.
    pub(crate) fn with_burst(self, burst: std::ops::Range<u64>) -> Self {
        Self { burst, ..self }
    }

    fn at(&mut self, now: u64) -> &mut Slice {
        let index = usize::try_from(now / self.slice).expect("fewer slices than memory");
        if self.slices.len() <= index {
            self.slices.resize_with(index + 1, Slice::default);
        }
        &mut self.slices[index]
    }

    /// A message of `payments` left.
    pub(crate) fn started(&mut self, scheduled: u64, now: u64, payments: u64) {
        self.at(scheduled).scheduled += payments;
        self.at(now).started += payments;
        self.due += if scheduled >= self.warm_up { payments } else { 0 };
        record(&mut self.lag, now.saturating_sub(scheduled));
    }

    /// A payment or a look-up ended well.
    pub(crate) fn settled(&mut self, scheduled: u64, started: u64, now: u64) {
        let latency = now.saturating_sub(scheduled);
        self.at(now).settled += 1;
        // By when it was due, so that a stall stands where it was.
        record(&mut self.at(scheduled).latency, latency);
        self.last_end = self.last_end.max(now);
        if scheduled >= self.warm_up {
            self.settled += 1;
            record(&mut self.latency, latency);
            record(&mut self.service, now.saturating_sub(started));
        }
        if self.burst.contains(&scheduled) {
            record(&mut self.in_burst, latency);
        }
    }

    /// It ended with a refusal, which is an end like any other but no success.
    pub(crate) fn rejected(&mut self, now: u64) {
        self.at(now).rejected += 1;
        self.last_end = self.last_end.max(now);
    }

    /// It did not get through.
    pub(crate) fn failed(&mut self, now: u64, payments: u64) {
        self.at(now).failed += payments;
    }

    /// A message was read so long after the switch had it ready.
    pub(crate) fn consumed(&mut self, now: u64, micros: u64) {
        if now >= self.warm_up {
            record(&mut self.consumed, micros);
        }
    }

    /// The receiver's answer was taken so long after the switch had its order ready.
    pub(crate) fn answered(&mut self, micros: u64) {
        record(&mut self.answered, micros);
    }

    /// A key was looked up for a payment.
    pub(crate) fn looked_up(&mut self, micros: u64) {
        record(&mut self.looked_up, micros);
    }

    /// The last whole second, for who watches: ended in it, and the latencies of what was due in it.
    pub(crate) fn lately(&self, now: u64) -> Lately {
        let index = usize::try_from((now / self.slice).saturating_sub(1)).unwrap_or(usize::MAX);
        let seconds = self.slice / SECOND;
        self.slices
            .get(index)
            .map_or_else(Lately::default, |slice| Lately {
                rate: slice.settled / seconds,
                p50: slice.latency.value_at_quantile(0.5),
                p99: slice.latency.value_at_quantile(0.99),
                p999: slice.latency.value_at_quantile(0.999),
            })
    }

    /// Everything, for the report.
    pub(crate) fn finish(&self, scheduled_span: u64) -> Figures {
        let counted = scheduled_span.saturating_sub(self.warm_up).max(1);
        let seconds = self.slice / SECOND;
        let slices = self.slices.iter().zip(0_u64..).map(|(slice, number)| Point {
            at_s: number * seconds,
            scheduled: slice.scheduled / seconds,
            started: slice.started / seconds,
            settled: slice.settled / seconds,
            rejected: slice.rejected / seconds,
            failed: slice.failed / seconds,
            p50_ms: millis(slice.latency.value_at_quantile(0.5)),
            p99_ms: millis(slice.latency.value_at_quantile(0.99)),
            max_ms: millis(slice.latency.max()),
        });
        Figures {
            settled: self.settled,
            due_rate: crate::number::float(self.due) * 1e6 / crate::number::float(counted),
            // Of what was due in the counted part: a switch that catches up afterwards does not look faster for it.
            rate: crate::number::float(self.settled) * 1e6
                / crate::number::float(counted.max(self.last_end.saturating_sub(self.warm_up))),
            latency: Curve::of(&self.latency),
            service: Curve::of(&self.service),
            lag: Curve::of(&self.lag),
            consumed: Curve::of(&self.consumed),
            answered: Curve::of(&self.answered),
            looked_up: Curve::of(&self.looked_up),
            in_burst: Curve::of(&self.in_burst),
            points: slices.collect(),
        }
    }
}

/// How it goes just now; microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lately {
    pub(crate) rate: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
}

/// What a run came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Scheduled after the warm-up.
    pub(crate) settled: u64,
    /// A second, of what was started and scheduled after the warm-up: what the rate can come to at most.
    pub(crate) due_rate: f64,
    /// A second, from the end of the warm-up to the last end.
    pub(crate) rate: f64,
    /// From the scheduled instant to the end.
    pub(crate) latency: Curve,
    /// From the sending of the message to the end.
    pub(crate) service: Curve,
    /// From the scheduled instant to the sending: the fleet's own part.
    pub(crate) lag: Curve,
    /// From when the switch had a message ready to when a bank had read it.
    pub(crate) consumed: Curve,
    /// From when the switch had an order ready to when it had taken the receiver's answer.
    pub(crate) answered: Curve,
    /// Look-ups that belong to payments.
    pub(crate) looked_up: Curve,
    /// Of a burst: the latency of what was due in it.
    #[serde(default)]
    pub(crate) in_burst: Curve,
    pub(crate) points: Vec<Point>,
}

/// One slice of time; counts are a second.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) at_s: u64,
    pub(crate) scheduled: u64,
    pub(crate) started: u64,
    pub(crate) settled: u64,
    pub(crate) rejected: u64,
    pub(crate) failed: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// A distribution: its usual figures in milliseconds, and its histogram whole.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Curve {
    pub(crate) count: u64,
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    /// HDR histogram: `[microseconds, how many]`, ascending, three digits.
    pub(crate) histogram: Vec<(u64, u64)>,
}

impl Curve {
    fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| millis(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            mean_ms: histogram.mean() / 1000.0,
            p50_ms: at(0.50),
            p90_ms: at(0.90),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: millis(histogram.max()),
            histogram: histogram
                .iter_recorded()
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect(),
        }
    }

    /// The part that took no longer than `millis`.
    pub(crate) fn share_within(&self, millis: u64) -> f64 {
        let within = self
            .histogram
            .iter()
            .take_while(|(micros, _)| *micros <= millis * 1000 + slack(millis))
            .map(|(_, count)| count)
            .sum();
        share(within, self.count)
    }

    /// `(share of all, milliseconds)`, ascending.
    pub(crate) fn points(&self) -> Vec<(f64, f64)> {
        let mut below = 0;
        self.histogram
            .iter()
            .map(|(micros, count)| {
                below += count;
                (share(below, self.count), millis(*micros))
            })
            .collect()
    }
}

/// Three digits leave a value so much room above it.
fn slack(millis: u64) -> u64 {
    millis
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One connection, a millisecond a request, and a switch that stands still from second 5 to second 7. The
    /// schedule goes on meanwhile: 100 requests a second for 10 seconds.
    fn stalled() -> Figures {
        const SERVICE: u64 = 1_000;
        let mut recorder = Recorder::new(10 * SECOND, 0);
        let mut free_at = 0;
        for number in 0..1_000 {
            let scheduled = number * 10_000;
            let started = scheduled.max(free_at);
            let mut ended = started + SERVICE;
            if (5 * SECOND..7 * SECOND).contains(&started) {
                ended = 7 * SECOND + SERVICE;
            }
            recorder.started(scheduled, started, 1);
            recorder.settled(scheduled, started, ended);
            free_at = ended;
        }
        recorder.finish(10 * SECOND)
    }

    #[test]
    fn a_stall_shows_in_the_latency_of_everybody_who_had_to_wait() {
        let figures = stalled();
        // Two hundred were due while it stood still, and the queue took its time to go: a fifth of all waited.
        assert!(figures.latency.p90_ms > 700.0, "{}", figures.latency.p90_ms);
        assert!(figures.latency.p99_ms > 1_800.0, "{}", figures.latency.p99_ms);
        // One request met the stall itself: who measures from the sending sees nothing of it at the 99th percentile.
        assert!(figures.service.p99_ms < 2.0, "{}", figures.service.p99_ms);
        assert!(figures.service.max_ms > 1_900.0 && figures.latency.max_ms > 1_900.0);
        assert!(figures.lag.p99_ms > 1_700.0, "the sender was held up");
        let point = |second: usize| figures.points[second];
        assert!(point(5).p99_ms > 1_900.0, "it stands where it was due");
        assert_eq!(
            (point(5).scheduled, point(5).settled, point(6).settled),
            (100, 0, 0)
        );
        assert!(point(4).p99_ms < 2.0 && point(9).p99_ms < 2.0);
    }

    #[test]
    fn the_warm_up_does_not_count_but_is_drawn() {
        let mut recorder = Recorder::new(2 * SECOND, SECOND);
        recorder.settled(0, 0, 900_000);
        recorder.settled(SECOND, SECOND, SECOND + 5_000);
        recorder.consumed(0, 7_000);
        let figures = recorder.finish(2 * SECOND);
        assert_eq!(
            (figures.settled, figures.latency.count, figures.consumed.count),
            (1, 1, 0)
        );
        assert!(figures.latency.max_ms < 6.0);
        assert!(figures.points[0].p99_ms > 800.0);
        assert!((figures.rate - 1.0).abs() < 1e-9, "{}", figures.rate);
    }

    #[test]
    fn a_burst_is_counted_by_itself_too() {
        let mut recorder = Recorder::new(3 * SECOND, 0).with_burst(SECOND..2 * SECOND);
        for second in 0..3 {
            let micros = if second == 1 { 90_000 } else { 1_000 };
            recorder.settled(second * SECOND, second * SECOND, second * SECOND + micros);
        }
        let figures = recorder.finish(3 * SECOND);
        assert_eq!((figures.latency.count, figures.in_burst.count), (3, 1));
        assert!(figures.in_burst.p50_ms > 89.0);
    }

    #[test]
    fn a_switch_that_falls_behind_is_not_as_fast_as_it_is_asked() {
        let mut recorder = Recorder::new(10 * SECOND, 0);
        for number in 0..1_000 {
            // Twice as slow as asked.
            recorder.started(number * 10_000, number * 10_000, 1);
            recorder.settled(number * 10_000, number * 10_000, number * 20_000);
        }
        let figures = recorder.finish(10 * SECOND);
        assert!((49.0..51.0).contains(&figures.rate), "{}", figures.rate);
        assert!((figures.due_rate - 100.0).abs() < 1e-9, "{}", figures.due_rate);
    }

    #[test]
    fn long_runs_have_wider_slices_and_rates_stay_a_second() {
        let mut recorder = Recorder::new(3_600 * SECOND, 0);
        for number in 0..3_600 {
            recorder.settled(number * SECOND, number * SECOND, number * SECOND);
        }
        let figures = recorder.finish(3_600 * SECOND);
        assert_eq!(figures.points.len(), 300);
        assert!(figures.points.iter().all(|point| point.settled == 1));
    }

    #[test]
    fn a_curve_keeps_its_histogram() {
        let mut recorder = Recorder::new(SECOND, 0);
        for micros in 1..=1_000 {
            recorder.settled(0, 0, micros * 1_000);
        }
        let curve = recorder.finish(SECOND).latency;
        assert_eq!(curve.count, 1_000);
        assert_eq!(curve.histogram.iter().map(|(_, count)| count).sum::<u64>(), 1_000);
        assert!((0.195..0.205).contains(&curve.share_within(200)));
        assert!((curve.share_within(2_000) - 1.0).abs() < 1e-9);
        let points = curve.points();
        assert!(points.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1));
        assert!((499.0..502.0).contains(&curve.p50_ms), "{}", curve.p50_ms);
        assert_eq!(points.len(), curve.histogram.len());
    }
}
