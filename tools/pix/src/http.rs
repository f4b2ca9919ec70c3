//! JSON over plain HTTP to the loopback listeners of our own processes.

use std::time::Duration;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// How long an answer may take: our processes answer at once or not at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const BODY_BYTES_MAX: usize = 4 << 20;
/// A process that was killed serves again by then.
const RESTARTED_WITHIN: Duration = Duration::from_secs(1);

/// Asks our own processes.
#[derive(Clone, Debug)]
pub(crate) struct Http(Client<HttpConnector, Full<Bytes>>);

/// A status and the JSON that came with it (`null` when none did).
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// Nobody answered.
#[derive(Debug)]
pub(crate) struct Silent {
    address: String,
    why: String,
}

impl std::error::Error for Silent {}

impl std::fmt::Display for Silent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "nothing answers at {} ({})", self.address, self.why)
    }
}

impl Http {
    pub(crate) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    pub(crate) async fn get(&self, port: u16, path: &str) -> Result<Answer, Silent> {
        self.send("GET", port, path, None, Bytes::new()).await
    }

    /// An order repeated under the same key is done once.
    pub(crate) async fn post(
        &self,
        port: u16,
        path: &str,
        body: &Value,
        key: Option<&str>,
    ) -> Result<Answer, Silent> {
        self.send("POST", port, path, key, Bytes::from(body.to_string()))
            .await
    }

    pub(crate) async fn put(&self, port: u16, path: &str, body: &Value) -> Result<Answer, Silent> {
        self.send("PUT", port, path, None, Bytes::from(body.to_string()))
            .await
    }

    pub(crate) async fn delete(&self, port: u16, path: &str) -> Result<Answer, Silent> {
        self.send("DELETE", port, path, None, Bytes::new()).await
    }

    /// As [`Self::post`], and once more when nobody answered: whoever fell silent may have taken the order, and does
    /// it once under one key.
    pub(crate) async fn post_until_answered(
        &self,
        port: u16,
        path: &str,
        body: &Value,
        key: &str,
    ) -> Result<Answer, Silent> {
        if let Ok(answer) = self.post(port, path, body, Some(key)).await {
            return Ok(answer);
        }
        tokio::time::sleep(RESTARTED_WITHIN).await;
        self.post(port, path, body, Some(key)).await
    }

    /// A page that is not JSON, as `/metrics` is.
    pub(crate) async fn text(&self, port: u16, path: &str) -> Result<String, Silent> {
        let (_, body) = self.exchange("GET", port, path, None, Bytes::new()).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn send(
        &self,
        method: &str,
        port: u16,
        path: &str,
        key: Option<&str>,
        body: Bytes,
    ) -> Result<Answer, Silent> {
        let (status, body) = self.exchange(method, port, path, key, body).await?;
        Ok(Answer {
            status,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        })
    }

    async fn exchange(
        &self,
        method: &str,
        port: u16,
        path: &str,
        key: Option<&str>,
        body: Bytes,
    ) -> Result<(u16, Bytes), Silent> {
        let address = format!("127.0.0.1:{port}");
        let silent = |why: String| Silent {
            address: address.clone(),
            why,
        };
        let mut request = hyper::Request::builder();
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request
            .method(method)
            .uri(format!("http://{address}{path}"))
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(Full::new(body))
            .map_err(|error| silent(error.to_string()))?;
        let exchange = async {
            let answer = self
                .0
                .request(request)
                .await
                .map_err(|error| root_cause(&error))?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), BODY_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| error.to_string())?
                .to_bytes();
            Ok((status, body))
        };
        tokio::time::timeout(ANSWER_WITHIN, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("no answer in {} s", ANSWER_WITHIN.as_secs())))
            .map_err(silent)
    }
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What a refusal says, in its own words (RFC 9457 problem).
    pub(crate) fn refusal(&self) -> String {
        let said = ["detail", "title", "error"]
            .iter()
            .find_map(|name| self.body.get(name)?.as_str());
        said.map_or_else(|| format!("HTTP status {}", self.status), str::to_owned)
    }
}

/// A key for an order that nobody has used.
pub(crate) fn new_order_key() -> anyhow::Result<String> {
    let mut chance = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| std::io::Read::read_exact(&mut random, &mut chance))
        .context("no chance can be read from /dev/urandom: mount /dev")?;
    Ok(format!("{:032x}", u128::from_ne_bytes(chance)))
}

/// One segment of a path: everything but letters, digits and `-._~` becomes `%XX` (RFC 3986, 2).
pub(crate) fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// The innermost reason: "Connection refused" says more than "client error (Connect)".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
