//! `pix doctor`: what is missing or wrong on this machine and in this instance, each with its fix.

mod certificates;
mod instance;
mod machine;

use std::process::ExitCode;

use pix_domain::Timestamp;
use pix_runtime::{Clock as _, SystemClock};
use serde_json::json;

use crate::cli::Doctor;
use crate::place::Place;

pub(crate) use machine::{COMFORT_GIB, disk, programs};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and will not always.
    Warning,
    /// Something does not work.
    Fault,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    check: &'static str,
    pub(crate) verdict: Verdict,
    /// What was found.
    pub(crate) found: String,
    /// What to do about it.
    pub(crate) fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            found: found.into(),
            fix: None,
        }
    }

    fn warning(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warning,
            fix: Some(fix.into()),
            ..Self::ok(check, found)
        }
    }

    fn fault(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fault,
            fix: Some(fix.into()),
            ..Self::ok(check, found)
        }
    }

    /// As one sentence, for a command that cannot go on.
    pub(crate) fn sentence(&self) -> String {
        match &self.fix {
            Some(fix) => format!("{}: {fix}", self.found),
            None => self.found.clone(),
        }
    }
}

pub(crate) async fn command(place: &Place, asked: &Doctor) -> anyhow::Result<ExitCode> {
    let now = asked.now.unwrap_or_else(|| SystemClock.now());
    let running = place.running_pid();
    let mut findings = machine::look(place, running, asked.free_gib, now);
    findings.extend(certificates::look(place, now));
    findings.extend(instance::look(place, running, now).await);

    let worst = findings.iter().map(|finding| finding.verdict).max();
    if asked.json {
        let all: Vec<_> = findings
            .iter()
            .map(
                |Finding {
                     check,
                     verdict,
                     found,
                     fix,
                 }| {
                    json!({"check": check, "verdict": verdict.as_str(), "found": found, "fix": fix})
                },
            )
            .collect();
        outln!(
            "{:#}",
            json!({"healthy": worst != Some(Verdict::Fault), "findings": all})
        );
    } else {
        findings.iter().for_each(print);
        let count = |verdict| {
            findings
                .iter()
                .filter(|finding| finding.verdict == verdict)
                .count()
        };
        outln!(
            "\n{} looked at: {} wrong, {} to watch",
            findings.len(),
            count(Verdict::Fault),
            count(Verdict::Warning)
        );
    }
    Ok(match worst {
        Some(Verdict::Fault) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "watch",
            Self::Fault => "wrong",
        }
    }
}

fn print(finding: &Finding) {
    outln!(
        "{:<6} {:<13} {}",
        finding.verdict.as_str(),
        finding.check,
        finding.found
    );
    if let Some(fix) = &finding.fix {
        outln!("{:<20} -> {fix}", "");
    }
}

/// A span as a person says it.
fn roughly(span: std::time::Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `2026-11-21 15:00 UTC`
fn minute(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..16).map_or(text.clone(), |minute| {
        format!("{} UTC", minute.replacen('T', " ", 1))
    })
}
