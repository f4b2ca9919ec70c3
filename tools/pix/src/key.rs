//! `pix key`: the keys of the banks' customers, as the banks have them and as the DICT has them.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use pix_domain::{Ispb, Key, KeyType, TaxId, Timestamp};
use pix_proto::dict_v1::Entry;
use serde_json::{Value, json};

use crate::bank_keys::{BankKey, BankKeys};
use crate::cli::{KeyAdd, KeyCommand, KeyFind, KeyList, KeyRemove};
use crate::http::Http;
use crate::inside::Inside;
use crate::participant;
use crate::pay::{paying_account, paying_bank};
use crate::payment::{PENDING, REFUSED, bank_index};
use crate::place::Place;
use crate::seed::{Account, BANKS, Customers};

/// Letters and digits of a CPF; a CNPJ has more.
const CPF_CHARS: usize = 11;

pub(crate) async fn command(place: &Place, command: &KeyCommand) -> anyhow::Result<ExitCode> {
    let http = Http::new();
    match command {
        KeyCommand::Add(asked) => add(place, &http, asked).await,
        KeyCommand::Find(asked) => find(place, &http, asked).await,
        KeyCommand::Remove(asked) => remove(place, &http, asked).await,
        KeyCommand::List(asked) => list(place, &http, asked).await,
    }
}

async fn add(place: &Place, http: &Http, asked: &KeyAdd) -> anyhow::Result<ExitCode> {
    let bank = our_bank(&asked.bank)?;
    let (kind, key) = kind_and_key(asked)?;
    let ispb = BANKS[usize::from(bank)].ispb();
    let customers = Customers::read(place, ispb)?
        .with_context(|| format!("{ispb} has no customers file here: run `pix up` first"))?;
    let account = account_for(&customers, asked.account.as_deref(), kind, key.as_ref())?;
    let key = match key {
        Some(key) => Some(key.as_str().to_owned()),
        None if kind == KeyType::Evp => None,
        None => Some(account.tax_id.clone()),
    };
    let keys = BankKeys::of(place, http, bank);
    if let (true, Some(contact)) = (asked.confirm, &key) {
        keys.confirm(account, contact).await?;
    }
    let added = keys.add(account, kind, key.as_deref()).await?;
    Ok(told(&keys, &added, asked.json))
}

/// What is asked for, with the kind told by the key when it is not said.
fn kind_and_key(asked: &KeyAdd) -> anyhow::Result<(KeyType, Option<Key>)> {
    let key = match (&asked.key, asked.kind) {
        (Some(_), Some(KeyType::Evp)) => bail!("the DICT draws random keys: leave --key out"),
        (Some(text), Some(kind)) => Some(Key::parse(kind, text)?),
        (Some(text), None) => Some(Key::guess(text)?),
        (None, Some(kind @ (KeyType::Phone | KeyType::Email))) => {
            bail!("a {kind} key needs --key with the customer's own")
        }
        (None, _) => None,
    };
    let kind = asked.kind.or(key.as_ref().map(Key::kind));
    match kind.context("--type or --key is needed")? {
        KeyType::Evp if key.is_some() => bail!("the DICT draws random keys: use --type EVP without --key"),
        kind => Ok((kind, key)),
    }
}

/// The account asked for, or the first open one whose holder may have such a key.
fn account_for<'a>(
    customers: &'a Customers,
    asked: Option<&str>,
    kind: KeyType,
    key: Option<&Key>,
) -> anyhow::Result<&'a Account> {
    let key = key.map(Key::as_str);
    let is_holder = |account: &Account| match kind {
        KeyType::Cpf | KeyType::Cnpj => {
            let is_person = account.tax_id.len() == CPF_CHARS;
            is_person == (kind == KeyType::Cpf) && key.is_none_or(|key| key == account.tax_id)
        }
        KeyType::Phone => account.phones.iter().any(|phone| Some(phone.as_str()) == key),
        KeyType::Email => account.emails.iter().any(|email| Some(email.as_str()) == key),
        KeyType::Evp => true,
    };
    let mut open = customers.account.iter().filter(|account| account.state == "open");
    let found = match asked {
        Some(asked) => customers
            .account
            .iter()
            .find(|account| account.number == asked || account.id() == asked),
        // A key that nobody is known to have is for the bank to judge.
        None => open
            .clone()
            .find(|account| is_holder(account))
            .or_else(|| open.next()),
    };
    found.with_context(|| {
        let all: Vec<_> = customers.account.iter().map(Account::id).collect();
        format!(
            "there is no such account: --account takes one of {}",
            all.join(", ")
        )
    })
}

async fn remove(place: &Place, http: &Http, asked: &KeyRemove) -> anyhow::Result<ExitCode> {
    let keys = BankKeys::of(place, http, our_bank(&asked.bank)?);
    let removed = keys.remove(&asked.key).await?;
    Ok(told(&keys, &removed, asked.json))
}

