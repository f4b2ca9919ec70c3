//! Entries (vínculos): a key, the account it stands for, and who owns both.

use pix_domain::{
    AccountNumber, AccountType, Branch, Cid, Ispb, Key, KeyType, RequestId, TaxId, Text, Timestamp,
};

/// Account that a key stands for (`BrazilianAccount`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Who provides it.
    pub participant: Ispb,
    /// Branch without check digit, where there is one.
    pub branch: Option<Branch>,
    /// Number with check digit.
    pub number: AccountNumber,
    /// `CACC`, `TRAN`, `SLRY` or `SVGS`; never `OTHR`.
    pub kind: AccountType,
    /// When it was opened.
    pub opened_at: Timestamp,
}

/// Owner of a key (`Person`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// CPF of a `NATURAL_PERSON` or CNPJ of a `LEGAL_PERSON`: the two tell each other apart.
    pub tax_id: TaxId,
    /// Full name, or registered name (razão social).
    pub name: Text<150>,
    /// Trade name (nome fantasia), of companies only.
    pub trade_name: Option<Text<100>>,
}

/// What somebody wants to register: every field keeps its rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// Kind of key.
    pub kind: KeyType,
    /// The key; none exactly when the kind is EVP, whose keys the DICT draws.
    pub key: Option<Key>,
    /// Its account.
    pub account: Account,
    /// Its owner.
    pub owner: Owner,
}

/// A registered key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// Its account.
    pub account: Account,
    /// Its owner.
    pub owner: Owner,
    /// When this entry was made.
    pub created_at: Timestamp,
    /// Since when the owner has had the key without a break, whatever the account.
    pub owned_since: Timestamp,
    /// When a claim for the key was opened, while one is open.
    pub claim_opened_at: Option<Timestamp>,
}

impl Entry {
    /// Its content identifier under the request that created it.
    #[must_use]
    pub fn cid(&self, request_id: &RequestId) -> Cid {
        crate::cid::cid(request_id, &self.key, &self.account, &self.owner)
    }
}

impl Owner {
    /// `NATURAL_PERSON` or `LEGAL_PERSON`.
    #[must_use]
    pub fn person_type(&self) -> &'static str {
        match self.tax_id {
            TaxId::Cpf(_) => "NATURAL_PERSON",
            TaxId::Cnpj(_) => "LEGAL_PERSON",
        }
    }
}
