//! A document that claims to be signed: canonical form is a fixed point, and no signature of nobody is true.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pix_xmldsig::VerifyingKey;
use pix_xmldsig::tree::{self, Limits};

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    depth: 32,
    attributes: 32,
    nodes: 10_000,
    repeated: &[],
    nodes_per_repeated: 0,
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(root) = tree::parse(bytes, &LIMITS) else { return };
    let canonical = tree::canonicalize(&root, None);
    let again = tree::parse(&canonical, &LIMITS).expect("canonical XML is XML");
    assert_eq!(tree::canonicalize(&again, None), canonical);
    let nobody: Vec<VerifyingKey> = Vec::new();
    assert!(tree::verify(&root, &nobody).is_err());
});
