//! The search for the knee: the highest rate that still keeps a promise. Pure; told what came of each rate.

/// A rate that was tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tried {
    pub(crate) rate: f64,
    pub(crate) holds: bool,
}

/// From one step to the next while all is well.
const GROWTH: f64 = 1.6;
/// Near enough: the next step would be so little higher.
const PRECISION: f64 = 1.08;
/// However long it takes.
const STEPS_MAX: usize = 16;

/// The next rate to try; nothing when the knee is known well enough.
pub(crate) fn next(first: f64, tried: &[Tried]) -> Option<f64> {
    if tried.len() >= STEPS_MAX {
        return None;
    }
    match (highest_good(tried), lowest_bad(tried)) {
        (None, None) => Some(first),
        (Some(good), None) => Some(good * GROWTH),
        // Not even the first: look below it, but not for ever.
        (None, Some(bad)) if bad > first / 8.0 => Some(bad / 2.0),
        (None, Some(_)) => None,
        (Some(good), Some(bad)) if bad / good > PRECISION => Some((good * bad).sqrt()),
        (Some(_), Some(_)) => None,
    }
}

/// The knee so far.
pub(crate) fn highest_good(tried: &[Tried]) -> Option<f64> {
    // A rate above one that failed may have been lucky: what failed below it counts.
    let bad = lowest_bad(tried).unwrap_or(f64::INFINITY);
    tried
        .iter()
        .filter(|one| one.holds && one.rate < bad)
        .map(|one| one.rate)
        .max_by(f64::total_cmp)
}

fn lowest_bad(tried: &[Tried]) -> Option<f64> {
    tried
        .iter()
        .filter(|one| !one.holds)
        .map(|one| one.rate)
        .min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(first: f64, capacity: f64) -> Vec<Tried> {
        let mut tried = Vec::new();
        while let Some(rate) = next(first, &tried) {
            tried.push(Tried {
                rate,
                holds: rate <= capacity,
            });
        }
        tried
    }

    #[test]
    fn the_knee_is_found_closely_from_below() {
        for capacity in [100.0, 260.0, 1_000.0, 7_777.0, 30_000.0] {
            let tried = search(250.0, capacity);
            let knee = highest_good(&tried).unwrap();
            assert!(
                knee <= capacity && capacity / knee <= PRECISION,
                "{capacity}: {tried:?}"
            );
        }
    }

    #[test]
    fn from_a_thousand_a_knee_is_found_in_ten_steps() {
        for capacity in [1_000.0, 2_500.0, 6_000.0, 9_000.0, 12_000.0] {
            let tried = search(1_000.0, capacity);
            assert!(tried.len() <= 10, "{capacity}: {tried:?}");
            assert!(tried.iter().all(|one| one.rate < capacity * 1.7), "{tried:?}");
        }
    }

    #[test]
    fn a_switch_that_never_holds_has_none() {
        let tried = search(250.0, 1.0);
        assert_eq!(highest_good(&tried), None);
        assert!(tried.len() < 6);
    }

    #[test]
    fn luck_above_a_failure_does_not_count() {
        let tried = [(100.0, true), (200.0, false), (300.0, true)].map(|(rate, holds)| Tried { rate, holds });
        assert_eq!(highest_good(&tried), Some(100.0));
    }
}
