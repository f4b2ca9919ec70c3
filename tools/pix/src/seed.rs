//! The two fictional banks, their customers, and the files that say so.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use pix_domain::{Ispb, Money};
use serde::{Deserialize, Serialize};

use crate::place::{Place, write_lasting, write_private};

/// What an indirect participant's account with a bank of ours opens with: R$ 10,000.00.
pub(crate) const INDIRECT_BALANCE: Money = Money::from_centavos(1_000_000);

/// What each Conta PI opens with: R$ 1,000,000.00.
pub(crate) const OPENING_BALANCE: Money = Money::from_centavos(100_000_000);

/// A bank that `pix up` runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bank {
    /// How people call it on the command line.
    pub(crate) letter: char,
    ispb: &'static str,
    pub(crate) name: &'static str,
    pub(crate) color: &'static str,
    customers: [Customer; 5],
}

/// A customer with an account in branch 0001. All of them are fictional; check digits are right.
#[derive(Clone, Copy, Debug)]
struct Customer {
    number: &'static str,
    kind: &'static str,
    name: &'static str,
    tax_id: &'static str,
    balance: &'static str,
    state: &'static str,
    phone: &'static str,
    email: &'static str,
}

/// A and B.
pub(crate) const BANKS: [Bank; 2] = [
    Bank {
        letter: 'A',
        ispb: "11111111",
        name: "Banco Aurora",
        color: "#0b6e4f",
        customers: [
            Customer {
                number: "100001",
                kind: "CACC",
                name: "Ana Souza",
                tax_id: "52998224725",
                balance: "5000.00",
                state: "open",
                phone: "+5561990100001",
                email: "ana.souza@aurora.example",
            },
            Customer {
                number: "100002",
                kind: "SVGS",
                name: "Bruno Lima",
                tax_id: "70010020110",
                balance: "1250.00",
                state: "open",
                phone: "+5561990100002",
                email: "bruno.lima@aurora.example",
            },
            Customer {
                number: "100003",
                kind: "CACC",
                name: "Mercado Ipê Ltda",
                tax_id: "11222333000181",
                balance: "80000.00",
                state: "open",
                phone: "+5561990100003",
                email: "contato@mercado-ipe.example",
            },
            Customer {
                number: "100004",
                kind: "CACC",
                name: "Carla Nunes",
                tax_id: "70010030263",
                balance: "300.00",
                state: "blocked",
                phone: "+5561990100004",
                email: "carla.nunes@aurora.example",
            },
            Customer {
                number: "100005",
                kind: "CACC",
                name: "Davi Rocha",
                tax_id: "70010040307",
                balance: "0.00",
                state: "closed",
                phone: "+5561990100005",
                email: "davi.rocha@aurora.example",
            },
        ],
    },
    Bank {
        letter: 'B',
        ispb: "22222222",
        name: "Banco Horizonte",
        color: "#7b2d8b",
        customers: [
            Customer {
                number: "200001",
                kind: "CACC",
                name: "Elisa Prado",
                tax_id: "70020050496",
                balance: "2500.00",
                state: "open",
                phone: "+5581990200001",
                email: "elisa.prado@horizonte.example",
            },
            Customer {
                number: "200002",
                kind: "SVGS",
                name: "Fábio Teles",
                tax_id: "70020060530",
                balance: "740.00",
                state: "open",
                phone: "+5581990200002",
                email: "fabio.teles@horizonte.example",
            },
            Customer {
                number: "200003",
                kind: "CACC",
                name: "Oficina Serra Azul Ltda",
                tax_id: "12ABC34501DE35",
                balance: "43000.00",
                state: "open",
                phone: "+5581990200003",
                email: "contato@serra-azul.example",
            },
            Customer {
                number: "200004",
                kind: "CACC",
                name: "Gabriela Pires",
                tax_id: "70020070683",
                balance: "90.00",
                state: "blocked",
                phone: "+5581990200004",
                email: "gabriela.pires@horizonte.example",
            },
            Customer {
                number: "200005",
                kind: "CACC",
                name: "Hugo Vidal",
                tax_id: "70020080727",
                balance: "0.00",
                state: "closed",
                phone: "+5581990200005",
                email: "hugo.vidal@horizonte.example",
            },
        ],
    },
];

