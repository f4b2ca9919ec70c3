//! `pix logs`: what the services and parts have written, in the order of time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

use crate::cli::Logs;
use crate::payment;
use crate::place::Place;

/// Without a payment to look for, the end of each file says enough.
const TAIL_BYTES: u64 = 4 << 20;
/// How often `--follow` looks for more.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// One log file.
struct Source {
    service: String,
    path: PathBuf,
    /// Read up to here.
    offset: u64,
}

/// One line, of which we know when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    /// `2026-11-21T15:00:00.123456`: sorts as time does.
    at: String,
    service: String,
    text: String,
}

pub(crate) async fn command(place: &Place, asked: &Logs) -> anyhow::Result<ExitCode> {
    let mut sources = sources(place)?;
    if let Some(wanted) = &asked.service {
        let all: Vec<_> = sources.iter().map(|source| source.service.clone()).collect();
        sources.retain(|source| source.service == *wanted || source.service == format!("bank-{wanted}"));
        if sources.is_empty() {
            bail!("{wanted} has no log here: there are those of {}", all.join(", "));
        }
    }
    let wanted = match &asked.e2e {
        None => Vec::new(),
        Some(id) => {
            let mut ids = payment::message_ids(place, id).await;
            ids.push(id.to_string());
            ids
        }
    };
    let mut lines = Vec::new();
    for source in &mut sources {
        if wanted.is_empty() && asked.lines.is_some() {
            source.skip_to_the_end()?;
        }
        lines.extend(source.read(&wanted)?);
    }
    lines.sort();
    let first = asked
        .lines
        .filter(|_| wanted.is_empty())
        .map_or(0, |last| lines.len().saturating_sub(last));
    for line in &lines[first..] {
        line.print(asked.json);
    }
    if let (true, Some(id), false) = (lines.is_empty(), &asked.e2e, asked.follow) {
        errln!(
            "pix: no log mentions {id}: steps of payments are logged when the service's log.level has payment=debug, as \
             `pix up` sets it; `pix payment {id}` asks the services themselves"
        );
        return Ok(ExitCode::FAILURE);
    }
    if asked.follow {
        follow(&mut sources, &wanted, asked.json).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Until Ctrl-C.
async fn follow(sources: &mut [Source], wanted: &[String], as_json: bool) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let mut lines = Vec::new();
        for source in &mut *sources {
            lines.extend(source.read(wanted)?);
        }
        lines.sort();
        lines.iter().for_each(|line| line.print(as_json));
    }
}

fn sources(place: &Place) -> anyhow::Result<Vec<Source>> {
    let logs = place.path("logs");
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    let entries = logs.read_dir().with_context(|| {
        format!(
            "there are no logs in {}: start everything with `pix up`, or name the right folder with --dir",
            logs.display()
        )
    })?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if let (Some("log"), Some(name)) = (
            path.extension().and_then(|end| end.to_str()),
            path.file_stem().and_then(|name| name.to_str()),
        ) {
            found.insert(name.to_owned(), path.clone());
        }
    }
    // The parts write into folders of their own, Postgres as another user when root runs it.
    let parts = [
        ("postgres", place.postgres_dir()?.join("postgres.log")),
        ("redis", place.path("redis/redis.log")),
        ("nats", place.path("nats/nats.log")),
    ];
    for (name, path) in parts {
        if path.is_file() {
            found.insert(name.to_owned(), path);
        }
    }
    let source = |(service, path)| Source {
        service,
        path,
        offset: 0,
    };
    Ok(found.into_iter().map(source).collect())
}

impl Source {
    fn skip_to_the_end(&mut self) -> anyhow::Result<()> {
        let length = self.open()?.metadata().map_or(0, |metadata| metadata.len());
        self.offset = length.saturating_sub(TAIL_BYTES);
        Ok(())
    }

    /// The whole lines that came since the last look; those that hold one of `wanted`, when anything is wanted.
    fn read(&mut self, wanted: &[String]) -> anyhow::Result<Vec<Line>> {
        let mut file = self.open()?;
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        if length < self.offset {
            // It was begun anew.
            self.offset = 0;
        }
        file.seek(SeekFrom::Start(self.offset))
            .with_context(|| damaged(&self.path))?;
        let mut reader = BufReader::new(file);
        let mut lines = Vec::new();
        let mut before = String::new();
        let mut raw = Vec::new();
        loop {
            raw.clear();
            let read = reader
                .read_until(b'\n', &mut raw)
                .with_context(|| damaged(&self.path))?;
            // A line that is still being written is read at the next look.
            if raw.last() != Some(&b'\n') {
                return Ok(lines);
            }
            self.offset += u64::try_from(read).unwrap_or_default();
            let text = String::from_utf8_lossy(&raw).trim_end().to_owned();
            if text.is_empty() {
                continue;
            }
            // What has no time of its own belongs to the line before it.
            before = time_of(&text).unwrap_or(before);
            if wanted.is_empty() || wanted.iter().any(|id| text.contains(id.as_str())) {
                lines.push(Line {
                    at: before.clone(),
                    service: self.service.clone(),
                    text,
                });
            }
        }
    }

    fn open(&self) -> anyhow::Result<File> {
        File::open(&self.path).with_context(|| damaged(&self.path))
    }
}

fn damaged(path: &Path) -> String {
    format!(
        "{} cannot be read: ask as the user who started pix, or as root",
        path.display()
    )
}

