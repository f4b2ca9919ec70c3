//! Microseconds per message, for a first idea: `cargo run --release -p pix-dict-api --example dict_cost`.

#![expect(clippy::print_stdout, reason = "a report for people")]

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Instant;

use pix_dict_api::{
    CorrelationId, CreateEntry, EntryResponse, EntryRoot, Head, Operation, Request, Response,
    open_request_fast, open_request_generic, open_response_fast, parse_unsigned, seal_request, seal_response,
};
use pix_domain::Timestamp;
use pix_pki::{Authority, Subject, Use, Validity};
use pix_xmldsig::{KeySource, Signer, VerifyingKey};

const SAMPLE: &[u8] = include_bytes!("../tests/golden/requests/create_phone.xml");

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
    rsa(&signer, &keys);
    let request = parse_unsigned(SAMPLE, Operation::CreateEntry).expect("the sample");
    requests(&request, &signer, &keys);
    responses(&request, now, &signer, &keys);
}

/// What of the rest is RSA alone.
fn rsa(signer: &Signer, keys: &VerifyingKey) {
    let value = signer.sign(b"message");
    println!("RSA-2048");
    report("sign", || signer.sign(black_box(b"message")).len());
    report("verify", || {
        usize::from(keys.verifies(black_box(b"message"), &value))
    });
}

fn requests(request: &Request, signer: &Signer, keys: &dyn KeySource) {
    let message = seal_request(request, signer, "key-info-id");
    println!("createEntry request, {} bytes", message.len());
    report("seal", || seal_request(request, signer, "key-info-id").len());
    report("open, fast path", || {
        usize::from(open_request_fast(black_box(&message), Operation::CreateEntry, keys).is_some())
    });
    report("open, generic path", || {
        usize::from(open_request_generic(black_box(&message), Operation::CreateEntry, keys).is_ok())
    });
    if let Request::CreateEntry(CreateEntry { entry, .. }) = request {
        report("check the entry", || {
            usize::from(black_box(entry).check().is_ok())
        });
    }
}

fn responses(request: &Request, now: Timestamp, signer: &Signer, keys: &dyn KeySource) {
    let Request::CreateEntry(CreateEntry { entry, .. }) = request else {
        return;
    };
    let entry = entry.check().expect("the sample is valid");
    let entry = pix_dict_api::Entry {
        key: entry.key.expect("the sample has a key"),
        account: entry.account,
        owner: entry.owner,
        created_at: now,
        owned_since: now,
        claim_opened_at: None,
    };
    let response = Response::Entry(EntryResponse {
        root: EntryRoot::Get,
        head: Head {
            at: now,
            correlation_id: CorrelationId::new(7),
        },
        entry: Cow::Borrowed(&entry),
        statistics: None,
    });
    let message = seal_response(&response, signer, "key-info-id");
    println!("getEntry response, {} bytes", message.len());
    report("seal", || seal_response(&response, signer, "key-info-id").len());
    report("open, fast path", || {
        usize::from(open_response_fast(black_box(&message), keys).is_some())
    });
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
