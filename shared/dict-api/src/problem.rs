//! What the DICT says when it does not do what it was asked (RFC 7807, as XML).

use std::fmt;

use crate::CorrelationId;

/// Where the types of problems live.
pub(crate) const TYPE_BASE: &str = "https://dict.pi.rsfn.net.br/api/v2/error/";

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $title:literal),+ $(,)?) => {
        /// Type of a problem (DICT API, Tratamento de erros).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemKind { $($(#[$doc])* $name),+ }

        impl ProblemKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The last segment of its `type`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// Reads what [`Self::as_str`] gives.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name { $(stringify!($name) => Some(Self::$name),)+ _ => None }
            }

            /// Its usual HTTP status.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status),+ }
            }

            /// Its title.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title),+ }
            }
        }
    };
}

kinds! {
    /// The request has not the form of the API.
    BadRequest = 400, "Bad Request",
    /// The participant is known and may not do this.
    Forbidden = 403, "Forbidden",
    /// There is no such thing.
    NotFound = 404, "Not found",
    /// There is no longer such a thing.
    Gone = 410, "Gone",
    /// A bucket is empty.
    RateLimited = 429, "Rate limited",
    /// The DICT's own fault.
    InternalServerError = 500, "Internal Server Error",
    /// Not now.
    ServiceUnavailable = 503, "Service Unavailable",
    /// The signature of the request is missing, not of the profile, or not true.
    RequestSignatureInvalid = 400, "Request signature is invalid",
    /// The RequestId came before with other parameters.
    RequestIdAlreadyUsed = 400, "RequestId was already used",
    /// The operation has no such reason.
    InvalidReason = 400, "Reason is invalid",
    /// The participant cannot take part in the operation.
    ParticipantInvalid = 400, "Participant is invalid",
    /// The CPF or CNPJ is blocked by court order.
    TaxIdNumberBlocked = 400, "TaxIdNumber is blocked",
    /// Fields of the entry are invalid; violations say which.
    EntryInvalid = 400, "Entry is invalid",
    /// The account holds as many keys as it may.
    EntryLimitExceeded = 400, "Entry limit exceeded",
    /// Same key, same participant, same owner.
    EntryAlreadyExists = 400, "Entry already exists",
    /// Payer and receiver are customers of the same participant.
    EntryCannotBeQueriedForBookTransfer = 400, "Entry cannot be queried for book transfer",
    /// Somebody else owns the key: an ownership claim is the way.
    EntryKeyOwnedByDifferentPerson = 400, "Entry key is owned by a different person",
    /// Same owner, other participant: a portability claim is the way.
    EntryKeyInCustodyOfDifferentParticipant = 400, "Entry key is in custody of a different participant",
    /// A claim is open for the key.
    EntryLockedByClaim = 400, "Entry is locked by a claim",
    /// A CPF or CNPJ key that is not the owner's own.
    EntryTaxIdNumberByDifferentOwner = 400, "Entry key is the TaxIdNumber of a different owner",
    /// The entry is blocked by court order.
    EntryBlocked = 400, "Entry is blocked",
    /// The entry is blocked for suspicion of fraud.
    EntryWithFraudRelatedRestriction = 400, "Entry has a fraud related restriction",
}

impl ProblemKind {
    /// What a kind that we do not know (they may be added, DICT API, Evolução) amounts to, by its status.
    #[must_use]
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            403 => Self::Forbidden,
            404 => Self::NotFound,
            410 => Self::Gone,
            429 => Self::RateLimited,
            503 => Self::ServiceUnavailable,
            500.. => Self::InternalServerError,
            _ => Self::BadRequest,
        }
    }
}

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its type.
    pub kind: ProblemKind,
    /// A few words that go with the type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A sentence about this occurrence. Never personal data.
    pub detail: String,
    /// Names it to the support.
    pub correlation_id: Option<CorrelationId>,
    /// What is wrong with which field.
    pub violations: Vec<Violation>,
}

impl Problem {
    /// A problem with its kind's title and status.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            correlation_id: None,
            violations: Vec::new(),
        }
    }
}

/// One thing wrong with one field.
#[derive(Clone, PartialEq, Eq)]
pub struct Violation {
    /// What is wrong.
    pub reason: String,
    /// What was there, for the sender's eyes only.
    pub value: Option<String>,
    /// Where, like `entry.account.branch`.
    pub property: Option<String>,
}

impl fmt::Debug for Violation {
    /// Without the value, which may be anybody's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Violation({:?}, {:?})", self.property, self.reason)
    }
}
