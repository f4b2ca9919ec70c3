//! The documents that are written from the code: `docs/metrics.md` and `docs/configuration.md`.
//!
//! Each service tells its settings and metrics (`--describe`); `UPDATE_DOCS=1` writes the documents anew, otherwise they
//! have to be what would be written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::switch::PIX;

/// The services, in the order of a payment's way.
pub(crate) const SERVICES: [&str; 5] = ["spi", "dict", "settlement", "bank", "virtual"];

/// What a service says of itself.
fn describe(service: &str) -> Value {
    let program = Path::new(PIX).with_file_name(service);
    let output = Command::new(&program).arg("--describe").output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    assert!(output.status.success(), "{service} --describe: {output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn list<'a>(of: &'a Value, what: &str) -> &'a [Value] {
    of[what].as_array().unwrap_or_else(|| panic!("no {what} in {of}"))
}

fn text<'a>(of: &'a Value, what: &str) -> &'a str {
    of[what].as_str().unwrap_or_else(|| panic!("no {what} in {of}"))
}

/// The metrics of a service and their kinds.
pub(crate) fn metrics(service: &str) -> BTreeMap<String, String> {
    let described = describe(service);
    let metrics = list(&described, "metrics").iter();
    metrics
        .map(|metric| (text(metric, "name").to_owned(), text(metric, "kind").to_owned()))
        .collect()
}

/// A file of the repository.
pub(crate) fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Compares, or writes.
fn check(path: &str, wanted: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(file(path), wanted).expect("the document can be written");
    }
    let found = fs::read_to_string(file(path)).unwrap_or_default();
    assert!(
        found == wanted,
        "{path} is not what the code says: `make docs` writes it anew"
    );
}

/// A cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[test]
fn the_list_of_metrics_is_the_codes() {
    let mut document = String::from(
        "# Metrics\n\nWritten from the services' tables by `make docs`; a test compares. Every service shows them in \
         Prometheus' text form at `/metrics`\nof its ops listener (the banks at that of their page). Histograms give \
         `_bucket`, `_sum` and `_count`. Labels hold what is listed,\nor codes, statuses and ISPBs: never anything \
         of a person.\n\n`deploy/prometheus` has alert rules over them, `deploy/grafana` dashboards.\n",
    );
    for service in SERVICES {
        let described = describe(service);
        let mut seen = BTreeSet::new();
        write!(
            document,
            "\n## {service}\n\n| metric | kind | unit | labels | what it tells |\n|---|---|---|---|---|\n"
        )
        .expect("a String takes everything");
        for metric in list(&described, "metrics") {
            let name = text(metric, "name");
            assert!(seen.insert(name.to_owned()), "{service} declares {name} twice");
            let labels: Vec<String> = list(metric, "labels").iter().map(label).collect();
            writeln!(
                document,
                "| `{name}` | {} | {} | {} | {} |",
                text(metric, "kind"),
                text(metric, "unit"),
                cell(&labels.join("; ")),
                cell(text(metric, "help")),
            )
            .expect("a String takes everything");
        }
    }
    check("docs/metrics.md", &document);
}

fn label(label: &Value) -> String {
    let values: Vec<&str> = list(label, "values").iter().filter_map(Value::as_str).collect();
    match values.is_empty() {
        true => format!("`{}`", text(label, "name")),
        false => format!("`{}`: {}", text(label, "name"), values.join(", ")),
    }
}

