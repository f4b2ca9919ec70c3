//! A first idea of the speed: a closed loop between two participants, from outside, over ICOM and mTLS.
//!
//! It is not the bench: a closed loop waits for the switch and so hides its worst moments, and payer and
//! receiver sign live on the same cores. It counts what is true all the same: a payment counts when its
//! ACSC was read and verified.
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

mod bank;
mod load;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use pix_domain::Ispb;

use crate::bank::Bank;
use crate::load::Load;

/// Payments in a closed loop between two participants of a running switch.
///
/// Make the two first, for example:
///   pix pki participant --ispb 88880001 --out payer --balance 1000000.00
///   pix pki participant --ispb 88880002 --out receiver
///   loadtest --payer 88880001=payer --receiver 88880002=receiver
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
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

fn main() -> ExitCode {
    pix_runtime::init_crypto();
    let args = Args::parse();
    let ran = pix_runtime::build_runtime()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(args)));
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every payment settled.
async fn run(args: Args) -> anyhow::Result<bool> {
    refuse_strangers(&args.spi)?;
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

fn participant(text: &str) -> Result<(Ispb, PathBuf), String> {
    let (ispb, folder) = text
        .split_once('=')
        .ok_or("write ISPB=DIR, for example 88880001=payer")?;
    let ispb = Ispb::parse(ispb.as_bytes()).map_err(|e| e.to_string())?;
    Ok((ispb, PathBuf::from(folder)))
}

/// Load goes to this machine only.
fn refuse_strangers(spi: &str) -> anyhow::Result<()> {
    let host = spi
        .strip_prefix("https://")
        .and_then(|rest| rest.split([':', '/']).next());
    anyhow::ensure!(
        matches!(host, Some("localhost" | "127.0.0.1")),
        "--spi has to be https:// on localhost or 127.0.0.1: this tool does not load other machines"
    );
    Ok(())
}
