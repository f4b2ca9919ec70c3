//! ICOM as a participant speaks it: post a message, read a stream, know what each answer means.

mod client;
mod multipart;

pub use client::{Channel, Icom, Pulled, Said, gzip};
