//! The bench: a fleet of participants that load a switch from outside, over ICOM and the DICT's API, and a report of
//! what it did. `docs/BENCH.md` says how to read it.

mod arrivals;
mod bench;
mod chance;
mod compare;
mod fleet;
mod gate;
mod homologation;
mod instance;
mod join;
mod keys;
mod knee;
mod ledger;
mod machine;
mod number;
mod plan;
mod recorder;
mod recovery;
mod report;
mod schedule;
mod slo;
mod summary;
mod switch;
mod view;
mod yardstick;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use pix_domain::Ispb;

use crate::bench::{Verdict, Wanted};
use crate::keys::KEYS_MAX;
use crate::plan::{Changes, Lookups, Plan, Preset, Sign, Size};
use crate::report::Report;
use crate::slo::Slo;

/// Loads a switch with payments and look-ups from outside, and reports what it did.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true,
    after_help = EXAMPLES
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Option<RunArguments>,
}

const EXAMPLES: &str = "Examples:
  pix bench smoke                                   does it work? half a minute
  pix bench fleet --rate 3000 --runs 5              five runs, and their medians
  pix bench pair --slo p99<50ms --slo errors<0.1%   exit code 1 when a promise is broken
  pix bench ramp                                    finds the knee
  pix bench homologation --size small
  pix bench pair --attack .pix                      against a switch that runs already
  pix bench compare A.json B.json

Exit code: 0 every promise kept, 1 a promise broken, 2 no result. Figures count in release builds only.";

#[derive(Subcommand)]
enum Command {
    /// Puts two reports side by side.
    Compare {
        /// The JSON of one.
        a: PathBuf,
        /// The JSON of the other.
        b: PathBuf,
    },
    /// Loads a DICT's database with keys.
    Keys(LoadKeys),
}

#[derive(Args)]
struct RunArguments {
    /// What to run.
    #[arg(value_enum)]
    preset: Preset,
    /// Participants, 2 to 200.
    #[arg(long)]
    banks: Option<u16>,
    /// So many of them pay, the first ones.
    #[arg(long)]
    payers: Option<u16>,
    /// So many of them are paid, the last ones.
    #[arg(long)]
    receivers: Option<u16>,
    /// 0: all banks alike; 1: the k-th has a k-th of the first's payments.
    #[arg(long)]
    skew: Option<f64>,
    /// Payments, or look-ups, a second.
    #[arg(long)]
    rate: Option<f64>,
    /// Rate of the burst; without a burst, the rate goes from --rate to this.
    #[arg(long)]
    peak: Option<f64>,
    /// Seconds.
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    span: Option<Duration>,
    /// Seconds at the beginning that do not count.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    warm_up: Option<Duration>,
    /// How payments come.
    #[arg(long, value_parser = ["constant", "poisson"])]
    arrivals: Option<String>,
    /// Payments come as this file says: seconds from the start, one a line.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Payments in a message, 1 to 10.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=10))]
    per_message: Option<u8>,
    /// When payers sign; receivers always sign live.
    #[arg(long, value_enum)]
    sign: Option<Sign>,
    /// How payers come to know whom they pay.
    #[arg(long, value_enum)]
    lookups: Option<Lookups>,
    /// Milliseconds that receivers take to answer.
    #[arg(long, value_name = "MS")]
    answer_delay: Option<u64>,
    /// Percentage of the payments that receivers refuse.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    refuse: Option<f64>,
    /// Percentage of the messages that are sent twice.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    duplicates: Option<f64>,
    /// Another seed makes another schedule.
    #[arg(long)]
    seed: Option<u64>,
    /// Of homologation: by the participant's accounts.
    #[arg(long, value_enum)]
    size: Option<Size>,
    /// So many runs, one after the other, and their medians.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=50))]
    runs: u16,
    /// A promise: p50, p90, p95, p99, p99.9, max (p99<50ms), errors (errors<0.1%), rate (rate>1000).
    #[arg(long)]
    slo: Vec<Slo>,
    /// Percentage of steal above which a run is shown and left out of the medians.
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = percent)]
    steal_max: f64,
    /// Look up so many keys that are loaded into the DICT by SQL first, instead of the banks' own.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=KEYS_MAX))]
    loaded_keys: Option<u64>,
    /// Sign with this libcrypto_mb, eight at a time: the fleet, and the bench's own switch.
    #[arg(long, value_name = "FILE")]
    vector_library: Option<PathBuf>,
    /// Leave the yardsticks out.
    #[arg(long)]
    no_yardsticks: bool,
    /// Attack the switch that runs in this folder (on this machine) instead of starting one.
    #[arg(long, value_name = "DIR")]
    attack: Option<PathBuf>,
    /// Keep the switch of this bench, with its data, in this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "attack")]
    keep: Option<PathBuf>,
    /// The `pix` that starts the switch; the one beside this program unless given.
    #[arg(long, value_name = "FILE", env = "PIX_BENCH_PIX")]
    pix: Option<PathBuf>,
    /// Folder of the reports.
    #[arg(long, value_name = "DIR", default_value = "bench-reports")]
    out: PathBuf,
    /// Streams that each bank reads, 1 to 6; 6 when there are few banks, else 2.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=6))]
    streams: Option<u8>,
    /// Messages that each bank sends at once, 1 to 200; 200 when there are few banks, else 32.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=200))]
    connections: Option<u16>,
}

