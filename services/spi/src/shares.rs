//! No participant fills the book's queue alone.

use crate::book::QUEUE_MAX;

/// Messages of one participant under way at once, from the first byte read to the 201: a quarter of the
/// book's queue, so that one that floods it leaves room for the others.
pub(crate) const POSTS_MAX: usize = QUEUE_MAX / 4;

/// The shares of all participants.
pub(crate) type Shares = pix_runtime::Shares<POSTS_MAX>;
