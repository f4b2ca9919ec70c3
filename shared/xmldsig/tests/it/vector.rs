//! Signers with a library that signs eight at a time.

use std::path::Path;

use pix_domain::Timestamp;
use pix_pki::{Authority, Subject, Use, Validity};
use pix_xmldsig::{Signer, vector};

const THREADS: usize = 24;
const MESSAGES: usize = 20;

fn signer(name: &str) -> Signer {
    let now = Timestamp::from_micros(1_795_262_400_000_000);
    let authority = Authority::new("AC", Validity::long(now)).expect("an authority");
    let subject = Subject {
        common_name: name.to_owned(),
        ispb: None,
    };
    let identity = authority
        .issue(&subject, Use::Signature, Validity::long(now))
        .expect("a certificate");
    Signer::from_pem(identity.certificate_pem.as_bytes(), identity.key_pem.as_bytes()).expect("a key")
}

fn message(thread: usize, number: usize) -> Vec<u8> {
    format!("message {number} of {thread}").into_bytes()
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn together_they_sign_what_each_signs_alone() {
    let Some(library) = std::env::var_os("PIX_VECTOR_LIBRARY") else {
        eprintln!("skipped: PIX_VECTOR_LIBRARY is not set");
        return;
    };
    let signers = [signer("SPI"), signer("DICT")];
    let signer = |thread: usize| &signers[thread % signers.len()];
    assert_eq!(vector::lanes(), None);
    let alone: Vec<Vec<Vec<u8>>> = (0..THREADS)
        .map(|thread| {
            (0..MESSAGES)
                .map(|number| signer(thread).sign(&message(thread, number)))
                .collect()
        })
        .collect();
    vector::load(Path::new(&library)).unwrap();
    assert!(vector::lanes().is_some_and(|lanes| lanes >= 8));
    assert!(
        vector::load(Path::new(&library)).is_err(),
        "a process has one library"
    );
    std::thread::scope(|scope| {
        for (thread, alone) in alone.iter().enumerate() {
            scope.spawn(move || {
                for (number, alone) in alone.iter().enumerate() {
                    let message = message(thread, number);
                    let together = signer(thread).sign(&message);
                    assert_eq!(together, *alone);
                    assert!(signer(thread).verifying_key().verifies(&message, &together));
                }
            });
        }
    });
}
