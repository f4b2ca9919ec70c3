//! The text of a `ds:Signature`: written canonically, and read back when it is canonical.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::cursor::{Cursor, NotCanonical, Token, is_space};
use crate::profile::{Digest, digest, is_key_info_id};
use crate::{IssuerSerial, KeySource, SignatureError, Signer, VerifyingKey, escape};

const SIGNATURE: &str = "ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"";
/// A subtree of the signature, canonicalised by itself, carries the declaration of its prefix.
const SIGNED_INFO_APEX: &str = "<ds:SignedInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">";
const KEY_INFO_APEX: &str = "<ds:KeyInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"";
const CANONICALIZATION: &str =
    "ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"";
const SIGNATURE_METHOD: &str =
    "ds:SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256\"";
const ENVELOPED_TRANSFORM: &str =
    "ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"";
const C14N_TRANSFORM: &str = "ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"";
const DIGEST_METHOD: &str = "ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\"";

/// Longest SignatureValue, in bytes: RSA of 8192 bits.
pub(crate) const SIGNATURE_BYTES_MAX: usize = 1024;

/// Canonical `<ds:X509Data>` for an issuer's name and a serial number.
pub(crate) fn x509_data(issuer_name: &str, serial: &str) -> String {
    let name = escape::text(issuer_name);
    format!(
        "<ds:X509Data><ds:X509IssuerSerial><ds:X509IssuerName>{name}</ds:X509IssuerName>\
         <ds:X509SerialNumber>{serial}</ds:X509SerialNumber></ds:X509IssuerSerial></ds:X509Data>"
    )
}

/// Signs an SPI message: gives the canonical `<ds:Signature>` to put inside `AppHdr/Sgntr`.
///
/// `app_hdr` is the digest of the canonical AppHdr whose `Sgntr` is empty, `document` that of the canonical
/// Document; both as apexes, with their default namespace declared.
///
/// # Panics
/// When `key_info_id` is not 1 to 128 of `A-Z a-z 0-9 _ - . :`: the caller makes it, nobody else.
#[must_use]
pub fn sign_spi(signer: &Signer, key_info_id: &str, app_hdr: &Digest, document: &Digest) -> String {
    sign(signer, key_info_id, app_hdr, Some(document))
}

/// Signs a DICT message: gives the canonical `<ds:Signature>` to put inside its root.
///
/// `root` is the digest of the canonical root without the signature.
///
/// # Panics
/// As [`sign_spi`].
#[must_use]
pub fn sign_enveloped(signer: &Signer, key_info_id: &str, root: &Digest) -> String {
    sign(signer, key_info_id, root, None)
}

fn sign(signer: &Signer, key_info_id: &str, enveloping: &Digest, beside: Option<&Digest>) -> String {
    assert!(
        is_key_info_id(key_info_id),
        "the Id of a KeyInfo is 1 to 128 of A-Z a-z 0-9 _ - . :"
    );
    let x509_data = signer.x509_data();
    let key_info_inner = format!(" Id=\"{key_info_id}\">{x509_data}</ds:KeyInfo>");
    let key_info = digest(&[KEY_INFO_APEX.as_bytes(), key_info_inner.as_bytes()]);
    let mut info = String::with_capacity(2048);
    info.push_str(&format!("<{CANONICALIZATION}></ds:CanonicalizationMethod>"));
    info.push_str(&format!("<{SIGNATURE_METHOD}></ds:SignatureMethod>"));
    push_reference(&mut info, &format!(" URI=\"#{key_info_id}\""), false, &key_info);
    push_reference(&mut info, " URI=\"\"", true, enveloping);
    if let Some(beside) = beside {
        push_reference(&mut info, "", false, beside);
    }
    info.push_str("</ds:SignedInfo>");
    let value = signer.sign(&[SIGNED_INFO_APEX.as_bytes(), info.as_bytes()].concat());
    let value = BASE64.encode(value);
    format!(
        "<{SIGNATURE}><ds:SignedInfo>{info}<ds:SignatureValue>{value}</ds:SignatureValue>\
         <ds:KeyInfo{key_info_inner}</ds:Signature>"
    )
}

