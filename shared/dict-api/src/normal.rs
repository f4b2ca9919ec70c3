//! Writes a tree in our own profile, so that one parser serves both ways of reading.

use pix_xmldsig::escape;
use pix_xmldsig::tree::{Element, Node};

use crate::read::Fault;
use crate::shape::Shape;

const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// A request, without `signature`: all of it, in its order. Nothing that the API's document does not have is
/// passed over: namespaces and attributes are refused here, elements by the parser.
pub(crate) fn whole(root: &Element, signature: Option<&Element>) -> Result<String, Fault> {
    let mut out = String::with_capacity(1024);
    write_whole(root, signature, &mut out)?;
    Ok(out)
}

fn write_whole(element: &Element, signature: Option<&Element>, out: &mut String) -> Result<(), Fault> {
    if signature.is_some_and(|signature| std::ptr::eq(signature, element)) {
        return Ok(());
    }
    if !element.namespace.is_empty() {
        return Err(Fault::new(
            "an element has a namespace, and those of the API have none",
        ));
    }
    if !element.attributes.iter().all(is_hint) {
        return Err(Fault::new(
            "an element has an attribute, and those of requests have none",
        ));
    }
    tag(&element.local, out, |out| {
        write_content(element, out, |child, out| write_whole(child, signature, out))
    })
}

/// Hints for validators say nothing about the message.
fn is_hint(attribute: &pix_xmldsig::tree::Attribute) -> bool {
    attribute.namespace == XSI
        && matches!(
            attribute.local.as_str(),
            "schemaLocation" | "noNamespaceSchemaLocation"
        )
}

fn write_content(
    element: &Element,
    out: &mut String,
    mut write_child: impl FnMut(&Element, &mut String) -> Result<(), Fault>,
) -> Result<(), Fault> {
    // White space between elements says nothing, `&#13;` included, which Java leaves behind there.
    let between = element.elements().next().is_some();
    for child in &element.children {
        match child {
            Node::Element(child) => write_child(child, out)?,
            Node::Text(text) if between && text.bytes().all(|b| b.is_ascii_whitespace()) => {}
            Node::Text(text) => out.push_str(&escape::text(text)),
        }
    }
    Ok(())
}

/// An answer: what `shape` knows of it, in the order of `shape`. `root_tag` is how its start tag is written.
pub(crate) fn known(root: &Element, shape: &Shape, root_tag: &str) -> Result<String, Fault> {
    let mut out = String::with_capacity(2048);
    out.push('<');
    out.push_str(root_tag);
    out.push('>');
    write_known(root, shape, &mut out)?;
    out.push_str("</");
    out.push_str(shape.name);
    out.push('>');
    Ok(out)
}

fn write_known(element: &Element, shape: &Shape, out: &mut String) -> Result<(), Fault> {
    if shape.children.is_empty() {
        let text = element.text().ok_or_else(|| Fault::in_element(shape.name))?;
        out.push_str(&escape::text(text));
        return Ok(());
    }
    for child_shape in shape.children {
        let of_shape = |e: &&Element| e.is(&element.namespace, child_shape.name);
        for child in element.elements().filter(of_shape) {
            out.push('<');
            out.push_str(child_shape.name);
            for name in child_shape.attributes {
                let written = child
                    .attributes
                    .iter()
                    .find(|a| a.namespace.is_empty() && a.local == *name);
                if let Some(attribute) = written {
                    let value = escape::attribute(&attribute.value);
                    out.push_str(&format!(" {name}=\"{value}\""));
                }
            }
            out.push('>');
            write_known(child, child_shape, out)?;
            out.push_str("</");
            out.push_str(child_shape.name);
            out.push('>');
        }
    }
    Ok(())
}

fn tag(
    name: &str,
    out: &mut String,
    content: impl FnOnce(&mut String) -> Result<(), Fault>,
) -> Result<(), Fault> {
    out.push('<');
    out.push_str(name);
    out.push('>');
    content(out)?;
    out.push_str("</");
    out.push_str(name);
    out.push('>');
    Ok(())
}
