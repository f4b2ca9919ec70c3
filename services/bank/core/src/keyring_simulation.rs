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
        at: at(0),
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
        for new in changes.created {
            let before = self.registrations.insert(new.request_id, new);
            assert!(before.is_none(), "a registration is made once");
        }
        for next in changes.updated {
            let before = self.registrations.insert(next.request_id, next);
            assert!(before.is_some_and(|before| !matches!(
                before.state,
                KeyState::Refused { .. } | KeyState::Removed | KeyState::Lost
            )));
        }
        self.contacts.extend(changes.contacts);
        self.steps.extend(changes.steps);
        result
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
    store.hear(1, KeyEvent::Refused(DictRefusal::LimitExceeded));
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
    store.hear(2, KeyEvent::Refused(DictRefusal::LimitExceeded));
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
    store.hear(1, KeyEvent::Missing);
    assert_eq!(store.state(1), "removing", "its own question settles that");
    store.hear(1, KeyEvent::Removed);
    assert_eq!(store.state(1), "removed");
    assert!(store.register(&wish(2, KeyType::Cpf, Some(ANA))).is_ok());
}

/// The DICT as this bank meets it: entries with their owner (`None`: another bank), and what it carried out.
#[derive(Default)]
struct Dict {
    entries: BTreeMap<Key, Option<RequestId>>,
    /// Lost by the DICT itself. Nobody else takes these here: that a key is there tells not whose it is, and
    /// only the reconciliation by content identifiers will.
    dropped: BTreeSet<Key>,
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
}

/// How a question and its answer fare.
#[derive(Clone, Copy, Debug)]
enum Luck {
    Answered,
    NeverSent,
    QuestionLost,
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
            Self::QuestionLost => Said::Unknown,
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
    /// Whether an attempt is in doubt, as far as this process knows.
    doubts: BTreeMap<RequestId, bool>,
    wishes: u128,
    wanted: BTreeSet<RequestId>,
}

impl Both {
    fn new() -> Self {
        let store = Store {
            contacts: vec![(account().tax_id, phone())],
            ..Store::default()
        };
        Self {
            store,
            dict: Dict::default(),
            doubts: BTreeMap::new(),
            wishes: 0,
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
                        None if self.dict.dropped.contains(&key) => {}
                        None => drop(self.dict.entries.insert(key, None)),
                        Some(None) => drop(self.dict.entries.remove(&key)),
                        Some(Some(_)) => {}
                    }
                }
            }
            Event::Drop(n) => {
                let held = self.dict.entries.iter().filter(|(_, owner)| owner.is_some());
                let held: Vec<Key> = held.map(|(key, _)| key.clone()).collect();
                if let Some(key) = held.get(*n) {
                    self.dict.entries.remove(key);
                    self.dict.dropped.insert(key.clone());
                }
            }
            Event::Check => self.check(),
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
        let doubt = self.doubts.get(&id).copied().unwrap_or(sent);
        self.store
            .apply(|keyring| keyring.hear(id, KeyEvent::Asking, at(3)));
        let event = match question {
            Question::Create => {
                let said = luck.befalls(|| self.dict.create(registration));
                match judge_creation(said, doubt) {
                    Heard::Done(key) => Ok(created(key)),
                    Heard::Refused(why) => Ok(KeyEvent::Refused(why)),
                    Heard::Again { doubt } => Err(doubt),
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
                    Heard::Again { doubt } => Err(doubt),
                }
            }
        };
        match (event, luck) {
            (_, Luck::DiedHearing) => self.doubts.clear(),
            (Ok(event), _) => {
                self.doubts.remove(&id);
                self.store.apply(|keyring| keyring.hear(id, event, at(4)));
            }
            (Err(doubt), _) => drop(self.doubts.insert(id, doubt)),
        }
    }

    /// Which of its keys the DICT still knows.
    fn check(&mut self) {
        let active = self.store.registrations.values();
        let missing: Vec<RequestId> = active
            .filter(|known| matches!(known.state, KeyState::Active { .. }))
            .filter(|known| {
                known
                    .key
                    .as_ref()
                    .is_some_and(|key| !self.dict.entries.contains_key(key))
            })
            .map(|known| known.request_id)
            .collect();
        for id in missing {
            self.store
                .apply(|keyring| keyring.hear(id, KeyEvent::Missing, at(5)));
        }
    }

    /// Every open question is asked until the DICT has answered it, and the active keys are compared.
    fn settle(&mut self) {
        loop {
            let open = self.store.registrations.values();
            let Some(next) = open.clone().find(|known| known.question().is_some()).cloned() else {
                break;
            };
            self.ask(&next, Luck::Answered);
        }
        self.check();
    }

    fn agree(&self) {
        let all = self.store.registrations.values();
        let ids: BTreeSet<RequestId> = all.clone().map(|known| known.request_id).collect();
        assert_eq!(ids, self.wanted, "no registration is lost, and none is made up");
        let copy: BTreeMap<Key, RequestId> = all
            .filter(|known| matches!(known.state, KeyState::Active { .. }))
            .map(|known| (known.key.clone().expect("an active key"), known.request_id))
            .collect();
        let ours = self.dict.entries.iter();
        let dict: BTreeMap<Key, RequestId> = ours
            .filter_map(|(key, owner)| owner.map(|id| (key.clone(), id)))
            .collect();
        assert_eq!(copy, dict, "the copy and the DICT are the same");
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
        1 => n.prop_map(Event::Drop),
        1 => Just(Event::Check),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is lost, refused, repeated or killed: when the last question is answered, every wish has its
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
}
