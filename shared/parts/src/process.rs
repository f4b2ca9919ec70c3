//! A child process that never outlives us.

use std::collections::BTreeMap;
use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::{PartError, Probe, RunAs};

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// For people and logs: `postgres`, `spi`, `bank 11111111`.
    pub name: String,
    /// The executable, by path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables added to our own environment.
    pub env: BTreeMap<String, String>,
    /// Its working folder; ours when absent.
    pub dir: Option<PathBuf>,
    /// The user it changes to; ours when absent.
    pub run_as: Option<RunAs>,
    /// Asks it to end in good order. Also what it gets when we die.
    pub stop_signal: Signal,
    /// Where its standard output and error are appended.
    pub log: PathBuf,
    /// How to tell that it serves.
    pub probe: Probe,
}

/// The signals a supervisor sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// End in good order.
    Terminate,
    /// Ctrl-C; to Postgres: end now, in good order, without waiting for its clients.
    Interrupt,
    /// Cannot be refused.
    Kill,
}

impl Signal {
    fn number(self) -> libc::c_int {
        match self {
            Self::Terminate => libc::SIGTERM,
            Self::Interrupt => libc::SIGINT,
            Self::Kill => libc::SIGKILL,
        }
    }
}

impl ProcessSpec {
    /// Starts the process: own process group (a Ctrl-C in the terminal reaches only us, and we decide the
    /// order), no standard input, output appended to the log, and its stop signal when we die.
    ///
    /// # Errors
    /// [`PartError::File`] when the log cannot be opened, [`PartError::Spawn`] when the program cannot.
    pub async fn spawn(&self) -> Result<Process, PartError> {
        let child = spawn_for_life(self.command()?)
            .await
            .map_err(|source| PartError::Spawn {
                name: self.name.clone(),
                source,
            })?;
        Ok(Process {
            spec: self.clone(),
            child,
        })
    }

    fn command(&self) -> Result<Command, PartError> {
        let opened = || {
            OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&self.log)
                .and_then(|log| {
                    // One of an earlier version was readable by everybody.
                    log.set_permissions(Permissions::from_mode(0o600))?;
                    Ok(log)
                })
                .map_err(PartError::file("write", &self.log))
        };
        if let Some(folder) = self.log.parent() {
            std::fs::create_dir_all(folder).map_err(PartError::file("make", folder))?;
        }
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(opened()?)
            .stderr(opened()?)
            .process_group(0)
            .kill_on_drop(true);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        if let Some(user) = self.run_as {
            command.uid(user.uid).gid(user.gid);
        }
        die_with_parent(&mut command, self.stop_signal);
        Ok(command)
    }
}

/// A running process. Dropped, it is killed; use [`Process::stop`] to end it in good order.
#[derive(Debug)]
pub struct Process {
    spec: ProcessSpec,
    child: Child,
}

impl Process {
    /// What it was started from.
    #[must_use]
    pub fn spec(&self) -> &ProcessSpec {
        &self.spec
    }

    /// Its process id, until it has been waited for.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it answers its probe.
    ///
    /// # Errors
    /// [`PartError::NotReady`] when it ends first or does not answer in time, with the end of its log.
    pub async fn ready(&mut self, within: Duration) -> Result<(), PartError> {
        let Self { spec, child } = self;
        tokio::select! {
            () = spec.probe.until_ready() => Ok(()),
            ended = child.wait() => {
                let how = ended.map_or_else(|e| e.to_string(), |status| status.to_string());
                Err(PartError::not_ready(&spec.name, format!("ended with {how}"), &spec.log))
            }
            () = tokio::time::sleep(within) => Err(PartError::silent(&spec.name, within, &spec.log)),
        }
    }

