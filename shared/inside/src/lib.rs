//! Calls between the services of the switch: gRPC with mutual TLS under an authority of their own, which no
//! participant's certificate opens. A service is the common name of its certificate; every service may read, and
//! those that may also change something are named where it is changed.

use std::path::PathBuf;
use std::time::Duration;

use pix_domain::Timestamp;
use pix_runtime::http::PeerCertificate;
use pix_runtime::{Clock, Key, Settings};
use tonic::service::Interceptor;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error, Identity, ServerTlsConfig};
use tonic::{Request, Status};

/// After such a silence the other end is asked whether it is there, and given up when it does not say so in as long.
const SILENT_MAX: Duration = Duration::from_secs(20);
/// The same from the caller's end: what waits for news on a stream must learn soon that nobody is there to tell.
const SILENT_AS_CALLER_MAX: Duration = Duration::from_secs(5);
/// Calls of one connection at once.
const CALLS_MAX: u32 = 64;
/// How long the TLS of a caller may take: until then nobody knows who it is, and its connection costs a file.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long a service may take to let us in.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Setting: our certificate chain.
pub const CERTIFICATE: Key = Key::required::<PathBuf>(
    "inside.certificate",
    "PEM file",
    "certificate chain shown to the switch's own services",
);
/// Setting: its key.
pub const KEY: Key = Key::required::<PathBuf>("inside.key", "PEM file", "its private key");
/// Setting: whom we believe.
pub const CA: Key = Key::required::<PathBuf>(
    "inside.ca",
    "PEM file",
    "authority whose certificates the switch's own services show",
);

/// One service's end of the calls inside.
#[derive(Clone)]
pub struct Ends {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

impl Ends {
    /// From PEM texts.
    pub fn from_pem(
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
        ca: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            ca: ca.into(),
        }
    }

    /// From [`CERTIFICATE`], [`KEY`] and [`CA`].
    #[must_use]
    pub fn read(settings: &Settings) -> Self {
        let file = |name| settings.read_file(name);
        Self::from_pem(file("inside.certificate"), file("inside.key"), file("inside.ca"))
    }

    /// A server with the limits of all of them; add services, then [`incoming`].
    ///
    /// # Errors
    /// When the files are no certificate, key or authority.
    pub fn server(&self) -> Result<Server, Error> {
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(&self.certificate, &self.key))
            .client_ca_root(Certificate::from_pem(&self.ca))
            .timeout(HANDSHAKE_WITHIN);
        Ok(Server::builder()
            .tls_config(tls)?
            .http2_keepalive_interval(Some(SILENT_MAX))
            .http2_keepalive_timeout(Some(SILENT_MAX))
            .max_concurrent_streams(CALLS_MAX))
    }

    /// A service at this origin (`https://127.0.0.1:6001`), which connects when it is first needed, and again when it
    /// was cut off.
    ///
    /// # Errors
    /// When the origin is none, or the files are no certificate, key or authority.
    pub fn service(&self, origin: &str) -> Result<Channel, Error> {
        Ok(self.endpoint(origin)?.connect_lazy())
    }

    /// The same, for those who want to know at once whether it is there.
    ///
    /// # Errors
    /// When the origin is none, or the files are no certificate, key or authority.
    pub fn endpoint(&self, origin: &str) -> Result<Endpoint, Error> {
        let tls = ClientTlsConfig::new()
            .identity(Identity::from_pem(&self.certificate, &self.key))
            .ca_certificate(Certificate::from_pem(&self.ca));
        Ok(Endpoint::from_shared(origin.to_owned())?
            .tls_config(tls)?
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(SILENT_AS_CALLER_MAX)
            .keep_alive_timeout(SILENT_AS_CALLER_MAX)
            .keep_alive_while_idle(true))
    }
}

/// A listener as the server takes it.
#[must_use]
pub fn incoming(listener: tokio::net::TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(SILENT_MAX))
}

/// The service that calls: the name of its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub String);

/// Puts the [`Caller`] into every request; one whose certificate expired is refused.
pub fn identify<C: Clock + Clone>(clock: C) -> impl Interceptor + Clone {
    move |mut request: Request<()>| {
        let shown = request.peer_certs();
        let shown = shown.and_then(|chain| PeerCertificate::from_der(chain.first()?.clone()));
        let caller = caller_of(shown.as_ref(), clock.now())?;
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

fn caller_of(shown: Option<&PeerCertificate>, now: Timestamp) -> Result<Caller, Status> {
    let shown = shown.ok_or_else(|| Status::unauthenticated("Forbidden: the certificate cannot be read"))?;
    if shown.not_after < now {
        return Err(Status::unauthenticated("Forbidden: the certificate has expired"));
    }
    Ok(Caller(shown.common_name.clone()))
}

/// Refuses all services but these.
///
/// # Errors
/// PERMISSION_DENIED.
pub fn only<T>(writers: &[&str], request: &Request<T>) -> Result<(), Status> {
    let caller = request.extensions().get::<Caller>();
    match caller.is_some_and(|Caller(name)| writers.contains(&name.as_str())) {
        true => Ok(()),
        false => Err(Status::permission_denied("Forbidden: this service only reads")),
    }
}

#[cfg(test)]
mod tests {
    use pix_pki::DevPki;
    use pix_runtime::SystemClock;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    use tonic::Code;

    use super::*;

    #[test]
    fn a_service_is_the_name_of_its_certificate_until_that_expires() {
        let folder = tempfile::tempdir().expect("a folder");
        let pki = DevPki::open_or_create(folder.path()).expect("a PKI");
        let own = pki.inside("pix").expect("issued").identity.certificate_pem;
        let der = CertificateDer::from_pem_slice(own.as_bytes()).expect("PEM");
        let shown = PeerCertificate::from_der(der).expect("a certificate");
        let caller = caller_of(Some(&shown), SystemClock.now()).expect("valid");
        assert_eq!(caller, Caller("pix".to_owned()));
        let later = Timestamp::from_micros(shown.not_after.as_micros() + 1);
        for refused in [caller_of(Some(&shown), later), caller_of(None, later)] {
            assert_eq!(refused.expect_err("refused").code(), Code::Unauthenticated);
        }
    }

    #[test]
    fn those_that_only_read_are_told_so() {
        let mut request = Request::new(());
        assert_eq!(
            only(&["pix"], &request).expect_err("nobody").code(),
            Code::PermissionDenied
        );
        request.extensions_mut().insert(Caller("dict".to_owned()));
        assert!(only(&["pix"], &request).is_err());
        assert!(only(&["pix", "dict"], &request).is_ok());
    }
}
