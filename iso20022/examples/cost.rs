//! Microseconds per message, for a first idea: `cargo run --release -p iso20022 --example cost`.

#![expect(clippy::print_stdout, reason = "a report for people")]

use std::hint::black_box;
use std::time::Instant;

use iso20022::{Document, open_fast, open_generic, parse_unsigned, seal, seal_envelope, unsigned};
use pix_domain::Timestamp;
use pix_pki::{Authority, Subject, Use, Validity};
use pix_xmldsig::{Signer, VerifyingKey};

const SAMPLE: &str = include_str!("pacs_008.xml");

fn main() {
    let now = Timestamp::parse(b"2026-11-21T12:00:00.000Z").expect("a time");
    let authority = Authority::new("AC", Validity::long(now)).expect("an authority");
    let subject = Subject {
        common_name: "Banco Aurora".into(),
        ispb: None,
    };
    let identity = authority
        .issue(&subject, Use::Signature, Validity::long(now))
        .expect("a certificate");
    let (certificate, key) = (identity.certificate_pem.as_bytes(), identity.key_pem.as_bytes());
    let signer = Signer::from_pem(certificate, key).expect("a key");
    let keys = VerifyingKey::from_certificate_pem(certificate).expect("a key");
    for transactions in [1, 10] {
        let mut envelope = parse_unsigned(SAMPLE.as_bytes()).expect("the sample");
        if let Document::Pacs008(order) = &mut envelope.document {
            order.transactions = vec![order.transactions[0].clone(); transactions];
        }
        let message = seal_envelope(&envelope, &signer, "key-info-id");
        let document = iso20022::document(&envelope.document);
        println!("{transactions} transactions, {} bytes", message.len());
        report("write, unsigned", || black_box(unsigned(&envelope)).len());
        report("seal fragments (one RSA signature)", || {
            seal(&envelope.header, &document, &signer, "key-info-id").len()
        });
        report("open, fast path (one RSA verification)", || {
            usize::from(open_fast(black_box(&message), &keys).is_some())
        });
        report("open, generic path", || {
            usize::from(open_generic(black_box(&message), &keys).is_ok())
        });
        let mut wrong = message.clone();
        let at = wrong.len() - 200;
        wrong[at] ^= 1;
        report("refuse a flipped bit", || {
            usize::from(iso20022::open(black_box(&wrong), &keys).is_err())
        });
    }
}

/// The median of five rounds.
fn report(what: &str, mut work: impl FnMut() -> usize) {
    const TIMES: u32 = 400;
    let mut rounds: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..TIMES {
                black_box(work());
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("  {:7.1} us  {what}", rounds[2]);
}
