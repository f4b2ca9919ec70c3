//! The switch under load: one of our own in a folder that goes afterwards, or one that runs already.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use pix_parts::{Probe, Process, ProcessSpec, Signal};
use serde::Deserialize;

/// From nothing, database cluster and keys included, on a machine that has other things to do.
const SERVES_WITHIN: Duration = Duration::from_secs(180);
const STOPS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What `pix up` says when everything serves.
const SERVING: &str = "Ctrl-C stops everything";
/// What it says when another program has a port.
const PORT_TAKEN: &str = "is taken by another program";
/// Ports of an instance before the offset; `pix up` judges, this only avoids most of its refusals.
const PORTS: [u16; 18] = [
    4001, 4002, 4003, 4011, 4012, 4101, 4102, 4222, 4379, 4432, 5001, 5002, 5003, 5009, 6001, 6002, 6003,
    8222,
];
/// Instances side by side lie so far apart (the same step as `pix` uses).
const OFFSET_STEP: u16 = 440;
const OFFSET_STEPS: u16 = 59;
const OFFSETS_TRIED_MAX: usize = 5;

/// A running switch.
pub(crate) struct Instance {
    pub(crate) dir: PathBuf,
    pix: PathBuf,
    offset: u16,
    own: Option<Own>,
}

/// What goes with us.
struct Own {
    process: Process,
    folder: Option<tempfile::TempDir>,
    /// Holds the ports' offset against other benches.
    _offset: fs::File,
}

/// What is asked of an instance of our own.
pub(crate) struct Wishes {
    /// The folder; one that goes afterwards unless given.
    pub(crate) keep: Option<PathBuf>,
    /// Settings of the services, as `PIX_SPI_BUCKET_PRIMARY`.
    pub(crate) settings: BTreeMap<String, String>,
}

impl Instance {
    /// The one that runs in `dir`.
    pub(crate) fn running(pix: PathBuf, dir: &Path) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Remembered {
            port_offset: u16,
        }
        let dir = std::path::absolute(dir)?;
        let path = dir.join("instance.toml");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("no switch lives in {}: start it with `pix up`", dir.display()))?;
        let remembered: Remembered =
            toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
        Ok(Self {
            dir,
            pix,
            offset: remembered.port_offset,
            own: None,
        })
    }

    /// A new one, serving.
    pub(crate) async fn start(pix: PathBuf, wishes: &Wishes) -> anyhow::Result<Self> {
        let (dir, folder) = match &wishes.keep {
            Some(dir) => (std::path::absolute(dir)?, None),
            None => {
                let folder = tempfile::Builder::new().prefix("pix-bench-").tempdir()?;
                // User postgres, whom root runs the database as, has to get through.
                fs::set_permissions(folder.path(), Permissions::from_mode(0o711))?;
                (folder.path().join("pix"), Some(folder))
            }
        };
        let log = dir.with_extension("up.log");
        let mut tried = 0;
        loop {
            // Of an earlier bench that kept its switch here: that one serves no more.
            match fs::remove_file(&log) {
                Err(why) if why.kind() != ErrorKind::NotFound => {
                    return Err(why).with_context(|| format!("{} cannot be replaced", log.display()));
                }
                _ => {}
            }
            let (offset, held) =
                take_offset().context("no ports are free for another switch: stop one with `pix down`")?;
            let mut process = spec(&pix, &dir, offset, &log, &wishes.settings).spawn().await?;
            match serving(&mut process, &log).await {
                Ok(()) => {
                    return Ok(Self {
                        dir,
                        pix,
                        offset,
                        own: Some(Own {
                            process,
                            folder,
                            _offset: held,
                        }),
                    });
                }
                Err(why) => {
                    tried += 1;
                    let is_taken = format!("{why:#}").contains(PORT_TAKEN);
                    if !is_taken || tried >= OFFSETS_TRIED_MAX {
                        return Err(why);
                    }
                }
            }
        }
    }

    /// Whether it is ours alone.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    pub(crate) fn port(&self, base: u16) -> u16 {
        base + self.offset
    }

    /// A command of `pix` for this instance.
    pub(crate) fn pix(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.pix);
        command
            .arg("--dir")
            .arg(&self.dir)
            .args(arguments)
            // The folder knows its ports; whoever calls us may mean another instance.
            .env_remove("PIX_PORT_OFFSET")
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Its processes by name, and ours.
    pub(crate) fn processes(&self) -> Vec<(String, u32)> {
        #[derive(Deserialize)]
        struct Board {
            processes: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            name: String,
            pid: Option<u32>,
        }
        let text = fs::read_to_string(self.dir.join("run/processes.json")).unwrap_or_default();
        let board: Board = serde_json::from_str(&text).unwrap_or(Board {
            processes: Vec::new(),
        });
        let theirs = board
            .processes
            .into_iter()
            .filter_map(|entry| Some((entry.name, entry.pid?)));
        theirs.chain([("bench".to_owned(), std::process::id())]).collect()
    }

    /// A setting of one of its services, as `pix up` wrote it: `spi`, `database.owner_url`.
    pub(crate) fn setting(&self, service: &str, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.dir.join(format!("config/{service}.toml"))).ok()?;
        setting(&text, name)
    }

    /// Ends it, when it is ours.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(mut own) = self.own.take() {
            own.process.stop(STOPS_WITHIN).await?;
            if own.folder.is_some() {
                // The database may live elsewhere: `pix` knows where.
                let purged = self.pix(&["down", "--purge"]).output().await?;
                if !purged.status.success() {
                    bail!(
                        "the bench's switch is not removed: {}",
                        String::from_utf8_lossy(&purged.stderr).trim()
                    );
                }
            }
        }
        Ok(())
    }
}

