//! Any bytes at the door: the two ways of reading agree, and neither panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pix_xmldsig::VerifyingKey;

fuzz_target!(|bytes: &[u8]| {
    let nobody: Vec<VerifyingKey> = Vec::new();
    assert!(iso20022::open_fast(bytes, &nobody).is_none(), "nobody signed this");
    assert!(iso20022::open_generic(bytes, &nobody).is_err(), "nobody signed this");
    drop(iso20022::parse_unsigned(bytes));
});
