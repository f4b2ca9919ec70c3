//! What the Central Bank asks of a participant in homologation, judged as it states it. Pure.
//!
//! - SPI: Roteiro 1.11, item 7. For ten minutes 1,000, 2,000 or 4,000 pacs.008 a minute, sent and received at once; 99 % of
//!   the messages consumed within 200 ms of being available; the receiver's participant answers 50 % of the orders within
//!   1.4 s and 95 % within 2.3 s, which is what the Manual de Tempos gives it from t2, when the SPI has the order ready
//!   for it, to t3', when the SPI has its answer.
//! - DICT: Instrução Normativa BCB 508, art. 23. A participant looks up 1,000, 2,000 or 4,000 different keys within sixty
//!   seconds, for ten minutes, evenly, and each is answered with success.

use std::time::Duration;

use crate::gate::Check;
use crate::number::{float, share, whole};
use crate::plan::Size;
use crate::recorder::Figures;
use crate::report::Counts;

/// The test's length.
pub(crate) const SPAN: Duration = Duration::from_secs(600);
/// Messages are to be consumed so soon after they are available, in milliseconds.
const CONSUMED_WITHIN_MS: u64 = 200;
const CONSUMED_SHARE: f64 = 0.99;
/// The receiver's participant answers half of the orders so soon, in milliseconds (t3' - t2).
const HALF_ANSWERED_MS: f64 = 1_400.0;
/// And so soon 95 % of them.
const MOST_ANSWERED_MS: f64 = 2_300.0;

fn verdict(name: &str, holds: bool, detail: String) -> Check {
    Check {
        name: name.to_owned(),
        holds,
        detail,
    }
}

/// Of payments: `size` a minute each way for `span`.
pub(crate) fn payments(size: Size, span: Duration, counts: &Counts, figures: &Figures) -> Vec<Check> {
    let asked = 2 * whole(size.per_minute() * span.as_secs_f64() / 60.0);
    let within = figures.consumed.share_within(CONSUMED_WITHIN_MS);
    let answered = &figures.answered;
    vec![
        length(span),
        verdict(
            "pacs.008 sent, both ways together",
            counts.accepted >= asked,
            format!(
                "{} of {asked}: {:.0} a minute each way",
                counts.accepted,
                size.per_minute()
            ),
        ),
        verdict(
            "99 % of messages consumed within 200 ms of being available",
            figures.consumed.count > 0 && within >= CONSUMED_SHARE,
            format!("{:.3} % of {}", within * 100.0, figures.consumed.count),
        ),
        verdict(
            "receivers answer 50 % within 1.4 s and 95 % within 2.3 s",
            answered.count > 0 && answered.p50_ms <= HALF_ANSWERED_MS && answered.p95_ms <= MOST_ANSWERED_MS,
            format!("p50 {:.1} ms, p95 {:.1} ms", answered.p50_ms, answered.p95_ms),
        ),
    ]
}

/// Of the DICT: `size` look-ups a minute for `span`, of `keys` keys in turn.
pub(crate) fn lookups(size: Size, span: Duration, counts: &Counts, keys: u64) -> Vec<Check> {
    let asked = whole(size.per_minute() * span.as_secs_f64() / 60.0);
    vec![
        length(span),
        verdict(
            "look-ups answered with their entry",
            counts.settled >= asked,
            format!(
                "{} of {asked} ({:.3} %): {:.0} a minute",
                counts.settled,
                100.0 * share(counts.settled, asked),
                size.per_minute()
            ),
        ),
        verdict(
            "keys of sixty seconds all different",
            keys >= whole(size.per_minute()),
            format!("{keys} keys in turn"),
        ),
    ]
}

fn length(span: Duration) -> Check {
    let minutes = float(span.as_secs()) / 60.0;
    verdict("ten minutes", span >= SPAN, format!("{minutes:.1} minutes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Curve;

    fn figures(slow: u64) -> Figures {
        Figures {
            consumed: Curve {
                count: 1_000,
                histogram: vec![(50_000, 1_000 - slow), (250_000, slow)],
                ..Curve::default()
            },
            answered: Curve {
                count: 500,
                p50_ms: 20.0,
                p95_ms: 60.0,
                ..Curve::default()
            },
            ..Figures::default()
        }
    }

    fn sent(accepted: u64) -> Counts {
        Counts {
            accepted,
            settled: accepted,
            ..Counts::default()
        }
    }

    fn failing(verdicts: &[Check]) -> usize {
        verdicts.iter().filter(|verdict| !verdict.holds).count()
    }

    #[test]
    fn one_in_a_hundred_may_be_late_and_no_more() {
        let judged = |slow| failing(&payments(Size::Small, SPAN, &sent(20_000), &figures(slow)));
        assert_eq!(judged(10), 0);
        assert_eq!(judged(11), 1);
    }

    #[test]
    fn too_few_too_short_or_too_slow_fails() {
        assert_eq!(
            failing(&payments(Size::Small, SPAN, &sent(19_999), &figures(0))),
            1
        );
        let short = SPAN - Duration::from_secs(1);
        assert_eq!(
            failing(&payments(Size::Small, short, &sent(20_000), &figures(0))),
            1
        );
        let mut slow = figures(0);
        slow.answered.p95_ms = 2_301.0;
        assert_eq!(failing(&payments(Size::Small, SPAN, &sent(20_000), &slow)), 1);
        assert_eq!(
            failing(&payments(Size::Large, SPAN, &sent(80_000), &Figures::default())),
            2
        );
        assert_eq!(failing(&lookups(Size::Large, SPAN, &sent(40_000), 4_000)), 0);
        assert_eq!(failing(&lookups(Size::Large, SPAN, &sent(39_999), 4_000)), 1);
        assert_eq!(failing(&lookups(Size::Large, SPAN, &sent(40_000), 3_999)), 1);
    }
}
