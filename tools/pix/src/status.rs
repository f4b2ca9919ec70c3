//! `pix status`: what runs, in which version, on which ports, what waits in it and how much goes through it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::board::{self, Entry};
use crate::cli::Status;
use crate::http::Http;
use crate::metrics::Metrics;
use crate::place::{Place, Ports};

/// What a service counts, by the name that a person reads.
struct Counts {
    /// Metric and label of what waits.
    queues: &'static [(&'static str, &'static str)],
    /// Metric and label of what is counted up.
    rates: &'static [(&'static str, &'static str, &'static str)],
}

const SPI: Counts = Counts {
    queues: &[
        ("open", "spi_payments_open"),
        ("book", "spi_book_queue"),
        ("unformed", "spi_outbox_waiting"),
        ("unread", "spi_stream_depth"),
    ],
    rates: &[
        ("in", "spi_messages_total", ""),
        ("out", "spi_messages_read_total", ""),
        ("settled", "spi_payments_total", "state=\"settled\""),
        ("released", "spi_payments_total", "state=\"released\""),
        ("refused", "spi_payments_total", "state=\"refused\""),
    ],
};
const DICT: Counts = Counts {
    queues: &[],
    rates: &[
        ("requests", "dict_request_seconds_count", ""),
        ("limited", "dict_rate_limited_total", ""),
    ],
};
const BANK: Counts = Counts {
    queues: &[("posting", "bank_messages_on_their_way")],
    rates: &[
        ("posted", "bank_messages_posted_total", ""),
        ("heard", "bank_messages_total", ""),
        ("settled", "bank_payments_total", "state=\"settled\""),
        ("lookups", "bank_lookups_total", ""),
    ],
};
const VIRTUAL: Counts = Counts {
    queues: &[],
    rates: &[("paid", "virtual_payments_total", "")],
};
const SETTLEMENT: Counts = Counts {
    queues: &[
        ("funding", "settlement_funding_pending"),
        ("followers", "settlement_followers"),
    ],
    rates: &[("changes", "settlement_registry_changes_total", "")],
};
const NOTHING: Counts = Counts {
    queues: &[],
    rates: &[],
};

impl Counts {
    fn of(name: &str) -> &'static Self {
        match name {
            "spi" => &SPI,
            "dict" => &DICT,
            "settlement" => &SETTLEMENT,
            "virtual" => &VIRTUAL,
            bank if bank.starts_with("bank-") => &BANK,
            _ => &NOTHING,
        }
    }
}