/// Loads a DICT's database with keys of all five types, by SQL, and analyses it.
///
/// They are the same keys at every load; those that are there already stay. The participant need not exist: its
/// entries are there to be looked up, not to be reconciled. The owner's URL stands in .pix/config/dict.toml.
#[derive(Args)]
struct LoadKeys {
    /// The DICT's database, as its owner.
    #[arg(long, value_name = "URL")]
    database: String,
    /// How many.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=KEYS_MAX))]
    count: u64,
    /// Whose entries they become: nobody's who looks them up.
    #[arg(long, default_value_t = keys::owner(), value_parser = |text: &str| Ispb::parse(text.as_bytes()))]
    participant: Ispb,
}

/// There is no result.
const NO_RESULT: u8 = 2;
/// So few banks need all the streams and connections that they may have: each has thousands of payments a second.
const FEW_BANKS: u16 = 4;

fn main() -> ExitCode {
    pix_runtime::init_crypto();
    let arguments = Arguments::parse();
    let ran = pix_runtime::build_runtime()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let ran = runtime.block_on(run(arguments));
            // Who is asked to stop while orders are signed ahead does not sign the rest first.
            runtime.shutdown_background();
            ran
        });
    match ran {
        Ok(code) => code,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "bench: {error:#}"));
            ExitCode::from(NO_RESULT)
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match (arguments.command, arguments.run) {
        (Some(Command::Compare { a, b }), _) => {
            let table = compare::table(&Report::read(&a)?, &Report::read(&b)?);
            tell(table.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        (Some(Command::Keys(what)), _) => load_keys(what).await,
        (None, Some(run)) => {
            let wanted = wanted(run)?;
            if let Some(library) = &wanted.vector_library {
                pix_xmldsig::vector::load(library)
                    .with_context(|| format!("--vector-library {}", library.display()))?;
            }
            let verdict = bench::bench(&wanted).await?;
            Ok(match verdict {
                Verdict::Kept => ExitCode::SUCCESS,
                Verdict::Broken => ExitCode::FAILURE,
                Verdict::Invalid => ExitCode::from(NO_RESULT),
            })
        }
        (None, None) => anyhow::bail!("what to run? `pix bench smoke` is a beginning; --help lists all"),
    }
}

fn wanted(run: RunArguments) -> anyhow::Result<Wanted> {
    let trace = run.trace.map(|path| {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        arrivals::trace(&text)
    });
    let changes = Changes {
        banks: run.banks,
        payers: run.payers,
        receivers: run.receivers,
        skew: run.skew,
        rate: run.rate,
        peak: run.peak,
        span: run.span,
        warm_up: run.warm_up,
        poisson: run.arrivals.map(|arrivals| arrivals == "poisson"),
        trace: trace.transpose()?,
        per_message: run.per_message,
        sign: run.sign,
        lookups: run.lookups,
        answer_delay: run.answer_delay.map(Duration::from_millis),
        refuse: run.refuse,
        duplicates: run.duplicates,
        seed: run.seed,
        size: run.size,
    };
    // The switch runs in another folder. What is no file here is a name that the loader looks for.
    let vector_library = run.vector_library.map(|path| match path.is_file() {
        true => std::path::absolute(path),
        false => Ok(path),
    });
    let plan = Plan::new(run.preset, &changes)?;
    let are_few = plan.banks <= FEW_BANKS;
    Ok(Wanted {
        preset: run.preset,
        streams: run.streams.unwrap_or(if are_few { 6 } else { 2 }),
        connections: run.connections.unwrap_or(if are_few { 200 } else { 32 }),
        plan,
        size: run.size.unwrap_or(Size::Large),
        runs: run.runs,
        slos: run.slo,
        steal_max: run.steal_max,
        yardsticks: !run.no_yardsticks,
        loaded_keys: run.loaded_keys,
        vector_library: vector_library.transpose()?,
        attack: run.attack,
        keep: run.keep,
        pix: run.pix,
        out: run.out,
    })
}

async fn load_keys(what: LoadKeys) -> anyhow::Result<ExitCode> {
    let progress =
        |done: u64, took: Duration| tell(&format!("{done} keys after {:.1} s", took.as_secs_f64()));
    let loaded = keys::load(&what.database, what.participant, what.count, progress).await?;
    tell(&format!(
        "{} new keys of {} in {:.1} s, analysed",
        loaded.new,
        what.count,
        loaded.took.as_secs_f64()
    ));
    Ok(ExitCode::SUCCESS)
}

/// A line for whoever reads; nobody has to.
fn tell(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "seconds, like 30 or 0.5".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

/// As a share, 0 to 1.
fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .trim_end_matches('%')
        .parse()
        .map_err(|_| "a percentage, like 1 or 0.1".to_owned())?;
    if (0.0..=100.0).contains(&number) {
        Ok(number / 100.0)
    } else {
        Err("a percentage is 0 to 100".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(["bench"].iter().chain(words))
    }

    #[test]
    fn the_surface_is_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_preset_runs_and_a_subcommand_does_not() {
        let run = parse(&[
            "smoke", "--rate", "20", "--for", "2", "--slo", "p99<50ms", "--refuse", "1%",
        ]);
        let run = run.unwrap().run.unwrap();
        let wanted = wanted(run).unwrap();
        assert_eq!(wanted.plan.arrivals.span(), Duration::from_secs(2));
        assert!((wanted.plan.refuse - 0.01).abs() < 1e-9);
        assert_eq!(wanted.slos.len(), 1);
        assert!(matches!(
            parse(&["compare", "a.json", "b.json"]).unwrap().command,
            Some(Command::Compare { .. })
        ));
        for wrong in [
            &["nothing"][..],
            &["smoke", "--slo", "p99"],
            &["smoke", "--per-message", "11"],
            &["smoke", "--refuse", "101"],
            &["smoke", "--keep", "a", "--attack", "b"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
