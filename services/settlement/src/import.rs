//! What an empty registry begins with: the participants of a file, and an order for what each Conta PI starts with.

use std::path::Path;

use anyhow::Context as _;
use pix_domain::{Ispb, Money};
use pix_participants::{Record, Use, seed};
use settlement_core::certificate::{self, Certificate};
use settlement_core::funding::{Amount, Note, Order, OrderId};
use settlement_core::registry::{Command, Name, NewParticipant, State};

use crate::registry::Registrar;

/// Who ordered it, in the audit.
const ORDERED_BY: &str = "settlement";

/// Takes over the file when nobody takes part yet: all of it, or nothing.
pub(crate) async fn into_empty(registrar: &Registrar, path: &Path) -> anyhow::Result<()> {
    if registrar.current().version() > 0 {
        return Ok(());
    }
    let seed =
        seed::read(path).map_err(|faults| anyhow::anyhow!("participants.file has faults: {faults}"))?;
    let mut commands = Vec::with_capacity(seed.records.len());
    let mut openings = Vec::new();
    for record in &seed.records {
        let place = || format!("participant {} of participants.file", record.ispb);
        commands.push(command(record).with_context(place)?);
        let balance = record.opening_balance.unwrap_or(Money::ZERO);
        if !balance.is_zero() {
            openings.push(opening(record.ispb, balance).with_context(place)?);
        }
    }
    let imported = registrar.import(&commands, &openings, ORDERED_BY).await;
    if imported.context("participants.file cannot be taken over")? {
        tracing::info!(
            participants = commands.len(),
            openings = openings.len(),
            "the registry begins with the participants of participants.file"
        );
    }
    Ok(())
}

fn command(record: &Record) -> anyhow::Result<Command> {
    let certificates = record.certificates.iter().map(|one| {
        let usage = match one.purpose {
            Use::Channel => certificate::Use::Channel,
            Use::Signature => certificate::Use::Signature,
        };
        Certificate::from_der(usage, &one.der)
    });
    let state = match record.active {
        true => State::Active,
        false => State::Suspended,
    };
    let new = NewParticipant {
        ispb: record.ispb,
        name: Name::parse(&record.name).context("name")?,
        settler: record.settler,
        category: record.category,
        certificates: certificates.collect::<Result<_, _>>()?,
        low_liquidity: None,
    };
    Ok(Command::Import(new, state))
}

fn opening(ispb: Ispb, balance: Money) -> anyhow::Result<Order> {
    Ok(Order {
        id: OrderId::opening(ispb),
        ispb,
        amount: Amount::from_centavos(balance.to_i64()).context("opening_balance")?,
        note: Note::parse("opening balance of participants.file").expect("a short text"),
        is_opening: true,
    })
}
