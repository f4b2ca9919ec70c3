//! Bodies, with a cap on their size and on the patience with them.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};

/// How long a body may take from its first octet to its last.
pub const BODY_WITHIN: Duration = Duration::from_secs(15);

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Longer than the cap: 413.
    #[error("the body is longer than {max} octets")]
    TooLarge {
        /// The cap, in octets.
        max: usize,
    },
    /// Not complete in [`BODY_WITHIN`]: 408.
    #[error("the body took too long")]
    Slow,
    /// The connection broke, or the chunks are no chunks.
    #[error("the body broke off: {0}")]
    Broken(String),
}

/// Reads a whole body of at most `max` octets. One that says it is longer is not read at all.
///
/// # Errors
/// [`BodyError`] by size, time or connection.
pub async fn read_body(body: Incoming, max: usize) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > u64::try_from(max).unwrap_or(u64::MAX) {
        return Err(BodyError::TooLarge { max });
    }
    match tokio::time::timeout(BODY_WITHIN, Limited::new(body, max).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(BodyError::TooLarge { max }),
        Ok(Err(e)) => Err(BodyError::Broken(e.to_string())),
        Err(_) => Err(BodyError::Slow),
    }
}
