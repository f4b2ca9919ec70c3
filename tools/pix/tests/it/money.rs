//! Payments made in numbers, and what must be true of all money afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use pix_testkit::eventually;
use serde_json::{Value, json};

use crate::switch::{A, B, Bank, Switch};

/// A payment lives 40 seconds at most; then its end has to travel.
const END_WITHIN: Duration = Duration::from_secs(75);

/// All money there is, in centavos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Money {
    /// By account: `11111111 0001/100001`, or `11111111 1111000V` of an indirect participant.
    customers: BTreeMap<String, i64>,
    /// By ISPB.
    contas_pi: BTreeMap<String, i64>,
    /// Whatever is held for payments that have not ended, anywhere.
    held: i64,
}

impl Money {
    pub(crate) async fn count(switch: &Switch) -> Self {
        let mut money = Self {
            customers: BTreeMap::new(),
            contas_pi: BTreeMap::new(),
            held: 0,
        };
        for bank in [A, B] {
            let accounts = get(switch, switch.bank_port(bank), "/api/accounts").await;
            for account in accounts.as_array().expect("accounts") {
                let name = format!(
                    "{} {}/{}",
                    bank.ispb,
                    text(account, "branch"),
                    text(account, "number")
                );
                money.customers.insert(name, centavos(account, "balance"));
                money.held += centavos(account, "blocked") + centavos(account, "provisional");
            }
            let indirect = get(switch, switch.bank_port(bank), "/api/indirect").await;
            for account in indirect.as_array().expect("indirect participants") {
                let name = format!("{} {}", bank.ispb, text(account, "ispb"));
                money.customers.insert(name, centavos(account, "balance"));
                money.held += centavos(account, "blocked") + centavos(account, "provisional");
            }
            let totals = get(switch, switch.bank_port(bank), "/api/totals").await;
            assert_eq!(
                text(&totals, "sum"),
                "0.00",
                "{}'s double entry does not balance: {totals}",
                bank.ispb
            );
        }
        let book = get(switch, switch.ops_port(), "/accounts").await;
        for account in book["accounts"].as_array().expect("accounts") {
            money
                .contas_pi
                .insert(text(account, "ispb").to_owned(), centavos(account, "available"));
            money.held += centavos(account, "blocked");
        }
        money
    }

    fn of_customers(&self, bank: Bank) -> i64 {
        self.customers
            .iter()
            .filter(|(name, _)| name.starts_with(bank.ispb))
            .map(|(_, amount)| amount)
            .sum()
    }

    /// The same money as `before`, wherever it lies now; nothing held; each bank's customers moved as its Conta PI did.
    pub(crate) fn assert_conserved(&self, before: &Self) {
        assert_eq!(self.held, 0, "a block was left: {self:?}");
        let sum = |of: &BTreeMap<String, i64>| of.values().sum::<i64>();
        assert_eq!(
            sum(&self.customers),
            sum(&before.customers),
            "customers' money changed"
        );
        assert_eq!(
            sum(&self.contas_pi),
            sum(&before.contas_pi),
            "the Contas PI changed"
        );
        for bank in [A, B] {
            let moved = self.of_customers(bank) - before.of_customers(bank);
            let settled = self.contas_pi[bank.ispb] - before.contas_pi[bank.ispb];
            assert_eq!(moved, settled, "{}: customers and Conta PI disagree", bank.ispb);
        }
    }

    /// What is available in a participant's Conta PI, in centavos.
    pub(crate) fn conta_pi(&self, ispb: &str) -> i64 {
        self.contas_pi[ispb]
    }

    /// Whatever is held for payments that have not ended, in centavos.
    pub(crate) fn held(&self) -> i64 {
        self.held
    }

    /// By how much the bank's customers are poorer than `before`.
    pub(crate) fn paid_by(&self, bank: Bank, before: &Self) -> i64 {
        before.of_customers(bank) - self.of_customers(bank)
    }
}

/// Orders a payment; an order that its bank did not answer may have been taken, so it is repeated under the same key.
pub(crate) async fn order(switch: &Switch, from: Bank, to: Bank, centavos: u32, key: &str) -> String {
    let to = json!({
        "ispb": to.ispb, "branch": "0001", "number": to.number, "type": "CACC", "tax_id": to.tax_id,
    });
    order_to(switch, from, &to, centavos, key).await
}

/// Likewise, to a key.
pub(crate) async fn order_by_key(switch: &Switch, from: Bank, to: &str, centavos: u32, key: &str) -> String {
    order_to(switch, from, &json!({ "key": to }), centavos, key).await
}

