//! What is read from a request before its operation: key, headers, body.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, StatusCode};
use hyper::body::Incoming;
use pix_dict_api::{Operation, ProblemKind, REQUEST_BYTES_MAX, Unreadable};
use pix_domain::{Category, EndToEndId, Ispb, Key, TaxId, Timestamp};
use pix_participants::Directory as Participants;
use pix_runtime::Clock as _;
use pix_runtime::http::{BodyError, read_body};
use pix_xmldsig::{IssuerSerial, SignatureError};

use super::Caller;
use super::problem::Refusal;
use crate::app::App;
use crate::registry::acts_for;

const PI_REQUESTING_PARTICIPANT: HeaderName = HeaderName::from_static("pi-requestingparticipant");
const PI_PAYER_ID: HeaderName = HeaderName::from_static("pi-payerid");
const PI_END_TO_END_ID: HeaderName = HeaderName::from_static("pi-endtoendid");

/// The participant that a request is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requesting {
    pub(super) ispb: Ispb,
    pub(super) category: Category,
}

/// The participant of `PI-RequestingParticipant`: the caller, or one that it settles.
pub(super) fn requesting(app: &App, caller: Caller, headers: &HeaderMap) -> Result<Requesting, Refusal> {
    let name = "PI-RequestingParticipant";
    let parse = |text: &str| Ispb::parse(text.as_bytes()).ok();
    let reason = "Value does not match regex '^[0-9A-Z]{8}$'";
    let ispb = required(headers, &PI_REQUESTING_PARTICIPANT, name, reason, parse)?;
    let registry = app.registry.load();
    let participant = acts_for(&registry, caller.ispb, ispb)?;
    Ok(Requesting {
        ispb,
        category: participant.category,
    })
}

/// Who pays.
pub(super) fn payer(headers: &HeaderMap) -> Result<TaxId, Refusal> {
    let reason = "Value does not match regex '^([0-9]{11}|[0-9A-Z]{12}[0-9]{2})$'";
    let parse = |text: &str| TaxId::parse(text.as_bytes()).ok();
    required(headers, &PI_PAYER_ID, "PI-PayerId", reason, parse)
}

/// The payment that a lookup is for.
pub(super) fn end_to_end_id(headers: &HeaderMap) -> Result<EndToEndId, Refusal> {
    let reason = "Value is not an EndToEndId";
    let parse = |text: &str| EndToEndId::parse(text.as_bytes()).ok();
    required(headers, &PI_END_TO_END_ID, "PI-EndToEndId", reason, parse)
}

fn required<T>(
    headers: &HeaderMap,
    header: &HeaderName,
    name: &str,
    reason: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, Refusal> {
    let mut values = headers.get_all(header).iter();
    let Some(value) = values.next() else {
        return Err(Refusal::header(name, None, "Value is required"));
    };
    if values.next().is_some() {
        return Err(Refusal::header(name, None, "Value is there more than once"));
    }
    let text = value.to_str().unwrap_or_default();
    parse(text).ok_or_else(|| Refusal::header(name, Some(text), reason))
}

/// The key of a path segment. `+` is a plus: only `%xx` is decoded.
pub(super) fn key(segment: &str) -> Result<Key, Refusal> {
    let malformed = || {
        Refusal::new(
            ProblemKind::BadRequest,
            "the key of the path has the form of no key",
        )
    };
    let text = percent_decoded(segment).ok_or_else(malformed)?;
    Key::guess(&text).map_err(|_| malformed())
}

fn percent_decoded(segment: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let digits = rest.split_at_checked(2)?;
        rest = digits.1;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let octet = digit(digits.0[0])? * 16 + digit(digits.0[1])?;
        decoded.push(u8::try_from(octet).ok()?);
    }
    String::from_utf8(decoded).ok()
}

