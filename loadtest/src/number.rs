//! From counts to figures for people, and back: the one place that casts.

/// For rates and shares; exact below 2^53.
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// The nearest whole number; what is below zero, or no number, is zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float saturates, and NaN is zero"
)]
pub(crate) fn whole(figure: f64) -> u64 {
    figure.round() as u64
}

/// An index, as the wide integer that schedules use.
pub(crate) fn wide(index: usize) -> u64 {
    u64::try_from(index).expect("an index fits 64 bits")
}

/// A part of a whole; nothing of nothing is zero.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        float(part) / float(whole)
    }
}

/// The middle one; of an even count the mean of the two in the middle.
pub(crate) fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let upper = *figures.get(figures.len() / 2)?;
    let lower = figures[(figures.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// Microseconds as milliseconds.
pub(crate) fn millis(micros: u64) -> f64 {
    float(micros) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_stands_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn what_is_no_count_is_zero() {
        assert_eq!([whole(-1.0), whole(f64::NAN), whole(1.6)], [0, 0, 2]);
    }
}
