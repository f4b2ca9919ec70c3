//! A signer that shares nothing with ours but the canonicalisation of [`pix_xmldsig::tree`]: it signs whatever
//! template it is given, honest or not. The places `{d1}`, `{d2}`, `{d3}` take the digests of KeyInfo, AppHdr
//! and Document, `{value}` the SignatureValue.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pix_xmldsig::tree::{Element, Limits, canonicalize, parse};
use pix_xmldsig::{DSIG, digest};

use crate::support::{Bank, bank};

pub(crate) const LIMITS: Limits = Limits {
    bytes: 1 << 22,
    depth: 64,
    attributes: 64,
    nodes: 100_000,
    repeated: &[],
    nodes_per_repeated: 0,
};

/// A signature in the shape of the official template: pretty, with empty-element tags.
pub(crate) fn template() -> String {
    let issuer = bank().signer.issuer_serial().serial().to_owned();
    let (name, _) = issuer_name();
    format!(
        r##"<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">
  <ds:SignedInfo>
    <ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>
    <ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/>
    <ds:Reference URI="#key-info-id">
      <ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></ds:Transforms>
      <ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>
      <ds:DigestValue>{{d1}}</ds:DigestValue>
    </ds:Reference>
    <ds:Reference URI="">
      <ds:Transforms>
        <ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>
        <ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>
      </ds:Transforms>
      <ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>
      <ds:DigestValue>{{d2}}</ds:DigestValue>
    </ds:Reference>
    <ds:Reference>
      <ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></ds:Transforms>
      <ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>
      <ds:DigestValue>{{d3}}</ds:DigestValue>
    </ds:Reference>
  </ds:SignedInfo>
  <ds:SignatureValue>{{value}}</ds:SignatureValue>
  <ds:KeyInfo Id="key-info-id">
    <ds:X509Data>
      <ds:X509IssuerSerial>
        <ds:X509IssuerName>{name}</ds:X509IssuerName>
        <ds:X509SerialNumber>{issuer}</ds:X509SerialNumber>
      </ds:X509IssuerSerial>
    </ds:X509Data>
  </ds:KeyInfo>
</ds:Signature>"##
    )
}

/// The issuer's name as our own signer writes it, and the serial number.
pub(crate) fn issuer_name() -> (String, String) {
    let sealed = crate::support::sealed(&crate::support::admi());
    let between = |from: &str, to: &str| {
        let start = sealed.find(from).expect("there") + from.len();
        sealed[start..start + sealed[start..].find(to).expect("there")].to_owned()
    };
    (
        between("<ds:X509IssuerName>", "<"),
        between("<ds:X509SerialNumber>", "<"),
    )
}

/// `message` without its signature, on many lines, with a declaration, as a bank's tool would print it.
pub(crate) fn pretty(message: &str) -> String {
    let start = message.find("<ds:Signature").expect("signed");
    let end = message.find("</ds:Signature>").expect("signed") + "</ds:Signature>".len();
    let bare = format!("{}{}", &message[..start], &message[end..]);
    let lines = bare
        .replace("><", ">\n  <")
        .replace("></Sgntr>", "/>")
        .replace("<Sgntr>\n  </Sgntr>", "<Sgntr></Sgntr>");
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n{lines}\n")
}

/// `message`, whose `Sgntr` is empty, with `signature` in it.
pub(crate) fn insert(message: &str, signature: &str) -> String {
    assert!(message.contains("<Sgntr></Sgntr>"), "{message}");
    message.replace("<Sgntr></Sgntr>", &format!("<Sgntr>\n{signature}\n</Sgntr>"))
}

fn find<'a>(root: &'a Element, local: &str) -> &'a Element {
    root.descendants()
        .find(|e| e.local == local)
        .unwrap_or_else(|| panic!("no {local}"))
}

/// Fills the places of `template`, a whole envelope.
pub(crate) fn sign(template: &str, by: &Bank) -> String {
    sign_with(template, by, BASE64.encode(b"."), |value| value)
}

/// [`sign`], with a last word on how the SignatureValue is written. `filler` stands in its place before.
pub(crate) fn sign_with(
    template: &str,
    by: &Bank,
    filler: String,
    written: impl FnOnce(String) -> String,
) -> String {
    let root = parse(template.as_bytes(), &LIMITS).expect("the template is XML");
    let signature = root.descendants().find(|e| e.is(DSIG, "Signature"));
    let part = |name: &str, except| BASE64.encode(digest(&[&canonicalize(find(&root, name), except)]));
    let mut filled = template.replace("{value}", &filler);
    for (place, name, except) in [
        ("{d1}", "KeyInfo", None),
        ("{d2}", "AppHdr", signature),
        ("{d3}", "Document", None),
    ] {
        if filled.contains(place) {
            filled = filled.replace(place, &part(name, except));
        }
    }
    let root = parse(filled.as_bytes(), &LIMITS).expect("still XML");
    let signed_info = canonicalize(find(&root, "SignedInfo"), None);
    let value = written(BASE64.encode(rsa_sha256(&signed_info, by)));
    filled.replacen(&format!(">{filler}</"), &format!(">{value}</"), 1)
}

fn rsa_sha256(message: &[u8], by: &Bank) -> Vec<u8> {
    let pem: String = by
        .identity
        .key_pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let key = KeyPair::from_pkcs8(&BASE64.decode(pem).expect("PEM")).expect("a key");
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
        .expect("signs");
    signature
}

/// A pretty message in the official shape, signed.
pub(crate) fn signed_pretty(message: &str) -> String {
    sign(&insert(&pretty(message), &template()), bank())
}
