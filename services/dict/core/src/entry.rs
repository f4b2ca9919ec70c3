//! Entries: who may register, change, remove and look up a key.
//!
//! A command carries what was asked and has been found well formed; facts carry what the tables say. The refusals
//! stand in the order in which they are looked for: the first that applies is the one answered. The DICT's document
//! lists its error types without an order; this one tells nobody more about a key than the rule before it allows.

use pix_dict_api::{Account, Entry, NewEntry, Owner};
use pix_domain::{Cid, Ispb, Key, KeyType, RequestId, TaxId, Timestamp};

/// Keys that one account of a person may have (Manual Operacional do DICT, 1).
pub const KEYS_PER_ACCOUNT_PERSON: u32 = 5;
/// Keys that one account of a company may have.
pub const KEYS_PER_ACCOUNT_COMPANY: u32 = 20;

/// Keys that an account of this owner may have.
#[must_use]
pub fn keys_per_account(owner: &TaxId) -> u32 {
    match owner {
        TaxId::Cpf(_) => KEYS_PER_ACCOUNT_PERSON,
        TaxId::Cnpj(_) => KEYS_PER_ACCOUNT_COMPANY,
    }
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $wire:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }
        impl $name {
            /// Reads the reason; none is `InvalidReason`: another operation's, or nobody's.
            #[must_use]
            pub fn parse(wire: &str) -> Option<Self> {
                match wire { $($wire => Some(Self::$variant),)+ _ => None }
            }
            /// The reason as it is written.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $wire),+ }
            }
        }
    };
}

reasons! {
    /// Why a key is registered (`CreateEntryRequest`, `Reason`).
    CreateReason {
        /// Its owner asked for it.
        UserRequested = "USER_REQUESTED",
        /// The participant's copy had it and the DICT had not.
        Reconciliation = "RECONCILIATION",
    }
}

reasons! {
    /// Why an entry is changed (`UpdateEntryRequest`, `Reason`).
    UpdateReason {
        /// Its owner asked for it.
        UserRequested = "USER_REQUESTED",
        /// The account moved to another branch.
        BranchTransfer = "BRANCH_TRANSFER",
        /// The participant's copy was another.
        Reconciliation = "RECONCILIATION",
        /// The name is not the one that the Receita Federal has.
        RfbValidation = "RFB_VALIDATION",
    }
}

reasons! {
    /// Why an entry is removed (`DeleteEntryRequest`, `Reason`); `PARTICIPANT_EXCLUSION` is the DICT's own.
    DeleteReason {
        /// Its owner asked for it.
        UserRequested = "USER_REQUESTED",
        /// The account was closed.
        AccountClosure = "ACCOUNT_CLOSURE",
        /// The participant's copy had it no more.
        Reconciliation = "RECONCILIATION",
        /// The owner got the key by fraud.
        Fraud = "FRAUD",
        /// The owner is not regular at the Receita Federal.
        RfbValidation = "RFB_VALIDATION",
    }
}

/// Asks for a key. The participant is that of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// What to register.
    pub entry: NewEntry,
    /// Why.
    pub reason: CreateReason,
    /// Once per participant.
    pub request_id: RequestId,
}

/// What an earlier request of the participant with the same RequestId registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedRequest {
    /// The key it registered; one of kind EVP was drawn by us.
    pub key: Key,
    /// Content of the entry as it registered it.
    pub cid: Cid,
}

/// Who has the key that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Participant that holds the account.
    pub participant: Ispb,
    /// Owner of the key.
    pub owner: TaxId,
}

impl From<&Entry> for Holder {
    fn from(entry: &Entry) -> Self {
        Self {
            participant: entry.account.participant,
            owner: entry.owner.tax_id,
        }
    }
}

/// What the tables say when a key is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateFacts {
    /// The earlier request of this participant with this RequestId.
    pub used: Option<UsedRequest>,
    /// Who has the key now. None for kind EVP, whose keys are new.
    pub existing: Option<Holder>,
    /// Keys that the account has now.
    pub account_keys: u32,
    /// The time of the decision.
    pub now: Timestamp,
    /// A random key, drawn by the shell in case the kind is EVP.
    pub evp: Key,
}

/// What becomes of a request for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is registered.
    New(Registered),
    /// The request came before: its first answer is given again, and nothing else happens, even when the entry was
    /// changed or removed since.
    Repeat,
}

/// A key that is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The entry.
    pub entry: Entry,
    /// The request, which stays with the entry: its CIDs are computed with it.
    pub request_id: RequestId,
    /// Its content identifier.
    pub cid: Cid,
}

