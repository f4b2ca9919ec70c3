//! Reads one stream: a batch is confirmed only after it is in the book.

use std::sync::Arc;

use bytes::Bytes;
use pix_domain::{ResourceId, Timestamp};
use pix_icom::{Channel, Icom, Pulled, gzip};
use pix_runtime::{Clock, Ids, Stopping};
use pix_xmldsig::{IssuerSerial, KeySource, VerifyingKey};

use super::backoff::Backoff;
use crate::messages::Identity;
use crate::work::{Received, Work};
use crate::writer::Bookkeeper;

/// The one certificate that messages of the SPI are signed with.
pub(crate) struct SpiKey(pub(crate) VerifyingKey);

impl KeySource for SpiKey {
    fn find(&self, issuer_serial: &IssuerSerial) -> Option<VerifyingKey> {
        (self.0.issuer_serial() == issuer_serial).then(|| self.0.clone())
    }
}

/// One reader of one stream.
pub(crate) struct Reader<C> {
    pub(crate) icom: Icom,
    pub(crate) identity: Arc<Identity>,
    pub(crate) spi: Arc<SpiKey>,
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
                Pulled::Messages { next, messages } => {
                    (self.up)(true);
                    if !self.book(messages).await {
                        break;
                    }
                    token = Some(next);
                    backoff.reset();
                    continue;
                }
                Pulled::Gone(status) => {
                    tracing::info!(status = status.as_u16(), "a stream is gone; starting it again");
                    token = None;
                    None
                }
                Pulled::Later(why, asked) => {
                    (self.up)(false);
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
            (self.up)(*met);
        }
        self.icom.pull(token).await
    }

    /// Verifies, parses and books a batch; false when the bank stops before it is in.
    #[tracing::instrument(name = "receive", skip_all, fields(messages = messages.len()))]
    async fn book(&self, messages: Vec<(ResourceId, Bytes)>) -> bool {
        if messages.is_empty() {
            return true;
        }
        let (identity, spi, now) = (self.identity.clone(), self.spi.clone(), self.clock.now());
        let channel = self.icom.channel;
        let opened = tokio::task::spawn_blocking(move || {
            let open = |(id, bytes): (ResourceId, Bytes)| received(&identity, &spi, channel, id, &bytes, now);
            messages.into_iter().map(open).collect::<Vec<_>>()
        });
        let works = opened.await.expect("opening a message is a total function");
        self.books.book(works).await.is_some()
    }
}

fn received(
    identity: &Identity,
    spi: &SpiKey,
    channel: Channel,
    resource_id: ResourceId,
    bytes: &[u8],
    now: Timestamp,
) -> Work {
    let (message_id, content) = identity.open(bytes, resource_id, now, spi);
    Work::Message(Box::new(Received {
        resource_id,
        channel,
        message_id,
        content,
        stored: gzip(bytes),
    }))
}
