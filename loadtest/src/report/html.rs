//! The page: one file, no script, nothing from anywhere else.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::svg::{Line, Plot, Scale, escape};
use super::{Report, RunReport};
use crate::gate::Check;
use crate::number::float;
use crate::plan::Kind;
use crate::recovery;

const STYLE: &str = "
:root{color-scheme:light dark;--fg:#1b1b1b;--bg:#fff;--soft:#6b6b6b;--line:#d9d9d9;--good:#00704a;--bad:#b00020}
@media(prefers-color-scheme:dark){:root{--fg:#e8e8e8;--bg:#161616;--soft:#a0a0a0;--line:#3a3a3a;--good:#4fd1a5;--bad:#ff7a8a}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:1360px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}.soft{color:var(--soft)}
.big{display:flex;flex-wrap:wrap;gap:2rem;margin:1rem 0}.big b{display:block;font-size:1.6rem;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}
td.n,th.n{text-align:right}tr{border-bottom:1px solid var(--line)}.wide{overflow-x:auto}
.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:1rem}
svg{width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:var(--soft)}svg .t{font-size:13px;fill:var(--fg)}
svg .m{text-anchor:middle}svg .e{text-anchor:end}svg .g{stroke:var(--line);stroke-width:1}svg .l{fill:none;stroke-width:1.6}
svg .k{stroke:var(--bad);stroke-dasharray:4 3}
.legend{margin:.2rem 0;font-size:12px}.legend span{margin-right:1rem;white-space:nowrap}.legend i{display:inline-block;width:10px;height:10px;margin-right:.35rem;border-radius:2px}
";

/// The whole page.
///
/// # Errors
/// When the report is no JSON.
pub(super) fn page(report: &Report) -> anyhow::Result<String> {
    let preset = serde_json::to_value(report.preset)?;
    let preset = preset.as_str().unwrap_or("bench").to_owned();
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>PIX bench: {preset}</title><style>{STYLE}</style></head><body>\
         <h1>PIX bench: {preset}</h1><p class=\"soft\">{} · commit {} · {} build</p>",
        escape(&report.started_at),
        escape(&report.commit),
        escape(&report.build)
    );
    verdict(&mut page, report);
    if report.kind == Kind::Sweep {
        sweep(&mut page, report);
    }
    runs(&mut page, report);
    for run in &report.runs {
        section(&mut page, run, report.runs.len() > 1);
    }
    conditions(&mut page, report);
    // `</script>` inside a text would end the element.
    let json = serde_json::to_string(report)?.replace("</", "<\\/");
    put(
        &mut page,
        format_args!(
            "<h2>Data</h2><p class=\"soft\">The same as the JSON beside this page, histograms included, in the \
             element <code>#data</code>.</p><script type=\"application/json\" id=\"data\">{json}</script></body></html>\n"
        ),
    );
    Ok(page)
}

fn verdict(page: &mut String, report: &Report) {
    if !report.is_valid() {
        *page +=
            "<p class=\"bad\">No result: the validity gate failed. What it says stands with each run.</p>";
    }
    if report.build == "debug" {
        *page += "<p class=\"bad\">A debug build: its figures say nothing about speed.</p>";
    }
    *page += "<div class=\"big\">";
    let mut big = |figure: String, what: &str| {
        put(page, format_args!("<div><b>{figure}</b>{}</div>", escape(what)));
    };
    if let Some(knee) = report.knee {
        big(
            format!("{knee:.0}/s"),
            "knee: highest rate with p99 within 200 ms",
        );
    }
    if let Some(medians) = &report.medians {
        let of = match medians.of_runs {
            1 => String::new(),
            more => format!(", median of {more} runs"),
        };
        big(format!("{:.0}/s", medians.rate), &format!("settled{of}"));
        big(
            format!("{:.1} ms", medians.p50_ms),
            "p50 from the scheduled instant",
        );
        big(format!("{:.1} ms", medians.p99_ms), "p99");
        big(format!("{:.1} ms", medians.p999_ms), "p99.9");
        let worst = report.runs.iter().filter(|run| run.counts());
        if let Some(worst) = recovery::worst(worst.filter_map(|run| run.recovery)) {
            big(
                worst
                    .after_s
                    .map_or("never".to_owned(), |after| format!("{after} s")),
                "after the burst: back to the latency before it",
            );
            big(format!("{:.1} ms", worst.in_burst_p99_ms), "p99 in the burst");
        }
    } else if report.is_valid() && report.has_medians() {
        big("-".to_owned(), "no run was quiet enough for a median");
    }
    *page += "</div>";
    if !report.verdicts.is_empty() {
        *page += "<h2>Promises</h2>";
        checks(page, &report.verdicts);
    }
}

fn checks(page: &mut String, checks: &[Check]) {
    *page += "<table>";
    for check in checks {
        let (class, word) = if check.holds {
            ("good", "yes")
        } else {
            ("bad", "NO")
        };
        put(
            page,
            format_args!(
                "<tr><td class=\"{class}\">{word}</td><td>{}</td><td class=\"soft\">{}</td></tr>",
                escape(&check.name),
                escape(&check.detail)
            ),
        );
    }
    *page += "</table>";
}

fn runs(page: &mut String, report: &Report) {
    *page += "<h2>Runs</h2><div class=\"wide\"><table><tr><th>run</th><th class=\"n\">asked /s</th><th class=\"n\">settled /s</th>\
              <th class=\"n\">p50 ms</th><th class=\"n\">p99 ms</th><th class=\"n\">p99.9 ms</th><th class=\"n\">max ms</th>\
              <th class=\"n\">service p99 ms</th><th class=\"n\">errors</th><th class=\"n\">machine</th><th class=\"n\">steal</th><th>counts</th></tr>";
    for run in &report.runs {
        let latency = &run.figures.latency;
        let counts = match (run.is_valid, run.is_quiet) {
            (true, true) => "yes",
            (true, false) => "shown, left out of the medians: steal",
            (false, _) => "no: not valid",
        };
        put(
            page,
            format_args!(
                "<tr><td>{}</td><td class=\"n\">{:.0}</td><td class=\"n\">{:.0}</td><td class=\"n\">{:.1}</td>\
                 <td class=\"n\">{:.1}</td><td class=\"n\">{:.1}</td><td class=\"n\">{:.1}</td><td class=\"n\">{:.1}</td>\
                 <td class=\"n\">{:.2} %</td><td class=\"n\">{:.0} %</td><td class=\"n\">{:.1} %</td><td>{counts}</td></tr>",
                escape(&run.name),
                run.asked_rate,
                run.figures.rate,
                latency.p50_ms,
                latency.p99_ms,
                latency.p999_ms,
                latency.max_ms,
                run.figures.service.p99_ms,
                run.error_share() * 100.0,
                run.busy * 100.0,
                run.steal * 100.0
            ),
        );
    }
    *page += "</table></div>";
    if let Some(yardsticks) = &report.yardsticks {
        *page += "<h2>Yardsticks</h2><p class=\"soft\">Measured on this machine and this Postgres just before. A ratio travels \
                  to other machines, a rate does not.</p><table><tr><th>yardstick</th><th class=\"n\">a second</th>\
                  <th class=\"n\">settled : yardstick</th></tr>";
        let rate = report.knee.or(report.medians.map(|medians| medians.rate));
        for (name, value) in yardsticks.rows() {
            let ratio = rate
                .zip(value)
                .map_or("-".to_owned(), |(rate, value)| format!("{:.2}", rate / value));
            let value = value.map_or("-".to_owned(), |value| format!("{value:.0}"));
            put(
                page,
                format_args!(
                    "<tr><td>{}</td><td class=\"n\">{value}</td><td class=\"n\">{ratio}</td></tr>",
                    escape(&name)
                ),
            );
        }
        *page += "</table>";
    }
}

fn sweep(page: &mut String, report: &Report) {
    let mut runs: Vec<&RunReport> = report.runs.iter().collect();
    runs.sort_by(|a, b| a.asked_rate.total_cmp(&b.asked_rate));
    let of = |figure: fn(&RunReport) -> f64| runs.iter().map(|run| (run.asked_rate, figure(run))).collect();
    let latency = Plot {
        title: "Latency by rate",
        x: ("payments a second, asked", Scale::Linear),
        y: ("ms", Scale::Log),
        lines: vec![
            Line {
                name: "p50",
                points: of(|run| run.figures.latency.p50_ms),
            },
            Line {
                name: "p99",
                points: of(|run| run.figures.latency.p99_ms),
            },
        ],
        mark: Some((200.0, "200 ms")),
    };
    let settled = Plot {
        title: "What came through",
        x: ("payments a second, asked", Scale::Linear),
        y: ("settled a second", Scale::Linear),
        lines: vec![Line {
            name: "settled",
            points: of(|run| run.figures.rate),
        }],
        mark: report.knee.map(|knee| (knee, "knee")),
    };
    put(
        page,
        format_args!(
            "<h2>Sweep</h2><div class=\"plots\"><div>{}</div><div>{}</div></div>",
            latency.draw(),
            settled.draw()
        ),
    );
}

fn section(page: &mut String, run: &RunReport, is_named: bool) {
    if is_named {
        put(page, format_args!("<h2>{}</h2>", escape(&run.name)));
    }
    let points = &run.figures.points;
    let by_time = |figure: fn(&crate::recorder::Point) -> f64| {
        points
            .iter()
            .map(|point| (float(point.at_s), figure(point)))
            .collect()
    };
    let names: BTreeSet<&String> = run
        .samples
        .iter()
        .flat_map(|sample| sample.processes.keys())
        .collect();
    let process = |name: &String| {
        let used = |sample: &super::Sample| sample.processes.get(name).map_or(0.0, |used| used.cpu);
        let points = run.samples.iter().map(|sample| (sample.at_s, used(sample)));
        points.collect()
    };
    let sampled = |figure: fn(&super::Sample) -> f64| {
        run.samples
            .iter()
            .map(|sample| (sample.at_s, figure(sample)))
            .collect()
    };
    let curve = |curve: &crate::recorder::Curve| curve.points();
    let plots = [
        Plot {
            title: "Throughput",
            x: ("seconds", Scale::Linear),
            y: ("a second", Scale::Linear),
            lines: vec![
                Line {
                    name: "due",
                    points: by_time(|point| float(point.scheduled)),
                },
                Line {
                    name: "settled",
                    points: by_time(|point| float(point.settled)),
                },
                Line {
                    name: "rejected",
                    points: by_time(|point| float(point.rejected)),
                },
                Line {
                    name: "failed",
                    points: by_time(|point| float(point.failed)),
                },
            ],
            mark: None,
        },
        Plot {
            title: "Latency, by when it was due",
            x: ("seconds", Scale::Linear),
            y: ("ms", Scale::Log),
            lines: vec![
                Line {
                    name: "p50",
                    points: by_time(|point| point.p50_ms),
                },
                Line {
                    name: "p99",
                    points: by_time(|point| point.p99_ms),
                },
                Line {
                    name: "max",
                    points: by_time(|point| point.max_ms),
                },
            ],
            mark: None,
        },
        Plot {
            title: "Percentiles",
            x: ("share of the payments", Scale::Nines),
            y: ("ms", Scale::Log),
            lines: vec![
                Line {
                    name: "latency, from the scheduled instant",
                    points: curve(&run.figures.latency),
                },
                Line {
                    name: "service, from the sending",
                    points: curve(&run.figures.service),
                },
                Line {
                    name: "messages read after they were ready",
                    points: curve(&run.figures.consumed),
                },
            ],
            mark: None,
        },
        Plot {
            title: "Processors by process",
            x: ("seconds", Scale::Linear),
            y: ("processors", Scale::Linear),
            lines: names
                .iter()
                .map(|name| Line {
                    name,
                    points: process(name),
                })
                .collect(),
            mark: None,
        },
        Plot {
            title: "What waits in the switch",
            x: ("seconds", Scale::Linear),
            y: ("how many", Scale::Linear),
            lines: vec![
                Line {
                    name: "messages for the book",
                    points: sampled(|sample| sample.book_queue),
                },
                Line {
                    name: "transactions to leave",
                    points: sampled(|sample| sample.outbox),
                },
                Line {
                    name: "messages to be read",
                    points: sampled(|sample| sample.streams),
                },
                Line {
                    name: "open payments",
                    points: sampled(|sample| sample.open),
                },
            ],
            mark: None,
        },
        Plot {
            title: "Steal",
            x: ("seconds", Scale::Linear),
            y: ("% of the machine", Scale::Linear),
            lines: vec![Line {
                name: "steal",
                points: sampled(|sample| sample.steal * 100.0),
            }],
            mark: None,
        },
    ];
    *page += "<div class=\"plots\">";
    for plot in plots {
        put(page, format_args!("<div>{}</div>", plot.draw()));
    }
    *page += "</div><h3>Validity</h3>";
    checks(page, &run.checks);
    if !run.errors.is_empty() {
        *page += "<h3>Errors and refusals by reason</h3><table>";
        for (reason, count) in &run.errors {
            put(
                page,
                format_args!("<tr><td>{}</td><td class=\"n\">{count}</td></tr>", escape(reason)),
            );
        }
        *page += "</table>";
    }
    *page += "<h3>Processes</h3><table><tr><th>process</th><th class=\"n\">processors</th><th class=\"n\">MB</th></tr>";
    for (name, used) in &run.processes {
        put(
            page,
            format_args!(
                "<tr><td>{}</td><td class=\"n\">{:.2}</td><td class=\"n\">{:.0}</td></tr>",
                escape(name),
                used.cpu,
                used.memory_mb
            ),
        );
    }
    *page += "</table>";
    if let Some(recovery) = run.recovery {
        put(page, format_args!("<p>{}.</p>", escape(&recovery.to_string())));
    }
    if let Some(signatures) = run.signatures_a_payment {
        put(
            page,
            format_args!("<p>{signatures:.2} signatures of the switch a payment.</p>"),
        );
    }
}

fn conditions(page: &mut String, report: &Report) {
    *page += "<h2>Conditions</h2><table>";
    let setup = serde_json::to_value(&report.setup).unwrap_or_default();
    let machine = serde_json::to_value(&report.machine).unwrap_or_default();
    let postgres = serde_json::to_value(&report.postgres).unwrap_or_default();
    for (what, values) in [("run", setup), ("machine", machine), ("Postgres", postgres)] {
        for (name, value) in values.as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            put(
                page,
                format_args!(
                    "<tr><td class=\"soft\">{what}</td><td>{}</td><td>{}</td></tr>",
                    escape(name),
                    escape(&text)
                ),
            );
        }
    }
    put(
        page,
        format_args!(
            "<tr><td class=\"soft\">durability</td><td></td><td>{}</td></tr></table>",
            escape(&report.durability)
        ),
    );
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Report, medians, tests::sample};

    fn full() -> Report {
        let mut report = sample();
        report.medians = medians(&report.runs);
        report
    }

    #[test]
    fn the_page_holds_the_data_and_refers_to_nothing_else() {
        let report = full();
        let page = page(&report).unwrap();
        for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "//"] {
            assert!(!page.contains(outside), "{outside}");
        }
        let data = page.split("id=\"data\">").nth(1).unwrap();
        let data = data.split("</script>").next().unwrap();
        let back: Report = serde_json::from_str(&data.replace("<\\/", "</")).unwrap();
        assert_eq!(
            serde_json::to_value(&back).unwrap(),
            serde_json::to_value(&report).unwrap()
        );
        assert!(page.contains("25.0 ms") && page.contains("abcdef1"));
    }

    #[test]
    fn what_others_wrote_is_text() {
        let page = page(&full()).unwrap();
        assert!(page.contains("HTTP 429 &lt;script&gt;"));
        assert_eq!(
            page.matches("<script").count() - page.matches("429 <script").count(),
            1
        );
    }

    #[test]
    fn a_run_that_failed_its_gate_shows_no_figure_in_large() {
        let mut report = full();
        report.runs[0].is_valid = false;
        report.runs[1].is_valid = false;
        report.medians = None;
        let page = page(&report).unwrap();
        assert!(page.contains("No result"));
        assert!(!page.contains("p99 from") && !page.contains("settled, median"));
    }

    #[test]
    fn a_burst_tells_how_soon_it_was_over() {
        let mut report = full();
        let recovery = recovery::Recovery {
            baseline_p99_ms: 20.0,
            bound_ms: 30.0,
            in_burst_p99_ms: 180.0,
            after_s: Some(4),
            watched_s: 30,
        };
        report.runs[0].recovery = Some(recovery);
        let said = page(&report).unwrap();
        assert!(said.contains("<b>4 s</b>") && said.contains("<b>180.0 ms</b>p99 in the burst"));
        report.runs[1].recovery = Some(recovery::Recovery {
            after_s: None,
            ..recovery
        });
        assert!(page(&report).unwrap().contains("<b>never</b>"));
    }

    #[test]
    fn a_sweep_draws_its_knee() {
        let mut report = full();
        report.kind = Kind::Sweep;
        report.knee = Some(110.0);
        let page = page(&report).unwrap();
        assert!(page.contains("Latency by rate") && page.contains("110/s"));
    }
}
