//! Keys of the bank's customers: who may have which, and how a registration goes on.
//!
//! The bank's copy of a key follows the DICT: a wish is committed before the DICT is asked, and only an answer
//! of the DICT ends it. Whatever ends this program in between, the wish is there and is asked again.

use std::collections::{BTreeMap, BTreeSet};

use pix_domain::{InvalidKey, Key, KeyType, RequestId, TaxId, Timestamp};

use crate::{Account, AccountId, AccountState, DictRefusal, OrderKey};

/// One registration of one key: its request names it for life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// What the DICT knows the request by, however often it is asked.
    pub request_id: RequestId,
    /// The account that the key stands for.
    pub account: AccountId,
    /// Kind of key.
    pub kind: KeyType,
    /// The key; none until the DICT has drawn a random one.
    pub key: Option<Key>,
    /// The caller's own name for the wish (`Idempotency-Key`).
    pub wish: Option<OrderKey>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// Nobody asked: the DICT had lost the key, and gets it again.
    pub repairs: bool,
    /// How far it got.
    pub state: KeyState,
}

/// How far a registration got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// The DICT has to be asked until it is known what it says.
    Requested {
        /// A question may have left: from here on only the directory itself can refuse (see `judge_creation`).
        sent: bool,
    },
    /// The DICT has it.
    Active {
        /// Why the DICT kept it when it was to be removed.
        kept: Option<DictRefusal>,
    },
    /// The DICT never had it.
    Refused {
        /// Why.
        why: DictRefusal,
        /// An attempt got no answer: the DICT is asked now and then whether it has the key all the same.
        doubt: bool,
    },
    /// The DICT has to be asked to remove it until it is known to be gone.
    Removing {
        /// A question may have left.
        sent: bool,
    },
    /// It was removed.
    Removed,
    /// It was active here, and the DICT has it no more, though nobody here asked for that. A key that the customer
    /// chose is registered anew; a random one cannot be, and is active again should the DICT find it.
    Lost,
}

impl KeyState {
    /// The word for it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Requested { .. } => "requested",
            Self::Active { .. } => "active",
            Self::Refused { .. } => "refused",
            Self::Removing { .. } => "removing",
            Self::Removed => "removed",
            Self::Lost => "lost",
        }
    }

    /// Whether the DICT has the key for this bank, or may have: nobody else registers it here meanwhile.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(
            self,
            Self::Requested { .. } | Self::Active { .. } | Self::Removing { .. }
        )
    }
}

/// What the DICT still has to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// createEntry.
    Create,
    /// deleteEntry.
    Remove,
}

impl Registration {
    /// The question that is open, and whether it may have been asked before.
    #[must_use]
    pub fn question(&self) -> Option<(Question, bool)> {
        match self.state {
            KeyState::Requested { sent } => Some((Question::Create, sent)),
            KeyState::Removing { sent } => Some((Question::Remove, sent)),
            KeyState::Active { .. } | KeyState::Refused { .. } | KeyState::Removed | KeyState::Lost => None,
        }
    }
}

/// A moment in the life of a registration, for its timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyStage {
    /// 1. The customer asked.
    Requested,
    /// 2. The key has the form of its kind.
    FormatChecked,
    /// 3. The key is the customer's.
    OwnershipChecked,
    /// 4. CreateEntry is on its way.
    Sent,
    /// 5. The DICT found nobody else's entry in the way.
    UniquenessChecked,
    /// 6. The DICT has stored the entry.
    Stored,
    /// 7. The DICT tells others of it, by an event committed with the entry.
    Event,
    /// 8. The bank's own copy says so too, and the customer may be told.
    Confirmed,
    /// 9. Instead of 5 to 8: the DICT said no.
    Refused,
    /// The customer asked for its removal.
    RemovalRequested,
    /// DeleteEntry is on its way.
    RemovalSent,
    /// The DICT has it no more.
    Removed,
    /// The DICT keeps it.
    RemovalRefused,
    /// The DICT has it no more, and nobody here asked for that.
    Lost,
    /// The DICT has it, although it had ended here.
    Found,
}

impl KeyStage {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::FormatChecked => "format_checked",
            Self::OwnershipChecked => "ownership_checked",
            Self::Sent => "sent",
            Self::UniquenessChecked => "uniqueness_checked",
            Self::Stored => "stored",
            Self::Event => "event",
            Self::Confirmed => "confirmed",
            Self::Refused => "refused",
            Self::RemovalRequested => "removal_requested",
            Self::RemovalSent => "removal_sent",
            Self::Removed => "removed",
            Self::RemovalRefused => "removal_refused",
            Self::Lost => "lost",
            Self::Found => "found",
        }
    }
}

