//! Microseconds and allocations per message: `cargo run --release -p iso20022 --example cost`.
//!
//! `cost open 1000` opens the sample of ten transactions so often and does nothing else worth mentioning, for those
//! who count instructions.

#![expect(clippy::print_stdout, reason = "a report for people")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use iso20022::{Document, open_fast, open_generic, parse_unsigned, seal, seal_envelope, unsigned};
use pix_domain::Timestamp;
use pix_pki::{Authority, Subject, Use, Validity};
use pix_xmldsig::{Signer, VerifyingKey};

/// Counts what is asked for.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe to write; this one leaves everything to the system's"
)]
// SAFETY: every call is passed on as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

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
    let mut arguments = std::env::args().skip(1);
    let only: Option<u32> = (arguments.next().as_deref() == Some("open"))
        .then(|| arguments.next()?.parse().ok())
        .flatten();
    for transactions in [1, 10] {
        let mut envelope = parse_unsigned(SAMPLE.as_bytes()).expect("the sample");
        if let Document::Pacs008(order) = &mut envelope.document {
            order.transactions = vec![order.transactions[0].clone(); transactions];
        }
        let message = seal_envelope(&envelope, &signer, "key-info-id");
        let document = iso20022::document(&envelope.document);
        if let Some(times) = only {
            for _ in 0..if transactions == 10 { times } else { 0 } {
                black_box(open_fast(black_box(&message), &Vec::new()).is_some());
            }
            continue;
        }
        let elements = message.windows(2).filter(|two| two[0] == b'<' && two[1] != b'/');
        let (octets, elements) = (message.len(), elements.count());
        println!("{transactions} transactions, {octets} bytes, {elements} elements");
        report("write, unsigned", || black_box(unsigned(&envelope)).len());
        report("seal fragments (one RSA signature)", || {
            seal(&envelope.header, &document, &signer, "key-info-id").len()
        });
        report("open, fast path (one RSA verification)", || {
            usize::from(open_fast(black_box(&message), &keys).is_some())
        });
        // Nobody's key is known, so it ends when the digests are compared.
        let nobody = Vec::new();
        report("open, fast path without the RSA verification", || {
            usize::from(open_fast(black_box(&message), &nobody).is_some())
        });
        let info = vec![b'x'; 1500];
        let value = signer.sign(&info);
        report("one RSA verification alone", || {
            usize::from(keys.verifies(black_box(&info), &value))
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

/// The median and the best of nine rounds: the best is what a machine that others use can do.
fn report(what: &str, mut work: impl FnMut() -> usize) {
    const TIMES: u32 = 200;
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    black_box(work());
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let mut rounds: Vec<f64> = (0..9)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..TIMES {
                black_box(work());
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!(
        "  {:7.1} us (best {:7.1}) {allocations:5} allocations  {what}",
        rounds[4], rounds[0]
    );
}
