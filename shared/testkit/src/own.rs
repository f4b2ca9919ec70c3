//! Parts of one test's own, for the tests that kill, restart and erase them.

use std::path::{Path, PathBuf};
use std::time::Instant;

use pix_parts::{
    Nats, PartError, Postgres, PostgresSize, Process, ProcessSpec, READY_WITHIN, Redis, STOP_GRACE, Signal,
    free_port,
};
use tempfile::TempDir;

/// A Postgres, a Redis and a NATS that no other test sees. Dropped, they are killed and erased.
pub struct OwnParts {
    /// The cluster: URLs.
    pub postgres: Postgres,
    /// Redis: its URL.
    pub redis: Redis,
    /// NATS: its URL, its store.
    pub nats: Nats,
    /// The server of the cluster.
    pub postgres_process: OwnPart,
    /// The server of Redis.
    pub redis_process: OwnPart,
    /// The server of NATS.
    pub nats_process: OwnPart,
    folder: TempDir,
}

/// A part that a test may kill and start again; its port and folder stay.
pub struct OwnPart {
    spec: ProcessSpec,
    process: Option<Process>,
}

impl OwnParts {
    /// Starts all three on free ports.
    ///
    /// # Panics
    /// When one cannot be started; the message has the fix.
    pub async fn start() -> Self {
        Self::try_start()
            .await
            .unwrap_or_else(|e| panic!("a test's own parts: {e}"))
    }

    async fn try_start() -> Result<Self, PartError> {
        let folder = TempDir::with_prefix("pix-own-").expect("a folder can be made");
        let port = || free_port().expect("a port is free");
        open_to_other_users(folder.path());
        let postgres = Postgres::prepare(&folder.path().join("postgres"), port(), PostgresSize::Test).await?;
        let redis = Redis::prepare(&folder.path().join("redis"), port())?;
        let nats = Nats::prepare(&folder.path().join("nats"), port())?;
        let mut parts = Self {
            postgres_process: OwnPart {
                spec: postgres.spec(),
                process: None,
            },
            redis_process: OwnPart {
                spec: redis.spec(),
                process: None,
            },
            nats_process: OwnPart {
                spec: nats.spec(),
                process: None,
            },
            postgres,
            redis,
            nats,
            folder,
        };
        for part in [
            &mut parts.postgres_process,
            &mut parts.redis_process,
            &mut parts.nats_process,
        ] {
            part.try_start().await?;
        }
        Ok(parts)
    }

    /// The folder of all three, with their logs.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    /// Ends all three in good order.
    pub async fn stop(mut self) {
        for part in [
            &mut self.nats_process,
            &mut self.redis_process,
            &mut self.postgres_process,
        ] {
            part.stop().await;
        }
    }
}

impl OwnPart {
    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start(&mut self) {
        let asked = Instant::now();
        while let Err(e) = self.try_start().await {
            // What a killed Postgres leaves (its backends, its shared memory) takes a moment to go.
            let again = matches!(e, PartError::NotReady { .. }) && asked.elapsed() < READY_WITHIN;
            assert!(again, "{}: {e}", self.spec.name);
        }
    }

    async fn try_start(&mut self) -> Result<(), PartError> {
        let mut process = self.spec.spawn().await?;
        process.ready(READY_WITHIN).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills it as a crash would.
    pub async fn kill(&mut self) {
        self.end_by(Signal::Kill).await;
    }

    /// Ends it in good order.
    pub async fn stop(&mut self) {
        self.end_by(self.spec.stop_signal).await;
    }

    async fn end_by(&mut self, signal: Signal) {
        if let Some(mut process) = self.process.take() {
            process
                .stop_by(signal, STOP_GRACE)
                .await
                .expect("a child can be waited for");
        }
    }
}

/// Temporary folders are private; user `postgres` has to get through when we are root.
fn open_to_other_users(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711)).expect("our own folder");
}
