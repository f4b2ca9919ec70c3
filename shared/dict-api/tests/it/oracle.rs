//! Our signatures against implementations that are not ours, and theirs against us. The second reference has
//! `URI=""`, which is standard, so they verify the message as it is.

use std::path::Path as FilePath;
use std::process::Command;

use bergshamra::keys::loader::load_pem_auto;
use bergshamra::{DsigContext, KeysManager, VerifyResult};
use pix_dict_api::{
    Path, Unreadable, open_problem, open_request, open_response, seal_problem, write_problem, write_unsigned,
};
use pix_xmldsig::SignatureError;

use crate::foreign::{append, insert, pretty, sign, template};
use crate::support::{
    KEY_INFO_ID, bank, output, problems, requests, responses, sealed, sealed_response, tool,
};

/// Everything that we sign.
fn messages() -> Vec<String> {
    let requests = requests().into_iter().map(|(_, request)| sealed(&request));
    let responses = responses()
        .into_iter()
        .map(|(_, response)| sealed_response(&response));
    let problems = problems().into_iter().map(|(_, problem)| {
        String::from_utf8(seal_problem(&problem, &bank().signer, KEY_INFO_ID)).expect("UTF-8")
    });
    requests.chain(responses).chain(problems).collect()
}

/// Changes the first character of the last text.
fn forged(message: &str) -> String {
    let texts = message.match_indices('>').map(|(at, _)| at + 1);
    let is_text = |at: &usize| !matches!(message.as_bytes().get(*at), None | Some(b'<'));
    let at = texts.rev().find(is_text).expect("a text");
    let first = message[at..].chars().next().expect("a character");
    let other = if first == '1' { '2' } else { '1' };
    format!("{}{other}{}", &message[..at], &message[at + first.len_utf8()..])
}

fn bergshamra_verifies(message: &str) -> Result<bool, String> {
    let mut keys = KeysManager::new();
    let certificate = bank().identity.certificate_pem.as_bytes();
    keys.add_key(load_pem_auto(certificate, None).expect("a certificate"));
    // Its strictness knows no reference to the signature's own KeyInfo, which is of the profile.
    let context = DsigContext::new(keys).with_strict_verification(false);
    let result = bergshamra::verify(&context, message).map_err(|e| e.to_string())?;
    match &result {
        VerifyResult::Valid { references, .. } => {
            Ok(references.len() == 2 && result.all_reference_digests_verified())
        }
        VerifyResult::Invalid { reason } => Err(reason.clone()),
    }
}

#[test]
fn bergshamra_verifies_what_we_sign() {
    for message in messages() {
        assert_eq!(bergshamra_verifies(&message), Ok(true), "{message}");
        assert!(bergshamra_verifies(&forged(&message)).is_err(), "{message}");
    }
}

#[test]
fn what_bergshamra_signs_we_accept() {
    for (name, request) in requests() {
        let message = String::from_utf8(write_unsigned(&request)).expect("UTF-8");
        for place in [insert, append] {
            let signed = sign(&place(&pretty(&message), &template()));
            let opened = open_request(signed.as_bytes(), request.operation(), &bank().key);
            let opened = opened.unwrap_or_else(|e| panic!("{name}: {e:?}\n{signed}"));
            assert_eq!(
                (&opened.request, opened.path),
                (&request, Path::Generic),
                "{name}"
            );
        }
    }
}

fn xmlsec1(dir: &FilePath) -> Command {
    let certificate = dir.join("certificate.pem");
    std::fs::write(&certificate, &bank().identity.certificate_pem).expect("written");
    let key = dir.join("key.pem");
    std::fs::write(&key, &bank().identity.key_pem).expect("written");
    let mut command = Command::new("xmlsec1");
    // Our key alone, whatever KeyInfo says: it names a certificate, which xmlsec1 would search in a store.
    command.current_dir(dir);
    command
}

const ID_ATTRIBUTE: [&str; 2] = ["--id-attr:Id", "http://www.w3.org/2000/09/xmldsig#:KeyInfo"];

fn xmlsec1_verifies(message: &str, dir: &FilePath) -> bool {
    let file = dir.join("message.xml");
    std::fs::write(&file, message).expect("written");
    let mut verify = xmlsec1(dir);
    verify
        .args(["--verify", "--pubkey-cert-pem", "certificate.pem"])
        .args(ID_ATTRIBUTE);
    verify.arg(&file).output().expect("runs").status.success()
}

