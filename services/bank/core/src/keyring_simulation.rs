//! Tests of the keyring: single stories, then any sequence of events at all, against a DICT that is a few
//! lines long.

use std::collections::{BTreeMap, BTreeSet};

use pix_domain::{
    AccountNumber, AccountType, Branch, InvalidKey, Key, KeyType, RequestId, TaxId, Text, Timestamp,
};
use proptest::prelude::*;

use crate::*;

const ANA: &str = "52998224725";
const PHONE: &str = "+5561999990000";

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + second * 1_000_000)
}

fn request(n: u128) -> RequestId {
    RequestId::new(n)
}

fn account() -> Account {
    Account {
        id: AccountId(1),
        indirect: None,
        branch: Branch::parse(b"0001").unwrap(),
        number: AccountNumber::parse(b"100001").unwrap(),
        kind: AccountType::Current,
        holder: Text::parse("Ana Souza").unwrap(),
        tax_id: TaxId::parse(ANA.as_bytes()).unwrap(),
        state: AccountState::Open,
        balances: Balances::default(),
    }
}

fn wish(n: u128, kind: KeyType, key: Option<&str>) -> Wish {
    Wish {
        request_id: request(n),
        name: None,
        kind,
        key: key.map(Into::into),
        at: at(i64::try_from(n).unwrap()),
    }
}

fn phone() -> Key {
    Key::parse(KeyType::Phone, PHONE).unwrap()
}

/// What Postgres is in the shell.
#[derive(Default)]
struct Store {
    registrations: BTreeMap<RequestId, Registration>,
    contacts: Vec<(TaxId, Key)>,
    steps: Vec<KeyStep>,
}

impl Store {
    fn apply<R>(&mut self, act: impl FnOnce(&mut Keyring) -> R) -> R {
        let facts = KeyFacts {
            registrations: self.registrations.values().cloned().collect(),
            contacts: self.contacts.clone(),
        };
        let mut keyring = Keyring::new(facts);
        let result = act(&mut keyring);
        let changes = keyring.into_changes();
        for next in changes.updated {
            self.one_live(&next);
            let before = self.registrations.insert(next.request_id, next);
            assert!(before.is_some(), "what goes on was there");
        }
        for new in changes.created {
            self.one_live(&new);
            let before = self.registrations.insert(new.request_id, new);
            assert!(before.is_none(), "a registration is made once");
        }
        self.contacts.extend(changes.contacts);
        self.steps.extend(changes.steps);
        result
    }

    /// As the store's own index has it.
    fn one_live(&self, next: &Registration) {
        let mut others = self.registrations.values();
        let twin = others.find(|known| {
            let same = known.key.is_some() && known.key == next.key;
            same && known.request_id != next.request_id && known.state.is_live() && next.state.is_live()
        });
        assert_eq!(twin, None, "one live registration of a key");
    }

    fn register(&mut self, wish: &Wish) -> Result<KeyTaken, KeyRefusal> {
        self.apply(|keyring| keyring.register(wish, Some(&account())))
    }

    fn hear(&mut self, n: u128, event: KeyEvent) {
        self.apply(|keyring| keyring.hear(request(n), event, at(1)));
    }

    fn state(&self, n: u128) -> &'static str {
        self.registrations[&request(n)].state.as_str()
    }
}

fn refused(why: DictRefusal) -> KeyEvent {
    KeyEvent::Refused { why, doubt: false }
}

fn missing(again: u128) -> KeyEvent {
    KeyEvent::Missing {
        again: request(again),
    }
}

fn created(key: Key) -> KeyEvent {
    KeyEvent::Created {
        key,
        stored_at: at(1),
    }
}

