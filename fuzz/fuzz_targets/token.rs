//! A stream's token: what is read writes itself back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spi_core::streams::Token;

fuzz_target!(|text: &str| {
    if let Some(token) = Token::parse(text) {
        assert_eq!(token.to_string(), text);
    }
});