/// What came of a registration or removal.
fn told(keys: &BankKeys<'_>, known: &BankKey, as_json: bool) -> ExitCode {
    if as_json {
        outln!("{:#}", with_bank(keys.bank, known));
    } else {
        let key = known.key.as_deref().unwrap_or("(not drawn yet)");
        let why = known
            .reason
            .as_ref()
            .map_or(String::new(), |why| format!(": {why}"));
        outln!(
            "{} key {key} of {} {}: {}{why}\n",
            known.kind,
            keys.bank,
            known.account,
            known.state
        );
        for step in &known.steps {
            outln!("  {:<24}  {:<20} {}", step.at, step.stage, step.detail);
        }
    }
    match known.state.as_str() {
        "active" | "removed" => ExitCode::SUCCESS,
        "refused" => ExitCode::from(REFUSED),
        _ => ExitCode::from(PENDING),
    }
}

fn with_bank(bank: &str, known: &BankKey) -> Value {
    let mut all = json!(known);
    all["bank"] = bank.into();
    all
}

async fn find(place: &Place, http: &Http, asked: &KeyFind) -> anyhow::Result<ExitCode> {
    match &asked.from {
        Some(bank) => find_from(place, http, asked, bank).await,
        None => find_inside(place, asked).await,
    }
}

/// As the payer's bank shows it.
async fn find_from(place: &Place, http: &Http, asked: &KeyFind, bank: &str) -> anyhow::Result<ExitCode> {
    let index = paying_bank(bank)?;
    let payer = paying_account(place, &BANKS[usize::from(index)], asked.from_account.as_deref())?;
    let found = BankKeys::of(place, http, index)
        .lookup(&payer, &asked.key)
        .await?;
    if asked.json {
        outln!(
            "{:#}",
            json!({
                "key": asked.key.as_str(), "type": asked.key.kind().as_str(), "name": found.name,
                "tax_id": found.tax_id, "ispb": found.ispb, "own": found.own,
                "end_to_end_id": found.end_to_end_id,
            })
        );
        return Ok(ExitCode::SUCCESS);
    }
    let whose = if found.own { " (the payer's own bank)" } else { "" };
    row("key", &format!("{} {}", asked.key.kind(), asked.key.as_str()));
    row("holder", &format!("{}, {}", found.name, found.tax_id));
    row("bank", &format!("{}{whose}", bank_name(&found.ispb)));
    Ok(ExitCode::SUCCESS)
}

async fn find_inside(place: &Place, asked: &KeyFind) -> anyhow::Result<ExitCode> {
    let entry = Inside::connect(place).await?.resolve(&asked.key).await?;
    let entry = entry.context("the DICT has no such key: `pix key list --all` shows those it has")?;
    if asked.json {
        outln!("{:#}", entry_json(&entry));
        return Ok(ExitCode::SUCCESS);
    }
    let account = entry.account.clone().unwrap_or_default();
    let owner = entry.owner.clone().unwrap_or_default();
    row("key", &format!("{} {}", entry.key_type, entry.key));
    row("holder", &format!("{}, {}", owner.name, masked(&owner.tax_id)));
    row("bank", &bank_name(&account.participant));
    row(
        "account",
        &format!("{} {}", account_id(&entry), account.account_type),
    );
    row("registered", &wire(entry.created_at_micros));
    row("owned since", &wire(entry.owned_since_micros));
    row("CID", &entry.cid);
    Ok(ExitCode::SUCCESS)
}

fn row(name: &str, value: &str) {
    outln!("  {name:<12} {value}");
}

async fn list(place: &Place, http: &Http, asked: &KeyList) -> anyhow::Result<ExitCode> {
    if asked.all {
        list_dict(place, asked).await
    } else {
        list_banks(place, http, asked).await
    }
}

/// The banks' own copies.
async fn list_banks(place: &Place, http: &Http, asked: &KeyList) -> anyhow::Result<ExitCode> {
    let only = asked.bank.as_deref().map(our_bank).transpose()?;
    let mut all = Vec::new();
    for (index, bank) in (0_u16..).zip(&BANKS) {
        if only.is_none_or(|only| only == index) {
            let keys = BankKeys::of(place, http, index).list().await?;
            all.extend(keys.into_iter().map(|key| (bank.ispb(), key)));
        }
    }
    if asked.json {
        let rows = all.iter().map(|(ispb, key)| with_bank(&ispb.to_string(), key));
        outln!("{:#}", Value::from_iter(rows));
        return Ok(ExitCode::SUCCESS);
    }
    head("state");
    for (ispb, known) in all.iter().filter(|(_, known)| known.is_shown()) {
        let key = known.key.as_deref().unwrap_or("(not drawn yet)");
        line(&ispb.to_string(), &known.account, &known.kind, key, &known.state);
    }
    Ok(ExitCode::SUCCESS)
}

/// What the DICT has of every participant, asked from inside.
async fn list_dict(place: &Place, asked: &KeyList) -> anyhow::Result<ExitCode> {
    let participants = match &asked.bank {
        Some(bank) => vec![participant(bank)?],
        None => participant::everybody(place).await?,
    };
    let mut dict = Inside::connect(place).await?;
    let mut entries = Vec::new();
    for ispb in participants {
        entries.extend(dict.list(ispb).await?);
    }
    if asked.json {
        outln!("{:#}", Value::from_iter(entries.iter().map(entry_json)));
        return Ok(ExitCode::SUCCESS);
    }
    head("registered");
    for entry in &entries {
        let participant = entry.account.as_ref().map_or("", |account| &account.participant);
        let at = wire(entry.created_at_micros);
        line(participant, &account_id(entry), &entry.key_type, &entry.key, &at);
    }
    Ok(ExitCode::SUCCESS)
}

