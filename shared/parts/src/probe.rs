//! How to tell that a process serves, asked the way its clients would.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A question and the answer that means ready.
#[derive(Clone, Debug)]
pub enum Probe {
    /// Nothing to ask: ready once started.
    Started,
    /// `pg_isready` says that connections are accepted.
    Postgres {
        /// Path of `pg_isready`.
        program: PathBuf,
        /// Port on 127.0.0.1.
        port: u16,
    },
    /// Redis answers `PING` (it says `LOADING` while it reads its file).
    Redis {
        /// Port on 127.0.0.1.
        port: u16,
    },
    /// NATS greets, and has JetStream.
    Nats {
        /// Port on 127.0.0.1.
        port: u16,
    },
    /// `GET path` is answered 200, as `/readyz` is.
    Http {
        /// Plain HTTP, as the ops listeners are.
        address: SocketAddr,
        /// `/readyz`
        path: String,
    },
}

impl Probe {
    /// Asks again and again until the answer is yes.
    pub(crate) async fn until_ready(&self) {
        const PAUSE: Duration = Duration::from_millis(10);
        const ANSWER_WITHIN: Duration = Duration::from_secs(2);
        while !tokio::time::timeout(ANSWER_WITHIN, self.ask())
            .await
            .unwrap_or(false)
        {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks once.
    pub async fn ask(&self) -> bool {
        match self {
            Self::Started => true,
            Self::Postgres { program, port } => tokio::process::Command::new(program)
                .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .status()
                .await
                .is_ok_and(|status| status.success()),
            Self::Redis { port } => {
                says(loopback(*port), "PING\r\n", |answer| answer.starts_with("+PONG")).await
            }
            Self::Nats { port } => {
                says(loopback(*port), "", |greeting| {
                    greeting.contains("\"jetstream\":true")
                })
                .await
            }
            Self::Http { address, path } => {
                let question = format!(
                    "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
                    address.ip()
                );
                says(*address, &question, |answer| answer.starts_with("HTTP/1.1 200 ")).await
            }
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Connects, asks, and looks at the first line of the answer.
async fn says(address: SocketAddr, question: &str, yes: fn(&str) -> bool) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(question.as_bytes()).await?;
        let mut answer = Vec::new();
        let mut chunk = [0_u8; 1024];
        while !answer.contains(&b'\n') {
            match stream.read(&mut chunk).await? {
                0 => break,
                n => answer.extend_from_slice(&chunk[..n]),
            }
        }
        std::io::Result::Ok(answer)
    };
    ask.await
        .is_ok_and(|answer| yes(&String::from_utf8_lossy(&answer)))
}
