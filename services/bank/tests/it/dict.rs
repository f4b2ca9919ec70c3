//! A DICT that says what a test tells it to: small, signed, and able to lose its answers. The tests with the
//! real one are those of the whole switch.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use pix_dict_api::{
    Account, CheckKeysResponse, CorrelationId, DeleteEntryResponse, Entry, EntryResponse, EntryRoot, Head,
    Operation, Owner, Problem, ProblemKind, Request as Asked, open_request, parse_unsigned, seal_problem,
    seal_response,
};
use pix_domain::{AccountNumber, AccountType, Branch, EndToEndId, Ispb, Key, RequestId, TaxId, Text};
use pix_runtime::http::{Peer, ServerLimits, read_body, serve};
use pix_runtime::{Clock as _, StopSwitch, SystemClock};
use pix_testkit::TestPki;
use pix_xmldsig::{IssuerSerial, KeySource, Signer, VerifyingKey};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::bank::{OURS, THEIRS};

/// Keys that an account may have; the real limit is five for a person.
const KEYS_MAX: usize = 3;

/// What becomes of the next question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is answered.
    Fine,
    /// It is turned away before anything is done.
    TurnedAway(ProblemKind),
    /// It is done, and the answer says that something broke.
    DoneThenFault,
    /// It is done, and the answer cannot be trusted.
    DoneThenGarbage,
    /// It gets no answer to be trusted, and is done when the test says so.
    Stalls,
}

/// A question as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Create(RequestId),
    Remove(String),
    LookUp { payer: String, end_to_end_id: String },
    Check(Vec<String>),
}

#[derive(Default)]
struct State {
    entries: HashMap<Key, Entry>,
    carried_out: HashMap<RequestId, Key>,
    fates: VecDeque<Fate>,
    held: bool,
    /// What stalled: method, path, body.
    stalled: Vec<(Method, String, Bytes)>,
    /// Account whose requests are turned away.
    forbidden: Option<String>,
    asked: Vec<Question>,
}

/// The DICT.
pub(crate) struct Dict {
    desk: Arc<Desk>,
    state: Arc<Mutex<State>>,
    news: Arc<Notify>,
    address: SocketAddr,
    _stop: StopSwitch,
}

struct Desk {
    state: Arc<Mutex<State>>,
    news: Arc<Notify>,
    signer: Signer,
    bank: VerifyingKey,
}

impl KeySource for Desk {
    fn find(&self, issuer_serial: &IssuerSerial) -> Option<VerifyingKey> {
        (self.bank.issuer_serial() == issuer_serial).then(|| self.bank.clone())
    }
}

