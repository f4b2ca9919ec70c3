//! Golden files are compared octet by octet.

use pix_testkit::{assert_golden, golden};

#[test]
fn what_is_equal_passes() {
    assert_eq!(golden("line.txt"), b"one line\n");
    assert_golden("line.txt", b"one line\n");
}

#[test]
#[should_panic(expected = "UPDATE_GOLDEN=1 rewrites it")]
fn what_differs_says_how_to_accept_it() {
    assert_golden("line.txt", b"another\n");
}
