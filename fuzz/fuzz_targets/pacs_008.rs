//! A transaction of a pacs.008: what is read writes itself back, and reads the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(transaction) = iso20022::parse_credit_transfer_fragment(bytes) {
        let written = iso20022::credit_transfer_fragment(&transaction);
        let again = iso20022::parse_credit_transfer_fragment(written.as_ref()).expect("we wrote it");
        assert_eq!(again, transaction);
    }
});
