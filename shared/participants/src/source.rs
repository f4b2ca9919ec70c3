//! Where a service has its participants from: the settlement service, or a file.

use std::path::PathBuf;
use std::time::Duration;

use pix_inside::Ends;
use pix_runtime::ops::Readiness;
use pix_runtime::{Ids, Key, Settings, Stopping};
use sqlx::PgPool;
use tonic::transport::Endpoint;

use crate::copy::{self, Copy, CopyError};
use crate::current::Resident;
use crate::standing::{Origin, Standing, State, Telling};
use crate::{Directory, SeedFaults};

/// Setting: the settlement service.
pub const SETTLEMENT: Key = Key::optional::<String>(
    "settlement.url",
    "https:// URL",
    "settlement service, whose participants and certificates are copied; or else participants.file",
);
/// Setting: a file instead.
pub const FILE: Key = Key::optional::<PathBuf>(
    "participants.file",
    "TOML file",
    "participants and their certificates, of a switch without settlement service; read again when it changes",
);

/// The check that holds once participants are known.
pub const READY: &str = "participants";

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the participants come from.
pub enum Source {
    /// A file.
    File(PathBuf),
    /// The settlement service, reached so.
    Settlement(Box<Endpoint>),
}

impl Source {
    /// From [`SETTLEMENT`] or [`FILE`]; `inside` is our end of the calls. Notes a fault and gives nothing when not
    /// exactly one is set.
    #[must_use]
    pub fn read(settings: &Settings, inside: &Ends) -> Option<Self> {
        let url = settings.optional::<String>(SETTLEMENT.name);
        let file = settings.optional::<PathBuf>(FILE.name);
        match (url, file) {
            (None, Some(file)) => Some(Self::File(file)),
            (Some(url), None) => match inside.endpoint(&url) {
                Ok(endpoint) => Some(Self::Settlement(Box::new(endpoint))),
                Err(error) => {
                    settings.fault(SETTLEMENT.name, format!("cannot be called: {error}"));
                    None
                }
            },
            (Some(_), Some(_)) => {
                settings.fault(
                    FILE.name,
                    "and settlement.url are two sources of participants; set one of them",
                );
                None
            }
            (None, None) => {
                settings.fault(SETTLEMENT.name, "is missing; set it, or else participants.file");
                None
            }
        }
    }

    /// What is known before anybody is asked, and who keeps it true. `pool` is of the service's own database.
    ///
    /// # Errors
    /// When the file has faults, or the copy cannot be read.
    pub async fn open(self, pool: PgPool) -> Result<(Directory, Follower, Standing), OpenError> {
        match self {
            Self::File(path) => {
                let directory = Directory::load(&path)?;
                let (telling, standing) = Telling::new(State {
                    origin: Origin::File,
                    registry: None,
                    followed: true,
                    fault: None,
                    known: true,
                });
                let version = directory.version().to_owned();
                let follower = Follower(Origins::File { path, version }, telling);
                Ok((directory, follower, standing))
            }
            Self::Settlement(endpoint) => {
                let copy = Copy::load(&pool).await?;
                let directory = copy.directory().map_err(CopyError::from)?;
                let (telling, standing) = Telling::new(State {
                    origin: Origin::Settlement,
                    registry: copy.registry().map(ToOwned::to_owned),
                    followed: false,
                    fault: None,
                    known: copy.is_filled(),
                });
                let origin = Origins::Settlement { endpoint, copy, pool };
                Ok((directory, Follower(origin, telling), standing))
            }
        }
    }
}

/// Why there are no participants to begin with.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file.
    #[error("participants.file has faults: {0}")]
    File(#[from] SeedFaults),
    /// The copy.
    #[error("the copy of the participants cannot be read: {0}")]
    Copy(#[from] CopyError),
}

/// Keeps the participants of a service as they are now.
pub struct Follower(Origins, Telling);

enum Origins {
    File {
        path: PathBuf,
        version: String,
    },
    Settlement {
        endpoint: Box<Endpoint>,
        copy: Copy,
        pool: PgPool,
    },
}

impl Follower {
    /// Hands every change to `resident` until the stop, and says [`READY`] once anybody can be judged.
    pub async fn run(self, resident: impl Resident, readiness: Readiness, stopping: Stopping) {
        let Self(origin, telling) = self;
        if telling.is_known() {
            readiness.set(READY, true);
        }
        match origin {
            Origins::File { path, version } => file(path, version, telling, resident, stopping).await,
            Origins::Settlement { endpoint, copy, pool } => {
                let channel = endpoint.connect_lazy();
                let parts = copy::Parts {
                    channel,
                    pool,
                    ids: Ids::system(),
                    telling,
                    readiness,
                };
                copy::follow(copy, parts, resident, stopping).await;
            }
        }
    }
}

/// Reads the file and the certificates it names again and again; faults change nothing.
async fn file(
    path: PathBuf,
    mut version: String,
    telling: Telling,
    mut resident: impl Resident,
    stopping: Stopping,
) {
    let mut faulty = false;
    loop {
        tokio::select! {
            () = stopping.stopped() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let file = path.clone();
        let read = tokio::task::spawn_blocking(move || Directory::load(&file)).await;
        let fault = match read {
            Ok(Ok(directory)) => {
                if directory.version() != version {
                    directory.version().clone_into(&mut version);
                    let participants = directory.iter().count();
                    resident.take(directory).await;
                    tracing::info!(participants, "participants were read again");
                }
                None
            }
            Ok(Err(faults)) => Some(faults.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(fault) = fault.as_ref().filter(|_| !faulty) {
            tracing::error!(fault, "the participants file has faults; the last good one stays");
        }
        if faulty != fault.is_some() {
            faulty = fault.is_some();
            telling.tell(|state| {
                state.followed = !faulty;
                state.fault = fault;
            });
        }
    }
}
