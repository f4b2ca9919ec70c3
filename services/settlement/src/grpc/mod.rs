//! `settlement.v1`: calls of the switch's own services and of operators. Mutual TLS under an authority of its own.
//! Every service may read; those of [`WRITERS`] also change.

mod funding;
mod participants;
pub(crate) mod windows;

use std::sync::Arc;

use pix_proto::settlement_v1::funding_server::FundingServer;
use pix_proto::settlement_v1::participants_server::ParticipantsServer;
use pix_proto::settlement_v1::windows_server::WindowsServer;
use pix_runtime::Stopping;
use pix_runtime::pg::DbClock;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tonic::Status;

use crate::adapters::pg::StoreError;
use crate::funding::Funder;
use crate::registry::Registrar;

use self::windows::WindowsService;

/// Names of the certificates whose services order something.
const WRITERS: &[&str] = &["pix"];

/// What the calls need.
#[derive(Clone)]
pub(crate) struct Inside {
    pub(crate) registrar: Arc<Registrar>,
    pub(crate) funder: Arc<Funder>,
    /// For lists and streams.
    pub(crate) pool: PgPool,
    pub(crate) clock: DbClock,
    /// Streams without an end have one then.
    pub(crate) stopping: Stopping,
}

/// Serves until the stop.
pub(crate) async fn serve(
    listener: TcpListener,
    ends: pix_inside::Ends,
    inside: Inside,
    windows: WindowsService,
) -> Result<(), tonic::transport::Error> {
    let identify = pix_inside::identify(inside.clock.clone());
    let stopping = inside.stopping.clone();
    ends.server()?
        .add_service(ParticipantsServer::with_interceptor(
            inside.clone(),
            identify.clone(),
        ))
        .add_service(FundingServer::with_interceptor(inside, identify.clone()))
        .add_service(WindowsServer::with_interceptor(windows, identify))
        .serve_with_incoming_shutdown(pix_inside::incoming(listener), async move {
            stopping.stopped().await;
        })
        .await
}

/// A field that does not hold: the message begins with its name.
fn invalid(field: &str, why: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("{field}: {why}"))
}

/// The database did not do it, or did not say so.
fn unavailable(error: &StoreError) -> Status {
    match error {
        StoreError::Away(_) => {
            tracing::warn!(%error, "a call could not be answered");
            Status::unavailable("nothing was done: the database is away; try again")
        }
        StoreError::Unknown(_) => {
            tracing::warn!(%error, "a call's end is not known");
            Status::unavailable("whether it was done is not known yet; ask again, it is done once only")
        }
        StoreError::Corrupt { .. } => {
            tracing::error!(%error, "a table holds something else than was written");
            Status::internal("the settlement service is at fault; its log says more")
        }
    }
}

/// Participants of the stopping service go on elsewhere.
fn stopping() -> Status {
    Status::unavailable("the settlement service stops; come again")
}
