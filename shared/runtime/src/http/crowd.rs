//! How many connections there are of whom, and how fast new ones come.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use pix_xmldsig::IssuerSerial;

use super::ServerLimits;

/// After so many arrivals the limiters forget who has been quiet.
const FORGET_EVERY: u64 = 1024;

/// Counts the connections of one listener.
pub(super) struct Crowd {
    limits: ServerLimits,
    addresses: Arc<Counts<IpAddr>>,
    /// Connections that are still in their handshake: an address that says nothing keeps no other out.
    shaking: Arc<Counts<IpAddr>>,
    certificates: Arc<Counts<IssuerSerial>>,
    /// New connections by address.
    arrivals: DefaultKeyedRateLimiter<IpAddr>,
    /// New connections by certificate.
    greetings: DefaultKeyedRateLimiter<IssuerSerial>,
    arrived: AtomicU64,
}

impl Crowd {
    pub(super) fn new(limits: ServerLimits) -> Self {
        let limiter =
            |per_second: NonZeroU32, burst: NonZeroU32| Quota::per_second(per_second).allow_burst(burst);
        Self {
            limits,
            addresses: Arc::default(),
            shaking: Arc::default(),
            certificates: Arc::default(),
            arrivals: RateLimiter::keyed(limiter(limits.arrivals_per_second, limits.arrivals_burst)),
            greetings: RateLimiter::keyed(limiter(limits.arrivals_per_second, limits.arrivals_burst)),
            arrived: AtomicU64::new(0),
        }
    }

    /// Places for a connection from this address and for its handshake; none when it has too many, or comes too
    /// often.
    pub(super) fn arrive(&self, address: IpAddr) -> Option<(Place<IpAddr>, Place<IpAddr>)> {
        let arrived = self.arrived.fetch_add(1, Ordering::Relaxed);
        if arrived.is_multiple_of(FORGET_EVERY) {
            self.arrivals.retain_recent();
            self.greetings.retain_recent();
        }
        self.arrivals.check_key(&address).ok()?;
        let (place, count) = Counts::enter(&self.addresses, address);
        let (shaking, shaking_count) = Counts::enter(&self.shaking, address);
        let fits = count <= self.limits.connections_per_address_max
            && shaking_count <= self.limits.handshakes_per_address_max;
        fits.then_some((place, shaking))
    }

    /// A place for a connection with this certificate, and whether it is one too many.
    pub(super) fn greet(&self, certificate: IssuerSerial) -> (Place<IssuerSerial>, bool) {
        let too_fast = self.greetings.check_key(&certificate).is_err();
        let (place, count) = Counts::enter(&self.certificates, certificate);
        (
            place,
            too_fast || count > self.limits.connections_per_certificate_max,
        )
    }
}

struct Counts<K>(Mutex<HashMap<K, usize>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone> Counts<K> {
    /// Counts one more, until the place is dropped.
    fn enter(counts: &Arc<Self>, key: K) -> (Place<K>, usize) {
        let mut map = counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = map.entry(key.clone()).or_default();
        *count += 1;
        let count = *count;
        drop(map);
        let place = Place {
            counts: Arc::clone(counts),
            key,
        };
        (place, count)
    }
}

/// One connection, for as long as it lives.
pub(super) struct Place<K: Eq + Hash> {
    counts: Arc<Counts<K>>,
    key: K,
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut map = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = map.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                map.remove(&self.key);
            }
        }
    }
}
