//! What an answer of the DICT means to who asked.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::CONTENT_ENCODING;
use http::response;
use pix_dict_api::{
    Problem, RESPONSE_BYTES_MAX, Response, Unreadable, open_problem, open_response, parse_problem,
};
use pix_xmldsig::KeySource;

use crate::{Failure, Result};

/// Statuses of answers that cost the DICT next to nothing: it did nothing, and signed nothing.
const UNSIGNED: [u16; 2] = [429, 503];

/// The answer, verified.
pub(crate) fn read(head: &response::Parts, body: Bytes, keys: &dyn KeySource) -> Result<Response<'static>> {
    let status = head.status.as_u16();
    let body = plain(head, body)?;
    if head.status.is_success() {
        return open_response(&body, keys)
            .map(|opened| opened.response)
            .map_err(failure);
    }
    match problem(status, &body, keys) {
        Ok(problem) if problem.status != status => Err(Failure::Untrusted(format!(
            "HTTP {status} with a problem of another status"
        ))),
        // What went wrong inside may have gone wrong after the deed.
        Ok(_) if is_failure(status) => Err(Failure::Unknown(format!("HTTP {status}"))),
        Ok(problem) => Err(Failure::Refused(problem)),
        // Not of the DICT, but of something in between, which may have passed the request on.
        Err(_) if status >= 500 || status == 429 => Err(Failure::Unknown(format!("HTTP {status}"))),
        Err(why) => Err(failure(why)),
    }
}

/// 501 and 503 are refusals: nothing was done.
fn is_failure(status: u16) -> bool {
    status >= 500 && !matches!(status, 501 | 503)
}

fn problem(status: u16, body: &[u8], keys: &dyn KeySource) -> std::result::Result<Problem, Unreadable> {
    if UNSIGNED.contains(&status) {
        parse_problem(body)
    } else {
        open_problem(body, keys).map(|opened| opened.problem)
    }
}

fn failure(why: Unreadable) -> Failure {
    match why {
        // Truly the DICT's, and newer than we are.
        Unreadable::UnknownValue(_) => Failure::Unknown(why.to_string()),
        _ => Failure::Untrusted(why.to_string()),
    }
}

/// The body without its compression.
fn plain(head: &response::Parts, body: Bytes) -> Result<Bytes> {
    match head
        .headers
        .get(CONTENT_ENCODING)
        .map(http::HeaderValue::as_bytes)
    {
        None | Some(b"identity") => Ok(body),
        Some(b"gzip") => gunzip(&body),
        Some(_) => Err(Failure::Untrusted(
            "an encoding that was not asked for".to_owned(),
        )),
    }
}

fn gunzip(bytes: &[u8]) -> Result<Bytes> {
    let mut plain = Vec::new();
    // One octet above the cap, so that the longest answer is told from one too long.
    let max = u64::try_from(RESPONSE_BYTES_MAX).expect("a small number") + 1;
    GzDecoder::new(bytes)
        .take(max)
        .read_to_end(&mut plain)
        .map_err(|e| Failure::Untrusted(format!("no gzip: {e}")))?;
    Ok(plain.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::OnceLock;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use pix_dict_api::{
        CheckKeysResponse, CorrelationId, Head, ProblemKind, seal_problem, seal_response, write_problem,
    };
    use pix_domain::Timestamp;
    use pix_pki::{Authority, Subject, Use, Validity};
    use pix_xmldsig::Signer;

    use super::*;

    fn signer(name: &str) -> Signer {
        let now = Timestamp::from_micros(1_795_262_400_000_000);
        let authority = Authority::new("AC", Validity::long(now)).expect("an authority");
        let subject = Subject {
            common_name: name.to_owned(),
            ispb: None,
        };
        let identity = authority
            .issue(&subject, Use::Signature, Validity::long(now))
            .expect("a certificate");
        Signer::from_pem(identity.certificate_pem.as_bytes(), identity.key_pem.as_bytes()).expect("a key")
    }

    fn dict() -> &'static Signer {
        static DICT: OnceLock<Signer> = OnceLock::new();
        DICT.get_or_init(|| signer("DICT"))
    }

    fn answer(status: u16, encoding: Option<&str>, body: &[u8]) -> Result<Response<'static>> {
        let mut head = http::Response::builder().status(status);
        if let Some(encoding) = encoding {
            head = head.header(CONTENT_ENCODING, encoding);
        }
        let (head, ()) = head.body(()).expect("a head").into_parts();
        read(&head, Bytes::copy_from_slice(body), dict().verifying_key())
    }

    fn checked() -> Response<'static> {
        Response::CheckKeys(CheckKeysResponse {
            head: Head {
                at: Timestamp::from_micros(0),
                correlation_id: CorrelationId::new(7),
            },
            keys: vec![("a@b.br".to_owned(), true)],
        })
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn answers_are_believed_with_the_signature_of_the_dict() {
        let sealed = seal_response(&checked(), dict(), "id");
        assert_eq!(answer(200, None, &sealed).expect("true"), checked());
        assert_eq!(
            answer(200, Some("gzip"), &gzip(&sealed)).expect("true"),
            checked()
        );
        let strange = seal_response(&checked(), &signer("X"), "id");
        let cut = &gzip(&sealed)[..100];
        for (encoding, body) in [
            (None, &*strange),
            (None, b"".as_slice()),
            (Some("gzip"), cut),
            (Some("gzip"), &*sealed),
            (Some("br"), &*sealed),
            (Some("gzip"), &*gzip(&vec![b' '; RESPONSE_BYTES_MAX * 2])),
        ] {
            assert!(matches!(answer(200, encoding, body), Err(Failure::Untrusted(_))));
        }
    }

    #[test]
    fn a_refusal_says_that_nothing_was_done_and_a_failure_does_not() {
        let signed = |kind| seal_problem(&Problem::new(kind, ""), dict(), "id");
        let unsigned = |kind| write_problem(&Problem::new(kind, ""));
        for (status, body, kind) in [
            (404, signed(ProblemKind::NotFound), ProblemKind::NotFound),
            (429, unsigned(ProblemKind::RateLimited), ProblemKind::RateLimited),
            (429, signed(ProblemKind::RateLimited), ProblemKind::RateLimited),
            (
                503,
                unsigned(ProblemKind::ServiceUnavailable),
                ProblemKind::ServiceUnavailable,
            ),
        ] {
            let refused = answer(status, None, &body);
            assert!(
                matches!(&refused, Err(Failure::Refused(problem)) if problem.kind == kind),
                "{refused:?}"
            );
        }
        for (status, body) in [
            (500, signed(ProblemKind::InternalServerError)),
            (500, unsigned(ProblemKind::InternalServerError)),
            (502, Vec::new()),
            (503, b"<html></html>".to_vec()),
            (429, Vec::new()),
        ] {
            assert!(
                matches!(answer(status, None, &body), Err(Failure::Unknown(_))),
                "{status}"
            );
        }
        for (status, body) in [
            (404, unsigned(ProblemKind::NotFound)),
            (400, signed(ProblemKind::NotFound)),
            (400, seal_response(&checked(), dict(), "id")),
            (302, Vec::new()),
        ] {
            assert!(
                matches!(answer(status, None, &body), Err(Failure::Untrusted(_))),
                "{status}"
            );
        }
    }
}
