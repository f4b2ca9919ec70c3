//! Refusals and failures, as one clear sentence each.

use axum::response::{IntoResponse, Response};
use bank_core::OrderRefusal;
use http::StatusCode;
use pix_runtime::problem::Problem;

use crate::adapters::pg::StoreError;
use crate::writer::NotDecided;

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
            OrderRefusal::KeyReused | OrderRefusal::IdTaken => StatusCode::CONFLICT,
            OrderRefusal::AmountZero
            | OrderRefusal::PayerUnknown
            | OrderRefusal::PayerClosed
            | OrderRefusal::PayerBlocked
            | OrderRefusal::SameAccount
            | OrderRefusal::Receiver(_)
            | OrderRefusal::InsufficientFunds { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self(Problem::plain(status, refusal.to_string()))
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
