//! What a request needs to be answered.

use std::sync::Arc;
use std::time::Duration;

use pix_dict_api::CorrelationId;
use pix_runtime::Clock as _;
use pix_runtime::Ids;
use pix_runtime::pg::DbClock;

use crate::answers::Answering;
use crate::buckets::Buckets;
use crate::directory::Directory;
use crate::registry::Current;
use crate::sealer::Sealer;
use crate::statistics::StatisticsStore;

/// Handles to everything inside.
pub(crate) struct App {
    pub(crate) registry: Current,
    pub(crate) clock: DbClock,
    pub(crate) ids: Ids,
    pub(crate) sealer: Sealer,
    pub(crate) directory: Arc<Directory>,
    pub(crate) buckets: Buckets,
    pub(crate) statistics: StatisticsStore,
    /// Whether a request without a signature is refused.
    pub(crate) signature_required: bool,
    /// How long a connection is kept between requests: participants are told.
    pub(crate) keep_alive: Duration,
}

impl App {
    /// The head of an answer that is given now.
    pub(crate) fn answering(&self) -> Answering {
        Answering {
            at: self.clock.now().to_millis(),
            correlation_id: CorrelationId::new(self.ids.u128()),
        }
    }
}
