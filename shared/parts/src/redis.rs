//! Redis: append-only file, loopback, a folder of ours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::process::make_folder;
use crate::{PartError, Probe, ProcessSpec, Signal, packages};

/// A private Redis.
#[derive(Clone, Debug)]
pub struct Redis {
    dir: PathBuf,
    program: PathBuf,
    port: u16,
}

impl Redis {
    /// Makes the folder.
    ///
    /// # Errors
    /// [`PartError::NotInstalled`], or [`PartError::File`] when the folder cannot be made.
    pub fn prepare(dir: &Path, port: u16) -> Result<Self, PartError> {
        let program = packages::redis_program()?;
        make_folder(dir)?;
        let dir = dir.canonicalize().map_err(PartError::file("find", dir))?;
        Ok(Self { dir, program, port })
    }

    /// How to run it.
    #[must_use]
    pub fn spec(&self) -> ProcessSpec {
        let port = self.port.to_string();
        let dir = self.dir.display().to_string();
        let settings = [
            ("--port", port.as_str()),
            ("--bind", "127.0.0.1"),
            ("--dir", &dir),
            ("--appendonly", "yes"),
            ("--appendfsync", "everysec"),
            ("--save", ""),
            ("--daemonize", "no"),
        ];
        ProcessSpec {
            name: "redis".into(),
            program: self.program.clone(),
            args: settings
                .into_iter()
                .flat_map(|(key, value)| [key.to_owned(), value.to_owned()])
                .collect(),
            // Its log is in UTC like all the others, whatever the machine's zone.
            env: BTreeMap::from([("TZ".to_owned(), "UTC".to_owned())]),
            dir: Some(self.dir.clone()),
            run_as: None,
            stop_signal: Signal::Terminate,
            log: self.dir.join("redis.log"),
            probe: Probe::Redis { port: self.port },
        }
    }

    /// `redis://127.0.0.1:4379/0`
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }
}
