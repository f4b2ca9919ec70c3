//! What a process makes of the latest directory.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use pix_xmldsig::IssuerSerial;
use tokio::sync::watch;

use crate::Directory;

/// The latest directory, with whatever the service derives from it; clones are one.
pub struct Current<V>(Arc<Inner<V>>);

struct Inner<V> {
    now: ArcSwap<V>,
    /// Counts the directories there were.
    changed: watch::Sender<u64>,
}

impl<V> Clone for Current<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V: AsRef<Directory>> Current<V> {
    /// Begins with this one.
    #[must_use]
    pub fn new(first: V) -> Self {
        Self(Arc::new(Inner {
            now: ArcSwap::from_pointee(first),
            changed: watch::Sender::new(0),
        }))
    }

    /// The latest.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<V>> {
        self.0.now.load()
    }

    /// The latest, to be kept for longer.
    #[must_use]
    pub fn load_full(&self) -> Arc<V> {
        self.0.now.load_full()
    }

    /// Replaces it. Whoever waits in [`Self::forgotten`] looks again.
    pub fn store(&self, next: V) {
        self.0.now.store(Arc::new(next));
        self.0.changed.send_modify(|count| *count += 1);
    }

    /// Waits until a channel certificate that was known is known no longer. A stranger's was never known: it is told
    /// so with each request.
    pub async fn forgotten(&self, certificate: &IssuerSerial) {
        // Before the first look, so that no change falls between.
        let mut changed = self.0.changed.subscribe();
        let mut was_known = false;
        loop {
            let known = self.load().as_ref().as_ref().by_channel(certificate).is_some();
            if was_known && !known {
                return;
            }
            was_known = known;
            changed.changed().await.expect("the sender is ours");
        }
    }
}

/// The service that lives by the directory.
pub trait Resident: Send + 'static {
    /// Takes a directory over: what it says counts when this is over.
    fn take(&mut self, directory: Directory) -> impl Future<Output = ()> + Send;
}

impl Resident for Current<Directory> {
    async fn take(&mut self, directory: Directory) {
        self.store(directory);
    }
}
