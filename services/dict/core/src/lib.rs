//! The DICT, sans-I/O.
