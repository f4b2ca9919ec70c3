//! What happens next with a payment, in plain words, from what those who took part in it know.

use pix_domain::{EndToEndId, Timestamp};
use serde_json::Value;

use crate::advice;

/// What is known of a payment, as each answered; nothing from those who do not know it.
pub(crate) struct Known<'a> {
    pub(crate) switch: Option<Value>,
    pub(crate) payer: Option<Value>,
    pub(crate) receiver: Option<Value>,
    /// Who gave no answer.
    pub(crate) silent: &'a [String],
}

/// Of a payment that nobody knows.
pub(crate) fn unknown(id: &EndToEndId, silent: &[String]) -> String {
    let whose = id.agent();
    match silent {
        [] => format!(
            "neither the switch nor a bank here knows {id}: compare it with what `pix pay` printed. The bank that \
             made it is {whose}; if the payment was ordered at another switch or bank, ask there"
        ),
        silent => format!(
            "nobody who answers knows {id}, but not everybody answers ({}): start what is missing with `pix up` \
             and ask again",
            silent.join("; ")
        ),
    }
}

/// What happens next.
pub(crate) fn words(id: &EndToEndId, known: &Known<'_>) -> String {
    let mut words = match (&known.switch, &known.payer, &known.receiver) {
        (Some(switch), payer, _) => at_switch(switch, payer.as_ref()),
        (None, Some(payer), _) => at_payer(payer),
        (None, None, Some(receiver)) if receiver["state"] == "pending" => {
            "The receiver's bank has the order and the switch is not there to tell how it ended. The receiver's bank \
             credits for good only when the switch says that it is settled."
                .to_owned()
        }
        (None, None, Some(_)) => {
            "The receiver's bank knows how it ended; the switch and the payer's bank were not heard.".to_owned()
        }
        (None, None, None) => return unknown(id, known.silent),
    };
    if !known.silent.is_empty() {
        words += " Not everybody answers; whoever was killed goes on where it was as soon as it runs again \
                  (`pix status`).";
    }
    words
}

/// Of a payment that has not come to the switch, or never will.
fn at_payer(payer: &Value) -> String {
    let state = payer["state"].as_str().unwrap_or_default();
    if payer["book_transfer"] == true {
        return match state {
            "settled" => {
                "Payer and receiver have their accounts at the same bank, so it was paid inside it. \
                          Nothing more happens."
                    .to_owned()
            }
            _ => refused_words(payer),
        };
    }
    let order = messages(payer).find(|message| message["kind"] == "pacs.008");
    match (state, order) {
        ("settled", _) => {
            "The payer's bank knows that it is settled; the switch was not heard. Nothing more happens.".to_owned()
        }
        ("refused", _) => refused_words(payer),
        (_, Some(order)) if order["state"] == "waiting" => match order["attempts"].as_i64().unwrap_or_default() {
            0 => "The order is on its way to the switch; the payer's money is blocked until the switch says how it \
                  ends."
                .to_owned(),
            attempts => format!(
                "The order has not got to the switch: {attempts} attempts so far, and the last one came to: {}. The \
                 payer's bank goes on by itself with the same message, so nothing is paid twice; the payer's money \
                 stays blocked meanwhile. Look at the switch with `pix status` and `pix logs spi`.",
                order["why"].as_str().unwrap_or("no answer")
            ),
        },
        _ => "The switch has taken the payer's message and not (yet) made a payment of it. A message that it cannot \
              take in is refused with admi.002 on the bank's stream, and the money comes back then."
            .to_owned(),
    }
}

fn at_switch(switch: &Value, payer: Option<&Value>) -> String {
    match switch["state"].as_str() {
        Some("settled") => format!("The money has moved. {}", still_to_hear(switch, payer)),
        Some("refused") => format!("{} {}", refused_words(switch), still_to_hear(switch, payer)),
        _ => pending(switch),
    }
}

/// Blocked at the switch: who has to act, and until when.
fn pending(switch: &Value) -> String {
    let receiver = switch["receiver_agent"].as_str().unwrap_or("the receiver's bank");
    let order = |stage: &str| {
        stages(switch).find(|event| {
            event["stage"] == stage
                && event["detail"]
                    .as_str()
                    .is_some_and(|detail| detail.starts_with("pacs.008"))
        })
    };
    let stands = match (order("formed"), order("delivered"), order("confirmed")) {
        (_, _, Some(_)) => format!("{receiver} has read the order and has not answered yet."),
        (_, Some(handed), None) => match handed["attempts"].as_i64() {
            Some(times) if times > 1 => format!(
                "The order was handed to {receiver} {times} times, and {receiver} has neither confirmed nor answered it."
            ),
            _ => format!("The order was handed to {receiver}, which has not confirmed it yet."),
        },
        (Some(_), None, None) => format!(
            "The order waits for {receiver}, which is not reading its stream just now: is it running and connected?"
        ),
        (None, None, None) => {
            "The money is blocked and the order to the receiver is being formed.".to_owned()
        }
    };
    let time = |name: &str| Timestamp::parse(switch[name].as_str()?.as_bytes()).ok();
    let Some((deadline, now)) = time("deadline").zip(time("as_of")) else {
        return stands;
    };
    let at = clock(deadline);
    if now <= deadline {
        let left = deadline.since(now).as_secs();
        format!(
            "{stands} If no answer comes by {at} (in {left} s), the SPI gives the money back by itself and tells \
             both banks AB03. Until then: do not pay again."
        )
    } else {
        format!(
            "{stands} Its time was over at {at}, so the SPI gives the money back within a second of working order: \
             if this stays, look at `pix status` and `pix logs spi`."
        )
    }
}

