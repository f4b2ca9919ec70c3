//! What refuses a request, as the DICT's document names it. Each refusal of the core finds its type here, in a
//! `match` that a new one does not get past.

use dict_core::buckets::Policy;
use dict_core::entry::{BookTransfer, CreateRefusal, DeleteRefusal, UpdateRefusal};
use http::StatusCode;
use pix_dict_api::{Problem, ProblemKind, Violation};

use crate::adapters::pg::StoreError;
use crate::buckets::Exhausted;
use crate::directory::Failure;
use crate::registry::NotFor;

/// Seconds after which a participant tries again.
const RETRY_AFTER_SECONDS: u64 = 1;

/// A request that is refused, and what its answer says beside the problem.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) kind: ProblemKind,
    pub(super) status: StatusCode,
    pub(crate) detail: String,
    pub(crate) violations: Vec<Violation>,
    pub(super) retry_after_s: Option<u64>,
    pub(super) allow: Option<&'static str>,
}

impl Refusal {
    /// A refusal with the status that the document gives its type.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(kind.status()).expect("the document's statuses are statuses");
        Self {
            kind,
            status,
            detail: detail.into(),
            violations: Vec::new(),
            retry_after_s: None,
            allow: None,
        }
    }

    /// `BadRequest`, under another status of HTTP: the document has no type for those.
    pub(super) fn transport(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            ..Self::new(ProblemKind::BadRequest, detail)
        }
    }

    /// `BadRequest` that names a header.
    pub(super) fn header(name: &str, value: Option<&str>, reason: &str) -> Self {
        let detail = match value {
            Some(_) => format!("the header {name} is not valid"),
            None => format!("the header {name} is required"),
        };
        Self {
            violations: vec![Violation {
                reason: reason.to_owned(),
                value: value.map(str::to_owned),
                property: Some(name.to_owned()),
            }],
            ..Self::new(ProblemKind::BadRequest, detail)
        }
    }

    /// `EntryInvalid`, with every field that is wrong.
    pub(crate) fn invalid(violations: Vec<Violation>) -> Self {
        Self {
            violations,
            ..Self::new(ProblemKind::EntryInvalid, "Entry has invalid fields")
        }
    }

    /// `ServiceUnavailable` before anything was done.
    pub(super) fn busy(detail: &str) -> Self {
        Self {
            retry_after_s: Some(RETRY_AFTER_SECONDS),
            ..Self::new(ProblemKind::ServiceUnavailable, detail)
        }
    }

    /// `NotFound` of an entry, in the document's words.
    pub(crate) fn no_entry() -> Self {
        Self::new(
            ProblemKind::NotFound,
            "Entry associated with given key does not exist",
        )
    }

    /// `InternalServerError` after a panic.
    pub(crate) fn broken() -> Self {
        Self::new(
            ProblemKind::InternalServerError,
            "the request met a fault of the DICT; it may have been carried out",
        )
    }

    /// The problem document of it.
    pub(super) fn problem(&self, correlation_id: pix_dict_api::CorrelationId) -> Problem {
        Problem {
            kind: self.kind,
            title: self.kind.title().to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            correlation_id: Some(correlation_id),
            violations: self.violations.clone(),
        }
    }
}

impl From<Exhausted> for Refusal {
    fn from(exhausted: Exhausted) -> Self {
        let detail = format!("the bucket of {} is empty", exhausted.policy.as_str());
        Self {
            retry_after_s: Some(exhausted.retry_after_s),
            ..Self::new(ProblemKind::RateLimited, detail)
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        metrics::counter!("dict_store_failures_total").increment(1);
        match error {
            StoreError::Away(_) | StoreError::Contended | StoreError::Late => {
                tracing::warn!(%error, "a request could not be carried out");
                Self::busy("nothing was done; send the request again")
            }
            StoreError::Unknown(_) => {
                tracing::warn!(%error, "a request may have been carried out");
                Self::new(
                    ProblemKind::InternalServerError,
                    "the request may have been carried out; send it again, with the same RequestId where it has one",
                )
            }
            StoreError::Corrupt { .. } => {
                tracing::error!(%error, "the directory holds what it should not");
                Self::new(ProblemKind::InternalServerError, "the directory is at fault")
            }
        }
    }
}

impl<R: Into<Self>> From<Failure<R>> for Refusal {
    fn from(failure: Failure<R>) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::Store(error) => error.into(),
        }
    }
}

impl From<NotFor> for Refusal {
    fn from(not_for: NotFor) -> Self {
        match not_for {
            NotFor::Invalid => Self::new(
                ProblemKind::ParticipantInvalid,
                "the participant is unknown or not active",
            ),
            NotFor::Foreign => Self::new(
                ProblemKind::Forbidden,
                "the participant is neither that of the channel certificate nor settled by it",
            ),
        }
    }
}

impl From<CreateRefusal> for Refusal {
    fn from(refusal: CreateRefusal) -> Self {
        let kind = match refusal {
            CreateRefusal::RequestIdAlreadyUsed => ProblemKind::RequestIdAlreadyUsed,
            CreateRefusal::KeyOwnerDiffers => ProblemKind::EntryTaxIdNumberByDifferentOwner,
            CreateRefusal::AlreadyExists => ProblemKind::EntryAlreadyExists,
            CreateRefusal::OwnedByDifferentPerson => ProblemKind::EntryKeyOwnedByDifferentPerson,
            CreateRefusal::InCustodyOfDifferentParticipant => {
                ProblemKind::EntryKeyInCustodyOfDifferentParticipant
            }
            CreateRefusal::LimitExceeded { .. } => ProblemKind::EntryLimitExceeded,
        };
        Self::new(kind, refusal.to_string())
    }
}

impl From<UpdateRefusal> for Refusal {
    fn from(refusal: UpdateRefusal) -> Self {
        let kind = match refusal {
            UpdateRefusal::NotFound => return Self::no_entry(),
            UpdateRefusal::InvalidReason => ProblemKind::InvalidReason,
            UpdateRefusal::Forbidden | UpdateRefusal::ParticipantDiffers => ProblemKind::Forbidden,
            UpdateRefusal::OwnerDiffers => ProblemKind::EntryTaxIdNumberByDifferentOwner,
            UpdateRefusal::LimitExceeded { .. } => ProblemKind::EntryLimitExceeded,
        };
        Self::new(kind, refusal.to_string())
    }
}

impl From<DeleteRefusal> for Refusal {
    fn from(refusal: DeleteRefusal) -> Self {
        let kind = match refusal {
            DeleteRefusal::NotFound => return Self::no_entry(),
            DeleteRefusal::Forbidden => ProblemKind::Forbidden,
            DeleteRefusal::LockedByClaim => ProblemKind::EntryLockedByClaim,
        };
        Self::new(kind, refusal.to_string())
    }
}

impl From<BookTransfer> for Refusal {
    fn from(refusal: BookTransfer) -> Self {
        Self::new(
            ProblemKind::EntryCannotBeQueriedForBookTransfer,
            refusal.to_string(),
        )
    }
}

/// `NotFound` of a policy that a participant has no bucket of.
pub(super) fn no_policy(policy: Option<Policy>) -> Refusal {
    let detail = match policy {
        Some(policy) => format!("{} counts users, not participants", policy.as_str()),
        None => "there is no such policy".to_owned(),
    };
    Refusal::new(ProblemKind::NotFound, detail)
}