/// One line of a registration's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStep {
    /// The registration.
    pub request_id: RequestId,
    /// What happened.
    pub stage: KeyStage,
    /// When.
    pub at: Timestamp,
    /// A type of problem, where there is one.
    pub detail: Option<String>,
}

/// A customer wants a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The name it gets; the shell draws it, and keeps it however often the wish is applied again.
    pub request_id: RequestId,
    /// The caller's own name for it.
    pub name: Option<OrderKey>,
    /// Kind of key.
    pub kind: KeyType,
    /// The key as it was given; none for a random one.
    pub key: Option<Box<str>>,
    /// When the customer asked.
    pub at: Timestamp,
}

/// Why the bank does not take a wish, in rule precedence: the first that applies is the one answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// The Idempotency-Key named another wish before.
    #[error("this Idempotency-Key was used for another registration; use a new one")]
    NameReused,
    /// No such account.
    #[error("the bank has no such account; GET /api/accounts lists them")]
    AccountUnknown,
    /// The account has ended.
    #[error("the account is closed; register the key for another one")]
    AccountClosed,
    /// The account is blocked.
    #[error("the account is blocked; ask the bank to open it")]
    AccountBlocked,
    /// Nobody can be paid there.
    #[error("no payment can be received in an account of this type; register the key for another one")]
    AccountType,
    /// A random key was given.
    #[error("the DICT draws random keys: leave `key` out for EVP")]
    KeyGiven,
    /// No key was given.
    #[error("`key` is missing: only EVP keys are drawn by the DICT")]
    KeyMissing,
    /// It has not the form of its kind.
    #[error(transparent)]
    Format(#[from] InvalidKey),
    /// The check digits are wrong.
    #[error("the check digits of the CPF or CNPJ are wrong")]
    CheckDigits,
    /// A CPF or CNPJ of somebody else.
    #[error("a CPF or CNPJ key is the account holder's own; this one is not")]
    NotTheHolders,
    /// A phone or e-mail that nobody confirmed.
    #[error(
        "this phone or e-mail is not a confirmed contact of the customer; \
         POST /api/accounts/{{branch}}/{{number}}/contacts confirms one"
    )]
    NotConfirmed,
    /// The bank has it, or is about to.
    #[error("this bank already has this key, or is registering or removing it")]
    InUse,
    /// The bank's copy does not have it.
    #[error("the bank has no such key; GET /api/keys lists them")]
    KeyUnknown,
    /// It is on its way in.
    #[error("the key is still being registered; wait until the DICT has answered")]
    StillRequested,
    /// A contact is a phone or an e-mail.
    #[error("a contact is a phone like +5561999990000 or an e-mail in lower case")]
    NoContact,
}

impl KeyRefusal {
    /// Why, and what to do, in Portuguese.
    #[must_use]
    pub fn in_portuguese(&self) -> &'static str {
        match self {
            Self::NameReused => "esta Idempotency-Key já serviu a outro registro; use uma nova",
            Self::AccountUnknown => "a instituição não tem esta conta",
            Self::AccountClosed => "a conta está encerrada; registre a chave em outra",
            Self::AccountBlocked => "a conta está bloqueada; peça à instituição que a desbloqueie",
            Self::AccountType => "contas deste tipo não recebem pagamentos; registre a chave em outra",
            Self::KeyGiven => "quem sorteia chaves aleatórias é o DICT: não informe a chave",
            Self::KeyMissing => "falta a chave: o DICT só sorteia as aleatórias",
            Self::Format(_) => {
                "a chave não tem a forma do seu tipo: CPF, CNPJ, telefone com +55 ou e-mail em minúsculas"
            }
            Self::CheckDigits => "os dígitos verificadores do CPF ou CNPJ estão errados",
            Self::NotTheHolders => "uma chave CPF ou CNPJ é a do próprio titular da conta; esta não é",
            Self::NotConfirmed => {
                "a instituição ainda não confirmou que este telefone ou e-mail é do cliente"
            }
            Self::InUse => "a instituição já tem esta chave, ou a está registrando ou removendo",
            Self::KeyUnknown => "a instituição não tem esta chave",
            Self::StillRequested => "a chave ainda está sendo registrada; aguarde a resposta do DICT",
            Self::NoContact => "um contato é um telefone como +5561999990000 ou um e-mail em minúsculas",
        }
    }
}

