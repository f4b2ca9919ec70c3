//! A switch that says what a test tells it to.

use std::collections::{HashMap, VecDeque};
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use iso20022::{
    Admi002, AppHdr, CreditTransfer, Document, Envelope, GroupHeader, MessageDefinition, Pacs002, Pacs008,
    StatusReasonInformation, TransactionStatusReport, seal_envelope,
};
use pix_domain::{
    EndToEndId, Ispb, MsgId, Priority, ResourceId, SPI_ISPB, ServiceLevel, StatusReason, Text, Timestamp,
    TransactionStatus,
};
use pix_runtime::http::{Peer, ServerLimits, read_body, serve};
use pix_runtime::{Clock as _, Ids, StopSwitch, SystemClock};
use pix_testkit::{TestPki, eventually};
use pix_xmldsig::{IssuerSerial, KeySource, Signer, VerifyingKey};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// How long a GET waits for a message.
const LONG_POLL: Duration = Duration::from_millis(500);
/// How long a token lives that nobody uses.
const EXPIRY: Duration = Duration::from_secs(3);
/// How long a test waits for the bank.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message that the bank posted.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) bytes: Bytes,
    pub(crate) envelope: Envelope,
    pub(crate) channel: usize,
}

/// Indexes of the channels.
pub(crate) const PRIMARY: usize = 0;
pub(crate) const SECONDARY: usize = 1;

/// Messages that a token confirms.
struct Batch {
    messages: Vec<(ResourceId, Bytes)>,
    channel: usize,
    delivered: Instant,
}

#[derive(Default)]
struct State {
    posts: Vec<Post>,
    plan: VecDeque<u16>,
    held: bool,
    queue: [VecDeque<(ResourceId, Bytes)>; 2],
    batches: HashMap<String, Batch>,
    /// What the GET of a token answered: the next token.
    answered: HashMap<String, String>,
    confirmed: Vec<ResourceId>,
    closed: Vec<String>,
    gone: bool,
    started: usize,
    tokens: u32,
    foreign_headers: Vec<String>,
}

/// The switch.
pub(crate) struct Switch {
    state: Arc<Mutex<State>>,
    news: Arc<Notify>,
    addresses: [SocketAddr; 2],
    signer: Signer,
    ids: Ids,
    bank: Ispb,
    _stop: [StopSwitch; 2],
}

struct OneKey(VerifyingKey);

impl KeySource for OneKey {
    fn find(&self, issuer_serial: &IssuerSerial) -> Option<VerifyingKey> {
        (self.0.issuer_serial() == issuer_serial).then(|| self.0.clone())
    }
}

