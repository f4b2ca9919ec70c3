//! One instance: its folder and its ports.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use pix_domain::Ispb;
use serde::{Deserialize, Serialize};

/// What the folder remembers about itself. Its presence is also what tells our folder from any other.
const INSTANCE_FILE: &str = "instance.toml";

#[derive(Debug, Serialize, Deserialize)]
struct Instance {
    port_offset: u16,
    /// Where the database lives when its user cannot enter the folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    postgres_elsewhere: Option<PathBuf>,
}

/// The home of Debian's user postgres, who may be unable to enter a folder of root's.
const POSTGRES_HOME: &str = "/var/lib/postgresql";

/// Where one instance lives.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Absolute.
    pub(crate) dir: PathBuf,
    pub(crate) ports: Ports,
}

/// Held by the `pix up` that runs the instance; the system frees it however that process ends.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: File,
}

impl Place {
    /// The instance in `dir`. An offset given wins over the one that the folder remembers.
    pub(crate) fn find(dir: &Path, port_offset: Option<u16>) -> anyhow::Result<Self> {
        let dir = std::path::absolute(dir).with_context(|| {
            format!(
                "{} is no usable folder name: choose another with --dir",
                dir.display()
            )
        })?;
        let offset = match port_offset {
            Some(offset) => offset,
            None => remembered(&dir)?.map_or(0, |instance| instance.port_offset),
        };
        Ok(Self {
            dir,
            ports: Ports::at(offset)?,
        })
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn participants(&self) -> PathBuf {
        self.path("participants.toml")
    }

    pub(crate) fn customers(&self, ispb: Ispb) -> PathBuf {
        self.path(format!("customers-{ispb}.toml"))
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.path("run/pix.pid")
    }

    pub(crate) fn board_file(&self) -> PathBuf {
        self.path("run/processes.json")
    }

    /// Whether this folder was made by `pix up`.
    pub(crate) fn is_ours(&self) -> bool {
        self.path(INSTANCE_FILE).is_file()
    }

    /// Makes the folder; a new one remembers the offset. A folder with foreign content is left alone.
    pub(crate) fn create(&self) -> anyhow::Result<()> {
        let dir = self.dir.display();
        let is_new = !self.is_ours();
        if is_new
            && let Ok(mut entries) = self.dir.read_dir()
            && entries.next().is_some()
        {
            bail!("{dir} exists and was not made by pix: choose another folder with --dir, or empty it");
        }
        for sub in ["", "config", "logs", "pki", "run"] {
            private_dir(&self.path(sub))?;
        }
        // Postgres runs as another user when we are root, and must pass through.
        std::fs::set_permissions(&self.dir, std::fs::Permissions::from_mode(0o711)).with_context(|| {
            format!("the mode of {dir} cannot be set: make it yours with chown, or choose another --dir")
        })?;
        // Another offset than the remembered one may belong to a command that fails: see `remember_ports`.
        if is_new { self.remember_ports() } else { Ok(()) }
    }

    /// Where the instance is from now on. For the one who holds it, once its ports are known to be free.
    pub(crate) fn remember_ports(&self) -> anyhow::Result<()> {
        let postgres_elsewhere = remembered(&self.dir)?.and_then(|instance| instance.postgres_elsewhere);
        self.remember(&Instance {
            port_offset: self.ports.offset,
            postgres_elsewhere,
        })
    }

    fn remember(&self, instance: &Instance) -> anyhow::Result<()> {
        write_private(
            &self.path(INSTANCE_FILE),
            &toml::to_string(instance).context("instance.toml")?,
        )
    }

    /// Where the database lives.
    pub(crate) fn postgres_dir(&self) -> anyhow::Result<PathBuf> {
        let elsewhere = remembered(&self.dir)?.and_then(|instance| instance.postgres_elsewhere);
        Ok(elsewhere.unwrap_or_else(|| self.path("postgres")))
    }

    /// Moves the (still empty) place of the database to where its user can get.
    pub(crate) fn keep_postgres_elsewhere(&self) -> anyhow::Result<PathBuf> {
        let name: String = self
            .dir
            .display()
            .to_string()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let elsewhere = Path::new(POSTGRES_HOME).join(format!("pix{name}"));
        self.remember(&Instance {
            port_offset: self.ports.offset,
            postgres_elsewhere: Some(elsewhere.clone()),
        })?;
        remove_dir(&self.path("postgres"))?;
        Ok(elsewhere)
    }

    /// `name`, or `name-2`, `name-3`, … when that is taken.
    pub(crate) fn free_name(&self, name: &str) -> String {
        let numbered = (2..).map(|n: u32| format!("{name}-{n}"));
        std::iter::once(name.to_owned())
            .chain(numbered)
            .find(|name| !self.path(name).exists())
            .expect("a folder holds fewer than four billion names")
    }

    /// Forgets everything.
    pub(crate) fn purge(&self) -> anyhow::Result<()> {
        let postgres = self.postgres_dir()?;
        if postgres.starts_with(POSTGRES_HOME) || postgres.starts_with(&self.dir) {
            remove_dir(&postgres)?;
        }
        remove_dir(&self.dir)
    }

    /// Takes the instance for this process.
    pub(crate) fn hold(&self) -> anyhow::Result<Held> {
        // `pix status` takes the lock for a moment to see whether anybody has it.
        const TRIES: u32 = 10;
        let mut held = self.try_hold()?;
        for _ in 1..TRIES {
            if held.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
            held = self.try_hold()?;
        }
        match held {
            Some(held) => {
                write_private(&self.pid_file(), &std::process::id().to_string())?;
                Ok(held)
            }
            None => {
                let dir = self.dir.display();
                let who = self
                    .running_pid()
                    .map_or(String::new(), |pid| format!(" (process {pid})"));
                bail!(
                    "pix is already running in {dir}{who}: stop it with `pix --dir {dir} down`, or choose another --dir and --port-offset"
                )
            }
        }
    }

    /// The process that runs the instance, when one does.
    pub(crate) fn running_pid(&self) -> Option<u32> {
        if matches!(self.try_hold(), Ok(Some(_)) | Err(_)) {
            return None;
        }
        std::fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()
    }

    /// Nothing when another process has it.
    pub(crate) fn try_hold(&self) -> anyhow::Result<Option<Held>> {
        let path = self.path("run/lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| {
                format!(
                    "{} cannot be opened: make the folder yours with chown, or choose another --dir",
                    path.display()
                )
            })?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Held { _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| {
                format!(
                    "{} cannot be locked: choose a --dir on a local disk",
                    path.display()
                )
            }),
        }
    }
}

