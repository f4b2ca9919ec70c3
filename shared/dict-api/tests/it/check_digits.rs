//! Check digits against the `cpf_cnpj` crate.

use pix_domain::TaxId;
use proptest::prelude::*;

/// Ours, and theirs.
fn both(id: &str) -> (bool, bool) {
    let ours = TaxId::parse(id.as_bytes())
        .expect("the pattern")
        .has_valid_check_digits();
    let theirs = if id.len() == 11 {
        cpf_cnpj::cpf::validate(id)
    } else {
        cpf_cnpj::cnpj::validate(id)
    };
    (ours, theirs)
}

/// `id` with its check digits made right.
fn completed(body: &str) -> String {
    let all = (0..100).map(|digits| format!("{body}{digits:02}"));
    let mut right = all.filter(|id| both(id).0);
    let first = right.next().unwrap_or_else(|| format!("{body}00"));
    assert!(right.next().is_none(), "one pair of check digits fits {body}");
    first
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// As they come, with their check digits made right, and right ones with one character changed: each of 12,000
    /// cases is judged three times.
    #[test]
    fn check_digits_are_those_of_cpf_cnpj(
        id in "[0-9]{11}|[0-9]{14}|[0-9A-Z]{12}[0-9]{2}",
        at in 0..11_usize,
        to in "[0-9]",
    ) {
        let (ours, theirs) = both(&id);
        prop_assert_eq!(ours, theirs, "{}", id);
        let right = completed(&id[..id.len() - 2]);
        let (ours, theirs) = both(&right);
        prop_assert_eq!(ours, theirs, "{}", right);
        let mut mutated = right;
        mutated.replace_range(at..=at, &to);
        let (ours, theirs) = both(&mutated);
        prop_assert_eq!(ours, theirs, "{}", mutated);
    }
}

#[test]
fn one_digit_repeated_is_no_cpf() {
    for digit in '0'..='9' {
        let id: String = std::iter::repeat_n(digit, 11).collect();
        assert_eq!(both(&id), (false, false), "{id}");
    }
}
