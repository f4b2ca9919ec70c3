//! Amounts.

use std::fmt;

/// Amount of BRL in centavos. Integers only; overflow is an answer, never a wrap.
///
/// Rule: XSD `ActiveCurrencyAndAmount`: at most 18 digits, at most 2 of them a fraction, not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Money(u64);

/// Why characters are not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMoney {
    /// Something else than digits with at most one dot.
    #[error("an amount is digits with at most one dot, like 10.50")]
    Shape,
    /// More than two digits after the dot.
    #[error("an amount has at most two digits after the dot")]
    FractionDigits,
    /// More than eighteen digits.
    #[error("an amount has at most 18 digits")]
    TotalDigits,
}

impl Money {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// From centavos.
    #[must_use]
    pub const fn from_centavos(centavos: u64) -> Self {
        Self(centavos)
    }

    /// In centavos.
    #[must_use]
    pub const fn centavos(self) -> u64 {
        self.0
    }

    /// In centavos, as Postgres stores it. 18 digits always fit; a sum that does not is a broken book.
    #[must_use]
    pub fn to_i64(self) -> i64 {
        i64::try_from(self.0).expect("all money there is fits 63 bits of centavos")
    }

    /// Reads `10`, `10.5` or `10.50`. Leading zeros are accepted, as `xs:decimal` does.
    ///
    /// # Errors
    /// [`InvalidMoney`] by shape, fraction or length.
    pub fn parse(wire: &[u8]) -> Result<Self, InvalidMoney> {
        let dot = wire.iter().position(|b| *b == b'.');
        let (whole, fraction) = match dot {
            Some(dot) => (&wire[..dot], &wire[dot + 1..]),
            None => (wire, &wire[wire.len()..]),
        };
        let digits = whole.iter().chain(fraction);
        if wire.len() == usize::from(dot.is_some()) || digits.clone().any(|b| !b.is_ascii_digit()) {
            return Err(InvalidMoney::Shape);
        }
        let significant = fraction.len() - fraction.iter().rev().take_while(|b| **b == b'0').count();
        if significant > 2 {
            return Err(InvalidMoney::FractionDigits);
        }
        let whole = &whole[whole.iter().take_while(|b| **b == b'0').count()..];
        if whole.len() + significant > 18 {
            return Err(InvalidMoney::TotalDigits);
        }
        let digit = |b: &u8| u64::from(b - b'0');
        let reais = whole
            .iter()
            .try_fold(0_u64, |n, b| n.checked_mul(10)?.checked_add(digit(b)));
        let cents = digit(fraction.first().unwrap_or(&b'0')) * 10 + digit(fraction.get(1).unwrap_or(&b'0'));
        reais
            .and_then(|n| n.checked_mul(100)?.checked_add(cents))
            .filter(|n| *n <= i64::MAX as u64)
            .map(Self)
            .ok_or(InvalidMoney::TotalDigits)
    }

    /// `self + other`, or nothing on overflow.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0
            .checked_add(other.0)
            .filter(|n| *n <= i64::MAX as u64)
            .map(Self)
    }

    /// `self - other`, or nothing when `other` is more.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Whether this is no money.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Money {
    /// With dot and two digits, as every message carries it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:02}", self.0 / 100, self.0 % 100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly() {
        for (wire, centavos) in [
            ("1", 100),
            ("1.5", 150),
            ("0001.50", 150),
            (".05", 5),
            ("1.", 100),
            ("2.500", 250),
        ] {
            assert_eq!(Money::parse(wire.as_bytes()), Ok(Money(centavos)), "{wire}");
        }
    }

    #[test]
    fn amounts_that_are_none_say_why() {
        use InvalidMoney::{FractionDigits, Shape, TotalDigits};
        for (wire, why) in [
            ("", Shape),
            (".", Shape),
            ("-1", Shape),
            ("1,50", Shape),
            ("1e3", Shape),
            ("1.2.3", Shape),
            ("1.005", FractionDigits),
            ("1234567890123456789", TotalDigits),
            ("12345678901234567.89", TotalDigits),
        ] {
            assert_eq!(Money::parse(wire.as_bytes()), Err(why), "{wire}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(centavos in 0_u64..=999_999_999_999_999_999) {
            let money = Money(centavos);
            proptest::prop_assert_eq!(Money::parse(money.to_string().as_bytes()), Ok(money));
        }
    }
}
