//! A multipart body: its parts are pieces of it, and no more than ten.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use spi_core::multipart;

fuzz_target!(|input: (String, Vec<u8>)| {
    let (content_type, body) = input;
    let boundary = multipart::boundary(&content_type).unwrap_or("b");
    let body = Bytes::from(body);
    if let Ok(parts) = multipart::split(&body, boundary) {
        assert!((1..=multipart::PARTS_MAX).contains(&parts.len()));
        assert!(parts.iter().map(|part| part.body.len()).sum::<usize>() <= body.len());
    }
});
