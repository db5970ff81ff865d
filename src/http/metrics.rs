//! `/metrics`: the node's own metrics and the database's counts in the text form of Prometheus.
//!
//! What the node measures is of the node, what is counted in the database is of all nodes: the latter is the same on
//! every node's endpoint (take the `max` over them, not the `sum`). No label holds an id of a process: a history of
//! millions would make as many series.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::answer::Answer;
use super::counts::Counts;
use super::node_health::NodeHealth;
use crate::engine::health::metrics::{Distribution, Metrics};
use crate::model::lifecycle::ProcessStatus;
use crate::model::limits::usage::LimitUsage;
use crate::platform::own_usage;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Before every name of ours. Those of the process itself have the names that all programs use for them.
const PREFIX: &str = "process_orchestrator_";

/// `counts` is `None` while the database does not answer.
pub(super) fn answer(health: Option<&dyn NodeHealth>, counts: Option<&Counts>) -> Answer {
    let mut text = Exposition::default();
    text.family("build_info", "gauge", "1; the version of the binary is a label.");
    text.sample("", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    text.family("database_up", "gauge", "Whether the database answered the latest count: 1 or 0.");
    text.sample("", &[], f64::from(u8::from(counts.is_some())));
    if let Some(health) = health {
        node(&mut text, health);
    }
    if let Some(counts) = counts {
        database(&mut text, counts);
    }
    own(&mut text);
    Answer::of(CONTENT_TYPE, text.text.into_bytes())
}

fn node(text: &mut Exposition, health: &dyn NodeHealth) {
    text.family("node_info", "gauge", "1; the node's name and id, new at every start, are labels.");
    text.sample("", &[("node_name", health.node_name()), ("node_id", health.node_id())], 1.0);
    text.family("ready", "gauge", "Whether this node takes work: 1 or 0.");
    text.sample("", &[], f64::from(u8::from(health.is_ready())));
    text.family("executors", "gauge", "Commands that this node can run at once.");
    text.sample("", &[], health.executors() as f64);
    text.family("executors_busy", "gauge", "Commands that this node runs.");
    text.sample("", &[], health.busy() as f64);
    text.family(
        "stale_results_total",
        "counter",
        "Results of this node that were not recorded because their claim had been revoked.",
    );
    text.sample("", &[], health.stale_results() as f64);
    if let Some(metrics) = health.metrics() {
        measured(text, metrics);
    }
}

fn measured(text: &mut Exposition, metrics: &Metrics) {
    text.family("executions_total", "counter", "Executions that this node has recorded, by their outcome.");
    for (outcome, count) in metrics.outcomes() {
        text.sample("", &[("outcome", outcome.as_str())], count as f64);
    }
    text.family("takeovers_total", "counter", "Processes that this node has taken over from dead nodes.");
    text.sample("", &[], metrics.taken_over() as f64);
    text.family(
        "locked_processes",
        "gauge",
        "Processes that this node can't go on with, as somebody's transaction has locked rows of them.",
    );
    text.sample("", &[], metrics.locked_processes() as f64);
    text.family(
        "database_errors_total",
        "counter",
        "Queries of this node's threads that failed, by the thread's role.",
    );
    for (role, count) in metrics.database_errors() {
        text.sample("", &[("role", role)], count as f64);
    }
    if let Some(age) = metrics.heartbeat_age() {
        text.family("heartbeat_age_seconds", "gauge", "Time since this node renewed its lease.");
        text.sample("", &[], age.as_secs_f64());
    }
    text.family("uptime_seconds", "gauge", "Time since this node started.");
    text.sample("", &[], metrics.uptime().as_secs_f64());
    for (name, help, histogram) in [
        ("execution_duration_seconds", "From the spawn of a command to its end.", &metrics.execution_seconds),
        (
            "start_latency_seconds",
            "From the moment a process was due to the spawn of its command.",
            &metrics.start_latency_seconds,
        ),
        ("claim_duration_seconds", "Time that claiming due processes took.", &metrics.claim_seconds),
        ("claim_batch_size", "Processes claimed at once.", &metrics.claim_batch),
        (
            "record_duration_seconds",
            "Time that recording a batch of results took, with its commit.",
            &metrics.record_seconds,
        ),
        ("record_batch_size", "Results recorded at once.", &metrics.record_batch),
    ] {
        text.family(name, "histogram", help);
        text.distribution(&histogram.distribution());
    }
}

fn database(text: &mut Exposition, counts: &Counts) {
    text.family("processes", "gauge", "Processes in the database by type and status.");
    for ((process_type, status), count) in &counts.processes.by_type {
        text.sample("", &[("process_type", process_type), ("status", status.as_str())], *count as f64);
    }
    text.family(
        "current_tasks",
        "gauge",
        "The tasks at which unfinished processes are, by process type and status.",
    );
    for (process_type, queue) in &counts.queue {
        let not_started = queue.waiting - queue.waiting_retry;
        for (status, count) in [
            ("NOT_STARTED", not_started),
            ("IN_PROGRESS", queue.picked),
            ("WAITING_RETRY", queue.waiting_retry),
        ] {
            text.sample("", &[("process_type", process_type), ("status", status)], count as f64);
        }
    }
    let status = counts.by_status();
    text.family(
        "queue_waiting_processes",
        "gauge",
        "Unfinished processes that no node has claimed, due or not.",
    );
    text.sample("", &[], status.queue_depth as f64);
    text.family("queue_due_processes", "gauge", "Of those that wait, the processes that could run now.");
    text.sample("", &[], status.due as f64);
    text.family("queue_claimed_processes", "gauge", "Processes that a node has claimed.");
    text.sample("", &[], status.picked as f64);
    text.family(
        "queue_oldest_due_age_seconds",
        "gauge",
        "How long the longest-waiting due process has been due; 0 when none is due.",
    );
    text.sample("", &[], status.oldest_due_age_seconds.unwrap_or(0.0).max(0.0));
    text.family(
        "limits_waiting_processes",
        "gauge",
        "Of those that wait, the processes that a limit holds back.",
    );
    text.sample("", &[], status.waiting_for_limits as f64);
    limits(text, &counts.limits, counts.as_of);
    text.family("nodes", "gauge", "Nodes that the database knows to run, by their state.");
    for state in ["RUNNING", "STOPPING"] {
        let count = counts.nodes.iter().filter(|it| it.state == state).count();
        text.sample("", &[("state", state)], count as f64);
    }
    text.family("batches", "gauge", "Batches by their state.");
    for (state, count) in &counts.batches.states {
        text.sample("", &[("state", state.as_str())], *count as f64);
    }
    text.family("open_batch_processes", "gauge", "Processes of batches that have not ended, by status.");
    let open = counts.batches.open;
    for (status, count) in [
        ("NOT_STARTED", open.not_started),
        ("IN_PROGRESS", open.in_progress),
        ("COMPLETED", open.completed),
        ("FAILED", open.failed),
        ("CANCELLED", open.cancelled),
    ] {
        text.sample("", &[("status", status)], count as f64);
    }
    text.family(
        "batch_longest_held_seconds",
        "gauge",
        "How long the batch that is held longest has been paused or halted; 0 when none is.",
    );
    text.sample("", &[], counts.batches.longest_held_s as f64);
    text.family("failed_processes", "gauge", "Processes that have failed, whatever their type.");
    text.sample("", &[], status.processes.get(&ProcessStatus::Failed).copied().unwrap_or(0) as f64);
    schedules(text, counts);
    text.family("counted_timestamp_seconds", "gauge", "When the counts of the database were made.");
    text.sample("", &[], counts.as_of.as_millisecond() as f64 / 1e3);
}

/// Limits that have series of their own; more of them have none.
const LIMITS_MAX: usize = 100;

/// All values of a limit's key together: a thousand customers are one series.
fn limits(text: &mut Exposition, all: &[LimitUsage], as_of: Timestamp) {
    // Those that hold something back come first where not all have room.
    let mut shown: Vec<&LimitUsage> = all.iter().collect();
    shown.sort_by_key(|it| std::cmp::Reverse(it.waiting > 0));
    shown.truncate(LIMITS_MAX);
    let age =
        |it: &LimitUsage| it.waiting_since.map_or(0.0, |at| as_of.duration_since(at).as_secs_f64().max(0.0));
    text.family(
        "limit_max",
        "gauge",
        "How many may run at once, for each value of the key if it has one; none: no bound.",
    );
    for it in &shown {
        if let Some(max) = it.max {
            text.sample("", &[("limit", &it.name)], f64::from(max));
        }
    }
    type Value = fn(&LimitUsage) -> u32;
    let counts: [(&str, &str, Value); 2] = [
        ("limit_taken", "Slots of a limit that are taken, all values of its key together.", |it| it.taken),
        ("limit_waiting", "Processes that wait for a limit, all values of its key together.", |it| {
            it.waiting
        }),
    ];
    for (name, help, value) in counts {
        text.family(name, "gauge", help);
        for it in &shown {
            text.sample("", &[("limit", &it.name)], f64::from(value(it)));
        }
    }
    text.family(
        "limit_oldest_wait_seconds",
        "gauge",
        "Since when the first process in line for a limit waits; 0 when none does.",
    );
    for it in &shown {
        text.sample("", &[("limit", &it.name)], age(it));
    }
}

fn schedules(text: &mut Exposition, counts: &Counts) {
    let seen = &counts.schedules;
    text.family(
        "schedules",
        "gauge",
        "Schedules: all of them, those that are paused, those that can't start their process.",
    );
    for (state, count) in [("all", seen.schedules), ("paused", seen.paused), ("problem", seen.with_problem)] {
        text.sample("", &[("state", state)], count as f64);
    }
    text.family("schedule_firings_total", "counter", "Processes that the present schedules have started.");
    text.sample("", &[], seen.fired as f64);
    text.family(
        "schedule_skipped_total",
        "counter",
        "Times that the present schedules have skipped, by the reason.",
    );
    for (why, count) in [("missed", seen.missed), ("overlap", seen.overlap), ("taken", seen.taken)] {
        text.sample("", &[("why", why)], count as f64);
    }
    text.family(
        "schedule_lateness_seconds",
        "gauge",
        "How long after it was due the latest process of a schedule was started: the most of the last five minutes.",
    );
    text.sample("", &[], seen.lateness_seconds);
    text.family(
        "schedule_overdue_seconds",
        "gauge",
        "How long the oldest time of a schedule that is not paused has not been fired; 0 when none is due.",
    );
    text.sample("", &[], seen.overdue_seconds);
    if let Some(next) = seen.next_at {
        text.family("schedule_next_timestamp_seconds", "gauge", "When a schedule is due next.");
        text.sample("", &[], next.as_millisecond() as f64 / 1e3);
    }
}

fn own(text: &mut Exposition) {
    let Some(usage) = own_usage() else { return };
    for (name, kind, help, value) in [
        (
            "process_cpu_seconds_total",
            "counter",
            "Processor time of the node, without its commands.",
            usage.cpu_seconds,
        ),
        (
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory of the node.",
            usage.resident_bytes as f64,
        ),
        ("process_threads", "gauge", "Threads of the node.", usage.threads as f64),
    ] {
        text.family_named(name, kind, help);
        text.sample("", &[], value);
    }
}

/// The text as it grows: a family's help and type, then its samples.
#[derive(Default)]
struct Exposition {
    text: String,
    name: String,
}

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.family_named(&format!("{PREFIX}{name}"), kind, help);
    }

    fn family_named(&mut self, name: &str, kind: &str, help: &str) {
        name.clone_into(&mut self.name);
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        let name = std::mem::take(&mut self.name);
        self.line(format_args!("{name}{suffix}"));
        for (index, (label, text)) in labels.iter().enumerate() {
            let opening = if index == 0 { '{' } else { ',' };
            self.line(format_args!("{opening}{label}=\"{}\"", escaped(text)));
        }
        self.line(format_args!("{} {value}\n", if labels.is_empty() { "" } else { "}" }));
        self.name = name;
    }

    fn distribution(&mut self, seen: &Distribution) {
        for (bound, count) in &seen.buckets {
            self.sample("_bucket", &[("le", &bound.to_string())], *count as f64);
        }
        self.sample("_bucket", &[("le", "+Inf")], seen.count as f64);
        self.sample("_sum", &[], seen.sum);
        self.sample("_count", &[], seen.count as f64);
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _ = self.text.write_fmt(text);
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_their_labels_escaped() {
        let mut text = Exposition::default();
        text.family("a", "gauge", "Help.");
        text.sample("", &[("x", "a\"b\\c\nd"), ("y", "")], 1.5);
        text.sample("", &[], 1e21);
        let expected = "# HELP process_orchestrator_a Help.\n# TYPE process_orchestrator_a gauge\n\
            process_orchestrator_a{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 1.5\nprocess_orchestrator_a 1000000000000000000000\n";
        assert_eq!(text.text, expected);
    }

    #[test]
    fn distributions_end_with_everything() {
        let mut text = Exposition::default();
        text.family("a", "histogram", "Help.");
        text.distribution(&Distribution { buckets: vec![(0.001, 1), (2.5, 3)], count: 4, sum: 9.25 });
        let lines: Vec<&str> = text.text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "process_orchestrator_a_bucket{le=\"0.001\"} 1",
                "process_orchestrator_a_bucket{le=\"2.5\"} 3",
                "process_orchestrator_a_bucket{le=\"+Inf\"} 4",
                "process_orchestrator_a_sum 9.25",
                "process_orchestrator_a_count 4",
            ]
        );
    }
}
