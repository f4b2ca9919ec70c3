//! Signing, on as many threads as there are processors: it is the one part of an answer that takes a processor's
//! time, and the threads that serve sockets do not wait for it. Signatures that are made side by side have as many
//! threads as can meet; most of those wait.

use std::sync::Arc;

use pix_xmldsig::{Signer, vector};
use tokio::sync::Semaphore;

/// Half of the threads that the runtime has for what blocks: most of those that sign side by side only wait.
const PLACES_MAX: usize = 256;

/// Signs answers. Clones share the threads.
#[derive(Clone)]
pub(crate) struct Sealer {
    signer: Signer,
    places: Arc<Semaphore>,
}

impl Sealer {
    /// With one place for each processor; where signatures are made side by side with two for each lane, so that calls
    /// fill while others are under way.
    pub(crate) fn new(signer: Signer) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            signer,
            places: Arc::new(Semaphore::new(
                vector::lanes().map_or(processors, |lanes| (2 * lanes).min(PLACES_MAX)),
            )),
        }
    }

    /// What `form` makes with the key. Whoever waits, waits in order; no more do than there are requests.
    pub(crate) async fn seal<T: Send + 'static>(
        &self,
        form: impl FnOnce(&Signer) -> T + Send + 'static,
    ) -> T {
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .expect("never closed");
        let signer = self.signer.clone();
        let formed = tokio::task::spawn_blocking(move || {
            // Kept to the end also when nobody waits for it any more.
            let _place = place;
            form(&signer)
        });
        let formed = formed.await;
        // A bug in forming is a bug of this request: it goes on to where the request is guarded.
        formed.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("the blocking pool is gone: {error}"),
        })
    }
}
