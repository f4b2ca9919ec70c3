//! The life of a payment, seen from one bank.

use std::time::Duration;

use pix_domain::{
    AccountNumber, AccountType, Branch, EndToEndId, Ispb, Key, Money, StatusReason, TaxId, Text, Timestamp,
};

use crate::{AccountId, Advice};

/// One payment in one bank's book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Its name for life.
    pub end_to_end_id: EndToEndId,
    /// Amount.
    pub amount: Money,
    /// When the payer asked for it (`AccptncDtTm`).
    pub accepted_at: Timestamp,
    /// The other side.
    pub counterparty: Counterparty,
    /// This side's customer, when it is one of an indirect participant which this bank settles for.
    pub on_behalf_of: Option<Counterparty>,
    /// The receiver's key, when it was paid by one.
    pub key: Option<Key>,
    /// What the payer wrote.
    pub description: Option<Text<140>>,
    /// Which side this bank is on, and how far it got.
    pub course: Course,
}

/// A side of a payment that is no customer of this bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterparty {
    /// Its participant.
    pub ispb: Ispb,
    /// Its branch, where the account has one.
    pub branch: Option<Branch>,
    /// Its account.
    pub number: AccountNumber,
    /// Kind of its account.
    pub kind: AccountType,
    /// Its CPF or CNPJ; personal data.
    pub tax_id: TaxId,
    /// Its name, which only a payer has on the wire; personal data.
    pub name: Option<Text<140>>,
}

/// Who pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payer {
    /// A customer of this bank, by account.
    Customer(Branch, AccountNumber),
    /// A customer of an indirect participant which this bank settles for.
    Indirect(Counterparty),
}

/// Whom a customer wants to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Participant.
    pub ispb: Ispb,
    /// Branch, where the account has one.
    pub branch: Option<Branch>,
    /// Account.
    pub number: AccountNumber,
    /// Kind of account, as the payer believes.
    pub kind: AccountType,
    /// CPF or CNPJ of the holder, as the payer believes; personal data.
    pub tax_id: TaxId,
}

impl From<Destination> for Counterparty {
    fn from(to: Destination) -> Self {
        Self {
            ispb: to.ispb,
            branch: to.branch,
            number: to.number,
            kind: to.kind,
            tax_id: to.tax_id,
            name: None,
        }
    }
}

impl From<Counterparty> for Destination {
    fn from(other: Counterparty) -> Self {
        Self {
            ispb: other.ispb,
            branch: other.branch,
            number: other.number,
            kind: other.kind,
            tax_id: other.tax_id,
        }
    }
}

/// How the payer names the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payee {
    /// By account.
    Account(Destination),
    /// By key, whose account was looked up under the payment's own id.
    Key(Key),
}

/// How long a payer may think about what a look-up showed.
pub const LOOKUP_VALID: Duration = Duration::from_secs(15 * 60);

/// Whom a key stands for, as it was shown to a payer. Its id becomes the payment's: one look-up, one payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The id of the payment that it may lead to; the DICT was told it.
    pub end_to_end_id: EndToEndId,
    /// The account that wants to pay.
    pub account: AccountId,
    /// The key.
    pub key: Key,
    /// Whom it stands for.
    pub to: Counterparty,
    /// When it was looked up.
    pub at: Timestamp,
}

impl Lookup {
    /// Whether a payment may still follow from it.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now <= self.at.plus(LOOKUP_VALID)
    }
}

/// Which side this bank is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    /// A customer here pays someone at another bank.
    Outgoing {
        /// The payer.
        account: AccountId,
        /// How far it got.
        state: Outgoing,
    },
    /// Someone at another bank pays a customer here.
    Incoming {
        /// The receiver; none when the order named no account of this bank.
        account: Option<AccountId>,
        /// How far it got.
        state: Incoming,
    },
    /// Both are customers here: settled at once, the SPI never hears of it (it would say AG12).
    Book {
        /// The payer.
        from: AccountId,
        /// The receiver.
        to: AccountId,
        /// When.
        settled_at: Timestamp,
    },
}

/// An outgoing payment. Pending until the switch tells the end, however long that takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// The money is blocked; the order is on its way, or its fate unknown.
    Pending,
    /// ACSC: the money left.
    Settled {
        /// When this bank learned it.
        at: Timestamp,
    },
    /// The money is available again.
    Refused {
        /// When this bank learned it.
        at: Timestamp,
        /// Why.
        refusal: Refusal,
    },
}

/// An incoming payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// This bank said ACSP and noted the money provisionally.
    Answered,
    /// ACCC: the money is the customer's.
    Settled {
        /// When this bank learned it.
        at: Timestamp,
    },
    /// This bank said RJCT, or the switch did (AB03): nothing is credited.
    Refused {
        /// When.
        at: Timestamp,
        /// Why.
        refusal: Refusal,
        /// Whether this bank itself refused; then it repeats that answer when asked again.
        by_us: bool,
    },
}

