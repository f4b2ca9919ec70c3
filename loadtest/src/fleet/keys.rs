//! Keys that the fleet's customers have in the DICT, and who asks for them.

use anyhow::Context as _;
use pix_dict_api::{Account, NewEntry, Owner, ProblemKind};
use pix_dict_client::Failure;
use pix_domain::{AccountNumber, AccountType, Key, KeyType, RequestId, TaxId, Text, Timestamp};
use tokio::task::JoinSet;

use super::Bank;
use crate::chance;
use crate::keys::cpf;
use crate::number::wide;

/// The first nine digits of payers' CPFs: of each look-up another one, for everybody has few of them.
const PAYERS_FROM: u64 = 300_000_000;
const PAYERS: u64 = 600_000_000;
/// Owners' likewise.
const OWNERS_FROM: u64 = 200_000_000;

/// Registrations of one bank at once: the DICT gives each participant four places to write.
const AT_ONCE: usize = 4;

/// The keys that there are.
#[derive(Clone, Default)]
pub(crate) struct Directory {
    by_bank: Vec<Vec<Key>>,
    /// As many as `keys::load` has put into the DICT, of a participant outside the fleet.
    loaded: u64,
}

impl Directory {
    /// Those that were loaded by SQL, instead of any bank's.
    pub(crate) fn loaded(count: u64) -> Self {
        Self {
            loaded: count,
            ..Self::default()
        }
    }

    /// One key of bank `bank`, by a number that is chance or counts; none when it has none.
    pub(crate) fn any(&self, bank: u16, which: u64) -> Option<Key> {
        if self.loaded > 0 {
            return Some(crate::keys::key(1 + which % self.loaded));
        }
        let keys = self.by_bank.get(usize::from(bank))?;
        let count = u64::try_from(keys.len()).ok().filter(|count| *count > 0)?;
        keys.get(usize::try_from(which % count).ok()?).cloned()
    }

    /// Keys that there are of bank `bank`.
    pub(crate) fn count(&self, bank: u16) -> u64 {
        let of_bank = || {
            self.by_bank
                .get(usize::from(bank))
                .map_or(0, |keys| wide(keys.len()))
        };
        if self.loaded > 0 { self.loaded } else { of_bank() }
    }

    /// Registers `count` keys of each bank of `whose`. One that is there already, of an earlier run, is as good.
    pub(crate) async fn register(
        banks: &[Bank],
        whose: std::ops::Range<u16>,
        count: u16,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let mut by_bank = vec![Vec::new(); banks.len()];
        let mut all = JoinSet::new();
        for index in whose {
            let bank = banks[usize::from(index)].clone();
            all.spawn(async move { of_bank(bank, index, count, now).await.map(|keys| (index, keys)) });
        }
        while let Some(registered) = all.join_next().await {
            let (index, keys) = registered??;
            by_bank[usize::from(index)] = keys;
        }
        Ok(Self { by_bank, loaded: 0 })
    }
}

async fn of_bank(bank: Bank, index: u16, count: u16, now: Timestamp) -> anyhow::Result<Vec<Key>> {
    let mut keys = Vec::with_capacity(usize::from(count));
    let mut writing = JoinSet::new();
    for number in 0..count {
        if writing.len() >= AT_ONCE
            && let Some(written) = writing.join_next().await
        {
            keys.push(written??);
        }
        let bank = bank.clone();
        writing.spawn(async move { registered(&bank, index, number, now).await });
    }
    while let Some(written) = writing.join_next().await {
        keys.push(written??);
    }
    Ok(keys)
}

/// A phone of a person of its own.
async fn registered(bank: &Bank, index: u16, number: u16, now: Timestamp) -> anyhow::Result<Key> {
    let key = Key::parse(KeyType::Phone, &format!("+55119{index:03}{number:05}"))?;
    let owner = OWNERS_FROM + u64::from(index) * 100_000 + u64::from(number);
    let entry = NewEntry {
        kind: KeyType::Phone,
        key: Some(key.clone()),
        account: Account {
            participant: bank.ispb(),
            branch: None,
            number: AccountNumber::parse(format!("{}", number + 1).as_bytes())?,
            kind: AccountType::Current,
            opened_at: now,
        },
        owner: Owner {
            tax_id: TaxId::parse(cpf(owner).as_bytes())?,
            name: Text::parse("Fulano da Silva")?,
            trade_name: None,
        },
    };
    let request_id = RequestId::new(bank.ids().u128());
    match bank.dict.create_entry(&entry, "USER_REQUESTED", request_id).await {
        Ok(_) => Ok(key),
        Err(Failure::Refused(problem)) if problem.kind == ProblemKind::EntryAlreadyExists => Ok(key),
        Err(why) => Err(why).with_context(|| format!("{} cannot register a key", bank.ispb())),
    }
}

/// Who pays, and so looks up, payment `number`.
pub(crate) fn payer(seed: u64, number: u32) -> TaxId {
    let base = PAYERS_FROM + chance::of(seed, u64::from(number)) % PAYERS;
    TaxId::parse(cpf(base).as_bytes()).expect("eleven digits")
}
