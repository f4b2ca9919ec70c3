//! From bytes to a tree.

use std::rc::Rc;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::attributes::{is_char, is_qualified_name, is_space, read, resolve};
use super::{Attribute, Element, Limits, Node, Scope, TreeError};

const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS_NAMESPACE: &str = "http://www.w3.org/2000/xmlns/";

/// Reads the one element of `bytes`.
///
/// # Errors
/// [`TreeError`]: a cap, a construct that is not allowed, or XML that is not well-formed.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Element, TreeError> {
    if bytes.len() > limits.bytes {
        return Err(TreeError::Limit {
            what: "bytes",
            max: limits.bytes,
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| TreeError::Encoding)?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    if let Some((at, _)) = text.char_indices().find(|(_, c)| !is_char(*c)) {
        return Err(TreeError::IllFormed {
            why: "a character that XML 1.0 does not allow",
            at,
        });
    }
    // XML 1.0, 2.11: line ends are normalised before anything else is read.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text = without_declaration(&text)?;
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = true;
    let mut builder = Builder {
        limits,
        open: Vec::new(),
        root: None,
        nodes: 0,
        repeated: 0,
    };
    loop {
        let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let ill = |why| TreeError::IllFormed { why, at };
        let event = reader
            .read_event()
            .map_err(|_| ill("a tag or reference is broken or not matched"))?;
        match event {
            Event::Start(tag) => builder.start(tag.name().as_ref(), tag.attributes_raw(), at)?,
            Event::Empty(tag) => {
                builder.start(tag.name().as_ref(), tag.attributes_raw(), at)?;
                builder.end(at)?;
            }
            Event::End(_) => builder.end(at)?,
            Event::Text(raw) => {
                let raw = raw.into_inner();
                if raw.contains("]]>") {
                    return Err(ill("']]>' in text"));
                }
                builder.text(&raw, at)?;
            }
            Event::GeneralRef(name) => {
                let c = resolve(&name.into_inner()).ok_or_else(|| ill("an unknown entity or character"))?;
                builder.text(c.encode_utf8(&mut [0; 4]), at)?;
                builder.must_be_inside(at)?;
            }
            Event::CData(raw) => {
                builder.text(&raw.into_inner(), at)?;
                builder.must_be_inside(at)?;
            }
            Event::Comment(_) => return Err(TreeError::Forbidden("a comment")),
            Event::PI(_) => return Err(TreeError::Forbidden("a processing instruction")),
            Event::DocType(_) => return Err(TreeError::Forbidden("a DOCTYPE")),
            Event::Decl(_) => return Err(ill("an XML declaration that is not at the beginning")),
            Event::Eof => return builder.finish(at),
        }
    }
}

/// Takes the XML declaration away, when it says version 1.0 and UTF-8.
fn without_declaration(text: &str) -> Result<&str, TreeError> {
    let ill = |why| TreeError::IllFormed { why, at: 0 };
    let Some(inside) = text
        .strip_prefix("<?xml")
        .filter(|rest| rest.starts_with(is_space))
    else {
        return Ok(text);
    };
    let (inside, rest) = inside
        .split_once("?>")
        .ok_or_else(|| ill("an XML declaration without end"))?;
    let attributes = read(inside, 0, 3)?;
    let mut left = attributes.as_slice();
    match left.split_first() {
        Some(((name, value), others)) if *name == "version" && value == "1.0" => left = others,
        _ => return Err(ill("the version is not 1.0")),
    }
    if let Some(((name, value), others)) = left.split_first()
        && *name == "encoding"
    {
        if !value.eq_ignore_ascii_case("UTF-8") {
            return Err(TreeError::Encoding);
        }
        left = others;
    }
    match left {
        [] => Ok(rest),
        [(name, value)] if *name == "standalone" && (value == "yes" || value == "no") => Ok(rest),
        _ => Err(ill("an XML declaration with something else")),
    }
}

struct Builder<'l> {
    limits: &'l Limits,
    open: Vec<Element>,
    root: Option<Element>,
    nodes: usize,
    repeated: usize,
}

