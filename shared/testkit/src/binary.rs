//! Programs of the workspace, for the tests that run real processes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::parts;
use crate::run::lock_file;

/// The path of a program of this workspace, in the profile of the running test: `binary("spi")`.
///
/// `PIX_TEST_BINARIES` names a folder with programs that are built already; otherwise the first test of a run
/// that asks has cargo bring it up to date.
///
/// # Panics
/// When it cannot be built.
pub async fn binary(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("PIX_TEST_BINARIES") {
        return PathBuf::from(folder).join(name);
    }
    // <target>/<profile>/deps/<test>
    let test = std::env::current_exe().expect("a running program has a path");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("cargo puts tests two folders deep")
        .to_path_buf();
    let built = parts().await.folder.join(format!("{name}.built"));
    let _lock = lock_file(&built.with_extension("lock")).expect("a file can be locked");
    if !built.exists() {
        build(name, &profile);
        std::fs::write(&built, "").expect("the run's folder is there");
    }
    profile.join(name)
}

/// The whole workspace is named so that features come out as in the build of the tests.
fn build(name: &str, profile_folder: &Path) {
    let target = profile_folder
        .parent()
        .expect("a profile is a folder of the target folder");
    let profile = match profile_folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--locked",
            "--workspace",
            "--bin",
            name,
            "--profile",
            profile,
            "--target-dir",
        ])
        .arg(target)
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "cargo could not build {name}");
}
