//! Exclusive XML Canonicalization 1.0, without comments, of one element.

use super::parse::lookup;
use super::{Attribute, Element, Node};
use crate::escape;

/// Canonical form of `apex` as a document subset, without the subtree `except` (the enveloped signature).
///
/// <https://www.w3.org/TR/xml-exc-c14n/>, section 3, for a subset that is a whole subtree: a namespace is
/// declared on an element when the element or one of its attributes visibly uses its prefix, and the nearest
/// ancestor inside the subset that declared that prefix, if any, gave it another namespace.
#[must_use]
pub fn canonicalize(apex: &Element, except: Option<&Element>) -> Vec<u8> {
    let mut out = String::new();
    write(apex, except, &mut Vec::new(), &mut out);
    out.into_bytes()
}

fn write(
    element: &Element,
    except: Option<&Element>,
    rendered: &mut Vec<(String, String)>,
    out: &mut String,
) {
    if except.is_some_and(|except| std::ptr::eq(except, element)) {
        return;
    }
    let outside = rendered.len();
    let name = qualified(&element.prefix, &element.local);
    out.push('<');
    out.push_str(&name);
    for prefix in visibly_used(element) {
        let uri = lookup(&element.scope, &prefix).unwrap_or_default();
        let before = rendered
            .iter()
            .rev()
            .find(|(known, _)| *known == prefix)
            .map(|(_, uri)| uri.as_str());
        // No namespace at all needs no declaration, unless an ancestor declared a default one.
        if before.unwrap_or_default() == uri {
            continue;
        }
        let declaration = if prefix.is_empty() {
            "xmlns".to_owned()
        } else {
            format!("xmlns:{prefix}")
        };
        push_attribute(&declaration, uri, out);
        rendered.push((prefix, uri.to_owned()));
    }
    let mut attributes: Vec<&Attribute> = element.attributes.iter().collect();
    attributes.sort_by_key(|a| (&a.namespace, &a.local));
    for attribute in attributes {
        push_attribute(
            &qualified(&attribute.prefix, &attribute.local),
            &attribute.value,
            out,
        );
    }
    out.push('>');
    for child in &element.children {
        match child {
            Node::Element(child) => write(child, except, rendered, out),
            Node::Text(text) => out.push_str(&escape::text(text)),
        }
    }
    out.push_str("</");
    out.push_str(&name);
    out.push('>');
    rendered.truncate(outside);
}

/// Prefixes that the tag itself shows, sorted; the empty one is the default namespace. `xml` is never declared.
fn visibly_used(element: &Element) -> Vec<String> {
    let of_attributes = element
        .attributes
        .iter()
        .map(|a| &a.prefix)
        .filter(|prefix| !prefix.is_empty());
    let mut prefixes: Vec<String> = of_attributes.chain([&element.prefix]).cloned().collect();
    prefixes.retain(|prefix| prefix != "xml");
    prefixes.sort();
    prefixes.dedup();
    prefixes
}

fn qualified(prefix: &str, local: &str) -> String {
    if prefix.is_empty() {
        local.to_owned()
    } else {
        format!("{prefix}:{local}")
    }
}

fn push_attribute(name: &str, value: &str, out: &mut String) {
    out.push(' ');
    out.push_str(name);
    out.push_str("=\"");
    out.push_str(&escape::attribute(value));
    out.push('"');
}
