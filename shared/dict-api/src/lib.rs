//! Messages of the DICT API v2.

mod cid;
mod entry;

pub use cid::cid;
pub use entry::{Account, Entry, NewEntry, Owner};
