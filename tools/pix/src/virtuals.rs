//! `pix virtual`: the virtual participants pay on request, and behave by rules.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::cli::{VirtualCommand, VirtualPay, VirtualRule};
use crate::http::{Answer, Http, Silent};
use crate::inside::Inside;
use crate::pay::{self, CREDIT_WITHIN, END_WITHIN, by_account, ended};
use crate::payment::{self, bank_index};
use crate::place::Place;
use crate::seed::{self, BANKS};

pub(crate) async fn command(place: &Place, command: &VirtualCommand) -> anyhow::Result<ExitCode> {
    let http = Http::new();
    let port = place.ports.virtual_ops();
    match command {
        VirtualCommand::Pay(asked) => pay(place, &http, asked).await,
        VirtualCommand::Rules { json } => told(http.get(port, "/rules").await, *json),
        VirtualCommand::Rule(asked) => told(http.post(port, "/rules", &rule(asked), None).await, asked.json),
        VirtualCommand::Clear => told(http.put(port, "/rules", &json!([])).await, false),
    }
}

async fn pay(place: &Place, http: &Http, asked: &VirtualPay) -> anyhow::Result<ExitCode> {
    let mut body = match &asked.to_key {
        Some(key) => {
            let entry = Inside::connect(place).await?.resolve(key).await?;
            let entry = entry.context("the DICT has no such key: `pix key list --all` shows those it has")?;
            let (account, owner) = (entry.account.unwrap_or_default(), entry.owner.unwrap_or_default());
            json!({
                "to": account.participant, "branch": account.branch, "number": account.number,
                "type": account.account_type, "tax_id": owner.tax_id, "key": key.as_str(),
            })
        }
        None => {
            let to = by_account(
                place,
                &asked.to,
                asked.to_account.as_deref(),
                asked.to_tax_id.as_deref(),
            )?;
            let mut body = to.body;
            // A bank's customer names the receiver's bank `ispb`.
            body["to"] = body["ispb"].take();
            if let Some(fields) = body.as_object_mut() {
                fields.remove("ispb");
            }
            body
        }
    };
    body["amount"] = asked.amount.to_string().into();
    let receiver = body["to"].as_str().map(str::to_owned);

    // Who stands behind a bank pays by that bank.
    let settler = (0_u16..)
        .zip(&BANKS)
        .find(|(_, bank)| bank.settles_for().any(|ispb| ispb == asked.from));
    let (port, answer) = match settler {
        Some((index, _)) => {
            let port = place.ports.bank(index);
            let order = on_behalf_of(asked, body);
            (port, pay::send_order(http, port, &order).await?)
        }
        None => {
            body["from"] = asked.from.to_string().into();
            let port = place.ports.virtual_ops();
            let answer = http.post(port, "/pay", &body, None).await;
            (port, answer.context("start everything with `pix up`")?)
        }
    };
    let Some(id) = answer.body["end_to_end_id"]
        .as_str()
        .filter(|_| answer.is_success())
    else {
        bail!("{} takes no such order: {}", asked.from, answer.refusal());
    };
    let path = match settler {
        Some(_) => format!("/api/payments/{id}"),
        None => format!("/payments/{id}"),
    };
    if !ended(http, port, &path, END_WITHIN).await {
        errln!("pix: still pending; ask again with `pix payment {id}`");
    }
    if let Some(receiver) = receiver.as_deref().and_then(bank_index) {
        // A payment that the switch refused never reached the receiver, which then has nothing to say.
        let path = format!("/api/payments/{id}");
        ended(http, place.ports.bank(receiver), &path, CREDIT_WITHIN).await;
    }
    let story = payment::tell(place, http, id).await?;
    if asked.json {
        outln!("{:#}", story.to_json());
    } else {
        story.print();
    }
    Ok(story.exit_code())
}

/// The order as the bank takes it that settles for the payer, by account: what its key led to is known.
fn on_behalf_of(asked: &VirtualPay, mut to: Value) -> Value {
    let amount = to["amount"].take();
    to["ispb"] = to["to"].take();
    if let Some(fields) = to.as_object_mut() {
        for field in ["to", "amount", "key"] {
            fields.remove(field);
        }
    }
    let (branch, number) = seed::VIRTUAL_ACCOUNT.split_once('/').unwrap_or_default();
    let from = json!({
        "ispb": asked.from.to_string(), "branch": branch, "number": number, "type": "CACC",
        "tax_id": seed::VIRTUAL_TAX_ID, "name": seed::VIRTUAL_NAME,
    });
    json!({ "from": from, "to": to, "amount": amount })
}

/// A rule as the virtual participants take it.
fn rule(asked: &VirtualRule) -> Value {
    let mut rule = json!({ "do": asked.behaviour });
    if let Some(ispb) = asked.participant {
        rule["participant"] = ispb.to_string().into();
    }
    if let Some(amount) = asked.amount {
        rule["amount"] = amount.to_string().into();
    }
    if let Some(times) = asked.times {
        rule["times"] = times.into();
    }
    rule
}

/// Prints the rules that the virtual participants answered with.
fn told(answer: Result<Answer, Silent>, as_json: bool) -> anyhow::Result<ExitCode> {
    let answer = answer.context("start everything with `pix up`")?;
    if !answer.is_success() {
        bail!("the virtual participants take no such rule: {}", answer.refusal());
    }
    let rules = answer.body.as_array().map(Vec::as_slice).unwrap_or_default();
    if as_json {
        outln!("{:#}", answer.body);
    } else if rules.is_empty() {
        outln!("no rules: the virtual participants accept everything");
    } else {
        line("participant", "amount", "times", "do");
        rules.iter().for_each(print);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(rule: &Value) {
    let text = |field: &str| rule[field].as_str().unwrap_or("any").to_owned();
    let times = rule["times"]
        .as_u64()
        .map_or("all".to_owned(), |times| times.to_string());
    line(&text("participant"), &text("amount"), &times, &text("do"));
}

fn line(participant: &str, amount: &str, times: &str, behaviour: &str) {
    outln!("  {participant:<12} {amount:>14} {times:>6}  {behaviour}");
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Arguments, Command};

    fn parse(words: &[&str]) -> VirtualCommand {
        let words = ["pix", "virtual"].iter().chain(words);
        match Arguments::try_parse_from(words).expect("parses").command {
            Command::Virtual { command } => command,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_rule_says_what_was_typed_and_no_more() {
        for (words, expected) in [
            (vec!["rule", "--do", "silence"], json!({"do": "silence"})),
            (
                vec![
                    "rule",
                    "--participant",
                    "99999A04",
                    "--amount",
                    "13.37",
                    "--do",
                    "reject:AC03",
                    "--times",
                    "2",
                ],
                json!({"participant": "99999A04", "amount": "13.37", "do": "reject:AC03", "times": 2}),
            ),
        ] {
            let VirtualCommand::Rule(asked) = parse(&words) else {
                panic!("{words:?}")
            };
            assert_eq!(rule(&asked), expected);
        }
    }

    #[test]
    fn fulano_pays_bank_b_unless_told_otherwise() {
        let VirtualCommand::Pay(asked) = parse(&["pay"]) else {
            panic!("another command")
        };
        assert_eq!(
            (asked.from.to_string().as_str(), asked.to.as_str()),
            ("99999A03", "B")
        );
    }
}