fn push_reference(out: &mut String, uri: &str, enveloped: bool, digest: &Digest) {
    out.push_str(&format!("<ds:Reference{uri}><ds:Transforms>"));
    if enveloped {
        out.push_str(&format!("<{ENVELOPED_TRANSFORM}></ds:Transform>"));
    }
    out.push_str(&format!("<{C14N_TRANSFORM}></ds:Transform></ds:Transforms>"));
    out.push_str(&format!("<{DIGEST_METHOD}></ds:DigestMethod>"));
    out.push_str(&format!(
        "<ds:DigestValue>{}</ds:DigestValue></ds:Reference>",
        BASE64.encode(digest)
    ));
}

/// A `ds:Signature` read from a canonical input, not yet verified.
#[derive(Debug)]
pub struct CanonicalSignature {
    /// Where it stands in the input.
    pub span: Range<usize>,
    /// From behind the start tag of SignedInfo to its end.
    signed_info: Range<usize>,
    /// From behind the name in the start tag of KeyInfo to its end.
    key_info: Range<usize>,
    digests: Digests,
    value: Vec<u8>,
    signer: IssuerSerial,
}

/// What the references of a signature cover, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digests {
    pub(crate) key_info: Digest,
    /// The element that the signature is in, without the signature: the AppHdr, or the whole DICT message.
    pub(crate) enveloping: Digest,
    /// The Document of an SPI message; nothing else has one.
    pub(crate) beside: Option<Digest>,
}

impl CanonicalSignature {
    /// Reads the signature ahead, in the shape of the SPI profile and no other.
    ///
    /// # Errors
    /// [`NotCanonical`]: the generic path will say what is wrong, if anything is.
    pub fn read(cursor: &mut Cursor<'_>) -> Result<Self, NotCanonical> {
        Self::read_profile(cursor, true)
    }

    /// Reads the signature ahead, in the shape of the DICT profile and no other.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_enveloped(cursor: &mut Cursor<'_>) -> Result<Self, NotCanonical> {
        Self::read_profile(cursor, false)
    }

    fn read_profile(cursor: &mut Cursor<'_>, beside: bool) -> Result<Self, NotCanonical> {
        cursor.skip_space()?;
        let start = cursor.open(SIGNATURE)?.start;
        let info_start = cursor.open("ds:SignedInfo")?.end;
        empty(cursor, CANONICALIZATION, "ds:CanonicalizationMethod")?;
        empty(cursor, SIGNATURE_METHOD, "ds:SignatureMethod")?;
        let id = uri_of_key_info(cursor)?;
        let key_info_digest = reference(cursor, false)?;
        cursor.open("ds:Reference URI=\"\"")?;
        let enveloping = reference(cursor, true)?;
        let beside = if beside {
            cursor.open("ds:Reference")?;
            Some(reference(cursor, false)?)
        } else {
            None
        };
        let info_end = cursor.close("ds:SignedInfo")?.end;
        let value = decode(&cursor.leaf("ds:SignatureValue")?, SIGNATURE_BYTES_MAX);
        let value = value.ok_or_else(|| cursor.refuse())?;
        cursor.skip_space()?;
        let key_info_start = cursor.position() + "<ds:KeyInfo".len();
        let Token::Open(tag) = cursor.peek() else {
            return Err(cursor.refuse());
        };
        if tag
            .strip_prefix("ds:KeyInfo Id=\"")
            .and_then(|t| t.strip_suffix('"'))
            != Some(id)
        {
            return Err(cursor.refuse());
        }
        cursor.take()?;
        cursor.open("ds:X509Data")?;
        cursor.open("ds:X509IssuerSerial")?;
        let issuer = cursor.leaf("ds:X509IssuerName")?;
        let serial = cursor.leaf("ds:X509SerialNumber")?;
        let signer = IssuerSerial::from_text(&issuer, &serial).ok_or_else(|| cursor.refuse())?;
        cursor.close("ds:X509IssuerSerial")?;
        cursor.close("ds:X509Data")?;
        let key_info_end = cursor.close("ds:KeyInfo")?.end;
        let end = cursor.close("ds:Signature")?.end;
        Ok(Self {
            span: start..end,
            signed_info: info_start..info_end,
            key_info: key_info_start..key_info_end,
            digests: Digests {
                key_info: key_info_digest,
                enveloping,
                beside,
            },
            value,
            signer,
        })
    }

    /// Verifies against `input`, the text that [`Self::read`] read: the digests of KeyInfo, of the AppHdr and of
    /// the Document (both given as by [`sign_spi`]), then the signature itself.
    ///
    /// # Errors
    /// [`SignatureError::UnknownSigner`], [`SignatureError::Digest`] or [`SignatureError::Value`].
    pub fn verify(
        &self,
        input: &str,
        app_hdr: &Digest,
        document: &Digest,
        keys: &dyn KeySource,
    ) -> Result<VerifyingKey, SignatureError> {
        self.verify_profile(input, *app_hdr, Some(*document), keys)
    }

    /// Verifies against `input`, the text that [`Self::read_enveloped`] read: the digests of KeyInfo and of the
    /// root (given as by [`sign_enveloped`]), then the signature itself.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_enveloped(
        &self,
        input: &str,
        root: &Digest,
        keys: &dyn KeySource,
    ) -> Result<VerifyingKey, SignatureError> {
        self.verify_profile(input, *root, None, keys)
    }

    fn verify_profile(
        &self,
        input: &str,
        enveloping: Digest,
        beside: Option<Digest>,
        keys: &dyn KeySource,
    ) -> Result<VerifyingKey, SignatureError> {
        let found = Digests {
            key_info: digest(&[KEY_INFO_APEX.as_bytes(), &input.as_bytes()[self.key_info.clone()]]),
            enveloping,
            beside,
        };
        check_digests(&self.digests, &found)?;
        let signed_info = [
            SIGNED_INFO_APEX.as_bytes(),
            &input.as_bytes()[self.signed_info.clone()],
        ]
        .concat();
        check_value(&self.signer, &signed_info, &self.value, keys)
    }
}

