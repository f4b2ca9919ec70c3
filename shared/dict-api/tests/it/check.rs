//! Each field wrong in turn: the violation that says so, and no other.

use pix_dict_api::{EntryText, check_key, check_request_id};
use pix_domain::{AccountType, KeyType};

use crate::support::{company, entry_text, person};

/// Property, value and reason of every violation of the base entry after `change`.
fn violations(change: impl FnOnce(&mut EntryText)) -> Vec<(String, Option<String>, String)> {
    let mut entry = entry_text();
    change(&mut entry);
    let violations = entry.check().expect_err("something is wrong");
    violations
        .into_iter()
        .map(|v| (v.property.expect("named"), v.value, v.reason))
        .collect()
}

#[track_caller]
fn one(property: &str, value: Option<&str>, reason: &str, change: impl FnOnce(&mut EntryText)) {
    let expected = (property.to_owned(), value.map(str::to_owned), reason.to_owned());
    assert_eq!(violations(change), [expected]);
}

#[track_caller]
fn no_match(property: &str, value: &str, regex: &str, change: impl FnOnce(&mut EntryText)) {
    let reason = format!("Value does not match regex '{regex}'");
    one(property, Some(value), &reason, change);
}

fn key(kind: &'static str, text: &str) -> impl FnOnce(&mut EntryText) {
    let text = text.to_owned();
    move |entry| (entry.key_type, entry.key) = (kind.to_owned(), Some(text))
}

#[test]
fn keys() {
    for (kind, wrong, regex) in [
        ("CPF", "1112223330", "^[0-9]{11}$"),
        ("CPF", "111.222.333-00", "^[0-9]{11}$"),
        ("CNPJ", "12ABC34501DE3", "^(?i)[a-z0-9]{14}$"),
        ("PHONE", "61988887777", r"^\+[1-9]\d{1,14}$"),
        ("PHONE", "+0561988887777", r"^\+[1-9]\d{1,14}$"),
        ("EMAIL", "", pix_domain::key_pattern(KeyType::Email)),
        ("EMAIL", "A@example.com", pix_domain::key_pattern(KeyType::Email)),
        ("EMAIL", "+5561988880000", pix_domain::key_pattern(KeyType::Email)),
    ] {
        no_match("entry.key", wrong, regex, key(kind, wrong));
    }
    for (kind, wrong) in [
        ("CPF", "52998224726"),
        ("CPF", "11111111111"),
        ("CNPJ", "12ABC34501DE36"),
        ("CNPJ", "12abc34501deAB"),
    ] {
        one(
            "entry.key",
            Some(wrong),
            "Check digits are wrong",
            key(kind, wrong),
        );
    }
    one("entry.key", None, "Value is missing", |entry| entry.key = None);
    let drawn = "123e4567-e89b-12d3-a456-426655440000";
    let why = "A key of type EVP is drawn by the DICT and may not be given";
    one("entry.key", Some(drawn), why, key("EVP", drawn));
    let kinds = "^(CPF|CNPJ|PHONE|EMAIL|EVP)$";
    no_match("entry.keyType", "phone", kinds, key("phone", "+5561988880000"));
}

#[test]
fn keys_that_are_right_come_out_in_canonical_form() {
    for (kind, text, canonical) in [
        ("CPF", "52998224725", "52998224725"),
        ("CNPJ", "12abc34501de35", "12ABC34501DE35"),
        ("PHONE", "+5561988880000", "+5561988880000"),
        ("EMAIL", "pix@bcb.gov.br", "pix@bcb.gov.br"),
    ] {
        let mut entry = entry_text();
        key(kind, text)(&mut entry);
        let checked = entry.check().expect(text);
        assert_eq!(checked.key.expect(text).as_str(), canonical);
    }
    let mut random = entry_text();
    (random.key, random.key_type) = (None, "EVP".to_owned());
    let random = random.check().expect("an EVP has no key yet");
    assert_eq!((random.kind, random.key), (KeyType::Evp, None));
}

