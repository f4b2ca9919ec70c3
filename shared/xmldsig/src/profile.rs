//! The algorithms of the profile (PROTOCOL 2): an allow-list of one each.

/// Namespace of XML signatures.
pub const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
/// Exclusive C14N without comments.
pub(crate) const EXC_C14N: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
/// RSASSA-PKCS1-v1_5 with SHA-256.
pub(crate) const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
/// SHA-256.
pub(crate) const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";
/// The transform that takes the signature out.
pub(crate) const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";

/// Longest `Id` of a KeyInfo, in characters.
pub(crate) const KEY_INFO_ID_MAX: usize = 128;

/// Whether `id` can name a KeyInfo. Wider than `xs:ID` at the front, because participants use UUIDs that begin
/// with a digit, and narrow enough to stand in a URI as it is.
#[must_use]
pub fn is_key_info_id(id: &str) -> bool {
    (1..=KEY_INFO_ID_MAX).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':'))
}

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// SHA-256 over `parts` in order.
#[must_use]
pub fn digest(parts: &[&[u8]]) -> Digest {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(part);
    }
    context
        .finish()
        .as_ref()
        .try_into()
        .expect("SHA-256 gives 32 bytes")
}
