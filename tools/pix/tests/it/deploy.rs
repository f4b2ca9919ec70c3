//! Alert rules and dashboards: Prometheus takes them, the alerts fire when they should, and every metric that they ask
//! for is one that a service shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::reference::{self, SERVICES, file};

/// What a metric of ours begins with.
const PREFIXES: [&str; 9] = [
    "spi_",
    "dict_",
    "settlement_",
    "bank_",
    "virtual_",
    "participants_",
    "http_",
    "tls_",
    "sandbox_",
];

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(file("deploy/prometheus"))
        .output()
        .expect("promtool is there: scripts/install-parts test");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

#[test]
fn prometheus_takes_the_rules_and_every_alert_fires_when_it_should() {
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["check", "rules", "rules.yml"]);
    promtool(&["test", "rules", "rules_test.yml"]);
    let (rules, tests) = (
        read("deploy/prometheus/rules.yml"),
        read("deploy/prometheus/rules_test.yml"),
    );
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() > 15, "{alerts:?}");
    for alert in alerts {
        let tried = tests.matches(&format!("alertname=\"{alert}\"")).count();
        assert_eq!(tried, 2, "{alert} is tried as it fires, and as it keeps still");
    }
}

#[test]
fn dashboards_and_rules_ask_for_metrics_that_are_there() {
    let mut shown = BTreeMap::new();
    for service in SERVICES {
        shown.extend(reference::metrics(service));
    }
    let mut asked: Vec<(String, String)> = vec![("rules.yml".to_owned(), expressions_of_rules())];
    let dashboards = dashboards();
    assert!(dashboards.len() >= 3, "{:?}", dashboards.keys());
    for (name, dashboard) in &dashboards {
        asked.extend(queries(dashboard).into_iter().map(|query| (name.clone(), query)));
    }
    for (place, expression) in &asked {
        for name in names(expression) {
            assert!(
                is_shown(&shown, name),
                "{place} asks for {name}, which no service shows: {expression}"
            );
        }
    }
    let used: BTreeSet<&str> = asked
        .iter()
        .flat_map(|(_, expression)| names(expression))
        .collect();
    assert!(used.len() > 40, "the names are found: {used:?}");
}

#[test]
fn the_queries_of_dashboards_are_promql() {
    let mut rules = String::from("groups:\n  - name: queries\n    rules:\n");
    for (name, dashboard) in dashboards() {
        for (index, query) in queries(&dashboard).iter().enumerate() {
            let query = query.replace("$__rate_interval", "1m");
            let record = format!("query:{}:{index}", name.trim_end_matches(".json"));
            rules += &format!(
                "      - record: {record}\n        expr: {}\n",
                Value::String(query)
            );
        }
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("queries.yml");
    fs::write(&path, rules).expect("it can be written");
    promtool(&["check", "rules", &path.display().to_string()]);
}

/// A histogram shows its name with these ends.
fn is_shown(shown: &BTreeMap<String, String>, name: &str) -> bool {
    let of_histogram = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|end| name.strip_suffix(end));
    match shown.get(name) {
        Some(kind) => kind != "histogram",
        None => of_histogram.is_some_and(|name| shown.get(name).is_some_and(|kind| kind == "histogram")),
    }
}

/// Names of our metrics in an expression; what is in quotes is a value.
fn names(expression: &str) -> Vec<&str> {
    let outside = expression.split('"').step_by(2);
    let words = outside.flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    words
        .filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix)))
        .collect()
}

fn expressions_of_rules() -> String {
    let rules = read("deploy/prometheus/rules.yml");
    let lines = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    lines.collect::<Vec<_>>().join("\n")
}

fn dashboards() -> BTreeMap<String, Value> {
    let files = fs::read_dir(file("deploy/grafana")).expect("the folder is there");
    files
        .map(|entry| {
            let path = entry.expect("readable").path();
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            let text = fs::read_to_string(Path::new(&path)).expect("readable");
            (name, serde_json::from_str(&text).expect("JSON"))
        })
        .collect()
}

/// Every `expr` of a dashboard, and the queries of its variables.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets
        .map(|target| target["expr"].as_str().expect("a query").to_owned())
        .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).expect("readable")
}
