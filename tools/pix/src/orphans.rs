//! Children of a `pix` that was killed. Its end was their stop signal, and they take a moment to follow it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pix_parts::STOP_GRACE;

use crate::board;
use crate::place::Place;

/// Waits until those that the board names are gone; after their grace they are killed. For the one who holds the instance.
pub(crate) async fn end(place: &Place, say: impl Fn(&str)) -> anyhow::Result<()> {
    let folders: Vec<PathBuf> = [place.dir.clone(), place.postgres_dir()?]
        .into_iter()
        .flat_map(|dir| [dir.canonicalize().unwrap_or_else(|_| dir.clone()), dir])
        .collect();
    let left = || -> Vec<(String, u32)> {
        let entries = board::read(place).map(|snapshot| snapshot.processes);
        let named = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| Some((entry.name, entry.pid?)));
        named.filter(|(_, pid)| lives_in(*pid, &folders)).collect()
    };
    let asked = Instant::now();
    let mut said = false;
    loop {
        let left = left();
        if left.is_empty() {
            return Ok(());
        }
        if !said {
            let names: Vec<_> = left.iter().map(|(name, _)| name.as_str()).collect();
            say(&format!(
                "pix was killed here; waiting for what it left: {}",
                names.join(", ")
            ));
            said = true;
        }
        if asked.elapsed() > STOP_GRACE {
            for (name, pid) in left {
                kill(&name, pid)?;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a process is one of these folders': the pid alone may be another's by now. A zombie is nobody's.
fn lives_in(pid: u32, folders: &[PathBuf]) -> bool {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let arguments = String::from_utf8_lossy(&arguments);
    // Redis overwrites its arguments; it works in its folder.
    let works_in = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    folders.iter().any(|folder| {
        works_in.starts_with(folder)
            || arguments
                .split('\0')
                .any(|argument| Path::new(argument).starts_with(folder))
    }) && !arguments.is_empty()
}

fn kill(name: &str, pid: u32) -> anyhow::Result<()> {
    let target = libc::pid_t::try_from(pid)?;
    #[expect(
        unsafe_code,
        reason = "one system call without memory arguments; no safe wrapper in std"
    )]
    // SAFETY: kill takes two integers. The pid's process has just been seen to be of this instance.
    let refused = unsafe { libc::kill(target, libc::SIGKILL) } != 0;
    let error = std::io::Error::last_os_error();
    if refused && error.raw_os_error() != Some(libc::ESRCH) {
        anyhow::bail!(
            "{name} (process {pid}) is left from a killed pix and cannot be ended ({error}): end it as its owner"
        );
    }
    Ok(())
}
