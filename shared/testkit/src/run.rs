//! The parts of one test run: one Postgres, Redis and NATS for all its test processes.
//!
//! nextest runs every test in a process of its own, `cargo test` one for each crate. The first that asks
//! starts a keeper (`keeper.sh`) in a session of its own; the others join. The keeper ends with the runner
//! (nextest, cargo, a shell) or when nobody has used the parts for a while, and leaves nothing behind.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result};
use pix_parts::{Nats, Postgres, PostgresSize, ProcessSpec, READY_WITHIN, Redis, Signal, free_port};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The parts that every test process of a run shares. Never stop them: [`crate::OwnParts`] are for that.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The run's folder; it goes when the run is over.
    pub folder: PathBuf,
    /// The cluster; see [`crate::database`].
    pub postgres: Postgres,
    /// Shared: take a [`crate::unique_prefix`] for keys.
    pub redis: Redis,
    /// Shared: take a [`crate::unique_prefix`] for subjects and streams.
    pub nats: Nats,
}

/// The parts of this run, started by whoever asks first.
///
/// # Panics
/// When they cannot be started; the message has the fix.
pub async fn parts() -> &'static Parts {
    static PARTS: OnceCell<Parts> = OnceCell::const_new();
    PARTS
        .get_or_init(|| async {
            join()
                .await
                .unwrap_or_else(|e| panic!("the parts for tests: {e:#}"))
        })
        .await
}

/// After this long without a test process the keeper ends, in tenths of a second.
const IDLE_TENTHS: u32 = 100;

async fn join() -> Result<Parts> {
    let runner = std::os::unix::process::parent_id();
    let run =
        std::env::var("NEXTEST_RUN_ID").or_else(|_| started_at(runner).map(|at| format!("{runner}-{at}")))?;
    let folder = std::env::temp_dir().join(format!("pix-test-{run}"));
    let lock_path = folder.with_extension("lock");
    let lock = tokio::task::spawn_blocking({
        let lock_path = lock_path.clone();
        move || lock_file(&lock_path)
    })
    .await??;
    fs::create_dir_all(&folder)?;
    hold_as_user(&folder)?;
    let known = fs::read_to_string(folder.join("ports.json")).ok();
    let ports = known.as_deref().map_or_else(Ports::free, Ports::read)?;
    let parts = Parts {
        postgres: Postgres::prepare(&folder.join("postgres"), ports.postgres, PostgresSize::Test).await?,
        redis: Redis::prepare(&folder.join("redis"), ports.redis)?,
        nats: Nats::prepare(&folder.join("nats"), ports.nats)?,
        folder,
    };
    if known.is_none() {
        start_keeper(&parts, runner, &lock_path)?;
    }
    let ready = async {
        while !parts.answer().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(READY_WITHIN, ready)
        .await
        .with_context(|| format!("they do not answer; see the logs in {}", parts.folder.display()))?;
    fs::write(parts.folder.join("ports.json"), ports.write())?;
    drop(lock);
    Ok(parts)
}

impl Parts {
    fn specs(&self) -> [ProcessSpec; 3] {
        [self.postgres.spec(), self.redis.spec(), self.nats.spec()]
    }

    async fn answer(&self) -> bool {
        for spec in self.specs() {
            if !spec.probe.ask().await {
                return false;
            }
        }
        true
    }
}

struct Ports {
    postgres: u16,
    redis: u16,
    nats: u16,
}

impl Ports {
    fn free() -> Result<Self> {
        Ok(Self {
            postgres: free_port()?,
            redis: free_port()?,
            nats: free_port()?,
        })
    }

    fn read(text: &str) -> Result<Self> {
        let ports: Value = serde_json::from_str(text)?;
        let port = |name: &str| -> Result<u16> {
            let number = ports[name]
                .as_u64()
                .with_context(|| format!("ports.json has no {name}"))?;
            Ok(u16::try_from(number)?)
        };
        Ok(Self {
            postgres: port("postgres")?,
            redis: port("redis")?,
            nats: port("nats")?,
        })
    }

    fn write(&self) -> String {
        json!({ "postgres": self.postgres, "redis": self.redis, "nats": self.nats }).to_string()
    }
}

/// Takes a lock, waiting for whoever has it. The keeper removes the file at the end: a lock on a file
/// that is gone is worth nothing, so it is taken again.
pub(crate) fn lock_file(path: &Path) -> io::Result<File> {
    loop {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        file.lock()?;
        if fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|ours| ours.ino() == there.ino())) {
            return Ok(file);
        }
    }
}

/// Tells the keeper that this process uses the parts, until it ends.
fn hold_as_user(folder: &Path) -> io::Result<()> {
    static HELD: OnceLock<File> = OnceLock::new();
    let users = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("users"))?;
    users.lock_shared()?;
    HELD.get_or_init(|| users);
    Ok(())
}

/// Writes the commands of the parts and starts the keeper in a session of its own.
fn start_keeper(parts: &Parts, runner: u32, lock: &Path) -> Result<()> {
    let commands = parts.folder.join("commands");
    fs::create_dir_all(&commands)?;
    for (order, spec) in parts.specs().iter().enumerate() {
        let file = format!("{order}-{}.{}", spec.name, signal_name(spec.stop_signal));
        fs::write(commands.join(file), command_of(spec))?;
    }
    let script = parts.folder.join("keeper.sh");
    fs::write(&script, include_str!("keeper.sh"))?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(parts.folder.join("keeper.log"))?;
    Command::new("setsid")
        .arg("--fork")
        .arg("sh")
        .arg(&script)
        .arg(runner.to_string())
        .arg(&parts.folder)
        .arg(lock)
        .arg(IDLE_TENTHS.to_string())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .status()
        .context("setsid, of Debian's util-linux, cannot be started")?;
    Ok(())
}

fn signal_name(signal: Signal) -> &'static str {
    match signal {
        Signal::Terminate => "TERM",
        Signal::Interrupt => "INT",
        Signal::Kill => "KILL",
    }
}

/// A shell script that becomes the part. `setpriv` sets the parent-death signal after it changed the user,
/// which would clear it.
fn command_of(spec: &ProcessSpec) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut words = vec![
        "exec setpriv --pdeathsig".to_owned(),
        signal_name(spec.stop_signal).to_owned(),
    ];
    if let Some(user) = spec.run_as {
        words.push(format!(
            "--reuid {} --regid {} --clear-groups",
            user.uid, user.gid
        ));
    }
    words.push(quoted(&spec.program.display().to_string()));
    words.extend(spec.args.iter().map(|arg| quoted(arg)));
    format!(
        "{} >>{} 2>&1\n",
        words.join(" "),
        quoted(&spec.log.display().to_string())
    )
}

/// When a process started, in the kernel's ticks: with its id it names it, for ids come again.
fn started_at(pid: u32) -> Result<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    Ok(after_name
        .split(' ')
        .nth(19)
        .context("/proc/PID/stat is too short")?
        .to_owned())
}