pub(crate) fn check_digests(claimed: &Digests, found: &Digests) -> Result<(), SignatureError> {
    let wrong = if claimed.key_info != found.key_info {
        "KeyInfo"
    } else if claimed.enveloping != found.enveloping {
        if found.beside.is_some() {
            "AppHdr"
        } else {
            "the message"
        }
    } else if claimed.beside != found.beside {
        "Document"
    } else {
        return Ok(());
    };
    Err(SignatureError::Digest(wrong))
}

pub(crate) fn check_value(
    signer: &IssuerSerial,
    signed_info: &[u8],
    value: &[u8],
    keys: &dyn KeySource,
) -> Result<VerifyingKey, SignatureError> {
    let key = keys
        .find(signer)
        .ok_or_else(|| SignatureError::UnknownSigner(signer.clone()))?;
    if key.verifies(signed_info, value) {
        Ok(key)
    } else {
        Err(SignatureError::Value)
    }
}

fn empty(cursor: &mut Cursor<'_>, tag: &str, name: &str) -> Result<(), NotCanonical> {
    cursor.open(tag)?;
    cursor.close(name).map(|_| ())
}

/// Takes `<ds:Reference URI="#id">`.
fn uri_of_key_info<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, NotCanonical> {
    cursor.skip_space()?;
    let Token::Open(tag) = cursor.peek() else {
        return Err(cursor.refuse());
    };
    let id = tag
        .strip_prefix("ds:Reference URI=\"#")
        .and_then(|t| t.strip_suffix('"'));
    let id = id
        .filter(|id| is_key_info_id(id))
        .ok_or_else(|| cursor.refuse())?;
    cursor.take()?;
    Ok(id)
}

/// What is inside a Reference, and its end tag.
fn reference(cursor: &mut Cursor<'_>, enveloped: bool) -> Result<Digest, NotCanonical> {
    cursor.open("ds:Transforms")?;
    if enveloped {
        empty(cursor, ENVELOPED_TRANSFORM, "ds:Transform")?;
    }
    empty(cursor, C14N_TRANSFORM, "ds:Transform")?;
    cursor.close("ds:Transforms")?;
    empty(cursor, DIGEST_METHOD, "ds:DigestMethod")?;
    let value = decode(&cursor.leaf("ds:DigestValue")?, 32).and_then(|v| v.try_into().ok());
    let value = value.ok_or_else(|| cursor.refuse())?;
    cursor.close("ds:Reference")?;
    Ok(value)
}

/// Bytes of a base64 text in which white space does not count (`xs:base64Binary`), at most `max` of them.
pub(crate) fn decode(text: &str, max: usize) -> Option<Vec<u8>> {
    let bytes = if text.bytes().any(is_space) {
        let dense: Vec<u8> = text.bytes().filter(|b| !is_space(*b)).collect();
        BASE64.decode(dense)
    } else {
        BASE64.decode(text)
    };
    bytes.ok().filter(|bytes| bytes.len() <= max)
}
