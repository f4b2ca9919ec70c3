//! What a terminal shows while a run goes on; nothing where no terminal is.

use std::io::{IsTerminal as _, Write as _};

use crate::fleet::Run;
use crate::number::millis;
use crate::recorder::Lately;
use crate::report::Sample;
use crate::switch::Gauges;

/// The lower part of the terminal, drawn again each second.
pub(crate) struct View {
    is_on: bool,
    lines: usize,
}

/// Errors that are shown; the report has all.
const REASONS_MAX: usize = 5;
/// Processes side by side: three fit into the 80 columns of the smallest terminal in use.
const PROCESSES_IN_ROW: usize = 3;
/// Of a terminal that does not tell its size.
const USUAL_SIZE: (usize, usize) = (80, 24);

impl View {
    pub(crate) fn new() -> Self {
        Self {
            is_on: std::io::stdout().is_terminal(),
            lines: 0,
        }
    }

    /// How it goes.
    pub(crate) fn show(
        &mut self,
        name: &str,
        run: &Run,
        sample: &Sample,
        gauges: &Gauges,
        signatures: Option<f64>,
    ) {
        if !self.is_on {
            return;
        }
        let lines = lines(
            name,
            run.now(),
            run.load.span,
            run.lately(),
            sample,
            gauges,
            signatures,
            {
                let mut errors: Vec<_> = run.errors().into_iter().filter(|(_, count)| *count > 0).collect();
                errors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
                errors
            },
        );
        let lines = fitting(lines, size());
        let mut out = String::new();
        if self.lines > 0 {
            out += &format!("\x1b[{}A", self.lines);
        }
        for line in &lines {
            out += "\x1b[2K";
            out += line;
            out.push('\n');
        }
        // Fewer lines than before leave nothing behind.
        out += "\x1b[J";
        self.lines = lines.len();
        put(&out);
    }

    /// Leaves what is drawn; the next one begins below.
    pub(crate) fn leave(&mut self) {
        self.lines = 0;
    }

    /// A line of its own.
    pub(crate) fn say(&mut self, line: &str) {
        self.leave();
        // A `^C` that the terminal has shown goes.
        let clear = if self.is_on { "\r\x1b[J" } else { "" };
        put(&format!("{clear}{line}\n"));
    }
}

/// Columns and rows.
fn size() -> (usize, usize) {
    let told = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    told.filter(|size| size.ws_col > 0 && size.ws_row > 0)
        .map_or(USUAL_SIZE, |size| {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        })
}

/// What a terminal can draw again in place: no line that wraps, and no more of them than it has above its last row.
fn fitting(lines: Vec<String>, (columns, rows): (usize, usize)) -> Vec<String> {
    let cut = |line: String| match line.char_indices().nth(columns) {
        None => line,
        Some(_) => line.chars().take(columns - 1).chain(['…']).collect(),
    };
    lines.into_iter().take(rows - 1).map(cut).collect()
}

/// Whoever read it may be gone: that ends no run.
fn put(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

#[expect(clippy::too_many_arguments, reason = "each is one figure of the same second")]
fn lines(
    name: &str,
    now: u64,
    span: u64,
    lately: Lately,
    sample: &Sample,
    gauges: &Gauges,
    signatures: Option<f64>,
    errors: Vec<(String, u64)>,
) -> Vec<String> {
    let seconds = |micros: u64| micros / 1_000_000;
    let mut lines = vec![
        format!("{name}: {} of {} s", seconds(now), seconds(span)),
        format!(
            "  {:>8}/s settled   p50 {:>8.1} ms   p99 {:>8.1} ms   p99.9 {:>8.1} ms",
            lately.rate,
            millis(lately.p50),
            millis(lately.p99),
            millis(lately.p999)
        ),
        format!(
            "  waiting: {:.0} for the book, {:.0} to leave, {:.0} to be read; {:.0} open",
            gauges.book_queue, gauges.backlog.outbox, gauges.backlog.streams, gauges.backlog.open,
        ),
        format!(
            "  steal {:.1} %{}",
            sample.steal * 100.0,
            signatures.map_or(String::new(), |signatures| format!(
                "; {signatures:.2} signatures a payment"
            ))
        ),
    ];
    let processes: Vec<String> = sample
        .processes
        .iter()
        .map(|(name, used)| format!("{name:<13}{:>5.2}{:>5.0} MB", used.cpu, used.memory_mb))
        .collect();
    for row in processes.chunks(PROCESSES_IN_ROW) {
        lines.push(format!("  {}", row.join(" ")));
    }
    for (reason, count) in errors.into_iter().take(REASONS_MAX) {
        lines.push(format!("  {count:>8} {reason}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Used;

    #[test]
    fn a_second_is_told_in_few_lines() {
        let sample = Sample {
            steal: 0.031,
            processes: [(
                "spi".to_owned(),
                Used {
                    cpu: 0.71,
                    memory_mb: 88.0,
                },
            )]
            .into(),
            ..Sample::default()
        };
        let lately = Lately {
            rate: 500,
            p50: 4_200,
            p99: 31_000,
            p999: 99_000,
        };
        let errors = vec![("HTTP 429".to_owned(), 3)];
        let all = lines(
            "smoke",
            12_500_000,
            30_000_000,
            lately,
            &sample,
            &Gauges::default(),
            Some(0.6),
            errors,
        );
        let text = all.join("\n");
        for part in [
            "12 of 30 s",
            "500/s",
            "p99     31.0 ms",
            "spi           0.71   88 MB",
            "3 HTTP 429",
            "3.1 %",
            "0.60 sig",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(all.iter().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn what_a_terminal_draws_again_fits_into_it() {
        let lines: Vec<String> = (4..8).map(|length| "é".repeat(length)).collect();
        assert_eq!(
            fitting(lines.clone(), (6, 9)),
            ["éééé", "ééééé", "éééééé", "ééééé…"]
        );
        assert_eq!(fitting(lines, (80, 3)).len(), 2);
    }
}