/// A virtual participant of homologation, which the program `virtual` speaks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Virtual {
    pub(crate) ispb: &'static str,
    name: &'static str,
    /// The indirect participant behind it, which the program speaks for as well.
    pub(crate) indirect: &'static str,
}

/// Who pays on request comes first, for the program takes its payer from there.
pub(crate) const VIRTUALS: [Virtual; 2] = [
    Virtual {
        ispb: "99999A03",
        name: "Pagador Virtual",
        indirect: "9999A03V",
    },
    Virtual {
        ispb: "99999A04",
        name: "Recebedor Virtual",
        indirect: "9999A04V",
    },
];

/// Account and CPF of whoever is paid there unless others are named: the payer's own (PROTOCOL 4.5).
pub(crate) const VIRTUAL_ACCOUNT: &str = "0001/1";
pub(crate) const VIRTUAL_TAX_ID: &str = "11111111111";

/// What the customer is called who pays there.
pub(crate) const VIRTUAL_NAME: &str = "Fulano";

/// Indirect participants: ISPB, settler. Those of banks are named as [`behind`] names them; those of the virtual ones
/// would be the same twice, so theirs keep the last three characters as well.
const INDIRECT: [(&str, &str); 4] = [
    ("1111000V", "11111111"),
    ("2222000V", "22222222"),
    ("9999A03V", "99999A03"),
    ("9999A04V", "99999A04"),
];

impl Virtual {
    pub(crate) fn ispb(&self) -> Ispb {
        parse(self.ispb)
    }

    /// Its keys, in the instance's folder.
    pub(crate) fn folder(&self) -> String {
        format!("pki/{}", self.ispb)
    }
}

/// Whether it is a virtual participant, direct or behind a direct one: whatever account is named there is taken.
pub(crate) fn is_virtual(ispb: Ispb) -> bool {
    let ispb = ispb.to_string();
    // All that stand behind somebody end so, and nobody else does.
    VIRTUALS.iter().any(|one| one.ispb == ispb) || ispb.ends_with('V')
}

/// The virtual indirect participant that is to stand behind `settler`: the first four characters of its ISPB and
/// `000V`, or the next number that nobody has. None when a thousand have been given away.
pub(crate) fn behind(settler: Ispb, is_taken: impl Fn(Ispb) -> bool) -> Option<Ispb> {
    let settler = settler.to_string();
    (0..1000)
        .map(|n| parse(&format!("{}{n:03}V", &settler[..4])))
        .find(|ispb| !is_taken(*ispb))
}

fn parse(ispb: &str) -> Ispb {
    Ispb::parse(ispb.as_bytes()).expect("the seed's ISPBs are right; a test reads them")
}

impl Bank {
    pub(crate) fn ispb(&self) -> Ispb {
        parse(self.ispb)
    }

    /// The indirect participants behind it, which it settles for.
    pub(crate) fn settles_for(&self) -> impl Iterator<Item = Ispb> {
        let behind = INDIRECT.iter().filter(|(_, settler)| *settler == self.ispb);
        behind.map(|(ispb, _)| parse(ispb))
    }
}

/// The customers file of one bank.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Customers {
    pub(crate) account: Vec<Account>,
}

/// One account as the file has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) branch: String,
    pub(crate) number: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) tax_id: String,
    pub(crate) balance: String,
    pub(crate) state: String,
    /// Confirmed as the customer's own, so that they may become keys. Files of earlier versions have none.
    #[serde(default)]
    pub(crate) phones: Vec<String>,
    #[serde(default)]
    pub(crate) emails: Vec<String>,
}

