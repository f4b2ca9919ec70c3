//! From bytes to a verified, typed message.

use pix_xmldsig::tree::{self, Element, Limits, TreeError};
use pix_xmldsig::{CanonicalSignature, IssuerSerial, KeySource, SignatureError, VerifyingKey, digest};

use crate::read::{Fault, NODES_MAX, Parsed, Read, Signed};
use crate::shape::{PROBLEM, PROBLEM_NAMESPACE};
use crate::{Operation, Problem, Request, Response, normal, parse};

/// Longest request, in bytes: a checkKeys of 200 keys has 20 KiB.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Longest answer, in bytes: room for what the API may add.
pub const RESPONSE_BYTES_MAX: usize = 1 << 20;

const REQUEST_LIMITS: Limits = Limits {
    bytes: REQUEST_BYTES_MAX,
    depth: 16,
    attributes: 16,
    nodes: NODES_MAX,
    repeated: &[],
    nodes_per_repeated: 0,
};
const RESPONSE_LIMITS: Limits = Limits {
    bytes: RESPONSE_BYTES_MAX,
    nodes: 20_000,
    ..REQUEST_LIMITS
};

/// Why a message is not taken. Its texts never repeat what the message carried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not XML, or not the structure of the API.
    #[error("{0}")]
    BadRequest(String),
    /// The structure of the API and, where it is verified, a true signature, with a value of an enumeration that we do
    /// not know: enumerations may grow without a new version of the API.
    #[error("{0} holds a value that is not known here")]
    UnknownValue(&'static str),
    /// The signature is missing, not of the profile, or not true.
    #[error("{0}")]
    Signature(SignatureError),
    /// Longer than [`REQUEST_BYTES_MAX`] or [`RESPONSE_BYTES_MAX`].
    #[error("the message is too long")]
    TooLarge,
}

/// The way a message was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// One pass over an input that is its own canonical form.
    Fast,
    /// Tree and canonicalisation.
    Generic,
}

/// A verified request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedRequest {
    /// The request; nothing in it comes from outside what the signature covers.
    pub request: Request,
    /// Certificate of the key that signed.
    pub signer: IssuerSerial,
    /// Which way it took.
    pub path: Path,
}

/// A verified answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedResponse {
    /// The answer; nothing in it comes from outside what the signature covers.
    pub response: Response<'static>,
    /// Certificate of the key that signed.
    pub signer: IssuerSerial,
    /// Which way it took.
    pub path: Path,
}

/// A verified problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedProblem {
    /// The problem.
    pub problem: Problem,
    /// Certificate of the key that signed.
    pub signer: IssuerSerial,
    /// Which way it took.
    pub path: Path,
}

/// Verifies and parses the request that `expected` wants.
///
/// # Errors
/// [`Unreadable`].
pub fn open_request(
    bytes: &[u8],
    expected: Operation,
    keys: &dyn KeySource,
) -> Result<OpenedRequest, Unreadable> {
    // What the fast path does not take, for whatever reason, the generic path judges: there is one judge only.
    open_request_fast(bytes, expected, keys).map_or_else(|| open_request_generic(bytes, expected, keys), Ok)
}

/// The fast path of [`open_request`] alone: nothing when the input is not in our canonical profile, or not true.
#[must_use]
pub fn open_request_fast(bytes: &[u8], expected: Operation, keys: &dyn KeySource) -> Option<OpenedRequest> {
    let (request, signer) = fast(bytes, REQUEST_BYTES_MAX, keys, |read| {
        parse::request(read, expected, Signed::Yes)
    })?;
    Some(OpenedRequest {
        request,
        signer,
        path: Path::Fast,
    })
}

/// The generic path of [`open_request`] alone: the oracle of the fast one.
///
/// # Errors
/// As [`open_request`].
pub fn open_request_generic(
    bytes: &[u8],
    expected: Operation,
    keys: &dyn KeySource,
) -> Result<OpenedRequest, Unreadable> {
    let root = request_root(bytes, expected)?;
    let verified = tree::verify_enveloped(&root, keys)?;
    let written = normal::whole(&root, Some(verified.signature))?;
    Ok(OpenedRequest {
        request: parse::request(Read::counted(&written)?, expected, Signed::No)?.value,
        signer: verified.key.issuer_serial().clone(),
        path: Path::Generic,
    })
}

/// Parses a request that has no signature at all: checkKeys has none, and a service may be told to do without. A
/// Signature that is there, be it empty, is refused, because nobody verified it.
///
/// # Errors
/// [`Unreadable`].
pub fn parse_unsigned(bytes: &[u8], expected: Operation) -> Result<Request, Unreadable> {
    let root = request_root(bytes, expected)?;
    if let Some(signature) = root.descendants().find(|e| e.local == "Signature") {
        let empty = signature.elements().next().is_none();
        return Err(Unreadable::Signature(if empty {
            SignatureError::Missing
        } else {
            SignatureError::Misplaced
        }));
    }
    let written = normal::whole(&root, None)?;
    Ok(parse::request(Read::counted(&written)?, expected, Signed::No)?.value)
}

fn request_root(bytes: &[u8], expected: Operation) -> Result<Element, Unreadable> {
    let root = tree::parse(bytes, &REQUEST_LIMITS)?;
    if root.is("", expected.root()) {
        Ok(root)
    } else {
        let why = format!("the root is not {} without a namespace", expected.root());
        Err(Unreadable::BadRequest(why))
    }
}

