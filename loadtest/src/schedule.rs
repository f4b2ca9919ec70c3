//! Who pays whom, when, how much: the whole run before it begins. Pure.

use crate::arrivals::Arrivals;
use crate::chance::{self, Chance};
use crate::number::{float, whole, wide};

/// The choices that a schedule is made from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    /// Banks from zero that pay.
    pub(crate) payers: std::ops::Range<u16>,
    /// Banks that are paid.
    pub(crate) receivers: std::ops::Range<u16>,
    /// Zero: all alike. One: the k-th has a k-th of the first's payments (Zipf).
    pub(crate) skew: f64,
    /// Payments in a message, 1 to 10.
    pub(crate) per_message: u8,
    /// Of the messages, those that are sent twice.
    pub(crate) duplicates: f64,
    pub(crate) seed: u64,
}

/// One message of a payer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// Microseconds from the start.
    pub(crate) at: u64,
    pub(crate) payer: u16,
    pub(crate) receiver: u16,
    /// Number of its first payment.
    pub(crate) first: u32,
    /// Payments in it.
    pub(crate) count: u8,
    /// Sent again, with the same bytes, once it was taken.
    pub(crate) twice: bool,
}

impl Order {
    /// Numbers of its payments.
    pub(crate) fn payments(&self) -> std::ops::Range<u32> {
        self.first..self.first + u32::from(self.count)
    }
}

/// Of one at a time: no more than so many a second fit into the span.
const ONE_AT_A_TIME_PER_SECOND_MAX: f64 = 500.0;

/// Chance of different things with one seed.
const OF_DUPLICATES: u64 = 0x64;
const OF_AMOUNTS: u64 = 0x61;
const OF_REFUSALS: u64 = 0x72;

/// Every message of a run, in order of time.
pub(crate) fn orders(arrivals: &Arrivals, choice: &Choice) -> anyhow::Result<Vec<Order>> {
    let size = choice.per_message;
    let instants = match arrivals {
        // They start when they can; the numbers are room for them.
        Arrivals::OneAtATime { span } => {
            vec![0; usize::try_from(whole(span.as_secs_f64() * ONE_AT_A_TIME_PER_SECOND_MAX))?]
        }
        Arrivals::Shaped { .. } | Arrivals::Trace(_) => arrivals.instants(u64::from(size), choice.seed),
    };
    let payments = wide(instants.len()) * u64::from(size);
    anyhow::ensure!(
        u32::try_from(payments).is_ok_and(|payments| payments < u32::MAX - u32::from(size)),
        "{payments} payments are too many for one run: shorten it, or lower the rate"
    );
    let payers = Wheel::new(&choice.payers, choice.skew);
    let receivers = Wheel::new(&choice.receivers, choice.skew);
    anyhow::ensure!(
        receivers.banks.len() > 1 || !payers.banks.contains(&choice.receivers.start),
        "the only receiver would pay itself, which never reaches the SPI: give more receivers"
    );
    let mut chance = Chance::seeded(chance::of(choice.seed, 1));
    let order = |(number, at): (u32, u64)| {
        let payer = payers.turn(chance.unit());
        let mut receiver = receivers.turn(chance.unit());
        // Ends: there is another one, and every bank has its part.
        while receiver == payer {
            receiver = receivers.turn(chance.unit());
        }
        Order {
            at,
            payer,
            receiver,
            first: number * u32::from(size),
            count: size,
            twice: chance::happens(choice.seed ^ OF_DUPLICATES, u64::from(number), choice.duplicates),
        }
    };
    Ok((0..).zip(instants).map(order).collect())
}

/// What payment `number` pays, in centavos: never the same for long, so that a wrong booking shows in the sums.
pub(crate) fn amount(seed: u64, number: u32) -> u64 {
    1 + chance::of(seed ^ OF_AMOUNTS, u64::from(number)) % 100
}

/// Whether its receiver refuses payment `number`, also when it is delivered again.
pub(crate) fn is_refused(seed: u64, number: u32, share: f64) -> bool {
    chance::happens(seed ^ OF_REFUSALS, u64::from(number), share)
}

