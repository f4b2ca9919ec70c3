//! How soon after a burst payments take no longer than before it. Pure.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::number::median;
use crate::recorder::{Curve, Point};

/// A second is as those before the burst when its p99 is no more than so many times theirs,
const FACTOR: f64 = 1.5;
/// or no more than so many milliseconds above: of a few milliseconds a half is nothing.
const ROOM_MS: f64 = 5.0;

/// What became of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recovery {
    /// Median of the seconds' p99 before the burst, without the warm-up.
    pub(crate) baseline_p99_ms: f64,
    /// At most this p99 is as before.
    pub(crate) bound_ms: f64,
    /// Of what was due in the burst.
    pub(crate) in_burst_p99_ms: f64,
    /// From the burst's end to the first second whose payments took no longer than before; none came.
    pub(crate) after_s: Option<u64>,
    /// Seconds that there were after the burst.
    pub(crate) watched_s: u64,
}

/// By the `points` of a run with a burst; nothing without a second before it to compare with.
pub(crate) fn after(
    burst: Range<Duration>,
    warm_up: Duration,
    points: &[Point],
    in_burst: &Curve,
) -> Option<Recovery> {
    let width = points.get(1).map_or(1, |second| second.at_s);
    // Nothing that was due in a point settled: it has no latency.
    let has_latency = |point: &&Point| point.max_ms > 0.0;
    let before = points.iter().filter(has_latency).filter(|point| {
        let at = Duration::from_secs(point.at_s);
        at >= warm_up && at + Duration::from_secs(width) <= burst.start
    });
    let baseline_p99_ms = median(before.map(|point| point.p99_ms).collect())?;
    let bound_ms = (baseline_p99_ms * FACTOR).max(baseline_p99_ms + ROOM_MS);
    let end_s = burst.end.as_secs_f64().ceil();
    let since = |point: &Point| Duration::from_secs(point.at_s).as_secs_f64() - end_s;
    let mut later = points
        .iter()
        .filter(|point| since(point) >= 0.0 && point.scheduled > 0);
    let watched_s = later.clone().count();
    let good = later.find(|point| has_latency(point) && point.p99_ms <= bound_ms);
    Some(Recovery {
        baseline_p99_ms,
        bound_ms,
        in_burst_p99_ms: in_burst.p99_ms,
        after_s: good.map(|point| crate::number::whole(since(point))),
        watched_s: crate::number::wide(watched_s) * width,
    })
}

/// The one that took longest.
pub(crate) fn worst(all: impl Iterator<Item = Recovery>) -> Option<Recovery> {
    all.max_by_key(|one| one.after_s.unwrap_or(u64::MAX))
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.after_s {
            Some(after) => write!(f, "back to baseline latency after {after} s")?,
            None => write!(f, "NOT back to baseline latency within {} s", self.watched_s)?,
        }
        write!(
            f,
            " (p99 {:.1} ms before, {:.1} ms in the burst, as before up to {:.1} ms)",
            self.baseline_p99_ms, self.in_burst_p99_ms, self.bound_ms
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST: Range<Duration> = Duration::from_secs(4)..Duration::from_secs(6);
    const WARM_UP: Duration = Duration::from_secs(1);

    /// One point a second with this p99; zero is a second without a latency.
    fn judged(p99s: &[f64]) -> Option<Recovery> {
        let points: Vec<Point> = (0..)
            .zip(p99s)
            .map(|(at_s, p99_ms)| Point {
                at_s,
                p99_ms: *p99_ms,
                max_ms: *p99_ms,
                scheduled: 1,
                ..Point::default()
            })
            .collect();
        after(BURST, WARM_UP, &points, &Curve::default())
    }

    #[test]
    fn the_time_counts_from_the_end_of_the_burst_to_the_first_second_as_before() {
        let found = judged(&[900.0, 20.0, 22.0, 21.0, 300.0, 900.0, 700.0, 400.0, 31.0, 20.0]).unwrap();
        assert!(
            (found.baseline_p99_ms - 21.0).abs() < 1e-9,
            "the warm-up does not count"
        );
        assert!((found.bound_ms - 31.5).abs() < 1e-9);
        assert_eq!((found.after_s, found.watched_s), (Some(2), 4));
        assert!(found.to_string().contains("after 2 s"), "{found}");
    }

    #[test]
    fn a_burst_that_nobody_feels_is_over_at_once() {
        // A few milliseconds more are nothing.
        let found = judged(&[4.0, 4.0, 4.0, 4.0, 8.0, 8.0, 8.9, 4.0]).unwrap();
        assert_eq!(found.after_s, Some(0));
    }

    #[test]
    fn a_switch_that_does_not_come_back_is_told() {
        let found = judged(&[4.0, 4.0, 4.0, 4.0, 80.0, 80.0, 80.0, 90.0, 0.0]).unwrap();
        assert_eq!(
            found.after_s, None,
            "a second in which nothing settled is no recovery"
        );
        assert!(found.to_string().contains("NOT back"), "{found}");
        let soon = judged(&[4.0, 4.0, 4.0, 4.0, 80.0, 80.0, 4.0]).unwrap();
        assert_eq!(worst([soon, found].into_iter()), Some(found));
        assert_eq!(worst(std::iter::empty()), None);
    }

    #[test]
    fn without_a_second_before_it_there_is_nothing_to_compare_with() {
        assert_eq!(judged(&[4.0]), None);
    }
}
