//! What `bench` has found: a document, or lines for people.

use serde::Serialize;

use super::lines::Lines;
use super::modes::{
    churn, durable, forget, history, idle, latency, limits, memory, nodes, output, priority, serve, sleepers,
    starts,
};

/// The figures of one mode.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum BenchReport {
    /// Without a mode.
    Rate(Box<durable::Report>),
    /// `--serve`
    Serve(serve::Report),
    /// `--output`
    Output(output::Report),
    /// `--starts`
    Starts(starts::Report),
    /// `--latency`
    Latency(latency::Report),
    /// `--idle`
    Idle(idle::Report),
    /// `--history`
    History(history::Report),
    /// `--forget`
    Forget(Box<forget::Report>),
    /// `--churn`
    Churn(churn::Report),
    /// `--sleepers`
    Sleepers(sleepers::Report),
    /// `--nodes`
    Nodes(nodes::Report),
    /// `--limits`
    Limits(limits::Report),
    /// `--memory`
    Memory(memory::Report),
    /// `--priority`
    Priority(priority::Report),
}

impl BenchReport {
    /// For people.
    pub fn shown(&self) -> Vec<String> {
        let mut lines = Lines::default();
        let rest = match self {
            Self::Rate(it) => it.show(&mut lines),
            Self::Serve(it) => it.show(&mut lines),
            Self::Output(it) => it.show(&mut lines),
            Self::Starts(it) => it.show(&mut lines),
            Self::Latency(it) => it.show(&mut lines),
            Self::Idle(it) => it.show(&mut lines),
            Self::History(it) => it.show(&mut lines),
            Self::Forget(it) => it.show(&mut lines),
            Self::Churn(it) => it.show(&mut lines),
            Self::Sleepers(it) => it.show(&mut lines),
            Self::Nodes(it) => it.show(&mut lines),
            Self::Limits(it) => it.show(&mut lines),
            Self::Memory(it) => it.show(&mut lines),
            Self::Priority(it) => it.show(&mut lines),
        };
        let mut text = lines.into_text();
        text.extend(rest);
        text
    }
}
