//! Both profiles over a tree: where the signature stands, what it says, and whether it is true.

use super::{Element, Node, canonicalize};
use crate::cursor::is_space;
use crate::profile::{DSIG, Digest, ENVELOPED, EXC_C14N, RSA_SHA256, SHA256, digest, is_key_info_id};
use crate::signature::{Digests, SIGNATURE_BYTES_MAX, check_digests, check_value, decode};
use crate::{IssuerSerial, KeySource, SignatureError, VerifyingKey};

/// What a verified signature covers. Nothing else of the message may be used.
#[derive(Debug)]
pub struct Verified<'a> {
    /// The header; its `Sgntr` holds the signature, which is no part of the message.
    pub app_hdr: &'a Element,
    /// The document.
    pub document: &'a Element,
    /// The signature.
    pub signature: &'a Element,
    /// Whose signature it is.
    pub key: VerifyingKey,
}

/// Verifies an SPI envelope: one signature in the whole of it, as the only child of `AppHdr/Sgntr`, with
/// exactly the three references of the profile.
///
/// # Errors
/// [`SignatureError`]: the first thing that is not as it should be.
pub fn verify<'a>(envelope: &'a Element, keys: &dyn KeySource) -> Result<Verified<'a>, SignatureError> {
    let signature = only_signature(envelope)?;
    let (app_hdr, document) = parts(envelope, signature).ok_or(SignatureError::Misplaced)?;
    let key = verify_parts(envelope, signature, app_hdr, Some(document), keys)?;
    Ok(Verified {
        app_hdr,
        document,
        signature,
        key,
    })
}

/// A DICT message whose signature is true: it covers the root with all that is in it but the signature.
#[derive(Debug)]
pub struct VerifiedRoot<'a> {
    /// The signature, which is no part of the message.
    pub signature: &'a Element,
    /// Whose signature it is.
    pub key: VerifyingKey,
}

/// Verifies a DICT message: one signature in the whole of it, as a child of the root, with exactly the two
/// references of the profile.
///
/// # Errors
/// [`SignatureError`]: the first thing that is not as it should be.
pub fn verify_enveloped<'a>(
    root: &'a Element,
    keys: &dyn KeySource,
) -> Result<VerifiedRoot<'a>, SignatureError> {
    let signature = only_signature(root)?;
    if !root.elements().any(|child| std::ptr::eq(child, signature)) {
        return Err(SignatureError::Misplaced);
    }
    let key = verify_parts(root, signature, root, None, keys)?;
    Ok(VerifiedRoot { signature, key })
}

fn only_signature(root: &Element) -> Result<&Element, SignatureError> {
    let mut signatures = root.descendants().filter(|e| e.is(DSIG, "Signature"));
    let signature = signatures.next().ok_or(SignatureError::Missing)?;
    match signatures.next() {
        Some(_) => Err(SignatureError::Several),
        None => Ok(signature),
    }
}

/// Verifies that `signature` is one over itself, `enveloping` and `beside`.
fn verify_parts(
    root: &Element,
    signature: &Element,
    enveloping: &Element,
    beside: Option<&Element>,
    keys: &dyn KeySource,
) -> Result<VerifyingKey, SignatureError> {
    let [signed_info, value, key_info] = children(
        signature,
        ["SignedInfo", "SignatureValue", "KeyInfo"],
        "Signature",
    )?;
    only_attributes(signature, &["Id"], "Signature")?;
    only_attributes(signed_info, &["Id"], "SignedInfo")?;
    only_attributes(value, &["Id"], "SignatureValue")?;
    unique_ids(root)?;
    let claimed = claims(signed_info, key_info_id(key_info)?, beside.is_some())?;
    let signer = issuer_serial(key_info)?;
    let value = value.text().and_then(|text| decode(text, SIGNATURE_BYTES_MAX));
    let value = value.ok_or(SignatureError::Base64("SignatureValue"))?;
    let found = Digests {
        key_info: digest(&[&canonicalize(key_info, None)]),
        enveloping: digest(&[&canonicalize(enveloping, Some(signature))]),
        beside: beside.map(|beside| digest(&[&canonicalize(beside, None)])),
    };
    check_digests(&claimed, &found)?;
    check_value(&signer, &canonicalize(signed_info, None), &value, keys)
}

/// AppHdr and Document, when they are the two children of the root and `signature` stands at its place.
fn parts<'a>(envelope: &'a Element, signature: &Element) -> Option<(&'a Element, &'a Element)> {
    let [app_hdr, document] = elements(envelope)?;
    let namespace = &envelope.namespace;
    if !app_hdr.is(namespace, "AppHdr") || !document.is(namespace, "Document") {
        return None;
    }
    let mut places = app_hdr.elements().filter(|e| e.is(namespace, "Sgntr"));
    let (place, None) = (places.next()?, places.next()) else {
        return None;
    };
    let [inside] = elements(place)?;
    std::ptr::eq(inside, signature).then_some((app_hdr, document))
}

/// The children of `element`, when they are `N` elements and white space.
fn elements<const N: usize>(element: &Element) -> Option<[&Element; N]> {
    let found: Vec<&Element> = element.elements().collect();
    element
        .children
        .iter()
        .all(is_blank_or_element)
        .then(|| found.try_into().ok())
        .flatten()
}

fn is_blank_or_element(node: &Node) -> bool {
    match node {
        Node::Text(text) => text.bytes().all(is_space),
        Node::Element(_) => true,
    }
}

