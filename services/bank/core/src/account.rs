//! Accounts of customers and the pockets money lives in.

use pix_domain::{AccountNumber, AccountType, Branch, Ispb, Money, TaxId, Text};

/// Row of an account in its bank's own book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub i64);

/// What may happen to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccountState {
    /// Pays and receives.
    Open,
    /// Neither pays nor receives until it is opened again.
    Blocked,
    /// Ended.
    Closed,
}

/// Not a state of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state of an account is open, blocked or closed")]
pub struct InvalidAccountState;

impl AccountState {
    /// Reads `open`, `blocked` or `closed`.
    ///
    /// # Errors
    /// [`InvalidAccountState`].
    pub fn parse(text: &str) -> Result<Self, InvalidAccountState> {
        match text {
            "open" => Ok(Self::Open),
            "blocked" => Ok(Self::Blocked),
            "closed" => Ok(Self::Closed),
            _ => Err(InvalidAccountState),
        }
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Blocked => "blocked",
            Self::Closed => "closed",
        }
    }
}

/// One customer's account, or that of an indirect participant which this bank settles for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its row.
    pub id: AccountId,
    /// The indirect participant whose account with this bank it is. What its own customers have is in its own books:
    /// here, all of them pay from this account and are paid into it.
    pub indirect: Option<Ispb>,
    /// Agência.
    pub branch: Branch,
    /// Number with check digit.
    pub number: AccountNumber,
    /// Kind.
    pub kind: AccountType,
    /// Name of the holder; personal data.
    pub holder: Text<140>,
    /// CPF or CNPJ of the holder; personal data.
    pub tax_id: TaxId,
    /// Whether it pays and receives.
    pub state: AccountState,
    /// What it holds.
    pub balances: Balances,
}

/// What an account holds, in three pockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balances {
    /// The customer may spend it.
    pub available: Money,
    /// Promised to payments whose end is not known yet.
    pub blocked: Money,
    /// Promised to the customer by payments whose end is not known yet.
    pub provisional: Money,
}

impl Balances {
    /// Available plus blocked: what the customer owns until a payment ends.
    #[must_use]
    pub fn owned(self) -> Option<Money> {
        self.available.checked_add(self.blocked)
    }

    /// Whether `amount` more still fits, so that no later move between pockets can overflow.
    #[must_use]
    pub fn has_room_for(self, amount: Money) -> bool {
        let total = self.owned().and_then(|owned| owned.checked_add(self.provisional));
        total.and_then(|total| total.checked_add(amount)).is_some()
    }
}

/// Where money lies. The pockets of customers never go below zero; the bank's own may, since they
/// mirror what others hold for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pocket {
    /// A customer may spend it.
    Available(AccountId),
    /// Held for outgoing payments.
    Blocked(AccountId),
    /// Noted for incoming payments that the switch has not settled yet.
    Provisional(AccountId),
    /// What final payments moved through the bank's Conta PI: minus what left, plus what arrived.
    Settlement,
    /// The other side of provisional credits: minus what the bank has noted without having it yet.
    InTransit,
    /// The other side of opening balances.
    Opening,
}

/// Money moves from one pocket to another: zero-sum by shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Where it leaves.
    pub from: Pocket,
    /// Where it arrives.
    pub to: Pocket,
    /// How much.
    pub amount: Money,
}
