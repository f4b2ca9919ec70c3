//! A bench in a terminal's words.

use std::fmt::Write as _;

use crate::gate::Check;
use crate::plan::Kind;
use crate::report::{Report, RunReport};

/// One run in a line; one that is not valid tells why instead of figures.
pub(crate) fn line(run: &RunReport) -> String {
    if !run.is_valid {
        let broken: Vec<String> = run
            .checks
            .iter()
            .filter(|check| !check.holds)
            .map(|check| format!("{} ({})", check.name, check.detail))
            .collect();
        let errors: Vec<String> = run
            .errors
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        return format!(
            "{}: NOT VALID, no result: {}; errors: {}",
            run.name,
            broken.join("; "),
            if errors.is_empty() {
                "none".to_owned()
            } else {
                errors.join(", ")
            }
        );
    }
    let latency = &run.figures.latency;
    let steal = format!(
        "steal {:.1} %{}",
        run.steal * 100.0,
        if run.is_quiet {
            ""
        } else {
            " (too much: left out of the medians)"
        }
    );
    let recovery = run
        .recovery
        .map_or(String::new(), |recovery| format!("\n  {recovery}"));
    format!(
        "{}: {:.0}/s settled; p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.1} ms; {} rejected, {:.2} % errors; {steal}{recovery}",
        run.name,
        run.figures.rate,
        latency.p50_ms,
        latency.p99_ms,
        latency.p999_ms,
        latency.max_ms,
        run.counts.rejected,
        run.error_share() * 100.0
    )
}

/// The whole bench, once it is over.
pub(crate) fn text(report: &Report) -> String {
    let mut out = String::new();
    let mut put = |text: std::fmt::Arguments<'_>| {
        writeln!(out, "{text}").expect("a String takes everything");
    };
    put(format_args!(""));
    put(format_args!(
        "{} payers, {} receivers; {}; {} a message; signed {}",
        report.setup.payers,
        report.setup.receivers,
        report.setup.arrivals,
        report.setup.per_message,
        match report.setup.sign {
            crate::plan::Sign::Live => "live",
            crate::plan::Sign::Ahead => "ahead",
        }
    ));
    if report.kind == Kind::Sweep {
        match report.knee {
            Some(knee) => put(format_args!("knee: {knee:.0}/s with p99 within 200 ms")),
            None => put(format_args!("knee: none of the rates kept p99 within 200 ms")),
        }
    } else if let Some(medians) = report.medians
        && medians.of_runs > 1
    {
        put(format_args!(
            "medians of {} runs: {:.0}/s; p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms",
            medians.of_runs, medians.rate, medians.p50_ms, medians.p99_ms, medians.p999_ms
        ));
    }
    let rate = report.knee.or(report.medians.map(|medians| medians.rate));
    for (name, value) in report
        .yardsticks
        .iter()
        .flat_map(crate::yardstick::Yardsticks::rows)
    {
        if let Some(value) = value {
            let ratio = rate.map_or("-".to_owned(), |rate| format!("{:.2}", rate / value));
            put(format_args!("  : {ratio:>6}  {name} ({value:.0}/s)"));
        }
    }
    if let Some(run) = report.runs.last() {
        if let Some(signatures) = run.signatures_a_payment {
            put(format_args!("{signatures:.2} signatures of the switch a payment"));
        }
        put(format_args!(
            "fsync {:.0} us; {}; {} build",
            report.machine.fsync_us, report.durability, report.build
        ));
    }
    for Check { name, holds, detail } in &report.verdicts {
        put(format_args!(
            "{} {name}: {detail}",
            if *holds { "kept  " } else { "BROKEN" }
        ));
    }
    if report.build == "debug" {
        put(format_args!("a debug build: its figures say nothing about speed"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{medians, tests::sample};

    #[test]
    fn a_run_without_a_result_shows_no_figure() {
        let mut report = sample();
        assert!(line(&report.runs[0]).contains("p99 20.0 ms"));
        report.runs[0].is_quiet = false;
        assert!(line(&report.runs[0]).contains("left out of the medians"));
        report.runs[0].is_valid = false;
        report.runs[0].checks[0].holds = false;
        let line = line(&report.runs[0]);
        assert!(line.contains("NOT VALID") && line.contains("money conserved") && !line.contains("20.0 ms"));
    }

    #[test]
    fn medians_and_promises_are_told() {
        let mut report = sample();
        report.medians = medians(&report.runs);
        report.verdicts = vec![Check {
            name: "p99<10ms".to_owned(),
            holds: false,
            detail: "25.0".to_owned(),
        }];
        let text = text(&report);
        assert!(text.contains("medians of 2 runs: 105/s"), "{text}");
        assert!(text.contains("BROKEN p99<10ms: 25.0"), "{text}");
    }
}
