//! A compressed body: never more than its caps.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spi_core::gunzip::{RATIO_MAX, gunzip};

fuzz_target!(|bytes: &[u8]| {
    const MAX: usize = 1 << 20;
    if let Ok(plain) = gunzip(bytes, MAX) {
        assert!(plain.len() <= MAX && plain.len() <= bytes.len() * RATIO_MAX);
    }
});
