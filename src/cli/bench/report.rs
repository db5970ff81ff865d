//! What `bench` prints: a document, or lines for people.

use std::io::{self, Write};

use serde::Serialize;

use super::{churn, durable, history, idle, latency, memory, nodes, priority, sleepers};

/// Columns of the labels.
const LABEL_COLUMNS: usize = 34;

/// The figures of one mode.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum BenchReport {
    /// Without a mode.
    Rate(Box<durable::Report>),
    /// `--latency`
    Latency(latency::Report),
    /// `--idle`
    Idle(idle::Report),
    /// `--history`
    History(history::Report),
    /// `--churn`
    Churn(churn::Report),
    /// `--sleepers`
    Sleepers(sleepers::Report),
    /// `--nodes`
    Nodes(nodes::Report),
    /// `--memory`
    Memory(memory::Report),
    /// `--priority`
    Priority(priority::Report),
}

/// Lines for people: a label and a text each.
#[derive(Debug, Default)]
pub struct Lines(Vec<(String, String)>);

impl Lines {
    /// Adds one.
    pub fn add(&mut self, label: &str, text: impl Into<String>) {
        self.0.push((label.to_owned(), text.into()));
    }

    /// Adds one if there is a figure.
    pub fn add_some<T>(&mut self, label: &str, figure: Option<T>, show: impl FnOnce(T) -> String) {
        if let Some(figure) = figure {
            self.add(label, show(figure));
        }
    }
}

/// Prints the report for people.
///
/// # Errors
/// When `out` can't be written to.
pub fn print(report: &BenchReport, out: &mut impl Write) -> io::Result<()> {
    let mut lines = Lines::default();
    let rest = match report {
        BenchReport::Rate(it) => it.show(&mut lines),
        BenchReport::Latency(it) => it.show(&mut lines),
        BenchReport::Idle(it) => it.show(&mut lines),
        BenchReport::History(it) => it.show(&mut lines),
        BenchReport::Churn(it) => it.show(&mut lines),
        BenchReport::Sleepers(it) => it.show(&mut lines),
        BenchReport::Nodes(it) => it.show(&mut lines),
        BenchReport::Memory(it) => it.show(&mut lines),
        BenchReport::Priority(it) => it.show(&mut lines),
    };
    for (label, text) in &lines.0 {
        writeln!(out, "{label:<LABEL_COLUMNS$} {text}")?;
    }
    rest.iter().try_for_each(|line| writeln!(out, "{line}"))
}
