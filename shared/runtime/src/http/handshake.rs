//! Who is at the other end: the certificate it showed, or why it was turned away.

use std::io;
use std::net::SocketAddr;

use pix_domain::Timestamp;
use pix_xmldsig::IssuerSerial;
use rustls::{CertificateError, Error as TlsError, ServerConnection};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Number of the connection in this process.
    pub connection: u64,
    /// Where it connects from.
    pub address: SocketAddr,
    /// What it showed; its chain and validity have been verified.
    pub certificate: PeerCertificate,
    /// Whether its certificate holds more connections than it may, or opens them too fast: to be told so and closed.
    pub is_surplus: bool,
}

/// A client certificate that the handshake accepted.
#[derive(Clone, Debug)]
pub struct PeerCertificate {
    /// What a participant is looked up by.
    pub issuer_serial: IssuerSerial,
    /// Its last valid instant: connections live long.
    pub not_after: Timestamp,
    /// The common name of its subject; empty when it has none.
    pub common_name: String,
    /// The certificate itself.
    pub der: CertificateDer<'static>,
}

impl PeerCertificate {
    /// The certificate of an established connection.
    pub(super) fn of(connection: &ServerConnection) -> Option<Self> {
        Self::from_der(connection.peer_certificates()?.first()?.clone().into_owned())
    }

    /// A certificate that a handshake accepted; `None` when it cannot be read.
    #[must_use]
    pub fn from_der(der: CertificateDer<'static>) -> Option<Self> {
        let issuer_serial = IssuerSerial::from_certificate_der(&der).ok()?;
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        let not_after =
            Timestamp::from_micros(parsed.validity().not_after.timestamp().checked_mul(1_000_000)?);
        let common_name = parsed.subject().iter_common_name().next();
        let common_name = common_name.and_then(|name| name.as_str().ok());
        let common_name = common_name.unwrap_or_default().to_owned();
        Some(Self {
            issuer_serial,
            not_after,
            common_name,
            der,
        })
    }
}

/// One word for why a handshake failed, for the counter and the log.
pub(super) fn reason(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        Some(TlsError::NoCertificatesPresented) => "no_certificate",
        Some(TlsError::InvalidCertificate(why)) => match why {
            CertificateError::UnknownIssuer => "unknown_authority",
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "not_valid_yet",
            CertificateError::Revoked => "revoked",
            _ => "bad_certificate",
        },
        Some(TlsError::AlertReceived(_)) => "client_alert",
        Some(_) => "protocol",
        None => "connection",
    }
}
