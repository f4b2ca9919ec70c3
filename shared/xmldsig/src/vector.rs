//! Signatures eight at a time, for the whole process: every [`Signer`](crate::Signer) with a key of 2048 bits takes part
//! once a library is loaded, and none does before.

use std::path::Path;
use std::sync::OnceLock;

use pix_vector_rsa::{Combiner, Library, LoadError};

static COMBINER: OnceLock<Combiner<Library>> = OnceLock::new();

/// Loads the library of this process, which is tested first, and stays.
///
/// # Errors
/// [`LoadError`]; a process has one library.
pub fn load(path: &Path) -> Result<(), LoadError> {
    if COMBINER.get().is_some() {
        return Err(LoadError::Loaded);
    }
    let combiner = Library::load(path)?.combined();
    COMBINER.set(combiner).map_err(|_| LoadError::Loaded)
}

/// How many threads have to ask for a signature at the same time to have them all made together. Nothing without a
/// library: then more threads than processors make nothing faster.
#[must_use]
pub fn lanes() -> Option<usize> {
    COMBINER.get().map(Combiner::lanes)
}

pub(crate) fn combiner() -> Option<&'static Combiner<Library>> {
    COMBINER.get()
}
