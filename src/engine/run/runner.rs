//! What it takes to run a claimed task's command.

use std::sync::Arc;
use std::time::Instant;

use crate::command::{Interrupt, Lasting, Live, Report};
use crate::store::claims::{Claim, ClaimedTask};

/// A task that is in progress under a claim of this node.
#[derive(Debug, Clone)]
pub struct Work {
    /// The claim.
    pub claim: Arc<Claim>,
    /// The task.
    pub task: ClaimedTask,
    /// When the process was due, for the first task under its claim; the others follow their predecessors at once.
    pub due: Option<Instant>,
}

impl Work {
    /// Whether the process has no task after this one.
    pub(crate) fn is_of_last_task(&self) -> bool {
        self.task.index + 1 >= self.claim.total_tasks
    }
}

/// How the command of a task ended.
#[derive(Debug)]
pub struct RunReport {
    /// The command as it was run, for the audit trail.
    pub command: Option<String>,
    /// When it ended.
    pub ended: Instant,
    /// Everything else.
    pub report: Report,
}

impl RunReport {
    /// Bytes of output that it keeps in memory.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.report.output.as_ref().map_or(0, String::len)
    }
}

/// One executor's means to run commands.
pub trait Runner: Send {
    /// Runs a task's command on the calling thread and returns when it has ended; `interrupt` ends it early, `lasting`
    /// is to be called if it takes longer than a moment.
    fn run(&mut self, work: &Work, interrupt: &Interrupt, live: &Live, lasting: Lasting<'_>) -> RunReport;
}

/// Gives each executor its runner.
pub trait Runners: Send + Sync {
    /// The same for one node; all that its runners start is tagged with the node's id.
    fn of_node(&self, node_id: &str) -> Arc<dyn Runners>;

    /// The runner of the executor with this number.
    fn runner(&self, executor: usize) -> Box<dyn Runner>;
}

/// Succeeds at once and runs nothing: what remains is the engine's own cost.
pub struct NoopRunners;

impl Runners for NoopRunners {
    fn of_node(&self, _node_id: &str) -> Arc<dyn Runners> {
        Arc::new(Self)
    }

    fn runner(&self, _executor: usize) -> Box<dyn Runner> {
        Box::new(Self)
    }
}

impl Runner for NoopRunners {
    fn run(&mut self, _: &Work, _: &Interrupt, _: &Live, _: Lasting<'_>) -> RunReport {
        RunReport { command: None, ended: Instant::now(), report: Report::succeeded() }
    }
}

/// For unit tests.
#[cfg(test)]
pub(crate) mod sample {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use serde_json::Map;

    use super::*;
    use crate::model::input::ProcessInputData;
    use crate::model::process_type::Leftovers;
    use crate::model::retry::RetryPolicy;

    /// The task at `index` of a process of two.
    pub(crate) fn work(index: u32) -> Work {
        Work {
            claim: Arc::new(Claim {
                process_id: "p-1".into(),
                process_type: "p".into(),
                version: 7,
                priority: 0,
                total_tasks: 2,
                input: Arc::new(ProcessInputData::new()),
                context: Arc::new(Map::new()),
                due_ago: Duration::ZERO,
                queue_delay: Duration::ZERO,
                limits: None,
            }),
            task: ClaimedTask {
                index,
                name: "load".to_owned(),
                command: "true".to_owned(),
                shell: false,
                working_directory: None,
                environment: BTreeMap::new(),
                timeout: Duration::from_secs(60),
                max_retries: 1,
                retry_count: 0,
                attempt: 1,
                retry: RetryPolicy { fatal_exit_codes: vec![2], ..RetryPolicy::default() },
                max_output_bytes: 1024,
                leftovers: Leftovers::default(),
            },
            due: None,
        }
    }
}
