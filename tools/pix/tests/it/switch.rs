//! A running switch with two banks, in a folder and on ports of its own.

use std::fs::{self, File, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pix_testkit::eventually;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::MutexGuard;
use tokio::task::JoinHandle;

use crate::http::Http;

/// The program under test; `spi` and `bank` lie beside it.
pub(crate) const PIX: &str = env!("CARGO_BIN_EXE_pix");

const START_WITHIN: Duration = Duration::from_secs(90);
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// The two banks: their ISPB and an account that can pay and be paid.
pub(crate) const A: Bank = Bank {
    ispb: "11111111",
    port: 4101,
    number: "100001",
    tax_id: "52998224725",
};
pub(crate) const B: Bank = Bank {
    ispb: "22222222",
    port: 4102,
    number: "200001",
    tax_id: "70020050496",
};

/// A bank, and an account of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bank {
    pub(crate) ispb: &'static str,
    port: u16,
    pub(crate) number: &'static str,
    pub(crate) tax_id: &'static str,
}

impl Bank {
    /// Name of its process.
    pub(crate) fn process(self) -> String {
        format!("bank-{}", self.ispb)
    }
}

/// `pix up`, running.
#[derive(Debug)]
pub(crate) struct Switch {
    pub(crate) home: Home,
    child: Child,
    /// What it has printed so far.
    printed: Arc<Mutex<String>>,
    /// Read its two outputs.
    readers: Vec<JoinHandle<()>>,
    pub(crate) http: Http,
}

/// The folder and the ports of an instance; both are given back at the end.
#[derive(Debug)]
pub(crate) struct Home {
    folder: tempfile::TempDir,
    offset: u16,
    /// One test at a time, where all of them share a process (cargo test); nextest has a test group for it.
    _turn: Option<MutexGuard<'static, ()>>,
    _offset_is_ours: File,
    /// Added to the environment of `pix`.
    env: Vec<(String, String)>,
}

impl Home {
    pub(crate) async fn new() -> Self {
        static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        Self {
            _turn: Some(TURN.lock().await),
            ..Self::beside_another()
        }
    }

    /// For the test that has a switch already.
    pub(crate) fn beside_another() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("pix-it-")
            .tempdir()
            .expect("a folder can be made");
        // User postgres, whom root runs the database as, has to get through.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).expect("the folder is ours");
        let (offset, lock) = take_offset();
        Self {
            folder,
            offset,
            _offset_is_ours: lock,
            _turn: None,
            env: Vec::new(),
        }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("pix")
    }

    /// A variable for every `pix` of this instance, and what it starts.
    pub(crate) fn set(&mut self, name: impl Into<String>, value: &str) {
        self.env.push((name.into(), value.to_owned()));
    }

    pub(crate) fn port(&self, base: u16) -> u16 {
        base + self.offset
    }

    /// `pix` with this instance's folder and ports.
    pub(crate) fn pix(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PIX);
        command
            .arg("--dir")
            .arg(self.dir())
            .args(["--port-offset", &self.offset.to_string()])
            .args(arguments)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs `pix` to its end: whether it succeeded, and both outputs.
    pub(crate) async fn run(&self, arguments: &[&str]) -> (bool, String) {
        let out = self.pix(arguments).output().await.expect("pix starts");
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        (out.status.success(), text)
    }

    /// Starts everything and waits until the command says that it serves.
    pub(crate) async fn up(self, arguments: &[&str]) -> Switch {
        let mut all = vec!["up"];
        all.extend(arguments);
        let mut child = self
            .pix(&all)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("pix starts");
        let printed = Arc::new(Mutex::new(String::new()));
        let outputs: [Box<dyn tokio::io::AsyncRead + Send + Unpin>; 2] = [
            Box::new(child.stdout.take().expect("piped")),
            Box::new(child.stderr.take().expect("piped")),
        ];
        let read = |output| tokio::spawn(keep_lines(BufReader::new(output), Arc::clone(&printed)));
        let readers = outputs.map(read).into();
        let mut switch = Switch {
            home: self,
            child,
            printed,
            readers,
            http: Http::new(),
        };
        switch
            .until_printed("Ctrl-C stops everything", START_WITHIN)
            .await;
        switch
    }
}

async fn keep_lines(output: impl tokio::io::AsyncBufRead + Unpin, printed: Arc<Mutex<String>>) {
    let mut lines = output.lines();
    while let Ok(Some(line)) = lines.next_line().await {
        eprintln!("{line}");
        let mut printed = printed.lock().expect("no holder panics");
        printed.push_str(&line);
        printed.push('\n');
    }
}

impl Switch {
    /// A new instance, without the payment that `pix up` makes by itself.
    pub(crate) async fn new() -> Self {
        Home::new().await.up(&["--no-payment"]).await
    }

    pub(crate) fn printed(&self) -> String {
        self.printed.lock().expect("no holder panics").clone()
    }