/// Whether statistics are asked for.
pub(super) fn include_statistics(query: Option<&str>) -> Result<bool, Refusal> {
    let parameters = query.unwrap_or_default().split('&');
    let mut values = parameters.filter_map(|parameter| match parameter.split_once('=') {
        Some(("IncludeStatistics", value)) => Some(value),
        None if parameter == "IncludeStatistics" => Some(""),
        _ => None,
    });
    match (values.next(), values.next()) {
        (None | Some("false"), None) => Ok(false),
        (Some("true"), None) => Ok(true),
        _ => Err(Refusal::new(
            ProblemKind::BadRequest,
            "IncludeStatistics is true or false",
        )),
    }
}

/// The body: XML in UTF-8, not compressed, of a size that is worth reading, complete before the request's time is over.
pub(super) async fn body(caller: Caller, headers: &HeaderMap, body: Incoming) -> Result<Bytes, Refusal> {
    check_content(headers)?;
    let read = tokio::time::timeout_at(caller.by, read_body(body, REQUEST_BYTES_MAX));
    read.await
        .unwrap_or(Err(BodyError::Slow))
        .map_err(|error| match error {
            BodyError::TooLarge { max } => {
                let detail = format!("the body is longer than {max} octets");
                Refusal::transport(StatusCode::PAYLOAD_TOO_LARGE, detail)
            }
            BodyError::Slow => Refusal::transport(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
            BodyError::Broken(_) => Refusal::new(ProblemKind::BadRequest, "the body broke off"),
        })
}

fn check_content(headers: &HeaderMap) -> Result<(), Refusal> {
    let unsupported = |detail: &str| Err(Refusal::transport(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    let text = |name: HeaderName| {
        let value = headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        value.map(str::to_ascii_lowercase)
    };
    if text(CONTENT_ENCODING).is_some_and(|coding| coding.trim() != "identity") {
        return unsupported("requests are not taken compressed");
    }
    let content_type = text(CONTENT_TYPE).unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    if parts.next() != Some("application/xml") {
        return unsupported("the body has to be application/xml; charset=utf-8");
    }
    let charset = parts.find_map(|parameter| parameter.strip_prefix("charset="));
    match charset.map(|charset| charset.trim_matches('"')) {
        None | Some("utf-8") => Ok(()),
        Some(_) => unsupported("the charset has to be utf-8"),
    }
}

/// What a signed body asks. Its signer is the participant of the channel.
pub(super) fn open(
    app: &App,
    caller: Caller,
    body: &[u8],
    expected: Operation,
) -> Result<pix_dict_api::Request, Refusal> {
    let registry = app.registry.load();
    let registry: &Participants = &registry;
    let opened = match pix_dict_api::open_request(body, expected, registry) {
        Ok(opened) => opened,
        // An empty signature is refused here, too: it is what the document says of homologation.
        Err(Unreadable::Signature(SignatureError::Missing)) if !app.signature_required => {
            return unsigned(body, expected);
        }
        Err(unreadable) => return Err(refuse(&unreadable)),
    };
    check_signer(registry, caller.ispb, &opened.signer, app.clock.now())?;
    Ok(opened.request)
}

/// A signature counts when its certificate is the caller's, and valid now.
fn check_signer(
    registry: &Participants,
    caller: Ispb,
    certificate: &IssuerSerial,
    now: Timestamp,
) -> Result<(), Refusal> {
    let refuse = |detail: &str| Err(Refusal::new(ProblemKind::RequestSignatureInvalid, detail));
    let signer = registry.signer(certificate).filter(|(ispb, _)| *ispb == caller);
    let Some((_, key)) = signer else {
        return refuse("the signature is not that of the channel's participant");
    };
    if !key.is_valid_at(now.as_micros() / 1_000_000) {
        return refuse("the certificate of the signature has expired, or is not valid yet");
    }
    Ok(())
}

/// What an unsigned body asks.
pub(super) fn unsigned(body: &[u8], expected: Operation) -> Result<pix_dict_api::Request, Refusal> {
    pix_dict_api::parse_unsigned(body, expected).map_err(|unreadable| refuse(&unreadable))
}

fn refuse(unreadable: &Unreadable) -> Refusal {
    match unreadable {
        Unreadable::BadRequest(why) => Refusal::new(
            ProblemKind::BadRequest,
            format!("Could not parse request body: {why}"),
        ),
        Unreadable::UnknownValue(_) => Refusal::new(
            ProblemKind::BadRequest,
            format!("Could not parse request body: {unreadable}"),
        ),
        Unreadable::Signature(_) => Refusal::new(
            ProblemKind::RequestSignatureInvalid,
            "XML signature does not match digests or certificate",
        ),
        Unreadable::TooLarge => Refusal::transport(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long"),
    }
}

#[cfg(test)]
mod tests {
    use pix_testkit::{Seat, TestPki};
    use pix_xmldsig::VerifyingKey;

    use super::*;

    #[tokio::test]
    async fn request_signature_invalid_when_the_certificate_is_not_valid_now_or_anothers() {
        let pki = TestPki::shared().await;
        let ispbs = ["12345678", "22222222"];
        let seed = pki.seed(&ispbs.map(|ispb| Seat {
            ispb,
            settler: None,
            opening_balance: "0.00",
        }));
        let registry = Participants::load(&seed.path().join("participants.toml")).expect("sound");
        let [own, other] = ispbs.map(|ispb| Ispb::parse(ispb.as_bytes()).expect("an ISPB"));
        let pem = std::fs::read(pki.participant(ispbs[0]).join("signature.crt")).expect("readable");
        let key = VerifyingKey::from_certificate_pem(&pem).expect("a certificate");
        let at = |caller: Ispb, wire: &str| {
            let now = Timestamp::parse(wire.as_bytes()).expect(wire);
            check_signer(&registry, caller, key.issuer_serial(), now).map_err(|refusal| refusal.kind)
        };
        let invalid = Err(ProblemKind::RequestSignatureInvalid);
        let today = pix_runtime::SystemClock.now().to_string();
        assert_eq!(at(own, &today), Ok(()));
        assert_eq!(at(other, &today), invalid);
        assert_eq!(at(own, "2000-01-01T00:00:00.000Z"), invalid);
        assert_eq!(at(own, "2999-01-01T00:00:00.000Z"), invalid);
    }

    #[test]
    fn a_plus_in_a_path_is_a_plus_however_it_is_written() {
        for segment in ["+5561988880000", "%2B5561988880000", "%2b5561988880000"] {
            assert_eq!(key(segment).expect(segment).as_str(), "+5561988880000");
        }
        assert_eq!(
            key("a%2Fb%25%40x.br").err().map(|r| r.kind),
            Some(ProblemKind::BadRequest)
        );
        assert_eq!(key("a%2Fb%40x.br").expect("an e-mail").as_str(), "a/b@x.br");
    }

    #[test]
    fn a_path_without_a_key_is_a_bad_request() {
        for segment in ["", "x", "%", "%2", "%zz", "%ff%ff", "+0", "1234567890", "%00"] {
            let refused = key(segment).expect_err(segment);
            assert_eq!(refused.kind, ProblemKind::BadRequest, "{segment}");
        }
    }

    #[test]
    fn statistics_are_true_or_false() {
        for (query, expected) in [
            (None, Some(false)),
            (Some(""), Some(false)),
            (Some("IncludeStatistics=false"), Some(false)),
            (Some("IncludeStatistics=true"), Some(true)),
            (Some("Other=1&IncludeStatistics=true"), Some(true)),
            (Some("IncludeStatistics"), None),
            (Some("IncludeStatistics=1"), None),
            (Some("IncludeStatistics=TRUE"), None),
            (Some("IncludeStatistics=true&IncludeStatistics=false"), None),
        ] {
            assert_eq!(include_statistics(query).ok(), expected, "{query:?}");
        }
    }
}
