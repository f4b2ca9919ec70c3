//! The machine that a run has: who uses its processors and memory, what the host took away, what a disk's sync costs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::number::{float, median, share};

/// What stays the same during a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processors: u64,
    pub(crate) model: String,
    pub(crate) memory_mb: u64,
    pub(crate) kernel: String,
    /// Median of a write of 8 KiB with `fdatasync`, in the folder of the switch.
    pub(crate) fsync_us: f64,
}

impl Machine {
    /// Looks at it; `folder` is on the disk that counts.
    pub(crate) fn look(folder: &Path) -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned());
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            processors: crate::number::wide(
                std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            ),
            model: model.unwrap_or_default(),
            memory_mb: field(&memory, "MemTotal:") / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            fsync_us: fsync_us(folder).unwrap_or_default(),
        }
    }
}

/// Memory that is free for the taking, in MB.
pub(crate) fn memory_available_mb() -> u64 {
    field(
        &fs::read_to_string("/proc/meminfo").unwrap_or_default(),
        "MemAvailable:",
    ) / 1024
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

/// What a COMMIT waits for, at least: the median of a hundred writes of a page, each with its sync.
fn fsync_us(folder: &Path) -> std::io::Result<f64> {
    const WRITES: usize = 100;
    let path = folder.join("fsync-test");
    let mut file = fs::File::create(&path)?;
    let page = [7_u8; 8192];
    let mut costs = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        file.seek(SeekFrom::Start(0))?;
        let began = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        costs.push(began.elapsed().as_secs_f64() * 1e6);
    }
    drop(file);
    fs::remove_file(&path)?;
    Ok(median(costs).unwrap_or_default())
}

/// Processor time of the whole machine since it started, in ticks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ticks {
    total: u64,
    idle: u64,
    steal: u64,
}

impl Ticks {
    pub(crate) fn now() -> Self {
        Self::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    /// Of `cpu  user nice system idle iowait irq softirq steal guest guest_nice`; guests are in user already.
    fn parse(stat: &str) -> Self {
        let line = stat.lines().next().unwrap_or_default();
        let all: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|ticks| ticks.parse().ok())
            .collect();
        let at = |index: usize| all.get(index).copied().unwrap_or_default();
        Self {
            total: all.iter().sum(),
            idle: at(3) + at(4),
            steal: at(7),
        }
    }

    /// The part of the machine's time since `before` that the host gave to somebody else, 0 to 1.
    pub(crate) fn steal_since(self, before: Self) -> f64 {
        share(self.steal - before.steal.min(self.steal), self.since(before))
    }

    /// The part that was used, by anybody here.
    pub(crate) fn busy_since(self, before: Self) -> f64 {
        let idle = self.idle - before.idle.min(self.idle);
        let steal = self.steal - before.steal.min(self.steal);
        let total = self.since(before);
        share(total.saturating_sub(idle + steal), total)
    }

    fn since(self, before: Self) -> u64 {
        self.total.saturating_sub(before.total)
    }
}

/// Ticks a second: what `sysconf(_SC_CLK_TCK)` answers on every Linux of our time.
const TICKS_PER_SECOND: f64 = 100.0;

/// What one group of processes has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Used {
    /// Processors: 1 is one of them all the time.
    pub(crate) cpu: f64,
    /// Of its own: without what it shares, as the backends of Postgres share its buffers.
    pub(crate) memory_mb: f64,
}

/// Follows processes by name, each with its descendants (Postgres has a process a connection).
pub(crate) struct Watch {
    roots: Vec<(String, u32)>,
    /// Ticks by process at the last look: those that have ended since keep what they had.
    known: BTreeMap<u32, u64>,
    looked: Instant,
}

/// One line of /proc/PID/stat.
struct Stat {
    pid: u32,
    parent: u32,
    ticks: u64,
    /// Resident and not shared.
    pages: u64,
}

