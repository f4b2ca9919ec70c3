//! Intel's `libcrypto_mb` (Cryptography Primitives Library, Apache-2.0), loaded at run time.

#![expect(
    unsafe_code,
    reason = "a library of C is loaded and called; nothing else in this crate is unsafe"
)]

use std::error::Error as _;
use std::ffi::{c_int, c_uint, c_void};
use std::path::Path;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};

use crate::combiner::{digest_of, padded};
use crate::{Combiner, Key, LANES, Lane, Octets, SIGNATURE_LEN, Vector, VectorFault};

const BITS: c_int = 2048;

/// `mbx_rsa_private_crt_mb8`: eight messages and eight places for signatures, 256 octets each, the most significant
/// first; of each key p, q, dp, dq and the inverse of q, in limbs; bits; method; no buffer of ours. Four bits of
/// status a lane.
type Sign = unsafe extern "C" fn(
    *const *const u8,
    *const *mut u8,
    *const *const u64,
    *const *const u64,
    *const *const u64,
    *const *const u64,
    *const *const u64,
    c_int,
    *const c_void,
    *mut u8,
) -> c_uint;
/// `mbx_RSA_private_crt_Method`: a constant of the library, null for sizes that it does not know.
type Method = unsafe extern "C" fn(c_int) -> *const c_void;

/// Why signatures cannot be made eight at a time.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Of this processor.
    #[error("this processor has no AVX-512 IFMA")]
    Processor,
    /// It is not there, or one that it needs is not.
    #[error("the library cannot be loaded: {0}")]
    Load(String),
    /// It is another library, or another version.
    #[error("the library has no RSA-2048 of eight lanes: {0}")]
    Symbol(&'static str),
    /// It does not do what aws-lc does.
    #[error("the library's signatures are wrong: {0}")]
    SelfTest(String),
    /// Another one is in use already.
    #[error("this process makes signatures with another library already")]
    Loaded,
}

/// The library, which has signed what aws-lc verifies.
pub struct Library {
    sign: Sign,
    /// What `mbx_RSA_private_crt_Method` gave, as an address: a constant that every thread may read.
    method: usize,
    _library: libloading::Library,
}

impl Library {
    /// Loads the library at `path` and lets it sign with a fresh key.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        if !processor_can() {
            return Err(LoadError::Processor);
        }
        // SAFETY: loading runs the library's initialisers. The operator names the file, as he names this program.
        let library = unsafe { libloading::Library::new(path) };
        // The loader's own words, which name the file that is missing, are the cause.
        let library = library.map_err(|error| {
            let cause = error.source().map(ToString::to_string);
            LoadError::Load(cause.unwrap_or_else(|| error.to_string()))
        })?;
        // SAFETY: the types are those of `crypto_mb/rsa.h`.
        let sign = unsafe { library.get::<Sign>(b"mbx_rsa_private_crt_mb8\0") };
        let sign = *sign.map_err(|_| LoadError::Symbol("mbx_rsa_private_crt_mb8"))?;
        // SAFETY: as above.
        let method = unsafe { library.get::<Method>(b"mbx_RSA_private_crt_Method\0") };
        let method = *method.map_err(|_| LoadError::Symbol("mbx_RSA_private_crt_Method"))?;
        // SAFETY: it takes a number and gives the address of a constant.
        let method = unsafe { method(BITS) };
        if method.is_null() {
            return Err(LoadError::Symbol("a method of 2048 bits"));
        }
        let library = Self {
            sign,
            method: method as usize,
            _library: library,
        };
        library.test()?;
        Ok(library)
    }

    /// The library with a place for each processor: as long as few sign, none of them waits.
    #[must_use]
    pub fn combined(self) -> Combiner<Self> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Combiner::new(self, processors)
    }

    /// Eight messages with a fresh key: each has to be signed as aws-lc signs it.
    fn test(&self) -> Result<(), LoadError> {
        let failed = |what: &dyn std::fmt::Display| LoadError::SelfTest(what.to_string());
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|e| failed(&e))?;
        let private = pair.as_der().map_err(|e| failed(&e))?;
        let key = Key::from_der(private.as_ref(), pair.public_key().as_ref()).map_err(|e| failed(&e))?;
        let messages: [[u8; 1]; LANES] = std::array::from_fn(|lane| [b'0' + lane.to_le_bytes()[0]]);
        let digests = messages.map(|message| digest_of(&message));
        let all = digests.each_ref().map(padded);
        let lanes = all.each_ref().map(|message| Lane { key: &key, message });
        let signatures = self.sign(&lanes).map_err(|e| failed(&e))?;
        let random = aws_lc_rs::rand::SystemRandom::new();
        for ((message, digest), signature) in messages.iter().zip(&digests).zip(&signatures) {
            let mut same = [0; SIGNATURE_LEN];
            pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut same)
                .map_err(|e| failed(&e))?;
            if !key.verifies(digest, signature) || same != *signature {
                return Err(failed(&"another signature than aws-lc's"));
            }
        }
        Ok(())
    }
}