#[test]
fn accounts() {
    for wrong in ["", "00001", "1a", "-1"] {
        no_match("entry.account.branch", wrong, "^[0-9]{1,4}$", |entry| {
            entry.account.branch = Some(wrong.to_owned());
        });
    }
    for wrong in ["", "000000000000000000001", "12-3", "12 3"] {
        let regex = "^(?i)[a-z0-9]{1,20}$";
        no_match("entry.account.accountNumber", wrong, regex, |entry| {
            entry.account.number = wrong.to_owned();
        });
    }
    for wrong in ["OTHR", "cacc", ""] {
        let regex = "^(CACC|TRAN|SLRY|SVGS)$";
        no_match("entry.account.accountType", wrong, regex, |entry| {
            entry.account.kind = wrong.to_owned();
        });
    }
    for wrong in ["1234567", "1234567a", ""] {
        no_match("entry.account.participant", wrong, "^[0-9A-Z]{8}$", |entry| {
            entry.account.participant = wrong.to_owned();
        });
    }
    for wrong in ["", "2010-01-10", "2010-02-30T03:00:00Z", "2010-01-10T03:00:00"] {
        let why = "Value is not a date-time of RFC 3339";
        one("entry.account.openingDate", Some(wrong), why, |entry| {
            entry.account.opened_at = wrong.to_owned();
        });
    }
    let mut letters = entry_text();
    letters.account.number = "12x".to_owned();
    letters.account.branch = None;
    letters.account.kind = "TRAN".to_owned();
    letters.account.opened_at = "2010-01-10T00:00:00-03:00".to_owned();
    let account = letters.check().expect("valid").account;
    assert_eq!(account.number.as_str(), "12X");
    assert_eq!((account.branch, account.kind), (None, AccountType::Transacting));
    assert_eq!(account.opened_at.to_string(), "2010-01-10T03:00:00.000Z");
}

#[test]
fn owners() {
    let natural = "^([A-Za-zÀ-ÖØ-öø-ÿ' -]+)$";
    for wrong in ["", "João 2", "A×B", "A÷B", "Ana_", "Ñandú.", "Łukasz"] {
        no_match("entry.owner.name", wrong, natural, |entry| {
            entry.owner.name = wrong.to_owned()
        });
    }
    let long = "é".repeat(151);
    let why = "Value is longer than 150 characters";
    one("entry.owner.name", Some(&long), why, |entry| {
        entry.owner.name.clone_from(&long)
    });
    let legal = r"^[\u0020-\u007E\u00A1-\u00FF]+$";
    for wrong in [
        "",
        "Padaria\t",
        "Padaria\u{a0}",
        "Padaria\u{100}",
        "Padaria\u{7f}",
    ] {
        no_match("entry.owner.name", wrong, legal, |entry| {
            entry.owner = company();
            entry.owner.name = wrong.to_owned();
        });
        no_match("entry.owner.tradeName", wrong, legal, |entry| {
            entry.owner = company();
            entry.owner.trade_name = Some(wrong.to_owned());
        });
    }
    let long = "x".repeat(101);
    let why = "Value is longer than 100 characters";
    one("entry.owner.tradeName", Some(&long), why, |entry| {
        entry.owner = company();
        entry.owner.trade_name = Some(long.clone());
    });
    let why = "Only a LEGAL_PERSON has a trade name";
    one("entry.owner.tradeName", Some("Silva"), why, |entry| {
        entry.owner.trade_name = Some("Silva".to_owned());
    });
    no_match(
        "entry.owner.taxIdNumber",
        "12ABC34501DE35",
        "^[0-9]{11}$",
        |entry| {
            entry.owner = company();
            entry.owner.person_type = "NATURAL_PERSON".to_owned();
            entry.owner.name = "Ana".to_owned();
            entry.owner.trade_name = None;
        },
    );
    no_match(
        "entry.owner.taxIdNumber",
        "11122233300",
        "^[0-9A-Z]{12}[0-9]{2}$",
        |entry| {
            entry.owner = person();
            entry.owner.person_type = "LEGAL_PERSON".to_owned();
        },
    );
    no_match(
        "entry.owner.type",
        "PERSON",
        "^(NATURAL_PERSON|LEGAL_PERSON)$",
        |entry| {
            entry.owner.person_type = "PERSON".to_owned();
        },
    );
}

