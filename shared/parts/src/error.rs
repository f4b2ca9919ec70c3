//! What can go wrong with a part, each in one sentence with the fix.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a part is not there.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// A program is not installed.
    #[error("{program} is not installed; run: apt-get install -y --no-install-recommends {package}")]
    NotInstalled {
        /// What was looked for.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// The folder cannot be entered by the user that the part runs as.
    #[error(
        "user {user} cannot enter {blocked}, so it cannot keep its data in {wanted}; run `chmod o+x {blocked}` \
         or choose a folder that it can reach",
        blocked = blocked.display(), wanted = wanted.display()
    )]
    Unreachable {
        /// Who has to get there.
        user: &'static str,
        /// The first folder on the way that stops them.
        blocked: PathBuf,
        /// Where they wanted to go.
        wanted: PathBuf,
    },
    /// The system has no such user.
    #[error(
        "there is no user {user}, and {program} refuses to run as root; install package {package}, which makes it"
    )]
    NoSuchUser {
        /// The user's name.
        user: &'static str,
        /// Who needs it.
        program: &'static str,
        /// The Debian package that creates the user.
        package: &'static str,
    },
    /// A file or folder could not be made, read or handed over.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    File {
        /// The verb.
        what: &'static str,
        /// The object.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program did not start.
    #[error("cannot start {name}: {source}")]
    Spawn {
        /// The part.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program ended, or never answered its probe.
    #[error("{name} {what}; the end of {log} says:\n{tail}", log = log.display())]
    NotReady {
        /// The part.
        name: String,
        /// `ended with exit status: 1`, or `did not answer in 60 s`.
        what: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A running part could not be waited for or signalled.
    #[error("cannot stop {name}: {source}")]
    Stop {
        /// The part.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

impl PartError {
    /// For `map_err` on a file operation.
    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { what, path, source }
    }

    pub(crate) fn not_ready(name: &str, what: String, log: &Path) -> Self {
        Self::NotReady {
            name: name.to_owned(),
            what,
            log: log.to_path_buf(),
            tail: tail(log),
        }
    }

    pub(crate) fn silent(name: &str, within: Duration, log: &Path) -> Self {
        Self::not_ready(name, format!("did not answer in {} s", within.as_secs()), log)
    }
}

/// The last lines of a log, enough to see why its program ended.
fn tail(log: &Path) -> String {
    const LINES: usize = 8;
    let text = std::fs::read(log)
        .map(|raw| String::from_utf8_lossy(&raw).into_owned())
        .unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
