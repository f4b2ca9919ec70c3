//! The directory of participants: from a seed file, read from disk with real certificates, and from a copy.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod copy;
mod registry;
mod source;

use std::fs;
use std::path::Path;

use pix_domain::{Category, Ispb, Money, Timestamp};
use pix_participants::{Certificate, Directory, Record, Use, seed};
use pix_pki::DevPki;
use pix_xmldsig::{KeySource as _, VerifyingKey};
use tempfile::TempDir;

fn ispb(text: &str) -> Ispb {
    Ispb::parse(text.as_bytes()).unwrap()
}

/// A folder with the certificates of participant 11111111 and this seed.
fn seed(text: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let pki = DevPki::open_or_create(&dir.path().join("pki")).unwrap();
    pki.participant(ispb("11111111"), &dir.path().join("one"))
        .unwrap();
    fs::write(dir.path().join("participants.toml"), text).unwrap();
    dir
}

fn certificate(path: &Path) -> VerifyingKey {
    VerifyingKey::from_certificate_pem(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn participants_are_found_by_certificate_and_by_ispb() {
    let dir = seed(
        r#"
        [[participant]]
        ispb = "11111111"
        name = "Banco Aurora"
        opening_balance = "1000000.00"
        channel_certificates = ["one/channel.crt"]
        signature_certificates = ["one/signature.crt"]

        [[participant]]
        ispb = "33333333"
        name = "Banco Indireto"
        settler = "11111111"
        active = false
        category = "F"
        "#,
    );
    let path = dir.path().join("participants.toml");
    let directory = Directory::load(&path).unwrap();
    let channel = certificate(&dir.path().join("one/channel.crt"));
    let signature = certificate(&dir.path().join("one/signature.crt"));

    let aurora = directory.by_channel(channel.issuer_serial()).unwrap();
    assert_eq!(
        (aurora.ispb, aurora.is_direct(), aurora.active),
        (ispb("11111111"), true, true)
    );
    assert_eq!(aurora.opening_balance, Some(Money::from_centavos(100_000_000)));
    assert_eq!(aurora.category, Category::A, "unless the file says otherwise");
    let indirect = directory.by_ispb(ispb("33333333")).unwrap();
    assert_eq!(
        (indirect.settler, indirect.is_direct(), indirect.active),
        (ispb("11111111"), false, false)
    );
    assert_eq!(indirect.category, Category::F);
    assert_eq!(
        directory
            .signer(signature.issuer_serial())
            .map(|(whose, _)| whose),
        Some(ispb("11111111"))
    );
    assert!(directory.find(signature.issuer_serial()).is_some());

    // The two kinds of certificate may not be swapped.
    assert!(directory.by_channel(signature.issuer_serial()).is_none());
    assert!(directory.signer(channel.issuer_serial()).is_none());

    let version = directory.version().to_owned();
    assert_eq!(Directory::load(&path).unwrap().version(), version);
    let changed = fs::read_to_string(&path).unwrap().replace("Indireto", "Outro");
    fs::write(&path, changed).unwrap();
    assert_ne!(Directory::load(&path).unwrap().version(), version);
}

#[test]
fn every_fault_of_the_seed_is_reported_at_once() {
    let dir = seed(
        r#"
        [[participant]]
        ispb = "11111111"
        name = "Aurora"
        opening_balance = "1,00"
        channel_certificates = ["one/channel.crt", "one/missing.crt"]
        signature_certificates = ["one/channel.crt", "one/channel.key"]

        [[participant]]
        ispb = "2222"
        name = "Short"

        [[participant]]
        ispb = "33333333"
        name = "Indirect with an account"
        settler = "11111111"
        opening_balance = "1.00"

        [[participant]]
        ispb = "44444444"
        name = "Settled by nobody"
        category = "I"
        settler = "99999999"

        [[participant]]
        ispb = "44444444"
        name = "Again"
        "#,
    );
    let faults = Directory::load(&dir.path().join("participants.toml"))
        .unwrap_err()
        .to_string();
    for expected in [
        "participants.toml, participant 11111111: opening_balance: ",
        "participant 11111111: one/missing.crt: ",
        "participant 11111111: one/channel.key: ",
        "participant 2222: ispb: ",
        "participant 44444444: category: ",
        "participant 33333333: is indirect",
        "participant 44444444: is there twice",
        "is for the channel and for signatures",
    ] {
        assert!(faults.contains(expected), "{expected:?} is missing in: {faults}");
    }
}

#[test]
fn a_settler_has_to_be_a_direct_participant() {
    let dir = seed(
        "[[participant]]\nispb = \"33333333\"\nname = \"A\"\nsettler = \"44444444\"\n\
         [[participant]]\nispb = \"44444444\"\nname = \"B\"\nsettler = \"33333333\"\n",
    );
    let faults = Directory::load(&dir.path().join("participants.toml")).unwrap_err();
    assert_eq!(faults.0.len(), 2, "{faults}");
    assert!(
        faults
            .to_string()
            .contains("settler 44444444 is not a direct participant that is known"),
        "{faults}"
    );
}

#[test]
fn a_file_that_is_no_seed_says_so() {
    let dir = seed("[[participant]]\nispb = \"11111111\"\nname = \"A\"\nactiv = true\n");
    let faults = Directory::load(&dir.path().join("participants.toml"))
        .unwrap_err()
        .to_string();
    assert!(faults.contains("unknown field `activ`"), "{faults}");
    let faults = Directory::load(&dir.path().join("nowhere.toml"))
        .unwrap_err()
        .to_string();
    assert!(faults.starts_with("nowhere.toml: cannot be read"), "{faults}");
}

/// 11111111 with a channel and a signature certificate, and 33333333, which it settles.
fn records() -> (TempDir, Vec<Record>) {
    let dir = seed(
        "[[participant]]\nispb = \"33333333\"\nname = \"I\"\nsettler = \"11111111\"\n\
         [[participant]]\nispb = \"11111111\"\nname = \"A\"\n\
         channel_certificates = [\"one/channel.crt\"]\nsignature_certificates = [\"one/signature.crt\"]\n",
    );
    let records = seed::read(&dir.path().join("participants.toml")).unwrap().records;
    (dir, records)
}

#[test]
fn a_revoked_certificate_is_found_no_more_and_stays_its_participants() {
    let (dir, mut records) = records();
    let [direct, _] = &mut records[..] else { panic!() };
    let serials: Vec<_> = direct
        .certificates
        .iter()
        .map(|one| one.issuer_serial().clone())
        .collect();
    direct.certificates[0].revoked_at = Some(Timestamp::from_micros(1));
    direct.certificates[1].revoked_at = Some(Timestamp::from_micros(1));
    let directory = Directory::of(&records, "1").unwrap();
    assert!(directory.by_channel(&serials[0]).is_none());
    assert!(directory.signer(&serials[1]).is_none() && directory.find(&serials[1]).is_none());
    assert!(directory.by_ispb(ispb("11111111")).is_some_and(|one| one.active));

    let pem = fs::read(dir.path().join("one/channel.crt")).unwrap();
    let mut other = records[0].clone();
    other.ispb = ispb("44444444");
    other.settler = other.ispb;
    for (purpose, why) in [
        (Use::Channel, "is there twice"),
        (Use::Signature, "may not be swapped"),
    ] {
        other.certificates = vec![Certificate::from_pem(purpose, &pem).unwrap()];
        let refused = Directory::of(records.iter().chain([&other]), "1").unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }
}

#[test]
fn who_is_settled_by_a_suspended_participant_rests_with_it() {
    let (_dir, mut records) = records();
    records[0].active = false;
    let directory = Directory::of(&records, "1").unwrap();
    assert!(directory.iter().all(|one| !one.active));
    records[0].active = true;
    let directory = Directory::of(&records, "2").unwrap();
    assert!(directory.iter().all(|one| one.active));
}

#[test]
fn a_certificate_tells_its_validity_and_fingerprint() {
    let (dir, records) = records();
    let certificate = &records[0].certificates[0];
    assert_eq!(records[0].ispb, ispb("11111111"), "settlers come first");
    let pem = fs::read(dir.path().join("one/channel.crt")).unwrap();
    let key = VerifyingKey::from_certificate_pem(&pem).unwrap();
    let validity = certificate.validity();
    for instant in [validity.start(), validity.end()] {
        assert!(key.is_valid_at(instant.as_micros() / 1_000_000));
    }
    assert!(!key.is_valid_at(validity.end().as_micros() / 1_000_000 + 1));
    let fingerprint = certificate.fingerprint();
    assert_eq!(fingerprint.len(), 64);
    assert_ne!(fingerprint, records[0].certificates[1].fingerprint());
}
