//! The README, read as a newcomer reads it: every command in it works, every link leads somewhere.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::docs::session;
use crate::money::{order, until_all_ended};
use crate::reference::file;
use crate::switch::{A, B, PIX, Switch};

/// Documents whose `sh` blocks are run here; `docs.rs` runs those of `docs/connect-a-bank.md`.
const DOCUMENTS: [&str; 3] = [
    "README.md",
    "docs/virtual-participants.md",
    "docs/troubleshooting.md",
];

/// What is not run here, and why not. Each is there: a target of the Makefile, or a command with a `--help`.
const NOT_RUN: [(&str, &str); 13] = [
    (
        "make run",
        "it is what `pix up` does, after a release build: first_payment.rs",
    ),
    ("make run ARGS=\"--port-offset 1000\"", "likewise"),
    ("make test", "it runs this"),
    ("make docs", "it writes what reference.rs compares"),
    ("make lint", "it builds everything once more"),
    ("make fuzz", "it takes a minute a target, and cargo-fuzz"),
    (
        "cargo run --release -p loadtest smoke",
        "a release build, and half a minute of load; loadtest tests itself",
    ),
    ("pix up", "this switch is started by it"),
    (
        "pix up --dir other --port-offset 1000",
        "likewise; every switch of these tests has a folder and ports of its own",
    ),
    ("pix down", "lifecycle.rs"),
    ("pix down --purge", "lifecycle.rs"),
    ("pix logs --follow", "it has no end"),
    ("pix balance --watch", "it has no end"),
];

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn reason(command: &str) -> Option<&'static str> {
    NOT_RUN
        .iter()
        .find(|(name, _)| *name == command)
        .map(|(_, why)| *why)
}

/// Code within lines, where it is a command; blocks have theirs in `session`.
fn inline(document: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut in_block = false;
    for line in document.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            let code = line.split('`').skip(1).step_by(2);
            let is_command = |code: &&str| {
                let mut words = code.split(' ');
                matches!(words.next(), Some("pix" | "make" | "cargo")) && words.next().is_some()
            };
            commands.extend(code.filter(is_command).map(str::to_owned));
        }
    }
    commands
}

#[tokio::test]
async fn every_command_of_the_readme_works() {
    let switch = Switch::new().await;
    let paid = order(&switch, A, B, 100, "readme").await;
    until_all_ended(&switch, A, B, std::slice::from_ref(&paid)).await;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = pix_on_path(&switch, folder.path());
    let (mut ran, mut left_out) = (0, 0);
    for name in DOCUMENTS {
        let document = read(name);
        let session = session(&document);
        let (not_run, lines): (Vec<_>, Vec<_>) = session.lines().partition(|line| {
            let command = line.split('#').next().unwrap_or_default().trim_end();
            reason(command).is_some()
        });
        left_out += not_run.len();
        run(&path, folder.path(), &paid, &lines.join("\n")).await;
        ran += lines.len();
        for command in inline(&document) {
            if reason(&command).is_some() {
                left_out += 1;
                continue;
            }
            assert!(
                !command.starts_with("make"),
                "{name}: {command} is neither run nor said why not"
            );
            run(&path, folder.path(), &paid, &command).await;
            ran += 1;
        }
    }
    assert!(
        ran > 30 && left_out > 4,
        "{ran} lines were run, {left_out} left out"
    );
    switch.stop().await;
}

/// Runs lines of a document in `folder`; `E2EID` is a payment that was made.
async fn run(path: &str, folder: &Path, paid: &str, lines: &str) {
    let output = Command::new("sh")
        .args(["-euc", lines])
        .env("PATH", path)
        .env("E2EID", paid)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .await
        .expect("sh is there");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{lines}\n{}\n{said}\n{complained}",
        output.status
    );
}

/// A `PATH` on which `pix` is this build's, for this switch.
fn pix_on_path(switch: &Switch, folder: &Path) -> String {
    let bin = folder.join("bin");
    fs::create_dir(&bin).expect("the folder is ours");
    let script = bin.join("pix");
    let (dir, offset) = (switch.home.dir(), switch.home.port(0));
    let text = format!(
        "#!/bin/sh\nexec '{PIX}' --dir '{}' --port-offset {offset} \"$@\"\n",
        dir.display()
    );
    fs::write(&script, text).expect("the folder is ours");
    fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("the file is ours");
    let inherited = std::env::var("PATH").unwrap_or_default();
    format!("{}:{inherited}", bin.display())
}

#[tokio::test]
async fn what_is_not_run_is_there() {
    let makefile = read("Makefile");
    for (command, why) in NOT_RUN {
        assert!(!why.is_empty());
        let mut words = command.split(' ');
        let (program, what) = (words.next(), words.next().expect("a command of two words"));
        if program == Some("make") {
            assert!(
                makefile.lines().any(|line| line.starts_with(&format!("{what}:"))),
                "{command}"
            );
        } else if program == Some("cargo") {
            let package = command.split(' ').skip_while(|word| *word != "-p").nth(1);
            assert!(
                file(package.expect("a package")).join("Cargo.toml").exists(),
                "{command}"
            );
        } else {
            let output = Command::new(PIX)
                .args([what, "--help"])
                .output()
                .await
                .expect("pix starts");
            assert!(output.status.success(), "{command}");
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut followed = 0;
    let documents = fs::read_dir(file("docs")).expect("the folder is there");
    let mut documents: Vec<_> = documents.map(|entry| entry.expect("readable").path()).collect();
    documents.extend(["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(file));
    for document in documents
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
    {
        let text = fs::read_to_string(document).expect("readable");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = document.parent().expect("a folder").join(target);
            assert!(
                path.exists(),
                "{} links to {link}, which is not there",
                document.display()
            );
            followed += 1;
        }
    }
    assert!(followed > 8, "links are found: {followed}");
}
