//! `/metrics` in Prometheus' text form, and the rules and the dashboard that are made of it.

use std::collections::{BTreeMap, BTreeSet};

use process_orchestrator::http::Endpoint;
use serde_json::Value;

use crate::common::{TestDatabase, one_task};
use crate::http::get;

const ALERTS: &str = include_str!("../../scripts/prometheus-alerts.yml");
const DASHBOARD: &str = include_str!("../../scripts/grafana-dashboard.json");

/// A sample: its labels and value.
type Sample = (BTreeMap<String, String>, f64);

#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    samples: Vec<(String, Sample)>,
}

/// Reads the exposition by its rules and panics at whatever breaks one.
fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line has no end");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
            assert!(!families.contains_key(name), "{name} is there twice");
            current = name.to_owned();
            families.entry(current.clone()).or_default().help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("no type: {line}"));
            assert_eq!(name, current, "TYPE follows HELP");
            families.get_mut(name).unwrap().kind = kind.to_owned();
        } else {
            let (name, sample) = sample(line);
            let family = families.get_mut(&current).unwrap_or_else(|| panic!("no family: {line}"));
            let suffixes: &[&str] =
                if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.iter().any(|it| name == format!("{current}{it}")), "{line} is not of {current}");
            family.samples.push((name, sample));
        }
    }
    families
}

fn sample(line: &str) -> (String, Sample) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no sample: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        let (pairs, value) = inside.rsplit_once("} ").unwrap_or_else(|| panic!("not closed: {line}"));
        for pair in pairs.split("\",") {
            let (label, text) = pair.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
            let is_new = labels.insert(label.to_owned(), text.trim_end_matches('"').to_owned()).is_none();
            assert!(is_new, "{label} is there twice: {line}");
        }
        rest = value;
    }
    let value = rest.trim().parse().unwrap_or_else(|_| panic!("no value: {line}"));
    (name.to_owned(), (labels, value))
}

fn check_family(name: &str, family: &Family) {
    assert!(family.help.ends_with('.') || family.help.contains(':'), "{name}: {}", family.help);
    assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name} is a {}", family.kind);
    assert!(!name.ends_with("_ms") && !name.contains("minutes"), "{name} is not in a base unit");
    assert!(name.starts_with("process_orchestrator_") || name.starts_with("process_"), "{name}");
    let series: BTreeSet<_> = family.samples.iter().map(|(name, it)| (name, &it.0)).collect();
    assert_eq!(series.len(), family.samples.len(), "{name} has a series twice");
    for (_, (labels, value)) in &family.samples {
        assert!(value.is_finite() && *value >= 0.0, "{name} {labels:?} {value}");
        let is_id = |label: &String| label.contains("process_id") || label.contains("task_id");
        assert!(!labels.keys().any(is_id), "{name} has an id for a label");
    }
    if family.kind == "histogram" {
        let counts: Vec<f64> =
            family.samples.iter().filter(|it| it.0.ends_with("_bucket")).map(|it| it.1.1).collect();
        assert!(counts.is_sorted(), "{name}: {counts:?}");
        let count = family.samples.iter().find(|it| it.0.ends_with("_count")).unwrap().1.1;
        assert_eq!(counts.last(), Some(&count), "{name}: the last bucket holds all");
    }
}

/// What a node exports that has run a process to its end.
fn exported() -> BTreeMap<String, Family> {
    let database = TestDatabase::new("metrics");
    database.register(&one_task("true"));
    let id = database.start("one-task", process_orchestrator::ProcessInputData::new());
    let node = database.node();
    database.wait_for(&id);
    let listen = "127.0.0.1:0".parse().unwrap();
    let source = std::sync::Arc::clone(&database.source);
    let endpoint =
        Endpoint::start(listen, source, database.schema.clone(), Some(node.health()), None).unwrap();
    // The process has ended in the database a moment before the node has counted it.
    let families = crate::common::wait_until("the execution is counted", || {
        let reply = get(&endpoint, "/metrics");
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(
            reply.head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
            "{reply:?}"
        );
        let families = parse(&reply.body);
        let is_counted =
            families["process_orchestrator_executions_total"].samples.iter().any(|it| it.1.1 == 1.0);
        (is_counted && families.contains_key("process_orchestrator_heartbeat_age_seconds"))
            .then_some(families)
    });
    endpoint.stop();
    node.stop();
    families
}

#[test]
fn the_exposition_keeps_the_rules_and_tells_what_was_run() {
    let families = exported();
    families.iter().for_each(|(name, family)| check_family(name, family));
    let value = |name: &str, labels: &[(&str, &str)]| {
        let family = families.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        let fits = |it: &&(String, Sample)| labels.iter().all(|(label, text)| it.1.0[*label] == *text);
        family.samples.iter().find(fits).unwrap_or_else(|| panic!("{name} {labels:?} is missing")).1.1
    };
    assert_eq!(value("process_orchestrator_executions_total", &[("outcome", "SUCCEEDED")]), 1.0);
    assert_eq!(value("process_orchestrator_executions_total", &[("outcome", "LOST")]), 0.0);
    let completed = [("process_type", "one-task"), ("status", "COMPLETED")];
    assert_eq!(value("process_orchestrator_processes", &completed), 1.0);
    assert_eq!(value("process_orchestrator_queue_waiting_processes", &[]), 0.0);
    assert_eq!(value("process_orchestrator_executors", &[]), 4.0);
    assert_eq!(value("process_orchestrator_database_up", &[]), 1.0);
    for histogram in
        ["execution_duration_seconds", "start_latency_seconds", "claim_batch_size", "record_duration_seconds"]
    {
        let family = &families[&format!("process_orchestrator_{histogram}")];
        let count = family.samples.iter().find(|it| it.0.ends_with("_count")).unwrap().1.1;
        assert_eq!(count, 1.0, "{histogram}: {family:?}");
    }
}

/// Names in an expression that look like ours or like a process's own.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let is_ours = |it: &&str| {
        it.starts_with("process_orchestrator_")
            || it.starts_with("process_cpu_")
            || it.starts_with("process_resident_")
    };
    words.filter(is_ours).map(str::to_owned).collect()
}

#[test]
fn alerts_and_dashboard_name_only_what_is_exported() {
    let mut names = BTreeSet::new();
    for (name, family) in exported() {
        if family.kind == "histogram" {
            names.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")));
        } else {
            names.insert(name);
        }
    }
    let expressions: String =
        ALERTS.lines().filter(|line| line.contains("expr:")).collect::<Vec<_>>().join("\n");
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 8 && expressions.lines().count() > 5);
    let mut used = named(&expressions);
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let in_target = named(target["expr"].as_str().unwrap());
            assert!(!in_target.is_empty(), "{target}");
            used.extend(in_target);
        }
    }
    let unknown: Vec<&String> = used.difference(&names).collect();
    assert!(unknown.is_empty(), "not exported: {unknown:?}; exported are {names:#?}");
}
