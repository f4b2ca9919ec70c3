//! The folder of a development PKI, and what is in its certificates.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pix_domain::{Ispb, Timestamp};
use pix_pki::{Authority, DevPki, Subject, Use, Validity};
use tempfile::TempDir;
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::parse_x509_pem;

fn parsed<T>(pem: &[u8], look: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let (_, pem) = parse_x509_pem(pem).unwrap();
    look(&pem.parse_x509().unwrap())
}

/// Every file of a folder, with its content.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

#[test]
fn an_outside_bank_gets_all_it_needs_and_the_same_again() {
    let dir = TempDir::new().unwrap();
    let (pki_dir, out) = (dir.path().join("pki"), dir.path().join("bank"));
    let ispb = Ispb::parse(b"11111111").unwrap();
    DevPki::open_or_create(&pki_dir)
        .unwrap()
        .participant(ispb, &out)
        .unwrap();
    let first = files(&out);
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "ca.crt",
            "channel.crt",
            "channel.key",
            "dict-signature.crt",
            "signature.crt",
            "signature.key",
            "spi-signature.crt"
        ]
    );
    for (name, mode) in [
        ("channel.key", 0o600),
        ("signature.key", 0o600),
        ("channel.crt", 0o644),
    ] {
        assert_eq!(
            fs::metadata(out.join(name)).unwrap().permissions().mode() & 0o777,
            mode,
            "{name}"
        );
    }
    DevPki::open_or_create(&pki_dir)
        .unwrap()
        .participant(ispb, &out)
        .unwrap();
    assert!(files(&out) == first, "asking again changes nothing");

    let spi = DevPki::open_or_create(&pki_dir).unwrap().service("spi").unwrap();
    assert_eq!(
        fs::read(spi.join("signature.crt")).unwrap(),
        first["spi-signature.crt"]
    );
}

#[test]
fn certificates_say_whose_they_are_and_what_for() {
    let dir = TempDir::new().unwrap();
    let pki = DevPki::open_or_create(dir.path()).unwrap();
    let out = dir.path().join("bank");
    pki.participant(Ispb::parse(b"1111111A").unwrap(), &out).unwrap();
    let spi = pki.service("spi").unwrap();
    let channel = fs::read(out.join("channel.crt")).unwrap();
    let signature = fs::read(out.join("signature.crt")).unwrap();

    parsed(&channel, |certificate| {
        let subject = certificate.subject().to_string();
        assert!(
            subject.contains("OU=ISPB-1111111A") && subject.contains("C=BR"),
            "{subject}"
        );
        assert!(certificate.issuer().to_string().contains("CN=PIX development CA"));
        assert!(
            certificate
                .extended_key_usage()
                .unwrap()
                .unwrap()
                .value
                .client_auth
        );
        assert!(certificate.validity().is_valid());
        assert_eq!(certificate.public_key().parsed().unwrap().key_size(), 2048);
    });
    let serial = |pem: &[u8]| parsed(pem, |certificate| certificate.tbs_certificate.serial.clone());
    assert_ne!(serial(&channel), serial(&signature));
    assert!(parsed(&signature, |certificate| certificate
        .key_usage()
        .unwrap()
        .unwrap()
        .value
        .non_repudiation()));
    parsed(&fs::read(spi.join("server.crt")).unwrap(), |certificate| {
        let names = certificate
            .subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names
            .len();
        assert_eq!(names, 7, "five hosts and two addresses of loopback");
        assert!(
            certificate
                .extended_key_usage()
                .unwrap()
                .unwrap()
                .value
                .server_auth
        );
    });
}

#[test]
fn an_end_inside_is_both_server_and_client_of_an_authority_of_its_own() {
    let dir = TempDir::new().unwrap();
    let pki = DevPki::open_or_create(dir.path()).unwrap();
    let dict = pki.inside("dict").unwrap();
    assert_eq!(dict.certificate, dir.path().join("inside/dict.crt"));
    assert_eq!(dict.key, dir.path().join("inside/dict.key"));
    assert_eq!(
        fs::read_to_string(&dict.certificate).unwrap(),
        dict.identity.certificate_pem
    );
    assert_eq!(fs::read_to_string(&dict.ca).unwrap(), dict.ca_pem);
    assert_ne!(dict.ca_pem, pki.authority().certificate_pem());
    parsed(dict.identity.certificate_pem.as_bytes(), |certificate| {
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && usage.client_auth);
        assert!(certificate.issuer().to_string().contains("inside"));
        let names = certificate.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(names.general_names.len(), 3, "localhost and two addresses");
    });
    let other = pki.inside("pix").unwrap();
    assert_eq!(other.ca_pem, dict.ca_pem);
    assert_eq!(
        pki.inside("dict").unwrap().identity.key_pem,
        dict.identity.key_pem,
        "asking again changes nothing"
    );
}

#[test]
fn a_validity_in_the_past_is_over() {
    let now = Timestamp::parse(b"2026-11-20T12:00:00.000Z").unwrap();
    let authority = Authority::new("Test CA", Validity::long(now)).unwrap();
    let subject = Subject {
        common_name: "late".into(),
        ispb: None,
    };
    let expired = authority
        .issue(&subject, Use::Channel, Validity::past(now))
        .unwrap();
    parsed(expired.certificate_pem.as_bytes(), |certificate| {
        assert!(certificate.validity().not_after.timestamp() < now.as_micros() / 1_000_000);
    });
}

#[test]
fn half_a_pair_is_made_again() {
    let dir = TempDir::new().unwrap();
    DevPki::open_or_create(dir.path()).unwrap();
    fs::remove_file(dir.path().join("ca.crt")).unwrap();
    let pki = DevPki::open_or_create(dir.path()).unwrap();
    assert_eq!(
        fs::read_to_string(pki.ca_certificate()).unwrap(),
        pki.authority().certificate_pem()
    );
}
