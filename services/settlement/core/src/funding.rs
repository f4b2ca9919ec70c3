//! Money into and out of a Conta PI, by order of an operator. The SPI's book moves it; what is ordered, by whom, and
//! what became of it is kept here.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use pix_domain::{Ispb, Text};

use crate::registry::Registry;

/// Who orders it, and why: what the operator wrote.
pub type Note = Text<200>;

/// Names an order: a UUID that whoever orders draws, so that it can be asked for again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId([u8; 16]);

/// Not a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order is named by a UUID, like a946d533-7f22-42a5-9a9b-e87cd55c0f4d")]
pub struct InvalidOrderId;

impl OrderId {
    /// Reads the 36 characters, hexadecimal digits in either case.
    ///
    /// # Errors
    /// [`InvalidOrderId`].
    pub fn parse(text: &str) -> Result<Self, InvalidOrderId> {
        let groups: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        let digits = groups.concat();
        if lengths != [8, 4, 4, 4, 12] || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidOrderId);
        }
        let raw = u128::from_str_radix(&digits, 16).map_err(|_| InvalidOrderId)?;
        Ok(Self(raw.to_be_bytes()))
    }

    /// From 16 octets.
    #[must_use]
    pub fn from_bytes(raw: [u8; 16]) -> Self {
        Self(raw)
    }

    /// The 16 octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The order of a participant's opening balance. It follows from the ISPB alone (UUID version 8, RFC 9562): a Conta
    /// PI is opened once in its life, also when a registry that was lost begins anew beside a book that was not.
    #[must_use]
    pub fn opening(participant: Ispb) -> Self {
        let hash = digest(&SHA256, format!("pix/opening/{participant}").as_bytes());
        let mut raw: [u8; 16] = hash.as_ref()[..16].try_into().expect("SHA-256 has 32 octets");
        raw[6] = raw[6] & 0x0f | 0x80;
        raw[8] = raw[8] & 0x3f | 0x80;
        Self(raw)
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, octet) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{octet:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Centavos into a Conta PI, or out of it when below zero; never none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(i64);

/// Not such an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount is one centavo or more, into or out of a Conta PI, and at most 18 digits")]
pub struct InvalidAmount;

/// 18 digits, as every amount of the SPI.
const AMOUNT_MAX: i64 = 999_999_999_999_999_999;

impl Amount {
    /// Takes this many centavos.
    ///
    /// # Errors
    /// [`InvalidAmount`] for none and for more than 18 digits.
    pub fn from_centavos(centavos: i64) -> Result<Self, InvalidAmount> {
        let is_sound = centavos != 0 && (-AMOUNT_MAX..=AMOUNT_MAX).contains(&centavos);
        is_sound.then_some(Self(centavos)).ok_or(InvalidAmount)
    }

    /// In centavos.
    #[must_use]
    pub fn centavos(self) -> i64 {
        self.0
    }
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Names it.
    pub id: OrderId,
    /// Whose Conta PI.
    pub ispb: Ispb,
    /// How much.
    pub amount: Amount,
    /// Who orders it, and why.
    pub note: Note,
    /// Whether it is what a Conta PI starts with.
    pub is_opening: bool,
}

/// Why an order is not even recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody has this ISPB.
    #[error("there is no participant {0}")]
    Unknown(Ispb),
    /// It has no Conta PI.
    #[error("{ispb} is an indirect participant and has no Conta PI; its settler is {settler}")]
    Indirect {
        /// Who.
        ispb: Ispb,
        /// Its settler.
        settler: Ispb,
    },
    /// The id names another order.
    #[error("order {0} is there already, and differs; a new order has a new id")]
    IdUsed(OrderId),
}

/// Whether an order may be recorded; `Ok(false)` when it is recorded already. A suspended participant's money may be
/// moved: it has to be given back some day.
///
/// # Errors
/// The first [`Refusal`] that applies.
pub fn judge(order: &Order, recorded: Option<&Order>, registry: &Registry) -> Result<bool, Refusal> {
    if let Some(recorded) = recorded {
        return match recorded == order {
            true => Ok(false),
            false => Err(Refusal::IdUsed(order.id)),
        };
    }
    let holder = registry.get(order.ispb).ok_or(Refusal::Unknown(order.ispb))?;
    match holder.is_direct() {
        true => Ok(true),
        false => Err(Refusal::Indirect {
            ispb: order.ispb,
            settler: holder.settler,
        }),
    }
}

/// What became of an order. There is no third: until the book has told, it is only ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The book moved the money.
    Done {
        /// Number of the posting.
        sequence: i64,
        /// Batch that holds it.
        batch: i64,
        /// What the Conta PI had then.
        available: i64,
    },
    /// The book did not, and never will.
    Refused {
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