impl Vector for Library {
    fn sign(&self, lanes: &[Lane<'_>; LANES]) -> Result<[Octets; LANES], VectorFault> {
        let mut signatures = [[0; SIGNATURE_LEN]; LANES];
        let messages = lanes.map(|lane| lane.message.as_ptr());
        let places = signatures.each_mut().map(|signature| signature.as_mut_ptr());
        let p = lanes.map(|lane| lane.key.p.as_ptr());
        let q = lanes.map(|lane| lane.key.q.as_ptr());
        let dp = lanes.map(|lane| lane.key.dp.as_ptr());
        let dq = lanes.map(|lane| lane.key.dq.as_ptr());
        let inverse = lanes.map(|lane| lane.key.inverse.as_ptr());
        // SAFETY: each array has eight pointers; messages and signatures are 256 octets and each number is 16 limbs, as
        // keys of 2048 bits take them; all of them live until the call ends, and the signatures do not overlap. The
        // library keeps nothing between calls, so threads may call it at the same time; without a buffer it takes its own.
        let status = unsafe {
            (self.sign)(
                messages.as_ptr(),
                places.as_ptr(),
                p.as_ptr(),
                q.as_ptr(),
                dp.as_ptr(),
                dq.as_ptr(),
                inverse.as_ptr(),
                BITS,
                self.method as *const c_void,
                std::ptr::null_mut(),
            )
        };
        match status {
            0 => Ok(signatures),
            status => Err(VectorFault(status)),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn processor_can() -> bool {
    std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512ifma")
}

#[cfg(not(target_arch = "x86_64"))]
fn processor_can() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_such_library_is_told() {
        let error = Library::load(Path::new("/nowhere/libcrypto_mb.so"))
            .err()
            .expect("no library");
        match error {
            LoadError::Load(why) => assert!(why.contains("/nowhere/libcrypto_mb.so"), "{why}"),
            other => assert!(matches!(other, LoadError::Processor), "{other}"),
        }
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    fn the_library_signs_as_aws_lc_does() {
        let Some(path) = std::env::var_os("PIX_VECTOR_LIBRARY") else {
            eprintln!("skipped: PIX_VECTOR_LIBRARY is not set");
            return;
        };
        // Loading signs eight messages and compares.
        let library = Library::load(path.as_ref()).expect("the library works");
        // Eight keys in one call.
        let keys: [Key; LANES] = std::array::from_fn(|_| {
            let (pair, der) = crate::key::tests::fresh(KeySize::Rsa2048);
            Key::from_der(&der, pair.public_key().as_ref()).expect("a fit key")
        });
        let digest = digest_of(b"the same message");
        let message = padded(&digest);
        let lanes = keys.each_ref().map(|key| Lane {
            key,
            message: &message,
        });
        let signatures = library.sign(&lanes).expect("eight signatures");
        for (key, signature) in keys.iter().zip(&signatures) {
            assert!(key.verifies(&digest, signature));
        }
    }
}
