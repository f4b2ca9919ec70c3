//! How the bench's banks become participants: with `pix pki participant`, as any outside bank does here.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use pix_domain::Ispb;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::fleet::Bank;
use crate::gate::Accounts;
use crate::instance::Instance;
use crate::switch::Switch;

/// The most banks: their numbers have four digits, and the switch's accounts are asked for in one answer.
pub(crate) const BANKS_MAX: u16 = 200;

/// What each Conta PI opens with, in reais: enough for days of payments of a real at most.
const OPENING_BALANCE: &str = "100000000.00";
/// The same, in centavos.
const OPENING_CENTAVOS: i64 = 10_000_000_000;
/// Below this part of it a run could end in AM04.
const ENOUGH_CENTAVOS: i64 = OPENING_CENTAVOS / 100;

/// A new participant is known to the whole switch within moments.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const TELL_EVERY: Duration = Duration::from_secs(5);

/// The file in a bank's folder that says that it is a participant.
const JOINED: &str = "joined";

/// Bank number `index`, from zero.
pub(crate) fn ispb(index: u16) -> Ispb {
    Ispb::parse(format!("9800{:04}", index + 1).as_bytes()).expect("eight digits")
}

/// Where it keeps its certificates and keys.
fn folder(instance: &Instance, index: u16) -> PathBuf {
    instance.dir.join(format!("bench/{}", ispb(index)))
}

/// Banks that join at once. The registry takes one change at a time, and making keys takes a processor.
fn at_once() -> usize {
    const MOST: usize = 16;
    std::thread::available_parallelism().map_or(2, |processors| (2 * processors.get()).min(MOST))
}

/// Makes those of the first `count` that are not participants yet. `tell` hears how it goes.
pub(crate) async fn join(
    instance: &Instance,
    count: u16,
    tell: impl Fn(&str),
) -> anyhow::Result<Vec<(Ispb, PathBuf)>> {
    let began = Instant::now();
    let mut told = Instant::now();
    let mut joining = JoinSet::new();
    let mut joined = 0;
    let banks: Vec<(Ispb, PathBuf)> = (0..count)
        .map(|index| (ispb(index), folder(instance, index)))
        .collect();
    let mut missing = (1..)
        .zip(&banks)
        .filter(|(_, (_, folder))| !folder.join(JOINED).is_file());
    loop {
        while joining.len() < at_once()
            && let Some((number, (ispb, folder))) = missing.next()
        {
            joining.spawn(one(
                command(instance, number, *ispb, folder),
                *ispb,
                folder.clone(),
            ));
        }
        // Of one that fails the others end with us, and a later bench takes up what they left.
        let Some(one) = joining.join_next().await else {
            break;
        };
        one??;
        joined += 1;
        if told.elapsed() > TELL_EVERY {
            told = Instant::now();
            tell(&format!("{joined} banks have joined of {count}"));
        }
    }
    if joined > 0 {
        let seconds = began.elapsed().as_secs_f64();
        tell(&format!("{joined} banks joined in {seconds:.1} s"));
    }
    Ok(banks)
}

fn command(instance: &Instance, number: u16, ispb: Ispb, folder: &Path) -> Command {
    let (out, name) = (folder.display().to_string(), format!("Banco de Carga {number}"));
    let mut command = instance.pix(&["pki", "participant", "--ispb", ispb.as_str()]);
    command.args(["--out", &out, "--name", &name, "--balance", OPENING_BALANCE]);
    if folder.join("channel.key").is_file() {
        // Of a join that was cut off: whatever came of it, this one is whole.
        command.arg("--force");
    }
    command
}

async fn one(mut command: Command, ispb: Ispb, folder: PathBuf) -> anyhow::Result<()> {
    let joined = command.output().await?;
    if !joined.status.success() {
        let why = String::from_utf8_lossy(&joined.stderr);
        bail!("{ispb} cannot become a participant: {}", why.trim());
    }
    // Written last: a folder without it is of a join that was cut off.
    std::fs::write(folder.join(JOINED), OPENING_BALANCE)?;
    Ok(())
}

/// Waits until the switch lets every bank in and has its Conta PI.
pub(crate) async fn are_known(switch: &Switch, banks: &[Bank]) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let accounts = switch.accounts().await;
        let missing = match &accounts {
            Ok(accounts) => first_without_money(accounts, banks),
            Err(why) => Some(format!("{why:#}")),
        };
        let why = match missing {
            None => break,
            Some(why) => why,
        };
        if began.elapsed() > KNOWN_WITHIN {
            bail!("the switch is not ready for the bench's banks: {why}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    for bank in banks {
        while !(bank.icom.answers().await && bank.dict_answers().await) {
            if began.elapsed() > KNOWN_WITHIN {
                bail!("the SPI or the DICT does not let {} in", bank.ispb());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

fn first_without_money(accounts: &Accounts, banks: &[Bank]) -> Option<String> {
    banks.iter().find_map(|bank| {
        let ispb = bank.ispb();
        match accounts.get(ispb.as_str()) {
            None => Some(format!("{ispb} has no Conta PI")),
            Some(account) if account.available < ENOUGH_CENTAVOS => Some(format!(
                "{ispb} has {} centavos left: fund it, or let the bench start a switch of its own",
                account.available
            )),
            Some(_) => None,
        }
    })
}

/// Reads the banks' folders.
pub(crate) fn banks(
    instance: &Instance,
    folders: &[(Ispb, PathBuf)],
    connections: usize,
) -> anyhow::Result<Vec<Bank>> {
    let base = |port| format!("https://localhost:{}", instance.port(port));
    folders
        .iter()
        .map(|(ispb, folder)| {
            Bank::load(*ispb, folder, &base(4002), &base(4001), &base(4011), connections)
                .with_context(|| format!("the folder of {ispb}"))
        })
        .collect()
}
