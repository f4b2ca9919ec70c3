//! Where is my Pix: one payment as payer bank, switch and receiver bank know it, merged into one timeline, with what
//! each part of it took and what happens next.

use std::process::ExitCode;

use anyhow::bail;
use pix_domain::{EndToEndId, Ispb, Key, Timestamp};
use serde_json::{Value, json};

use crate::http::{Answer, Http};
use crate::next::{self, Known};
use crate::place::Place;
use crate::seed::BANKS;

/// Exit code of a payment that was refused.
pub(crate) const REFUSED: u8 = 3;
/// Exit code of a payment whose end is not known yet.
pub(crate) const PENDING: u8 = 4;

/// What is known of a payment.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) end_to_end_id: String,
    pub(crate) state: String,
    reason: Option<String>,
    /// The receiver's key, masked, when the payment went by one.
    key: Option<String>,
    pub(crate) amount: Option<String>,
    events: Vec<Event>,
    /// What happens now, in plain words.
    next: String,
}

/// Something that happened.
#[derive(Debug)]
struct Event {
    at: Option<Timestamp>,
    who: String,
    stage: String,
    detail: String,
    message_id: Option<String>,
    resource_id: Option<String>,
    attempts: Option<i64>,
}

/// What a part of the way is called, from which stage to which. Of stages that come twice the first counts.
const PARTS: [(&str, &str, &str); 7] = [
    ("to the switch", "accepted", "received"),
    ("block", "received", "blocked"),
    ("form", "blocked", "formed"),
    ("hand over", "formed", "delivered"),
    ("answer", "delivered", "answered"),
    ("end", "answered", "ended"),
    ("tell", "ended", "told"),
];

/// What a party answers about the payment.
#[derive(Debug)]
struct Account {
    who: String,
    is_switch: bool,
    body: Value,
}

/// The switch, among those who tell.
const SWITCH: &str = "switch";

pub(crate) async fn command(
    place: &Place,
    end_to_end_id: &EndToEndId,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let heard = ask(place, &Http::new(), end_to_end_id.as_str()).await?;
    if heard.accounts.is_empty() && !as_json {
        bail!("{}", next::unknown(end_to_end_id, &heard.silent));
    }
    let story = heard.story(end_to_end_id);
    if as_json {
        outln!("{:#}", story.to_json());
    } else {
        heard.complain();
        story.print();
    }
    Ok(if heard.accounts.is_empty() {
        ExitCode::FAILURE
    } else {
        story.exit_code()
    })
}

/// Asks the switch, both banks and the virtual participants.
///
/// # Errors
/// When nobody knows the payment, or nobody answers.
pub(crate) async fn tell(place: &Place, http: &Http, end_to_end_id: &str) -> anyhow::Result<Story> {
    let id = EndToEndId::parse(end_to_end_id.as_bytes())?;
    let heard = ask(place, http, end_to_end_id).await?;
    if heard.accounts.is_empty() {
        bail!("{}", next::unknown(&id, &heard.silent));
    }
    heard.complain();
    Ok(heard.story(&id))
}

