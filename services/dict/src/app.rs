//! What a request needs to be answered.

use std::sync::Arc;
use std::time::Duration;

use pix_runtime::pg::DbClock;

use crate::answers::Answering;
use crate::buckets::Buckets;
use crate::directory::Directory;
use crate::http::Door;
use crate::registry::Current;
use crate::sealer::Sealer;
use crate::statistics::StatisticsStore;

/// Handles to everything inside.
pub(crate) struct App {
    pub(crate) registry: Current,
    /// What limits the requests under way.
    pub(crate) door: Door,
    pub(crate) clock: DbClock,
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
        self.directory.answering()
    }
}