impl Switch {
    pub(crate) async fn start(pki: &TestPki, bank: &str) -> Self {
        pix_runtime::init_crypto();
        let state = Arc::new(Mutex::new(State::default()));
        let news = Arc::new(Notify::new());
        let certificate = std::fs::read(pki.participant(bank).join("signature.crt")).unwrap();
        let keys = Arc::new(OneKey(VerifyingKey::from_certificate_pem(&certificate).unwrap()));
        let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); 2];
        let (stop_primary, stopping_primary) = StopSwitch::new();
        let (stop_secondary, stopping_secondary) = StopSwitch::new();
        for (channel, stopping) in [(PRIMARY, stopping_primary), (SECONDARY, stopping_secondary)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses[channel] = listener.local_addr().unwrap();
            let (state, news, keys) = (state.clone(), news.clone(), keys.clone());
            let handler = Arc::new(move |request: Request<Incoming>, _: Arc<Peer>| {
                answer(state.clone(), news.clone(), keys.clone(), channel, request)
            });
            tokio::spawn(serve(
                listener,
                pki.server_tls("spi"),
                ServerLimits::default(),
                handler,
                stopping,
            ));
        }
        let bank = Ispb::parse(bank.as_bytes()).unwrap();
        let (signer, ids) = (pki.service_signer("spi"), Ids::system());
        Self {
            state,
            news,
            addresses,
            signer,
            ids,
            bank,
            _stop: [stop_primary, stop_secondary],
        }
    }

    pub(crate) fn addresses(&self) -> [SocketAddr; 2] {
        self.addresses
    }

    /// Signs with another certificate from now on.
    pub(crate) fn sign_as(&mut self, signer: Signer) {
        self.signer = signer;
    }

    /// Answers the next POSTs with these statuses, storing only those of 201.
    pub(crate) fn plan(&self, statuses: &[u16]) {
        self.state.lock().unwrap().plan.extend(statuses);
    }

    /// Stores posts but answers none, until told otherwise.
    pub(crate) fn hold(&self, hold: bool) {
        self.state.lock().unwrap().held = hold;
        self.news.notify_waiters();
    }

    /// Forgets every stream, once per stream: their unconfirmed messages come again.
    pub(crate) fn forget_streams(&self) {
        self.state.lock().unwrap().gone = true;
        self.news.notify_waiters();
    }

    pub(crate) fn posts(&self) -> Vec<Post> {
        self.state.lock().unwrap().posts.clone()
    }

    pub(crate) fn is_confirmed(&self, id: ResourceId) -> bool {
        self.state.lock().unwrap().confirmed.contains(&id)
    }

    /// Waits until so many streams were answered for the first time.
    pub(crate) async fn streams_started(&self, count: usize) {
        let enough = async || (self.state.lock().unwrap().started >= count).then_some(());
        eventually("the bank reads its streams", PATIENCE, enough).await;
    }

    pub(crate) fn closed_streams(&self) -> usize {
        self.state.lock().unwrap().closed.len()
    }

    pub(crate) fn foreign_headers(&self) -> Vec<String> {
        self.state.lock().unwrap().foreign_headers.clone()
    }

    /// The first post that `wanted` finds something in.
    pub(crate) async fn posted<T>(&self, what: &str, wanted: impl Fn(&Post) -> Option<T>) -> T {
        eventually(what, PATIENCE, async || self.posts().iter().find_map(&wanted)).await
    }

    /// The order of this payment, once the bank posted it.
    pub(crate) async fn order(&self, id: EndToEndId) -> (Post, CreditTransfer) {
        self.posted("the order is posted", |post| order_in(post, id))
            .await
    }

    /// Whether the bank's order of this payment was posted.
    pub(crate) fn has_order(&self, id: EndToEndId) -> bool {
        self.posts().iter().any(|post| order_in(post, id).is_some())
    }

    /// The bank's answers to this payment so far.
    pub(crate) fn answers(&self, id: EndToEndId) -> Vec<TransactionStatusReport> {
        let posts = self.posts();
        let reports = posts.iter().filter_map(|post| match &post.envelope.document {
            Document::Pacs002(statuses) => Some(&statuses.transactions),
            Document::Pacs008(_) | Document::Admi002(_) => None,
        });
        reports
            .flatten()
            .filter(|report| report.original_end_to_end_id == id)
            .cloned()
            .collect()
    }

    /// The bank's answer to this payment: ACSP, or why not.
    pub(crate) async fn answer(&self, id: EndToEndId) -> Result<(), StatusReason> {
        let report = eventually("the bank answers", PATIENCE, async || {
            self.answers(id).into_iter().next()
        })
        .await;
        match report.status {
            TransactionStatus::AcceptedSettlementInProcess => Ok(()),
            TransactionStatus::Rejected => Err(report.reasons[0].code.unwrap()),
            TransactionStatus::SettledDebtor | TransactionStatus::SettledCreditor => panic!("{report:?}"),
        }
    }

    /// Puts bytes on the stream.
    pub(crate) fn push_bytes(&self, id: ResourceId, bytes: Bytes) {
        self.push_bytes_on(PRIMARY, id, bytes);
    }

    pub(crate) fn push_bytes_on(&self, channel: usize, id: ResourceId, bytes: Bytes) {
        self.state.lock().unwrap().queue[channel].push_back((id, bytes));
        self.news.notify_waiters();
    }

    pub(crate) fn new_resource(&self) -> ResourceId {
        ResourceId::new(self.ids.bytes())
    }

    /// Signs and puts a message on the stream.
    pub(crate) fn push(&self, document: impl FnOnce(MsgId, Timestamp) -> Document) -> ResourceId {
        let id = self.new_resource();
        self.push_bytes(id, self.sealed(document));
        id
    }

    pub(crate) fn sealed(&self, document: impl FnOnce(MsgId, Timestamp) -> Document) -> Bytes {
        let message_id = MsgId::new(SPI_ISPB, self.ids.u128());
        let now = SystemClock.now().to_millis();
        let document = document(message_id, now);
        let definition = match &document {
            Document::Pacs008(_) => MessageDefinition::Pacs008,
            Document::Pacs002(_) => MessageDefinition::Pacs002,
            Document::Admi002(_) => MessageDefinition::Admi002,
        };
        let header = AppHdr {
            from: SPI_ISPB,
            to: self.bank,
            message_id,
            definition,
            created_at: now,
        };
        seal_envelope(&Envelope { header, document }, &self.signer, "key-info-id").into()
    }

    pub(crate) fn push_status(
        &self,
        ids: &[EndToEndId],
        status: TransactionStatus,
        code: Option<StatusReason>,
    ) -> ResourceId {
        self.push(|message_id, created_at| statuses(message_id, created_at, ids, status, code))
    }

    pub(crate) fn push_orders(&self, orders: &[CreditTransfer]) -> ResourceId {
        self.push(|message_id, created_at| pacs_008(message_id, created_at, orders))
    }

    pub(crate) fn push_refusal(&self, reference: &str) -> ResourceId {
        let reference = Text::parse(reference).unwrap();
        self.push(|_, _| {
            Document::Admi002(Admi002 {
                reference,
                reason: Text::parse("XML inválido").unwrap(),
                rejected_at: None,
                location: None,
                description: None,
                additional: None,
            })
        })
    }

    pub(crate) async fn confirmed(&self, id: ResourceId) {
        let told = "the bank confirms the message";
        eventually(told, PATIENCE, async || self.is_confirmed(id).then_some(())).await;
    }
}

