//! One flipped bit, anywhere.

use iso20022::{Document, Envelope, Path, open};

use crate::foreign::signed_pretty;
use crate::support::{bank, sealed};

/// The letters' case, the least and the greatest bit: names, digits, base64, markup and UTF-8 all break.
const BITS: [u8; 3] = [0x01, 0x20, 0x80];

/// One payment. No CR in its text: `&#xD;` and `&#xd;` are two spellings of the same message.
fn order() -> Envelope {
    let mut envelope = crate::support::order(1);
    let Document::Pacs008(order) = &mut envelope.document else {
        panic!("a pacs.008")
    };
    order.transactions[0].remittance = None;
    envelope
}

#[test]
fn a_flipped_bit_anywhere_in_a_canonical_message_is_refused() {
    let message = sealed(&order());
    assert_eq!(
        open(message.as_bytes(), &bank().key).expect("true").path,
        Path::Fast
    );
    refuse_every_flip(message.as_bytes(), 0);
}

#[test]
fn a_flipped_bit_anywhere_in_a_pretty_message_is_refused() {
    let message = signed_pretty(&sealed(&order()));
    assert_eq!(
        open(message.as_bytes(), &bank().key).expect("true").path,
        Path::Generic
    );
    // `utf-8` is UTF-8: the declaration is no part of the message.
    refuse_every_flip(message.as_bytes(), message.find("<Envelope").expect("there"));
}

fn refuse_every_flip(message: &[u8], from: usize) {
    let mut bytes = message.to_vec();
    for at in from..bytes.len() {
        for bit in BITS {
            bytes[at] ^= bit;
            // First the fast path, then, since that takes nothing, the generic one.
            let around = String::from_utf8_lossy(&bytes[at.saturating_sub(20)..bytes.len().min(at + 20)]);
            assert!(
                open(&bytes, &bank().key).is_err(),
                "bit {bit:#04x} of byte {at}: {around}"
            );
            bytes[at] ^= bit;
        }
    }
}

#[test]
fn a_byte_more_or_less_anywhere_is_refused() {
    let message = sealed(&order());
    let outside = |text: &str| open(text.as_bytes(), &bank().key).is_ok();
    for at in 0..message.len() {
        if message.is_char_boundary(at) && message.is_char_boundary(at + 1) {
            let without = format!("{}{}", &message[..at], &message[at + 1..]);
            assert!(!outside(&without), "without byte {at}");
            // A letter, so that neither white space between tags nor inside base64 hides it.
            let with = format!("{}x{}", &message[..at], &message[at..]);
            assert!(!outside(&with), "an x before byte {at}");
        }
    }
}