#[test]
fn an_owner_of_no_kind_is_looked_through_all_the_same() {
    let all = violations(|entry| {
        entry.owner.person_type = "PERSON".to_owned();
        entry.owner.tax_id = "1".to_owned();
        entry.owner.name = "\u{2603}".to_owned();
        entry.owner.trade_name = Some("\u{2603}".to_owned());
    });
    let properties: Vec<&str> = all.iter().map(|(property, _, _)| property.as_str()).collect();
    let owner = ["type", "taxIdNumber", "name", "tradeName"].map(|p| format!("entry.owner.{p}"));
    assert_eq!(properties, owner);
    for tax_id in ["11122233300", "12ABC34501DE35"] {
        let all = violations(|entry| {
            entry.owner.person_type.clear();
            entry.owner.tax_id = tax_id.to_owned();
            entry.owner.name = "Padaria 24 horas".to_owned();
        });
        assert_eq!(all.len(), 1, "right for one of the two kinds: {all:?}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let all = violations(|entry| {
        entry.key = Some("x".to_owned());
        entry.account.participant.clear();
        entry.account.branch = Some(String::new());
        entry.account.number.clear();
        entry.account.kind.clear();
        entry.account.opened_at.clear();
        entry.owner.tax_id.clear();
        entry.owner.name.clear();
        entry.owner.trade_name = Some(String::new());
    });
    let properties: Vec<&str> = all.iter().map(|(property, ..)| property.as_str()).collect();
    assert_eq!(
        properties,
        [
            "entry.key",
            "entry.account.participant",
            "entry.account.branch",
            "entry.account.accountNumber",
            "entry.account.accountType",
            "entry.account.openingDate",
            "entry.owner.taxIdNumber",
            "entry.owner.name",
            "entry.owner.tradeName",
        ]
    );
    // Alone, as an update has them.
    let mut entry = entry_text();
    entry.account.branch = Some("x".to_owned());
    entry.owner.name = "2".to_owned();
    let property = |violations: Vec<pix_dict_api::Violation>| violations[0].property.clone();
    let account = entry.account.check().expect_err("wrong");
    assert_eq!(property(account).as_deref(), Some("account.branch"));
    let owner = entry.owner.check().expect_err("wrong");
    assert_eq!(property(owner).as_deref(), Some("owner.name"));
}

#[test]
fn keys_and_ids_alone() {
    assert!(
        check_key("11122233300").is_ok(),
        "its check digits are not looked at"
    );
    assert_eq!(check_key("+55@x.br").expect("an e-mail").kind(), KeyType::Email);
    for wrong in ["", "x", "A@b.c", "+0"] {
        let violation = check_key(wrong).expect_err("wrong");
        assert_eq!(violation.property.as_deref(), Some("key"));
        assert_eq!(violation.value.as_deref(), Some(wrong));
    }
    assert!(check_request_id("a946d533-7f22-42a5-9a9b-e87cd55c0f4d").is_ok());
    let violation = check_request_id("a946d533-7f22-12a5-9a9b-e87cd55c0f4d").expect_err("version 1");
    assert_eq!(violation.property.as_deref(), Some("requestId"));
}

#[test]
fn what_is_written_checks_to_what_it_was() {
    for owner in [person(), company()] {
        let mut text = entry_text();
        text.owner = owner;
        let entry = text.check().expect("valid");
        let again = EntryText::from(&entry);
        assert_eq!(again, text);
        assert_eq!(again.check(), Ok(entry));
    }
}

/// Neither an error nor a log shows whose entry it was.
#[test]
fn debug_shows_no_personal_data() {
    let entry = entry_text();
    let shown = format!("{entry:?} {:?} {:?}", entry.account, entry.owner);
    let checked = entry.check().expect("valid");
    let mut wrong = entry_text();
    wrong.owner.name = "João 2".to_owned();
    let shown = format!(
        "{shown} {checked:?} {:?} {:?}",
        wrong.check(),
        crate::support::get_entry()
    );
    for secret in ["João", "11122233300", "+5561988880000"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
