//! Chance, as a source that a test can seed.

use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

/// Where a shell takes unique numbers from: a cryptographic generator. Clones share it.
#[derive(Clone)]
pub struct Ids(Arc<Mutex<StdRng>>);

impl Ids {
    /// Seeded by the system: never repeats.
    ///
    /// # Panics
    /// When the system has no randomness, without which nothing may run.
    #[must_use]
    pub fn system() -> Self {
        Self::from(StdRng::from_os_rng())
    }

    /// Seeded by a test: repeats exactly.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self::from(StdRng::seed_from_u64(seed))
    }

    fn from(rng: StdRng) -> Self {
        Self(Arc::new(Mutex::new(rng)))
    }

    /// 128 unpredictable bits.
    #[must_use]
    pub fn u128(&self) -> u128 {
        u128::from_ne_bytes(self.bytes())
    }

    /// `N` unpredictable octets.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut octets = [0; N];
        // A panic elsewhere cannot leave the generator half-changed.
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(&mut octets);
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::Ids;

    #[test]
    fn a_seed_repeats_and_the_system_does_not() {
        assert_eq!(Ids::seeded(7).bytes::<21>(), Ids::seeded(7).bytes::<21>());
        assert_ne!(Ids::seeded(7).u128(), Ids::seeded(8).u128());
        let ids = Ids::system();
        assert_ne!(ids.u128(), ids.u128());
    }
}
