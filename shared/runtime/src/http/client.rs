//! A client that keeps its connections, with caps on time and size.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

/// What a client puts up with.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// TCP connection.
    pub connect_within: Duration,
    /// From the request to the end of the answer, connection included. Above the server's long poll.
    pub answer_within: Duration,
    /// The answer's body, in octets.
    pub body_max: usize,
    /// Connections kept when idle, a host.
    pub idle_max: usize,
    /// How long they are kept; below the server's patience, or requests meet a closing connection.
    pub idle_for: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connect_within: Duration::from_secs(3),
            answer_within: Duration::from_secs(15),
            body_max: 16 * 1024 * 1024,
            idle_max: 32,
            idle_for: Duration::from_secs(50),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server was not reached: it has seen nothing of the request.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// No complete answer in time: unknown whether the request was carried out.
    #[error("no answer in time")]
    Timeout,
    /// The answer is longer than the cap.
    #[error("the answer is longer than {max} octets")]
    TooLarge {
        /// The cap, in octets.
        max: usize,
    },
    /// The connection broke: unknown whether the request was carried out.
    #[error("the connection broke: {0}")]
    Broken(String),
}

impl ClientError {
    /// Whether the server may have carried the request out all the same.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        !matches!(self, Self::Connect(_))
    }
}

/// An HTTPS client. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    limits: ClientLimits,
}

impl Client {
    /// A client that shows the certificate of `tls`. It speaks HTTPS only.
    #[must_use]
    pub fn new(tls: &Arc<ClientConfig>, limits: ClientLimits) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(limits.connect_within));
        tcp.set_keepalive(Some(limits.idle_for));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(ClientConfig::clone(tls))
            .https_only()
            .enable_http1()
            .wrap_connector(tcp);
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits.idle_for)
            .pool_max_idle_per_host(limits.idle_max)
            .set_host(false)
            .build(connector);
        Self { inner, limits }
    }

    /// Sends a request to the absolute URI in it and reads the whole answer. `Host` is the host without its
    /// port (PROTOCOL 1) unless the request has its own.
    ///
    /// # Errors
    /// [`ClientError`]; a status of 4xx or 5xx is an answer.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(response::Parts, Bytes), ClientError> {
        if let Some(host) = request
            .uri()
            .host()
            .and_then(|host| HeaderValue::from_str(host).ok())
        {
            request.headers_mut().entry(HOST).or_insert(host);
        }
        tokio::time::timeout(self.limits.answer_within, self.exchange(request))
            .await
            .map_err(|_| ClientError::Timeout)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(response::Parts, Bytes), ClientError> {
        let response = self.inner.request(request).await.map_err(|e| {
            let text = with_causes(&e);
            if e.is_connect() {
                ClientError::Connect(text)
            } else {
                ClientError::Broken(text)
            }
        })?;
        let (head, body) = response.into_parts();
        let max = self.limits.body_max;
        let body = Limited::new(body, max).collect().await.map_err(|e| {
            if e.is::<LengthLimitError>() {
                ClientError::TooLarge { max }
            } else {
                ClientError::Broken(with_causes(&*e))
            }
        })?;
        Ok((head, body.to_bytes()))
    }
}

/// `client error (Connect): tcp connect error: Connection refused`
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
