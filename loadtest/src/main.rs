//! A first idea of the speed: closed loops of participants, from outside, over mTLS. `payments` speaks ICOM,
//! `lookups` the DICT's API; `keys` fills a DICT with entries first, by SQL.
//!
//! It is not the bench: a closed loop waits for the switch and so hides its worst moments, and the participants
//! sign live on the same cores. It counts what is true all the same: a payment counts when its ACSC was read and
//! verified, a look-up when its entry was.
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

mod bank;
mod keys;
mod load;
mod lookups;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use pix_domain::Ispb;

use crate::bank::Bank;
use crate::keys::KEYS_MAX;
use crate::load::Load;
use crate::lookups::Keys;

/// Closed loops of participants of a running switch.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Payments between two participants, over ICOM.
    Payments(Payments),
    /// Look-ups of keys, over the DICT's API.
    Lookups(Lookups),
    /// Loads a DICT's database with keys.
    Keys(LoadKeys),
}

/// Payments in a closed loop between two participants of a running switch.
///
/// Make the two first, for example:
///   pix pki participant --ispb 88880001 --out payer --balance 1000000.00
///   pix pki participant --ispb 88880002 --out receiver
///   loadtest payments --payer 88880001=payer --receiver 88880002=receiver
#[derive(Args)]
#[command(verbatim_doc_comment)]
struct Payments {
    /// The payer: its ISPB and its folder, as `pix pki participant` writes it.
    #[arg(long, value_name = "ISPB=DIR", value_parser = participant)]
    payer: (Ispb, PathBuf),
    /// The receiver.
    #[arg(long, value_name = "ISPB=DIR", value_parser = participant)]
    receiver: (Ispb, PathBuf),
    /// The primary channel of the switch.
    #[arg(long, default_value = "https://localhost:4002")]
    spi: String,
    /// How many payments.
    #[arg(long, default_value_t = 20_000)]
    payments: usize,
    /// Transactions in one pacs.008, 1 to 10.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=10))]
    per_message: u8,
    /// Payments under way at once.
    #[arg(long, default_value_t = 1_000)]
    in_flight: usize,
}

/// Look-ups in a closed loop; the signature of every answer is verified.
///
/// A participant of category A may look up 50,000 keys at once and then 25,000 a minute; what is beyond is RateLimited
/// and does not count. Several participants have several times as many. Every look-up is for another payer. Example:
///   pix pki participant --ispb 88880001 --out payer
///   loadtest keys --database postgres://... --count 1000000
///   loadtest lookups --participant 88880001=payer --count 1000000 --for 10
#[derive(Args)]
#[command(verbatim_doc_comment)]
struct Lookups {
    /// Who asks: its ISPB and its folder, as `pix pki participant` writes it. May come several times.
    #[arg(long, value_name = "ISPB=DIR", value_parser = participant, required = true)]
    participant: Vec<(Ispb, PathBuf)>,
    /// The DICT.
    #[arg(long, default_value = "https://localhost:4001")]
    dict: String,
    /// File with one key a line.
    #[arg(long, required_unless_present = "count", conflicts_with = "count")]
    keys: Option<PathBuf>,
    /// Look up those that `loadtest keys --count` has loaded.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=KEYS_MAX))]
    count: Option<u64>,
    /// How long, in seconds.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 10)]
    span: u64,
    /// How many ask at once, each on a connection of its own.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
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
    #[arg(long, default_value = "88880009", value_parser = |text: &str| Ispb::parse(text.as_bytes()))]
    participant: Ispb,
}

fn main() -> ExitCode {
    pix_runtime::init_crypto();
    let command = Arguments::parse().command;
    let ran = pix_runtime::build_runtime()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(command)));
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Payments(args) => payments(args).await,
        Command::Lookups(args) => lookups(args).await,
        Command::Keys(args) => load_keys(args).await,
    }
}

/// Whether every payment settled.
async fn payments(args: Payments) -> anyhow::Result<bool> {
    refuse_strangers("--spi", &args.spi)?;
    let payer = Bank::load(args.payer.0, &args.payer.1, &args.spi).context("the payer's folder")?;
    let receiver =
        Bank::load(args.receiver.0, &args.receiver.1, &args.spi).context("the receiver's folder")?;
    let load = Load {
        payments: args.payments,
        per_message: usize::from(args.per_message),
        in_flight: args.in_flight,
    };
    let result = load::run(load, payer, receiver).await?;
    println!("{result}");
    println!("a closed loop that signs live beside the switch: a first idea, not a measurement");
    Ok(result.settled == args.payments)
}

/// Whether every look-up found its entry.
async fn lookups(args: Lookups) -> anyhow::Result<bool> {
    refuse_strangers("--dict", &args.dict)?;
    let keys = match (&args.keys, args.count) {
        (Some(file), _) => Keys::read(file)?,
        (None, Some(count)) => Keys::Loaded(count),
        (None, None) => anyhow::bail!("--keys or --count is needed"),
    };
    let connections = usize::from(args.connections);
    let participants = args
        .participant
        .iter()
        .map(|one| lookups::participant(one, &args.dict, connections));
    let participants = participants
        .collect::<anyhow::Result<Vec<_>>>()
        .context("the participant's folder")?;
    let outcome = lookups::run(participants, keys, connections, Duration::from_secs(args.span)).await?;
    println!("{outcome}");
    println!("a closed loop that verifies live beside the DICT: a first idea, not a measurement");
    Ok(outcome.is_whole())
}

/// Whether the keys are there.
async fn load_keys(args: LoadKeys) -> anyhow::Result<bool> {
    let tell = |done: u64, took: Duration| println!("{done} keys after {:.1} s", took.as_secs_f64());
    let loaded = keys::load(&args.database, args.participant, args.count, tell).await?;
    println!(
        "{} new keys of {} in {:.1} s, analysed",
        loaded.new,
        args.count,
        loaded.took.as_secs_f64()
    );
    Ok(true)
}

fn participant(text: &str) -> Result<(Ispb, PathBuf), String> {
    let (ispb, folder) = text
        .split_once('=')
        .ok_or("write ISPB=DIR, for example 88880001=payer")?;
    let ispb = Ispb::parse(ispb.as_bytes()).map_err(|e| e.to_string())?;
    Ok((ispb, PathBuf::from(folder)))
}

/// Load goes to this machine only.
fn refuse_strangers(option: &str, url: &str) -> anyhow::Result<()> {
    let host = url
        .strip_prefix("https://")
        .and_then(|rest| rest.split([':', '/']).next());
    anyhow::ensure!(
        matches!(host, Some("localhost" | "127.0.0.1")),
        "{option} has to be https:// on localhost or 127.0.0.1: this tool does not load other machines"
    );
    Ok(())
}
