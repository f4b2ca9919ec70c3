//! Of the instance: what runs, what it says of itself, and whether its data is of one piece.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use pix_domain::Timestamp;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use super::{Finding, minute, roughly};
use crate::board;
use crate::http::{Answer, Http};
use crate::place::Place;
use crate::seed::BANKS;
use crate::up::Programs;

/// More restarts than a few kills make.
const RESTARTS: u32 = 3;
/// Data of the future by less than this is another machine's clock, not ours.
const AHEAD: Duration = Duration::from_secs(60);
/// How long the database may take to say everything: a machine that works can do it at once.
const DATABASE_ANSWERS_WITHIN: Duration = Duration::from_secs(10);

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
    match ask_in_time(&place.path("config/spi.toml"), DATABASE_ANSWERS_WITHIN).await {
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

async fn ask_in_time(config: &Path, within: Duration) -> anyhow::Result<Answers> {
    let answered = tokio::time::timeout(within, ask(config)).await;
    answered.unwrap_or_else(|_| anyhow::bail!("no answer within {} s", within.as_secs()))
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
    let mut totals = Vec::new();
    for (index, bank) in (0_u16..).zip(&BANKS) {
        let answer = http.get(place.ports.bank(index), "/api/totals").await;
        let answer = answer.ok().filter(Answer::is_success);
        totals.push((bank.name, answer.map(|answer| answer.body)));
    }
    judge_books(&totals)
}

/// Of each bank, what it says of its book; nothing when it says none.
fn judge_books(totals: &[(&str, Option<Value>)]) -> Finding {
    const CHECK: &str = "books";
    let mut wrong = Vec::new();
    let mut silent = Vec::new();
    let mut odd = 0;
    for (name, body) in totals {
        let sum = body.as_ref().and_then(|body| body["sum"].as_str());
        match sum {
            None => silent.push(*name),
            Some("0.00") => {}
            Some(sum) => wrong.push(format!("{name} is off by {sum}")),
        }
        odd += body
            .as_ref()
            .and_then(|body| body["anomalies"].as_i64())
            .unwrap_or_default();
    }
    if !wrong.is_empty() {
        return Finding::fault(
            CHECK,
            wrong.join("; "),
            "stop paying and keep the data: `pix logs` around the first ERROR shows what happened",
        );
    }
    if !silent.is_empty() {
        return Finding::warning(
            CHECK,
            format!("{} could not be asked", silent.join(" and ")),
            "`pix status` shows whether they run; ask again when they do",
        );
    }
    match odd {
        0 => Finding::ok(CHECK, "every bank's double entry sums up to zero"),
        _ => Finding::warning(
            CHECK,
            format!("{odd} events did not fit a bank's book; none of them moved money"),
            "`pix logs` shows each as an ERROR with its EndToEndId",
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn books_are_right_only_when_every_bank_says_so() {
        let right = || Some(json!({"sum": "0.00", "anomalies": 0}));
        let judge = |a: Option<Value>, b: Option<Value>| judge_books(&[("A", a), ("B", b)]);
        assert_eq!(judge(right(), right()).verdict, Verdict::Ok);

        let silent = judge(right(), None);
        assert_eq!(silent.verdict, Verdict::Warning);
        assert_eq!(silent.found, "B could not be asked");
        assert_eq!(
            judge(Some(json!({})), None).found,
            "A and B could not be asked",
            "an answer without a sum is none"
        );

        let wrong = judge(None, Some(json!({"sum": "-0.01"})));
        assert_eq!(wrong.verdict, Verdict::Fault);
        assert_eq!(wrong.found, "B is off by -0.01");
        let odd = judge(right(), Some(json!({"sum": "0.00", "anomalies": 2})));
        assert_eq!(odd.verdict, Verdict::Warning);
        assert!(odd.found.starts_with("2 events"), "{}", odd.found);
    }

    #[tokio::test]
    async fn a_database_that_accepts_and_is_silent_cannot_be_asked() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = listener.local_addr().expect("address").port();
        let dir = tempfile::tempdir().expect("tempdir");
        let config = dir.path().join("spi.toml");
        let url = format!("postgres://nobody@127.0.0.1:{port}/spi");
        std::fs::write(&config, format!("[database]\nowner_url = \"{url}\"\n")).expect("writes");
        let asked = ask_in_time(&config, Duration::from_millis(1)).await;
        let error = asked.map(drop).expect_err("nobody answers").to_string();
        assert!(error.contains("no answer within"), "{error}");
    }
}
