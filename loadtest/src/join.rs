//! How the bench's banks become participants: with `pix pki participant`, as any outside bank does here.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use pix_domain::Ispb;

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

/// Bank number `index`, from zero.
pub(crate) fn ispb(index: u16) -> Ispb {
    Ispb::parse(format!("9800{:04}", index + 1).as_bytes()).expect("eight digits")
}

/// Where it keeps its certificates and keys.
fn folder(instance: &Instance, index: u16) -> PathBuf {
    instance.dir.join(format!("bench/{}", ispb(index)))
}

/// Makes those of the first `count` that are not participants yet. `tell` hears how it goes.
pub(crate) async fn join(
    instance: &Instance,
    count: u16,
    tell: impl Fn(&str),
) -> anyhow::Result<Vec<(Ispb, PathBuf)>> {
    let mut banks = Vec::new();
    let began = Instant::now();
    let mut told = Instant::now();
    for index in 0..count {
        let (ispb, folder) = (ispb(index), folder(instance, index));
        if !folder.join("joined").is_file() {
            let out = folder.display().to_string();
            let name = format!("Banco de Carga {}", index + 1);
            let mut command = vec![
                "pki",
                "participant",
                "--ispb",
                ispb.as_str(),
                "--out",
                &out,
                "--name",
                &name,
                "--balance",
                OPENING_BALANCE,
            ];
            if folder.join("channel.key").is_file() {
                // Of a join that was cut off: whatever came of it, this one is whole.
                command.push("--force");
            }
            let joined = instance.pix(&command).output().await?;
            if !joined.status.success() {
                let why = String::from_utf8_lossy(&joined.stderr);
                bail!("{ispb} cannot become a participant: {}", why.trim());
            }
            // Written last: a folder without it is of a join that was cut off.
            std::fs::write(folder.join("joined"), OPENING_BALANCE)?;
        }
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            tell(&format!("{} of {count} banks have joined", index + 1));
        }
        banks.push((ispb, folder));
    }
    if began.elapsed() > Duration::from_secs(1) {
        tell(&format!(
            "{count} banks joined in {:.1} s",
            began.elapsed().as_secs_f64()
        ));
    }
    Ok(banks)
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