/// Why a key is not registered, in order of precedence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateRefusal {
    /// `RequestIdAlreadyUsed`
    #[error("the RequestId was used for another entry")]
    RequestIdAlreadyUsed,
    /// `EntryTaxIdNumberByDifferentOwner`
    #[error("a key of kind CPF or CNPJ is the owner's own")]
    KeyOwnerDiffers,
    /// `EntryAlreadyExists`
    #[error("the participant has registered this key for this owner already")]
    AlreadyExists,
    /// `EntryKeyOwnedByDifferentPerson`
    #[error("the key belongs to another person; a claim of ownership is the way")]
    OwnedByDifferentPerson,
    /// `EntryKeyInCustodyOfDifferentParticipant`
    #[error("the owner has the key at another participant; a claim of portability is the way")]
    InCustodyOfDifferentParticipant,
    /// `EntryLimitExceeded`
    #[error("the account has {held} keys of {limit}")]
    LimitExceeded {
        /// Keys it has.
        held: u32,
        /// Keys it may have.
        limit: u32,
    },
}

/// Decides on a request for a key.
///
/// A request is a repeat when the CID of what it asks for is that of what its RequestId registered. Both are taken
/// with the key that was registered, so a repeat of kind EVP, which names no key, is told by its other attributes.
///
/// # Errors
/// [`CreateRefusal`]: the first that applies.
pub fn create(command: &Create, facts: &CreateFacts) -> Result<Created, CreateRefusal> {
    let asked = &command.entry;
    if let Some(used) = &facts.used {
        return repeat(command, used);
    }
    let key = match (asked.kind, &asked.key) {
        (KeyType::Evp, _) | (_, None) => facts.evp.clone(),
        (_, Some(key)) => key.clone(),
    };
    if !is_own(&key, &asked.owner.tax_id) {
        return Err(CreateRefusal::KeyOwnerDiffers);
    }
    if let Some(holder) = &facts.existing {
        return Err(taken(holder, asked));
    }
    let limit = keys_per_account(&asked.owner.tax_id);
    if facts.account_keys >= limit {
        let held = facts.account_keys;
        return Err(CreateRefusal::LimitExceeded { held, limit });
    }
    let entry = Entry {
        key,
        account: asked.account.clone(),
        owner: asked.owner.clone(),
        created_at: facts.now,
        owned_since: facts.now,
        claim_opened_at: None,
    };
    Ok(Created::New(Registered {
        cid: entry.cid(&command.request_id),
        request_id: command.request_id,
        entry,
    }))
}

fn repeat(command: &Create, used: &UsedRequest) -> Result<Created, CreateRefusal> {
    let asked = &command.entry;
    let same_key = asked.kind == used.key.kind() && asked.key.as_ref().is_none_or(|key| *key == used.key);
    let cid = pix_dict_api::cid(&command.request_id, &used.key, &asked.account, &asked.owner);
    if same_key && cid == used.cid {
        Ok(Created::Repeat)
    } else {
        Err(CreateRefusal::RequestIdAlreadyUsed)
    }
}

/// A CPF or CNPJ as a key is its owner's. Compared as characters: a CNPJ key may end in letters, a CNPJ may not.
fn is_own(key: &Key, owner: &TaxId) -> bool {
    match key.kind() {
        KeyType::Cpf | KeyType::Cnpj => key.as_str() == owner.as_str(),
        KeyType::Phone | KeyType::Email | KeyType::Evp => true,
    }
}

fn taken(holder: &Holder, asked: &NewEntry) -> CreateRefusal {
    let same_owner = holder.owner == asked.owner.tax_id;
    let same_participant = holder.participant == asked.account.participant;
    match (same_owner, same_participant) {
        (true, true) => CreateRefusal::AlreadyExists,
        (false, _) => CreateRefusal::OwnedByDifferentPerson,
        (true, false) => CreateRefusal::InCustodyOfDifferentParticipant,
    }
}

/// Asks for a change of an entry: its account, and its owner's name and trade name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The key.
    pub key: Key,
    /// The account that it stands for from now on; none leaves it.
    pub account: Option<Account>,
    /// The owner as it is written from now on; none leaves it.
    pub owner: Option<Owner>,
    /// Why.
    pub reason: UpdateReason,
}

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The entry.
    pub entry: Entry,
    /// The request that registered it.
    pub request_id: RequestId,
}

/// What the tables say when a change is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateFacts {
    /// The entry of the key.
    pub held: Option<Held>,
    /// Whether the sender may act for the participant that holds the entry; false when there is none.
    pub may_act: bool,
    /// Keys that the account of the command has now; of no matter when it names none.
    pub account_keys: u32,
}

/// An entry that is to be stored anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Updated {
    /// The entry from now on.
    pub entry: Entry,
    /// The request that registered it.
    pub request_id: RequestId,
    /// Its content before.
    pub cid_before: Cid,
    /// Its content from now on. The same when nothing changed that a CID covers; then synchronism does not move.
    pub cid_after: Cid,
    /// Whether anything changed at all; an equal entry is answered and not stored.
    pub changed: bool,
}