#[test]
fn xmlsec1_verifies_what_we_sign() {
    if !tool("xmlsec1", "xmlsec1") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    for message in messages() {
        assert!(xmlsec1_verifies(&message, dir.path()), "{message}");
        assert!(!xmlsec1_verifies(&forged(&message), dir.path()), "{message}");
    }
}

fn xmlsec1_signs(template: &str, dir: &FilePath) -> String {
    let file = dir.join("template.xml");
    std::fs::write(&file, template).expect("written");
    let mut sign = xmlsec1(dir);
    sign.args(["--sign", "--privkey-pem", "key.pem"])
        .args(ID_ATTRIBUTE);
    String::from_utf8(output(sign.arg(&file))).expect("UTF-8")
}

#[test]
fn what_xmlsec1_signs_we_accept() {
    if !tool("xmlsec1", "xmlsec1") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    for (name, request) in requests() {
        let message = String::from_utf8(write_unsigned(&request)).expect("UTF-8");
        for place in [insert, append] {
            let signed = xmlsec1_signs(&place(&pretty(&message), &template()), dir.path());
            let opened = open_request(signed.as_bytes(), request.operation(), &bank().key);
            let opened = opened.unwrap_or_else(|e| panic!("{name}: {e:?}\n{signed}"));
            assert_eq!(
                (&opened.request, opened.path),
                (&request, Path::Generic),
                "{name}"
            );
        }
    }
    for (name, response) in responses() {
        let sealed = sealed_response(&response);
        let start = sealed.find("<ds:Signature ").expect("signed");
        let end = sealed.find("</ds:Signature>").expect("signed") + "</ds:Signature>".len();
        let bare = format!("{}{}", &sealed[..start], &sealed[end..]);
        let signed = xmlsec1_signs(&insert(&pretty(&bare), &template()), dir.path());
        let opened = open_response(signed.as_bytes(), &bank().key);
        let opened = opened.unwrap_or_else(|e| panic!("{name}: {e:?}\n{signed}"));
        assert_eq!(
            (opened.response, opened.path),
            (response, Path::Generic),
            "{name}"
        );
    }
    for (name, problem) in problems() {
        let bare = String::from_utf8(write_problem(&problem)).expect("UTF-8");
        let signed = xmlsec1_signs(&insert(&pretty(&bare), &template()), dir.path());
        let opened = open_problem(signed.as_bytes(), &bank().key);
        let opened = opened.unwrap_or_else(|e| panic!("{name}: {e:?}\n{signed}"));
        assert_eq!((opened.problem, opened.path), (problem, Path::Generic), "{name}");
    }
}

/// The texts of the elements `name`.
fn texts(message: &str, name: &str) -> Vec<String> {
    let open = format!("<{name}>");
    let rest = message.split(&open).skip(1);
    rest.map(|rest| rest.split('<').next().expect("the text").replace('\n', ""))
        .collect()
}

/// RSA of PKCS#1 1.5 has one signature only: from our message with its digests and value taken out they come to the
/// very same.
#[test]
fn others_come_to_our_very_digests_and_value() {
    if !tool("xmlsec1", "xmlsec1") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    for (_, request) in requests() {
        let ours = sealed(&request);
        let mut empty = ours.clone();
        for name in ["ds:DigestValue", "ds:SignatureValue"] {
            for text in texts(&ours, name) {
                empty = empty.replace(&format!(">{text}<"), "><");
            }
        }
        let theirs = xmlsec1_signs(&empty, dir.path());
        for (name, count) in [("ds:DigestValue", 2), ("ds:SignatureValue", 1)] {
            assert_eq!(texts(&theirs, name), texts(&ours, name));
            assert_eq!(texts(&ours, name).len(), count);
        }
    }
}

#[test]
fn another_key_is_told_from_a_false_signature() {
    let message = sealed(&crate::support::create());
    let of = |bytes: &str, keys| {
        open_request(bytes.as_bytes(), pix_dict_api::Operation::CreateEntry, keys).map(|_| ())
    };
    assert_eq!(of(&message, &bank().key), Ok(()));
    assert_eq!(
        of(&message, &crate::support::stranger().key),
        Err(Unreadable::Signature(SignatureError::UnknownSigner(
            bank().signer.issuer_serial().clone()
        )))
    );
    assert_eq!(
        of(&forged(&message), &bank().key),
        Err(Unreadable::Signature(SignatureError::Digest("the message")))
    );
}
