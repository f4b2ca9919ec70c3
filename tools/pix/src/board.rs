//! Who runs, with which pid: a small file that `status`, `down` and the tests read.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::place::{Place, write_private};

/// The content of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// The supervising `pix`.
    pub(crate) pid: u32,
    /// Everything answered its readiness question once.
    pub(crate) ready: bool,
    pub(crate) processes: Vec<Entry>,
}

/// One supervised process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Absent between its end and its restart.
    pub(crate) pid: Option<u32>,
    /// Where it answers: for HTTP processes the port of `/readyz`.
    pub(crate) port: u16,
    /// Whether `port` speaks HTTP.
    pub(crate) http: bool,
    pub(crate) ready: bool,
    pub(crate) restarts: u32,
}

/// The live board of the supervising process.
#[derive(Debug)]
pub(crate) struct Board {
    place: Place,
    now: Mutex<Snapshot>,
}

impl Board {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            now: Mutex::new(Snapshot {
                pid: std::process::id(),
                ready: false,
                processes: Vec::new(),
            }),
        }
    }

    pub(crate) fn enter(&self, name: &str, port: u16, http: bool) {
        let entry = Entry {
            name: name.to_owned(),
            pid: None,
            port,
            http,
            ready: false,
            restarts: 0,
        };
        self.change(|now| now.processes.push(entry));
    }

    pub(crate) fn update(&self, name: &str, change: impl FnOnce(&mut Entry)) {
        self.change(|now| {
            if let Some(entry) = now.processes.iter_mut().find(|entry| entry.name == name) {
                change(entry);
            }
        });
    }

    pub(crate) fn everything_is_ready(&self) {
        self.change(|now| now.ready = true);
    }

    /// A board that cannot be written blinds `status`, nothing else: say so and go on.
    fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut now);
        let written = serde_json::to_string_pretty(&*now)
            .map_err(anyhow::Error::from)
            .and_then(|text| write_private(&self.place.board_file(), &text));
        if let Err(error) = written {
            errln!("pix: {error:#}");
        }
    }
}

/// What the board of `place` says; nothing when there is none or it is half of another version.
pub(crate) fn read(place: &Place) -> Option<Snapshot> {
    serde_json::from_str(&std::fs::read_to_string(place.board_file()).ok()?).ok()
}