/// Why an entry is not changed, in order of precedence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateRefusal {
    /// `InvalidReason`: a random key changes only when the Receita Federal has another name (updateEntry).
    #[error("an entry of a random key is changed with RFB_VALIDATION only")]
    InvalidReason,
    /// `NotFound`
    #[error("nobody has registered this key")]
    NotFound,
    /// `Forbidden`
    #[error("another participant holds this key")]
    Forbidden,
    /// `Forbidden`: a key goes to another participant by a claim of portability.
    #[error("the account belongs to another participant than the key")]
    ParticipantDiffers,
    /// `EntryTaxIdNumberByDifferentOwner`: a key goes to another person by a claim of ownership.
    #[error("the owner is another person than the key's")]
    OwnerDiffers,
    /// `EntryLimitExceeded`
    #[error("the account has {held} keys of {limit}")]
    LimitExceeded {
        /// Keys it has.
        held: u32,
        /// Keys it may have.
        limit: u32,
    },
}

/// Decides on a change. An open claim does not stand in its way (Manual Operacional do DICT, 5).
///
/// # Errors
/// [`UpdateRefusal`]: the first that applies.
pub fn update(command: &Update, facts: &UpdateFacts) -> Result<Updated, UpdateRefusal> {
    if command.key.kind() == KeyType::Evp && command.reason != UpdateReason::RfbValidation {
        return Err(UpdateRefusal::InvalidReason);
    }
    let held = facts.held.as_ref().ok_or(UpdateRefusal::NotFound)?;
    if !facts.may_act {
        return Err(UpdateRefusal::Forbidden);
    }
    let before = &held.entry;
    let account = command.account.as_ref().unwrap_or(&before.account);
    let owner = command.owner.as_ref().unwrap_or(&before.owner);
    if account.participant != before.account.participant {
        return Err(UpdateRefusal::ParticipantDiffers);
    }
    if owner.tax_id != before.owner.tax_id {
        return Err(UpdateRefusal::OwnerDiffers);
    }
    let limit = keys_per_account(&owner.tax_id);
    if !is_same_account(account, &before.account) && facts.account_keys >= limit {
        let held = facts.account_keys;
        return Err(UpdateRefusal::LimitExceeded { held, limit });
    }
    let entry = Entry {
        account: account.clone(),
        owner: owner.clone(),
        ..before.clone()
    };
    let cid_before = before.cid(&held.request_id);
    let cid_after = entry.cid(&held.request_id);
    Ok(Updated {
        cid_before,
        cid_after,
        // One branch may be written `1` and `0001`: equal, and another content all the same.
        changed: entry != *before || cid_before != cid_after,
        request_id: held.request_id,
        entry,
    })
}

/// Whether two descriptions name one account, whenever it was opened: the account that the limit of keys counts.
#[must_use]
pub fn is_same_account(one: &Account, other: &Account) -> bool {
    one.participant == other.participant
        && one.branch == other.branch
        && one.number == other.number
        && one.kind == other.kind
}

/// Asks for the removal of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The key.
    pub key: Key,
    /// Participant that says that it holds the key.
    pub participant: Ispb,
    /// Why.
    pub reason: DeleteReason,
}

/// An entry that is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The entry as it was last.
    pub entry: Entry,
    /// The request that registered it.
    pub request_id: RequestId,
    /// Its content as it was last.
    pub cid: Cid,
}

/// Why an entry is not removed, in order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteRefusal {
    /// `NotFound`; so is a removal that is repeated.
    #[error("nobody has registered this key")]
    NotFound,
    /// `Forbidden`
    #[error("another participant holds this key")]
    Forbidden,
    /// `EntryLockedByClaim`
    #[error("a claim for this key is open")]
    LockedByClaim,
}

/// Decides on a removal.
///
/// # Errors
/// [`DeleteRefusal`]: the first that applies.
pub fn delete(command: &Delete, held: Option<&Held>) -> Result<Deleted, DeleteRefusal> {
    let Held { entry, request_id } = held.ok_or(DeleteRefusal::NotFound)?;
    if entry.account.participant != command.participant {
        return Err(DeleteRefusal::Forbidden);
    }
    if entry.claim_opened_at.is_some() {
        return Err(DeleteRefusal::LockedByClaim);
    }
    Ok(Deleted {
        entry: entry.clone(),
        request_id: *request_id,
        cid: entry.cid(request_id),
    })
}

/// `EntryCannotBeQueriedForBookTransfer`: payer and receiver are at one participant, which knows the account itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key is the requesting participant's own; it knows the account without the DICT")]
pub struct BookTransfer;

/// Whether `requesting` may be told the entry.
///
/// # Errors
/// [`BookTransfer`] when it holds the entry itself.
pub fn may_query(entry: &Entry, requesting: Ispb) -> Result<(), BookTransfer> {
    if entry.account.participant == requesting {
        Err(BookTransfer)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
