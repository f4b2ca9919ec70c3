//! Of the instance: what runs, what it says of itself, and whether its data is of one piece.

use std::path::Path;

use anyhow::Context as _;
use pix_domain::Timestamp;
use sqlx::{Connection as _, PgConnection};

use super::{Finding, minute, roughly};
use crate::board;
use crate::http::Http;
use crate::place::Place;
use crate::seed::BANKS;
use crate::up::Programs;

/// More restarts than a few kills make.
const RESTARTS: u32 = 3;
/// Data of the future by less than this is another machine's clock, not ours.
const AHEAD: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) async fn look(place: &Place, running: Option<u32>, now: Timestamp) -> Vec<Finding> {
    let mut findings = vec![services()];
    let Some(pid) = running else {
        findings.push(match place.is_ours() {
            true => Finding::ok("instance", "stopped: `pix up` goes on where it was"),
            false => Finding::ok("instance", "none here yet: `pix up` makes it"),
        });
        return findings;
    };
    findings.push(Finding::ok("instance", format!("runs (process {pid})")));
    let http = Http::new();
    findings.extend(processes(place, &http).await);
    findings.push(database(place, now).await);
    findings.push(books(place, &http).await);
    findings
}

/// The services are built beside us.
fn services() -> Finding {
    match Programs::beside_us() {
        Ok(_) => Finding::ok("services", "built"),
        Err(error) => Finding::fault("services", "not all are built", format!("{error:#}")),
    }
}

async fn processes(place: &Place, http: &Http) -> Vec<Finding> {
    const CHECK: &str = "processes";
    let Some(snapshot) = board::read(place) else {
        return vec![Finding::fault(
            CHECK,
            format!("{} cannot be read", place.board_file().display()),
            "ask as the user who started pix",
        )];
    };
    let mut findings = Vec::new();
    for entry in &snapshot.processes {
        let name = &entry.name;
        let look = format!("`pix logs {name}` shows why");
        if entry.pid.is_none() {
            findings.push(Finding::fault(
                CHECK,
                format!("{name} is being started again"),
                look,
            ));
            continue;
        }
        if entry.restarts > RESTARTS {
            findings.push(Finding::warning(
                CHECK,
                format!("{name} was started {} times again", entry.restarts),
                look.clone(),
            ));
        }
        if !entry.http {
            continue;
        }
        match http.get(entry.port, "/readyz").await {
            Ok(answer) if answer.is_success() => {}
            Ok(answer) => {
                let waiting: Vec<_> = answer.body["checks"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(_, holds)| **holds == false)
                    .map(|(check, _)| check.as_str())
                    .collect();
                findings.push(Finding::fault(
                    CHECK,
                    format!("{name} is not ready: {} missing", waiting.join(", ")),
                    look,
                ));
            }
            Err(error) => findings.push(Finding::fault(CHECK, format!("{name}: {error}"), look)),
        }
        let path = match name.starts_with("bank-") {
            true => "/api/bank",
            false => "/status",
        };
        let Ok(status) = http.get(entry.port, path).await else {
            continue;
        };
        if status.body["participants_followed"] == false {
            let why = status.body["participants_fault"]
                .as_str()
                .unwrap_or("nothing said");
            findings.push(Finding::warning(
                CHECK,
                format!("{name} works with its copy of the participants and hears no changes ({why})"),
                "`pix logs settlement` shows whether that runs; changes arrive as soon as it does",
            ));
        }
        let version = status.body["version"].as_str();
        if let Some(version) = version.filter(|version| *version != env!("CARGO_PKG_VERSION")) {
            findings.push(Finding::warning(
                CHECK,
                format!(
                    "{name} is of version {version}, pix of {}",
                    env!("CARGO_PKG_VERSION")
                ),
                "build all of them (`make run` does), then `pix down` and `pix up`",
            ));
        }
    }
    if findings.is_empty() {
        let count = snapshot.processes.len();
        findings.push(Finding::ok(CHECK, format!("{count}, all ready")));
    }
    findings
}

