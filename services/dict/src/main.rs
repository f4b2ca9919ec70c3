//! The DICT.

fn main() {}
