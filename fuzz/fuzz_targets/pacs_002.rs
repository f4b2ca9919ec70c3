//! An item of a pacs.002: what is read writes itself back, and reads the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(report) = iso20022::parse_status_report_fragment(bytes) {
        let written = iso20022::status_report_fragment(&report);
        let again = iso20022::parse_status_report_fragment(written.as_ref()).expect("we wrote it");
        assert_eq!(again, report);
    }
});