const PAGE_KB: f64 = 4.0;

impl Watch {
    pub(crate) fn of(roots: Vec<(String, u32)>) -> Self {
        let mut watch = Self {
            roots,
            known: BTreeMap::new(),
            looked: Instant::now(),
        };
        watch.look();
        watch
    }

    /// By name, since the last look.
    pub(crate) fn look(&mut self) -> BTreeMap<String, Used> {
        let all: Vec<Stat> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(stat)
            .collect();
        let seconds = self.looked.elapsed().as_secs_f64().max(1e-3);
        self.looked = Instant::now();
        let mut used = BTreeMap::new();
        let mut now = BTreeMap::new();
        for (name, root) in &self.roots {
            let mut members = vec![*root];
            let mut next = 0;
            while let Some(parent) = members.get(next).copied() {
                let children = all.iter().filter(|stat| stat.parent == parent);
                // Not those that are watched under a name of their own: `pix` is the parent of all.
                members.extend(
                    children
                        .map(|stat| stat.pid)
                        .filter(|pid| !self.roots.iter().any(|(_, root)| root == pid)),
                );
                next += 1;
            }
            let one: &mut Used = used.entry(name.clone()).or_default();
            for stat in all.iter().filter(|stat| members.contains(&stat.pid)) {
                // One that is new since the last look has used all of its time since.
                let before = self.known.get(&stat.pid).copied().unwrap_or_default();
                one.cpu += float(stat.ticks.saturating_sub(before)) / TICKS_PER_SECOND / seconds;
                one.memory_mb += float(stat.pages) * PAGE_KB / 1024.0;
                now.insert(stat.pid, stat.ticks);
            }
        }
        self.known = now;
        used
    }
}

fn stat(entry: std::io::Result<fs::DirEntry>) -> Option<Stat> {
    let entry = entry.ok()?;
    let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
    let text = fs::read_to_string(entry.path().join("stat")).ok()?;
    let memory = fs::read_to_string(entry.path().join("statm")).unwrap_or_default();
    parse_stat(pid, &text, &memory)
}

/// The name in parentheses may hold anything, parentheses too: what counts stands after the last.
fn parse_stat(pid: u32, text: &str, memory: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    // `size resident shared ...`
    let pages = |index: usize| -> u64 {
        let number = memory.split_whitespace().nth(index);
        number.and_then(|number| number.parse().ok()).unwrap_or_default()
    };
    Some(Stat {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        ticks: number(11)? + number(12)?,
        pages: pages(1).saturating_sub(pages(2)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_times_are_read_as_linux_writes_them() {
        let before = Ticks::parse("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 2 3\n");
        let after = Ticks::parse("cpu  140 0 110 820 10 0 0 20 30 0\n");
        assert!((after.steal_since(before) - 0.2).abs() < 1e-9);
        assert!((after.busy_since(before) - 0.5).abs() < 1e-9);
        assert!(before.steal_since(before) < 1e-9);
    }

    #[test]
    fn a_process_may_be_called_anything() {
        let line =
            "42 (a) b (c) S 7 1 1 0 -1 4194304 1 0 0 0 30 12 0 0 20 0 1 0 5 1000 256 18446744073709551615";
        let stat = parse_stat(42, line, "1000 356 100 1 0 2 0").expect("a line of Linux");
        assert_eq!((stat.parent, stat.ticks, stat.pages), (7, 42, 256));
        assert!(parse_stat(1, "nonsense", "").is_none());
    }

    #[test]
    fn a_watch_sees_this_process() {
        let mut watch = Watch::of(vec![("us".to_owned(), std::process::id())]);
        let used = watch.look();
        assert!(used["us"].memory_mb > 0.0, "{used:?}");
    }

    #[test]
    fn a_sync_costs_something() {
        let folder = tempfile::tempdir().unwrap();
        assert!(fsync_us(folder.path()).unwrap() > 0.0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
