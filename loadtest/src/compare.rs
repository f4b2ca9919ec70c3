//! Two reports side by side.

use std::fmt::Write as _;

use crate::report::Report;

/// One row: a figure of both, and what it means.
struct Row {
    name: String,
    a: Option<f64>,
    b: Option<f64>,
}

/// A table for people.
pub(crate) fn table(a: &Report, b: &Report) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        writeln!(out, "{text}").expect("a String takes everything");
    };
    line(format_args!("{:<44} {:>14} {:>14} {:>8}", "", "A", "B", "B : A"));
    for (name, a, b) in [
        ("started", &a.started_at, &b.started_at),
        ("commit", &a.commit, &b.commit),
        ("build", &a.build, &b.build),
    ] {
        line(format_args!("{name:<44} {:>14.14} {:>14.14}", a, b));
    }
    for row in rows(a, b) {
        let text = |figure: Option<f64>| figure.map_or("-".to_owned(), |figure| format!("{figure:.2}"));
        let ratio = row.a.zip(row.b).filter(|(a, _)| *a > 0.0).map(|(a, b)| b / a);
        line(format_args!(
            "{:<44} {:>14} {:>14} {:>8}",
            row.name,
            text(row.a),
            text(row.b),
            text(ratio)
        ));
    }
    for warning in warnings(a, b) {
        line(format_args!("! {warning}"));
    }
    out
}

fn rows(a: &Report, b: &Report) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |name: &str, of: &dyn Fn(&Report) -> Option<f64>| {
        rows.push(Row {
            name: name.to_owned(),
            a: of(a),
            b: of(b),
        });
    };
    row("settled a second", &|report| Some(report.medians?.rate));
    row("p50 ms", &|report| Some(report.medians?.p50_ms));
    row("p99 ms", &|report| Some(report.medians?.p99_ms));
    row("p99.9 ms", &|report| Some(report.medians?.p999_ms));
    row("knee, a second", &|report| report.knee);
    for name in ["spi", "dict", "postgres", "bench"] {
        row(&format!("processors of {name} a 1,000/s"), &|report| {
            let used = report.runs.iter().filter(|run| run.counts()).filter_map(|run| {
                let rate = run.figures.rate;
                (rate > 0.0).then(|| run.processes.get(name).map(|used| used.cpu / rate * 1000.0))?
            });
            crate::number::median(used.collect())
        });
    }
    row("signatures a payment", &|report| {
        let all = report.runs.iter().filter_map(|run| run.signatures_a_payment);
        crate::number::median(all.collect())
    });
    // By the yardsticks of the same run: what is left when the machine was slower.
    for index in 0..3 {
        let name = ["pgbench -N", "the naive switch", "RSA signatures"][index];
        row(&format!("settled : {name}"), &|report| {
            let yardstick = report.yardsticks.as_ref()?.rows().get(index)?.1?;
            let rate = report.knee.or(report.medians.map(|medians| medians.rate))?;
            Some(rate / yardstick)
        });
    }
    row("steal %", &|report| {
        crate::number::median(report.runs.iter().map(|run| run.steal * 100.0).collect())
    });
    rows
}

/// What makes the two no pair.
fn warnings(a: &Report, b: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, report) in [("A", a), ("B", b)] {
        if !report.is_valid() {
            warnings.push(format!("{name} failed its validity gate: it has no result"));
        } else if report.medians.is_none() && report.has_medians() {
            warnings.push(format!("no run of {name} was quiet enough to count"));
        }
        if report.build == "debug" {
            warnings.push(format!("{name} is of a debug build: no figure of it counts"));
        }
    }
    let mut differs = |what: &str, differs: bool| {
        if differs {
            warnings.push(format!("A and B differ in {what}"));
        }
    };
    differs("the preset", a.preset != b.preset);
    differs("the build", a.build != b.build);
    differs(
        "the machine",
        a.machine.model != b.machine.model || a.machine.processors != b.machine.processors,
    );
    differs("Postgres's settings", a.postgres != b.postgres);
    differs("what was asked for", {
        let of = |report: &Report| {
            let setup = &report.setup;
            (
                setup.banks,
                setup.arrivals.clone(),
                setup.per_message,
                setup.sign,
                setup.lookups,
                setup.streams,
                setup.connections,
                setup.signer.clone(),
            )
        };
        of(a) != of(b)
    });
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{medians, tests::sample};

    #[test]
    fn ratios_stand_beside_both_figures() {
        let mut a = sample();
        a.medians = medians(&a.runs);
        let mut b = a.clone();
        b.medians = b.medians.map(|mut medians| {
            medians.p99_ms *= 2.0;
            medians
        });
        let text = table(&a, &b);
        let row = text.lines().find(|line| line.starts_with("p99 ms")).unwrap();
        let figures: Vec<&str> = row.split_whitespace().skip(2).collect();
        assert_eq!(figures, ["25.00", "50.00", "2.00"]);
        assert!(!text.contains('!'), "{text}");
        let cpu = text
            .lines()
            .find(|line| line.starts_with("processors of spi"))
            .unwrap();
        assert!(cpu.contains("4.77"), "{cpu}");
    }

    #[test]
    fn unlike_runs_are_called_so() {
        let a = sample();
        let mut b = sample();
        b.build = "debug".to_owned();
        b.setup.per_message = 1;
        b.runs[0].is_valid = false;
        let text = table(&a, &b);
        for part in [
            "B failed its validity gate",
            "B is of a debug build",
            "differ in the build",
            "what was asked",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
