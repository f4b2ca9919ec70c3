//! From bytes to a verified, typed message.

use pix_domain::MsgId;
use pix_xmldsig::tree::{self, Element, Limits, Node};
use pix_xmldsig::{DSIG, IssuerSerial, KeySource, digest, escape};

use crate::messages::{Parsed, Sgntr, credit_transfer, envelope, status_report};
use crate::read::{Fault, NODES_MAX, NODES_PER_TRANSACTION, Read};
use crate::{CreditTransfer, Envelope, MessageDefinition, TransactionStatusReport, Unreadable};

/// Longest message, in bytes (DESIGN 3.1).
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

const LIMITS: Limits = Limits {
    bytes: MESSAGE_BYTES_MAX,
    depth: 32,
    attributes: 32,
    nodes: NODES_MAX,
    repeated: &["CdtTrfTxInf", "TxInfAndSts"],
    nodes_per_repeated: NODES_PER_TRANSACTION,
};

const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// A verified message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The message; nothing in it comes from outside what the signature covers.
    pub envelope: Envelope,
    /// Certificate of the key that signed.
    pub signer: IssuerSerial,
    /// Which way it took.
    pub path: Path,
}

/// The way a message was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// One pass over an input that is its own canonical form.
    Fast,
    /// Tree and canonicalisation.
    Generic,
}

/// Verifies and parses one envelope.
///
/// # Errors
/// [`Unreadable`] says why, in the words of an admi.002.
pub fn open(bytes: &[u8], keys: &dyn KeySource) -> Result<Opened, Unreadable> {
    // What the fast path does not take, for whatever reason, the generic path judges: there is one judge only.
    open_fast(bytes, keys).map_or_else(|| open_generic(bytes, keys), Ok)
}

/// The fast path alone: nothing when the input is not in the canonical profile, or not true.
#[must_use]
pub fn open_fast(bytes: &[u8], keys: &dyn KeySource) -> Option<Opened> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return None;
    }
    let input = std::str::from_utf8(bytes).ok()?;
    let mut read = Read::new(input).ok()?;
    let Parsed {
        envelope,
        app_hdr,
        document,
        signature,
    } = envelope(&mut read, Sgntr::Signature).ok()?;
    let signature = signature?;
    let namespace = envelope.header.definition.namespace().as_bytes();
    let app_hdr_digest = digest(&[
        b"<AppHdr xmlns=\"",
        namespace,
        b"\">",
        &bytes[app_hdr.start..signature.span.start],
        &bytes[signature.span.end..app_hdr.end],
    ]);
    let document_digest = digest(&[b"<Document xmlns=\"", namespace, b"\">", &bytes[document]]);
    let key = signature
        .verify(input, &app_hdr_digest, &document_digest, keys)
        .ok()?;
    Some(Opened {
        envelope,
        signer: key.issuer_serial().clone(),
        path: Path::Fast,
    })
}

/// The generic path alone: the oracle of [`open_fast`].
///
/// # Errors
/// As [`open`].
pub fn open_generic(bytes: &[u8], keys: &dyn KeySource) -> Result<Opened, Unreadable> {
    let root = tree::parse(bytes, &LIMITS)?;
    let claimed_id = message_id(&root);
    let judge = || {
        let definition = definition(&root)?;
        let verified = tree::verify(&root, keys)?;
        let signer = verified.key.issuer_serial().clone();
        let emitted = emit(&root, definition, Some(verified.signature))?;
        Ok(Opened {
            envelope: parse_emitted(&emitted)?,
            signer,
            path: Path::Generic,
        })
    };
    judge().map_err(|refusal: Unreadable| refusal.with_message_id(claimed_id))
}

/// Parses a message whose `Sgntr` is empty, as the official samples are published.
///
/// # Errors
/// As [`open`], with nothing about signatures.
pub fn parse_unsigned(bytes: &[u8]) -> Result<Envelope, Unreadable> {
    let root = tree::parse(bytes, &LIMITS)?;
    let claimed_id = message_id(&root);
    let judge = || parse_emitted(&emit(&root, definition(&root)?, None)?);
    judge().map_err(|refusal: Unreadable| refusal.with_message_id(claimed_id))
}

/// Parses what [`crate::credit_transfer_fragment`] wrote.
///
/// # Errors
/// [`Unreadable`] of kind Facet.
pub fn parse_credit_transfer_fragment(bytes: &[u8]) -> Result<CreditTransfer, Unreadable> {
    parse_fragment(bytes, credit_transfer)
}

/// Parses what [`crate::status_report_fragment`] wrote.
///
/// # Errors
/// [`Unreadable`] of kind Facet.
pub fn parse_status_report_fragment(bytes: &[u8]) -> Result<TransactionStatusReport, Unreadable> {
    parse_fragment(bytes, status_report)
}

