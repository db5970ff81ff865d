//! A node as `serve` runs it: what it takes up, and how soon it is there.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use crate::bench::child::Child;
use crate::bench::error::BenchError;
use crate::bench::lines::{Lines, shown_connections};
use crate::bench::quantile::Quantiles;
use crate::bench::stage::{Stage, TYPE, start_many};
use crate::bench::waiting::follow;
use crate::platform::resident_memory;

/// Memory in bytes, absent where the system does not show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Executors of the node.
    pub executors: usize,
    /// Processes that were active.
    pub processes: u32,
    /// Tasks of each.
    pub tasks: u32,
    /// The command of every task.
    pub command: String,
    /// From the program's start to the node's readiness.
    pub start_to_ready: Quantiles,
    /// Resident when it was ready and had nothing to do.
    pub idle_bytes: Option<u64>,
    /// The most that was resident at any look while processes were active.
    pub active_bytes: Option<u64>,
    /// The most that was resident at any time, as the system counts.
    pub peak_bytes: Option<u64>,
    /// Of the node under load, by the thread that holds them.
    pub connections: BTreeMap<String, usize>,
    /// The program's file.
    pub program_bytes: u64,
    /// Seconds that the one call took which started all processes.
    pub start_call_seconds: f64,
}

/// Starts a node several times, the last time to work.
pub fn run(stage: &Stage<'_>) -> Result<Report, BenchError> {
    let (args, total) = (stage.args, stage.args.total());
    let program = std::env::current_exe().and_then(std::fs::metadata);
    let program_bytes = program.map_err(|it| BenchError::system("look at this program", &it))?.len();
    stage.in_schema("memory", |schema| {
        stage.register(schema, TYPE, args.tasks, &args.command)?;
        let mut store = stage.store(schema)?;
        let mut ready = Vec::new();
        for _ in 0..args.rounds {
            let (child, time) = Child::start(stage, schema, args.executors())?;
            ready.push(time.as_secs_f64() * 1000.0);
            child.stop()?;
        }
        let (child, _) = Child::start(stage, schema, args.executors())?;
        let idle_bytes = resident_memory(child.pid()).map(|it| it.bytes);
        let began = Instant::now();
        start_many(&mut store, args.processes, 0)?;
        let start_call_seconds = began.elapsed().as_secs_f64();
        let mut active_bytes = None;
        let mut connections = BTreeMap::new();
        follow(Instant::now(), total, || {
            if connections.is_empty() && child.recorded() > 0 {
                connections = store.sessions_named(&child.name())?;
            }
            active_bytes = active_bytes.max(resident_memory(child.pid()).map(|it| it.bytes));
            Ok(child.recorded())
        })?;
        let peak_bytes = resident_memory(child.pid()).map(|it| it.peak_bytes);
        let name = child.name();
        child.stop()?;
        stage.check(&mut store, u64::from(args.processes), args.tasks)?;
        let none = || BenchError::System("nothing was timed; give --rounds 1 or more".to_owned());
        Ok(Report {
            executors: args.executors(),
            processes: args.processes,
            tasks: args.tasks,
            command: args.command.clone(),
            start_to_ready: Quantiles::of(ready).ok_or_else(none)?,
            idle_bytes,
            active_bytes,
            peak_bytes,
            connections: connections
                .into_iter()
                .map(|(session, count)| role(&session, &name, count))
                .collect(),
            program_bytes,
            start_call_seconds,
        })
    })
}

/// A session's name ends with the role of who holds it.
fn role(session: &str, node: &str, count: i64) -> (String, usize) {
    let role = session.split_once(node).map_or(session, |(_, role)| role.trim());
    (role.to_owned(), usize::try_from(count).unwrap_or_default())
}

impl Report {
    /// For people.
    pub fn show(&self, lines: &mut Lines) -> Vec<String> {
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0);
        lines.add("node", format!("{} executors, as serve runs it", self.executors));
        lines.add("start to ready", self.start_to_ready.shown());
        lines.add_some("resident, idle", self.idle_bytes, mib);
        let label = format!("resident, {} processes active", self.processes);
        lines.add_some(&label, self.active_bytes, mib);
        lines.add_some("resident, peak", self.peak_bytes, mib);
        lines.add("connections", shown_connections(&self.connections));
        lines.add("program", mib(self.program_bytes));
        lines.add(
            &format!("{} x {} started", self.processes, self.tasks),
            format!("in one call of {:.2} s", self.start_call_seconds),
        );
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_tells_who_holds_it() {
        assert_eq!(role("process-orchestrator bench-7 poller", "bench-7", 1), ("poller".to_owned(), 1));
    }
}