impl Account {
    /// `0001/100001`
    pub(crate) fn id(&self) -> String {
        format!("{}/{}", self.branch, self.number)
    }
}

impl Customers {
    fn of(bank: &Bank) -> Self {
        let account = bank.customers.iter().map(|customer| Account {
            branch: "0001".into(),
            number: customer.number.into(),
            kind: customer.kind.into(),
            name: customer.name.into(),
            tax_id: customer.tax_id.into(),
            balance: customer.balance.into(),
            state: customer.state.into(),
            phones: vec![customer.phone.into()],
            emails: vec![customer.email.into()],
        });
        Self {
            account: account.collect(),
        }
    }

    /// Reads the file of a bank that runs here; nothing when the bank is somebody else's.
    pub(crate) fn read(place: &Place, ispb: Ispb) -> anyhow::Result<Option<Self>> {
        let path = place.customers(ispb);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(toml::from_str(&text).with_context(|| {
                format!(
                    "{} is no customers file: mend the line named below, or remove it and run `pix up`",
                    path.display()
                )
            })?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error)
                .with_context(|| format!("{} cannot be read: check its owner and mode", path.display())),
        }
    }
}

/// Everybody in participants.toml, in its order.
pub(crate) fn participants(place: &Place) -> anyhow::Result<Vec<Ispb>> {
    let path = place.participants();
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{} cannot be read: run `pix up` first", path.display()))?;
    let table: toml::Table = text
        .parse()
        .with_context(|| format!("{} is no TOML: mend the line named below", path.display()))?;
    let entries = table.get("participant").and_then(toml::Value::as_array);
    let ispb = |entry: &toml::Value| Ispb::parse(entry.get("ispb")?.as_str()?.as_bytes()).ok();
    Ok(entries.into_iter().flatten().filter_map(ispb).collect())
}

/// What an empty registry begins with. The Contas PI of a book that is there already hold their money: its seed has no
/// opening balances, also when the first start with it is cut off.
pub(crate) fn for_settlement(place: &Place, book_is_there: bool) -> anyhow::Result<PathBuf> {
    let without_balances = place.path("participants-without-balances.toml");
    if book_is_there && !without_balances.exists() {
        let path = place.participants();
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} cannot be read: check its owner", path.display()))?;
        let kept = text
            .split_inclusive('\n')
            .filter(|line| !line.trim_start().starts_with("opening_balance"));
        write_lasting(&without_balances, &kept.collect::<String>())?;
    }
    Ok(if without_balances.exists() {
        without_balances
    } else {
        place.participants()
    })
}

/// Writes what is missing: a file that is there may have been edited, and is the user's.
pub(crate) fn write_missing(place: &Place) -> anyhow::Result<()> {
    for bank in &BANKS {
        let path = place.customers(bank.ispb());
        if !path.exists() {
            let head = format!(
                "# Customers of {} ({}). All of them are fictional. Read when the bank first starts.\n\n",
                bank.name, bank.ispb
            );
            let text = toml::to_string(&Customers::of(bank)).context("the seed's customers")?;
            write_private(&path, &(head + &text))?;
        }
    }
    if !place.participants().exists() {
        let mut text = String::from(
            "# The participants that this switch begins with, and their certificates: read once, when its settlement\n\
             # service first starts. From then on `pix participant` and `pix pki participant` say who takes part.\n\
             # Paths are relative to this file.\n",
        );
        for bank in &BANKS {
            let folder = format!("pki/{}", bank.ispb);
            text += &participant(bank.ispb(), bank.name, OPENING_BALANCE, &folder);
        }
        write_private(&place.participants(), &text)?;
    }
    add_virtual(place)
}

