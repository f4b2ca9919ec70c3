//! The official samples of catalogue 5.13.1.

use std::path::{Path, PathBuf};
use std::process::Command;

use iso20022::{UnreadableKind, parse_unsigned, unsigned};

use crate::support::{output, spec, tool};

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("the folder of samples")
        .map(|e| e.expect("a file").path())
        .collect();
    files.sort();
    files
}

fn is_ours(file: &Path) -> bool {
    let name = file.file_name().expect("a name").to_string_lossy();
    ["pacs.008_", "pacs.002_", "admi.002_"]
        .iter()
        .any(|ours| name.starts_with(ours))
}

#[test]
fn samples_parse_and_come_back_in_canonical_form() {
    let Some(spec) = spec() else { return };
    if !tool("xmllint", "libxml2-utils") {
        return;
    }
    let mut seen = 0;
    for file in [
        files(&spec.join("spi/samples-5.13.1")),
        files(&spec.join("spi/samples-reconstructed")),
    ]
    .concat()
    {
        if !is_ours(&file) {
            continue;
        }
        let bytes = std::fs::read(&file).expect("a sample");
        let envelope = parse_unsigned(&bytes).unwrap_or_else(|e| panic!("{}: {e:?}", file.display()));
        // libxml2's own exclusive C14N of the sample, less the white space that formats it.
        let canonical = output(
            Command::new("xmllint")
                .args(["--noblanks", "--exc-c14n"])
                .arg(&file),
        );
        let ours = unsigned(&envelope);
        assert_eq!(
            String::from_utf8_lossy(&ours),
            String::from_utf8_lossy(&canonical),
            "{}",
            file.display()
        );
        seen += 1;
    }
    assert!(seen >= 12, "only {seen} samples");
}

#[test]
fn messages_of_other_catalogues_and_kinds_are_unknown_schemas() {
    let Some(spec) = spec() else { return };
    let old = files(&spec.join("spi/samples"));
    let returns = files(&spec.join("spi/samples-5.13.1"))
        .into_iter()
        .filter(|f| !is_ours(f));
    let mut seen = 0;
    for file in old.into_iter().chain(returns) {
        let refused =
            parse_unsigned(&std::fs::read(&file).expect("a sample")).expect_err("not of the catalogue");
        assert_eq!(refused.kind, UnreadableKind::Schema, "{}", file.display());
        assert!(
            refused.message_id.is_some(),
            "its id can still be named: {}",
            file.display()
        );
        seen += 1;
    }
    assert!(seen >= 15, "only {seen} samples");
}
