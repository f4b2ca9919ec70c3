//! The bank at ICOM: stored messages go out, streams come in.

mod poster;
mod reader;
mod trying;

pub(crate) use poster::Poster;
pub(crate) use reader::{Reader, SpiKeys};
pub(crate) use trying::Trying;