pub(crate) fn statuses(
    message_id: MsgId,
    created_at: Timestamp,
    ids: &[EndToEndId],
    status: TransactionStatus,
    code: Option<StatusReason>,
) -> Document {
    let settled = matches!(
        status,
        TransactionStatus::SettledCreditor | TransactionStatus::SettledDebtor
    );
    let report = |id: &EndToEndId| TransactionStatusReport {
        original_instruction_id: (*id).into(),
        original_end_to_end_id: *id,
        status,
        reasons: code
            .map(|code| StatusReasonInformation {
                code: Some(code),
                additional: Vec::new(),
            })
            .into_iter()
            .collect(),
        settled_at: settled.then_some(created_at),
        settlement_date: None,
    };
    Document::Pacs002(Pacs002 {
        message_id,
        created_at,
        transactions: ids.iter().map(report).collect(),
    })
}

pub(crate) fn pacs_008(message_id: MsgId, created_at: Timestamp, orders: &[CreditTransfer]) -> Document {
    let group = GroupHeader {
        message_id,
        created_at,
        number_of_transactions: u64::try_from(orders.len()).unwrap(),
        priority: Priority::High,
        service_level: ServiceLevel::Priority,
    };
    Document::Pacs008(Pacs008 {
        group,
        transactions: orders.to_vec(),
    })
}

fn order_in(post: &Post, id: EndToEndId) -> Option<(Post, CreditTransfer)> {
    match &post.envelope.document {
        Document::Pacs008(orders) => {
            let tx = orders.transactions.iter().find(|tx| tx.end_to_end_id == id)?;
            Some((post.clone(), tx.clone()))
        }
        Document::Pacs002(_) | Document::Admi002(_) => None,
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    news: Arc<Notify>,
    keys: Arc<OneKey>,
    channel: usize,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    const ALLOWED: [&str; 7] = [
        "accept",
        "accept-encoding",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "user-agent",
    ];
    let foreign = request
        .headers()
        .keys()
        .filter(|name| !ALLOWED.contains(&name.as_str()))
        .map(ToString::to_string);
    let foreign: Vec<String> = foreign.collect();
    state.lock().unwrap().foreign_headers.extend(foreign);
    let path = request.uri().path().to_owned();
    match *request.method() {
        Method::POST => taken(&state, &news, &keys, channel, request).await,
        Method::DELETE => {
            let mut state = state.lock().unwrap();
            confirm(&mut state, &path);
            state.closed.push(path);
            status(StatusCode::OK)
        }
        _ if path.ends_with("/catalog") => status(StatusCode::OK),
        _ => pulled(&state, &news, channel, &path).await,
    }
}

async fn taken(
    state: &Mutex<State>,
    news: &Notify,
    keys: &OneKey,
    channel: usize,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let kind = request
        .headers()
        .get("content-type")
        .map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(kind.as_deref(), Some("application/xml; charset=utf-8"));
    let zipped = request
        .headers()
        .get("content-encoding")
        .is_some_and(|value| value == "gzip");
    assert_eq!(
        zipped,
        channel == SECONDARY,
        "gzip is mandatory on the secondary channel"
    );
    let Ok(mut bytes) = read_body(request.into_body(), 1 << 20).await else {
        return status(StatusCode::BAD_REQUEST);
    };
    if zipped {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..])
            .read_to_end(&mut plain)
            .unwrap();
        bytes = plain.into();
    }
    let opened = iso20022::open(&bytes, keys).expect("the bank's messages verify");
    let envelope = opened.envelope;
    let message_id = envelope.header.message_id;
    let answered = {
        let mut state = state.lock().unwrap();
        let answered = state.plan.pop_front().unwrap_or(201);
        state.posts.push(Post {
            bytes,
            envelope,
            channel,
        });
        answered
    };
    loop {
        let told = news.notified();
        if !state.lock().unwrap().held {
            break;
        }
        told.await;
    }
    let mut response = status(StatusCode::from_u16(answered).unwrap());
    if answered == 201 {
        let id = resource_of(message_id).to_string();
        response
            .headers_mut()
            .insert("PI-ResourceId", id.parse().unwrap());
    }
    if answered == 429 || answered == 503 {
        response.headers_mut().insert("Retry-After", "0".parse().unwrap());
    }
    response
}

