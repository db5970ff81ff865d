//! From a claimed task to the command that is run, and what came of it.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};

use super::orphans::{Escapees, was_ended};
use super::render::{resolve, shown_command};
use crate::command::{self, BaseEnvironment, ContextDirectory, Interrupt, Lasting, Live, Report};
use crate::model::lifecycle::Outcome;
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

/// One executor's means to run commands.
pub trait Runner: Send {
    /// Runs a task's command on the calling thread and returns when it has ended; `interrupt` ends it early, `lasting`
    /// is to be called if it takes longer than a moment.
    fn run(&mut self, work: &Work, interrupt: &Interrupt, live: &Live, lasting: Lasting<'_>) -> RunReport;
}

/// Gives every executor a runner of its own.
pub trait Runners: Send + Sync {
    /// The same for one node; whatever its runners start carries the node's id.
    fn of_node(&self, node_id: &str) -> Arc<dyn Runners>;

    /// The runner of the executor with this number.
    fn runner(&self, executor: usize) -> Box<dyn Runner>;
}

/// Runs real commands.
pub struct CommandRunners {
    base: Arc<BaseEnvironment>,
    contexts: Arc<ContextDirectory>,
    escapees: Arc<Escapees>,
}

/// Succeeds at once without running anything: what is left is the engine's own cost.
pub struct NoopRunners;

struct CommandRunner {
    runner: command::Runner,
    escapees: Arc<Escapees>,
}
struct NoopRunner;

impl CommandRunners {
    /// Runners whose commands inherit this process's environment, minus its credentials.
    pub fn new() -> Self {
        Self {
            base: Arc::new(BaseEnvironment::of_this_process()),
            contexts: Arc::new(ContextDirectory::in_parent(std::env::temp_dir())),
            escapees: Arc::default(),
        }
    }
}

impl Default for CommandRunners {
    fn default() -> Self {
        Self::new()
    }
}

impl Runners for CommandRunners {
    fn of_node(&self, node_id: &str) -> Arc<dyn Runners> {
        Arc::new(Self {
            base: Arc::new(self.base.of_node(node_id)),
            contexts: Arc::clone(&self.contexts),
            escapees: Arc::clone(&self.escapees),
        })
    }

    fn runner(&self, executor: usize) -> Box<dyn Runner> {
        let (base, contexts) = (Arc::clone(&self.base), Arc::clone(&self.contexts));
        let runner = command::Runner::new(base, contexts, executor);
        Box::new(CommandRunner { runner, escapees: Arc::clone(&self.escapees) })
    }
}

impl Runner for CommandRunner {
    fn run(&mut self, work: &Work, interrupt: &Interrupt, live: &Live, lasting: Lasting<'_>) -> RunReport {
        let (command, report) = match resolve(work) {
            Ok(resolved) => {
                let shown = shown_command(&resolved);
                let report = self.runner.run(&resolved.invocation(work, interrupt, live, lasting));
                if let Some(mark) = self.runner.last_mark().filter(|_| was_ended(report.outcome)) {
                    self.escapees.end(mark);
                }
                (Some(shown), report)
            }
            Err(error) => (None, Report::unresolved(error.to_string())),
        };
        RunReport { command, ended: Instant::now(), report }
    }
}

impl Runners for NoopRunners {
    fn of_node(&self, _node_id: &str) -> Arc<dyn Runners> {
        Arc::new(Self)
    }

    fn runner(&self, _executor: usize) -> Box<dyn Runner> {
        Box::new(NoopRunner)
    }
}

impl Runner for NoopRunner {
    fn run(&mut self, _: &Work, _: &Interrupt, _: &Live, _: Lasting<'_>) -> RunReport {
        RunReport { command: None, ended: Instant::now(), report: Report::succeeded() }
    }
}

/// What the recorder passes on to later tasks; nothing when nothing was written.
pub(crate) fn context_of(report: &mut Report) -> Option<Map<String, Value>> {
    let succeeded = report.outcome == Outcome::Succeeded && !report.context.is_empty();
    succeeded.then(|| std::mem::take(&mut report.context))
}
