//! What a run consists of: presets as data, changed by options. Pure.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::arrivals::{self, Arrivals, Spacing, Stretch};
use crate::schedule::Choice;

/// The runs that have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Preset {
    /// Half a minute between two banks: does everything work?
    Smoke,
    /// Two banks, one pays the other.
    Pair,
    /// Twenty banks of different sizes; some payments are refused, some messages sent twice.
    Fleet,
    /// Twenty banks, 5,000 payments a second, and 7,500 for a minute in between: how soon is it as before?
    Burst,
    /// Finds the knee: the highest rate at which 99 % of the payments end within 200 ms.
    Ramp,
    /// One payment a message: nothing is shared, every signature counts.
    Single,
    /// One payment at a time: what an idle switch takes for it.
    Idle,
    /// Look-ups of keys in the DICT.
    Dict,
    /// What the Central Bank asks of a participant in homologation, for both interfaces.
    Homologation,
    /// Half an hour of everything: does memory stay, and latency?
    Soak,
}

/// When payers sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sign {
    /// At the instant, as a bank does, on the processors of the switch.
    Live,
    /// Before the run, for announced instants.
    Ahead,
}

/// How payers come to know whom they pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Lookups {
    /// By account.
    None,
    /// By keys that were looked up before the run.
    Beforehand,
    /// Each payment looks up its key first, and its latency includes that.
    Each,
}

/// How much of homologation: by the participant's number of accounts (Roteiro 1.11, item 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Size {
    /// Up to a million accounts: 1,000 a minute.
    Small,
    /// Up to ten million: 2,000.
    Medium,
    /// More: 4,000.
    Large,
}

impl Size {
    /// pacs.008 each way, and look-ups, a minute.
    pub(crate) fn per_minute(self) -> f64 {
        match self {
            Self::Small => 1_000.0,
            Self::Medium => 2_000.0,
            Self::Large => 4_000.0,
        }
    }
}

/// What there is to measure in a preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Payments by a schedule.
    Payments,
    /// Payments at one rate after another.
    Sweep,
    /// Look-ups.
    Lookups,
    /// Payments, then look-ups, each judged.
    Homologation,
}

/// One run, whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) banks: u16,
    pub(crate) arrivals: Arrivals,
    pub(crate) choice: Choice,
    pub(crate) warm_up: Duration,
    pub(crate) sign: Sign,
    pub(crate) lookups: Lookups,
    pub(crate) answer_delay: Duration,
    pub(crate) refuse: f64,
    /// Seconds of each yardstick.
    pub(crate) yardstick: Duration,
    /// Each key is looked up before one is again; else they come by chance.
    pub(crate) keys_in_turn: bool,
}

/// What may be said on the command line, each for itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Changes {
    pub(crate) banks: Option<u16>,
    pub(crate) payers: Option<u16>,
    pub(crate) receivers: Option<u16>,
    pub(crate) skew: Option<f64>,
    pub(crate) rate: Option<f64>,
    pub(crate) peak: Option<f64>,
    pub(crate) span: Option<Duration>,
    pub(crate) warm_up: Option<Duration>,
    pub(crate) poisson: Option<bool>,
    pub(crate) trace: Option<Arrivals>,
    pub(crate) per_message: Option<u8>,
    pub(crate) sign: Option<Sign>,
    pub(crate) lookups: Option<Lookups>,
    pub(crate) answer_delay: Option<Duration>,
    pub(crate) refuse: Option<f64>,
    pub(crate) duplicates: Option<f64>,
    pub(crate) seed: Option<u64>,
    pub(crate) size: Option<Size>,
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The seed of who gives none: runs are alike unless somebody wants them not to be.
const SEED: u64 = 20_261_121;

/// What a preset says before anything is changed.
struct Draft {
    kind: Kind,
    banks: u16,
    /// Whether the first half of two pays the second; else everybody pays everybody.
    one_way: bool,
    rate: f64,
    peak: Option<f64>,
    span: Duration,
    warm_up: Duration,
    spacing: Spacing,
    per_message: u8,
    skew: f64,
    refuse: f64,
    duplicates: f64,
    sign: Sign,
    lookups: Lookups,
    yardstick: Duration,
}

