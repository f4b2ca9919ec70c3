//! One payment as payer bank, switch and receiver bank saw it, merged into one timeline.

use std::process::ExitCode;

use anyhow::bail;
use pix_domain::{EndToEndId, Ispb, Key, Timestamp};
use serde_json::{Value, json};

use crate::http::{Answer, Http};
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
}

/// Something that happened.
#[derive(Debug)]
struct Event {
    at: Option<Timestamp>,
    who: String,
    stage: String,
    detail: String,
}

/// What a party answers about the payment.
#[derive(Debug)]
struct Account {
    who: String,
    is_switch: bool,
    body: Value,
}

pub(crate) async fn command(
    place: &Place,
    end_to_end_id: &EndToEndId,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let story = tell(place, &Http::new(), end_to_end_id.as_str()).await?;
    if as_json {
        outln!("{:#}", story.to_json());
    } else {
        story.print();
    }
    Ok(story.exit_code())
}

/// Asks the switch, both banks and the virtual participants.
///
/// # Errors
/// When nobody knows the payment, or nobody answers.
pub(crate) async fn tell(place: &Place, http: &Http, end_to_end_id: &str) -> anyhow::Result<Story> {
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
        Ok(_) => {}
        Err(error) => silent.push(format!("{who}: {error}")),
    };
    for (index, bank) in (0_u16..).zip(&BANKS) {
        let answer = http
            .get(place.ports.bank(index), &format!("/api/payments/{end_to_end_id}"))
            .await;
        heard(bank.name, false, answer);
    }
    heard(
        "switch",
        true,
        http.get(place.ports.spi_ops(), &format!("/payments/{end_to_end_id}"))
            .await,
    );
    heard(
        "virtual",
        false,
        http.get(place.ports.virtual_ops(), &format!("/payments/{end_to_end_id}"))
            .await,
    );
    accounts.retain(|account| account.body["state"] != "unknown");
    if accounts.is_empty() {
        match silent.first() {
            Some(why) => bail!("{why}: start everything with `pix up`"),
            None => bail!(
                "neither the switch nor a bank here knows {end_to_end_id}: compare it with what `pix pay` printed"
            ),
        }
    }
    for why in silent {
        errln!("pix: {why}; its part of the story is missing");
    }
    Ok(Story::merge(end_to_end_id, &accounts))
}

impl Story {
    fn merge(end_to_end_id: &str, accounts: &[Account]) -> Self {
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
        Self {
            end_to_end_id: end_to_end_id.to_owned(),
            state: text("state").unwrap_or_else(|| "unknown".into()),
            reason: text("reason_text").or_else(|| text("reason")),
            key,
            amount: text("amount"),
            events,
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
                })
            })
            .collect();
        json!({
            "end_to_end_id": self.end_to_end_id, "state": self.state, "reason": self.reason, "amount": self.amount,
            "key": self.key, "timeline": timeline,
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
        outln!("  {:>7}  {:<16} {:<10} detail", "ms", "who", "stage");
        let start = self.start();
        for event in &self.events {
            let when = event
                .at
                .zip(start)
                .map_or("?".into(), |(at, start)| milliseconds(at, start).to_string());
            outln!(
                "  {when:>7}  {:<16} {:<10} {}",
                event.who,
                event.stage,
                event.detail
            );
        }
    }

    fn start(&self) -> Option<Timestamp> {
        self.events.iter().find_map(|event| event.at)
    }
}

impl Account {
    fn events(&self) -> Vec<Event> {
        let timeline = self.body["timeline"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        timeline.iter().map(|raw| Event::read(&self.who, raw)).collect()
    }
}

impl Event {
    fn read(who: &str, raw: &Value) -> Self {
        let text = |name: &str| raw[name].as_str().unwrap_or_default();
        let mut detail = text("detail").to_owned();
        for (label, name) in [("message", "message_id"), ("resource", "resource_id")] {
            let id = text(name);
            if !id.is_empty() && !detail.contains(id) {
                let gap = if detail.is_empty() { "" } else { "  " };
                detail += &format!("{gap}{label} {id}");
            }
        }
        Self {
            at: Timestamp::parse(text("at").as_bytes()).ok(),
            // The virtual participants answer together.
            who: raw["participant"].as_str().unwrap_or(who).to_owned(),
            stage: text("stage").to_owned(),
            detail,
        }
    }
}

/// The order in which the protocol does things (PROTOCOL 6), for events of one millisecond.
fn rank(event: &Event) -> u8 {
    match (event.who.as_str(), event.stage.as_str()) {
        (_, "looked_up" | "accepted") => 0,
        ("switch", "received") => 3,
        ("switch", "blocked") => 4,
        (_, "blocked") => 1,
        ("switch", "sent" | "formed" | "delivered") => 5,
        (_, "sent") => 2,
        (_, "received") => 6,
        (_, "answered") => 7,
        ("switch", "settled" | "refused" | "released") => 8,
        _ => 9,
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
            "E1",
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
        assert_eq!(story.events[6].detail, "message M1");
        assert_eq!(story.key.as_deref(), Some("b***@bank.example"));
        assert!(story.events[0].detail.contains("b***@bank.example"));
    }

    #[test]
    fn a_refusal_that_the_switch_never_saw_is_the_payers_to_tell() {
        let story = Story::merge(
            "E1",
            &[account(
                "A",
                json!({"direction": "out", "state": "refused", "reason": "AM04"}),
            )],
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
