//! ICOM as it stands on the wire: octets over TLS, written by hand, so that nothing of ours is between.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{SOON, TestSpi};

/// One connection.
pub(crate) struct Wire {
    stream: TlsStream<TcpStream>,
    unread: Vec<u8>,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    /// After gunzip.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    /// The last part of a problem's type.
    pub(crate) fn problem(&self) -> &str {
        let (_, rest) = self
            .text()
            .split_once("<type>https://icom.pi.rsfn.net.br/api/v1/error/")
            .unwrap_or_else(|| panic!("no problem: {self:?}"));
        rest.split('<').next().expect("split gives one")
    }

    pub(crate) fn resource_ids(&self) -> Vec<&str> {
        self.header("pi-resourceid")
            .split(',')
            .filter(|id| !id.is_empty())
            .collect()
    }
}

impl Wire {
    pub(crate) async fn connect(spi: &TestSpi, ispb: &str, port: u16) -> Self {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
        let connector = TlsConnector::from(Arc::clone(&spi.pki.client_tls(ispb)));
        let name = ServerName::try_from("localhost").expect("a name");
        Self {
            stream: connector.connect(name, tcp).await.expect("mutual TLS"),
            unread: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).await.expect("sent");
        self.stream.flush().await.expect("sent");
    }

    /// Line, headers and body in one; `Host` is added unless the head has one.
    pub(crate) async fn ask(&mut self, head: &str, body: &[u8]) -> Answer {
        let mut octets = head.replace('\n', "\r\n");
        if !head.to_ascii_lowercase().contains("\nhost:") {
            octets.push_str("\r\nHost: icom.pi.rsfn.net.br");
        }
        octets.push_str("\r\n\r\n");
        let mut octets = octets.into_bytes();
        octets.extend_from_slice(body);
        self.send(&octets).await;
        self.answer().await.expect("an answer")
    }

    /// The next answer, or nothing when the connection is closed before it.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        tokio::time::timeout(SOON, self.read_answer())
            .await
            .expect("in time")
    }

    async fn read_answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.fill().await?;
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).expect("ASCII");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers
            .get("content-length")
            .map_or(0, |length| length.parse().expect("a number"));
        while self.unread.len() < length {
            self.fill().await?;
        }
        let mut body: Vec<u8> = self.unread.drain(..length).collect();
        if headers
            .get("content-encoding")
            .is_some_and(|coding| coding == "gzip")
        {
            let packed = std::mem::take(&mut body);
            GzDecoder::new(&packed[..]).read_to_end(&mut body).expect("gzip");
        }
        Some(Answer {
            status,
            headers,
            body,
        })
    }

    async fn fill(&mut self) -> Option<()> {
        let mut buffer = vec![0; 16 * 1024];
        let read = self
            .stream
            .read(&mut buffer)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        self.unread.extend_from_slice(&buffer[..read]);
        Some(())
    }

    /// How many octets still come until the connection ends, and which error ends it.
    pub(crate) async fn ending(&mut self) -> (usize, Option<std::io::ErrorKind>) {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(SOON, self.stream.read_to_end(&mut rest))
            .await
            .expect("in time");
        (
            self.unread.len() + rest.len(),
            read.err().map(|error| error.kind()),
        )
    }

    /// Says that nothing more will be sent.
    pub(crate) async fn close_writing(&mut self) {
        self.stream.shutdown().await.expect("closed");
    }

    /// As a killed process does: no goodbye of TLS.
    pub(crate) fn vanish(self) {
        drop(self.stream.into_inner().0);
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// The body of a multipart request.
pub(crate) fn multipart(boundary: &str, messages: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for message in messages {
        body.extend_from_slice(
            format!("--{boundary}\r\nContent-Type: application/xml; charset=utf-8\r\n\r\n").as_bytes(),
        );
        body.extend_from_slice(message);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}

/// How soon what needs no waiting happens, on a busy machine.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(2_500);