    pub(crate) async fn until_printed(&mut self, text: &str, within: Duration) {
        let asked = Instant::now();
        while !self.printed().contains(text) {
            if let Some(status) = self.child.try_wait().expect("our child") {
                panic!(
                    "pix up ended with {status} before it said {text:?}:\n{}",
                    self.printed()
                );
            }
            assert!(
                asked.elapsed() < within,
                "pix up did not say {text:?}:\n{}",
                self.printed()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Process ids, by name; all of them live.
    pub(crate) async fn processes(&self) -> Vec<(String, u32)> {
        let (_, text) = self.home.run(&["status", "--json", "--over", "0"]).await;
        let status: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
        let entries = status["processes"].as_array().expect("processes").clone();
        entries
            .iter()
            .filter_map(|entry| {
                let pid = entry["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())?;
                Some((entry["name"].as_str()?.to_owned(), pid))
            })
            .collect()
    }

    /// Waits for it while it is being started again.
    pub(crate) async fn pid(&self, name: &str) -> u32 {
        eventually(&format!("{name} runs"), Duration::from_secs(30), async || {
            let processes = self.processes().await;
            processes
                .iter()
                .find(|(found, _)| found == name)
                .map(|(_, pid)| *pid)
        })
        .await
    }

    /// SIGKILL; gives the pid that it had. One that ends by itself meanwhile (a service gives up when it starts
    /// while Postgres is away) counts for nothing: the next of its name is killed.
    pub(crate) async fn kill(&self, name: &str) -> u32 {
        eventually(
            &format!("{name} is killed"),
            Duration::from_secs(30),
            async || {
                let pid = self.pid(name).await;
                sent("KILL", pid).await.then_some(pid)
            },
        )
        .await
    }

    /// Waits until `pix` has started another process of that name and it serves.
    pub(crate) async fn until_restarted(&self, name: &str, old: u32) {
        eventually(
            &format!("{name} serves again"),
            Duration::from_secs(30),
            async || {
                let (_, text) = self.home.run(&["status", "--json", "--over", "0"]).await;
                let status: Value = serde_json::from_str(&text).ok()?;
                let entry = status["processes"]
                    .as_array()?
                    .iter()
                    .find(|entry| entry["name"] == name)?
                    .clone();
                (entry["pid"].as_u64()? != u64::from(old) && entry["health"] == "ready").then_some(())
            },
        )
        .await;
    }

    pub(crate) fn bank_port(&self, bank: Bank) -> u16 {
        self.home.port(bank.port)
    }

    pub(crate) fn ops_port(&self) -> u16 {
        self.home.port(5002)
    }

    /// Goes away as a terminal does, or the reader of a pipe.
    pub(crate) async fn close_outputs(&mut self) {
        for reader in self.readers.drain(..) {
            reader.abort();
            drop(reader.await);
        }
    }

    /// Ctrl-C, and nothing is left: no process, no port.
    pub(crate) async fn stop(self) -> Home {
        self.stop_by("INT").await
    }

    pub(crate) async fn stop_by(mut self, name: &str) -> Home {
        let processes = self.processes().await;
        signal(name, self.child.id().expect("it runs")).await;
        let status = tokio::time::timeout(STOP_WITHIN, self.child.wait())
            .await
            .expect("pix ends")
            .expect("our child");
        assert!(
            status.success(),
            "pix up ended with {status}:\n{}",
            self.printed()
        );
        for (name, pid) in processes {
            assert!(
                !is_alive(pid),
                "{name} (pid {pid}) outlived pix:\n{}",
                self.printed()
            );
        }
        self.home
    }

    /// SIGKILL to `pix` itself.
    pub(crate) async fn kill_supervisor(mut self) -> (Home, Vec<(String, u32)>) {
        let processes = self.processes().await;
        self.child.kill().await.expect("our child");
        (self.home, processes)
    }
}

pub(crate) async fn signal(name: &str, pid: u32) {
    assert!(sent(name, pid).await, "no process {pid} to send {name} to");
}

/// Whether there was a process to send it to.
async fn sent(name: &str, pid: u32) -> bool {
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()])
        .status()
        .await;
    status.expect("sh starts").success()
}

/// A zombie is dead.
pub(crate) fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('Z'))
    })
}

/// An offset whose ports are free, held by a lock so that tests beside us take another.
fn take_offset() -> (u16, File) {
    const BASES: [u16; 16] = [
        4001, 4011, 6001, 5001, 4002, 4012, 5002, 6002, 4003, 5003, 5009, 4101, 4102, 4432, 4379, 4222,
    ];
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    (1..60)
        .map(|step| step * 440)
        .find_map(|offset: u16| {
            let lock = File::create(lock_path(offset)).ok()?;
            lock.try_lock().ok()?;
            BASES
                .iter()
                .all(|base| is_free(base + offset))
                .then_some((offset, lock))
        })
        .expect("some ports are free")
}

fn lock_path(offset: u16) -> PathBuf {
    Path::new(&std::env::temp_dir()).join(format!("pix-it-offset-{offset}.lock"))
}
