//! Who a part runs as. Postgres refuses root, so root hands its folder to the user of Debian's package.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::PartError;

/// A user and group that a process changes to before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunAs {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The user that Debian's Postgres packages create.
const POSTGRES: &str = "postgres";

impl RunAs {
    /// User `postgres` when we are root, nobody else otherwise.
    ///
    /// # Errors
    /// [`PartError::NoSuchUser`] when we are root and there is none.
    pub fn postgres() -> Result<Option<Self>, PartError> {
        if !we_are_root() {
            return Ok(None);
        }
        let id = |flag: &str| {
            let out = Command::new("id")
                .args([flag, POSTGRES])
                .stderr(Stdio::null())
                .output()
                .ok()?;
            String::from_utf8(out.stdout).ok()?.trim().parse().ok()
        };
        match (id("-u"), id("-g")) {
            (Some(uid), Some(gid)) => Ok(Some(Self { uid, gid })),
            _ => Err(PartError::NoSuchUser {
                user: POSTGRES,
                program: "postgres",
                package: "postgresql-common",
            }),
        }
    }

    /// Gives `path` to this user.
    pub(crate) fn own(self, path: &Path) -> Result<(), PartError> {
        chown(path, Some(self.uid), Some(self.gid)).map_err(PartError::file("hand over", path))
    }

    /// Says which folder on the way to `wanted` this user cannot enter, if any. Asked of the system, as
    /// that user: modes alone do not tell (access lists, mounts).
    pub(crate) fn check_reach(self, wanted: &Path) -> Result<(), PartError> {
        if self.may_enter(wanted) {
            return Ok(());
        }
        let mut way: Vec<_> = wanted.ancestors().collect();
        way.reverse();
        let blocked = way
            .into_iter()
            .find(|folder| !self.may_enter(folder))
            .unwrap_or(wanted);
        Err(PartError::Unreachable {
            user: POSTGRES,
            blocked: blocked.to_path_buf(),
            wanted: wanted.to_path_buf(),
        })
    }

    fn may_enter(self, folder: &Path) -> bool {
        Command::new("test")
            .arg("-x")
            .arg(folder)
            .uid(self.uid)
            .gid(self.gid)
            .current_dir("/")
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// Whether our effective user is root.
fn we_are_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}
