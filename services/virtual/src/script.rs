//! What a receiver does with an order: rules that somebody sets, and accepting where none of them matches. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use pix_domain::{Ispb, Money, StatusReason};
use serde::{Deserialize, Serialize};

/// Rules at once: each order is held against all of them.
pub(crate) const RULES_MAX: usize = 256;
/// The longest delay, in seconds: past the 45 minutes of a scheduled payment nothing differs from silence.
pub(crate) const DELAY_SECONDS_MAX: u64 = 3600;

/// What is done with one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// ACSP, at once.
    Accept,
    /// ACSP, after this long.
    Delay(Duration),
    /// No answer.
    Silence,
    /// RJCT with this code.
    Reject(StatusReason),
    /// ACSP, and when it is taken RJCT with this code.
    AcceptThenReject(StatusReason),
    /// ACSP in one message, and again in another.
    Twice,
    /// ACSP in a message whose signature does not hold.
    BadSignature,
}

/// Text that names no behaviour.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidBehaviour {
    #[error(
        "a behaviour is accept, delay:SECONDS, silence, reject:CODE, accept-then-reject:CODE, twice or bad-signature"
    )]
    Unknown,
    #[error("a delay is 0 to {DELAY_SECONDS_MAX} whole seconds")]
    Delay,
    #[error("the code is not one of StsRsnInf, like AC03")]
    Code,
}

impl Behaviour {
    /// Its name without what follows the colon: one of few, for metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Delay(_) => "delay",
            Self::Silence => "silence",
            Self::Reject(_) => "reject",
            Self::AcceptThenReject(_) => "accept-then-reject",
            Self::Twice => "twice",
            Self::BadSignature => "bad-signature",
        }
    }
}

impl FromStr for Behaviour {
    type Err = InvalidBehaviour;

    fn from_str(text: &str) -> Result<Self, InvalidBehaviour> {
        let code = |code: &str| StatusReason::parse(code.as_bytes()).map_err(|_| InvalidBehaviour::Code);
        match text.split_once(':') {
            None => match text {
                "accept" => Ok(Self::Accept),
                "silence" => Ok(Self::Silence),
                "twice" => Ok(Self::Twice),
                "bad-signature" => Ok(Self::BadSignature),
                _ => Err(InvalidBehaviour::Unknown),
            },
            Some(("delay", seconds)) => {
                let seconds = seconds.parse().ok().filter(|s| *s <= DELAY_SECONDS_MAX);
                let seconds = seconds.ok_or(InvalidBehaviour::Delay)?;
                Ok(Self::Delay(Duration::from_secs(seconds)))
            }
            Some(("reject", reason)) => Ok(Self::Reject(code(reason)?)),
            Some(("accept-then-reject", reason)) => Ok(Self::AcceptThenReject(code(reason)?)),
            Some(_) => Err(InvalidBehaviour::Unknown),
        }
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Delay(span) => write!(f, ":{}", span.as_secs()),
            Self::Reject(code) | Self::AcceptThenReject(code) => write!(f, ":{code}"),
            Self::Accept | Self::Silence | Self::Twice | Self::BadSignature => Ok(()),
        }
    }
}

/// Which orders, what to do with them, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RuleText", into = "RuleText")]
pub(crate) struct Rule {
    /// Of orders to this participant only (`CdtrAgt`): an indirect one goes by its own ISPB.
    pub(crate) participant: Option<Ispb>,
    /// Of orders of exactly this amount only.
    pub(crate) amount: Option<Money>,
    /// What to do.
    pub(crate) behaviour: Behaviour,
    /// For so many orders, one at least; for all unless said.
    pub(crate) times: Option<u32>,
}

/// A rule as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    #[serde(skip_serializing_if = "Option::is_none")]
    participant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<String>,
    #[serde(rename = "do")]
    behaviour: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u32>,
}

impl TryFrom<RuleText> for Rule {
    type Error = String;