pub(crate) async fn order_to(switch: &Switch, from: Bank, to: &Value, centavos: u32, key: &str) -> String {
    let body = json!({
        "from": {"branch": "0001", "number": from.number},
        "to": to,
        "amount": format!("{}.{:02}", centavos / 100, centavos % 100),
    });
    eventually("the bank takes the order", Duration::from_secs(30), async || {
        let answer = switch
            .http
            .post(switch.bank_port(from), "/api/payments", &body, Some(key))
            .await
            .ok()
            .filter(|answer| answer.status < 500)?;
        assert!(answer.is_success(), "{}: {}", answer.status, answer.refusal());
        Some(text(&answer.body, "end_to_end_id").to_owned())
    })
    .await
}

/// Orders `count` payments of one centavo each, several at once.
pub(crate) async fn order_many(switch: &Switch, from: Bank, to: Bank, count: u32) -> Vec<String> {
    const AT_ONCE: u32 = 20;
    let mut ids = Vec::new();
    for first in (0..count).step_by(20) {
        let last = (first + AT_ONCE).min(count);
        let keys: Vec<String> = (first..last).map(|n| format!("many-{n}")).collect();
        ids.extend(join_all(keys.iter().map(|key| order(switch, from, to, 1, key))).await);
    }
    ids
}

/// The state of a payment at payer bank, switch and receiver bank; `None` where it is unknown.
pub(crate) async fn states(switch: &Switch, from: Bank, to: Bank, id: &str) -> [Option<String>; 3] {
    let bank_path = format!("/api/payments/{id}");
    let switch_path = format!("/payments/{id}");
    [
        state(switch, switch.bank_port(from), &bank_path).await,
        state(switch, switch.ops_port(), &switch_path).await,
        state(switch, switch.bank_port(to), &bank_path).await,
    ]
}

async fn state(switch: &Switch, port: u16, path: &str) -> Option<String> {
    let answer = switch.http.get(port, path).await.ok()?;
    answer.body["state"]
        .as_str()
        .filter(|state| *state != "unknown")
        .map(str::to_owned)
}

/// Waits until every payment has ended, in one state for all three. Gives how many settled.
pub(crate) async fn until_all_ended(switch: &Switch, from: Bank, to: Bank, ids: &[String]) -> usize {
    let mut settled = 0;
    for id in ids {
        let end = eventually(&format!("{id} ends"), END_WITHIN, async || {
            let [payer, book, receiver] = states(switch, from, to, id).await;
            let end = payer.filter(|end| end == "settled" || end == "refused")?;
            let same = |other: &Option<String>| other.as_deref() == Some(end.as_str());
            // What was refused at the door reached neither the book nor the receiver.
            let absent = |other: &Option<String>| end == "refused" && other.is_none();
            ((same(&book) || absent(&book)) && (same(&receiver) || absent(&receiver))).then_some(end)
        })
        .await;
        settled += usize::from(end == "settled");
    }
    settled
}

/// The order of each payment reached the receiver in one message, and each message went under one ResourceId.
pub(crate) async fn assert_each_delivered_once(switch: &Switch, ids: &[String]) {
    let mut resource_of = BTreeMap::new();
    for id in ids {
        let payment = get(switch, switch.ops_port(), &format!("/payments/{id}")).await;
        let timeline = payment["timeline"].as_array().cloned().unwrap_or_default();
        let formed: Vec<_> = timeline
            .iter()
            .filter(|event| event["stage"] == "formed")
            .collect();
        let orders = formed
            .iter()
            .filter(|event| text(event, "detail").starts_with("pacs.008"))
            .count();
        assert!(
            orders <= 1,
            "{id} was sent to its receiver in {orders} messages: {payment}"
        );
        for event in formed {
            let (message, resource) = (text(event, "message_id"), text(event, "resource_id"));
            let known = resource_of
                .entry(message.to_owned())
                .or_insert_with(|| resource.to_owned());
            assert_eq!(known, resource, "{message} went under two ResourceIds");
        }
    }
}

async fn get(switch: &Switch, port: u16, path: &str) -> Value {
    eventually(
        &format!("{path} is answered"),
        Duration::from_secs(20),
        async || {
            let answer = switch.http.get(port, path).await.ok()?;
            answer.is_success().then_some(answer.body)
        },
    )
    .await
}

fn text<'a>(of: &'a Value, field: &str) -> &'a str {
    of[field].as_str().unwrap_or_else(|| panic!("no {field} in {of}"))
}

/// Signed: the account that the book opens the Contas PI from owes what they hold.
fn centavos(of: &Value, field: &str) -> i64 {
    let written = text(of, field);
    let digits = written.strip_prefix('-').unwrap_or(written);
    let amount = pix_domain::Money::parse(digits.as_bytes())
        .expect("an amount")
        .to_i64();
    if digits.len() == written.len() {
        amount
    } else {
        -amount
    }
}
