//! The bench against a whole switch that it starts itself.
//!
//! Alone (`.config/nextest.toml`), and slow: what is looked at is whether it counts right, never how fast.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// `pix`: beside ours, where one build has made all programs.
fn pix() -> PathBuf {
    let ours = Path::new(env!("CARGO_BIN_EXE_loadtest"));
    let folder = std::env::var_os("PIX_TEST_BINARIES").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| ours.parent().expect("it lies in a folder").to_path_buf());
    let pix = folder.join("pix");
    assert!(
        pix.is_file(),
        "{} is missing: run `make test`, or build it with `cargo build --bins`",
        pix.display()
    );
    pix
}

fn bench(out: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(arguments)
        .args(["--no-yardsticks", "--out"])
        .arg(out)
        .env("PIX_BENCH_PIX", pix())
        .output()
        .expect("the bench starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The JSON reports in a folder, with their pages.
fn reports(folder: &Path) -> Vec<(PathBuf, Value, String)> {
    let files = std::fs::read_dir(folder).expect("a folder");
    let mut jsons: Vec<PathBuf> = files
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    jsons.sort();
    jsons
        .iter()
        .map(|json| {
            let text = std::fs::read_to_string(json).expect("a report");
            let page = std::fs::read_to_string(json.with_extension("html")).expect("its page");
            (json.clone(), serde_json::from_str(&text).expect("JSON"), page)
        })
        .collect()
}

#[test]
fn a_smoke_of_two_seconds_is_valid_and_accounts_for_every_payment() {
    let out = tempfile::tempdir().expect("a folder");
    // Refusals and repeats too: the gate has to add them up.
    let arguments = [
        "smoke",
        "--rate",
        "20",
        "--for",
        "2",
        "--per-message",
        "2",
        "--refuse",
        "20",
        "--duplicates",
        "30",
        "--lookups",
        "beforehand",
        "--slo",
        "errors<0%",
        "--seed",
        "3",
    ];
    let ran = bench(out.path(), &arguments);
    assert!(ran.status.success(), "{}", said(&ran));
    let reports = reports(out.path());
    let [(json, report, page)] = &reports[..] else {
        panic!("{} reports", reports.len());
    };
    let run = &report["runs"][0];
    let count = |name: &str| run["counts"][name].as_u64().expect("a count");
    assert_eq!((count("sent"), count("accepted")), (40, 40));
    assert_eq!(count("settled") + count("rejected"), 40);
    assert!(count("rejected") > 0 && count("settled") > 0 && count("repeated") > 0);
    assert_eq!(run["errors"]["RJCT AC03"], count("rejected"));
    let checks = run["checks"].as_array().expect("checks");
    assert!(
        checks.len() >= 8 && checks.iter().all(|check| check["holds"] == true),
        "{checks:#?}"
    );
    assert_eq!(report["verdicts"][0]["holds"], true);
    assert!(
        run["signatures_a_payment"]
            .as_f64()
            .is_some_and(|signatures| signatures > 1.0)
    );
    assert_eq!(report["postgres"]["fsync"], "on");
    assert!(
        run["figures"]["latency"]["histogram"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    );
    assert!(page.contains("id=\"data\"") && !page.contains("https:"));

    let compared = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .arg("compare")
        .args([json, json])
        .output()
        .expect("the bench starts");
    let table = said(&compared);
    let row = table
        .lines()
        .find(|line| line.starts_with("signatures a payment"));
    assert!(
        compared.status.success() && row.is_some_and(|row| row.ends_with("1.00")),
        "{table}"
    );
}

/// Removes what the bench was told to keep, its database included.
struct Kept<'a>(&'a Path);

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let down = Command::new(pix())
            .arg("--dir")
            .arg(self.0)
            .args(["down", "--purge"])
            .output();
        drop(down);
    }
}

#[test]
fn a_kept_switch_serves_again_and_a_burst_tells_how_soon_it_was_over() {
    let out = tempfile::tempdir().expect("a folder");
    // User postgres, whom root runs the database as, has to get through.
    std::fs::set_permissions(out.path(), Permissions::from_mode(0o711)).expect("ours");
    let (keep, reported) = (out.path().join("kept"), out.path().join("reports"));
    let _kept = Kept(&keep);
    let keep = keep.to_str().expect("letters");
    let burst = [
        "burst",
        "--banks",
        "2",
        "--rate",
        "20",
        "--peak",
        "40",
        "--for",
        "8",
        "--warm-up",
        "1",
        "--keep",
        keep,
    ];
    let ran = bench(&reported, &burst);
    assert!(ran.status.success(), "{}", said(&ran));

    let trace = out.path().join("instants");
    let instants: Vec<String> = (1..=30).map(|number| format!("0.{number:02}")).collect();
    std::fs::write(&trace, instants.join("\n")).expect("ours");
    let trace = trace.to_str().expect("letters");
    let again = bench(
        &reported,
        &["pair", "--trace", trace, "--per-message", "3", "--keep", keep],
    );
    assert!(again.status.success(), "{}", said(&again));
    assert!(
        !said(&again).contains("banks joined"),
        "they were there: {}",
        said(&again)
    );

    let reports = reports(&reported);
    let [(_, burst, page), (_, pair, _)] = &reports[..] else {
        panic!("{} reports", reports.len());
    };
    assert_eq!(
        (&burst["setup"]["payers"], &burst["setup"]["receivers"]),
        (&1.into(), &1.into())
    );
    let recovery = &burst["runs"][0]["recovery"];
    assert_eq!(recovery["watched_s"], 2);
    assert!(
        recovery["in_burst_p99_ms"].as_f64().is_some_and(|ms| ms > 0.0) && page.contains("baseline latency"),
        "{recovery}"
    );
    assert_eq!(pair["runs"][0]["counts"]["settled"], 30);
    assert!(pair["runs"][0]["recovery"].is_null());
}
