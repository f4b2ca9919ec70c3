//! What participants ask: texts as they came, with the structure of the API's document and nothing else checked.

use std::fmt;

use crate::{Account, Entry, NewEntry, Owner};

/// Keys in one checkKeys (`CheckKeysRequest`, `maxItems`).
pub const KEYS_MAX: usize = 200;

/// A request with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Registers a key.
    CreateEntry(CreateEntry),
    /// Changes account or owner of a key.
    UpdateEntry(UpdateEntry),
    /// Removes a key.
    DeleteEntry(DeleteEntry),
    /// Asks which keys are registered.
    CheckKeys(CheckKeys),
}

/// Which request an address wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `POST /entries/`.
    CreateEntry,
    /// `PUT /entries/{Key}`.
    UpdateEntry,
    /// `POST /entries/{Key}/delete`.
    DeleteEntry,
    /// `POST /keys/check`.
    CheckKeys,
}

impl Operation {
    /// Every request with a body.
    pub const ALL: [Self; 4] = [
        Self::CreateEntry,
        Self::UpdateEntry,
        Self::DeleteEntry,
        Self::CheckKeys,
    ];

    /// Name of the root element.
    #[must_use]
    pub fn root(self) -> &'static str {
        match self {
            Self::CreateEntry => "CreateEntryRequest",
            Self::UpdateEntry => "UpdateEntryRequest",
            Self::DeleteEntry => "DeleteEntryRequest",
            Self::CheckKeys => "CheckKeysRequest",
        }
    }
}

impl Request {
    /// Which request it is.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match self {
            Self::CreateEntry(_) => Operation::CreateEntry,
            Self::UpdateEntry(_) => Operation::UpdateEntry,
            Self::DeleteEntry(_) => Operation::DeleteEntry,
            Self::CheckKeys(_) => Operation::CheckKeys,
        }
    }
}

/// `CreateEntryRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateEntry {
    /// What to register.
    pub entry: EntryText,
    /// `USER_REQUESTED` or `RECONCILIATION`.
    pub reason: String,
    /// UUID of version 4: tells a repeat.
    pub request_id: String,
}

/// `UpdateEntryRequest`.
#[derive(Clone, PartialEq, Eq)]
pub struct UpdateEntry {
    /// The key; the address names it, too.
    pub key: String,
    /// Its new account, when that changes.
    pub account: Option<AccountText>,
    /// Its owner with the new name, when that changes.
    pub owner: Option<OwnerText>,
    /// `USER_REQUESTED`, `BRANCH_TRANSFER`, `RECONCILIATION` or `RFB_VALIDATION`.
    pub reason: String,
}

/// `DeleteEntryRequest`.
#[derive(Clone, PartialEq, Eq)]
pub struct DeleteEntry {
    /// The key; the address names it, too.
    pub key: String,
    /// ISPB of the account's provider.
    pub participant: String,
    /// `USER_REQUESTED`, `ACCOUNT_CLOSURE`, `RECONCILIATION`, `FRAUD` or `RFB_VALIDATION`.
    pub reason: String,
}

/// `CheckKeysRequest`.
#[derive(Clone, PartialEq, Eq)]
pub struct CheckKeys {
    /// 1 to [`KEYS_MAX`], each up to 77 characters.
    pub keys: Vec<String>,
}

/// `Entry`.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryText {
    /// The key; none for an EVP, which the DICT draws.
    pub key: Option<String>,
    /// `CPF`, `CNPJ`, `PHONE`, `EMAIL` or `EVP`.
    pub key_type: String,
    /// Its account.
    pub account: AccountText,
    /// Its owner.
    pub owner: OwnerText,
}

/// `Account` (`BrazilianAccount`).
#[derive(Clone, PartialEq, Eq)]
pub struct AccountText {
    /// ISPB of who provides it.
    pub participant: String,
    /// Branch without check digit.
    pub branch: Option<String>,
    /// Number with check digit.
    pub number: String,
    /// `CACC`, `TRAN`, `SLRY` or `SVGS`.
    pub kind: String,
    /// RFC 3339.
    pub opened_at: String,
}

/// `Owner` (`Person`).
#[derive(Clone, PartialEq, Eq)]
pub struct OwnerText {
    /// `NATURAL_PERSON` or `LEGAL_PERSON`.
    pub person_type: String,
    /// CPF or CNPJ.
    pub tax_id: String,
    /// Full or registered name.
    pub name: String,
    /// Trade name, of companies only.
    pub trade_name: Option<String>,
}

/// Texts of people: their Debug says that they are there, and no more.
macro_rules! silent {
    ($($name:ident),+) => {
        $(impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        })+
    };
}
silent!(
    UpdateEntry,
    DeleteEntry,
    CheckKeys,
    EntryText,
    AccountText,
    OwnerText
);

impl From<&Account> for AccountText {
    fn from(account: &Account) -> Self {
        Self {
            participant: account.participant.as_str().to_owned(),
            branch: account.branch.map(|branch| branch.to_string()),
            number: account.number.as_str().to_owned(),
            kind: account.kind.as_str().to_owned(),
            opened_at: account.opened_at.to_string(),
        }
    }
}

impl From<&Owner> for OwnerText {
    fn from(owner: &Owner) -> Self {
        Self {
            person_type: owner.person_type().to_owned(),
            tax_id: owner.tax_id.as_str().to_owned(),
            name: owner.name.as_str().to_owned(),
            trade_name: owner.trade_name.as_ref().map(|name| name.as_str().to_owned()),
        }
    }
}

impl From<&NewEntry> for EntryText {
    fn from(entry: &NewEntry) -> Self {
        Self {
            key: entry.key.as_ref().map(|key| key.as_str().to_owned()),
            key_type: entry.kind.as_str().to_owned(),
            account: (&entry.account).into(),
            owner: (&entry.owner).into(),
        }
    }
}

impl From<&Entry> for EntryText {
    fn from(entry: &Entry) -> Self {
        Self {
            key: Some(entry.key.as_str().to_owned()),
            key_type: entry.key.kind().as_str().to_owned(),
            account: (&entry.account).into(),
            owner: (&entry.owner).into(),
        }
    }
}