/// What the database says of its durability, its room for connections and the age of its data.
async fn database(place: &Place, now: Timestamp) -> Finding {
    const CHECK: &str = "database";
    let look = "`pix logs postgres` shows why";
    match ask(&place.path("config/spi.toml")).await {
        Err(error) => Finding::fault(CHECK, format!("it cannot be asked: {error:#}"), look),
        Ok(answers) if !answers.unsafe_settings.is_empty() => Finding::fault(
            CHECK,
            format!(
                "it could lose payments that were answered: {} off",
                answers.unsafe_settings.join(", ")
            ),
            "leave these settings on; `pix up` starts it with them on",
        ),
        Ok(answers) if answers.newest.is_some_and(|newest| newest.since(now) > AHEAD) => {
            let newest = answers.newest.unwrap_or(now);
            Finding::fault(
                CHECK,
                format!(
                    "the newest batch of the book is of {}, and it is {} by this machine's clock: the clock is behind by {} or more",
                    minute(newest),
                    minute(now),
                    roughly(newest.since(now))
                ),
                "set the clock (`timedatectl set-ntp true`, or `date -s`)",
            )
        }
        Ok(answers) if answers.connections * 10 > answers.connections_max * 9 => Finding::warning(
            CHECK,
            format!(
                "{} of {} connections are taken",
                answers.connections, answers.connections_max
            ),
            "stop what else uses this database",
        ),
        Ok(answers) => Finding::ok(
            CHECK,
            format!(
                "Postgres {}, durable, {} of {} connections",
                answers.version, answers.connections, answers.connections_max
            ),
        ),
    }
}

struct Answers {
    version: String,
    unsafe_settings: Vec<String>,
    connections: i64,
    connections_max: i64,
    newest: Option<Timestamp>,
}

async fn ask(config: &Path) -> anyhow::Result<Answers> {
    let text = std::fs::read_to_string(config).with_context(|| config.display().to_string())?;
    let settings: toml::Table = text.parse()?;
    let url = settings
        .get("database")
        .and_then(|database| database.get("owner_url")?.as_str())
        .context("it names no database.owner_url")?;
    let mut connection = PgConnection::connect(url).await?;
    let version: String = sqlx::query_scalar("SHOW server_version")
        .fetch_one(&mut connection)
        .await?;
    let unsafe_settings = sqlx::query_scalar(
        "SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')
         AND setting NOT IN ('on', 'remote_apply') ORDER BY name",
    )
    .fetch_all(&mut connection)
    .await?;
    let (connections, connections_max) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM pg_stat_activity), (SELECT setting::bigint FROM pg_settings
         WHERE name = 'max_connections')",
    )
    .fetch_one(&mut connection)
    .await?;
    let newest: Option<i64> = sqlx::query_scalar(
        "SELECT (extract(epoch FROM decided_at) * 1000000)::bigint FROM batch ORDER BY shard, number DESC LIMIT 1",
    )
    .fetch_optional(&mut connection)
    .await?;
    connection.close().await?;
    Ok(Answers {
        version,
        unsafe_settings,
        connections,
        connections_max,
        newest: newest.map(Timestamp::from_micros),
    })
}

/// No money appears or vanishes.
async fn books(place: &Place, http: &Http) -> Finding {
    const CHECK: &str = "books";
    let mut wrong = Vec::new();
    let mut odd = 0;
    for (index, bank) in (0_u16..).zip(&BANKS) {
        let Ok(answer) = http.get(place.ports.bank(index), "/api/totals").await else {
            continue;
        };
        if answer.body["sum"].as_str().is_some_and(|sum| sum != "0.00") {
            wrong.push(format!("{} is off by {}", bank.name, answer.body["sum"]));
        }
        odd += answer.body["anomalies"].as_i64().unwrap_or_default();
    }
    let fix = "stop paying and keep the data: `pix logs` around the first ERROR shows what happened";
    match (wrong.is_empty(), odd) {
        (false, _) => Finding::fault(CHECK, wrong.join("; "), fix),
        (true, 0) => Finding::ok(CHECK, "every bank's double entry sums up to zero"),
        (true, _) => Finding::warning(
            CHECK,
            format!("{odd} events did not fit a bank's book; none of them moved money"),
            "`pix logs` shows each as an ERROR with its EndToEndId",
        ),
    }
}
