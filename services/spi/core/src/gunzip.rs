//! Compressed bodies, with a cap on what they become.

use std::io::Read as _;

/// How much gzip may blow a body up.
pub const RATIO_MAX: usize = 50;

/// Why a body is not decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GunzipError {
    /// It is no gzip.
    #[error("the body is not gzip")]
    Invalid,
    /// It becomes longer than allowed, or than [`RATIO_MAX`] times itself.
    #[error("the body becomes too long")]
    TooLarge,
}

/// What `body` is compressed from, at most `bytes_max` octets.
///
/// # Errors
/// [`GunzipError`]; no more than the cap is ever held.
pub fn gunzip(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, GunzipError> {
    let max = bytes_max.min(body.len().saturating_mul(RATIO_MAX));
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::MultiGzDecoder::new(body)
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|_| GunzipError::Invalid)?;
    if bytes.len() > max {
        return Err(GunzipError::TooLarge);
    }
    Ok(bytes)
}
