//! Refusals and failures, as one clear sentence each, in English and in Portuguese.

use axum::Json;
use axum::response::{IntoResponse, Response};
use bank_core::{DictRefusal, KeyRefusal, OrderRefusal};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use pix_runtime::problem::Problem;

use crate::adapters::pg::StoreError;
use crate::writer::NotDecided;

/// Where the DICT's types of problems live.
const DICT_TYPES: &str = "https://dict.pi.rsfn.net.br/api/v2/error/";
/// A person's bucket of look-ups gets a token in this time (DICT, limits).
const LOOKUP_PAUSE_S: u32 = 30;

/// What the caller gets instead of an answer.
#[derive(Debug)]
pub(crate) struct Refused {
    problem: Problem,
    portuguese: String,
}

impl Refused {
    fn new(problem: Problem, portuguese: impl Into<String>) -> Self {
        Self {
            problem,
            portuguese: portuguese.into(),
        }
    }

    /// The request itself is wrong; `detail` says what to write instead. People do not write requests, our page
    /// does: only programmers read this.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        let problem = Problem::plain(StatusCode::BAD_REQUEST, detail);
        let portuguese = format!("a instituição não entendeu o pedido ({})", problem.detail);
        Self::new(problem, portuguese)
    }

    /// What was typed as a key is none.
    pub(crate) fn no_key(why: impl std::fmt::Display) -> Self {
        Self::new(
            Problem::plain(StatusCode::BAD_REQUEST, why.to_string()),
            "isto não é uma chave Pix: informe CPF, CNPJ, telefone com +55, e-mail ou chave aleatória",
        )
    }

    /// The request does not come from where this interface is used.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(
            Problem::plain(StatusCode::FORBIDDEN, detail),
            "a instituição só atende aqui a própria página",
        )
    }

    /// The bank is about to have the key, or not to have it.
    pub(crate) fn key_in_motion() -> Self {
        Self::new(
            Problem::plain(
                StatusCode::CONFLICT,
                "this bank is registering or removing this key; try again in a moment",
            ),
            "a instituição está registrando ou removendo esta chave; tente de novo em instantes",
        )
    }

    /// A wish that led to nothing.
    pub(crate) fn not_taken() -> Self {
        Self::new(
            Problem::plain(StatusCode::CONFLICT, "the bank did not take this; try again"),
            "a instituição não aceitou o pedido; tente de novo",
        )
    }

    /// The DICT could not be asked.
    pub(crate) fn dict_away() -> Self {
        let detail = "the bank cannot reach the DICT now; try again in a moment, or pay by account";
        Self::new(
            Problem::plain(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(1),
            "a instituição não alcança o DICT agora; tente de novo em instantes, ou pague por conta",
        )
    }

    /// There is no such account here.
    pub(crate) fn no_account() -> Self {
        let detail = "the bank has no such account; GET /api/accounts lists them";
        Self::new(
            Problem::plain(StatusCode::NOT_FOUND, detail),
            "a instituição não tem esta conta",
        )
    }

    /// There is no such payment here.
    pub(crate) fn no_payment() -> Self {
        let detail = "this bank has no payment with that EndToEndId";
        Self::new(
            Problem::plain(StatusCode::NOT_FOUND, detail),
            "a instituição não tem este pagamento",
        )
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Problem {
            kind,
            title,
            status,
            detail,
            retry_after,
        } = self.problem;
        let body = serde_json::json!({
            "type": kind,
            "title": title,
            "status": status.as_u16(),
            "detail": detail,
            "detail_pt": self.portuguese,
        });
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
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
        Self::new(
            Problem::plain(status, refusal.to_string()),
            refusal.in_portuguese(),
        )
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
        Self::new(
            Problem::plain(status, refusal.to_string()),
            refusal.in_portuguese(),
        )
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
        let problem = match status {
            StatusCode::TOO_MANY_REQUESTS => problem.retry_after(LOOKUP_PAUSE_S),
            StatusCode::SERVICE_UNAVAILABLE => problem.retry_after(1),
            _ => problem,
        };
        Self::new(problem, refusal.meaning_in_portuguese())
    }
}

impl From<NotDecided> for Refused {
    fn from(why: NotDecided) -> Self {
        let (status, detail, portuguese) = match why {
            NotDecided::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too many orders wait; send it again in a second",
                "há pedidos demais na fila; envie de novo em um segundo",
            ),
            NotDecided::Stopping => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the bank is stopping and may have taken the order; send it again with the same Idempotency-Key",
                "a instituição está parando e pode ter aceitado o pedido; envie de novo, e ele será pago uma vez só",
            ),
            NotDecided::Poisoned => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the order cannot be recorded; the bank's log says why",
                "a instituição não conseguiu registrar o pedido",
            ),
        };
        let problem = Problem::plain(status, detail);
        let problem = if status == StatusCode::SERVICE_UNAVAILABLE {
            problem.retry_after(1)
        } else {
            problem
        };
        Self::new(problem, portuguese)
    }
}

impl From<StoreError> for Refused {
    /// Driver text stays in the log.
    fn from(error: StoreError) -> Self {
        tracing::warn!(error = %error, "the page could not read the book");
        let detail = "the bank's database does not answer; try again in a second";
        Self::new(
            Problem::plain(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(1),
            "o banco de dados da instituição não responde; tente de novo em um segundo",
        )
    }
}
