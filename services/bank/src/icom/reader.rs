//! Reads one stream: a batch is confirmed only after it is in the book.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use pix_domain::{ResourceId, Timestamp};
use pix_icom::{Channel, Icom, Pulled, gzip};
use pix_runtime::{Clock, Ids, Stopping};
use pix_xmldsig::{IssuerSerial, KeySource, VerifyingKey};

use crate::backoff::Backoff;
use crate::messages::{Identity, UnknownSigner, unopenable};
use crate::work::{Received, Work};
use crate::writer::Bookkeeper;

/// The certificates that messages of the SPI are signed with; two around a renewal.
pub(crate) struct SpiKeys {
    keys: Vec<VerifyingKey>,
    /// A message came that none of them signed. Settings are read once: only a restart mends it.
    outdated: AtomicBool,
}

impl SpiKeys {
    pub(crate) fn new(keys: Vec<VerifyingKey>) -> Self {
        let outdated = AtomicBool::new(false);
        Self { keys, outdated }
    }
}

impl KeySource for SpiKeys {
    fn find(&self, issuer_serial: &IssuerSerial) -> Option<VerifyingKey> {
        let known = |key: &&VerifyingKey| key.issuer_serial() == issuer_serial;
        self.keys.iter().find(known).cloned()
    }
}

/// What became of a batch.
enum Booked {
    In,
    Stopping,
    UnknownSigner,
}

/// One reader of one stream.
pub(crate) struct Reader<C> {
    pub(crate) icom: Icom,
    pub(crate) identity: Arc<Identity>,
    pub(crate) spi: Arc<SpiKeys>,
    pub(crate) books: Bookkeeper,
    pub(crate) clock: C,
    pub(crate) ids: Ids,
    pub(crate) up: Box<dyn Fn(bool) + Send + Sync>,
}

impl<C: Clock> Reader<C> {
    /// Reads until the stop, then closes the stream. The GET of a token confirms the batch that came with
    /// it, so a token is only used after that batch's commit.
    pub(crate) async fn run(self, stopping: Stopping) {
        let mut backoff = Backoff::new(self.ids.clone());
        let mut token: Option<String> = None;
        let mut met = false;
        while !stopping.is_stopped() {
            let pulled = tokio::select! {
                () = stopping.stopped() => break,
                pulled = self.pull(token.as_deref(), &mut met) => pulled,
            };
            let pause = match pulled {
                Pulled::Messages { next, messages } => match self.book(messages).await {
                    Booked::In => {
                        self.heard(true);
                        token = Some(next);
                        backoff.reset();
                        continue;
                    }
                    Booked::Stopping => break,
                    // Confirmed, it would be lost, and a true status with it: the same batch again.
                    Booked::UnknownSigner => {
                        self.spi.outdated.store(true, Ordering::Relaxed);
                        self.heard(false);
                        tracing::error!(
                            channel = self.icom.channel.as_str(),
                            "a message is signed with a certificate that is not configured; \
                             update spi.signature_certificate and restart"
                        );
                        None
                    }
                },
                Pulled::Gone(status) if status.as_u16() != 410 => {
                    // Starting again is all that can be tried, but it is no stream that ended: we are refused.
                    self.heard(false);
                    met = false;
                    tracing::warn!(
                        status = status.as_u16(),
                        channel = self.icom.channel.as_str(),
                        "the switch refuses to let us read; starting the stream again"
                    );
                    token = None;
                    None
                }
                Pulled::Gone(status) => {
                    tracing::info!(status = status.as_u16(), "a stream is gone; starting it again");
                    token = None;
                    None
                }
                Pulled::Later(why, asked) => {
                    self.heard(false);
                    met = false;
                    tracing::warn!(
                        why,
                        channel = self.icom.channel.as_str(),
                        "the stream does not answer"
                    );
                    asked
                }
            };
            if !backoff.wait(pause, &stopping).await {
                break;
            }
        }
        if let Some(token) = token {
            self.icom.close(&token).await;
        }
    }

    /// After a silence the switch is greeted first: a long poll says only at its end that it is heard.
    async fn pull(&self, token: Option<&str>, met: &mut bool) -> Pulled {
        if !*met {
            *met = self.icom.answers().await;
            self.heard(*met);
        }
        self.icom.pull(token).await
    }

    /// Not up while messages wait that cannot be verified, although the switch answers.
    fn heard(&self, up: bool) {
        (self.up)(up && !self.spi.outdated.load(Ordering::Relaxed));
    }

    /// Verifies, parses and books a batch, all of it or nothing.
    #[tracing::instrument(name = "receive", skip_all, fields(messages = messages.len()))]
    async fn book(&self, messages: Vec<(ResourceId, Bytes)>) -> Booked {
        if messages.is_empty() {
            return Booked::In;
        }
        let (identity, spi, now) = (self.identity.clone(), self.spi.clone(), self.clock.now());
        let channel = self.icom.channel;
        let opened = tokio::task::spawn_blocking(move || {
            let open = |(id, bytes): (ResourceId, Bytes)| received(&identity, &spi, channel, id, &bytes, now);
            messages.into_iter().map(open).collect::<Result<Vec<_>, _>>()
        });
        let Ok(works) = opened.await.expect("a panic is caught at its message") else {
            return Booked::UnknownSigner;
        };
        match self.books.book(works).await {
            Some(_) => Booked::In,
            None => Booked::Stopping,
        }
    }
}

fn received(
    identity: &Identity,
    spi: &SpiKeys,
    channel: Channel,
    resource_id: ResourceId,
    bytes: &[u8],
    now: Timestamp,
) -> Result<Work, UnknownSigner> {
    let opened = catch_unwind(AssertUnwindSafe(|| identity.open(bytes, resource_id, now, spi)));
    let (message_id, content) = opened.unwrap_or_else(|_| Ok((None, unopenable(resource_id, now))))?;
    Ok(Work::Message(Box::new(Received {
        resource_id,
        channel,
        message_id,
        content,
        stored: gzip(bytes),
    })))
}