impl Dict {
    pub(crate) async fn start(pki: &TestPki) -> Self {
        pix_runtime::init_crypto();
        let state = Arc::new(Mutex::new(State::default()));
        let news = Arc::new(Notify::new());
        let certificate = std::fs::read(pki.participant(OURS).join("signature.crt")).unwrap();
        let desk = Arc::new(Desk {
            state: state.clone(),
            news: news.clone(),
            signer: pki.service_signer("dict"),
            bank: VerifyingKey::from_certificate_pem(&certificate).unwrap(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = StopSwitch::new();
        let serving = desk.clone();
        let handler = Arc::new(move |request: Request<Incoming>, _: Arc<Peer>| {
            let desk = serving.clone();
            async move { desk.answer(request).await }
        });
        let tls = pki.server_tls("dict");
        tokio::spawn(serve(listener, tls, ServerLimits::default(), handler, stopping));
        Self {
            desk,
            state,
            news,
            address,
            _stop: stop,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What becomes of the next questions; after these, all is fine.
    pub(crate) fn plan(&self, fates: &[Fate]) {
        self.state.lock().unwrap().fates.extend(fates);
    }

    /// Does what it is asked but answers nothing, until told otherwise.
    pub(crate) fn hold(&self, hold: bool) {
        self.state.lock().unwrap().held = hold;
        self.news.notify_waiters();
    }

    /// What stalled arrives now.
    pub(crate) fn land(&self) {
        let stalled = std::mem::take(&mut self.state.lock().unwrap().stalled);
        for (method, path, body) in stalled {
            drop(self.desk.decide(&method, &path, Default::default(), &body));
        }
    }

    /// Turns away what is asked for an account.
    pub(crate) fn forbid(&self, number: &str) {
        self.state.lock().unwrap().forbidden = Some(number.to_owned());
    }

    /// Somebody at another bank has this key.
    pub(crate) fn plant(&self, key: &str, owner: &str, name: &str) {
        self.plant_at(THEIRS, key, owner, name);
    }

    /// A customer of this participant has this key.
    pub(crate) fn plant_at(&self, participant: &str, key: &str, owner: &str, name: &str) {
        let now = SystemClock.now().to_millis();
        let key = Key::guess(key).unwrap();
        let entry = Entry {
            key: key.clone(),
            account: Account {
                participant: Ispb::parse(participant.as_bytes()).unwrap(),
                branch: Some(Branch::parse(b"0001").unwrap()),
                number: AccountNumber::parse(b"200001").unwrap(),
                kind: AccountType::Current,
                opened_at: now,
            },
            owner: Owner {
                tax_id: TaxId::parse(owner.as_bytes()).unwrap(),
                name: Text::parse(name).unwrap(),
                trade_name: None,
            },
            created_at: now,
            owned_since: now,
            claim_opened_at: None,
        };
        self.state.lock().unwrap().entries.insert(key, entry);
    }

    /// Forgets a key.
    pub(crate) fn drop_key(&self, key: &str) {
        let mut state = self.state.lock().unwrap();
        state.entries.retain(|held, _| held.as_str() != key);
    }

    /// Keys of this bank, in order.
    pub(crate) fn ours(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let ours = state.entries.values();
        let ours = ours.filter(|entry| entry.account.participant.as_str() == OURS);
        let mut keys: Vec<String> = ours.map(|entry| entry.key.as_str().to_owned()).collect();
        keys.sort();
        keys
    }

    pub(crate) fn asked(&self) -> Vec<Question> {
        self.state.lock().unwrap().asked.clone()
    }

    /// The RequestIds that came, in order.
    pub(crate) fn creations(&self) -> Vec<RequestId> {
        let create = |question: Question| match question {
            Question::Create(id) => Some(id),
            Question::Remove(_) | Question::LookUp { .. } | Question::Check(_) => None,
        };
        self.asked().into_iter().filter_map(create).collect()
    }

    pub(crate) fn lookups(&self) -> usize {
        let lookup = |question: &&Question| matches!(question, Question::LookUp { .. });
        self.asked().iter().filter(lookup).count()
    }

    pub(crate) fn removals(&self) -> usize {
        let removal = |question: &&Question| matches!(question, Question::Remove(_));
        self.asked().iter().filter(removal).count()
    }
}

impl Desk {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let header = |name: &str| {
            let value = request.headers().get(name);
            value
                .map(|value| value.to_str().unwrap().to_owned())
                .unwrap_or_default()
        };
        let payer = (header("PI-PayerId"), header("PI-EndToEndId"));
        let body = read_body(request.into_body(), 1 << 20).await.unwrap_or_default();
        let fate = {
            let mut state = self.state.lock().unwrap();
            state.fates.pop_front().unwrap_or(Fate::Fine)
        };
        let answer = match fate {
            Fate::TurnedAway(kind) => Err(Problem::new(kind, "as planned")),
            Fate::Stalls => {
                let mut state = self.state.lock().unwrap();
                state.stalled.push((method, path, body));
                Ok((200, b"<nonsense/>".to_vec()))
            }
            Fate::Fine | Fate::DoneThenFault | Fate::DoneThenGarbage => {
                self.decide(&method, &path, payer, &body)
            }
        };
        loop {
            let told = self.news.notified();
            if !self.state.lock().unwrap().held {
                break;
            }
            told.await;
        }
        let (status, bytes) = match (answer, fate) {
            (_, Fate::DoneThenFault) => {
                let problem = Problem::new(ProblemKind::InternalServerError, "as planned");
                (500, seal_problem(&problem, &self.signer, "key-info-id"))
            }
            (_, Fate::DoneThenGarbage) => (200, b"<nonsense/>".to_vec()),
            (Ok((status, bytes)), Fate::Fine | Fate::TurnedAway(_) | Fate::Stalls) => (status, bytes),
            (Err(problem), Fate::Fine | Fate::TurnedAway(_) | Fate::Stalls) => (
                problem.status,
                seal_problem(&problem, &self.signer, "key-info-id"),
            ),
        };
        let kind = if status < 300 {
            "application/xml"
        } else {
            "application/problem+xml"
        };
        let mut response = Response::new(Full::new(Bytes::from(bytes)));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let kind = format!("{kind}; charset=utf-8").parse().unwrap();
        response.headers_mut().insert("Content-Type", kind);
        response
    }

    fn decide(
        &self,
        method: &Method,
        path: &str,
        (payer, end_to_end_id): (String, String),
        body: &[u8],
    ) -> Result<(u16, Vec<u8>), Problem> {
        if path.ends_with("/keys/check") {
            return self.check(body);
        }
        let of_key = path.strip_prefix("/api/v2/entries/").expect("a path of the DICT");
        if of_key.is_empty() {
            return self.create(body);
        }
        if *method == Method::POST {
            return self.remove(body);
        }
        let key = plain(of_key);
        let question = Question::LookUp {
            payer,
            end_to_end_id: end_to_end_id.clone(),
        };
        EndToEndId::parse(end_to_end_id.as_bytes()).unwrap();
        let mut state = self.state.lock().unwrap();
        state.asked.push(question);
        let entry = state.entries.values().find(|entry| entry.key.as_str() == key);
        let entry = entry.ok_or_else(|| Problem::new(ProblemKind::NotFound, "no such key"))?;
        if entry.account.participant.as_str() == OURS {
            let kind = ProblemKind::EntryCannotBeQueriedForBookTransfer;
            return Err(Problem::new(kind, "your own"));
        }
        Ok((200, self.entry(EntryRoot::Get, entry)))
    }

    fn create(&self, body: &[u8]) -> Result<(u16, Vec<u8>), Problem> {
        use ProblemKind as K;
        let opened = open_request(body, Operation::CreateEntry, self).expect("the bank signs what it asks");
        let Asked::CreateEntry(asked) = opened.request else {
            panic!("another question");
        };
        let request_id = RequestId::parse(&asked.request_id).unwrap();
        let mut state = self.state.lock().unwrap();
        state.asked.push(Question::Create(request_id));
        let new = asked.entry.check().map_err(|violations| Problem {
            violations,
            ..Problem::new(K::EntryInvalid, "fields are wrong")
        })?;
        if state.forbidden.as_deref() == Some(new.account.number.as_str()) {
            return Err(Problem::new(K::Forbidden, "as planned"));
        }
        if let Some(key) = state.carried_out.get(&request_id) {
            return Ok((201, self.entry(EntryRoot::Create, &state.entries[key])));
        }
        let key = new
            .key
            .unwrap_or_else(|| Key::random(u128::from_be_bytes(*request_id.as_bytes())));
        if let Some(held) = state.entries.get(&key) {
            let kind = match (
                held.owner.tax_id == new.owner.tax_id,
                held.account.participant == new.account.participant,
            ) {
                (false, _) => K::EntryKeyOwnedByDifferentPerson,
                (true, false) => K::EntryKeyInCustodyOfDifferentParticipant,
                (true, true) => K::EntryAlreadyExists,
            };
            return Err(Problem::new(kind, "somebody has it"));
        }
        let held = state.entries.values();
        if held
            .filter(|entry| entry.account.number == new.account.number)
            .count()
            >= KEYS_MAX
        {
            return Err(Problem::new(K::EntryLimitExceeded, "too many"));
        }
        let now = SystemClock.now().to_millis();
        let entry = Entry {
            key: key.clone(),
            account: new.account,
            owner: new.owner,
            created_at: now,
            owned_since: now,
            claim_opened_at: None,
        };
        let answer = self.entry(EntryRoot::Create, &entry);
        state.entries.insert(key.clone(), entry);
        state.carried_out.insert(request_id, key);
        Ok((201, answer))
    }

    fn remove(&self, body: &[u8]) -> Result<(u16, Vec<u8>), Problem> {
        let opened = open_request(body, Operation::DeleteEntry, self).expect("the bank signs what it asks");
        let Asked::DeleteEntry(asked) = opened.request else {
            panic!("another question");
        };
        let mut state = self.state.lock().unwrap();
        state.asked.push(Question::Remove(asked.key.clone()));
        let held = state
            .entries
            .values()
            .find(|entry| entry.key.as_str() == asked.key);
        let held = held.ok_or_else(|| Problem::new(ProblemKind::NotFound, "no such key"))?;
        if held.account.participant.as_str() != OURS {
            return Err(Problem::new(ProblemKind::Forbidden, "another bank's"));
        }
        let key = held.key.clone();
        state.entries.remove(&key);
        let response = pix_dict_api::Response::DeleteEntry(DeleteEntryResponse {
            head: head(),
            key: Cow::Owned(key),
        });
        Ok((200, seal_response(&response, &self.signer, "key-info-id")))
    }

    fn check(&self, body: &[u8]) -> Result<(u16, Vec<u8>), Problem> {
        let asked = parse_unsigned(body, Operation::CheckKeys).expect("the bank asks as documented");
        let Asked::CheckKeys(asked) = asked else {
            panic!("another question");
        };
        let mut state = self.state.lock().unwrap();
        state.asked.push(Question::Check(asked.keys.clone()));
        let there = |key: &str| state.entries.keys().any(|held| held.as_str() == key);
        let keys = asked.keys.iter().map(|key| (key.clone(), there(key))).collect();
        let response = pix_dict_api::Response::CheckKeys(CheckKeysResponse { head: head(), keys });
        Ok((200, seal_response(&response, &self.signer, "key-info-id")))
    }

    fn entry(&self, root: EntryRoot, entry: &Entry) -> Vec<u8> {
        let response = pix_dict_api::Response::Entry(EntryResponse {
            root,
            head: head(),
            entry: Cow::Borrowed(entry),
            statistics: None,
        });
        seal_response(&response, &self.signer, "key-info-id")
    }
}

fn head() -> Head {
    Head {
        at: SystemClock.now().to_millis(),
        correlation_id: CorrelationId::new(7),
    }
}

/// A segment of a path without its percent signs.
fn plain(segment: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let code = std::str::from_utf8(&tail[..2]).unwrap();
            bytes.push(u8::from_str_radix(code, 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}
