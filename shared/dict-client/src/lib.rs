//! The DICT as a participant asks it.