impl Line {
    fn print(&self, as_json: bool) {
        let fields = serde_json::from_str::<Map<String, Value>>(&self.text).ok();
        if as_json {
            let line = fields.map_or_else(
                || json!({"timestamp": self.at, "service": self.service, "message": self.text}),
                |mut fields| {
                    fields.insert("service".into(), json!(self.service));
                    Value::Object(fields)
                },
            );
            outln!("{line}");
            return;
        }
        let text = fields.map_or_else(|| self.text.clone(), |fields| in_words(&fields));
        outln!("{:<26}  {:<14} {text}", self.at, self.service);
    }
}

/// A line of a service of ours: level, message, fields.
fn in_words(fields: &Map<String, Value>) -> String {
    const SHOWN_ELSEWHERE: [&str; 6] = ["timestamp", "level", "message", "target", "spans", "span"];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let of = |name: &str| fields.get(name).map(text).unwrap_or_default();
    let spans = fields
        .get("spans")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let of_spans = spans
        .filter_map(Value::as_object)
        .flat_map(|span| span.iter().filter(|(name, _)| *name != "name"));
    let own = fields
        .iter()
        .filter(|(name, _)| !SHOWN_ELSEWHERE.contains(&name.as_str()));
    let fields: String = own
        .chain(of_spans)
        .map(|(name, value)| format!("  {name}={}", text(value)))
        .collect();
    format!("{:<5} {}{fields}", of("level"), of("message"))
}

/// When a line was written, as `YYYY-MM-DDThh:mm:ss.ffffff`; nothing when it does not say so.
fn time_of(line: &str) -> Option<String> {
    if line.starts_with('{') {
        let fields: Map<String, Value> = serde_json::from_str(line).ok()?;
        return normal(fields.get("timestamp")?.as_str()?);
    }
    // NATS: `[123] 2026/11/21 15:00:00.123456 [INF] ...`
    if let Some((_, rest)) = line.split_once("] ").filter(|_| line.starts_with('[')) {
        return normal(&rest.get(..26)?.replace('/', "-"));
    }
    // Redis: `123:M 21 Nov 2026 15:00:00.123 * ...`
    if let Some((_, rest)) = line.split_once(' ').filter(|(pid, _)| pid.contains(':')) {
        let mut words = rest.split(' ');
        let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let month = MONTHS.iter().position(|name| *name == month)? + 1;
        return normal(&format!("{year}-{month:02}-{day}T{time}"));
    }
    // Postgres: `2026-11-21 15:00:00.123 UTC [123] LOG:  ...`
    normal(line.get(..23)?)
}

/// The same instant with a `T` and six decimals; nothing when it is none.
fn normal(text: &str) -> Option<String> {
    let text = text.trim_end_matches('Z').replacen(' ', "T", 1);
    let (seconds, decimals) = text.split_once('.').unwrap_or((&text, ""));
    let holds = seconds.len() == 19
        && seconds
            .bytes()
            .zip(b"dddd-dd-ddTdd:dd:dd")
            .all(|(b, shape)| match shape {
                b'd' => b.is_ascii_digit(),
                other => b == *other,
            });
    holds.then(|| format!("{seconds}.{:0<6.6}", decimals))
}

/// The newest time in the logs of this instance, as the wire has it: whoever's clock is behind it is behind.
pub(crate) fn newest(place: &Place) -> Option<String> {
    let lines = sources(place).ok()?.into_iter().filter_map(|mut source| {
        source.skip_to_the_end().ok()?;
        source.read(&[]).ok()?.into_iter().map(|line| line.at).max()
    });
    let newest = lines.max()?;
    Some(format!("{}Z", newest.get(..23)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_writer_of_logs_tells_its_time() {
        for (line, time) in [
            (
                r#"{"timestamp":"2026-11-21T15:00:00.123456Z","level":"INFO","message":"x"}"#,
                Some("2026-11-21T15:00:00.123456"),
            ),
            (
                "2026-11-21 15:00:00.123 UTC [77] LOG:  checkpoint complete",
                Some("2026-11-21T15:00:00.123000"),
            ),
            (
                "[77] 2026/11/21 15:00:00.123456 [INF] Server is ready",
                Some("2026-11-21T15:00:00.123456"),
            ),
            (
                "77:M 21 Nov 2026 15:00:00.123 * Ready to accept connections",
                Some("2026-11-21T15:00:00.123000"),
            ),
            ("    continued", None),
        ] {
            assert_eq!(time_of(line).as_deref(), time, "{line}");
        }
    }

    #[test]
    fn a_line_is_words_first_and_fields_after() {
        let fields = serde_json::from_str(
            r#"{"timestamp":"t","level":"WARN","message":"not out yet","attempts":3,"target":"bank","spans":[{"message.id":"M1","name":"post"}]}"#,
        );
        assert_eq!(
            in_words(&fields.expect("JSON")),
            "WARN  not out yet  attempts=3  message.id=M1"
        );
    }

    #[test]
    fn lines_are_read_once_and_only_whole() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("spi.log");
        let mut source = Source {
            service: "spi".into(),
            path: path.clone(),
            offset: 0,
        };
        std::fs::write(
            &path,
            "{\"timestamp\":\"2026-11-21T15:00:00.1Z\"}\n  more\n{\"half",
        )
        .expect("write");
        let lines = source.read(&[]).expect("reads");
        assert_eq!(lines.len(), 2);
        assert_eq!(
            lines[0].at, lines[1].at,
            "a line without a time belongs to the one before"
        );
        assert!(source.read(&[]).expect("reads").is_empty());
        std::fs::write(&path, "anew E1\n").expect("write");
        let lines = source.read(&["E1".to_owned()]).expect("reads");
        assert_eq!(
            lines.len(),
            1,
            "a file that was begun anew is read from its beginning"
        );
    }
}