/// Why a payment did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// pacs.002 RJCT with this code.
    Status(StatusReason),
    /// admi.002: the switch could not process the whole message.
    Message,
    /// The message was refused at the door (HTTP 4xx) and certainly not stored.
    Door {
        /// HTTP status.
        status: u16,
    },
}

impl Refusal {
    /// The code people and programs read: `AC03`, `ADMI002`, `HTTP403`.
    #[must_use]
    pub fn code(&self) -> String {
        match self {
            Self::Status(reason) => reason.as_str().to_owned(),
            Self::Message => "ADMI002".to_owned(),
            Self::Door { status } => format!("HTTP{status}"),
        }
    }

    /// Reads what [`Self::code`] gave.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        if code == "ADMI002" {
            return Some(Self::Message);
        }
        match code.strip_prefix("HTTP") {
            Some(status) => status.parse().ok().map(|status| Self::Door { status }),
            None => StatusReason::parse(code.as_bytes()).ok().map(Self::Status),
        }
    }

    /// The code, or the way it came, for metrics and traces.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Status(reason) => reason.as_str(),
            Self::Message => "admi.002",
            Self::Door { .. } => "door",
        }
    }

    /// What it means, in English.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        match self {
            Self::Status(reason) => reason.meaning(),
            Self::Message => "the switch could not process the message",
            Self::Door { .. } => "the switch did not take the message",
        }
    }

    /// What it means, in Portuguese.
    #[must_use]
    pub fn meaning_in_portuguese(&self) -> &'static str {
        match self {
            Self::Status(reason) => crate::meaning_in_portuguese(*reason),
            Self::Message => "o SPI não conseguiu processar a mensagem",
            Self::Door { .. } => "o SPI não recebeu a mensagem",
        }
    }

    /// What the payer can do about it.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            Self::Status(reason) => Advice::on(*reason),
            Self::Message | Self::Door { .. } => Advice::AskBank,
        }
    }
}

/// What this bank says to an incoming order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// ACSP.
    Accept,
    /// RJCT.
    Reject(StatusReason),
}

/// A moment in a payment's life, for the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Outgoing: the key was looked up and its owner shown.
    LookedUp,
    /// Outgoing: the customer's order was taken.
    Accepted,
    /// Outgoing: the money was set aside.
    Blocked,
    /// Outgoing: the switch took the message (201).
    Sent,
    /// Incoming: the order arrived.
    Received,
    /// Incoming: the answer was committed; sending follows.
    Answered,
    /// Outgoing: final.
    Settled,
    /// Incoming: final.
    Credited,
    /// Either: nothing was paid.
    Refused,
    /// The switch said something that cannot be, after the end.
    Contradicted,
}

impl Stage {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LookedUp => "looked_up",
            Self::Accepted => "accepted",
            Self::Blocked => "blocked",
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Answered => "answered",
            Self::Settled => "settled",
            Self::Credited => "credited",
            Self::Refused => "refused",
            Self::Contradicted => "contradicted",
        }
    }
}

impl Payment {
    /// `outgoing`, `incoming`, or `book` when both are customers here.
    #[must_use]
    pub fn direction(&self) -> &'static str {
        match &self.course {
            Course::Outgoing { .. } => "outgoing",
            Course::Incoming { .. } => "incoming",
            Course::Book { .. } => "book",
        }
    }

    /// `pending`, `settled` or `refused`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match &self.course {
            Course::Outgoing {
                state: Outgoing::Pending,
                ..
            }
            | Course::Incoming {
                state: Incoming::Answered,
                ..
            } => "pending",
            Course::Outgoing {
                state: Outgoing::Settled { .. },
                ..
            }
            | Course::Incoming {
                state: Incoming::Settled { .. },
                ..
            }
            | Course::Book { .. } => "settled",
            Course::Outgoing {
                state: Outgoing::Refused { .. },
                ..
            }
            | Course::Incoming {
                state: Incoming::Refused { .. },
                ..
            } => "refused",
        }
    }

    /// Why nothing was paid, once that is so.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.course {
            Course::Outgoing {
                state: Outgoing::Refused { refusal, .. },
                ..
            }
            | Course::Incoming {
                state: Incoming::Refused { refusal, .. },
                ..
            } => Some(refusal),
            Course::Outgoing { .. } | Course::Incoming { .. } | Course::Book { .. } => None,
        }
    }

    /// When it ended, once it has.
    #[must_use]
    pub fn ended_at(&self) -> Option<Timestamp> {
        match &self.course {
            Course::Outgoing {
                state: Outgoing::Settled { at } | Outgoing::Refused { at, .. },
                ..
            }
            | Course::Incoming {
                state: Incoming::Settled { at } | Incoming::Refused { at, .. },
                ..
            }
            | Course::Book { settled_at: at, .. } => Some(*at),
            Course::Outgoing {
                state: Outgoing::Pending,
                ..
            }
            | Course::Incoming {
                state: Incoming::Answered,
                ..
            } => None,
        }
    }
}