    /// Waits for its end. Safe to drop and call again.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Sends a signal; one to a process that has ended goes nowhere.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match self.pid().map(libc::pid_t::try_from) {
            Some(Ok(pid)) => send(pid, signal),
            Some(Err(_)) | None => Ok(()),
        }
    }

    /// Asks it to end, waits `grace`, then kills it. When this returns the process is gone.
    ///
    /// # Errors
    /// [`PartError::Stop`] when the system cannot signal or wait.
    pub async fn stop(&mut self, grace: Duration) -> Result<ExitStatus, PartError> {
        self.stop_by(self.spec.stop_signal, grace).await
    }

    /// As [`Process::stop`], with another first signal: `Signal::Kill` for the rehearsal of a crash.
    ///
    /// # Errors
    /// As [`Process::stop`].
    pub async fn stop_by(&mut self, first: Signal, grace: Duration) -> Result<ExitStatus, PartError> {
        let failed = |source| PartError::Stop {
            name: self.spec.name.clone(),
            source,
        };
        self.signal(first).map_err(failed)?;
        if let Ok(ended) = tokio::time::timeout(grace, self.child.wait()).await {
            return ended.map_err(|source| PartError::Stop {
                name: self.spec.name.clone(),
                source,
            });
        }
        let name = self.spec.name.clone();
        self.child.kill().await.map_err(|source| PartError::Stop {
            name: name.clone(),
            source,
        })?;
        self.child
            .wait()
            .await
            .map_err(|source| PartError::Stop { name, source })
    }
}

/// Runs a program to its end and gives what it wrote to standard error when it fails.
pub(crate) async fn run_to_end(name: &str, mut command: Command) -> Result<(), PartError> {
    die_with_parent(&mut command, Signal::Kill);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let failed = |source| PartError::Spawn {
        name: name.to_owned(),
        source,
    };
    let out = spawn_for_life(command)
        .await
        .map_err(failed)?
        .wait_with_output()
        .await
        .map_err(failed)?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(failed(io::Error::other(format!(
        "{}: {}",
        out.status,
        said.trim()
    ))))
}

/// Has the kernel signal the child when we die, however we die.
fn die_with_parent(command: &mut Command, signal: Signal) {
    let parent = libc::pid_t::try_from(std::process::id()).expect("a pid fits pid_t");
    let signal = libc::c_ulong::try_from(signal.number()).expect("signal numbers are positive");
    let before_exec = move || {
        #[expect(
            unsafe_code,
            reason = "two system calls without memory arguments; no safe wrapper in std"
        )]
        // SAFETY: prctl and getppid are async-signal-safe and touch none of our memory.
        let orphaned = unsafe {
            if libc::prctl(libc::PR_SET_PDEATHSIG, signal) != 0 {
                return Err(io::Error::last_os_error());
            }
            libc::getppid() != parent // we died before the call above
        };
        if orphaned {
            Err(io::Error::other("the parent is gone"))
        } else {
            Ok(())
        }
    };
    #[expect(
        unsafe_code,
        reason = "pre_exec runs between fork and exec, where allocation is not allowed"
    )]
    // SAFETY: the closure allocates nothing and takes no lock: it makes two system calls.
    unsafe {
        command.pre_exec(before_exec);
    }
}

fn send(pid: libc::pid_t, signal: Signal) -> io::Result<()> {
    #[expect(
        unsafe_code,
        reason = "one system call without memory arguments; no safe wrapper in std"
    )]
    // SAFETY: kill takes two integers. The pid is ours until waited for, so it names our child.
    let refused = unsafe { libc::kill(pid, signal.number()) } != 0;
    if refused {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Spawns on a thread that lives as long as this process.
///
/// The parent-death signal is sent when the *thread* that forked ends. Worker threads of a runtime end with
/// the runtime, and a test's runtime ends with the test: children would die under whoever shares them.
async fn spawn_for_life(command: Command) -> io::Result<Child> {
    struct Job {
        command: Command,
        runtime: Handle,
        answer: oneshot::Sender<io::Result<Child>>,
    }
    static SPAWNER: OnceLock<mpsc::SyncSender<Job>> = OnceLock::new();
    const WAITING_MAX: usize = 64;
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = mpsc::sync_channel::<Job>(WAITING_MAX);
        let work = move || {
            for mut job in inbox {
                let _runtime = job.runtime.enter();
                // Nobody waits any more: the child is dropped here, and so killed.
                drop(job.answer.send(job.command.spawn()));
            }
        };
        std::thread::Builder::new()
            .name("spawner".into())
            .spawn(work)
            .expect("a thread can be made");
        jobs
    });
    let (answer, child) = oneshot::channel();
    let job = Job {
        command,
        runtime: Handle::current(),
        answer,
    };
    spawner
        .send(job)
        .map_err(|_| io::Error::other("the spawner thread is gone"))?;
    child
        .await
        .map_err(|_| io::Error::other("the spawner thread is gone"))?
}

/// Makes a folder and its parents.
pub(crate) fn make_folder(path: &Path) -> Result<(), PartError> {
    std::fs::create_dir_all(path).map_err(PartError::file("make", path))
}
