//! Positive idempotency hits in Redis: "these bytes of this participant were taken in, as that resource".
//!
//! It may say "seen", never "not seen": away, empty or slow, Postgres decides.

use pix_domain::{Ispb, ResourceId};
use pix_runtime::redis::ANSWER_WITHIN;
use redis::aio::ConnectionManager;

/// How long a hit is kept: as long as Postgres looks back.
const LIFE_SECONDS: u64 = 48 * 3600;

/// The hits; clones share a connection.
#[derive(Clone)]
pub(crate) struct Hits(ConnectionManager);

fn key(sender: Ispb, digest: &[u8; 32]) -> Vec<u8> {
    let mut key = b"pix:spi:seen:".to_vec();
    key.extend_from_slice(sender.as_bytes());
    key.push(b':');
    key.extend_from_slice(digest);
    key
}

impl Hits {
    pub(crate) fn new(connection: ConnectionManager) -> Self {
        Self(connection)
    }

    /// What these bytes were taken in as, when Redis knows.
    pub(crate) async fn recall(&self, sender: Ispb, digest: &[u8; 32]) -> Option<ResourceId> {
        let mut connection = self.0.clone();
        let mut get = redis::cmd("GET");
        get.arg(key(sender, digest));
        let asked =
            tokio::time::timeout(ANSWER_WITHIN, get.query_async::<Option<Vec<u8>>>(&mut connection)).await;
        let raw: [u8; 24] = asked.ok()?.ok()??.try_into().ok()?;
        Some(ResourceId::from_bytes(raw))
    }

    /// Remembers what a COMMIT took in, in one pipeline, without waiting for it.
    pub(crate) fn remember(&self, taken_in: Vec<(Ispb, [u8; 32], ResourceId)>) {
        if taken_in.is_empty() {
            return;
        }
        let mut connection = self.0.clone();
        tokio::spawn(async move {
            let mut pipeline = redis::pipe();
            for (sender, digest, resource_id) in &taken_in {
                pipeline
                    .set_ex(key(*sender, digest), &resource_id.as_bytes()[..], LIFE_SECONDS)
                    .ignore();
            }
            let sent = tokio::time::timeout(ANSWER_WITHIN, pipeline.query_async::<()>(&mut connection)).await;
            if !matches!(sent, Ok(Ok(()))) {
                metrics::counter!("spi_redis_failures_total").increment(1);
            }
        });
    }
}
