//! What a bench leaves behind: one JSON for programs, one HTML for people. The HTML holds the JSON and needs nothing.

mod html;
mod svg;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::gate::Check;
use crate::machine::{Machine, Used};
use crate::number::{median, share};
use crate::plan::{Kind, Lookups, Preset, Sign};
use crate::recorder::Figures;
use crate::recovery::Recovery;
use crate::yardstick::Yardsticks;

/// Raised when a field changes its meaning.
pub(crate) const FORMAT: u32 = 1;

/// Everything about one bench.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) format: u32,
    pub(crate) preset: Preset,
    pub(crate) kind: Kind,
    /// RFC 3339, UTC.
    pub(crate) started_at: String,
    /// Of the sources, as git names it; `-dirty` when they were changed.
    pub(crate) commit: String,
    /// `release` or `debug`.
    pub(crate) build: String,
    pub(crate) machine: Machine,
    pub(crate) setup: Setup,
    /// Settings of Postgres that decide about speed and durability.
    pub(crate) postgres: BTreeMap<String, String>,
    /// What a COMMIT is worth, in words.
    pub(crate) durability: String,
    pub(crate) yardsticks: Option<Yardsticks>,
    pub(crate) runs: Vec<RunReport>,
    /// Of the runs that count, where all of them did the same.
    pub(crate) medians: Option<Medians>,
    /// Of a sweep: the highest rate that kept the promise.
    pub(crate) knee: Option<f64>,
    /// Promises and homologation.
    pub(crate) verdicts: Vec<Check>,
}

/// The signer, unless another one is loaded.
pub(crate) const AWS_LC: &str = "aws-lc";

fn aws_lc() -> String {
    AWS_LC.to_owned()
}

/// What the run was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) banks: u16,
    pub(crate) payers: u16,
    pub(crate) receivers: u16,
    pub(crate) skew: f64,
    pub(crate) arrivals: String,
    pub(crate) span_s: f64,
    pub(crate) warm_up_s: f64,
    pub(crate) per_message: u8,
    pub(crate) sign: Sign,
    pub(crate) lookups: Lookups,
    pub(crate) answer_delay_ms: f64,
    pub(crate) refuse: f64,
    pub(crate) duplicates: f64,
    pub(crate) seed: u64,
    pub(crate) streams: u64,
    pub(crate) connections: u64,
    /// Started for this bench; else one that ran already.
    pub(crate) own_switch: bool,
    /// How the Central Bank's buckets were raised, when they were.
    pub(crate) buckets: Option<String>,
    /// What made the signatures of the fleet, and of a switch of the bench's own.
    #[serde(default = "aws_lc")]
    pub(crate) signer: String,
    /// Above it a run is shown, and left out of the medians. 0 to 1.
    pub(crate) steal_max: f64,
}

/// One run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RunReport {
    pub(crate) name: String,
    /// Payments or look-ups a second that were asked for at most; zero of one at a time.
    pub(crate) asked_rate: f64,
    pub(crate) counts: Counts,
    pub(crate) figures: Figures,
    /// By reason, in payments.
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) checks: Vec<Check>,
    /// Every check holds: else there is no result.
    pub(crate) is_valid: bool,
    /// Part of the machine's time that the host took, 0 to 1.
    pub(crate) steal: f64,
    /// Steal is no more than allowed.
    pub(crate) is_quiet: bool,
    /// Part of the machine's time that was used, 0 to 1.
    pub(crate) busy: f64,
    /// Means over the run.
    pub(crate) processes: BTreeMap<String, Used>,
    pub(crate) samples: Vec<Sample>,
    /// Messages that the switch signed for each settled payment.
    pub(crate) signatures_a_payment: Option<f64>,
    /// Of a burst.
    pub(crate) recovery: Option<Recovery>,
}

