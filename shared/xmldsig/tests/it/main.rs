//! Our exclusive C14N against bergshamra's and libxml2's, on whatever XML comes.

mod vector;

use std::process::Command;

use bergshamra::c14n::{C14nMode, canonicalize as oracle};
use pix_xmldsig::tree::{Limits, canonicalize, parse};
use pix_xmldsig::{Cursor, Token};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    depth: 32,
    attributes: 32,
    nodes: 10_000,
    repeated: &[],
    nodes_per_repeated: 0,
};

/// Prefixes that every document binds at its root, so that any element may use any of them.
const ROOT: &str = " xmlns=\"urn:default\" xmlns:a=\"urn:a\" xmlns:b=\"urn:b\"";

fn attribute() -> impl Strategy<Value = (String, String)> {
    let name = select(vec!["x", "y", "Id", "a:x", "b:x", "a:y", "xml:lang"]).prop_map(str::to_owned);
    let value = select(vec![
        "",
        "1",
        "&amp;&lt;",
        "&#9;&#10;&#13;",
        "'",
        "&quot;",
        "ç>",
        "&#x20AC;",
    ]);
    (name, value.prop_map(str::to_owned))
}

fn declaration() -> impl Strategy<Value = (String, String)> {
    select(vec![
        ("xmlns", "urn:default"),
        ("xmlns", "urn:other"),
        ("xmlns", ""),
        ("xmlns:a", "urn:a"),
        ("xmlns:a", "urn:b"),
        ("xmlns:b", "urn:other"),
        ("xmlns:c", "urn:never-used"),
    ])
    .prop_map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn text() -> impl Strategy<Value = String> {
    select(vec![
        "",
        " ",
        "\n\t",
        "text",
        "a &amp; b",
        "&lt;&gt;",
        "]]&gt;",
        "&#13;\n",
        "&#xD;",
        "<![CDATA[<&>]]>",
        "é\"'",
        "\r\n",
    ])
    .prop_map(str::to_owned)
}

fn element() -> impl Strategy<Value = String> {
    let tag = || {
        (
            select(vec!["e", "f", "a:e", "b:e"]),
            proptest::collection::vec(attribute(), 0..3),
            proptest::collection::vec(declaration(), 0..2),
        )
    };
    let leaf = (tag(), text()).prop_map(|(tag, text): (Tag, String)| render(tag, &text));
    leaf.prop_recursive(4, 32, 4, move |inner| {
        (tag(), proptest::collection::vec((inner, text()), 1..4)).prop_map(
            |(tag, children): (Tag, Vec<(String, String)>)| {
                let content: String = children
                    .into_iter()
                    .map(|(element, text)| element + &text)
                    .collect();
                render(tag, &content)
            },
        )
    })
}

type Tag = (&'static str, Vec<(String, String)>, Vec<(String, String)>);

fn render((name, attributes, declarations): Tag, content: &str) -> String {
    let mut written: Vec<String> = Vec::new();
    let mut out = format!("<{name}");
    for (name, value) in declarations.into_iter().chain(attributes) {
        if !written.contains(&name) {
            out.push_str(&format!("  {name} = \"{value}\""));
            written.push(name);
        }
    }
    if content.is_empty() {
        out + "/>"
    } else {
        format!("{out} >{content}</{name}\n>")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn canonical_forms_agree(content in element()) {
        let document = format!("<root{ROOT}>{content}</root>");
        // An attribute twice by namespace, where two prefixes mean one: both refuse.
        let Ok(root) = parse(document.as_bytes(), &LIMITS) else {
            prop_assert!(oracle::<&str>(&document, C14nMode::Exclusive, None, &[]).is_err(), "{}", document);
            return Ok(());
        };
        let ours = canonicalize(&root, None);
        let theirs = oracle::<&str>(&document, C14nMode::Exclusive, None, &[]).expect("well-formed");
        prop_assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
        // A canonical form is its own, whole or in parts, and made of the cursor's tokens.
        let again = parse(&ours, &LIMITS).expect("canonical XML is XML");
        prop_assert_eq!(&canonicalize(&again, None), &ours);
        for part in root.descendants() {
            let apex = canonicalize(part, None);
            let alone = parse(&apex, &LIMITS).expect("an apex declares what it uses");
            prop_assert_eq!(canonicalize(&alone, None), apex);
        }
        let mut cursor = Cursor::new(std::str::from_utf8(&ours).expect("UTF-8"), 10_000).expect("canonical");
        while cursor.take().expect("canonical") != Token::End {}
    }
}

/// libxml2 also normalises white space inside attributes (XML 1.0, 3.3.3), which bergshamra leaves as it is.
#[test]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn canonical_forms_agree_with_libxml2() {
    if Command::new("xmllint").arg("--version").output().is_err() {
        eprintln!("skipped: xmllint is not installed (Debian package libxml2-utils)");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("document.xml");
    let mut runner = TestRunner::deterministic();
    let mut compared = 0;
    for _ in 0..150 {
        let content = element().new_tree(&mut runner).expect("an element").current();
        let content = content.replacen(" = \"1\"", " = \"\n 1\t\"", 1);
        let document = format!("<root{ROOT}>{content}</root>\n");
        std::fs::write(&file, &document).expect("written");
        let theirs = Command::new("xmllint")
            .arg("--exc-c14n")
            .arg(&file)
            .output()
            .expect("runs");
        let Ok(root) = parse(document.as_bytes(), &LIMITS) else {
            assert!(!theirs.stderr.is_empty(), "{document}");
            continue;
        };
        let ours = canonicalize(&root, None);
        assert_eq!(
            String::from_utf8_lossy(&ours),
            String::from_utf8_lossy(&theirs.stdout),
            "{document}"
        );
        compared += 1;
    }
    assert!(compared > 100, "only {compared}");
}
