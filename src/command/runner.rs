//! One executor's means to run commands, one after the other.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::PipeReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::environment::EXECUTION_VARIABLE;
use super::program::{self, SpawnFault};
use super::watch::{ExitNotice, Watch};
use super::{BaseEnvironment, ContextDirectory, Invocation, NODE_VARIABLE, Report, context_file};
use crate::failpoint::{self, Point};
use crate::model::lifecycle::Outcome;
use crate::platform::{self, Child, SpawnRequest, SpawnWay};

/// Runs commands on the thread that calls it. Every executor has its own.
#[derive(Debug)]
pub struct Runner {
    pub(super) base: Arc<BaseEnvironment>,
    contexts: Arc<ContextDirectory>,
    slot: usize,
    // Changes whenever a name could still be known to somebody; see `context_path`.
    generation: u64,
    buffer: Vec<u8>,
    /// How many commands were started.
    started: u64,
    /// What the last one carries, `NAME=value`.
    mark: Option<String>,
    // Tests ask for what other systems have to do.
    pub(super) exit_notice: ExitNotice,
    pub(super) spawn_way: SpawnWay,
}

impl Runner {
    /// `slot` tells this runner from the others that share `contexts`.
    pub fn new(base: Arc<BaseEnvironment>, contexts: Arc<ContextDirectory>, slot: usize) -> Self {
        Self {
            base,
            contexts,
            slot,
            generation: 0,
            buffer: Vec::new(),
            started: 0,
            mark: None,
            exit_notice: ExitNotice::Descriptor,
            spawn_way: SpawnWay::Direct,
        }
    }

    /// Runs one command to its end and says how it went. Blocks for as long as the command runs, plus at most
    /// a moment for output of children that it leaves behind.
    ///
    /// After a timeout or an interrupt everything in the command's process group is killed. A command that
    /// ends by itself may leave children running, as in a shell; they can't print any more.
    pub fn run(&mut self, invocation: &Invocation<'_>) -> Report {
        let began = Instant::now();
        self.mark = None;
        if let Some(reason) = invocation.interrupt.requested() {
            return Report::interrupted_before(reason, invocation, began);
        }
        let prepared = self.context_path(invocation).and_then(|context_path| {
            failpoint::hit(Point::BeforeSpawn);
            self.started += 1;
            let node_id = self.base.node_id();
            self.mark = node_id.map(|id| format!("{EXECUTION_VARIABLE}={id}/{}/{}", self.slot, self.started));
            let (child, reader) = self.spawn(invocation, context_path.as_deref())?;
            failpoint::hit(Point::AfterSpawn);
            Ok((child, reader, context_path))
        });
        let (child, reader, context_path) = match prepared {
            Ok(started) => started,
            Err(fault) => return Report::not_started(fault, began),
        };
        let watch = Watch::new(child, reader, invocation, began, &mut self.buffer, self.exit_notice);
        let ended = watch.run_to_end();
        failpoint::hit(Point::AfterExit);
        let left_children = ended.left_children;
        let mut report = Report::of_ended(ended, invocation, began);
        if let Some(path) = context_path {
            let is_untouched = self.take_context(&path, &mut report, invocation);
            if left_children || !is_untouched {
                self.generation += 1;
            }
        }
        report
    }

    /// What the command that was run last, and everything that it started, carries in its environment as `NAME=value`;
    /// none if it was not started.
    pub fn last_mark(&self) -> Option<&str> {
        self.mark.as_deref()
    }

    /// Moves what the command passes on into its report. Says whether it has never made the file.
    fn take_context(&self, path: &Path, report: &mut Report, invocation: &Invocation<'_>) -> bool {
        if report.outcome != Outcome::Succeeded {
            context_file::discard(path);
            return false;
        }
        match context_file::take(path) {
            Ok(None) => return true,
            Ok(Some(values)) => report.context = values,
            Err(fault) => report.spoil_by_context(&fault, invocation),
        }
        false
    }

    /// The name of the context file. One that was used is not used again, so that a late child of another
    /// command can't write into it; one that was not is, as every name that is looked up in vain takes space
    /// in the kernel's cache.
    fn context_path(&self, invocation: &Invocation<'_>) -> Result<Option<PathBuf>, SpawnFault> {
        if !invocation.context_file {
            return Ok(None);
        }
        match self.contexts.path() {
            Ok(directory) => Ok(Some(directory.join(format!("{}-{}", self.slot, self.generation)))),
            Err(e) => Err(SpawnFault {
                message: format!(
                    "failed to make a directory for context files in {}: {e}; make it writable, or name another",
                    self.contexts.parent().display()
                ),
                fatal: false,
            }),
        }
    }

    fn spawn(
        &self,
        invocation: &Invocation<'_>,
        context_path: Option<&Path>,
    ) -> Result<(Child, PipeReader), SpawnFault> {
        let Some(name) = invocation.argv.first() else {
            return Err(SpawnFault { message: "the command is empty".to_owned(), fatal: true });
        };
        let directory = invocation.working_directory.as_deref();
        let path = self.base.path_with(&invocation.environment);
        let program: Cow<'_, Path> = program::find(name, path, directory)?;

        // The node's mark is the base's: a command that carried another could outlive its node.
        let is_own = |name: &str| name != NODE_VARIABLE && name != EXECUTION_VARIABLE;
        let own = invocation.environment.iter().filter(|(name, _)| is_own(name));
        let own = own.map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
        let context = context_path.map(|path| (OsStr::new("PROCESS_CONTEXT_FILE"), path.as_os_str()));
        let mark = self.mark.as_deref().and_then(|mark| mark.split_once('='));
        let mark = mark.map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
        let variables: Vec<_> = own.chain(context).chain(mark).collect();
        let request = SpawnRequest {
            program: &program,
            argv: &invocation.argv,
            directory,
            base: self.base.variables(),
            variables: &variables,
        };
        platform::spawn(&request, self.spawn_way)
            .map_err(|e| program::explain(&e, &program, invocation, &self.base))
    }
}
