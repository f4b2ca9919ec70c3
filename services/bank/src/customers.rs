//! The customers file: accounts to open at the first start.

use bank_core::AccountState;
use pix_domain::{AccountNumber, AccountType, Branch, Ispb, Key, KeyType, Money, TaxId, Text};
use serde::Deserialize;

use crate::adapters::pg::Customer;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    account: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    branch: String,
    number: String,
    r#type: String,
    name: String,
    tax_id: String,
    balance: String,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    phones: Vec<String>,
    #[serde(default)]
    emails: Vec<String>,
}

/// Reads the file.
///
/// # Errors
/// Every fault, by the position of its account: values are personal data and not repeated.
pub(crate) fn read(text: &str) -> Result<Vec<Customer>, Vec<String>> {
    let file: File = toml::from_str(text).map_err(|e| vec![misread(text, &e)])?;
    let mut faults = Vec::new();
    let mut customers = Vec::new();
    for (row, position) in file.account.iter().zip(1..) {
        match customer(row) {
            Ok(customer) => customers.push(customer),
            Err(fault) => faults.push(format!("account {position}: {fault}")),
        }
    }
    if faults.is_empty() {
        Ok(customers)
    } else {
        Err(faults)
    }
}

/// Where the file is wrong; the parser's own message may quote a name.
fn misread(text: &str, error: &toml::de::Error) -> String {
    let before = error
        .span()
        .and_then(|span| text.get(..span.start))
        .unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!(
        "line {line} is not as documented: [[account]] with branch, number, type, name, tax_id, balance, state, \
         phones, emails"
    )
}

fn customer(row: &Row) -> Result<Customer, String> {
    let state = row.state.as_deref().unwrap_or("open");
    Ok(Customer {
        indirect: None,
        branch: Branch::parse(row.branch.as_bytes()).map_err(|e| format!("branch: {e}"))?,
        number: AccountNumber::parse(row.number.as_bytes()).map_err(|e| format!("number: {e}"))?,
        kind: AccountType::parse(row.r#type.as_bytes()).map_err(|e| format!("type: {e}"))?,
        name: Text::parse(&row.name).map_err(|e| format!("name: {e}"))?,
        tax_id: TaxId::parse(row.tax_id.as_bytes()).map_err(|e| format!("tax_id: {e}"))?,
        balance: Money::parse(row.balance.as_bytes()).map_err(|e| format!("balance: {e}"))?,
        state: AccountState::parse(state).map_err(|e| format!("state: {e}"))?,
        contacts: contacts(row)?,
    })
}

/// The account of an indirect participant. Its number is its ISPB, at a branch that no customer has.
pub(crate) fn of_indirect(ispb: Ispb, balance: Money) -> Customer {
    const RIGHT: &str = "an ISPB makes an account number, and the root of a CNPJ";
    // The check digits follow from the rest; of the hundred, the domain knows which.
    let mut cnpjs = (0..100).map(|digits| format!("{ispb}0001{digits:02}"));
    let tax_id = cnpjs.find_map(|cnpj| {
        let tax_id = TaxId::parse(cnpj.as_bytes()).ok();
        tax_id.filter(TaxId::has_valid_check_digits)
    });
    Customer {
        indirect: Some(ispb),
        branch: Branch::parse(b"0000").expect("four digits"),
        number: AccountNumber::parse(ispb.as_str().as_bytes()).expect(RIGHT),
        kind: AccountType::Other,
        name: Text::parse(&format!("Participante indireto {ispb}")).expect("short"),
        tax_id: tax_id.expect(RIGHT),
        balance,
        state: AccountState::Open,
        contacts: Vec::new(),
    }
}

fn contacts(row: &Row) -> Result<Vec<Key>, String> {
    let phones = row.phones.iter().map(|text| (KeyType::Phone, "phones", text));
    let emails = row.emails.iter().map(|text| (KeyType::Email, "emails", text));
    phones
        .chain(emails)
        .map(|(kind, name, text)| Key::parse(kind, text).map_err(|e| format!("{name}: {e}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::read;

    const ONE: &str = r#"[[account]]
        branch = "0001"
        number = "100001"
        type = "CACC"
        name = "Ana Souza"
        tax_id = "52998224725"
        balance = "5000.00"
    "#;

    #[test]
    fn accounts_are_open_unless_they_say_otherwise() {
        let customers = read(ONE).unwrap();
        assert_eq!(customers[0].state, bank_core::AccountState::Open);
        assert_eq!(customers[0].balance.to_string(), "5000.00");
        let reachable = format!("{ONE} phones = [\"+5561999990000\"]\nemails = [\"ana@a.example\"]");
        assert_eq!(read(&reachable).unwrap()[0].contacts.len(), 2);
    }

    #[test]
    fn an_indirect_participant_has_an_account_of_its_own_name() {
        for ispb in [&b"1111000V"[..], b"44444444", b"12ABC345"] {
            let ispb = super::Ispb::parse(ispb).unwrap();
            let account = super::of_indirect(ispb, super::Money::ZERO);
            assert_eq!(account.number.as_str(), ispb.as_str());
            assert!(account.tax_id.has_valid_check_digits());
            assert!(account.tax_id.as_str().starts_with(ispb.as_str()));
        }
    }

    #[test]
    fn faults_name_the_account_and_not_its_holder() {
        let wrong = ONE.replace("52998224725", "529.982").replace("CACC", "XXXX");
        let faults = read(&format!("{ONE}{wrong}")).unwrap_err();
        assert_eq!(
            faults,
            ["account 2: type: an account type is CACC, SVGS, TRAN, SLRY or OTHR"]
        );
        let phone = format!("{ONE} phones = [\"61999990000\"]");
        assert!(read(&phone).unwrap_err()[0].starts_with("account 1: phones: "));
        assert!(!read("account = 'Ana'").unwrap_err()[0].contains("Ana"));
    }
}
