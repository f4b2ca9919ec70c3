//! Postgres: a cluster of ours, durable settings, loopback and a socket in its folder.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{OpenOptions, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::process::{make_folder, run_to_end};
use crate::{PartError, Probe, ProcessSpec, RunAs, Signal, packages};

/// How much memory and disk the cluster may take. Durability is the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresSize {
    /// 512 MB of buffers, WAL up to 4 GB.
    Service,
    /// 64 MB of buffers, WAL up to 1 GB.
    Test,
}

/// A private Postgres cluster.
///
/// Folder: `data/` the cluster, `run/` its socket, `password` of every role (mode 0600: who can read it can
/// connect), `postgres.log`. All of it belongs to user `postgres` when we are root.
#[derive(Clone, Debug)]
pub struct Postgres {
    dir: PathBuf,
    port: u16,
    size: PostgresSize,
    run_as: Option<RunAs>,
    server: PathBuf,
    pg_isready: PathBuf,
    password: String,
}

/// The owner of the cluster and of every database: migrations run as this role.
const OWNER: &str = "pix";

/// The longest path of a Unix socket on Linux, in bytes.
const SOCKET_PATH_MAX: usize = 107;

impl Postgres {
    /// Makes the cluster once (`initdb`), or finds it again.
    ///
    /// # Errors
    /// [`PartError`], each with its fix; [`PartError::Unreachable`] when we are root and user `postgres`
    /// cannot get to `dir`.
    pub async fn prepare(dir: &Path, port: u16, size: PostgresSize) -> Result<Self, PartError> {
        let server = packages::postgres_program("postgres")?;
        let pg_isready = packages::postgres_program("pg_isready")?;
        let run_as = RunAs::postgres()?;
        make_folder(dir)?;
        let dir = dir.canonicalize().map_err(PartError::file("find", dir))?;
        make_folder(&dir.join("run"))?;
        for folder in [&dir, &dir.join("run")] {
            std::fs::set_permissions(folder, Permissions::from_mode(0o700))
                .map_err(PartError::file("restrict", folder))?;
        }
        if let Some(user) = run_as {
            user.own(&dir)?;
            user.own(&dir.join("run"))?;
            user.check_reach(&dir)?;
        }
        let password = read_or_make_password(&dir, run_as)?;
        let postgres = Self {
            dir,
            port,
            size,
            run_as,
            server,
            pg_isready,
            password,
        };
        postgres.init_once().await?;
        Ok(postgres)
    }

    /// `initdb` into a folder beside the real one, then a rename: a cut-off `initdb` leaves no half cluster.
    async fn init_once(&self) -> Result<(), PartError> {
        let data = self.data();
        if data.join("PG_VERSION").is_file() {
            return Ok(());
        }
        let unfinished = self.dir.join("data.new");
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(PartError::file("remove", &unfinished))?;
        }
        let mut initdb = Command::new(packages::postgres_program("initdb")?);
        initdb
            .args([
                "--username",
                OWNER,
                "--auth",
                "scram-sha-256",
                "--encoding",
                "UTF8",
                "--locale",
                "C.UTF-8",
                // The same order, by memcmp rather than the C library: every key of ours is text.
                "--lc-collate",
                "C",
            ])
            .arg("--pgdata")
            .arg(&unfinished)
            .arg("--pwfile")
            .arg(self.dir.join("password"))
            .current_dir(&self.dir);
        if let Some(user) = self.run_as {
            initdb.uid(user.uid).gid(user.gid);
        }
        run_to_end("initdb", initdb).await?;
        std::fs::rename(&unfinished, &data).map_err(PartError::file("make", &data))
    }

    /// How to run it.
    #[must_use]
    pub fn spec(&self) -> ProcessSpec {
        let (buffers, wal) = match self.size {
            PostgresSize::Service => ("512MB", "4GB"),
            PostgresSize::Test => ("64MB", "1GB"),
        };
        let sockets = self
            .sockets()
            .map_or_else(String::new, |dir| dir.display().to_string());
        let settings = [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", &sockets),
            ("max_connections", "200"),
            ("shared_buffers", buffers),
            ("max_wal_size", wal),
            ("wal_compression", "off"),
            ("fsync", "on"),
            ("full_page_writes", "on"),
            ("synchronous_commit", "on"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            // Rows and statements hold what people pay whom: the log gets the error, never its DETAIL or STATEMENT.
            ("log_error_verbosity", "terse"),
            ("log_min_error_statement", "panic"),
        ];
        let mut args = vec![
            "-D".to_owned(),
            self.data().display().to_string(),
            "-p".to_owned(),
            self.port.to_string(),
        ];
        for (key, value) in settings {
            args.extend(["-c".to_owned(), format!("{key}={value}")]);
        }
        ProcessSpec {
            name: "postgres".into(),
            program: self.server.clone(),
            args,
            env: BTreeMap::new(),
            dir: Some(self.dir.clone()),
            run_as: self.run_as,
            stop_signal: Signal::Interrupt,
            log: self.dir.join("postgres.log"),
            probe: Probe::Postgres {
                program: self.pg_isready.clone(),
                port: self.port,
            },
        }
    }

    /// The owner's URL of a database: `postgres://pix:…@127.0.0.1:4432/spi`. A secret.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_as(OWNER, database)
    }

    /// Another role's URL; the role has to be created with [`Postgres::password`].
    #[must_use]
    pub fn url_as(&self, role: &str, database: &str) -> String {
        format!(
            "postgres://{role}:{}@127.0.0.1:{}/{database}",
            self.password, self.port
        )
    }

    /// The same through a socket of the file system, where there is one: half the cost of an exchange.
    #[must_use]
    pub fn near_url_as(&self, role: &str, database: &str) -> String {
        let url = self.url_as(role, database);
        let dir = self.sockets().map(|dir| dir.display().to_string());
        let is_plain = |dir: &String| {
            dir.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b))
        };
        match dir.filter(is_plain) {
            Some(dir) => format!("{url}?host={dir}"),
            None => url,
        }
    }

    /// The folder of its sockets; none when its path is too long for one.
    fn sockets(&self) -> Option<PathBuf> {
        let run = self.dir.join("run");
        let longest = run.join(".s.PGSQL.65535.lock");
        (longest.as_os_str().len() <= SOCKET_PATH_MAX).then_some(run)
    }

    /// The password of every role of this cluster: 32 hexadecimal digits. A secret.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
}

fn read_or_make_password(dir: &Path, owner: Option<RunAs>) -> Result<String, PartError> {
    let path = dir.join("password");
    if let Ok(password) = std::fs::read_to_string(&path) {
        return Ok(password.trim().to_owned());
    }
    let mut entropy = [0_u8; 16];
    let random = Path::new("/dev/urandom");
    let mut source = std::fs::File::open(random).map_err(PartError::file("read", random))?;
    source
        .read_exact(&mut entropy)
        .map_err(PartError::file("read", random))?;
    let password = entropy.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    });
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(password.as_bytes())?;
            file.set_permissions(Permissions::from_mode(0o600))
        })
        .map_err(PartError::file("write", &path))?;
    if let Some(user) = owner {
        user.own(&path)?;
    }
    Ok(password)
}
