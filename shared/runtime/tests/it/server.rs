//! A server under test, with a PKI that is made once for the process.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use pix_pki::{Authority, Identity, Subject, Use, Validity};
use pix_runtime::http::{Client, ClientLimits, Peer, ServerLimits, serve};
use pix_runtime::{Clock as _, StopSwitch, SystemClock, tls};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) struct Pki {
    pub(crate) authority: Authority,
    pub(crate) server: Identity,
    pub(crate) bank: Identity,
}

pub(crate) static PKI: LazyLock<Pki> = LazyLock::new(|| {
    pix_runtime::init_crypto();
    let long = Validity::long(SystemClock.now());
    let authority = Authority::new("Test CA", long).unwrap();
    let server = authority.issue(&subject("server"), Use::Server, long).unwrap();
    let bank = authority.issue(&subject("bank"), Use::Channel, long).unwrap();
    Pki {
        authority,
        server,
        bank,
    }
});

pub(crate) fn subject(name: &str) -> Subject {
    Subject {
        common_name: name.into(),
        ispb: None,
    }
}

/// A server whose answers come from a closure; it counts the requests that reached it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stop: StopSwitch,
    pub(crate) served: JoinHandle<()>,
    handled: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start<F, Answer>(limits: ServerLimits, answer: F) -> Self
    where
        F: Fn(Request<Incoming>, Arc<Peer>) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let tls = tls::server(
            PKI.server.certificate_pem.as_bytes(),
            PKI.server.key_pem.as_bytes(),
            PKI.authority.certificate_pem().as_bytes(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = StopSwitch::new();
        let handled = Arc::new(AtomicUsize::new(0));
        let count = handled.clone();
        let handler = move |request: Request<Incoming>, peer: Arc<Peer>| {
            count.fetch_add(1, Ordering::SeqCst);
            answer(request, peer)
        };
        let served = tokio::spawn(serve(listener, tls.unwrap(), limits, Arc::new(handler), stopping));
        Self {
            address,
            stop,
            served,
            handled,
        }
    }

    pub(crate) fn handled(&self) -> usize {
        self.handled.load(Ordering::SeqCst)
    }

    pub(crate) fn get(&self, path: &str) -> Request<Full<Bytes>> {
        Request::get(format!("https://{}{path}", self.address))
            .body(Full::default())
            .unwrap()
    }

    /// A connection without HTTP on it yet.
    pub(crate) async fn shake(&self, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(config)
            .connect(ServerName::from(self.address.ip()), stream)
            .await
    }
}

pub(crate) fn text(text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::new(Full::new(text.into()))
}

pub(crate) fn client_tls(identity: &Identity) -> Arc<ClientConfig> {
    tls::client(
        identity.certificate_pem.as_bytes(),
        identity.key_pem.as_bytes(),
        PKI.authority.certificate_pem().as_bytes(),
    )
    .unwrap()
}

pub(crate) fn client() -> Client {
    Client::new(&client_tls(&PKI.bank), ClientLimits::default())
}

/// A client without a certificate.
pub(crate) fn nobody() -> Arc<ClientConfig> {
    let mut anchors = RootCertStore::empty();
    let pem = PKI.authority.certificate_pem().as_bytes();
    anchors
        .add(rustls_pki_types::CertificateDer::from_pem_slice(pem).unwrap())
        .unwrap();
    Arc::new(
        ClientConfig::builder()
            .with_root_certificates(anchors)
            .with_no_client_auth(),
    )
}
