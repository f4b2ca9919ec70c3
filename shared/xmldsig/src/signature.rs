//! The text of a `ds:Signature`, canonical.

/// Canonical `<ds:X509Data>` for an issuer's name and a serial number.
pub(crate) fn x509_data(issuer_name: &str, serial: &str) -> String {
    let name = crate::escape::text(issuer_name);
    format!(
        "<ds:X509Data><ds:X509IssuerSerial><ds:X509IssuerName>{name}</ds:X509IssuerName>\
         <ds:X509SerialNumber>{serial}</ds:X509SerialNumber></ds:X509IssuerSerial></ds:X509Data>"
    )
}
