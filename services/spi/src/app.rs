//! What a request needs to be answered.

use pix_runtime::Ids;
use pix_runtime::pg::DbClock;
use tokio::sync::mpsc;

use crate::adapters::hits::Hits;
use crate::allowances::Allowances;
use crate::bodies::Bodies;
use crate::book::Job;
use crate::desk::Request;
use crate::http::Gate;
use crate::registry::Current;
use crate::shares::Shares;

/// Handles to everything inside.
pub(crate) struct App {
    pub(crate) registry: Current,
    pub(crate) clock: DbClock,
    pub(crate) ids: Ids,
    pub(crate) book: mpsc::Sender<Job>,
    pub(crate) desk: mpsc::Sender<Request>,
    pub(crate) bodies: Bodies,
    pub(crate) hits: Hits,
    pub(crate) shares: Shares,
    pub(crate) allowances: Allowances,
    pub(crate) gate: Gate,
}
