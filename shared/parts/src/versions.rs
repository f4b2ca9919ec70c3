//! Which versions of the parts' programs are installed, and whether they are new enough.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::packages;

/// Major, minor and patch; what a program does not say is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(major, minor, 0) => write!(f, "{major}.{minor}"),
            Self(major, minor, patch) => write!(f, "{major}.{minor}.{patch}"),
        }
    }
}

/// A part's server program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its name.
    pub program: &'static str,
    /// What it says that it is; nothing when it does not say so in a way we know.
    pub version: Option<Version>,
    /// The oldest that the switch works with.
    pub least: Version,
    /// The Debian package that has it.
    pub package: &'static str,
}

impl Installed {
    /// Whether it says that it is older than the switch can use.
    #[must_use]
    pub fn is_too_old(&self) -> bool {
        self.version.is_some_and(|version| version < self.least)
    }
}

/// The one that is tested; Debian 12 has it.
const POSTGRES_LEAST: Version = Version(15, 0, 0);
/// Scripts are replicated by their effects from here on; Debian 12 has it.
const REDIS_LEAST: Version = Version(7, 0, 0);
/// JetStream as Debian 12 has it.
const NATS_LEAST: Version = Version(2, 9, 10);

/// The programs that are there, with what they say of themselves; those of [`crate::missing`] are left out.
#[must_use]
pub fn installed() -> Vec<Installed> {
    let found = [
        (
            "postgres",
            packages::postgres_program("postgres"),
            POSTGRES_LEAST,
            packages::POSTGRES_PACKAGE,
        ),
        (
            "redis-server",
            packages::redis_program(),
            REDIS_LEAST,
            packages::REDIS_PACKAGE,
        ),
        (
            "nats-server",
            packages::nats_program(),
            NATS_LEAST,
            packages::NATS_PACKAGE,
        ),
    ];
    let asked = found.into_iter().filter_map(|(program, path, least, package)| {
        Some(Installed {
            program,
            version: version_of(&path.ok()?),
            least,
            package,
        })
    });
    asked.collect()
}

fn version_of(program: &Path) -> Option<Version> {
    let out = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    parse(&String::from_utf8_lossy(&out.stdout))
}

/// The first word that begins like a version: `15.10`, `v=7.0.15`, `v2.9.10`, `17beta1`.
fn parse(said: &str) -> Option<Version> {
    said.split_whitespace().find_map(|word| {
        let word = word.trim_start_matches("v=").trim_start_matches('v');
        let mut numbers = word.split('.').map(|part| {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..end].parse::<u32>()
        });
        let major = numbers.next()?.ok()?;
        let mut next = || numbers.next().and_then(Result::ok).unwrap_or_default();
        Some(Version(major, next(), next()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_each_program_writes_them() {
        for (said, version) in [
            (
                "postgres (PostgreSQL) 15.10 (Debian 15.10-0+deb12u1)",
                Version(15, 10, 0),
            ),
            ("postgres (PostgreSQL) 17beta1", Version(17, 0, 0)),
            (
                "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0",
                Version(7, 0, 15),
            ),
            ("nats-server: v2.9.10", Version(2, 9, 10)),
        ] {
            assert_eq!(parse(said), Some(version), "{said}");
        }
        assert_eq!(parse("no version here"), None);
        assert!(Version(13, 9, 0) < POSTGRES_LEAST && Version(15, 0, 0) >= POSTGRES_LEAST);
    }
}