#[test]
fn the_list_of_settings_is_the_codes() {
    let mut document = String::from(
        "# Settings\n\nWritten from the services' tables by `make docs`; a test compares. From weakest to strongest: the \
         default, a TOML file\n(`--config FILE`, or the variable `PIX_<SERVICE>_CONFIG`), the environment, flags \
         (`--key=value`). In a file `listen.primary = \"...\"`\nand a table `[listen]` with `primary` are the same. All \
         faults are reported at once, and the process ends with status 78.\n\n`pix up` writes `.pix/config/*.toml` anew \
         at every start; what is in its environment goes over it: `PIX_SPI_LOG_LEVEL=debug pix up`.\n",
    );
    for service in SERVICES {
        let described = describe(service);
        write!(
            document,
            "\n## {service}\n\n| key | default | unit | meaning | environment |\n|---|---|---|---|---|\n"
        )
        .expect("a String takes everything");
        for setting in list(&described, "settings") {
            let default = match (setting["default"].as_str(), setting["required"].as_bool()) {
                (Some(default), _) => format!("`{default}`"),
                (None, Some(true)) => "required".to_owned(),
                (None, _) => "unset".to_owned(),
            };
            writeln!(
                document,
                "| `{}` | {} | {} | {} | `{}` |",
                text(setting, "name"),
                cell(&default),
                cell(text(setting, "unit")),
                cell(text(setting, "meaning")),
                text(setting, "environment"),
            )
            .expect("a String takes everything");
        }
    }
    document += &settings_of_pix();
    check("docs/configuration.md", &document);
}

/// What every `pix` command understands; the names have to be those of its `--help`.
fn settings_of_pix() -> String {
    const SETTINGS: [(&str, &str, &str, &str, &str); 2] = [
        (
            "--dir",
            "`.pix`",
            "folder",
            "holds everything of one instance",
            "PIX_DIR",
        ),
        (
            "--port-offset",
            "0",
            "ports",
            "added to every port, so that instances run side by side; remembered in the folder",
            "PIX_PORT_OFFSET",
        ),
    ];
    let output = Command::new(PIX).arg("--help").output().expect("pix starts");
    let help = String::from_utf8_lossy(&output.stdout);
    let mut section = String::from(
        "\n## pix\n\nOf every command; each has more of its own (`--help`).\n\n| flag | default | unit | meaning | environment |\n\
         |---|---|---|---|---|\n",
    );
    for (flag, default, unit, meaning, environment) in SETTINGS {
        assert!(
            help.contains(flag) && help.contains(environment),
            "{flag}: {help}"
        );
        writeln!(
            section,
            "| `{flag}` | {default} | {unit} | {meaning} | `{environment}` |"
        )
        .expect("a String takes everything");
    }
    assert_eq!(
        help.matches("[env: ").count(),
        SETTINGS.len(),
        "each variable has its line: {help}"
    );
    section
}

#[test]
fn every_metric_in_the_code_is_in_its_services_table_and_the_other_way_round() {
    let shared = counted_in("shared");
    for service in SERVICES {
        let declared = metrics(service);
        let own = counted_in(&format!("services/{service}/src"));
        for (name, place) in &own {
            assert!(
                declared.contains_key(name),
                "{place}: {name} is not in the table of {service}"
            );
        }
        for name in declared.keys() {
            let counted = own.contains_key(name) || shared.contains_key(name);
            assert!(counted, "the table of {service} has {name}, which nothing counts");
        }
    }
    let all: BTreeSet<String> = SERVICES
        .iter()
        .flat_map(|service| metrics(service).into_keys())
        .collect();
    for (name, place) in &shared {
        assert!(all.contains(name), "{place}: {name} is in no service's table");
    }
}

/// Where a name stands that is counted: in a macro, or in the `Origin` that the outbox counts for.
const PLACES: [&str; 6] = [
    "metrics::counter!(",
    "metrics::gauge!(",
    "metrics::histogram!(",
    "    published: ",
    "    failures: ",
    "    age: ",
];

/// The names that are counted in a folder's `src`, and where.
fn counted_in(folder: &str) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let mut folders = vec![file(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("readable").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "tests" {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).expect("readable");
                for rest in PLACES.iter().flat_map(|place| text.split(place).skip(1)) {
                    // A table declares by variable; everything else says the name.
                    if let Some(rest) = rest.trim_start().strip_prefix('"') {
                        let name = rest.split('"').next().expect("the quote ends");
                        names.insert(name.to_owned(), path.display().to_string());
                    }
                }
            }
        }
    }
    names
}
