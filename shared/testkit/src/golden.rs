//! Golden files: `tests/golden/` of the crate under test.

use std::fs;
use std::path::PathBuf;

/// A golden file.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn golden(name: &str) -> Vec<u8> {
    let path = path(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Compares with a golden file. `UPDATE_GOLDEN=1` rewrites it: read the diff as you would read code.
///
/// # Panics
/// When they differ.
pub fn assert_golden(name: &str, actual: &[u8]) {
    let path = path(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let folder = path.parent().expect("a golden file lies in a folder");
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, actual))
            .expect("golden files can be written");
        return;
    }
    let expected = golden(name);
    assert!(
        expected == actual,
        "{} differs; UPDATE_GOLDEN=1 rewrites it\nexpected: {}\n  actual: {}",
        path.display(),
        String::from_utf8_lossy(&expected),
        String::from_utf8_lossy(actual),
    );
}

fn path(name: &str) -> PathBuf {
    let crate_folder = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
    PathBuf::from(crate_folder).join("tests/golden").join(name)
}