#[test]
fn a_wish_is_refused_for_the_first_rule_that_fails() {
    let mut store = Store::default();
    let ask = |account: Option<&Account>, kind, key| {
        Store::default().apply(|keyring| keyring.register(&wish(1, kind, key), account))
    };
    let open = account();
    assert_eq!(ask(None, KeyType::Evp, None), Err(KeyRefusal::AccountUnknown));
    let closed = Account {
        state: AccountState::Closed,
        ..account()
    };
    assert_eq!(
        ask(Some(&closed), KeyType::Evp, None),
        Err(KeyRefusal::AccountClosed)
    );
    let salary = Account {
        kind: AccountType::Salary,
        ..account()
    };
    assert_eq!(
        ask(Some(&salary), KeyType::Evp, None),
        Err(KeyRefusal::AccountType)
    );
    let mut ask = |kind, key| store.apply(|keyring| keyring.register(&wish(1, kind, key), Some(&open)));
    assert_eq!(ask(KeyType::Evp, Some(PHONE)), Err(KeyRefusal::KeyGiven));
    assert_eq!(ask(KeyType::Cpf, None), Err(KeyRefusal::KeyMissing));
    assert_eq!(
        ask(KeyType::Phone, Some("61999990000")),
        Err(KeyRefusal::Format(InvalidKey::Pattern(KeyType::Phone)))
    );
    assert_eq!(
        ask(KeyType::Cpf, Some("52998224724")),
        Err(KeyRefusal::CheckDigits)
    );
    assert_eq!(
        ask(KeyType::Cpf, Some("11144477735")),
        Err(KeyRefusal::NotTheHolders)
    );
    assert_eq!(
        ask(KeyType::Cnpj, Some("11222333000181")),
        Err(KeyRefusal::NotTheHolders)
    );
    assert_eq!(ask(KeyType::Phone, Some(PHONE)), Err(KeyRefusal::NotConfirmed));
    assert_eq!(ask(KeyType::Email, Some("a@b.br")), Err(KeyRefusal::NotConfirmed));
    assert_eq!(
        ask(KeyType::Cpf, Some(ANA)),
        Ok(KeyTaken::ToAsk(request(1))),
        "her own"
    );
}

#[test]
fn a_contact_is_confirmed_before_it_is_a_key() {
    let mut store = Store::default();
    let confirm = |store: &mut Store, key: &str| {
        let contact = Key::guess(key).unwrap();
        store.apply(|keyring| keyring.confirm_contact(&contact, Some(&account())))
    };
    assert_eq!(confirm(&mut store, ANA), Err(KeyRefusal::NoContact));
    assert_eq!(confirm(&mut store, PHONE), Ok(()));
    assert_eq!(confirm(&mut store, PHONE), Ok(()));
    assert_eq!(store.contacts.len(), 1);
    assert!(store.register(&wish(1, KeyType::Phone, Some(PHONE))).is_ok());
    assert_eq!(
        store.register(&wish(2, KeyType::Phone, Some(PHONE))),
        Err(KeyRefusal::InUse)
    );
}

#[test]
fn eight_steps_lead_to_a_key_and_the_ninth_to_none() {
    let mut store = Store::default();
    store.register(&wish(1, KeyType::Evp, None)).unwrap();
    store.hear(1, KeyEvent::Asking);
    store.hear(1, KeyEvent::Asking);
    let drawn = Key::random(7);
    store.hear(1, created(drawn.clone()));
    store.hear(1, created(drawn.clone()));
    store.hear(1, refused(DictRefusal::LimitExceeded));
    assert_eq!(store.state(1), "active", "an answer is heard once");
    assert_eq!(store.registrations[&request(1)].key, Some(drawn));
    let stages: Vec<_> = store.steps.iter().map(|step| step.stage.as_str()).collect();
    let eight = [
        "requested",
        "format_checked",
        "ownership_checked",
        "sent",
        "uniqueness_checked",
        "stored",
        "event",
        "confirmed",
    ];
    assert_eq!(stages, eight);
    store.register(&wish(2, KeyType::Evp, None)).unwrap();
    store.hear(2, refused(DictRefusal::LimitExceeded));
    store.hear(2, created(Key::random(8)));
    assert_eq!(store.state(2), "refused");
    let last = store.steps.last().expect("steps were taken");
    let told = (last.stage, last.detail.as_deref());
    assert_eq!(told, (KeyStage::Refused, Some("EntryLimitExceeded")));
}

#[test]
fn a_name_is_one_wish() {
    let mut store = Store::default();
    let named = |n, kind, key| Wish {
        name: Some(OrderKey::parse("wish-1").unwrap()),
        ..wish(n, kind, key)
    };
    let first = store.register(&named(1, KeyType::Evp, None));
    assert_eq!(first, Ok(KeyTaken::ToAsk(request(1))));
    store.hear(1, created(Key::random(7)));
    let again = store.register(&named(2, KeyType::Evp, None));
    assert_eq!(again, Ok(KeyTaken::Again(request(1))));
    let other = store.register(&named(3, KeyType::Cpf, Some(ANA)));
    assert_eq!(other, Err(KeyRefusal::NameReused));
}

