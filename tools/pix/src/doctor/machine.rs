//! Of the machine: programs, user, ports, disk, memory, open files, clock.

use std::path::Path;

use pix_domain::Timestamp;
use pix_parts::RunAs;
use rustix::process::{Resource, getrlimit};

use super::{Finding, minute, roughly};
use crate::logs;
use crate::place::{Place, Ports};

/// Below it nothing is started: a database cluster with its WAL would fill the disk at once.
const START_MIB: u64 = 512;
/// Postgres keeps up to 4 GiB of WAL under load.
pub(crate) const COMFORT_GIB: f64 = 6.0;
const MEMORY_MIB: u64 = 1_536;
/// Connections of banks are files, and each service takes hundreds.
const OPEN_FILES: u64 = 4_096;
/// A clock that is behind what was written by this much is wrong; less may be rounding.
const CLOCK_SLACK: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) fn look(place: &Place, running: Option<u32>, free_gib: f64, now: Timestamp) -> Vec<Finding> {
    let mut findings = vec![programs(), user(), folder(place)];
    findings.push(match running {
        Some(pid) => Finding::ok("ports", format!("held by the pix that runs here (process {pid})")),
        None => ports(place.ports),
    });
    findings.push(disk(&place.dir, free_gib));
    if let Ok(elsewhere) = place.postgres_dir()
        && !elsewhere.starts_with(&place.dir)
    {
        findings.push(disk(&elsewhere, free_gib));
    }
    findings.extend([memory(), open_files(), clock(place, now), time_service()]);
    findings
}

/// What `pix up` starts: there, and new enough.
pub(crate) fn programs() -> Finding {
    const CHECK: &str = "programs";
    let missing = pix_parts::missing();
    if !missing.is_empty() {
        let packages: Vec<_> = missing.iter().map(|missing| missing.package).collect();
        return Finding::fault(
            CHECK,
            format!("{} not installed", packages.join(", ")),
            format!(
                "run `make run`, which installs without starting any daemon, or {}",
                install(&packages)
            ),
        );
    }
    let installed = pix_parts::installed();
    if let Some(old) = installed.iter().find(|part| part.is_too_old()) {
        let version = old.version.map_or(String::new(), |version| version.to_string());
        return Finding::fault(
            CHECK,
            format!(
                "{} {version} is too old: it takes {} or newer",
                old.program, old.least
            ),
            format!(
                "{}, which can live beside the old one; PIX_POSTGRES_BIN names the folder of a Postgres elsewhere",
                install(&[old.package])
            ),
        );
    }
    let versions = installed.iter().map(|part| match part.version {
        Some(version) => format!("{} {version}", part.program),
        None => format!("{} of an unknown version", part.program),
    });
    Finding::ok(CHECK, versions.collect::<Vec<_>>().join(", "))
}

/// How to install, for whoever we are.
fn install(packages: &[&str]) -> String {
    let command = format!(
        "apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    );
    let on_path = |program: &str| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
    };
    match (rustix::process::geteuid().is_root(), on_path("sudo")) {
        (true, _) => format!("run `{command}`"),
        (false, true) => format!("run `sudo {command}`"),
        (false, false) => {
            format!(
                "have this machine's administrator run `{command}` (you are not root, and there is no sudo)"
            )
        }
    }
}

/// Postgres refuses root, and runs as the user of its package then.
fn user() -> Finding {
    const CHECK: &str = "user";
    let who = rustix::process::geteuid();
    match RunAs::postgres() {
        Err(error) => Finding::fault(
            CHECK,
            error.to_string(),
            "or run pix as an ordinary user, which needs no other",
        ),
        Ok(Some(_)) => Finding::ok(CHECK, "root; the database runs as user postgres"),
        Ok(None) => Finding::ok(CHECK, format!("user {}, which is all it takes", who.as_raw())),
    }
}

