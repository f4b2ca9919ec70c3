//! What a request needs to be answered.

use pix_runtime::Ids;
use pix_runtime::pg::DbClock;
use spi_core::outgoing::Channel;
use tokio::sync::mpsc;

use crate::adapters::hits::Hits;
use crate::allowances::Allowances;
use crate::bodies::Bodies;
use crate::book::Job;
use crate::config::PullNext;
use crate::desk::Request;
use crate::http::Gate;
use crate::registry::Current;
use crate::sandbox::Script;
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
    pub(crate) script: Script,
    pub(crate) pull_next: PullNext,
    pub(crate) ports: Ports,
}

/// Where participants connect.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) primary: u16,
    pub(crate) secondary: u16,
}

impl Ports {
    pub(crate) fn of(self, channel: Channel) -> u16 {
        match channel {
            Channel::Primary => self.primary,
            Channel::Secondary => self.secondary,
        }
    }
}