    fn try_from(text: RuleText) -> Result<Self, String> {
        let participant = text.participant.map(|ispb| Ispb::parse(ispb.as_bytes()));
        let amount = text.amount.map(|amount| Money::parse(amount.as_bytes()));
        if text.times == Some(0) {
            return Err("times: a rule is for one order at least".to_owned());
        }
        Ok(Self {
            participant: participant.transpose().map_err(|e| format!("participant: {e}"))?,
            amount: amount.transpose().map_err(|e| format!("amount: {e}"))?,
            behaviour: text
                .behaviour
                .parse()
                .map_err(|e: InvalidBehaviour| format!("do: {e}"))?,
            times: text.times,
        })
    }
}

impl From<Rule> for RuleText {
    fn from(rule: Rule) -> Self {
        Self {
            participant: rule.participant.map(|ispb| ispb.to_string()),
            amount: rule.amount.map(|amount| amount.to_string()),
            behaviour: rule.behaviour.to_string(),
            times: rule.times,
        }
    }
}

impl Rule {
    fn matches(&self, participant: Ispb, amount: Money) -> bool {
        self.participant.is_none_or(|named| named == participant)
            && self.amount.is_none_or(|named| named == amount)
    }
}

/// More rules than may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there may be {RULES_MAX} rules at once")]
pub(crate) struct TooManyRules;

/// The rules, in the order in which they are asked: the first that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Script(Vec<Rule>);

impl Script {
    /// These rules.
    ///
    /// # Errors
    /// [`TooManyRules`].
    pub(crate) fn new(rules: Vec<Rule>) -> Result<Self, TooManyRules> {
        if rules.len() > RULES_MAX {
            return Err(TooManyRules);
        }
        Ok(Self(rules))
    }

    /// Puts a rule before the others: who sets one now means it to apply now.
    ///
    /// # Errors
    /// [`TooManyRules`].
    pub(crate) fn add(&mut self, rule: Rule) -> Result<(), TooManyRules> {
        if self.0.len() == RULES_MAX {
            return Err(TooManyRules);
        }
        self.0.insert(0, rule);
        Ok(())
    }

    /// The rules, each with the times that are left of it.
    pub(crate) fn rules(&self) -> &[Rule] {
        &self.0
    }

    /// What to do with an order to `participant`; a rule for so many orders has one less now.
    pub(crate) fn decide(&mut self, participant: Ispb, amount: Money) -> Behaviour {
        let found = self.0.iter().position(|rule| rule.matches(participant, amount));
        let Some(index) = found else {
            return Behaviour::Accept;
        };
        let rule = &mut self.0[index];
        let behaviour = rule.behaviour;
        if let Some(times) = &mut rule.times {
            *times -= 1;
            if *times == 0 {
                self.0.remove(index);
            }
        }
        behaviour
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ispb(text: &str) -> Ispb {
        Ispb::parse(text.as_bytes()).expect("an ISPB")
    }

    fn reais(text: &str) -> Money {
        Money::parse(text.as_bytes()).expect("an amount")
    }

    fn rules(json: &str) -> Result<Vec<Rule>, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    fn script(json: &str) -> Script {
        Script::new(rules(json).expect("rules")).expect("few")
    }

    #[test]
    fn behaviours_are_written_as_they_are_read() {
        for text in [
            "accept",
            "delay:3",
            "silence",
            "reject:AC03",
            "accept-then-reject:AB09",
            "twice",
            "bad-signature",
        ] {
            let behaviour: Behaviour = text.parse().expect(text);
            assert_eq!(behaviour.to_string(), text);
            assert!(text.starts_with(behaviour.name()));
        }
        for reason in StatusReason::ALL {
            assert_eq!(format!("reject:{reason}").parse(), Ok(Behaviour::Reject(*reason)));
        }
    }

    #[test]
    fn other_texts_are_no_behaviours_and_say_why() {
        use InvalidBehaviour as I;
        for (text, why) in [
            ("", I::Unknown),
            ("Accept", I::Unknown),
            ("reject", I::Unknown),
            ("unavailable", I::Unknown),
            ("accept:AC03", I::Unknown),
            ("reject:ZZ99", I::Code),
            ("reject:", I::Code),
            ("delay:", I::Delay),
            ("delay:-1", I::Delay),
            ("delay:3601", I::Delay),
            ("delay:1.5", I::Delay),
        ] {
            assert_eq!(text.parse::<Behaviour>(), Err(why), "{text}");
        }
    }

    #[test]
    fn without_rules_everything_is_accepted() {
        let mut script = Script::default();
        assert_eq!(script.decide(ispb("99999A04"), reais("1.00")), Behaviour::Accept);
    }

    #[test]
    fn the_first_rule_that_matches_decides_and_absent_fields_match_all() {
        let mut script = script(
            r#"[{"participant": "99999A04", "amount": "13.37", "do": "silence"},
                {"amount": "13.37", "do": "reject:AC03"},
                {"participant": "99999A03", "do": "twice"}]"#,
        );
        let mut decide = |participant, amount| script.decide(ispb(participant), reais(amount));
        assert_eq!(decide("99999A04", "13.37"), Behaviour::Silence);
        assert_eq!(decide("99999A03", "13.37"), Behaviour::Reject(StatusReason::AC03));
        assert_eq!(decide("99999A03", "13.38"), Behaviour::Twice);
        assert_eq!(decide("99999A04", "13.38"), Behaviour::Accept);
    }

