//! The keys that the two banks' customers have from the first start on: one of every type at each bank.

use std::time::Instant;

use pix_domain::{Key, KeyType};

use crate::bank_keys::{BankKey, BankKeys};
use crate::http::Http;
use crate::place::Place;
use crate::seed::{Account, BANKS, Bank, Customers};

/// Letters and digits of a CPF; a CNPJ has more.
const CPF_CHARS: usize = 11;

/// A key that a customer is to have.
#[derive(Debug)]
struct Wanted<'a> {
    account: &'a Account,
    kind: KeyType,
    /// Nothing for a random key, which the DICT draws.
    key: Option<&'a str>,
}

/// Registers what is missing. One that its customer gave up stays away.
pub(crate) async fn register(place: &Place, http: &Http, say: impl Fn(&str)) -> anyhow::Result<()> {
    for (index, bank) in (0_u16..).zip(&BANKS) {
        let Some(customers) = Customers::read(place, bank.ispb())? else {
            continue;
        };
        let keys = BankKeys::of(place, http, index);
        let asked = Instant::now();
        let known = keys.list().await?;
        let (mut new, mut types) = (0, Vec::new());
        for wanted in wanted(&customers) {
            types.push(wanted.kind.as_str());
            if known.iter().any(|key| wanted.was(key)) {
                continue;
            }
            let added = keys.add(wanted.account, wanted.kind, wanted.key).await?;
            new += 1;
            if added.state != "active" {
                let why = added.reason.unwrap_or(added.state);
                say(&format!("{}: no {} key yet: {why}", bank.name, wanted.kind));
            }
        }
        if new > 0 {
            let took = asked.elapsed().as_millis();
            say(&format!("{}: keys {} in {took} ms", bank.name, types.join(", ")));
        }
    }
    Ok(())
}

/// The key that the first payment goes to: of the first customer of the second bank.
pub(crate) fn first_payee(place: &Place) -> anyhow::Result<Option<Key>> {
    let bank: &Bank = &BANKS[1];
    let customers = Customers::read(place, bank.ispb())?;
    Ok(customers.as_ref().and_then(|customers| {
        let all = wanted(customers);
        let of = |kind: KeyType| {
            let wanted = all.iter().find(|wanted| wanted.kind == kind)?;
            Key::parse(kind, wanted.key?).ok()
        };
        [KeyType::Email, KeyType::Phone, KeyType::Cpf]
            .into_iter()
            .find_map(of)
    }))
}

/// The first person's CPF, phone, e-mail and a random key; the first company's CNPJ.
fn wanted(customers: &Customers) -> Vec<Wanted<'_>> {
    let open = |is_person: bool| {
        customers
            .account
            .iter()
            .find(|account| account.state == "open" && (account.tax_id.len() == CPF_CHARS) == is_person)
    };
    let mut all = Vec::new();
    if let Some(account) = open(true) {
        let mut want = |kind, key| all.push(Wanted { account, kind, key });
        want(KeyType::Cpf, Some(account.tax_id.as_str()));
        // Files of earlier versions name no contacts.
        if let Some(phone) = account.phones.first() {
            want(KeyType::Phone, Some(phone));
        }
        if let Some(email) = account.emails.first() {
            want(KeyType::Email, Some(email));
        }
        want(KeyType::Evp, None);
    }
    if let Some(account) = open(false) {
        all.push(Wanted {
            account,
            kind: KeyType::Cnpj,
            key: Some(&account.tax_id),
        });
    }
    all
}

impl Wanted<'_> {
    /// Whether this is it, or was before its customer gave it up.
    fn was(&self, known: &BankKey) -> bool {
        !matches!(known.state.as_str(), "refused" | "lost")
            && known.kind == self.kind.as_str()
            && match self.key {
                Some(key) => known.key.as_deref() == Some(key),
                None => known.account == self.account.id(),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;

    fn place() -> (tempfile::TempDir, Place) {
        let dir = tempfile::tempdir().expect("tempdir");
        let place = Place::find(&dir.path().join("x"), None).expect("find");
        place.create().expect("create");
        seed::write_missing(&place).expect("seed");
        (dir, place)
    }

    #[test]
    fn each_bank_has_one_key_of_every_type() {
        let (_dir, place) = place();
        for bank in &BANKS {
            let customers = Customers::read(&place, bank.ispb())
                .expect("reads")
                .expect("is there");
            let mut kinds: Vec<_> = wanted(&customers)
                .iter()
                .map(|wanted| wanted.kind.as_str())
                .collect();
            kinds.sort_unstable();
            assert_eq!(kinds, ["CNPJ", "CPF", "EMAIL", "EVP", "PHONE"]);
        }
    }

    #[test]
    fn the_first_payment_goes_by_e_mail_or_by_what_an_earlier_file_has() {
        let (_dir, place) = place();
        let payee = || {
            first_payee(&place)
                .expect("reads")
                .map(|key| key.as_str().to_owned())
        };
        assert_eq!(payee().as_deref(), Some("elisa.prado@horizonte.example"));
        let path = place.customers(BANKS[1].ispb());
        let text = std::fs::read_to_string(&path).expect("reads");
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("phones") && !line.starts_with("emails"));
        let old: String = lines.map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, old).expect("writes");
        assert_eq!(payee().as_deref(), Some("70020050496"));
        std::fs::remove_file(&path).expect("removes");
        assert_eq!(payee(), None);
    }
}
