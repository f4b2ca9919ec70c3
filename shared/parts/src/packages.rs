//! Which of Debian's packages the parts come from, and where their programs are.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::PartError;

pub(crate) const POSTGRES_PACKAGE: &str = "postgresql-15";
pub(crate) const REDIS_PACKAGE: &str = "redis-server";
pub(crate) const NATS_PACKAGE: &str = "nats-server";

/// A package that has to be installed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Debian's name of it.
    pub package: &'static str,
    /// The program that was not found.
    pub program: &'static str,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, program } = self;
        write!(
            f,
            "{program} is not installed; run: apt-get install -y --no-install-recommends {package} \
             (`make run` and `make test` do it without letting its daemon start)"
        )
    }
}

/// The packages that are missing on this machine; empty when every part can start.
#[must_use]
pub fn missing() -> Vec<Missing> {
    let found = [
        (POSTGRES_PACKAGE, "postgres", postgres_program("postgres").is_ok()),
        (REDIS_PACKAGE, "redis-server", redis_program().is_ok()),
        (NATS_PACKAGE, "nats-server", nats_program().is_ok()),
    ];
    let missing = |(package, program, there): (_, _, bool)| (!there).then_some(Missing { package, program });
    found.into_iter().filter_map(missing).collect()
}

/// Names the folder of Postgres' programs, for those who have another than Debian's.
const POSTGRES_BIN: &str = "PIX_POSTGRES_BIN";

/// A program of Postgres: from the folder that the environment names, else the newest version that Debian installed,
/// else from `PATH`.
pub(crate) fn postgres_program(name: &str) -> Result<PathBuf, PartError> {
    if let Some(folder) = std::env::var_os(POSTGRES_BIN) {
        let program = Path::new(&folder).join(name);
        return match program.is_file() {
            true => Ok(program),
            false => Err(PartError::NotInstalled {
                program: program.display().to_string(),
                package: POSTGRES_PACKAGE,
            }),
        };
    }
    let version = |folder: &Path| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let mut installed: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter_map(|folder| Some((version(&folder)?, folder.join("bin").join(name))))
        .filter(|(_, program)| program.is_file())
        .collect();
    installed.sort();
    installed
        .pop()
        .map(|(_, program)| program)
        .map_or_else(|| on_path(name, POSTGRES_PACKAGE), Ok)
}

pub(crate) fn redis_program() -> Result<PathBuf, PartError> {
    on_path("redis-server", REDIS_PACKAGE)
}

pub(crate) fn nats_program() -> Result<PathBuf, PartError> {
    on_path("nats-server", NATS_PACKAGE)
}

/// Looks through `PATH` and the folders of system programs, which a plain user's `PATH` often lacks.
fn on_path(program: &str, package: &'static str) -> Result<PathBuf, PartError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| PartError::NotInstalled {
            program: program.to_owned(),
            package,
        })
}
