//! The generic path: any well-formed XML 1.0 without DOCTYPE, processing instructions and comments, as a tree.
//!
//! Slow and obvious on purpose. It is the oracle of the fast path and the judge of everything that the fast
//! path does not take.

mod attributes;
mod c14n;
mod parse;
mod verify;

use std::rc::Rc;

pub use c14n::canonicalize;
pub use parse::parse;
pub use verify::{Verified, VerifiedRoot, verify, verify_enveloped};

/// An element with its namespaces resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Prefix as written; empty when there is none.
    pub prefix: String,
    /// Name without its prefix.
    pub local: String,
    /// Namespace; empty when there is none.
    pub namespace: String,
    /// Attributes, in the order written, without namespace declarations.
    pub attributes: Vec<Attribute>,
    /// Namespace of every prefix that is in scope here: what C14N looks names up in.
    pub(crate) scope: Scope,
    /// Content, in order. Neighbouring characters, references and CDATA sections are one text.
    pub children: Vec<Node>,
}

/// An attribute that is not a namespace declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Prefix as written; empty when there is none.
    pub prefix: String,
    /// Name without its prefix.
    pub local: String,
    /// Namespace; empty without a prefix.
    pub namespace: String,
    /// Value, normalised as XML 1.0, 3.3.3 says for CDATA.
    pub value: String,
}

/// Content of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// An element.
    Element(Element),
    /// Characters.
    Text(String),
}

impl Element {
    /// Whether this is `local` of `namespace`.
    #[must_use]
    pub fn is(&self, namespace: &str, local: &str) -> bool {
        self.local == local && self.namespace == namespace
    }

    /// The elements among the children.
    pub fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The text inside, when there are no elements.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self.children.as_slice() {
            [] => Some(""),
            [Node::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// This element and all below it, in document order.
    pub fn descendants(&self) -> impl Iterator<Item = &Self> {
        let mut waiting = vec![self];
        std::iter::from_fn(move || {
            let next = waiting.pop()?;
            let below: Vec<_> = next.elements().collect();
            waiting.extend(below.into_iter().rev());
            Some(next)
        })
    }
}

/// Prefixes and their namespaces. Shared, because a hostile document may declare many at every level.
pub(crate) type Scope = Rc<Vec<(Rc<str>, Rc<str>)>>;

/// How much of a document is read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the whole.
    pub bytes: usize,
    /// Elements inside one another.
    pub depth: usize,
    /// Attributes and namespace declarations of one element.
    pub attributes: usize,
    /// Elements and attributes of the whole, when few [`Self::repeated`] ones are there.
    pub nodes: usize,
    /// Names of the elements at depth 4 that a long message repeats.
    pub repeated: &'static [&'static str],
    /// Elements and attributes that are allowed for each repeated element, when that makes more.
    pub nodes_per_repeated: usize,
}

/// Why a document is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A cap of [`Limits`].
    #[error("the message has more than {max} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        max: usize,
    },
    /// Not UTF-8.
    #[error("the message is not in UTF-8")]
    Encoding,
    /// DOCTYPE, processing instruction or comment.
    #[error("{0} is not allowed")]
    Forbidden(&'static str),
    /// Not well-formed, or not namespace-well-formed.
    #[error("the XML is not well-formed: {why}, at byte {at}")]
    IllFormed {
        /// What is wrong.
        why: &'static str,
        /// About where, in bytes.
        at: usize,
    },
}