/// Of a line as `database.url = "postgres://..."`, which is TOML with a dotted key.
fn setting(text: &str, name: &str) -> Option<String> {
    let table: toml::Table = text.parse().ok()?;
    let mut value = toml::Value::Table(table);
    for part in name.split('.') {
        value = value.get(part)?.clone();
    }
    value.as_str().map(str::to_owned)
}

fn spec(pix: &Path, dir: &Path, offset: u16, log: &Path, settings: &BTreeMap<String, String>) -> ProcessSpec {
    ProcessSpec {
        name: "pix up".to_owned(),
        program: pix.to_path_buf(),
        args: vec![
            "--dir".to_owned(),
            dir.display().to_string(),
            "--port-offset".to_owned(),
            offset.to_string(),
            "up".to_owned(),
            "--no-payment".to_owned(),
        ],
        env: settings.clone(),
        dir: None,
        run_as: None,
        stop_signal: Signal::Terminate,
        log: log.to_path_buf(),
        probe: Probe::Started,
    }
}

async fn serving(process: &mut Process, log: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let said = fs::read_to_string(log).unwrap_or_default();
        if said.contains(SERVING) {
            return Ok(());
        }
        let last = || {
            said.lines()
                .rev()
                .take(6)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
                .join("\n")
        };
        tokio::select! {
            ended = process.wait() => {
                let said = fs::read_to_string(log).unwrap_or_default();
                bail!("`pix up` ended with {}: {}", ended?, said.trim());
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if began.elapsed() > SERVES_WITHIN {
            bail!(
                "the switch does not serve after {} s: {}",
                SERVES_WITHIN.as_secs(),
                last()
            );
        }
    }
}

/// An offset whose ports nobody has, ours until the file is closed: a switch takes seconds until it has its ports, and
/// two that start at once would both find them free. From the top, by chance: `pix` and its tests begin below.
fn take_offset() -> Option<(u16, fs::File)> {
    let chance = RandomState::new().build_hasher().finish() % u64::from(OFFSET_STEPS / 2);
    let first = OFFSET_STEPS - u16::try_from(chance).expect("below the number of steps");
    let steps = (1..=first).rev().chain((first + 1..=OFFSET_STEPS).rev());
    steps.map(|step| step * OFFSET_STEP).find_map(|offset| {
        let name = format!("pix-bench-offset-{offset}.lock");
        let held = fs::File::create(std::env::temp_dir().join(name)).ok()?;
        held.try_lock().ok()?;
        let is_free = PORTS
            .iter()
            .all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port + offset)).is_ok());
        is_free.then_some((offset, held))
    })
}

/// `pix`, which lies beside us in one build.
pub(crate) fn pix_beside_us() -> anyhow::Result<PathBuf> {
    let us = std::env::current_exe().context("the path of this program is unknown: say --pix PATH")?;
    let folder = us.parent().unwrap_or(Path::new("/"));
    let pix = folder.join("pix");
    let release = if folder.ends_with("release") {
        " --release"
    } else {
        ""
    };
    anyhow::ensure!(
        pix.is_file(),
        "pix is not in {}: build the switch with `cargo build{release} --bins`, or say --pix PATH",
        folder.display()
    );
    Ok(pix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_pix_writes_them() {
        let text = "database.url = \"postgres://a\"\ndatabase.owner_url = \"postgres://b\"\nlisten = \"x\"\n";
        assert_eq!(
            setting(text, "database.owner_url").as_deref(),
            Some("postgres://b")
        );
        assert_eq!(setting(text, "listen").as_deref(), Some("x"));
        assert_eq!(setting(text, "redis.url"), None);
    }

    #[test]
    fn a_folder_without_a_switch_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = Instance::running("pix".into(), folder.path()).err().unwrap();
        assert!(error.to_string().contains("pix up"), "{error}");
        fs::write(folder.path().join("instance.toml"), "port_offset = 440\n").unwrap();
        let instance = Instance::running("pix".into(), folder.path()).unwrap();
        assert_eq!((instance.port(4002), instance.is_own()), (4442, false));
    }
}