/// How a wish or a removal was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTaken {
    /// The DICT has to be asked.
    ToAsk(RequestId),
    /// This very wish was taken before.
    Again(RequestId),
}

/// What happened to a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyEvent {
    /// The question is about to leave for the first time.
    Asking,
    /// The DICT has the entry.
    Created {
        /// Its key.
        key: Key,
        /// When the DICT made it.
        stored_at: Timestamp,
    },
    /// The DICT has no such entry, for good.
    Refused {
        /// Why.
        why: DictRefusal,
        /// An attempt got no answer.
        doubt: bool,
    },
    /// The DICT has the entry no more.
    Removed,
    /// The DICT keeps the entry.
    RemovalRefused(DictRefusal),
    /// Asked for the keys it has, the DICT did not know this one.
    Missing {
        /// The request by which it is registered anew.
        again: RequestId,
    },
    /// The DICT has the key for this bank.
    Present,
    /// The DICT has the key for another bank.
    Elsewhere,
}

/// What the shell knows before it asks: everything that a batch names.
#[derive(Clone, Debug, Default)]
pub struct KeyFacts {
    /// Registrations by request, by the caller's name, and the live ones of every key among them.
    pub registrations: Vec<Registration>,
    /// Confirmed contacts: of whom, and which.
    pub contacts: Vec<(TaxId, Key)>,
}

/// What a batch changed: the shell writes all of it, or none.
#[derive(Clone, Debug, Default)]
pub struct KeyChanges {
    /// New registrations.
    pub created: Vec<Registration>,
    /// Registrations that went on.
    pub updated: Vec<Registration>,
    /// Lines of timelines, in order.
    pub steps: Vec<KeyStep>,
    /// Newly confirmed contacts.
    pub contacts: Vec<(TaxId, Key)>,
}

/// The keys of one bank, as far as one batch needs them.
#[derive(Debug, Default)]
pub struct Keyring {
    registrations: BTreeMap<RequestId, Registration>,
    contacts: BTreeSet<(String, Key)>,
    created: BTreeSet<RequestId>,
    updated: BTreeSet<RequestId>,
    changes: KeyChanges,
}

impl Keyring {
    /// Opens it at what the shell knows.
    #[must_use]
    pub fn new(facts: KeyFacts) -> Self {
        let contacts = facts.contacts.into_iter();
        Self {
            registrations: facts
                .registrations
                .into_iter()
                .map(|known| (known.request_id, known))
                .collect(),
            contacts: contacts
                .map(|(holder, key)| (holder.as_str().to_owned(), key))
                .collect(),
            ..Self::default()
        }
    }

    /// A customer wants a key for an account.
    ///
    /// # Errors
    /// [`KeyRefusal`]: nothing changed.
    pub fn register(&mut self, wish: &Wish, account: Option<&Account>) -> Result<KeyTaken, KeyRefusal> {
        if let Some(known) = self.known(wish) {
            let same_account = account.is_some_and(|account| account.id == known.account);
            let same_key = wish.kind == KeyType::Evp || known.key == read(wish)?;
            let same = same_account && same_key && known.kind == wish.kind;
            let again = KeyTaken::Again(known.request_id);
            return same.then_some(again).ok_or(KeyRefusal::NameReused);
        }
        let account = judge_account(account)?;
        let key = read(wish)?;
        if let Some(key) = &key {
            self.judge_ownership(key, account)?;
            if self.live(key).is_some() {
                return Err(KeyRefusal::InUse);
            }
        }
        let id = wish.request_id;
        self.step(id, KeyStage::Requested, wish.at, None);
        self.step(id, KeyStage::FormatChecked, wish.at, None);
        self.step(id, KeyStage::OwnershipChecked, wish.at, None);
        self.created.insert(id);
        let registration = Registration {
            request_id: id,
            account: account.id,
            kind: wish.kind,
            key,
            wish: wish.name.clone(),
            requested_at: wish.at,
            repairs: false,
            state: KeyState::Requested { sent: false },
        };
        self.registrations.insert(id, registration);
        Ok(KeyTaken::ToAsk(id))
    }

    /// A customer wants to be rid of a key.
    ///
    /// # Errors
    /// [`KeyRefusal`]: nothing changed.
    pub fn remove(&mut self, key: &Key, now: Timestamp) -> Result<KeyTaken, KeyRefusal> {
        let known = self.live(key).ok_or(KeyRefusal::KeyUnknown)?;
        let id = known.request_id;
        match known.state {
            KeyState::Requested { .. } => return Err(KeyRefusal::StillRequested),
            KeyState::Removing { .. } => return Ok(KeyTaken::Again(id)),
            KeyState::Active { .. } | KeyState::Refused { .. } | KeyState::Removed | KeyState::Lost => {}
        }
        self.turn(id, KeyState::Removing { sent: false });
        self.step(id, KeyStage::RemovalRequested, now, None);
        Ok(KeyTaken::ToAsk(id))
    }

