//! Live updates: one event per payment or key that moved, right after its commit.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::stream::{Stream, unfold};
use tokio::sync::broadcast::error::RecvError;

use super::App;
use crate::work::Moved;

/// `GET /api/events`: `payment` or `key` with its id and state, or `refresh` when some were missed.
pub(super) async fn stream(
    State(app): State<Arc<App>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let moved = app.bells.moved.subscribe();
    let stopping = app.stopping.clone();
    let events = unfold((moved, stopping), |(mut moved, stopping)| async move {
        let event = tokio::select! {
            () = stopping.stopped() => return None,
            event = moved.recv() => event,
        };
        let event = match event {
            Ok(Moved::Payment { end_to_end_id, state }) => Event::default().event("payment").data(format!(
                "{{\"end_to_end_id\":\"{end_to_end_id}\",\"state\":\"{state}\"}}"
            )),
            Ok(Moved::Key { request_id, state }) => Event::default()
                .event("key")
                .data(format!("{{\"id\":\"{request_id}\",\"state\":\"{state}\"}}")),
            Err(RecvError::Lagged(_)) => Event::default().event("refresh").data("{}"),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), (moved, stopping)))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}
