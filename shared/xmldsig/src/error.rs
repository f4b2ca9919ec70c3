//! Why a signature is refused.

use crate::IssuerSerial;

/// Why a signature is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is none.
    #[error("there is no ds:Signature")]
    Missing,
    /// There are several, anywhere in the message.
    #[error("there is more than one ds:Signature")]
    Several,
    /// SPI: it is not the only child of `AppHdr/Sgntr`, or AppHdr and Document are not the two children of the
    /// root. DICT: it is not a child of the root.
    #[error(
        "the ds:Signature is not the only child of AppHdr/Sgntr, or of a DICT message no child of the root"
    )]
    Misplaced,
    /// An element or attribute is missing, surplus or out of order.
    #[error("{0} does not have the shape of the profile")]
    Shape(&'static str),
    /// An algorithm that the profile does not have.
    #[error("the algorithm of {0} is not the one allowed")]
    Algorithm(&'static str),
    /// Not the references of the profile, in their order.
    #[error("the references are not #KeyInfo, \"\" and, in the SPI, one without URI, in this order")]
    References,
    /// The first reference does not name this KeyInfo, or its Id is none.
    #[error("the first reference does not name the Id of KeyInfo")]
    KeyInfoId,
    /// Two elements carry one Id.
    #[error("two elements carry the same Id")]
    DuplicateId,
    /// Something is no base64, or not as long as it should be.
    #[error("{0} is not base64 of the right length")]
    Base64(&'static str),
    /// Issuer or serial number cannot be read.
    #[error("X509IssuerSerial holds no distinguished name or no decimal number")]
    IssuerSerial,
    /// Nobody's registered certificate.
    #[error("no registered certificate has this issuer and serial number")]
    UnknownSigner(IssuerSerial),
    /// The content was changed after it was signed.
    #[error("the digest of {0} does not match")]
    Digest(&'static str),
    /// The signature is not that key's.
    #[error("the SignatureValue does not match the SignedInfo")]
    Value,
}