/// Ids of the messages that tell of a payment; empty when nobody knows it or nothing runs.
pub(crate) async fn message_ids(place: &Place, id: &EndToEndId) -> Vec<String> {
    let Ok(heard) = ask(place, &Http::new(), id.as_str()).await else {
        return Vec::new();
    };
    let story = heard.story(id);
    let ids = story.events.into_iter().filter_map(|event| event.message_id);
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// What was answered to the question about a payment.
struct Heard {
    accounts: Vec<Account>,
    /// Who gave no answer, and why.
    silent: Vec<String>,
}

async fn ask(place: &Place, http: &Http, end_to_end_id: &str) -> anyhow::Result<Heard> {
    let mut accounts = Vec::new();
    let mut silent = Vec::new();
    let mut heard = |who: &str, is_switch: bool, answer: Result<Answer, crate::http::Silent>| match answer {
        Ok(answer) if answer.is_success() => {
            accounts.push(Account {
                who: who.to_owned(),
                is_switch,
                body: answer.body,
            });
        }
        // 404: it knows no such payment. Anything else is no answer to the question.
        Ok(answer) if answer.status == 404 => {}
        Ok(answer) => silent.push(format!("{who}: {}", answer.refusal())),
        Err(error) => silent.push(format!("{who}: {error}")),
    };
    for (index, bank) in (0_u16..).zip(&BANKS) {
        let answer = http
            .get(place.ports.bank(index), &format!("/api/payments/{end_to_end_id}"))
            .await;
        heard(bank.name, false, answer);
    }
    let path = format!("/payments/{end_to_end_id}");
    heard(SWITCH, true, http.get(place.ports.spi_ops(), &path).await);
    heard("virtual", false, http.get(place.ports.virtual_ops(), &path).await);
    accounts.retain(|account| account.body["state"] != "unknown");
    if accounts.is_empty() && silent.len() == BANKS.len() + 2 {
        bail!("{}: start everything with `pix up`", silent[0]);
    }
    Ok(Heard { accounts, silent })
}

impl Heard {
    fn story(&self, id: &EndToEndId) -> Story {
        Story::merge(id, &self.accounts, &self.silent)
    }

    fn complain(&self) {
        for why in &self.silent {
            errln!("pix: {why}; its part of the story is missing");
        }
    }
}

impl Story {
    fn merge(id: &EndToEndId, accounts: &[Account], silent: &[String]) -> Self {
        let payer = accounts.iter().find(|account| account.body["direction"] == "out");
        let switch = accounts.iter().find(|account| account.is_switch);
        // The switch decides; a payer bank may know of a refusal that never reached the switch.
        let teller = switch.or(payer).or(accounts.first());
        let text = |name: &str| teller.and_then(|account| Some(account.body.get(name)?.as_str()?.to_owned()));
        // The switch does not keep the key apart; the banks do.
        let key = accounts
            .iter()
            .find_map(|account| account.body["key"].as_str().map(masked));
        let mut events: Vec<Event> = accounts.iter().flat_map(Account::events).collect();
        // Their clocks are one, and tell milliseconds: within one, the order of the protocol decides.
        for event in events.iter_mut().filter(|event| event.stage == "looked_up") {
            if let (true, Some(key)) = (event.detail.is_empty(), &key) {
                event.detail = format!("key {key}");
            }
        }
        events.sort_by_key(|event| (event.at.map(Timestamp::to_millis), rank(event)));
        let body = |account: Option<&'_ Account>| account.map(|account| account.body.clone());
        let receiver = accounts.iter().find(|account| account.body["direction"] == "in");
        let next = next::words(
            id,
            &Known {
                switch: body(switch),
                payer: body(payer),
                receiver: body(receiver),
                silent,
            },
        );
        Self {
            end_to_end_id: id.to_string(),
            state: text("state").unwrap_or_else(|| "unknown".into()),
            reason: text("reason_text").or_else(|| text("reason")),
            key,
            amount: text("amount"),
            events,
            next,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self.state.as_str() {
            "settled" => ExitCode::SUCCESS,
            "refused" => ExitCode::from(REFUSED),
            _ => ExitCode::from(PENDING),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let start = self.start();
        let timeline: Vec<_> = self
            .events
            .iter()
            .map(|event| {
                json!({
                    "at": event.at.map(wire), "ms": event.at.zip(start).map(|(at, start)| milliseconds(at, start)),
                    "who": event.who, "stage": event.stage, "detail": event.detail,
                    "message_id": event.message_id, "resource_id": event.resource_id, "attempts": event.attempts,
                })
            })
            .collect();
        let durations: serde_json::Map<_, _> = self
            .durations()
            .into_iter()
            .map(|(name, took)| (name.replace(' ', "_") + "_ms", json!(took)))
            .collect();
        json!({
            "end_to_end_id": self.end_to_end_id, "state": self.state, "reason": self.reason, "amount": self.amount,
            "key": self.key, "timeline": timeline, "durations": durations, "next": self.next,
        })
    }

    pub(crate) fn print(&self) {
        let why = self
            .reason
            .as_ref()
            .map_or(String::new(), |reason| format!(": {reason}"));
        let amount = self.amount.as_deref().unwrap_or("?");
        let key = self
            .key
            .as_ref()
            .map_or(String::new(), |key| format!("  by key {key}"));
        outln!(
            "Payment {}  R$ {amount}{key}  {}{why}\n",
            self.end_to_end_id,
            self.state
        );
        outln!(
            "  {:>7}  {:>7}  {:<16} {:<10} detail",
            "ms",
            "+ms",
            "who",
            "stage"
        );
        let start = self.start();
        let mut before = start;
        for event in &self.events {
            let since = |from: Option<Timestamp>| {
                event
                    .at
                    .zip(from)
                    .map_or("?".into(), |(at, from)| milliseconds(at, from).to_string())
            };
            outln!(
                "  {:>7}  {:>7}  {:<16} {:<10} {}",
                since(start),
                since(before),
                event.who,
                event.stage,
                event.in_words()
            );
            before = event.at.or(before);
        }
        let parts: Vec<_> = self
            .durations()
            .iter()
            .map(|(name, took)| format!("{name} {took}"))
            .collect();
        if !parts.is_empty() {
            outln!("\n  took (ms): {}", parts.join(", "));
        }
        outln!("\n{}", self.next);
    }

    /// What each part of the way took, and all of it, in milliseconds; parts that have not ended are left out.
    fn durations(&self) -> Vec<(&'static str, u128)> {
        let at = |stage: &str| self.events.iter().find(|event| event.is(stage))?.at;
        let span = |name: &'static str, from: Option<Timestamp>, to: Option<Timestamp>| {
            from.zip(to).map(|(from, to)| (name, milliseconds(to, from)))
        };
        let parts = PARTS.iter().map(|(name, from, to)| span(name, at(from), at(to)));
        let last = self.events.iter().filter_map(|event| event.at).max();
        let ended = (self.state == "settled" || self.state == "refused")
            .then_some(last)
            .flatten();
        parts
            .chain([span("total", self.start(), ended)])
            .flatten()
            .collect()
    }

    fn start(&self) -> Option<Timestamp> {
        self.events.iter().find_map(|event| event.at)
    }
}

impl Account {
    fn events(&self) -> Vec<Event> {
        let list = |name: &str| self.body[name].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut events: Vec<_> = list("timeline")
            .iter()
            .map(|raw| Event::read(&self.who, raw))
            .collect();
        // A bank tells apart what happened and by which messages: they belong to the same steps.
        for message in list("messages") {
            let stage = match message["kind"].as_str() {
                Some("pacs.008") => "sent",
                Some("pacs.002") => "answered",
                _ => continue,
            };
            if let Some(event) = events.iter_mut().find(|event| event.stage == stage) {
                event.message_id = message["message_id"].as_str().map(str::to_owned);
                event.resource_id = message["resource_id"].as_str().map(str::to_owned);
                event.attempts = message["attempts"].as_i64();
            }
        }
        events
    }
}

impl Event {
    fn read(who: &str, raw: &Value) -> Self {
        let text = |name: &str| Some(raw[name].as_str()?.to_owned()).filter(|text| !text.is_empty());
        Self {
            at: text("at").and_then(|at| Timestamp::parse(at.as_bytes()).ok()),
            // The virtual participants answer together.
            who: raw["participant"].as_str().unwrap_or(who).to_owned(),
            stage: text("stage").unwrap_or_default(),
            detail: text("detail").unwrap_or_default(),
            message_id: text("message_id"),
            resource_id: text("resource_id"),
            attempts: raw["attempts"].as_i64(),
        }
    }

    /// Whether it is the point of that name on the payment's way: the switch's own, but for its beginning.
    fn is(&self, point: &str) -> bool {
        let is_switch = self.who == SWITCH;
        match point {
            "accepted" => !is_switch && self.stage == "accepted",
            "ended" => is_switch && matches!(self.stage.as_str(), "settled" | "released" | "refused"),
            // The order's way to the receiver, not the news that follows.
            "formed" | "delivered" => is_switch && self.stage == point && self.detail.starts_with("pacs.008"),
            _ => is_switch && self.stage == point,
        }
    }

    fn in_words(&self) -> String {
        let mut words = self.detail.clone();
        let mut more = Vec::new();
        // A message has one id of its maker and one of the switch: one of them is enough for a person.
        let id = self.message_id.as_ref().map(|id| ("message", id));
        let id = id.or(self.resource_id.as_ref().map(|id| ("resource", id)));
        if let Some((label, id)) = id.filter(|(_, id)| !words.contains(id.as_str())) {
            more.push(format!("{label} {id}"));
        }
        if let Some(attempts) = self.attempts.filter(|attempts| *attempts > 1) {
            more.push(format!("{attempts} attempts"));
        }
        for text in more {
            let gap = if words.is_empty() { "" } else { "  " };
            words = format!("{words}{gap}{text}");
        }
        words
    }
}

/// The order in which the protocol does things (PROTOCOL 6), for events of one millisecond.
fn rank(event: &Event) -> u8 {
    let is_news = event.detail.starts_with("pacs.002") || event.detail.starts_with("admi.002");
    match (event.who.as_str(), event.stage.as_str()) {
        (_, "looked_up" | "accepted") => 0,
        (SWITCH, "received") => 3,
        (SWITCH, "blocked") => 4,
        (_, "blocked") => 1,
        (SWITCH, "formed" | "delivered" | "confirmed") if is_news => 9,
        (SWITCH, "sent" | "formed" | "delivered") => 5,
        (_, "sent") => 2,
        (_, "received") | (SWITCH, "confirmed") => 6,
        (_, "answered") => 7,
        (SWITCH, "settled" | "refused" | "released") => 8,
        (SWITCH, "told") => 11,
        _ => 10,
    }
}

/// A key as it may be shown.
fn masked(key: &str) -> String {
    Key::guess(key).map_or_else(|_| "***".to_owned(), |key| key.masked())
}

fn milliseconds(at: Timestamp, start: Timestamp) -> u128 {
    at.to_millis().since(start.to_millis()).as_millis()
}

fn wire(at: Timestamp) -> String {
    String::from_utf8_lossy(&at.to_wire()).into_owned()
}

/// The bank that runs here under this name: `A`, `B` or its ISPB.
pub(crate) fn bank_index(name: &str) -> Option<u16> {
    let is_meant = |bank: &&crate::seed::Bank| {
        name.eq_ignore_ascii_case(&bank.letter.to_string())
            || Ispb::parse(name.as_bytes()).is_ok_and(|ispb| ispb == bank.ispb())
    };
    (0_u16..)
        .zip(&BANKS)
        .find(|(_, bank)| is_meant(bank))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> EndToEndId {
        EndToEndId::parse(b"E1111111120261120120000000000001").expect("an id")
    }

    #[test]
    fn parts_of_the_way_are_told_apart() {
        let at = |ms: u32| format!("2026-11-20T12:00:00.{ms:03}Z");
        let switch = json!({"state": "settled", "timeline": [
            {"stage": "received", "at": at(7)}, {"stage": "blocked", "at": at(10)},
            {"stage": "formed", "at": at(12), "detail": "pacs.008 for 22222222", "message_id": "M1"},
            {"stage": "delivered", "at": at(13), "detail": "pacs.008 handed to 22222222", "attempts": 3},
            {"stage": "answered", "at": at(20), "detail": "pacs.002 of 22222222 accepts"},
            {"stage": "settled", "at": at(26)},
            {"stage": "formed", "at": at(27), "detail": "pacs.002 for 11111111"},
            {"stage": "told", "at": at(40), "detail": "pacs.002 read by 11111111"}]});
        let payer = json!({"direction": "out", "state": "settled", "timeline": [
            {"stage": "accepted", "at": at(1)}, {"stage": "sent", "at": at(9)}],
            "messages": [{"kind": "pacs.008", "message_id": "M0", "attempts": 2}]});
        let story = Story::merge(&id(), &[account(SWITCH, switch), account("A", payer)], &[]);
        let expected = json!({
            "to_the_switch_ms": 6, "block_ms": 3, "form_ms": 2, "hand_over_ms": 1, "answer_ms": 7, "end_ms": 6,
            "tell_ms": 14, "total_ms": 39,
        });
        let told = story.to_json();
        assert_eq!(told["durations"], expected);
        let attempts: Vec<_> = story.events.iter().filter_map(|event| event.attempts).collect();
        assert_eq!(attempts, [2, 3]);
        assert!(
            story
                .events
                .iter()
                .any(|event| event.in_words() == "message M0  2 attempts")
        );
    }

    fn account(who: &str, body: Value) -> Account {
        Account {
            who: who.into(),
            is_switch: who == "switch",
            body,
        }
    }

    #[test]
    fn three_accounts_become_one_story_in_the_order_of_the_protocol() {
        let at = |ms: u32| format!("2026-11-20T12:00:00.{ms:03}Z");
        let story = Story::merge(
            &id(),
            &[
                account(
                    "B",
                    json!({"direction": "in", "state": "settled", "timeline": [
                    {"stage": "received", "at": at(12)}, {"stage": "answered", "at": at(12)}, {"stage": "credited", "at": at(20)}]}),
                ),
                account(
                    "switch",
                    json!({"state": "settled", "amount": "10.50", "timeline": [
                    {"stage": "settled", "at": at(20), "message_id": "M1"}, {"stage": "blocked", "at": at(3)}]}),
                ),
                account(
                    "A",
                    json!({"direction": "out", "state": "pending", "key": "b@bank.example", "timeline": [
                    {"stage": "looked_up", "at": at(1)}, {"stage": "accepted", "at": at(1)}, {"stage": "blocked", "at": at(1)}, {"stage": "settled", "at": at(22)}]}),
                ),
            ],
            &[],
        );
        let order: Vec<_> = story
            .events
            .iter()
            .map(|event| format!("{} {}", event.who, event.stage))
            .collect();
        assert_eq!(
            order,
            [
                "A looked_up",
                "A accepted",
                "A blocked",
                "switch blocked",
                "B received",
                "B answered",
                "switch settled",
                "B credited",
                "A settled"
            ]
        );
        assert_eq!(story.state, "settled", "the switch decides");
        assert_eq!(story.to_json()["timeline"][8]["ms"], 21);
        assert_eq!(story.events[6].in_words(), "message M1");
        assert_eq!(story.key.as_deref(), Some("b***@bank.example"));
        assert!(story.events[0].detail.contains("b***@bank.example"));
    }

    #[test]
    fn a_refusal_that_the_switch_never_saw_is_the_payers_to_tell() {
        let story = Story::merge(
            &id(),
            &[account(
                "A",
                json!({"direction": "out", "state": "refused", "reason": "AM04"}),
            )],
            &[],
        );
        assert_eq!(
            (story.state.as_str(), story.reason.as_deref()),
            ("refused", Some("AM04"))
        );
    }

    #[test]
    fn banks_are_named_by_letter_or_ispb() {
        assert_eq!(bank_index("a"), Some(0));
        assert_eq!(bank_index("22222222"), Some(1));
        assert_eq!(bank_index("33333333"), None);
    }
}
