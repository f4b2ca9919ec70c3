//! Refusals and failures, as one clear sentence each.

use axum::response::{IntoResponse, Response};
use bank_core::{DictRefusal, KeyRefusal, OrderRefusal};
use http::StatusCode;
use pix_runtime::problem::Problem;

use crate::adapters::pg::StoreError;
use crate::writer::NotDecided;

/// Where the DICT's types of problems live.
const DICT_TYPES: &str = "https://dict.pi.rsfn.net.br/api/v2/error/";
/// A person's bucket of look-ups gets a token in this time (DICT, limits).
const LOOKUP_PAUSE_S: u32 = 30;

/// What the caller gets instead of an answer.
#[derive(Debug)]
pub(crate) struct Refused(Problem);

impl Refused {
    /// The request itself is wrong; `detail` says what to write instead.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self(Problem::plain(StatusCode::BAD_REQUEST, detail))
    }

    /// The request does not come from where this interface is used.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self(Problem::plain(StatusCode::FORBIDDEN, detail))
    }

    /// It does not fit what is going on; `detail` says with what.
    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self(Problem::plain(StatusCode::CONFLICT, detail))
    }

    /// The DICT could not be asked.
    pub(crate) fn dict_away() -> Self {
        let detail = "the bank cannot reach the DICT now; try again in a moment, or pay by account";
        Self(Problem::plain(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(1))
    }

    /// There is no such thing.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self(Problem::plain(StatusCode::NOT_FOUND, detail))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.0.to_json().into_response()
    }
}

impl From<OrderRefusal> for Refused {
    fn from(refusal: OrderRefusal) -> Self {
        let status = match refusal {
            OrderRefusal::KeyReused | OrderRefusal::IdTaken | OrderRefusal::LookupUsed => {
                StatusCode::CONFLICT
            }
            OrderRefusal::AmountZero
            | OrderRefusal::PayerUnknown
            | OrderRefusal::PayerClosed
            | OrderRefusal::PayerBlocked
            | OrderRefusal::LookupUnknown
            | OrderRefusal::LookupExpired
            | OrderRefusal::SameAccount
            | OrderRefusal::Receiver(_)
            | OrderRefusal::InsufficientFunds { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self(Problem::plain(status, refusal.to_string()))
    }
}

impl From<KeyRefusal> for Refused {
    fn from(refusal: KeyRefusal) -> Self {
        let status = match refusal {
            KeyRefusal::NameReused | KeyRefusal::InUse | KeyRefusal::StillRequested => StatusCode::CONFLICT,
            KeyRefusal::AccountUnknown | KeyRefusal::KeyUnknown => StatusCode::NOT_FOUND,
            KeyRefusal::KeyGiven
            | KeyRefusal::KeyMissing
            | KeyRefusal::Format(_)
            | KeyRefusal::CheckDigits
            | KeyRefusal::NoContact => StatusCode::BAD_REQUEST,
            KeyRefusal::AccountClosed
            | KeyRefusal::AccountBlocked
            | KeyRefusal::AccountType
            | KeyRefusal::NotTheHolders
            | KeyRefusal::NotConfirmed => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self(Problem::plain(status, refusal.to_string()))
    }
}

impl From<DictRefusal> for Refused {
    /// A look-up that the DICT refuses, with the DICT's own type.
    fn from(refusal: DictRefusal) -> Self {
        use DictRefusal as R;
        let status = match refusal {
            R::NotFound => StatusCode::NOT_FOUND,
            R::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            R::Unavailable | R::Fault => StatusCode::SERVICE_UNAVAILABLE,
            R::BookTransfer => StatusCode::CONFLICT,
            R::Blocked | R::FraudRestriction | R::TaxIdBlocked => StatusCode::UNPROCESSABLE_ENTITY,
            R::OwnedByDifferentPerson
            | R::InCustodyOfDifferentParticipant
            | R::AlreadyExists
            | R::LimitExceeded
            | R::LockedByClaim
            | R::TaxIdByDifferentOwner
            | R::Invalid
            | R::RequestIdUsed
            | R::InvalidReason
            | R::ParticipantInvalid
            | R::SignatureInvalid
            | R::BadRequest
            | R::Forbidden
            | R::Other(_) => StatusCode::BAD_GATEWAY,
        };
        let problem = Problem {
            kind: format!("{DICT_TYPES}{}", refusal.as_str()),
            ..Problem::plain(status, refusal.meaning())
        };
        Self(match status {
            StatusCode::TOO_MANY_REQUESTS => problem.retry_after(LOOKUP_PAUSE_S),
            StatusCode::SERVICE_UNAVAILABLE => problem.retry_after(1),
            _ => problem,
        })
    }
}

impl From<NotDecided> for Refused {
    fn from(why: NotDecided) -> Self {
        let (status, detail) = match why {
            NotDecided::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too many orders wait; send it again in a second",
            ),
            NotDecided::Stopping => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the bank is stopping and may have taken the order; send it again with the same Idempotency-Key",
            ),
            NotDecided::Poisoned => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the order cannot be recorded; the bank's log says why",
            ),
        };
        let problem = Problem::plain(status, detail);
        Self(if status == StatusCode::SERVICE_UNAVAILABLE {
            problem.retry_after(1)
        } else {
            problem
        })
    }
}

impl From<StoreError> for Refused {
    /// Driver text stays in the log.
    fn from(error: StoreError) -> Self {
        tracing::warn!(error = %error, "the page could not read the book");
        let detail = "the bank's database does not answer; try again in a second";
        Self(Problem::plain(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(1))
    }
}