/// One process, as it was found.
struct Row {
    entry: Entry,
    health: String,
    version: Option<String>,
    ports: Vec<(&'static str, u16)>,
    queues: Vec<(&'static str, f64)>,
    /// Per second.
    rates: Vec<(&'static str, f64)>,
}

pub(crate) async fn command(place: &Place, asked: &Status) -> anyhow::Result<ExitCode> {
    let running = place.running_pid();
    let snapshot = running.and_then(|_| board::read(place));
    let http = Http::new();
    let entries = snapshot.as_ref().map_or(&[][..], |snapshot| &snapshot.processes);
    let rows = rows(place, &http, entries, asked.over).await;
    let ready = snapshot.as_ref().is_some_and(|snapshot| snapshot.ready);
    if asked.json {
        let processes: Vec<_> = rows.iter().map(Row::to_json).collect();
        outln!(
            "{:#}",
            json!({
                "dir": place.dir, "pid": running, "ready": ready, "version": env!("CARGO_PKG_VERSION"),
                "processes": processes,
            })
        );
    } else if let Some(pid) = running {
        print(place, pid, ready, &rows);
    } else {
        outln!("nothing runs in {}: start it with `pix up`", place.dir.display());
    }
    let healthy = running.is_some() && ready && rows.iter().all(|row| row.health == "ready");
    Ok(if healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Looks twice, `over` apart: a rate is what was counted in between.
async fn rows(place: &Place, http: &Http, entries: &[Entry], over: Duration) -> Vec<Row> {
    let installed = pix_parts::installed();
    let mut before = Vec::new();
    let looked = Instant::now();
    if !over.is_zero() {
        for entry in entries {
            before.push(metrics(http, entry).await);
        }
        tokio::time::sleep(over).await;
    }
    let mut rows = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let health = health(http, entry).await;
        let counts = Counts::of(&entry.name);
        let now = metrics(http, entry).await;
        let span = looked.elapsed().as_secs_f64();
        let rate = |metric: &str, label: &str| {
            let (then, now) = (before.get(index)?, now.sum(metric, label)?);
            // A counter is there from its first increment on; a restart begins at zero.
            let then = then.sum(metric, label).unwrap_or_default();
            Some((now - then).max(0.0) / span)
        };
        let rates = counts.rates.iter().filter(|_| !over.is_zero());
        let version = match entry.http {
            true => version(http, entry).await,
            false => installed
                .iter()
                .find(|part| part.program.starts_with(entry.name.as_str()))
                .and_then(|part| part.version.as_ref().map(ToString::to_string)),
        };
        let mut queues: Vec<_> = counts
            .queues
            .iter()
            .filter_map(|(name, metric)| Some((*name, now.sum(metric, "")?)))
            .collect();
        queues.extend(asked_queues(http, entry).await);
        rows.push(Row {
            health,
            version,
            ports: ports(place.ports, &entry.name, entry.port),
            queues,
            rates: rates
                .map(|(name, metric, label)| (*name, rate(metric, label).unwrap_or_default()))
                .collect(),
            entry: entry.clone(),
        });
    }
    rows
}

async fn health(http: &Http, entry: &Entry) -> String {
    match entry.pid {
        None => "restarting".to_owned(),
        Some(_) if !entry.http && entry.ready => "ready".to_owned(),
        Some(_) if !entry.http => "starting".to_owned(),
        Some(_) => match http.get(entry.port, "/readyz").await {
            Ok(answer) if answer.is_success() => "ready".to_owned(),
            Ok(answer) => {
                let checks = answer.body["checks"].as_object();
                let waiting: Vec<_> = checks
                    .into_iter()
                    .flatten()
                    .filter(|(_, holds)| **holds == false)
                    .map(|(name, _)| name.as_str())
                    .collect();
                match waiting.is_empty() {
                    true => format!("not ready ({})", answer.status),
                    false => format!("not ready ({})", waiting.join(", ")),
                }
            }
            Err(_) => "silent".to_owned(),
        },
    }
}

async fn metrics(http: &Http, entry: &Entry) -> Metrics {
    if !entry.http {
        return Metrics::default();
    }
    let text = http.text(entry.port, "/metrics").await;
    text.map_or_else(|_| Metrics::default(), |text| Metrics::read(&text))
}

async fn version(http: &Http, entry: &Entry) -> Option<String> {
    let path = match entry.name.starts_with("bank-") {
        true => "/api/bank",
        false => "/status",
    };
    let answer = http.get(entry.port, path).await.ok()?;
    Some(answer.body["version"].as_str()?.to_owned())
}

/// What waits in the tables, which no gauge tells.
async fn asked_queues(http: &Http, entry: &Entry) -> Vec<(&'static str, f64)> {
    let (path, fields): (_, &[(&'static str, &str)]) = match entry.name.as_str() {
        "dict" => ("/status", &[("events", "events_waiting")]),
        bank if bank.starts_with("bank-") => (
            "/api/totals",
            &[("pending", "pending_payments"), ("waiting", "messages_waiting")],
        ),
        _ => return Vec::new(),
    };
    let Ok(answer) = http.get(entry.port, path).await else {
        return Vec::new();
    };
    let found = fields
        .iter()
        .filter_map(|(name, field)| Some((*name, answer.body[*field].as_f64()?)));
    found.collect()
}

/// Every port of a process, with its use.
fn ports(ports: Ports, name: &str, port: u16) -> Vec<(&'static str, u16)> {
    let of = ports.of(name);
    if of.is_empty() {
        vec![("operations", port)]
    } else {
        of
    }
}

impl Row {
    fn to_json(&self) -> Value {
        let numbers = |of: &[(&'static str, f64)]| -> Map<String, Value> {
            let number = |value: f64| json!((value * 100.0).round() / 100.0);
            of.iter()
                .map(|(name, value)| ((*name).to_owned(), number(*value)))
                .collect()
        };
        let ports: Map<_, _> = self
            .ports
            .iter()
            .map(|(what, port)| ((*what).to_owned(), json!(port)))
            .collect();
        let Entry {
            name,
            pid,
            port,
            restarts,
            ..
        } = &self.entry;
        json!({
            "name": name, "pid": pid, "port": port, "restarts": restarts, "health": self.health,
            "version": self.version, "ports": ports, "queues": numbers(&self.queues),
            "rates_per_second": numbers(&self.rates),
        })
    }
}

fn print(place: &Place, pid: u32, ready: bool, rows: &[Row]) {
    outln!(
        "pix {} (process {pid}) in {}{}\n",
        env!("CARGO_PKG_VERSION"),
        place.dir.display(),
        if ready { "" } else { ", starting" }
    );
    outln!(
        "  {:<16} {:>8} {:>8} {:<9} {:<24} health",
        "process",
        "pid",
        "restarts",
        "version",
        "ports"
    );
    for row in rows {
        let pid = row.entry.pid.map_or("-".to_owned(), |pid| pid.to_string());
        let ports: Vec<_> = row.ports.iter().map(|(_, port)| port.to_string()).collect();
        outln!(
            "  {:<16} {pid:>8} {:>8} {:<9} {:<24} {}",
            row.entry.name,
            row.entry.restarts,
            row.version.as_deref().unwrap_or("?"),
            ports.join(" "),
            row.health
        );
    }
    outln!("\n  {:<16} {:<44} per second", "process", "waiting");
    for row in rows.iter().filter(|row| row.entry.http) {
        let list = |of: &[(&'static str, f64)], digits: usize| {
            let each = of.iter().map(|(name, value)| format!("{name} {value:.digits$}"));
            each.collect::<Vec<_>>().join(", ")
        };
        outln!(
            "  {:<16} {:<44} {}",
            row.entry.name,
            list(&row.queues, 0),
            list(&row.rates, 1)
        );
    }
}
