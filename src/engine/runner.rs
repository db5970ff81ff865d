//! From a claimed task to the command that is run, and what came of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};

use super::escapees::{Escapees, was_ended};
use crate::command::{self, BaseEnvironment, ContextDirectory, Interrupt, Invocation, Lasting, Live, Report};
use crate::model::lifecycle::Outcome;
use crate::model::template::{RenderError, Scope, render_script, render_text, render_words};
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

/// Bytes of a resolved command that the audit trail keeps.
const COMMAND_BYTES_MAX: usize = 64 * 1024;

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

/// A task's command with its variables substituted.
struct Resolved {
    argv: Vec<String>,
    working_directory: Option<PathBuf>,
    /// The task's own environment.
    environment: Vec<(String, String)>,
    /// What a script's variables stand for.
    script_variables: Vec<(String, String)>,
}

fn resolve(work: &Work) -> Result<Resolved, RenderError> {
    let Work { claim, task, .. } = work;
    let scope = Scope {
        process_id: &claim.process_id,
        process_type: &claim.process_type,
        task_name: &task.name,
        input: &claim.input,
        context: &claim.context,
    };
    let (argv, script_variables) = if task.shell {
        let (script, variables) = render_script(&task.command, &scope)?;
        (vec!["sh".to_owned(), "-c".to_owned(), script], variables)
    } else {
        (render_words(&task.command, &scope)?, Vec::new())
    };
    let environment = task
        .environment
        .iter()
        .map(|(name, value)| Ok((name.clone(), render_text(value, &scope)?)))
        .collect::<Result<_, RenderError>>()?;
    let working_directory = match &task.working_directory {
        Some(text) => Some(PathBuf::from(render_text(text, &scope)?)),
        None => None,
    };
    Ok(Resolved { argv, working_directory, environment, script_variables })
}

impl Resolved {
    fn invocation<'a>(
        self,
        work: &Work,
        interrupt: &'a Interrupt,
        live: &'a Live,
        lasting: Lasting<'a>,
    ) -> Invocation<'a> {
        let Work { claim, task, .. } = work;
        let mut environment = self.environment;
        environment.extend([
            ("PROCESS_ID".to_owned(), claim.process_id.to_string()),
            ("PROCESS_TYPE".to_owned(), claim.process_type.to_string()),
            ("TASK_NAME".to_owned(), task.name.clone()),
            ("TASK_INDEX".to_owned(), task.index.to_string()),
            ("TASK_ATTEMPT".to_owned(), task.attempt.to_string()),
        ]);
        // Last, so that no setting of the task's takes the place of what the script refers to.
        environment.extend(self.script_variables);
        Invocation {
            argv: self.argv,
            working_directory: self.working_directory,
            environment,
            timeout: task.timeout,
            grace: command::GRACE,
            max_output_bytes: task.max_output_bytes,
            context_file: true,
            interrupt,
            live: Some(live),
            lasting: Some(lasting),
        }
    }
}

/// A line that a shell would run just so: the variables of a script come first.
fn shown_command(resolved: &Resolved) -> String {
    let mut line = String::new();
    for (name, value) in &resolved.script_variables {
        line.push_str(name);
        line.push('=');
        line.push_str(&shell_words::quote(value));
        line.push(' ');
    }
    line.push_str(&shell_words::join(&resolved.argv));
    if line.len() > COMMAND_BYTES_MAX {
        let end = (0..=COMMAND_BYTES_MAX).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
        let left_out = line.len() - end;
        line.truncate(end);
        line.push_str(&format!(" … ({left_out} bytes left out)"));
    }
    line
}

/// What the recorder passes on to later tasks; nothing when nothing was written.
pub(super) fn context_of(report: &mut Report) -> Option<Map<String, Value>> {
    let succeeded = report.outcome == Outcome::Succeeded && !report.context.is_empty();
    succeeded.then(|| std::mem::take(&mut report.context))
}