    #[test]
    fn a_rule_for_so_many_orders_goes_after_them() {
        let mut script = script(r#"[{"do": "silence", "times": 2}, {"do": "twice", "times": 1}]"#);
        let mut decide = || script.decide(ispb("99999A04"), reais("1.00"));
        assert_eq!([decide(), decide()], [Behaviour::Silence; 2]);
        assert_eq!([decide(), decide()], [Behaviour::Twice, Behaviour::Accept]);
        assert_eq!(script.rules(), []);
    }

    #[test]
    fn a_rule_added_is_asked_first() {
        let mut script = script(r#"[{"do": "silence"}]"#);
        let added = rules(r#"[{"do": "reject:AC06"}]"#).expect("a rule");
        script.add(added[0]).expect("room");
        assert_eq!(
            script.decide(ispb("99999A04"), reais("1.00")),
            Behaviour::Reject(StatusReason::AC06)
        );
    }

    #[test]
    fn rules_are_written_as_they_are_read() {
        let json =
            r#"[{"participant":"99999A04","amount":"13.37","do":"reject:AC03","times":2},{"do":"accept"}]"#;
        let read = rules(json).expect("rules");
        assert_eq!(serde_json::to_string(&read).expect("writes"), json);
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said_with_its_field() {
        for (json, said) in [
            (r#"[{"do": "explode"}]"#, "do: a behaviour is"),
            (r#"[{"do": "reject:XX"}]"#, "do: the code"),
            (r#"[{"do": "accept", "times": 0}]"#, "times: "),
            (r#"[{"do": "accept", "amount": "1,00"}]"#, "amount: "),
            (r#"[{"do": "accept", "participant": "1"}]"#, "participant: "),
            (r#"[{"do": "accept", "who": "A"}]"#, "unknown field"),
            (r#"[{"amount": "1.00"}]"#, "missing field `do`"),
        ] {
            let error = rules(json).expect_err(json);
            assert!(error.contains(said), "{json}: {error}");
        }
    }

    #[test]
    fn rules_are_counted() {
        let rule = rules(r#"[{"do": "accept"}]"#).expect("a rule")[0];
        assert_eq!(Script::new(vec![rule; RULES_MAX + 1]), Err(TooManyRules));
        let mut full = Script::new(vec![rule; RULES_MAX]).expect("as many as may be");
        assert_eq!(full.add(rule), Err(TooManyRules));
    }
}