/// The children of `element`, when they are elements of these names in the signature's namespace.
fn children<'a, const N: usize>(
    element: &'a Element,
    names: [&str; N],
    what: &'static str,
) -> Result<[&'a Element; N], SignatureError> {
    let found = elements::<N>(element).ok_or(SignatureError::Shape(what))?;
    let named = found.iter().zip(names).all(|(e, name)| e.is(DSIG, name));
    if named {
        Ok(found)
    } else {
        Err(SignatureError::Shape(what))
    }
}

fn only_attributes(element: &Element, allowed: &[&str], what: &'static str) -> Result<(), SignatureError> {
    let known = element
        .attributes
        .iter()
        .all(|a| a.namespace.is_empty() && allowed.contains(&a.local.as_str()));
    if known {
        Ok(())
    } else {
        Err(SignatureError::Shape(what))
    }
}

/// The value of the only attribute, `name`.
fn attribute<'a>(element: &'a Element, name: &str) -> Option<&'a str> {
    match element.attributes.as_slice() {
        [a] if a.namespace.is_empty() && a.local == name => Some(&a.value),
        _ => None,
    }
}

fn unique_ids(envelope: &Element) -> Result<(), SignatureError> {
    let mut ids: Vec<&str> = envelope
        .descendants()
        .flat_map(|e| &e.attributes)
        .filter(|a| a.local.eq_ignore_ascii_case("id"))
        .map(|a| a.value.as_str())
        .collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() == all {
        Ok(())
    } else {
        Err(SignatureError::DuplicateId)
    }
}

fn key_info_id(key_info: &Element) -> Result<&str, SignatureError> {
    attribute(key_info, "Id")
        .filter(|id| is_key_info_id(id))
        .ok_or(SignatureError::KeyInfoId)
}

/// What the references of `signed_info` claim: two, or three with one for what is `beside`.
fn claims(signed_info: &Element, key_info_id: &str, beside: bool) -> Result<Digests, SignatureError> {
    let references = signed_info.elements().filter(|e| e.is(DSIG, "Reference"));
    if references.count() != 2 + usize::from(beside) {
        return Err(SignatureError::References);
    }
    const NAMES: [&str; 5] = [
        "CanonicalizationMethod",
        "SignatureMethod",
        "Reference",
        "Reference",
        "Reference",
    ];
    let (c14n, method, first, second, third) = if beside {
        let [c14n, method, first, second, third] = children(signed_info, NAMES, "SignedInfo")?;
        (c14n, method, first, second, Some(third))
    } else {
        let [names @ .., _] = NAMES;
        let [c14n, method, first, second] = children(signed_info, names, "SignedInfo")?;
        (c14n, method, first, second, None)
    };
    algorithm(c14n, EXC_C14N, "CanonicalizationMethod")?;
    algorithm(method, RSA_SHA256, "SignatureMethod")?;
    let uri = attribute(first, "URI")
        .and_then(|uri| uri.strip_prefix('#'))
        .ok_or(SignatureError::References)?;
    if uri != key_info_id {
        return Err(SignatureError::KeyInfoId);
    }
    if attribute(second, "URI") != Some("") || third.is_some_and(|third| !third.attributes.is_empty()) {
        return Err(SignatureError::References);
    }
    Ok(Digests {
        key_info: claim(first, &[EXC_C14N])?,
        enveloping: claim(second, &[ENVELOPED, EXC_C14N])?,
        beside: third.map(|third| claim(third, &[EXC_C14N])).transpose()?,
    })
}

/// What one reference claims, when its transforms are exactly `transforms`.
fn claim(reference: &Element, transforms: &[&str]) -> Result<Digest, SignatureError> {
    let [list, method, value] = children(
        reference,
        ["Transforms", "DigestMethod", "DigestValue"],
        "Reference",
    )?;
    only_attributes(list, &[], "Transforms")?;
    let steps: Vec<&Element> = list.elements().collect();
    if !list.children.iter().all(is_blank_or_element) || steps.iter().any(|e| !e.is(DSIG, "Transform")) {
        return Err(SignatureError::Shape("Transforms"));
    }
    if steps.len() != transforms.len() {
        return Err(SignatureError::Algorithm("Transform"));
    }
    for (step, uri) in steps.into_iter().zip(transforms) {
        algorithm(step, uri, "Transform")?;
    }
    algorithm(method, SHA256, "DigestMethod")?;
    only_attributes(value, &[], "DigestValue")?;
    let bytes = value.text().and_then(|text| decode(text, 32));
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(SignatureError::Base64("DigestValue"))
}

/// An element whose `Algorithm` is `uri`, with nothing inside: parameters such as an InclusiveNamespaces list
/// are not of the profile.
fn algorithm(element: &Element, uri: &str, what: &'static str) -> Result<(), SignatureError> {
    if attribute(element, "Algorithm") != Some(uri) {
        return Err(SignatureError::Algorithm(what));
    }
    if elements::<0>(element).is_none() {
        Err(SignatureError::Shape(what))
    } else {
        Ok(())
    }
}

fn issuer_serial(key_info: &Element) -> Result<IssuerSerial, SignatureError> {
    let [x509_data] = children(key_info, ["X509Data"], "KeyInfo")?;
    let [pair] = children(x509_data, ["X509IssuerSerial"], "X509Data")?;
    let [issuer, serial] = children(pair, ["X509IssuerName", "X509SerialNumber"], "X509IssuerSerial")?;
    for (element, what) in [
        (x509_data, "X509Data"),
        (pair, "X509IssuerSerial"),
        (issuer, "X509IssuerName"),
        (serial, "X509SerialNumber"),
    ] {
        only_attributes(element, &[], what)?;
    }
    let texts = issuer.text().zip(serial.text());
    texts
        .and_then(|(issuer, serial)| IssuerSerial::from_text(issuer, serial))
        .ok_or(SignatureError::IssuerSerial)
}
