//! TLS as both faces of the switch speak it: 1.2 or 1.3, certificates on both sides, HTTP/1.1.
//!
//! Rule: PROTOCOL 1 (Manual de Segurança, section 2). `ECDHE-RSA-AES-128-GCM-SHA256` is among the suites.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ALL_VERSIONS, ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Why a TLS end cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM text holds no certificate.
    #[error("the {0} is not a PEM file with certificates")]
    Certificate(&'static str),
    /// A PEM text holds no private key.
    #[error("the private key is not a PEM file with a key")]
    Key,
    /// No trust anchor to judge the other side by.
    #[error("the certificates of the authority cannot be used: {0}")]
    Authority(#[from] VerifierBuilderError),
    /// The key does not fit the certificate, or rustls refuses one of them.
    #[error("the certificate with its key cannot be used: {0}")]
    Identity(#[from] rustls::Error),
}

/// A server that lets in only clients with a certificate of `client_ca`.
///
/// Sessions are not resumed: every connection shows its certificate, and an expired one, anew.
///
/// # Errors
/// [`TlsError`] by what does not hold.
pub fn server(
    certificate_pem: &[u8],
    key_pem: &[u8],
    client_ca_pem: &[u8],
) -> Result<Arc<ServerConfig>, TlsError> {
    let anchors = Arc::new(anchors(client_ca_pem)?);
    let clients = WebPkiClientVerifier::builder_with_provider(anchors, provider()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(ALL_VERSIONS)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain(certificate_pem, "server certificate")?, key(key_pem)?)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A client that shows its certificate and trusts servers of `ca`.
///
/// # Errors
/// [`TlsError`] by what does not hold.
pub fn client(certificate_pem: &[u8], key_pem: &[u8], ca_pem: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
    client_speaking(ALL_VERSIONS, certificate_pem, key_pem, ca_pem)
}

/// As [`client`], of some versions only.
///
/// # Errors
/// [`TlsError`] by what does not hold.
pub fn client_speaking(
    versions: &[&'static SupportedProtocolVersion],
    certificate_pem: &[u8],
    key_pem: &[u8],
    ca_pem: &[u8],
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_root_certificates(anchors(ca_pem)?)
        .with_client_auth_cert(chain(certificate_pem, "client certificate")?, key(key_pem)?)?;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn anchors(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut anchors = RootCertStore::empty();
    for certificate in chain(pem, "certificate of the authority")? {
        anchors.add(certificate)?;
    }
    Ok(anchors)
}

fn chain(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    chain
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or(TlsError::Certificate(what))
}

fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsError::Key)
}