/// The same message, the same PI-ResourceId.
pub(crate) fn resource_of(message_id: MsgId) -> ResourceId {
    let mut unique = [0; 21];
    unique.copy_from_slice(&message_id.as_bytes()[11..]);
    ResourceId::new(unique)
}

fn confirm(state: &mut State, token: &str) -> bool {
    let Some(batch) = state.batches.remove(token) else {
        return false;
    };
    state
        .confirmed
        .extend(batch.messages.into_iter().map(|(id, _)| id));
    true
}

/// Takes back what nobody confirmed since `before`: it comes again, under the same ids.
fn expire(state: &mut State, before: Instant) {
    let old: Vec<String> = state
        .batches
        .iter()
        .filter(|(_, batch)| batch.delivered < before)
        .map(|(token, _)| token.clone())
        .collect();
    for token in old {
        let batch = state.batches.remove(&token).unwrap();
        state.queue[batch.channel].extend(batch.messages);
    }
}

async fn pulled(state: &Mutex<State>, news: &Notify, channel: usize, path: &str) -> Response<Full<Bytes>> {
    {
        let mut state = state.lock().unwrap();
        expire(&mut state, Instant::now() - EXPIRY);
        if !path.ends_with("/start") {
            if std::mem::take(&mut state.gone) {
                expire(&mut state, Instant::now());
                return status(StatusCode::GONE);
            }
            // Asked again with the same token: the same batch again, until its own token is used.
            let again = state
                .answered
                .get(path)
                .filter(|next| state.batches.contains_key(*next))
                .cloned();
            if let Some(next) = again {
                return batch_answer(&next, &state.batches[&next].messages);
            }
            if !confirm(&mut state, path) {
                return status(StatusCode::GONE);
            }
        }
    }
    let deadline = tokio::time::Instant::now() + LONG_POLL;
    loop {
        let told = news.notified();
        if !state.lock().unwrap().queue[channel].is_empty() || state.lock().unwrap().gone {
            break;
        }
        if tokio::time::timeout_at(deadline, told).await.is_err() {
            break;
        }
    }
    let mut state = state.lock().unwrap();
    state.tokens += 1;
    state.started += usize::from(path.ends_with("/start"));
    let next = format!(
        "{}/stream/{}",
        path.split("/stream").next().unwrap(),
        state.tokens
    );
    let most = state.queue[channel].len().min(10);
    let messages: Vec<_> = state.queue[channel].drain(..most).collect();
    let response = batch_answer(&next, &messages);
    state.answered.insert(path.to_owned(), next.clone());
    state.batches.insert(
        next,
        Batch {
            messages,
            channel,
            delivered: Instant::now(),
        },
    );
    response
}

fn batch_answer(next: &str, messages: &[(ResourceId, Bytes)]) -> Response<Full<Bytes>> {
    let mut response = status(if messages.is_empty() {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::OK
    });
    let headers = response.headers_mut();
    headers.insert("PI-Pull-Next", next.parse().unwrap());
    if messages.is_empty() {
        return response;
    }
    headers.insert(
        "Content-Type",
        "multipart/mixed; boundary=\"simple boundary\"".parse().unwrap(),
    );
    let mut body = Vec::new();
    for (id, bytes) in messages {
        let head = "--simple boundary\r\nContent-Type: application/xml; charset=utf-8\r\n";
        body.extend_from_slice(format!("{head}PI-ResourceId: {id}\r\n\r\n").as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--simple boundary--\r\n");
    *response.body_mut() = Full::new(body.into());
    response
}

fn status(code: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = code;
    response
}
