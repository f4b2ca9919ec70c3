//! NATS with JetStream in files, loopback, a folder of ours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::process::make_folder;
use crate::{PartError, Probe, ProcessSpec, Signal, packages};

/// A private NATS server.
#[derive(Clone, Debug)]
pub struct Nats {
    dir: PathBuf,
    program: PathBuf,
    port: u16,
}

impl Nats {
    /// Makes the folder.
    ///
    /// # Errors
    /// [`PartError::NotInstalled`], or [`PartError::File`] when the folder cannot be made.
    pub fn prepare(dir: &Path, port: u16) -> Result<Self, PartError> {
        let program = packages::nats_program()?;
        make_folder(dir)?;
        let dir = dir.canonicalize().map_err(PartError::file("find", dir))?;
        Ok(Self { dir, program, port })
    }

    /// How to run it.
    #[must_use]
    pub fn spec(&self) -> ProcessSpec {
        let store = self.store();
        ProcessSpec {
            name: "nats".into(),
            program: self.program.clone(),
            args: [
                "-a",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-js",
                "-sd",
                &store.display().to_string(),
            ]
            .map(str::to_owned)
            .to_vec(),
            // Its log is in UTC like all the others, whatever the machine's zone.
            env: BTreeMap::from([("TZ".to_owned(), "UTC".to_owned())]),
            dir: Some(self.dir.clone()),
            run_as: None,
            stop_signal: Signal::Terminate,
            log: self.dir.join("nats.log"),
            probe: Probe::Nats { port: self.port },
        }
    }

    /// The folder of JetStream's files. It may be deleted while the server is down: nothing is lost.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// `nats://127.0.0.1:4222`
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}