/// Whether we may write where the instance lives.
fn folder(place: &Place) -> Finding {
    const CHECK: &str = "folder";
    let dir = &place.dir;
    let there = existing(dir);
    let writable = rustix::fs::access(there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    match (writable, place.is_ours()) {
        (Err(_), _) => Finding::fault(
            CHECK,
            format!("{} belongs to another user", there.display()),
            format!(
                "run pix as that user, make it yours (`chown -R $(id -un) {}`), or choose another --dir",
                there.display()
            ),
        ),
        (Ok(()), true) => Finding::ok(CHECK, format!("{}", dir.display())),
        (Ok(()), false) => Finding::ok(CHECK, format!("{} is made by the first `pix up`", dir.display())),
    }
}

fn ports(ports: Ports) -> Finding {
    const CHECK: &str = "ports";
    let busy = ports.all_busy();
    if busy.is_empty() {
        return Finding::ok(CHECK, "all free");
    }
    let all: Vec<_> = busy
        .iter()
        .map(|(what, port)| format!("{port} ({what})"))
        .collect();
    let other = Ports::free_offset().map_or(String::new(), |offset| {
        format!(": `pix --port-offset {offset} up` has all of its own free")
    });
    Finding::fault(
        CHECK,
        format!("taken by another program: {}", all.join(", ")),
        format!("stop it (`ss -ltnp` names it), or choose other ports{other}"),
    )
}

/// Whether there is room on the disk of `dir`.
pub(crate) fn disk(dir: &Path, wanted_gib: f64) -> Finding {
    const CHECK: &str = "disk";
    let there = existing(dir);
    let free = match rustix::fs::statvfs(there) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize) >> 20,
        Err(error) => {
            return Finding::warning(
                CHECK,
                format!(
                    "the disk of {} does not tell its free space ({error})",
                    there.display()
                ),
                "choose a --dir on a local disk",
            );
        }
    };
    let (found, fix) = (
        format!("{} MiB free for {}", free, there.display()),
        format!(
            "free some (`du -xh {} | sort -h | tail` shows what is large; the logs in {} may go), or choose a --dir on \
             another disk",
            there.display(),
            dir.join("logs").display()
        ),
    );
    if free < START_MIB {
        return Finding::fault(
            CHECK,
            format!("the disk is full: {found}, at least {START_MIB} needed"),
            fix,
        );
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "gibibytes with one decimal are read by people"
    )]
    let gib = free as f64 / 1024.0;
    match gib < wanted_gib {
        true => Finding::warning(
            CHECK,
            format!("{found}; under load the database's log alone takes 4 GiB"),
            fix,
        ),
        false => Finding::ok(CHECK, found),
    }
}

fn memory() -> Finding {
    const CHECK: &str = "memory";
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text.lines().find_map(|line| {
        let kib = line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?;
        Some(kib.trim().parse::<u64>().ok()? >> 10)
    });
    match available {
        None => Finding::ok(CHECK, "not told by this system"),
        Some(mib) if mib < MEMORY_MIB => Finding::warning(
            CHECK,
            format!("{mib} MiB available"),
            format!(
                "end other programs until {MEMORY_MIB} MiB are: what is short of memory is killed, and slow before"
            ),
        ),
        Some(mib) => Finding::ok(CHECK, format!("{mib} MiB available")),
    }
}

fn open_files() -> Finding {
    const CHECK: &str = "open files";
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < OPEN_FILES => Finding::warning(
            CHECK,
            format!("{limit} a process: enough for a few banks, not for a load"),
            format!("run `ulimit -n {OPEN_FILES}` in the shell that starts pix"),
        ),
        Some(limit) => Finding::ok(CHECK, format!("{limit} a process")),
        None => Finding::ok(CHECK, "unlimited"),
    }
}

/// What was written here cannot be of the future.
fn clock(place: &Place, now: Timestamp) -> Finding {
    const CHECK: &str = "clock";
    let newest = logs::newest(place).and_then(|at| Timestamp::parse(at.as_bytes()).ok());
    match newest {
        Some(newest) if newest.since(now) > CLOCK_SLACK => Finding::fault(
            CHECK,
            format!(
                "this machine's clock says {} and something was logged here at {}: the clock is behind by {} or more",
                minute(now),
                minute(newest),
                roughly(newest.since(now))
            ),
            "set it (`timedatectl set-ntp true`, or `date -s`): payments, certificates and limits go by it, and the \
             switch refuses with DT02 or AB11 what a wrong clock sends",
        ),
        _ => Finding::ok(CHECK, minute(now)),
    }
}

/// Whether anybody keeps the clock right.
fn time_service() -> Finding {
    const CHECK: &str = "time service";
    /// `STA_UNSYNC` of `adjtimex(2)`.
    const UNSYNCHRONISED: libc::c_int = 0x40;
    // SAFETY: all-zero is a valid timex, and modes 0 only reads.
    #[expect(unsafe_code, reason = "one system call; no safe wrapper in std or rustix")]
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex.status)
    };
    if state < 0 {
        return Finding::ok(CHECK, "not told by this system");
    }
    match status & UNSYNCHRONISED != 0 {
        true => Finding::warning(
            CHECK,
            "the kernel says that nobody keeps the clock synchronised",
            "install chrony or switch systemd-timesyncd on: a bank whose clock is 34 s off has every payment refused",
        ),
        false => Finding::ok(CHECK, "the clock is kept synchronised"),
    }
}

/// The folder itself, or the nearest above it that is there.
fn existing(dir: &Path) -> &Path {
    dir.ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_disk_is_full_a_little_full_or_fine() {
        let dir = tempfile::tempdir().expect("tempdir");
        let deep = dir.path().join("not/made/yet");
        assert_eq!(disk(&deep, 0.0).verdict, Verdict::Ok);
        let short = disk(&deep, f64::MAX);
        assert_eq!(short.verdict, Verdict::Warning);
        assert!(short.fix.expect("a fix").contains("du -xh"));
        // A file system that never has room.
        let full = disk(Path::new("/proc"), 0.0);
        assert_eq!(full.verdict, Verdict::Fault);
        assert!(
            full.sentence().contains("the disk is full"),
            "{}",
            full.sentence()
        );
    }
}