fn remembered(dir: &Path) -> anyhow::Result<Option<Instance>> {
    let path = dir.join(INSTANCE_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text)
            .with_context(|| format!("{} is damaged: remove the folder and start again", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| {
            format!(
                "{} cannot be read: make the folder yours with chown, or choose another --dir",
                path.display()
            )
        }),
    }
}

fn remove_dir(dir: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).with_context(|| {
            format!(
                "{} cannot be removed: remove it yourself, as its owner",
                dir.display()
            )
        }),
        _ => Ok(()),
    }
}

/// Makes `dir` for its owner alone.
pub(crate) fn private_dir(dir: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| {
            format!(
                "{} cannot be made: choose another folder with --dir, where you may write",
                dir.display()
            )
        })
}

/// Writes a file that its owner alone may read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    write_by_way_of(path, text, |_| Ok(()))
}

/// As [`write_private`], and when it returns, the file outlasts the machine's end.
pub(crate) fn write_lasting(path: &Path, text: &str) -> anyhow::Result<()> {
    write_by_way_of(path, text, File::sync_all)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("{} cannot be synchronized: check the disk", folder.display()))
}

fn write_by_way_of(
    path: &Path,
    text: &str,
    before_it_shows: impl Fn(&File) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let half = path.with_extension("half-written");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&half)?;
        file.write_all(text.as_bytes())?;
        before_it_shows(&file)?;
        std::fs::rename(&half, path)
    };
    write().with_context(|| {
        format!(
            "{} cannot be written: check the disk's space and the folder's owner",
            path.display()
        )
    })
}

/// What listens where; all on loopback.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    offset: u16,
}

/// Offsets of instances side by side are multiples of it: the ports of any two then differ. A test computes it.
const OFFSET_STEP: u16 = 440;

/// Every port we open, by the name of its use.
const USES: [(&str, u16); 16] = [
    ("dict", 4001),
    ("dict, checkKeys", 4011),
    ("dict, inside", 6001),
    ("dict, operations", 5001),
    ("spi, primary channel", 4002),
    ("spi, secondary channel", 4012),
    ("spi, operations", 5002),
    ("spi, inside", 6002),
    ("settlement, inside", 4003),
    ("settlement, operations", 5003),
    ("virtual participants", 5009),
    ("bank A", 4101),
    ("bank B", 4102),
    ("postgres", 4432),
    ("redis", 4379),
    ("nats", 4222),
];

impl Ports {
    fn at(offset: u16) -> anyhow::Result<Self> {
        let highest = USES.iter().map(|(_, base)| *base).max().unwrap_or_default();
        let most = u16::MAX - highest;
        if offset > most {
            bail!("--port-offset {offset} leads past port 65535: choose one up to {most}");
        }
        Ok(Self { offset })
    }

    fn plus(self, base: u16) -> u16 {
        // `at` has checked every sum.
        base.saturating_add(self.offset)
    }