/// Adds the virtual participants that participants.toml lacks: all of them to a new one, and to one that an earlier
/// version wrote. Whoever wants none sets `active = false`: an entry that is there stays as it is.
fn add_virtual(place: &Place) -> anyhow::Result<()> {
    let mut there = participants(place)?;
    let mut added = String::new();
    for one in &VIRTUALS {
        if !there.contains(&one.ispb()) {
            added += &participant(one.ispb(), one.name, OPENING_BALANCE, &one.folder());
            there.push(one.ispb());
        }
    }
    for (ispb, settler) in INDIRECT.map(|(ispb, settler)| (parse(ispb), parse(settler))) {
        // Without its settler the whole file would be refused.
        if !there.contains(&ispb) && there.contains(&settler) {
            added += &indirect(ispb, settler);
        }
    }
    if added.is_empty() {
        return Ok(());
    }
    let path = place.participants();
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{} cannot be read: check its owner", path.display()))?;
    let end = if text.ends_with('\n') { "" } else { "\n" };
    write_private(&path, &(text + end + &added))
}

/// What a virtual indirect participant is called.
pub(crate) fn indirect_name(settler: Ispb) -> String {
    format!("Indireto Virtual de {settler}")
}

/// One entry of a virtual indirect participant.
pub(crate) fn indirect(ispb: Ispb, settler: Ispb) -> String {
    format!(
        "\n[[participant]]\nispb = \"{ispb}\"\nname = \"{}\"\nsettler = \"{settler}\"\nactive = true\n\
         category = \"A\"\n",
        indirect_name(settler)
    )
}

/// One entry of participants.toml; `folder` holds the certificates.
pub(crate) fn participant(ispb: Ispb, name: &str, balance: Money, folder: &str) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut entry = String::from("\n[[participant]]\n");
    for (key, value) in [
        ("ispb", quoted(&ispb.to_string())),
        ("name", quoted(name)),
        ("opening_balance", quoted(&balance.to_string())),
        ("active", "true".to_owned()),
        ("category", quoted("A")),
        (
            "channel_certificates",
            format!("[{}]", quoted(&format!("{folder}/channel.crt"))),
        ),
        (
            "signature_certificates",
            format!("[{}]", quoted(&format!("{folder}/signature.crt"))),
        ),
    ] {
        writeln!(entry, "{key} = {value}").expect("a String takes everything");
    }
    entry
}

#[cfg(test)]
mod tests {
    use pix_domain::{Key, KeyType, TaxId};

    use super::*;

    #[test]
    fn a_registry_beside_a_book_begins_without_balances_and_stays_so() {
        let dir = tempfile::tempdir().expect("tempdir");
        let place = Place::find(&dir.path().join("x"), None).expect("find");
        place.create().expect("create");
        write_missing(&place).expect("seed");
        assert_eq!(for_settlement(&place, false).expect("seed"), place.participants());
        let without = for_settlement(&place, true).expect("seed");
        let text = std::fs::read_to_string(&without).expect("reads");
        assert!(!text.contains("opening_balance"), "{text}");
        assert_eq!(
            text.matches("[[participant]]").count(),
            participants(&place).expect("reads").len()
        );
        assert_eq!(
            for_settlement(&place, false).expect("seed"),
            without,
            "a start that was cut off goes on with the same"
        );
    }

    #[test]
    fn every_customer_could_exist() {
        for bank in &BANKS {
            assert_eq!(bank.ispb().to_string(), bank.ispb);
            for account in Customers::of(bank).account {
                let tax_id = TaxId::parse(account.tax_id.as_bytes()).expect(&account.tax_id);
                assert!(tax_id.has_valid_check_digits(), "{}", account.tax_id);
                Money::parse(account.balance.as_bytes()).expect(&account.balance);
                for (kind, keys) in [
                    (KeyType::Phone, &account.phones),
                    (KeyType::Email, &account.emails),
                ] {
                    Key::parse(kind, &keys[0]).expect(&keys[0]);
                }
            }
            for state in ["open", "blocked", "closed"] {
                assert!(
                    bank.customers.iter().any(|customer| customer.state == state),
                    "{} has one {state}",
                    bank.name
                );
            }
        }
    }

