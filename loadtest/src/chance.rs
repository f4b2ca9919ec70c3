//! Chance that repeats: the same seed gives the same schedule, the same refusals, the same amounts.

use crate::number::float;

/// A generator of `SplitMix64` (Steele, Lea, Flood 2014): small, and good enough for arrivals and choices.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// From zero up to, not including, one.
    pub(crate) fn unit(&mut self) -> f64 {
        unit(self.next())
    }

    /// A gap between events that come once a unit on average.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

/// Chance by number instead of in order: of the same seed and number always the same.
pub(crate) fn of(seed: u64, number: u64) -> u64 {
    mixed(seed ^ mixed(number.wrapping_add(0x9e37_79b9_7f4a_7c15)))
}

/// Whether the one with this number is among `share` of all.
pub(crate) fn happens(seed: u64, number: u64, share: f64) -> bool {
    share > 0.0 && unit(of(seed, number)) < share
}

fn unit(chance: u64) -> f64 {
    float(chance >> 11) / float(1 << 53)
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_repeats_and_is_spread() {
        let mut chance = Chance::seeded(7);
        let mut again = Chance::seeded(7);
        let mean = (0..10_000)
            .map(|_| {
                let gap = chance.exponential();
                assert!(gap >= 0.0 && gap.to_bits() == again.exponential().to_bits());
                gap
            })
            .sum::<f64>()
            / 10_000.0;
        assert!((0.95..1.05).contains(&mean), "{mean}");
        let hits = (0..10_000).filter(|n| happens(3, *n, 0.1)).count();
        assert!((900..1_100).contains(&hits), "{hits}");
        assert!(!happens(3, 1, 0.0) && happens(3, 1, 1.0));
    }
}