impl Draft {
    fn of(preset: Preset, size: Size) -> Self {
        let pair = Self {
            kind: Kind::Payments,
            banks: 2,
            one_way: true,
            rate: 5_000.0,
            peak: None,
            span: s(120),
            warm_up: s(5),
            spacing: Spacing::Even,
            per_message: 10,
            skew: 0.0,
            refuse: 0.0,
            duplicates: 0.0,
            sign: Sign::Live,
            lookups: Lookups::None,
            yardstick: s(4),
        };
        let fleet = Self {
            banks: 20,
            one_way: false,
            span: s(600),
            spacing: Spacing::Poisson,
            skew: 0.5,
            refuse: 0.01,
            duplicates: 0.001,
            ..pair
        };
        match preset {
            Preset::Smoke => Self {
                rate: 500.0,
                span: s(30),
                yardstick: s(1),
                ..pair
            },
            Preset::Pair => pair,
            Preset::Fleet => fleet,
            Preset::Burst => Self {
                one_way: true,
                peak: Some(7_500.0),
                span: s(120),
                skew: 0.0,
                refuse: 0.0,
                duplicates: 0.0,
                ..fleet
            },
            Preset::Ramp => Self {
                kind: Kind::Sweep,
                rate: 1_000.0,
                span: s(15),
                warm_up: s(3),
                ..pair
            },
            Preset::Single => Self {
                rate: 3_000.0,
                per_message: 1,
                sign: Sign::Ahead,
                ..pair
            },
            Preset::Idle => Self {
                rate: 0.0,
                span: s(20),
                warm_up: s(2),
                per_message: 1,
                ..pair
            },
            Preset::Dict => Self {
                kind: Kind::Lookups,
                // Each may ask 417 times a second for long (category A).
                rate: 3_500.0,
                span: s(120),
                per_message: 1,
                refuse: 0.0,
                duplicates: 0.0,
                skew: 0.0,
                ..fleet
            },
            Preset::Homologation => Self {
                kind: Kind::Homologation,
                one_way: false,
                // Each way.
                rate: 2.0 * size.per_minute() / 60.0,
                span: s(600),
                warm_up: s(0),
                per_message: 1,
                ..pair
            },
            Preset::Soak => Self {
                span: s(1_800),
                lookups: Lookups::Beforehand,
                ..fleet
            },
        }
    }
}

/// Of a burst's span one such part lies before the burst, one after it.
const BURST_PARTS: u32 = 4;

impl Plan {
    /// The preset with what was changed.
    ///
    /// # Errors
    /// One sentence about what does not go together.
    pub(crate) fn new(preset: Preset, changes: &Changes) -> anyhow::Result<Self> {
        let draft = Draft::of(preset, changes.size.unwrap_or(Size::Large));
        let banks = changes.banks.unwrap_or(draft.banks);
        anyhow::ensure!(
            (2..=crate::join::BANKS_MAX).contains(&banks),
            "--banks has to be 2 to {}",
            crate::join::BANKS_MAX
        );
        let (payers, receivers) = if draft.one_way && banks == 2 && changes.payers.is_none() {
            (0..1, 1..2)
        } else {
            let payers = changes.payers.unwrap_or(banks);
            let receivers = changes.receivers.unwrap_or(banks);
            anyhow::ensure!(
                (1..=banks).contains(&payers) && (1..=banks).contains(&receivers),
                "--payers and --receivers have to be 1 to the number of banks ({banks})"
            );
            (0..payers, banks - receivers..banks)
        };
        let arrivals = arrivals_of(preset, &draft, changes)?;
        let is_idle = matches!(arrivals, Arrivals::OneAtATime { .. });
        let span = arrivals.span();
        let warm_up = changes.warm_up.unwrap_or(draft.warm_up);
        // A short run keeps the greater part of itself.
        let warm_up = if changes.warm_up.is_none() {
            warm_up.min(span / 5)
        } else {
            warm_up
        };
        anyhow::ensure!(
            warm_up < span,
            "--warm-up leaves nothing of the run: {} s of {} s",
            warm_up.as_secs(),
            span.as_secs_f64()
        );
        let per_message = changes.per_message.unwrap_or(draft.per_message);
        anyhow::ensure!(
            per_message == 1 || !(is_idle || draft.kind == Kind::Lookups),
            "--per-message is 1 here: each is measured by itself"
        );
        let lookups = changes.lookups.unwrap_or(draft.lookups);
        let is_known_before = lookups != Lookups::Each && !is_idle;
        let sign = match changes.sign {
            Some(sign) => sign,
            None if is_known_before => draft.sign,
            None => Sign::Live,
        };
        anyhow::ensure!(
            sign == Sign::Live || is_known_before,
            "--sign ahead needs instants that are known before: not with --lookups each, not one at a time"
        );
        Ok(Self {
            kind: draft.kind,
            banks,
            choice: Choice {
                payers,
                receivers,
                skew: changes.skew.unwrap_or(draft.skew),
                per_message,
                duplicates: changes.duplicates.unwrap_or(draft.duplicates),
                seed: changes.seed.unwrap_or(SEED),
            },
            arrivals,
            warm_up,
            sign,
            lookups,
            answer_delay: changes.answer_delay.unwrap_or_default(),
            refuse: changes.refuse.unwrap_or(draft.refuse),
            yardstick: draft.yardstick,
            keys_in_turn: false,
        })
    }