    pub(crate) fn dict(self) -> u16 {
        self.plus(4001)
    }
    /// Where `checkKeys` is answered.
    pub(crate) fn dict_np(self) -> u16 {
        self.plus(4011)
    }
    /// gRPC, for the switch's own use.
    pub(crate) fn dict_inside(self) -> u16 {
        self.plus(6001)
    }
    pub(crate) fn dict_ops(self) -> u16 {
        self.plus(5001)
    }
    pub(crate) fn spi_primary(self) -> u16 {
        self.plus(4002)
    }
    pub(crate) fn spi_secondary(self) -> u16 {
        self.plus(4012)
    }
    /// gRPC, for the switch's own use.
    pub(crate) fn spi_inside(self) -> u16 {
        self.plus(6002)
    }
    pub(crate) fn spi_ops(self) -> u16 {
        self.plus(5002)
    }
    pub(crate) fn virtual_ops(self) -> u16 {
        self.plus(5009)
    }
    /// gRPC, for the switch's own use.
    pub(crate) fn settlement(self) -> u16 {
        self.plus(4003)
    }
    pub(crate) fn settlement_ops(self) -> u16 {
        self.plus(5003)
    }
    /// `index` from zero.
    pub(crate) fn bank(self, index: u16) -> u16 {
        self.plus(4101 + index)
    }
    pub(crate) fn postgres(self) -> u16 {
        self.plus(4432)
    }
    pub(crate) fn redis(self) -> u16 {
        self.plus(4379)
    }
    pub(crate) fn nats(self) -> u16 {
        self.plus(4222)
    }

    /// Every port of the process of this name, with its use; none for a name that we do not know.
    pub(crate) fn of(self, process: &str) -> Vec<(&'static str, u16)> {
        match process {
            "dict" => vec![
                ("api", self.dict()),
                ("check_keys", self.dict_np()),
                ("inside", self.dict_inside()),
                ("operations", self.dict_ops()),
            ],
            "spi" => vec![
                ("primary", self.spi_primary()),
                ("secondary", self.spi_secondary()),
                ("inside", self.spi_inside()),
                ("operations", self.spi_ops()),
            ],
            "settlement" => vec![
                ("inside", self.settlement()),
                ("operations", self.settlement_ops()),
            ],
            _ => Vec::new(),
        }
    }

    /// Every port that another program holds, with its use.
    pub(crate) fn all_busy(self) -> Vec<(&'static str, u16)> {
        let all = USES.iter().map(|(name, base)| (*name, self.plus(*base)));
        all.filter(|(_, port)| !is_free(*port)).collect()
    }

    /// The first port that another program holds, with its use.
    pub(crate) fn busy(self) -> Option<(&'static str, u16)> {
        USES.iter()
            .map(|(name, base)| (*name, self.plus(*base)))
            .find(|(_, port)| !is_free(*port))
    }

    /// An offset at which every port is free.
    pub(crate) fn free_offset() -> Option<u16> {
        // No use meets another use of any other instance; below the ephemeral ports.
        (0..60)
            .map(|step| step * OFFSET_STEP)
            .find(|offset| Self { offset: *offset }.busy().is_none())
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_some_steps_apart_share_no_port() {
        let ports = |offset: u16| USES.map(|(_, base)| base + offset);
        for step in 1..60 {
            assert!(
                ports(0)
                    .iter()
                    .all(|port| !ports(step * OFFSET_STEP).contains(port)),
                "{step}"
            );
        }
    }

    #[test]
    fn an_offset_past_the_last_port_names_the_largest() {
        let error = Ports::at(60_600).expect_err("6002 + 60600").to_string();
        assert!(error.contains("59533"), "{error}");
    }

    #[test]
    fn the_folder_remembers_its_offset_and_a_given_one_wins() {
        let dir = tempfile::tempdir().expect("tempdir");
        let dir = dir.path().join("x");
        Place::find(&dir, Some(400))
            .expect("find")
            .create()
            .expect("create");
        let remembered = || Place::find(&dir, None).expect("find").ports.nats();
        assert_eq!(remembered(), 4622);
        let other = Place::find(&dir, Some(600)).expect("find");
        assert_eq!(other.ports.nats(), 4822);
        other.create().expect("create");
        assert_eq!(remembered(), 4622, "nothing has started there yet");
        other.remember_ports().expect("remember");
        assert_eq!(remembered(), 4822);
    }

    #[test]
    fn a_folder_of_somebody_else_is_left_alone() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::write(dir.path().join("thesis.tex"), "x").expect("write");
        let error = Place::find(dir.path(), None)
            .expect("find")
            .create()
            .expect_err("foreign")
            .to_string();
        assert!(error.contains("not made by pix"), "{error}");
    }

    #[test]
    fn one_process_holds_an_instance() {
        let dir = tempfile::tempdir().expect("tempdir");
        let place = Place::find(&dir.path().join("x"), None).expect("find");
        place.create().expect("create");
        let held = place.hold().expect("free");
        assert_eq!(place.running_pid(), Some(std::process::id()));
        assert!(
            place
                .hold()
                .expect_err("held")
                .to_string()
                .contains("already running")
        );
        drop(held);
        assert_eq!(place.running_pid(), None);
    }
}