#[test]
fn a_key_is_removed_when_the_dict_says_so_and_stays_when_it_says_no() {
    let mut store = Store::default();
    let cpf = Key::parse(KeyType::Cpf, ANA).unwrap();
    let remove = |store: &mut Store| store.apply(|keyring| keyring.remove(&cpf, at(2)));
    assert_eq!(remove(&mut store), Err(KeyRefusal::KeyUnknown));
    store.register(&wish(1, KeyType::Cpf, Some(ANA))).unwrap();
    assert_eq!(remove(&mut store), Err(KeyRefusal::StillRequested));
    store.hear(1, created(cpf.clone()));
    assert_eq!(remove(&mut store), Ok(KeyTaken::ToAsk(request(1))));
    store.hear(1, KeyEvent::RemovalRefused(DictRefusal::LockedByClaim));
    let kept = KeyState::Active {
        kept: Some(DictRefusal::LockedByClaim),
    };
    assert_eq!(store.registrations[&request(1)].state, kept);
    assert_eq!(remove(&mut store), Ok(KeyTaken::ToAsk(request(1))));
    assert_eq!(remove(&mut store), Ok(KeyTaken::Again(request(1))));
    store.hear(1, missing(9));
    assert_eq!(store.state(1), "removing", "its own question settles that");
    store.hear(1, KeyEvent::Removed);
    assert_eq!(store.state(1), "removed");
    assert!(store.register(&wish(2, KeyType::Cpf, Some(ANA))).is_ok());
}

#[test]
fn a_key_that_the_dict_lost_is_registered_anew_unless_the_dict_drew_it() {
    let mut store = Store::default();
    let cpf = Key::parse(KeyType::Cpf, ANA).unwrap();
    store.register(&wish(1, KeyType::Cpf, Some(ANA))).unwrap();
    store.hear(1, created(cpf));
    store.register(&wish(2, KeyType::Evp, None)).unwrap();
    store.hear(2, created(Key::random(7)));
    for _ in 0..2 {
        store.hear(1, missing(3));
        store.hear(2, missing(4));
    }
    let states = [store.state(1), store.state(2), store.state(3)];
    assert_eq!(states, ["lost", "lost", "requested"]);
    assert!(store.registrations[&request(3)].repairs);
    assert!(
        !store.registrations.contains_key(&request(4)),
        "it cannot ask for it"
    );
    store.hear(1, KeyEvent::Present);
    assert_eq!(store.state(1), "lost", "the open registration settles it");
    store.hear(2, KeyEvent::Present);
    assert_eq!(store.state(2), "active", "found again");
}

#[test]
fn a_key_that_the_dict_has_although_it_ended_here_is_removed_there() {
    let mut store = Store::default();
    store.register(&wish(1, KeyType::Cpf, Some(ANA))).unwrap();
    let why = DictRefusal::LimitExceeded;
    store.hear(1, KeyEvent::Refused { why, doubt: true });
    store.hear(1, KeyEvent::Present);
    assert_eq!(store.state(1), "removing");
    store.hear(1, KeyEvent::Removed);
    assert_eq!(store.state(1), "removed");
    store.register(&wish(2, KeyType::Cpf, Some(ANA))).unwrap();
    store.hear(1, KeyEvent::Present);
    assert_eq!(store.state(1), "removed", "the open registration settles it");
    let why = DictRefusal::OwnedByDifferentPerson;
    store.hear(2, KeyEvent::Refused { why, doubt: true });
    store.hear(2, KeyEvent::Elsewhere);
    let state = &store.registrations[&request(2)].state;
    assert!(
        matches!(state, KeyState::Refused { doubt: false, .. }),
        "{state:?}"
    );
}

#[test]
fn one_batch_may_free_a_key_and_register_it_again() {
    let mut store = Store::default();
    let cpf = Key::parse(KeyType::Cpf, ANA).unwrap();
    store.register(&wish(2, KeyType::Cpf, Some(ANA))).unwrap();
    store.hear(2, created(cpf.clone()));
    store.apply(|keyring| keyring.remove(&cpf, at(2))).unwrap();
    let taken = store.apply(|keyring| {
        keyring.hear(request(2), KeyEvent::Removed, at(3));
        keyring.register(&wish(1, KeyType::Cpf, Some(ANA)), Some(&account()))
    });
    assert_eq!(taken, Ok(KeyTaken::ToAsk(request(1))));
}