    /// The same at another constant rate: a step of a sweep.
    pub(crate) fn at(&self, rate: f64) -> Self {
        Self {
            arrivals: Arrivals::Shaped {
                stretches: arrivals::constant(rate, self.arrivals.span()),
                spacing: Spacing::Even,
            },
            ..self.clone()
        }
    }

    /// The look-ups of homologation: one participant asks, so many a minute, for keys that differ.
    pub(crate) fn lookups_of_one(&self, per_minute: f64) -> Self {
        Self {
            choice: Choice {
                payers: 0..1,
                receivers: 1..2,
                ..self.choice.clone()
            },
            keys_in_turn: true,
            ..self.at(per_minute / 60.0)
        }
    }

    /// The part of all that the busiest of `banks` has.
    fn busiest(&self, banks: &std::ops::Range<u16>) -> f64 {
        let weight = |rank: u16| f64::from(rank).powf(-self.choice.skew);
        1.0 / (1..=banks.end - banks.start).map(weight).sum::<f64>()
    }

    /// Look-ups a second of the busiest bank at most, of those that are made during the run.
    pub(crate) fn lookups_per_second(&self) -> f64 {
        match (self.kind, self.lookups) {
            (Kind::Lookups, _) | (Kind::Payments | Kind::Sweep, Lookups::Each) => {
                self.arrivals.peak() * self.busiest(&self.choice.payers)
            }
            _ => 0.0,
        }
    }

    /// Tokens a second that the busiest bank takes from its bucket on the primary channel: an order of a payment
    /// takes one, an answer a fifth (ICOM manual).
    pub(crate) fn tokens_per_second(&self) -> f64 {
        let rate = self.arrivals.peak();
        let (pays, answers) = (
            rate * self.busiest(&self.choice.payers),
            rate * self.busiest(&self.choice.receivers) / 5.0,
        );
        let is_one = self.choice.payers.start == self.choice.receivers.start;
        if is_one { pays + answers } else { pays.max(answers) }
    }

    /// For people: `2,000/s for 60 s`.
    pub(crate) fn arrivals_text(&self) -> String {
        let span = self.arrivals.span().as_secs_f64();
        match &self.arrivals {
            Arrivals::Shaped { stretches, spacing } => {
                let rates: Vec<String> = stretches
                    .iter()
                    .map(|Stretch { span, from, to }| {
                        let rate = if (from - to).abs() < f64::EPSILON {
                            format!("{from:.0}/s")
                        } else {
                            format!("{from:.0} to {to:.0}/s")
                        };
                        format!("{rate} for {:.0} s", span.as_secs_f64())
                    })
                    .collect();
                let spacing = match spacing {
                    Spacing::Even => "constant",
                    Spacing::Poisson => "Poisson",
                };
                format!("{}, {spacing}", rates.join(", then "))
            }
            Arrivals::Trace(instants) => format!("a trace of {} payments in {span:.0} s", instants.len()),
            Arrivals::OneAtATime { .. } => format!("one at a time for {span:.0} s"),
        }
    }
}

