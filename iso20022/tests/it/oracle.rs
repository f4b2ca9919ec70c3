//! Our signatures against implementations that are not ours, reference by reference, and theirs against us:
//! canonicalisation and digests by xmlsec1 (libxml2), RSA by the openssl program.

use std::path::Path as FilePath;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use iso20022::{Path, open};

use crate::foreign::{insert, pretty, template};
use crate::support::{admi, bank, order, output, sealed, status, tool};

/// What xmlsec1 digests of a message, each as base64.
struct Digests {
    key_info: String,
    app_hdr: String,
    document: String,
    signed_info: String,
}

/// A signature of xmlsec1's own over the four parts of the message beside it: its digests are the oracle.
const QUESTION: &str = r##"<oracle><o:Signature xmlns:o="http://www.w3.org/2000/09/xmldsig#"><o:SignedInfo>
<o:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>
<o:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/>
<o:Reference URI="#xpointer(/oracle/*[2]/*[1]/*[6]/*[1]/*[3])"><o:Transforms>{c14n}</o:Transforms>{digest}</o:Reference>
<o:Reference URI="#xpointer(/oracle/*[2]/*[1])"><o:Transforms>
<o:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"><o:XPath>not(ancestor-or-self::o:Signature)</o:XPath></o:Transform>
{c14n}</o:Transforms>{digest}</o:Reference>
<o:Reference URI="#xpointer(/oracle/*[2]/*[2])"><o:Transforms>{c14n}</o:Transforms>{digest}</o:Reference>
<o:Reference URI="#xpointer(/oracle/*[2]/*[1]/*[6]/*[1]/*[1])"><o:Transforms>{c14n}</o:Transforms>{digest}</o:Reference>
</o:SignedInfo><o:SignatureValue/></o:Signature>{message}</oracle>"##;

fn digests_by_xmlsec1(message: &str, dir: &FilePath) -> Digests {
    let declaration = message
        .find("?>")
        .filter(|_| message.starts_with("<?xml"))
        .map_or(0, |at| at + 2);
    let question = QUESTION
        .replace(
            "{c14n}",
            r#"<o:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>"#,
        )
        .replace(
            "{digest}",
            r#"<o:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><o:DigestValue/>"#,
        )
        .replace("{message}", &message[declaration..]);
    let (file, key) = (dir.join("question.xml"), dir.join("key.pem"));
    std::fs::write(&file, question).expect("written");
    std::fs::write(&key, &bank().identity.key_pem).expect("written");
    let answer = output(
        Command::new("xmlsec1")
            .args(["--sign", "--privkey-pem"])
            .arg(&key)
            .arg(&file),
    );
    let answer = String::from_utf8(answer).expect("UTF-8");
    let mut values = answer.split("<o:DigestValue>").skip(1).map(|rest| {
        let value = rest.split('<').next().expect("the value");
        value.chars().filter(|c| !c.is_whitespace()).collect::<String>()
    });
    let mut next = || values.next().expect("four digests");
    Digests {
        key_info: next(),
        app_hdr: next(),
        document: next(),
        signed_info: next(),
    }
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    text.split(from)
        .skip(1)
        .map(|rest| rest.split(to).next().expect("an end"))
        .collect()
}

fn tools() -> bool {
    tool("xmlsec1", "xmlsec1") && tool("openssl", "openssl")
}

#[test]
fn what_we_sign_is_what_others_digest_and_verify() {
    if !tools() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    for envelope in [order(1), order(10), status(), admi()] {
        let message = sealed(&envelope);
        let theirs = digests_by_xmlsec1(&message, dir.path());
        let ours = between(&message, "<ds:DigestValue>", "<");
        assert_eq!(
            ours,
            [&theirs.key_info, &theirs.app_hdr, &theirs.document].map(String::as_str)
        );
        verify_by_openssl(
            &theirs.signed_info,
            between(&message, "<ds:SignatureValue>", "<")[0],
            dir.path(),
        );
    }
}

fn verify_by_openssl(signed_info: &str, value: &str, dir: &FilePath) {
    let (digest, signature) = (dir.join("digest"), dir.join("signature"));
    let (certificate, public) = (dir.join("certificate.pem"), dir.join("public.pem"));
    std::fs::write(&digest, BASE64.decode(signed_info).expect("base64")).expect("written");
    std::fs::write(&signature, BASE64.decode(value).expect("base64")).expect("written");
    std::fs::write(&certificate, &bank().identity.certificate_pem).expect("written");
    let key = output(
        Command::new("openssl")
            .args(["x509", "-pubkey", "-noout", "-in"])
            .arg(&certificate),
    );
    std::fs::write(&public, key).expect("written");
    let mut verify = Command::new("openssl");
    verify
        .args([
            "pkeyutl",
            "-verify",
            "-pubin",
            "-pkeyopt",
            "digest:sha256",
            "-inkey",
        ])
        .arg(&public);
    output(verify.arg("-in").arg(&digest).arg("-sigfile").arg(&signature));
}

/// Fills the places of [`crate::foreign`]'s templates without a line of ours.
fn sign_by_others(template: &str, dir: &FilePath) -> String {
    let parts = digests_by_xmlsec1(template, dir);
    let filled = template
        .replace("{d1}", &parts.key_info)
        .replace("{d2}", &parts.app_hdr)
        .replace("{d3}", &parts.document);
    let digest = dir.join("digest");
    let signed_info = digests_by_xmlsec1(&filled, dir).signed_info;
    std::fs::write(&digest, BASE64.decode(signed_info).expect("base64")).expect("written");
    let mut sign = Command::new("openssl");
    sign.args(["pkeyutl", "-sign", "-pkeyopt", "digest:sha256", "-inkey"])
        .arg(dir.join("key.pem"));
    filled.replace("{value}", &BASE64.encode(output(sign.arg("-in").arg(&digest))))
}

#[test]
fn what_others_sign_we_accept() {
    if !tools() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    for envelope in [order(1), status(), admi()] {
        let signed = sign_by_others(&insert(&pretty(&sealed(&envelope)), &template()), dir.path());
        let opened = open(signed.as_bytes(), &bank().key).unwrap_or_else(|e| panic!("{e:?}\n{signed}"));
        assert_eq!((opened.envelope, opened.path), (envelope, Path::Generic));
    }
}

#[test]
fn others_come_to_our_very_bytes() {
    if !tools() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let ours = sealed(&order(2));
    let mut template = ours.replace(between(&ours, "<ds:SignatureValue>", "<")[0], "{value}");
    for (value, place) in between(&ours, "<ds:DigestValue>", "<")
        .iter()
        .zip(["{d1}", "{d2}", "{d3}"])
    {
        template = template.replace(value, place);
    }
    let theirs = sign_by_others(&template, dir.path());
    assert_eq!(theirs, ours);
    assert_eq!(
        open(theirs.as_bytes(), &bank().key).expect("true").path,
        Path::Fast
    );
}