/// Verifies and parses an answer of status 2xx. Elements that we do not know are passed over, and their order does
/// not count: both may change without a new version of the API.
///
/// # Errors
/// [`Unreadable`].
pub fn open_response(bytes: &[u8], keys: &dyn KeySource) -> Result<OpenedResponse, Unreadable> {
    open_response_fast(bytes, keys).map_or_else(|| open_response_generic(bytes, keys), Ok)
}

/// The fast path of [`open_response`] alone: nothing when the input is not in our canonical profile, or not true.
#[must_use]
pub fn open_response_fast(bytes: &[u8], keys: &dyn KeySource) -> Option<OpenedResponse> {
    let (response, signer) = fast(bytes, RESPONSE_BYTES_MAX, keys, |read| {
        parse::response(read, Signed::Yes)
    })?;
    Some(OpenedResponse {
        response,
        signer,
        path: Path::Fast,
    })
}

/// The generic path of [`open_response`] alone: the oracle of the fast one.
///
/// # Errors
/// As [`open_response`].
pub fn open_response_generic(bytes: &[u8], keys: &dyn KeySource) -> Result<OpenedResponse, Unreadable> {
    let root = tree::parse(bytes, &RESPONSE_LIMITS)?;
    let signer = tree::verify_enveloped(&root, keys)?.key.issuer_serial().clone();
    Ok(OpenedResponse {
        response: response_of(&root)?,
        signer,
        path: Path::Generic,
    })
}

/// Parses an answer whose signature nobody looks at, as the official examples are published.
///
/// # Errors
/// [`Unreadable`], with nothing about signatures.
pub fn parse_unsigned_response(bytes: &[u8]) -> Result<Response<'static>, Unreadable> {
    response_of(&tree::parse(bytes, &RESPONSE_LIMITS)?)
}

fn response_of(root: &Element) -> Result<Response<'static>, Unreadable> {
    let name = if root.namespace.is_empty() {
        &*root.local
    } else {
        ""
    };
    let shape = parse::shape_of(name)?;
    let written = normal::known(root, shape, shape.name)?;
    Ok(parse::response(Read::counted(&written)?, Signed::No)?.value)
}

/// Verifies and parses a problem, as tolerantly as [`open_response`].
///
/// # Errors
/// [`Unreadable`].
pub fn open_problem(bytes: &[u8], keys: &dyn KeySource) -> Result<OpenedProblem, Unreadable> {
    let opened = fast(bytes, RESPONSE_BYTES_MAX, keys, |read| {
        parse::problem(read, Signed::Yes)
    });
    if let Some((problem, signer)) = opened {
        return Ok(OpenedProblem {
            problem,
            signer,
            path: Path::Fast,
        });
    }
    let root = tree::parse(bytes, &RESPONSE_LIMITS)?;
    let signer = tree::verify_enveloped(&root, keys)?.key.issuer_serial().clone();
    Ok(OpenedProblem {
        problem: problem_of(&root)?,
        signer,
        path: Path::Generic,
    })
}

/// Parses a problem whose signature nobody looks at: those of 429 and 503 have none.
///
/// # Errors
/// [`Unreadable`], with nothing about signatures.
pub fn parse_problem(bytes: &[u8]) -> Result<Problem, Unreadable> {
    problem_of(&tree::parse(bytes, &RESPONSE_LIMITS)?)
}

fn problem_of(root: &Element) -> Result<Problem, Unreadable> {
    if !root.is(PROBLEM_NAMESPACE, PROBLEM.name) {
        return Err(Unreadable::BadRequest("the root is no problem".to_owned()));
    }
    let written = normal::known(root, &PROBLEM, &parse::problem_tag())?;
    Ok(parse::problem(Read::counted(&written)?, Signed::No)?.value)
}

/// Parses and verifies in one pass over an input that is its own canonical form.
fn fast<T>(
    bytes: &[u8],
    max: usize,
    keys: &dyn KeySource,
    parse: impl FnOnce(Read<'_>) -> Result<Parsed<T>, Fault>,
) -> Option<(T, IssuerSerial)> {
    if bytes.len() > max {
        return None;
    }
    let input = std::str::from_utf8(bytes).ok()?;
    let parsed = parse(Read::new(input).ok()?).ok()?;
    let key = verify(input, &parsed.span, &parsed.signature?, keys).ok()?;
    Some((parsed.value, key.issuer_serial().clone()))
}

/// The root, whose bytes are its canonical form, without the signature in it.
fn verify(
    input: &str,
    root: &std::ops::Range<usize>,
    signature: &CanonicalSignature,
    keys: &dyn KeySource,
) -> Result<VerifyingKey, SignatureError> {
    let bytes = input.as_bytes();
    let root = digest(&[
        &bytes[root.start..signature.span.start],
        &bytes[signature.span.end..root.end],
    ]);
    signature.verify_enveloped(input, &root, keys)
}

impl From<Fault> for Unreadable {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Form(why) => Self::BadRequest(why),
            Fault::Value(element) => Self::UnknownValue(element),
        }
    }
}

impl From<SignatureError> for Unreadable {
    fn from(error: SignatureError) -> Self {
        Self::Signature(error)
    }
}

impl From<TreeError> for Unreadable {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::Limit { what: "bytes", .. } => Self::TooLarge,
            _ => Self::BadRequest(error.to_string()),
        }
    }
}