    /// A clerk confirms that a phone or an e-mail is the customer's.
    ///
    /// # Errors
    /// [`KeyRefusal::AccountUnknown`], [`KeyRefusal::NoContact`].
    pub fn confirm_contact(&mut self, contact: &Key, account: Option<&Account>) -> Result<(), KeyRefusal> {
        let holder = account.ok_or(KeyRefusal::AccountUnknown)?.tax_id;
        if !matches!(contact.kind(), KeyType::Phone | KeyType::Email) {
            return Err(KeyRefusal::NoContact);
        }
        if self
            .contacts
            .insert((holder.as_str().to_owned(), contact.clone()))
        {
            self.changes.contacts.push((holder, contact.clone()));
        }
        Ok(())
    }

    /// Something happened to a registration. What does not fit its state changes nothing: it was told before,
    /// or was overtaken.
    pub fn hear(&mut self, id: RequestId, event: KeyEvent, now: Timestamp) {
        let Some(state) = self.registrations.get(&id).map(|known| known.state.clone()) else {
            return;
        };
        match (state, event) {
            (KeyState::Requested { sent: false }, KeyEvent::Asking) => {
                self.turn(id, KeyState::Requested { sent: true });
                self.step(id, KeyStage::Sent, now, None);
            }
            (KeyState::Removing { sent: false }, KeyEvent::Asking) => {
                self.turn(id, KeyState::Removing { sent: true });
                self.step(id, KeyStage::RemovalSent, now, None);
            }
            (KeyState::Requested { .. }, KeyEvent::Created { key, stored_at }) => {
                if let Some(known) = self.registrations.get_mut(&id) {
                    known.key = Some(key);
                }
                self.turn(id, KeyState::Active { kept: None });
                self.step(id, KeyStage::UniquenessChecked, now, None);
                self.step(id, KeyStage::Stored, now, Some(stored_at.to_string()));
                self.step(id, KeyStage::Event, now, None);
                self.step(id, KeyStage::Confirmed, now, None);
            }
            (KeyState::Requested { .. }, KeyEvent::Refused { why, doubt }) => {
                self.step(id, KeyStage::Refused, now, Some(why.as_str().to_owned()));
                self.turn(id, KeyState::Refused { why, doubt });
            }
            (KeyState::Removing { .. }, KeyEvent::Removed) => {
                self.turn(id, KeyState::Removed);
                self.step(id, KeyStage::Removed, now, None);
            }
            (KeyState::Removing { .. }, KeyEvent::RemovalRefused(why)) => {
                self.step(id, KeyStage::RemovalRefused, now, Some(why.as_str().to_owned()));
                self.turn(id, KeyState::Active { kept: Some(why) });
            }
            (KeyState::Active { .. }, KeyEvent::Missing { again }) => {
                self.turn(id, KeyState::Lost);
                self.step(id, KeyStage::Lost, now, None);
                self.register_anew(id, again, now);
            }
            (state, KeyEvent::Present) => self.found(id, &state, now),
            (KeyState::Refused { why, doubt: true }, KeyEvent::Elsewhere) => {
                self.turn(id, KeyState::Refused { why, doubt: false });
            }
            (
                KeyState::Requested { .. }
                | KeyState::Active { .. }
                | KeyState::Refused { .. }
                | KeyState::Removing { .. }
                | KeyState::Removed
                | KeyState::Lost,
                KeyEvent::Asking
                | KeyEvent::Created { .. }
                | KeyEvent::Refused { .. }
                | KeyEvent::Removed
                | KeyEvent::RemovalRefused(_)
                | KeyEvent::Missing { .. }
                | KeyEvent::Elsewhere,
            ) => {}
        }
    }

    /// The DICT lost a key: it gets it again, by a request of its own, unless only the DICT could draw it.
    fn register_anew(&mut self, lost: RequestId, again: RequestId, now: Timestamp) {
        let Some(known) = self.registrations.get(&lost) else {
            return;
        };
        if known.kind == KeyType::Evp || self.registrations.contains_key(&again) {
            return;
        }
        let registration = Registration {
            request_id: again,
            wish: None,
            requested_at: now,
            repairs: true,
            state: KeyState::Requested { sent: false },
            ..known.clone()
        };
        self.registrations.insert(again, registration);
        self.created.insert(again);
        self.step(again, KeyStage::Requested, now, None);
    }