/// Of all that was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    pub(crate) settled: u64,
    pub(crate) rejected: u64,
    pub(crate) refused_at_door: u64,
    pub(crate) unknown: u64,
    pub(crate) not_started: u64,
    pub(crate) repeated: u64,
    pub(crate) delivered_again: u64,
}

/// One look at the machine and the switch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) at_s: f64,
    pub(crate) steal: f64,
    /// Share of the processors' time that was used.
    #[serde(default)]
    pub(crate) busy: f64,
    pub(crate) book_queue: f64,
    pub(crate) outbox: f64,
    pub(crate) streams: f64,
    pub(crate) open: f64,
    pub(crate) processes: BTreeMap<String, Used>,
}

/// Of the runs that are valid and quiet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Medians {
    pub(crate) of_runs: u64,
    pub(crate) rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
}

impl RunReport {
    /// Valid and quiet.
    pub(crate) fn counts(&self) -> bool {
        self.is_valid && self.is_quiet
    }

    /// Of all that was to be sent, what did not get in.
    pub(crate) fn error_share(&self) -> f64 {
        let failed = self.counts.refused_at_door + self.counts.unknown + self.counts.not_started;
        share(failed, self.counts.sent + self.counts.not_started)
    }
}

/// Of those that count; nothing when none does.
pub(crate) fn medians(runs: &[RunReport]) -> Option<Medians> {
    let good: Vec<&RunReport> = runs.iter().filter(|run| run.counts()).collect();
    let of = |figure: fn(&Figures) -> f64| median(good.iter().map(|run| figure(&run.figures)).collect());
    Some(Medians {
        of_runs: crate::number::wide(good.len()),
        rate: of(|figures| figures.rate)?,
        p50_ms: of(|figures| figures.latency.p50_ms)?,
        p99_ms: of(|figures| figures.latency.p99_ms)?,
        p999_ms: of(|figures| figures.latency.p999_ms)?,
    })
}

impl Report {
    /// Every run is valid, those of a sweep beyond its knee too: there a switch may be slow, never wrong.
    pub(crate) fn is_valid(&self) -> bool {
        !self.runs.is_empty() && self.runs.iter().all(|run| run.is_valid)
    }

    /// Whether its runs did the same, so that medians mean something.
    pub(crate) fn has_medians(&self) -> bool {
        matches!(self.kind, Kind::Payments | Kind::Lookups)
    }