/// Keys that the account may have at this DICT.
const LIMIT: usize = 3;

/// The DICT as this bank meets it: entries with their owner (`None`: another bank), and what it carried out.
#[derive(Clone, Default)]
struct Dict {
    entries: BTreeMap<Key, Option<RequestId>>,
    carried_out: BTreeMap<RequestId, Key>,
}

impl Dict {
    fn create(&mut self, wish: &Registration) -> Said<Key> {
        if let Some(key) = self.carried_out.get(&wish.request_id) {
            return Said::Done(key.clone());
        }
        let drawn = u128::from_be_bytes(*wish.request_id.as_bytes());
        let key = wish.key.clone().unwrap_or_else(|| Key::random(drawn));
        match self.entries.get(&key) {
            Some(Some(_)) => return Said::Refused(DictRefusal::AlreadyExists),
            Some(None) => return Said::Refused(DictRefusal::OwnedByDifferentPerson),
            None => {}
        }
        if self.entries.values().flatten().count() >= LIMIT {
            return Said::Refused(DictRefusal::LimitExceeded);
        }
        self.entries.insert(key.clone(), Some(wish.request_id));
        self.carried_out.insert(wish.request_id, key.clone());
        Said::Done(key)
    }

    fn remove(&mut self, key: &Key) -> Said<()> {
        match self.entries.get(key) {
            None => Said::Refused(DictRefusal::NotFound),
            Some(None) => Said::Refused(DictRefusal::InCustodyOfDifferentParticipant),
            Some(Some(_)) => {
                self.entries.remove(key);
                Said::Done(())
            }
        }
    }

    fn ours(&self) -> BTreeMap<Key, RequestId> {
        let all = self.entries.iter();
        all.filter_map(|(key, owner)| owner.map(|id| (key.clone(), id)))
            .collect()
    }
}

/// How a question and its answer fare.
#[derive(Clone, Copy, Debug)]
enum Luck {
    Answered,
    NeverSent,
    QuestionLost,
    /// It gets no answer, and arrives later all the same: after its repeat was answered, or much later.
    Stalled,
    AnswerLost,
    TurnedAway(Away),
    FaultAfter,
    /// Answered, and this program ends before it commits what it heard.
    DiedHearing,
}

#[derive(Clone, Copy, Debug)]
enum Away {
    RateLimited,
    Unavailable,
    Forbidden,
}