    /// The DICT has a key that had ended here. One that the customer never gave up is theirs again; any other has
    /// to go. While a registration of the key is open, that one settles it.
    fn found(&mut self, id: RequestId, state: &KeyState, now: Timestamp) {
        let Some(known) = self.registrations.get(&id) else {
            return;
        };
        if known.key.as_ref().is_none_or(|key| self.live(key).is_some()) {
            return;
        }
        let next = match state {
            KeyState::Lost => KeyState::Active { kept: None },
            KeyState::Refused { .. } if known.repairs => KeyState::Active { kept: None },
            KeyState::Refused { .. } | KeyState::Removed => KeyState::Removing { sent: false },
            KeyState::Requested { .. } | KeyState::Active { .. } | KeyState::Removing { .. } => return,
        };
        self.turn(id, next);
        self.step(id, KeyStage::Found, now, None);
    }

    /// Everything that changed since [`Keyring::new`].
    #[must_use]
    pub fn into_changes(mut self) -> KeyChanges {
        let take = |ids: &BTreeSet<RequestId>| {
            ids.iter()
                .filter_map(|id| self.registrations.get(id).cloned())
                .collect()
        };
        self.changes.created = take(&self.created);
        self.updated.retain(|id| !self.created.contains(id));
        self.changes.updated = take(&self.updated);
        self.changes
    }

    /// The registration that this wish made: applied again under its own id, or repeated under its name.
    fn known(&self, wish: &Wish) -> Option<&Registration> {
        let by_name = |known: &&Registration| wish.name.is_some() && known.wish == wish.name;
        self.registrations
            .get(&wish.request_id)
            .or_else(|| self.registrations.values().find(by_name))
    }

    fn live(&self, key: &Key) -> Option<&Registration> {
        let mut all = self.registrations.values();
        all.find(|known| known.state.is_live() && known.key.as_ref() == Some(key))
    }

    /// A CPF or CNPJ is the holder's own; a phone or e-mail was confirmed to be; a random key is anybody's.
    fn judge_ownership(&self, key: &Key, account: &Account) -> Result<(), KeyRefusal> {
        match key.kind() {
            KeyType::Evp => Ok(()),
            KeyType::Cpf | KeyType::Cnpj => {
                let own = key.tax_id() == Some(account.tax_id);
                own.then_some(()).ok_or(KeyRefusal::NotTheHolders)
            }
            KeyType::Phone | KeyType::Email => {
                let holder = account.tax_id.as_str().to_owned();
                let confirmed = self.contacts.contains(&(holder, key.clone()));
                confirmed.then_some(()).ok_or(KeyRefusal::NotConfirmed)
            }
        }
    }

    fn turn(&mut self, id: RequestId, state: KeyState) {
        if let Some(known) = self.registrations.get_mut(&id) {
            known.state = state;
            self.updated.insert(id);
        }
    }

    fn step(&mut self, request_id: RequestId, stage: KeyStage, at: Timestamp, detail: Option<String>) {
        self.changes.steps.push(KeyStep {
            request_id,
            stage,
            at,
            detail,
        });
    }
}

fn judge_account(account: Option<&Account>) -> Result<&Account, KeyRefusal> {
    use pix_domain::AccountType as T;
    let account = account.ok_or(KeyRefusal::AccountUnknown)?;
    match account.state {
        AccountState::Closed => return Err(KeyRefusal::AccountClosed),
        AccountState::Blocked => return Err(KeyRefusal::AccountBlocked),
        AccountState::Open => {}
    }
    match account.kind {
        T::Salary | T::Other => Err(KeyRefusal::AccountType),
        T::Current | T::Savings | T::Transacting => Ok(account),
    }
}

/// The key of a wish, in its canonical form.
fn read(wish: &Wish) -> Result<Option<Key>, KeyRefusal> {
    match (wish.kind, &wish.key) {
        (KeyType::Evp, None) => Ok(None),
        (KeyType::Evp, Some(_)) => Err(KeyRefusal::KeyGiven),
        (_, None) => Err(KeyRefusal::KeyMissing),
        (kind, Some(text)) => {
            let key = Key::parse(kind, text)?;
            let right = key.has_valid_check_digits();
            right.then_some(Some(key)).ok_or(KeyRefusal::CheckDigits)
        }
    }
}
