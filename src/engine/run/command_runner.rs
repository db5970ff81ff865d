//! Runs real commands.

use std::sync::Arc;
use std::time::Instant;

use super::render::{resolve, shown_command};
use super::runner::{RunReport, Runner, Runners, Work};
use crate::command::{self, BaseEnvironment, ContextDirectory, Interrupt, Lasting, Live, Report};

/// Runs real commands.
#[derive(Clone)]
pub struct CommandRunners {
    base: Arc<BaseEnvironment>,
    contexts: Arc<ContextDirectory>,
}

struct CommandRunner {
    runner: command::Runner,
}

impl CommandRunners {
    /// Runners whose commands inherit this process's environment, minus its credentials.
    pub fn new() -> Self {
        Self {
            base: Arc::new(BaseEnvironment::of_this_process()),
            contexts: Arc::new(ContextDirectory::in_parent(std::env::temp_dir())),
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
        Arc::new(Self { base: Arc::new(self.base.of_node(node_id)), ..self.clone() })
    }

    fn runner(&self, executor: usize) -> Box<dyn Runner> {
        let Self { base, contexts } = self.clone();
        Box::new(CommandRunner { runner: command::Runner::new(base, contexts, executor) })
    }
}

impl Runner for CommandRunner {
    fn run(&mut self, work: &Work, interrupt: &Interrupt, live: &Live, lasting: Lasting<'_>) -> RunReport {
        let (command, report) = match resolve(work) {
            Ok(resolved) => {
                let shown = shown_command(&resolved);
                let report = self.runner.run(&resolved.invocation(work, interrupt, live, lasting));
                (Some(shown), report)
            }
            Err(error) => (None, Report::unresolved(error.to_string())),
        };
        RunReport { command, ended: Instant::now(), report }
    }
}
