//! `pix bench`: hands over to the bench, which lies beside us.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

/// Becomes the bench: its exit code is ours, and so is its Ctrl-C. It starts switches with this `pix`.
pub(crate) fn become_it(arguments: &[OsString]) -> anyhow::Result<Infallible> {
    let us =
        std::env::current_exe().context("the path of this program is unknown: start it by its full path")?;
    let folder = us.parent().unwrap_or(Path::new("/"));
    let bench = folder.join("loadtest");
    if !bench.is_file() {
        let release = if folder.ends_with("release") {
            " --release"
        } else {
            ""
        };
        bail!(
            "the bench is not in {}: build it with `cargo build{release} -p loadtest`",
            folder.display()
        );
    }
    // It returns only to say why it could not.
    let why = Command::new(&bench)
        .arg0("pix bench")
        .args(arguments)
        .env("PIX_BENCH_PIX", &us)
        .exec();
    Err(why).with_context(|| format!("{} cannot be started", bench.display()))
}