    #[test]
    fn the_virtual_participants_join_a_file_once_and_change_nothing_in_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let place = Place::find(&dir.path().join("x"), None).expect("find");
        place.create().expect("create");
        write_missing(&place).expect("writes");
        let read = || std::fs::read_to_string(place.participants()).expect("reads");
        let new = read();
        assert_eq!(participants(&place).expect("reads").len(), 8);
        write_missing(&place).expect("writes");
        assert_eq!(read(), new);

        // As an earlier version wrote it, with one of the banks gone and one participant put out by hand.
        let own = "# mine\n[[participant]]\nispb = \"22222222\"\nname = \"B\"\n\
                   [[participant]]\nispb = \"99999A04\"\nname = \"none\"\nactive = false";
        std::fs::write(place.participants(), own).expect("writes");
        write_missing(&place).expect("writes");
        assert!(read().starts_with(own));
        let all: Vec<_> = participants(&place)
            .expect("reads")
            .iter()
            .map(Ispb::to_string)
            .collect();
        assert_eq!(
            all,
            [
                "22222222", "99999A04", "99999A03", "2222000V", "9999A03V", "9999A04V"
            ]
        );
    }

    #[test]
    fn the_seeds_virtual_participants_agree_with_each_other() {
        for one in &VIRTUALS {
            assert!(
                INDIRECT
                    .iter()
                    .any(|(ispb, settler)| { *ispb == one.indirect && *settler == one.ispb })
            );
            assert!(is_virtual(one.ispb()) && is_virtual(parse(one.indirect)));
        }
        assert!(!is_virtual(BANKS[0].ispb()) && is_virtual(parse("1111000V")));
    }

    #[test]
    fn who_stands_behind_a_bank_is_the_next_that_nobody_is() {
        for bank in &BANKS {
            let seeded = INDIRECT.iter().find(|(_, settler)| *settler == bank.ispb);
            assert_eq!(
                behind(bank.ispb(), |_| false),
                seeded.map(|(ispb, _)| parse(ispb))
            );
        }
        let settler = parse("33334444");
        let taken = ["3333000V", "3333001V"].map(parse);
        assert_eq!(
            behind(settler, |ispb| taken.contains(&ispb)),
            Some(parse("3333002V"))
        );
        assert_eq!(behind(settler, |_| true), None);
    }

    #[test]
    fn a_customers_file_reads_back() {
        let text = toml::to_string(&Customers::of(&BANKS[1])).expect("writes");
        assert!(
            text.contains("[[account]]") && text.contains("type = \"CACC\""),
            "{text}"
        );
        let back: Customers = toml::from_str(&text).expect("reads");
        assert_eq!(back.account[2].tax_id, "12ABC34501DE35");
        assert_eq!(back.account[0].emails, ["elisa.prado@horizonte.example"]);
    }

    #[test]
    fn a_customers_file_of_an_earlier_version_reads_without_contacts() {
        let text = toml::to_string(&Customers::of(&BANKS[0])).expect("writes");
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("phones") && !line.starts_with("emails"));
        let old: String = lines.map(|line| format!("{line}\n")).collect();
        let read: Customers = toml::from_str(&old).expect("reads");
        assert_eq!(read.account.len(), 5);
        assert!(read.account.iter().all(|account| account.phones.is_empty()));
    }

    #[test]
    fn a_participant_is_toml_whatever_its_name() {
        let entry = participant(
            BANKS[0].ispb(),
            "Banco \"X\"\n[[participant]]",
            OPENING_BALANCE,
            "pki/a b",
        );
        let read: toml::Table = toml::from_str(&entry).expect("reads");
        let all = read["participant"].as_array().expect("array");
        assert_eq!(all.len(), 1);
        assert_eq!(all[0]["opening_balance"].as_str(), Some("1000000.00"));
        assert_eq!(
            all[0]["channel_certificates"][0].as_str(),
            Some("pki/a b/channel.crt")
        );
    }
}