/// Who has not read the end yet.
fn still_to_hear(switch: &Value, payer: Option<&Value>) -> String {
    let destination = |event: &Value, before: &str| {
        let detail = event["detail"].as_str()?;
        Some(detail.strip_prefix(before)?.to_owned())
    };
    let told: Vec<_> = stages(switch)
        .filter(|event| event["stage"] == "told")
        .filter_map(|event| destination(event, "pacs.002 read by "))
        .collect();
    let mut waiting: Vec<_> = stages(switch)
        .filter(|event| event["stage"] == "formed")
        .filter_map(|event| destination(event, "pacs.002 for "))
        .filter(|who| !told.contains(who))
        .collect();
    waiting.dedup();
    match (waiting.as_slice(), payer) {
        ([], Some(payer)) if payer["state"] == "pending" => {
            "The payer's bank has been told and is booking it.".to_owned()
        }
        ([], _) if told.is_empty() => "The news is about to leave for the banks.".to_owned(),
        ([], _) => "Whoever had to hear of it has. Nothing more happens.".to_owned(),
        (waiting, _) => format!(
            "{} has not confirmed the news yet; it waits for as long as that takes, and comes again until it is \
             confirmed.",
            waiting.join(" and ")
        ),
    }
}

fn refused_words(account: &Value) -> String {
    let reason = account["reason"].as_str();
    let blocked = stages(account).any(|event| event["stage"] == "blocked");
    let money = if blocked {
        "the payer's money is available again"
    } else {
        "no money was touched"
    };
    let what = reason.and_then(advice::of);
    match (reason, what) {
        (Some(code), Some(what)) => format!("It was refused ({code}), and {money}. {what}"),
        (Some(code), None) => {
            format!("It was refused ({code}), and {money}. docs/reason-codes.md tells what the code means.")
        }
        (None, _) => format!("It was refused, and {money}."),
    }
}

fn stages(of: &Value) -> impl Iterator<Item = &Value> {
    of["timeline"].as_array().into_iter().flatten()
}

fn messages(of: &Value) -> impl Iterator<Item = &Value> {
    of["messages"].as_array().into_iter().flatten()
}

/// `12:00:40 UTC`
fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{} UTC", text.get(11..19).unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id() -> EndToEndId {
        EndToEndId::parse(b"E1111111120261120120000000000001").expect("an id")
    }

    fn words_of(switch: Value) -> String {
        let known = Known {
            switch: Some(switch),
            payer: None,
            receiver: None,
            silent: &[],
        };
        words(&id(), &known)
    }

    fn hanging(timeline: Value, now: &str) -> String {
        words_of(json!({
            "state": "pending", "receiver_agent": "22222222", "deadline": "2026-11-20T12:00:40.000Z", "as_of": now,
            "timeline": timeline,
        }))
    }

    #[test]
    fn a_payment_that_hangs_says_for_whom_it_waits_and_until_when() {
        let formed = json!({"stage": "formed", "detail": "pacs.008 for 22222222"});
        let handed = json!({"stage": "delivered", "detail": "pacs.008 handed to 22222222", "attempts": 4});
        let read = json!({"stage": "confirmed", "detail": "pacs.008 read by 22222222"});
        let now = "2026-11-20T12:00:10.000Z";
        let said = hanging(json!([formed]), now);
        assert!(
            said.contains("not reading its stream") && said.contains("in 30 s"),
            "{said}"
        );
        let said = hanging(json!([formed, handed]), now);
        assert!(said.contains("4 times"), "{said}");
        let said = hanging(json!([formed, handed, read]), now);
        assert!(
            said.contains("has not answered yet") && said.contains("12:00:40 UTC"),
            "{said}"
        );
        let said = hanging(json!([formed, handed, read]), "2026-11-20T12:00:41.000Z");
        assert!(said.contains("Its time was over"), "{said}");
    }

    #[test]
    fn an_end_is_over_when_everybody_has_read_it() {
        let news = |told: bool| {
            let mut timeline = vec![json!({"stage": "formed", "detail": "pacs.002 for 11111111"})];
            if told {
                timeline.push(json!({"stage": "told", "detail": "pacs.002 read by 11111111"}));
            }
            words_of(json!({"state": "settled", "timeline": timeline}))
        };
        assert!(
            news(false).contains("11111111 has not confirmed the news"),
            "{}",
            news(false)
        );
        assert!(news(true).contains("Nothing more happens"), "{}", news(true));
    }

    #[test]
    fn a_refusal_says_what_to_do_and_where_the_money_is() {
        let said = words_of(json!({"state": "refused", "reason": "AC07", "timeline": [
            {"stage": "blocked"}, {"stage": "released"}]}));
        assert!(
            said.contains("available again") && said.contains("closed"),
            "{said}"
        );
    }

    #[test]
    fn an_order_that_does_not_get_out_counts_its_attempts() {
        let known = Known {
            switch: None,
            payer: Some(json!({"state": "pending", "messages": [
                {"kind": "pacs.008", "state": "waiting", "attempts": 5, "why": "connection refused"}]})),
            receiver: None,
            silent: &["switch: nothing answers".to_owned()],
        };
        let said = words(&id(), &known);
        assert!(
            said.contains("5 attempts") && said.contains("connection refused"),
            "{said}"
        );
        assert!(said.contains("goes on where it was"), "{said}");
    }

    #[test]
    fn an_id_that_nobody_knows_names_the_bank_that_would() {
        let known = Known {
            switch: None,
            payer: None,
            receiver: None,
            silent: &[],
        };
        let said = words(&id(), &known);
        assert!(said.contains("11111111") && said.contains("compare it"), "{said}");
    }
}