impl Builder<'_> {
    fn start(&mut self, name: &str, raw_attributes: &str, at: usize) -> Result<(), TreeError> {
        let ill = |why| TreeError::IllFormed { why, at };
        if self.root.is_some() {
            return Err(ill("more than one root element"));
        }
        if !is_qualified_name(name) {
            return Err(ill("an element's name is none"));
        }
        let written = read(raw_attributes, at, self.limits.attributes)?;
        self.count(name, 1 + written.len())?;
        let outer = self
            .open
            .last()
            .map_or_else(|| Rc::new(Vec::new()), |e| e.scope.clone());
        let (declarations, others): (Vec<_>, Vec<_>) = written
            .into_iter()
            .partition(|(name, _)| *name == "xmlns" || name.starts_with("xmlns:"));
        let scope =
            declare(outer, declarations).ok_or_else(|| ill("a namespace declaration that is not allowed"))?;
        let (prefix, local) = split(name);
        let namespace = lookup(&scope, prefix)
            .ok_or_else(|| ill("a prefix without namespace"))?
            .to_owned();
        let mut attributes: Vec<Attribute> = Vec::with_capacity(others.len());
        for (name, value) in others {
            let (prefix, local) = split(name);
            // An attribute without prefix is in no namespace, whatever the default is.
            let namespace = if prefix.is_empty() {
                Some("")
            } else {
                lookup(&scope, prefix)
            };
            let namespace = namespace
                .ok_or_else(|| ill("a prefix without namespace"))?
                .to_owned();
            if attributes
                .iter()
                .any(|a| a.local == local && a.namespace == namespace)
            {
                return Err(ill("an attribute twice"));
            }
            attributes.push(Attribute {
                prefix: prefix.into(),
                local: local.into(),
                namespace,
                value,
            });
        }
        let (prefix, local) = (prefix.to_owned(), local.to_owned());
        self.open.push(Element {
            prefix,
            local,
            namespace,
            attributes,
            scope,
            children: Vec::new(),
        });
        Ok(())
    }

    fn count(&mut self, name: &str, nodes: usize) -> Result<(), TreeError> {
        let Limits {
            depth,
            nodes: base,
            repeated,
            nodes_per_repeated,
            ..
        } = *self.limits;
        if self.open.len() == depth {
            return Err(TreeError::Limit {
                what: "elements inside one another",
                max: depth,
            });
        }
        if self.open.len() == 3 && repeated.contains(&split(name).1) {
            self.repeated += 1;
        }
        self.nodes += nodes;
        let max = base.max(self.repeated.saturating_mul(nodes_per_repeated));
        if self.nodes > max {
            Err(TreeError::Limit {
                what: "elements and attributes",
                max,
            })
        } else {
            Ok(())
        }
    }

    fn end(&mut self, at: usize) -> Result<(), TreeError> {
        let done = self.open.pop().ok_or(TreeError::IllFormed {
            why: "an end tag too many",
            at,
        })?;
        match self.open.last_mut() {
            Some(parent) => parent.children.push(Node::Element(done)),
            None => self.root = Some(done),
        }
        Ok(())
    }

    fn text(&mut self, text: &str, at: usize) -> Result<(), TreeError> {
        match self.open.last_mut() {
            Some(parent) => match parent.children.last_mut() {
                Some(Node::Text(before)) => before.push_str(text),
                _ if text.is_empty() => {}
                _ => parent.children.push(Node::Text(text.to_owned())),
            },
            None if text.chars().all(is_space) => {}
            None => {
                return Err(TreeError::IllFormed {
                    why: "text outside the root element",
                    at,
                });
            }
        }
        Ok(())
    }

    /// References and CDATA sections may not stand outside, white space or not.
    fn must_be_inside(&self, at: usize) -> Result<(), TreeError> {
        if self.open.is_empty() {
            return Err(TreeError::IllFormed {
                why: "text outside the root element",
                at,
            });
        }
        Ok(())
    }

    fn finish(self, at: usize) -> Result<Element, TreeError> {
        match self.root {
            Some(root) if self.open.is_empty() => Ok(root),
            Some(_) | None => Err(TreeError::IllFormed {
                why: "an element without end, or none at all",
                at,
            }),
        }
    }
}

fn split(name: &str) -> (&str, &str) {
    name.split_once(':').unwrap_or(("", name))
}

/// The scope inside an element that declares `declarations`; nothing when Namespaces in XML 1.0 forbids one.
fn declare(outer: Scope, declarations: Vec<(&str, String)>) -> Option<Scope> {
    if declarations.is_empty() {
        return Some(outer);
    }
    let mut scope = Vec::clone(&outer);
    for (name, uri) in declarations {
        let prefix = name.strip_prefix("xmlns:").unwrap_or("");
        let allowed = match prefix {
            "xmlns" => false,
            "xml" => uri == XML_NAMESPACE,
            "" => uri != XML_NAMESPACE && uri != XMLNS_NAMESPACE,
            _ => !uri.is_empty() && uri != XML_NAMESPACE && uri != XMLNS_NAMESPACE,
        };
        if !allowed {
            return None;
        }
        scope.retain(|(known, _)| **known != *prefix);
        scope.push((prefix.into(), uri.into()));
    }
    Some(Rc::new(scope))
}

pub(super) fn lookup<'a>(scope: &'a Scope, prefix: &str) -> Option<&'a str> {
    match scope.iter().find(|(known, _)| **known == *prefix) {
        Some((_, uri)) => Some(uri),
        None if prefix.is_empty() => Some(""),
        None if prefix == "xml" => Some(XML_NAMESPACE),
        None => None,
    }
}