impl Luck {
    fn befalls<T>(self, ask: impl FnOnce() -> Said<T>) -> Said<T> {
        match self {
            Self::Answered | Self::DiedHearing => ask(),
            Self::NeverSent => Said::NotSent,
            Self::QuestionLost | Self::Stalled => Said::Unknown,
            Self::AnswerLost => {
                ask();
                Said::Unknown
            }
            Self::TurnedAway(Away::RateLimited) => Said::Refused(DictRefusal::RateLimited),
            Self::TurnedAway(Away::Unavailable) => Said::Refused(DictRefusal::Unavailable),
            Self::TurnedAway(Away::Forbidden) => Said::Refused(DictRefusal::Forbidden),
            Self::FaultAfter => {
                ask();
                Said::Refused(DictRefusal::Fault)
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Wish(usize),
    Remove(usize),
    Ask(usize, Luck),
    Crash,
    /// Another bank registers a key that is free, or gives it up.
    Other(usize),
    /// The DICT loses an entry by itself, as by order of a court.
    Drop(usize),
    Check,
    /// A question that stalled arrives.
    Land(usize),
    /// What stalled a while ago has given up, as far as that can be known.
    Wait,
    /// The DICT is restored empty.
    Empty,
    /// It was the wrong one: the former is back.
    Back,
}

fn pool(n: usize) -> (KeyType, Option<Key>) {
    match n {
        0 => (KeyType::Cpf, Some(Key::parse(KeyType::Cpf, ANA).unwrap())),
        1 => (KeyType::Phone, Some(phone())),
        _ => (KeyType::Evp, None),
    }
}

/// Bank and DICT, and what the running program remembers of each open question.
struct Both {
    store: Store,
    dict: Dict,
    /// The DICT as it was before it was restored empty.
    former: Option<Dict>,
    /// Whether the DICT was ever another one: its entries may have other RequestIds since.
    restored: bool,
    /// Lost by the DICT itself. Nobody else takes these here: that a key is there tells not whose it is, and
    /// only the reconciliation by content identifiers will.
    dropped: BTreeSet<Key>,
    /// Questions that stalled.
    late: Vec<(Question, Registration)>,
    /// Whether an attempt is in doubt, as far as this process knows.
    doubts: BTreeMap<RequestId, Doubt>,
    wishes: u128,
    repairs: u128,
    wanted: BTreeSet<RequestId>,
}

/// Names of repairs begin here.
const REPAIRS: u128 = 1_000_000;

impl Both {
    fn new() -> Self {
        let store = Store {
            contacts: vec![(account().tax_id, phone())],
            ..Store::default()
        };
        Self {
            store,
            dict: Dict::default(),
            former: None,
            restored: false,
            dropped: BTreeSet::new(),
            late: Vec::new(),
            doubts: BTreeMap::new(),
            wishes: 0,
            repairs: REPAIRS,
            wanted: BTreeSet::new(),
        }
    }

    fn step(&mut self, event: &Event) {
        match event {
            Event::Wish(n) => {
                self.wishes += 1;
                let (kind, key) = pool(*n);
                let wish = wish(self.wishes, kind, key.as_ref().map(Key::as_str));
                if self.store.register(&wish).is_ok() {
                    self.wanted.insert(wish.request_id);
                }
            }
            Event::Remove(n) => {
                let live: Vec<Key> = self.keys(|state| matches!(state, KeyState::Active { .. }));
                if let Some(key) = live.get(*n) {
                    self.store
                        .apply(|keyring| keyring.remove(key, at(2)))
                        .expect("an active key can be removed");
                }
            }
            Event::Ask(n, luck) => {
                let open = self.store.registrations.values();
                let open: Vec<Registration> = open.filter(|r| r.question().is_some()).cloned().collect();
                if let Some(registration) = open.get(*n) {
                    self.ask(registration, *luck);
                }
            }
            Event::Crash => self.doubts.clear(),
            Event::Other(n) => {
                if let (_, Some(key)) = pool(*n) {
                    match self.dict.entries.get(&key) {
                        None if self.dropped.contains(&key) => {}
                        None => drop(self.dict.entries.insert(key, None)),
                        Some(None) => drop(self.dict.entries.remove(&key)),
                        Some(Some(_)) => {}
                    }
                }
            }
            Event::Drop(n) => {
                let held: Vec<Key> = self.dict.ours().into_keys().collect();
                if let Some(key) = held.get(*n) {
                    self.dict.entries.remove(key);
                    self.dropped.insert(key.clone());
                }
            }
            Event::Check => drop(self.check(false)),
            Event::Land(n) => self.land(*n),
            Event::Wait => self.wait(),
            Event::Empty => {
                let former = self.dict.clone();
                self.dict.entries.retain(|_, owner| owner.is_none());
                self.dict.carried_out.clear();
                self.dropped.extend(former.ours().into_keys());
                self.former.get_or_insert(former);
                self.restored = true;
            }
            Event::Back => self.put_back(),
        }
    }

    fn keys(&self, of: impl Fn(&KeyState) -> bool) -> Vec<Key> {
        let all = self.store.registrations.values();
        all.filter(|known| of(&known.state))
            .filter_map(|known| known.key.clone())
            .collect()
    }

    /// What the worker does with one open question.
    fn ask(&mut self, registration: &Registration, luck: Luck) {
        let id = registration.request_id;
        let Some((question, sent)) = registration.question() else {
            return;
        };
        let as_stored = if sent { Doubt::Fresh } else { Doubt::None };
        let doubt = self.doubts.get(&id).copied().unwrap_or(as_stored);
        self.store
            .apply(|keyring| keyring.hear(id, KeyEvent::Asking, at(3)));
        if matches!(luck, Luck::Stalled) {
            self.late.push((question, registration.clone()));
        }
        let heard = match question {
            Question::Create => {
                let said = luck.befalls(|| self.dict.create(registration));
                match judge_creation(said, doubt) {
                    Heard::Done(key) => Ok(created(key)),
                    Heard::Refused(why) => Ok(KeyEvent::Refused {
                        why,
                        doubt: doubt != Doubt::None,
                    }),
                    Heard::InTheWay => {
                        let key = registration.key.as_ref().expect("a drawn key is new");
                        self.dict.remove(key);
                        Err(false)
                    }
                    Heard::NotYet => Err(false),
                    Heard::Again { unknown } => Err(unknown),
                }
            }
            Question::Remove => {
                let key = registration
                    .key
                    .as_ref()
                    .expect("an active registration has its key");
                let said = luck.befalls(|| self.dict.remove(key));
                match judge_removal(said, doubt) {
                    Heard::Done(()) => Ok(KeyEvent::Removed),
                    Heard::Refused(why) => Ok(KeyEvent::RemovalRefused(why)),
                    Heard::NotYet => Err(false),
                    Heard::Again { unknown } => Err(unknown),
                    Heard::InTheWay => unreachable!("nothing is in the way of a removal"),
                }
            }
        };
        match (heard, luck) {
            (_, Luck::DiedHearing) => self.doubts.clear(),
            (Ok(event), _) => {
                self.doubts.remove(&id);
                self.store.apply(|keyring| keyring.hear(id, event, at(4)));
            }
            (Err(unknown), _) => {
                let doubt = if unknown { Doubt::Fresh } else { doubt };
                self.doubts.insert(id, doubt);
            }
        }
    }

    /// A stalled question arrives; nobody hears its answer.
    fn land(&mut self, n: usize) {
        if n >= self.late.len() {
            return;
        }
        match self.late.remove(n) {
            (Question::Create, registration) => drop(self.dict.create(&registration)),
            (Question::Remove, registration) => {
                let key = registration.key.expect("an active registration has its key");
                if self.dict.remove(&key) == Said::Done(()) {
                    self.dropped.insert(key);
                }
            }
        }
    }

    /// Stalled questions about keys that only the DICT knows are gone by then; others may be later than that.
    fn wait(&mut self) {
        self.late
            .retain(|(question, late)| *question == Question::Remove || late.key.is_some());
        for known in self.store.registrations.values() {
            if let Some((_, true)) = known.question() {
                let doubt = self.doubts.entry(known.request_id).or_insert(Doubt::Fresh);
                *doubt = if *doubt == Doubt::Fresh {
                    Doubt::Old
                } else {
                    *doubt
                };
            }
        }
    }

    /// What other banks have stays as it is: only the reconciliation by content identifiers tells whose a key is.
    fn put_back(&mut self) {
        if let Some(mut former) = self.former.take() {
            self.dropped.extend(self.dict.ours().into_keys());
            former.entries.retain(|_, owner| owner.is_some());
            let others = self.dict.entries.iter().filter(|(_, owner)| owner.is_none());
            former.entries.extend(others.map(|(key, _)| (key.clone(), None)));
            self.dict = former;
        }
    }

    /// Compares the copy with the DICT, key by key, and hears what differs. False when so much is missing that
    /// nothing is believed, unless somebody looked and says so.
    fn check(&mut self, believe: bool) -> bool {
        let (mut compared, mut missing, mut found) = (0, Vec::new(), Vec::new());
        for known in self.store.registrations.values() {
            let Some(key) = &known.key else { continue };
            let there = self.dict.entries.get(key);
            match known.state {
                KeyState::Active { .. } => {
                    compared += 1;
                    missing.extend(there.is_none().then_some(known.request_id));
                }
                KeyState::Refused { doubt: true, .. } | KeyState::Lost => {
                    found.extend(there.map(|owner| (known.request_id, owner.is_some())));
                }
                _ => {}
            }
        }
        for (id, ours) in found {
            let event = if ours {
                KeyEvent::Present
            } else {
                KeyEvent::Elsewhere
            };
            self.store.apply(|keyring| keyring.hear(id, event, at(5)));
        }
        if !believe && !is_plausible_loss(compared, missing.len()) {
            return false;
        }
        for id in missing {
            self.repairs += 1;
            self.wishes += 1;
            let again = request(self.repairs);
            let missing = KeyEvent::Missing { again };
            let now = at(i64::try_from(self.wishes).unwrap());
            self.store.apply(|keyring| keyring.hear(id, missing, now));
        }
        true
    }

    /// Somebody pays every key from this bank, and the DICT says which are the bank's own.
    fn pay_all(&mut self) {
        for key in self.dict.ours().into_keys() {
            let all = self.store.registrations.values();
            let of_key = all.filter(|known| known.key.as_ref() == Some(&key));
            let latest = of_key.max_by_key(|known| known.requested_at);
            if let Some(id) = latest.map(|known| known.request_id) {
                self.store
                    .apply(|keyring| keyring.hear(id, KeyEvent::Present, at(6)));
            }
        }
    }

    /// Whatever stalled arrives, every open question is asked until the DICT has answered it, and what the copy
    /// says is compared with the DICT, until nothing moves any more.
    fn settle(&mut self) {
        while !self.late.is_empty() {
            self.land(0);
        }
        for _ in 0..4 {
            self.wait();
            while let Some(next) = self.open().first().cloned() {
                self.ask(&next, Luck::Answered);
                self.wait();
            }
            if !self.check(false) {
                // Somebody looks: the former DICT comes back, or there is none, and this one is believed.
                self.put_back();
                self.check(true);
            }
            self.pay_all();
        }
    }

    fn open(&self) -> Vec<Registration> {
        let all = self.store.registrations.values();
        all.filter(|known| known.question().is_some()).cloned().collect()
    }

    fn agree(&self) {
        let all = self.store.registrations.values();
        let asked = all.clone().filter(|known| !known.repairs);
        let ids: BTreeSet<RequestId> = asked.map(|known| known.request_id).collect();
        assert_eq!(ids, self.wanted, "no registration is lost, and none is made up");
        assert_eq!(self.open(), [], "every question has its end");
        let copy: BTreeMap<Key, RequestId> = all
            .filter(|known| matches!(known.state, KeyState::Active { .. }))
            .map(|known| (known.key.clone().expect("an active key"), known.request_id))
            .collect();
        let dict = self.dict.ours();
        assert!(copy.keys().eq(dict.keys()), "copy {copy:?}, DICT {dict:?}");
        assert!(self.restored || copy == dict, "copy {copy:?}, DICT {dict:?}");
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let away = prop_oneof![
        Just(Away::RateLimited),
        Just(Away::Unavailable),
        Just(Away::Forbidden)
    ];
    let luck = prop_oneof![
        3 => Just(Luck::Answered),
        1 => Just(Luck::NeverSent),
        1 => Just(Luck::QuestionLost),
        2 => Just(Luck::Stalled),
        2 => Just(Luck::AnswerLost),
        2 => away.prop_map(Luck::TurnedAway),
        1 => Just(Luck::FaultAfter),
        1 => Just(Luck::DiedHearing),
    ];
    let n = 0_usize..3;
    prop_oneof![
        3 => n.clone().prop_map(Event::Wish),
        2 => n.clone().prop_map(Event::Remove),
        8 => (n.clone(), luck).prop_map(|(n, luck)| Event::Ask(n, luck)),
        1 => Just(Event::Crash),
        1 => n.clone().prop_map(Event::Other),
        1 => n.clone().prop_map(Event::Drop),
        2 => n.prop_map(Event::Land),
        2 => Just(Event::Wait),
        1 => Just(Event::Check),
    ]
}

/// [`any_event`], and a DICT that is another one for a while.
fn any_event_or_restore() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => any_event(),
        1 => Just(Event::Empty),
        1 => Just(Event::Back),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is lost, late, refused, repeated or killed: when the last question is answered, every wish has its
    /// end and the copy is what the DICT has.
    #[test]
    fn no_sequence_of_events_loses_a_registration_or_parts_copy_and_dict(
        events in proptest::collection::vec(any_event(), 1..60)
    ) {
        let mut both = Both::new();
        for event in &events {
            both.step(event);
        }
        both.settle();
        both.agree();
    }

    /// Likewise when the DICT is restored empty, and when the former comes back.
    #[test]
    fn a_dict_that_was_restored_parts_copy_and_dict_for_a_while_only(
        events in proptest::collection::vec(any_event_or_restore(), 1..60)
    ) {
        let mut both = Both::new();
        for event in &events {
            both.step(event);
        }
        both.settle();
        both.agree();
    }
}
