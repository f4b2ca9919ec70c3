//! The two fictional banks, their customers, and the files that say so.

use std::fmt::Write as _;

use anyhow::Context as _;
use pix_domain::{Ispb, Money};
use serde::{Deserialize, Serialize};

use crate::place::{Place, write_private};

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

/// Branch 0001; number, type, holder, CPF or CNPJ (fictional, check digits right), balance, state.
type Customer = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// A and B.
pub(crate) const BANKS: [Bank; 2] = [
    Bank {
        letter: 'A',
        ispb: "11111111",
        name: "Banco Aurora",
        color: "#0b6e4f",
        customers: [
            ("100001", "CACC", "Ana Souza", "52998224725", "5000.00", "open"),
            ("100002", "SVGS", "Bruno Lima", "70010020110", "1250.00", "open"),
            (
                "100003",
                "CACC",
                "Mercado Ipê Ltda",
                "11222333000181",
                "80000.00",
                "open",
            ),
            (
                "100004",
                "CACC",
                "Carla Nunes",
                "70010030263",
                "300.00",
                "blocked",
            ),
            ("100005", "CACC", "Davi Rocha", "70010040307", "0.00", "closed"),
        ],
    },
    Bank {
        letter: 'B',
        ispb: "22222222",
        name: "Banco Horizonte",
        color: "#7b2d8b",
        customers: [
            ("200001", "CACC", "Elisa Prado", "70020050496", "2500.00", "open"),
            ("200002", "SVGS", "Fábio Teles", "70020060530", "740.00", "open"),
            (
                "200003",
                "CACC",
                "Oficina Serra Azul Ltda",
                "12ABC34501DE35",
                "43000.00",
                "open",
            ),
            (
                "200004",
                "CACC",
                "Gabriela Pires",
                "70020070683",
                "90.00",
                "blocked",
            ),
            ("200005", "CACC", "Hugo Vidal", "70020080727", "0.00", "closed"),
        ],
    },
];

impl Bank {
    pub(crate) fn ispb(&self) -> Ispb {
        Ispb::parse(self.ispb.as_bytes()).expect("the seed's ISPBs are right; a test reads them")
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
}

impl Account {
    /// `0001/100001`
    pub(crate) fn id(&self) -> String {
        format!("{}/{}", self.branch, self.number)
    }
}

impl Customers {
    fn of(bank: &Bank) -> Self {
        let account = bank
            .customers
            .map(|(number, kind, name, tax_id, balance, state)| Account {
                branch: "0001".into(),
                number: number.into(),
                kind: kind.into(),
                name: name.into(),
                tax_id: tax_id.into(),
                balance: balance.into(),
                state: state.into(),
            });
        Self {
            account: account.into(),
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
            "# The participants of this switch and their certificates. Read again whenever it changes.\n\
             # `pix pki participant` adds one. Paths are relative to this file.\n",
        );
        for bank in &BANKS {
            let folder = format!("pki/{}", bank.ispb);
            text += &participant(bank.ispb(), bank.name, OPENING_BALANCE, &folder);
        }
        write_private(&place.participants(), &text)?;
    }
    Ok(())
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
    use pix_domain::TaxId;

    use super::*;

    #[test]
    fn every_customer_could_exist() {
        for bank in &BANKS {
            assert_eq!(bank.ispb().to_string(), bank.ispb);
            for account in Customers::of(bank).account {
                let tax_id = TaxId::parse(account.tax_id.as_bytes()).expect(&account.tax_id);
                assert!(tax_id.has_valid_check_digits(), "{}", account.tax_id);
                Money::parse(account.balance.as_bytes()).expect(&account.balance);
            }
            for state in ["open", "blocked", "closed"] {
                assert!(
                    bank.customers.iter().any(|customer| customer.5 == state),
                    "{} has one {state}",
                    bank.name
                );
            }
        }
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
