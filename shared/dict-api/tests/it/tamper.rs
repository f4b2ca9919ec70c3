//! One flipped bit, anywhere.

use pix_dict_api::{
    Operation, Path, open_problem, open_request, open_response, seal_problem, write_unsigned,
};

use crate::foreign::{insert, pretty, sign, template};
use crate::support::{KEY_INFO_ID, bank, create, get_entry, problems, sealed, sealed_response};

/// The letters' case, the least and the greatest bit: names, digits, base64, markup and UTF-8 all break.
const BITS: [u8; 3] = [0x01, 0x20, 0x80];

fn refuse_every_flip(message: &[u8], from: usize, opens: impl Fn(&[u8]) -> bool) {
    assert!(opens(message));
    let mut bytes = message.to_vec();
    for at in from..bytes.len() {
        for bit in BITS {
            bytes[at] ^= bit;
            let around = String::from_utf8_lossy(&bytes[at.saturating_sub(20)..bytes.len().min(at + 20)]);
            assert!(!opens(&bytes), "bit {bit:#04x} of byte {at}: {around}");
            bytes[at] ^= bit;
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_request_is_refused() {
    let message = sealed(&create());
    refuse_every_flip(message.as_bytes(), 0, |bytes| {
        open_request(bytes, Operation::CreateEntry, &bank().key).is_ok()
    });
}

#[test]
fn a_flipped_bit_anywhere_in_a_pretty_request_is_refused() {
    let message = String::from_utf8(write_unsigned(&create())).expect("UTF-8");
    let message = sign(&insert(&pretty(&message), &template()));
    let opened = open_request(message.as_bytes(), Operation::CreateEntry, &bank().key).expect("true");
    assert_eq!(opened.path, Path::Generic);
    // The declaration is no part of the message, nor is the white space at its end.
    let root = message.find("<CreateEntryRequest").expect("the root");
    refuse_every_flip(message.trim_end().as_bytes(), root, |bytes| {
        open_request(bytes, Operation::CreateEntry, &bank().key).is_ok()
    });
}

#[test]
fn a_flipped_bit_anywhere_in_an_answer_is_refused() {
    let message = sealed_response(&get_entry());
    refuse_every_flip(message.as_bytes(), 0, |bytes| {
        open_response(bytes, &bank().key).is_ok()
    });
}

#[test]
fn a_flipped_bit_anywhere_in_a_problem_is_refused() {
    let (_, problem) = &problems()[0];
    let message = seal_problem(problem, &bank().signer, KEY_INFO_ID);
    refuse_every_flip(&message, 0, |bytes| open_problem(bytes, &bank().key).is_ok());
}

#[test]
fn a_byte_more_or_less_anywhere_is_refused() {
    let message = sealed(&create());
    let opens = |text: &str| open_request(text.as_bytes(), Operation::CreateEntry, &bank().key).is_ok();
    for at in 0..message.len() {
        if message.is_char_boundary(at) && message.is_char_boundary(at + 1) {
            let without = format!("{}{}", &message[..at], &message[at + 1..]);
            assert!(!opens(&without), "without byte {at}");
            // A letter, so that neither white space between tags nor inside base64 hides it.
            let with = format!("{}x{}", &message[..at], &message[at..]);
            assert!(!opens(&with), "an x before byte {at}");
        }
    }
}