fn parse_fragment<T>(
    bytes: &[u8],
    parse: impl FnOnce(&mut Read<'_>) -> Result<T, Fault>,
) -> Result<T, Unreadable> {
    let mut read = reader(bytes)?;
    let value = parse(&mut read)?;
    read.finish()?;
    Ok(value)
}

fn parse_emitted(bytes: &[u8]) -> Result<Envelope, Unreadable> {
    let mut read = reader(bytes)?;
    // The tree was counted already; whatever it held may be read.
    read.cursor.grant(usize::MAX);
    Ok(envelope(&mut read, Sgntr::Nothing)?.envelope)
}

fn reader(bytes: &[u8]) -> Result<Read<'_>, Fault> {
    let not_ours = || Fault {
        location: String::new(),
        why: "is not written canonically".to_owned(),
        end_to_end_id: None,
        unknown_definition: false,
    };
    let input = std::str::from_utf8(bytes).map_err(|_| not_ours())?;
    Read::new(input).map_err(|_| not_ours())
}

fn definition(root: &Element) -> Result<MessageDefinition, Unreadable> {
    let known = MessageDefinition::of_namespace(&root.namespace).filter(|_| root.local == "Envelope");
    known.ok_or_else(Unreadable::schema)
}

/// `BizMsgIdr` as it is claimed, for the reference of an admi.002: found by name, whatever the namespace.
fn message_id(root: &Element) -> Option<MsgId> {
    let header = root.elements().find(|e| e.local == "AppHdr")?;
    let id = header.elements().find(|e| e.local == "BizMsgIdr")?;
    MsgId::parse(id.text()?.as_bytes()).ok()
}

/// Writes the verified tree in our own profile, so that one parser serves both ways: without the signature,
/// every element in the message's namespace and without prefix, attributes only where the schema has them.
fn emit(
    root: &Element,
    definition: MessageDefinition,
    signature: Option<&Element>,
) -> Result<Vec<u8>, Unreadable> {
    let mut emitter = Emitter {
        namespace: definition.namespace(),
        signature,
        out: String::with_capacity(4096),
    };
    emitter.element(root, &mut Vec::new())?;
    Ok(emitter.out.into_bytes())
}

struct Emitter<'a> {
    namespace: &'static str,
    signature: Option<&'a Element>,
    out: String,
}

impl<'a> Emitter<'a> {
    fn element(&mut self, element: &'a Element, path: &mut Vec<&'a str>) -> Result<(), Fault> {
        if self
            .signature
            .is_some_and(|signature| std::ptr::eq(signature, element))
        {
            return Ok(());
        }
        if element.namespace != self.namespace {
            let what = if element.namespace == DSIG {
                "Signature stands where none may be"
            } else {
                "another namespace"
            };
            return Err(fault(path, what));
        }
        path.push(&element.local);
        self.out.push('<');
        self.out.push_str(&element.local);
        if path.len() == 1 {
            self.out.push_str(&format!(" xmlns=\"{}\"", self.namespace));
        }
        for attribute in &element.attributes {
            // Hints for validators say nothing about the message.
            if attribute.namespace == XSI
                && matches!(
                    attribute.local.as_str(),
                    "schemaLocation" | "noNamespaceSchemaLocation"
                )
            {
                continue;
            }
            if !attribute.namespace.is_empty() || attribute.local != "Ccy" {
                return Err(fault(path, "has an attribute that its type does not have"));
            }
            self.out
                .push_str(&format!(" Ccy=\"{}\"", escape::attribute(&attribute.value)));
        }
        self.out.push('>');
        // White space between elements says nothing, `&#13;` included, which Java leaves behind there.
        let between = element.elements().next().is_some();
        for child in &element.children {
            match child {
                Node::Element(child) => self.element(child, path)?,
                Node::Text(text) if between && text.bytes().all(|b| b.is_ascii_whitespace()) => {}
                Node::Text(text) => self.out.push_str(&escape::text(text)),
            }
        }
        self.out.push_str("</");
        self.out.push_str(&element.local);
        self.out.push('>');
        path.pop();
        Ok(())
    }
}

/// Names of elements come from outside, so only those that a schema could have are repeated.
fn fault(path: &[&str], why: &str) -> Fault {
    let known =
        |name: &&str| name.len() <= 20 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    let location: Vec<&str> = path.iter().copied().skip(1).take_while(known).collect();
    let name = location.last().copied().unwrap_or("message");
    Fault {
        why: format!("{name}: {why}"),
        location: location.join("/"),
        end_to_end_id: None,
        unknown_definition: false,
    }
}