fn head(last: &str) {
    line("bank", "account", "type", "key", last);
}

fn line(bank: &str, account: &str, kind: &str, key: &str, last: &str) {
    outln!("  {bank:<8}  {account:<16} {kind:<6} {key:<36}  {last}");
}

fn entry_json(entry: &Entry) -> Value {
    let account = entry.account.clone().unwrap_or_default();
    let owner = entry.owner.clone().unwrap_or_default();
    json!({
        "key": entry.key, "type": entry.key_type, "ispb": account.participant, "account": account_id(entry),
        "account_type": account.account_type, "name": owner.name, "tax_id": masked(&owner.tax_id),
        "created_at": wire(entry.created_at_micros), "owned_since": wire(entry.owned_since_micros),
        "cid": entry.cid,
    })
}

/// `0001/100001`; an account without a branch is its number alone.
fn account_id(entry: &Entry) -> String {
    let account = entry.account.as_ref();
    let number = account.map_or("", |account| &account.number);
    match account.and_then(|account| account.branch.as_deref()) {
        Some(branch) => format!("{branch}/{number}"),
        None => number.to_owned(),
    }
}

/// The name of a bank that runs here, beside its ISPB.
fn bank_name(ispb: &str) -> String {
    bank_index(ispb).map_or_else(
        || ispb.to_owned(),
        |index| format!("{ispb} {}", BANKS[usize::from(index)].name),
    )
}

fn masked(tax_id: &str) -> String {
    TaxId::parse(tax_id.as_bytes()).map_or_else(|_| "***".into(), |tax_id| tax_id.masked())
}

fn wire(micros: i64) -> String {
    let at = Timestamp::from_micros(micros).to_millis();
    String::from_utf8_lossy(&at.to_wire()).into_owned()
}

/// The index of a bank that runs here.
fn our_bank(name: &str) -> anyhow::Result<u16> {
    bank_index(name)
        .with_context(|| format!("{name} is no bank that runs here: --bank takes A, B or their ISPB"))
}

fn participant(name: &str) -> anyhow::Result<Ispb> {
    match bank_index(name) {
        Some(index) => Ok(BANKS[usize::from(index)].ispb()),
        None => Ispb::parse(name.as_bytes()).map_err(|_| {
            anyhow::anyhow!("{name} is no bank: --bank takes A, B or an ISPB of eight of 0-9A-Z")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(kind: Option<KeyType>, key: Option<&str>) -> KeyAdd {
        KeyAdd {
            bank: "A".into(),
            account: None,
            kind,
            key: key.map(str::to_owned),
            confirm: false,
            json: false,
        }
    }

    fn account(number: &str, tax_id: &str, email: &str) -> Account {
        let text = format!(
            "branch = \"0001\"\nnumber = \"{number}\"\ntype = \"CACC\"\nname = \"X\"\ntax_id = \"{tax_id}\"\n\
             balance = \"0.00\"\nstate = \"open\"\nemails = [\"{email}\"]\n"
        );
        toml::from_str(&text).expect("an account")
    }

    #[test]
    fn the_key_tells_its_type_and_refusals_say_what_to_do() {
        let (kind, key) = kind_and_key(&asked(None, Some("+5561990100001"))).expect("a phone");
        assert_eq!((kind, key.is_some()), (KeyType::Phone, true));
        assert_eq!(
            kind_and_key(&asked(Some(KeyType::Evp), None)).expect("drawn").0,
            KeyType::Evp
        );
        for (kind, key, says) in [
            (Some(KeyType::Evp), Some("x"), "leave --key out"),
            (Some(KeyType::Email), None, "needs --key"),
            (Some(KeyType::Phone), Some("61990100001"), "does not match"),
            (None, Some("a946d533-7f22-42a5-9a9b-e87cd55c0f4d"), "--type EVP"),
        ] {
            let error = kind_and_key(&asked(kind, key)).expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_account_is_the_holders() {
        let customers = Customers {
            account: vec![
                account("1", "52998224725", "a@x.example"),
                account("2", "11222333000181", "b@x.example"),
            ],
        };
        let number = |kind, key: Option<&str>| {
            let key = key.map(|key| Key::parse(kind, key).expect(key));
            let account = account_for(&customers, None, kind, key.as_ref()).expect("one");
            account.number.clone()
        };
        assert_eq!(number(KeyType::Cnpj, None), "2");
        assert_eq!(number(KeyType::Cpf, Some("52998224725")), "1");
        assert_eq!(number(KeyType::Email, Some("b@x.example")), "2");
        assert_eq!(
            number(KeyType::Email, Some("c@x.example")),
            "1",
            "the bank will refuse"
        );
        assert!(account_for(&customers, Some("3"), KeyType::Evp, None).is_err());
    }
}