    /// Every promise kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.holds)
    }

    /// Writes `NAME.json` and `NAME.html` into `folder`.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
        let preset = serde_json::to_value(self.preset)?;
        let stamp: String = self
            .started_at
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take("20261121T150000".len())
            .collect();
        let name = format!("{}-{stamp}", preset.as_str().unwrap_or("bench"));
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let (json, html) = (
            folder.join(format!("{name}.json")),
            folder.join(format!("{name}.html")),
        );
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(&json, &text).with_context(|| format!("{} cannot be written", json.display()))?;
        std::fs::write(&html, html::page(self)?)
            .with_context(|| format!("{} cannot be written", html.display()))?;
        Ok((json, html))
    }

    /// Reads a JSON of this format.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let report: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is no report of the bench", path.display()))?;
        anyhow::ensure!(
            report.format == FORMAT,
            "{} has format {}, this bench reads {FORMAT}",
            path.display(),
            report.format
        );
        Ok(report)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::recorder::{Curve, Point};

    /// A report with every part.
    pub(crate) fn sample() -> Report {
        let run = |name: &str, rate: f64, p99_ms: f64| RunReport {
            name: name.to_owned(),
            asked_rate: rate,
            counts: Counts {
                sent: 100,
                accepted: 99,
                settled: 98,
                rejected: 1,
                refused_at_door: 1,
                ..Counts::default()
            },
            figures: Figures {
                settled: 98,
                rate,
                latency: Curve {
                    count: 98,
                    p50_ms: 4.0,
                    p99_ms,
                    p999_ms: 2.0 * p99_ms,
                    max_ms: 3.0 * p99_ms,
                    histogram: vec![(4_000, 60), (9_000, 38)],
                    ..Curve::default()
                },
                points: vec![
                    Point {
                        at_s: 0,
                        scheduled: 50,
                        settled: 49,
                        p50_ms: 4.0,
                        p99_ms,
                        ..Point::default()
                    },
                    Point {
                        at_s: 1,
                        scheduled: 50,
                        settled: 49,
                        p50_ms: 5.0,
                        p99_ms,
                        ..Point::default()
                    },
                ],
                ..Figures::default()
            },
            errors: [("HTTP 429 <script>".to_owned(), 1)].into(),
            checks: vec![Check {
                name: "money conserved".to_owned(),
                holds: true,
                detail: "10 centavos".to_owned(),
            }],
            is_valid: true,
            is_quiet: true,
            samples: vec![
                Sample {
                    at_s: 1.0,
                    busy: 0.5,
                    processes: [(
                        "spi".to_owned(),
                        Used {
                            cpu: 0.5,
                            memory_mb: 80.0
                        }
                    )]
                    .into(),
                    ..Sample::default()
                };
                2
            ],
            processes: [(
                "spi".to_owned(),
                Used {
                    cpu: 0.5,
                    memory_mb: 80.0,
                },
            )]
            .into(),
            ..RunReport::default()
        };
        Report {
            format: FORMAT,
            preset: Preset::Pair,
            kind: Kind::Payments,
            started_at: "2026-11-21T15:00:00.000Z".to_owned(),
            commit: "abcdef1".to_owned(),
            build: "release".to_owned(),
            machine: Machine::default(),
            setup: Setup {
                banks: 2,
                payers: 1,
                receivers: 1,
                skew: 0.0,
                arrivals: "2000/s for 60 s, constant".to_owned(),
                span_s: 60.0,
                warm_up_s: 5.0,
                per_message: 10,
                sign: Sign::Live,
                lookups: Lookups::None,
                answer_delay_ms: 0.0,
                refuse: 0.0,
                duplicates: 0.0,
                seed: 7,
                streams: 2,
                connections: 32,
                own_switch: true,
                buckets: None,
                signer: AWS_LC.to_owned(),
                steal_max: 0.05,
            },
            postgres: [("fsync".to_owned(), "on".to_owned())].into(),
            durability: "every COMMIT is on disk before it is answered".to_owned(),
            yardsticks: None,
            runs: vec![run("run 1", 100.0, 20.0), run("run 2", 110.0, 30.0)],
            medians: None,
            knee: None,
            verdicts: Vec::new(),
        }
    }

    #[test]
    fn medians_are_of_valid_and_quiet_runs() {
        let mut report = sample();
        let both = medians(&report.runs).unwrap();
        assert_eq!((both.of_runs, both.p99_ms), (2, 25.0));
        report.runs[1].is_quiet = false;
        let quiet = medians(&report.runs).unwrap();
        assert_eq!((quiet.of_runs, quiet.p99_ms, quiet.rate), (1, 20.0, 100.0));
        assert!(report.is_valid());
        report.runs[0].is_valid = false;
        assert_eq!(medians(&report.runs), None);
        assert!(!report.is_valid());
    }

    #[test]
    fn a_report_is_written_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let report = sample();
        let (json, html) = report.write(folder.path()).unwrap();
        assert!(json.ends_with("pair-20261121T150000.json"), "{}", json.display());
        let back = Report::read(&json).unwrap();
        assert_eq!(
            serde_json::to_value(&back).unwrap(),
            serde_json::to_value(&report).unwrap()
        );
        assert!(html.is_file());
        std::fs::write(&json, "{}").unwrap();
        assert!(Report::read(&json).is_err());
    }

    #[test]
    fn errors_are_a_part_of_what_was_to_be_sent() {
        let report = sample();
        assert!((report.runs[0].error_share() - 0.01).abs() < 1e-9);
        assert!((RunReport::default().error_share()).abs() < 1e-9);
    }
}
