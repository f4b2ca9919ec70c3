//! NATS: events and wake-ups. It may be away at any time, at the start too.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long a request to JetStream may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Between attempts to connect again: the sweeper covers a second.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// A client that connects in the background, for ever.
///
/// # Errors
/// When the URL is none; a server that is away is no error.
pub async fn connect(service: &str, url: &str) -> Result<Client, async_nats::ConnectError> {
    ConnectOptions::new()
        .name(service)
        .no_echo() // what we tell is for others
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(CONNECT_WITHIN)
        .request_timeout(Some(ANSWER_WITHIN))
        .reconnect_delay_callback(|attempt| {
            let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
            (Duration::from_millis(10) * attempt.min(100)).min(RETRY_MAX)
        })
        .event_callback(|event| async move {
            match event {
                Event::Connected => tracing::info!("NATS is there"),
                Event::Disconnected => tracing::warn!("NATS is away"),
                event => tracing::debug!(%event, "NATS"),
            }
        })
        .connect(url)
        .await
}