fn arrivals_of(preset: Preset, draft: &Draft, changes: &Changes) -> anyhow::Result<Arrivals> {
    if let Some(trace) = &changes.trace {
        anyhow::ensure!(
            changes.rate.is_none() && changes.span.is_none() && changes.peak.is_none(),
            "a trace says by itself when and how much: leave --rate, --peak and --for out"
        );
        return Ok(trace.clone());
    }
    let span = changes.span.unwrap_or(draft.span);
    anyhow::ensure!(!span.is_zero(), "--for has to be above zero");
    let rate = changes.rate.unwrap_or(draft.rate);
    if preset == Preset::Idle && changes.rate.is_none() {
        return Ok(Arrivals::OneAtATime { span });
    }
    anyhow::ensure!(
        rate.is_finite() && rate > 0.0,
        "--rate has to be above zero payments a second"
    );
    let spacing = match changes.poisson {
        Some(true) => Spacing::Poisson,
        Some(false) => Spacing::Even,
        None => draft.spacing,
    };
    let stretches = match changes.peak.or(draft.peak) {
        Some(peak) if draft.peak.is_some() => {
            let side = span / BURST_PARTS;
            arrivals::burst(rate, peak, span - 2 * side, side)
        }
        Some(peak) => vec![Stretch {
            span,
            from: rate,
            to: peak,
        }],
        None => arrivals::constant(rate, span),
    };
    Ok(Arrivals::Shaped { stretches, spacing })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(preset: Preset, changes: &Changes) -> Plan {
        Plan::new(preset, changes).unwrap()
    }

    #[test]
    fn every_preset_is_a_plan_with_a_schedule() {
        for preset in Preset::value_variants() {
            let changes = Changes {
                span: Some(s(2)),
                ..Changes::default()
            };
            let plan = plan(*preset, &changes);
            let orders = crate::schedule::orders(&plan.arrivals, &plan.choice).unwrap();
            assert!(!orders.is_empty(), "{preset:?}");
            assert!(orders.iter().all(|order| order.payer != order.receiver));
        }
    }

    #[test]
    fn a_burst_is_a_minute_of_7500_amid_5000() {
        let plan = plan(Preset::Burst, &Changes::default());
        assert_eq!(
            plan.arrivals_text(),
            "5000/s for 30 s, then 7500/s for 60 s, then 5000/s for 30 s, Poisson"
        );
        assert_eq!(plan.banks, 20);
        assert!((plan.arrivals.peak() - 7_500.0).abs() < 1e-9);
        assert_eq!(plan.arrivals.burst_span(), Some(s(30)..s(90)));
    }

    #[test]
    fn a_burst_of_two_banks_is_a_pair_that_pays_one_way() {
        let two = Changes {
            banks: Some(2),
            ..Changes::default()
        };
        let burst = plan(Preset::Burst, &two);
        assert_eq!((burst.choice.payers, burst.choice.receivers), (0..1, 1..2));
        let fleet = plan(Preset::Fleet, &two);
        assert_eq!((fleet.choice.payers, fleet.choice.receivers), (0..2, 0..2));
    }

    #[test]
    fn single_is_signed_ahead_unless_its_instants_are_not_known() {
        let single = |changes: Changes| plan(Preset::Single, &changes).sign;
        assert_eq!(single(Changes::default()), Sign::Ahead);
        assert_eq!(
            single(Changes {
                lookups: Some(Lookups::Each),
                ..Changes::default()
            }),
            Sign::Live
        );
        assert_eq!(plan(Preset::Pair, &Changes::default()).sign, Sign::Live);
    }

    #[test]
    fn look_ups_stay_below_what_a_participant_may_ask() {
        let dict = plan(Preset::Dict, &Changes::default());
        assert!((dict.lookups_per_second() - 175.0).abs() < 1e-6);
        let each = Changes {
            lookups: Some(Lookups::Each),
            ..Changes::default()
        };
        assert!((plan(Preset::Pair, &each).lookups_per_second() - 5_000.0).abs() < 1e-6);
        assert!(plan(Preset::Soak, &Changes::default()).lookups_per_second().abs() < 1e-6);
    }

    #[test]
    fn in_homologation_one_participant_asks() {
        let homologation = plan(Preset::Homologation, &Changes::default());
        let asks = homologation.lookups_of_one(4_000.0);
        assert_eq!(
            (asks.choice.payers.clone(), asks.choice.receivers.clone()),
            (0..1, 1..2)
        );
        assert!((asks.arrivals.peak() * 60.0 - 4_000.0).abs() < 1e-6);
        assert!(asks.keys_in_turn);
        assert_eq!(asks.arrivals.span(), s(600));
    }

    #[test]
    fn homologation_is_both_ways_by_size() {
        for (size, rate) in [
            (Size::Small, 1_000.0),
            (Size::Medium, 2_000.0),
            (Size::Large, 4_000.0),
        ] {
            let changes = Changes {
                size: Some(size),
                ..Changes::default()
            };
            let plan = plan(Preset::Homologation, &changes);
            assert!((plan.arrivals.peak() * 60.0 - 2.0 * rate).abs() < 1e-6);
            assert_eq!(plan.arrivals.span(), s(600));
            assert_eq!(
                (plan.choice.payers.clone(), plan.choice.receivers.clone()),
                (0..2, 0..2)
            );
        }
    }

    #[test]
    fn what_is_said_wins_and_what_cannot_be_is_refused() {
        let changes = Changes {
            banks: Some(5),
            payers: Some(2),
            receivers: Some(3),
            rate: Some(100.0),
            peak: Some(300.0),
            span: Some(s(10)),
            ..Changes::default()
        };
        let plan = plan(Preset::Pair, &changes);
        assert_eq!(
            (plan.choice.payers.clone(), plan.choice.receivers.clone()),
            (0..2, 2..5)
        );
        assert_eq!(plan.arrivals_text(), "100 to 300/s for 10 s, constant");
        assert_eq!(plan.warm_up, s(2));
        let refused =
            |preset, changes: Changes| Plan::new(preset, &changes).expect_err("refused").to_string();
        let with = Changes::default;
        assert!(
            refused(
                Preset::Pair,
                Changes {
                    banks: Some(1),
                    ..with()
                }
            )
            .contains("--banks")
        );
        assert!(
            refused(
                Preset::Fleet,
                Changes {
                    payers: Some(21),
                    ..with()
                }
            )
            .contains("--payers")
        );
        assert!(
            refused(
                Preset::Pair,
                Changes {
                    rate: Some(0.0),
                    ..with()
                }
            )
            .contains("--rate")
        );
        assert!(
            refused(
                Preset::Idle,
                Changes {
                    per_message: Some(2),
                    ..with()
                }
            )
            .contains("--per-message")
        );
        let both = Changes {
            sign: Some(Sign::Ahead),
            lookups: Some(Lookups::Each),
            ..with()
        };
        assert!(refused(Preset::Pair, both).contains("--sign ahead"));
        let trace = Changes {
            trace: Some(Arrivals::Trace(vec![0])),
            rate: Some(1.0),
            ..with()
        };
        assert!(refused(Preset::Pair, trace).contains("trace"));
        assert!(
            refused(
                Preset::Pair,
                Changes {
                    warm_up: Some(s(120)),
                    ..with()
                }
            )
            .contains("--warm-up")
        );
    }

    #[test]
    fn the_busiest_bank_is_known_before_the_run() {
        // One payer has it all; its receiver's answers cost a fifth.
        assert!((plan(Preset::Pair, &Changes::default()).tokens_per_second() - 5_000.0).abs() < 1e-6);
        let even = Changes {
            skew: Some(0.0),
            rate: Some(2_000.0),
            ..Changes::default()
        };
        let tokens = plan(Preset::Fleet, &even).tokens_per_second();
        assert!((tokens - 120.0).abs() < 1e-6, "{tokens}");
        assert!(plan(Preset::Fleet, &Changes::default()).tokens_per_second() > 2.0 * tokens);
    }
}