/// Banks by weight.
struct Wheel {
    banks: Vec<u16>,
    /// Up to where each one's part goes; the last is one.
    until: Vec<f64>,
}

impl Wheel {
    fn new(banks: &std::ops::Range<u16>, skew: f64) -> Self {
        let weight = |rank: u64| float(rank).powf(-skew);
        let weights: Vec<f64> = (1..=wide(banks.len())).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let until = weights.iter().scan(0.0, |before, weight| {
            *before += weight / sum;
            Some(*before)
        });
        Self {
            until: until.collect(),
            banks: banks.clone().collect(),
        }
    }

    fn turn(&self, unit: f64) -> u16 {
        let at = self.until.partition_point(|until| *until <= unit);
        self.banks[at.min(self.banks.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::arrivals::{Spacing, constant};

    fn choice() -> Choice {
        Choice {
            payers: 0..20,
            receivers: 0..20,
            skew: 0.0,
            per_message: 10,
            duplicates: 0.0,
            seed: 7,
        }
    }

    fn thousand(choice: &Choice) -> Vec<Order> {
        let arrivals = Arrivals::Shaped {
            stretches: constant(1_000.0 * f64::from(choice.per_message), Duration::from_secs(1)),
            spacing: Spacing::Even,
        };
        orders(&arrivals, choice).unwrap()
    }

    #[test]
    fn everybody_pays_everybody_else_and_numbers_have_no_gap() {
        let all = thousand(&choice());
        assert_eq!(all.len(), 1_000);
        for (order, next) in all.iter().zip(&all[1..]) {
            assert_eq!(order.payments().end, next.first);
            assert_ne!(order.payer, order.receiver);
        }
        for bank in 0..20 {
            let paid = all.iter().filter(|order| order.payer == bank).count();
            assert!((20..=85).contains(&paid), "{bank} pays {paid} times");
        }
        assert_eq!(all, thousand(&choice()));
    }

    #[test]
    fn a_skew_makes_the_first_the_biggest() {
        let skewed = thousand(&Choice {
            skew: 1.0,
            ..choice()
        });
        let paid = |bank| skewed.iter().filter(|order| order.payer == bank).count();
        assert!(
            paid(0) > 200 && paid(0) > 4 * paid(10),
            "{} {}",
            paid(0),
            paid(10)
        );
    }

    #[test]
    fn a_pair_pays_one_way() {
        let pair = Choice {
            payers: 0..1,
            receivers: 1..2,
            per_message: 1,
            ..choice()
        };
        assert!(
            thousand(&pair)
                .iter()
                .all(|order| (order.payer, order.receiver) == (0, 1))
        );
        let itself = Choice {
            receivers: 0..1,
            ..pair
        };
        let arrivals = Arrivals::Trace(vec![0]);
        assert!(orders(&arrivals, &itself).is_err());
        let sometimes = Choice {
            payers: 0..2,
            ..itself
        };
        let long = Arrivals::Trace((0..100).collect());
        assert!(orders(&long, &sometimes).is_err());
    }

    #[test]
    fn duplicates_and_refusals_come_as_often_as_asked() {
        let all = thousand(&Choice {
            duplicates: 0.1,
            ..choice()
        });
        let twice = all.iter().filter(|order| order.twice).count();
        assert!((70..130).contains(&twice), "{twice}");
        let refused = (0..10_000).filter(|number| is_refused(7, *number, 0.02)).count();
        assert!((150..250).contains(&refused), "{refused}");
        assert!((0..1_000).all(|number| (1..=100).contains(&amount(7, number))));
        assert_ne!(amount(7, 1), amount(7, 2));
    }

    #[test]
    fn one_at_a_time_has_room() {
        let span = Duration::from_secs(2);
        let all = orders(&Arrivals::OneAtATime { span }, &choice()).unwrap();
        assert_eq!(all.len(), 1_000);
    }
}
