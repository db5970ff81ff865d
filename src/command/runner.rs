//! One executor's means to run commands, one after the other.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::PipeReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context_file::{self, ContextDirectory};
use super::environment::{BaseEnvironment, EXECUTION_VARIABLE, NODE_VARIABLE};
use super::interrupt::Reason;
use super::invocation::Invocation;
use super::leftovers::Remnant;
use super::oom;
use super::program::{self, SpawnFault};
use super::report::Report;
use super::supervise::{ExitNotice, Watch};
use crate::failpoint::{self, Point};
use crate::model::lifecycle::Outcome;
use crate::platform::{self, Child, SpawnRequest, SpawnWay};

/// How long a command waits for the processes, memory, descriptors or space that its start takes. A storm on the
/// machine is over by then, or it lasts, and people should see a failed execution that says why.
const SPAWN_PATIENCE: Duration = Duration::from_secs(60);

/// Between two tries: doubled from the one up to the other, so that a full machine is not kept busy by us.
const SPAWN_PAUSE_MIN: Duration = Duration::from_millis(20);
const SPAWN_PAUSE_MAX: Duration = Duration::from_secs(1);

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
    /// The process tag that the last one carries, `NAME=value`.
    tag: Option<String>,
    // Tests ask for what other systems have to do.
    pub(super) exit_notice: ExitNotice,
    pub(super) spawn_way: SpawnWay,
    // Tests have less.
    pub(super) spawn_patience: Duration,
}

/// A command that runs.
struct Started {
    child: Child,
    reader: PipeReader,
    context_path: Option<PathBuf>,
    began: Instant,
}

impl Runner {
    /// `slot` tells this runner from the others that share `contexts`.
    pub fn new(base: Arc<BaseEnvironment>, contexts: Arc<ContextDirectory>, slot: usize) -> Self {
        oom::note_start();
        Self {
            base,
            contexts,
            slot,
            generation: 0,
            buffer: Vec::new(),
            started: 0,
            tag: None,
            exit_notice: ExitNotice::Descriptor,
            spawn_way: SpawnWay::Direct,
            spawn_patience: SPAWN_PATIENCE,
        }
    }

    /// Runs one command to its end and says how it went. Blocks for as long as the command runs, plus at most
    /// a moment for output of children that it leaves behind.
    ///
    /// After a timeout, an interrupt or a failure nothing of the execution is left. A command that succeeds may leave
    /// children running, as in a shell; they can't print any more.
    pub fn run(&mut self, invocation: &Invocation<'_>) -> Report {
        let began = Instant::now();
        self.tag = None;
        if let Some(reason) = invocation.interrupt.requested() {
            return Report::interrupted_before(reason, invocation, began);
        }
        let Started { child, reader, context_path, began } = match self.start_patiently(invocation, began) {
            Ok(started) => started,
            Err(report) => return *report,
        };
        let pid = child.pid();
        let tag = self.tag.as_deref();
        let watch = Watch::new(child, reader, invocation, began, tag, &mut self.buffer, self.exit_notice);
        if let Some(live) = invocation.live {
            live.begin(pid);
        }
        let ended = watch.run_to_end();
        if let Some(live) = invocation.live {
            live.end();
        }
        failpoint::hit(Point::AfterExit);
        let is_output_held = ended.is_output_held;
        let mut report = Report::of_ended(ended, invocation, began);
        if let Some(path) = context_path {
            let had_succeeded = report.outcome == Outcome::Succeeded;
            let is_untouched = self.take_context(&path, &mut report, invocation);
            if had_succeeded && report.outcome != Outcome::Succeeded {
                // A success whose values can't be read is a failure after all.
                let mut rest = Remnant::new(pid, began, self.tag.as_deref());
                rest.forget_leader();
                let is_fenced = || invocation.interrupt.requested() == Some(Reason::Fenced);
                rest.end(invocation.grace, &is_fenced);
            }
            if is_output_held || !is_untouched {
                self.generation += 1;
            }
        }
        report
    }

    /// Starts the command. While the machine lacks what that takes it tries again, as a retry that is spent on a full
    /// process table says nothing of the command, and a node that has no room for a command needs no other.
    fn start_patiently(
        &mut self,
        invocation: &Invocation<'_>,
        first: Instant,
    ) -> Result<Started, Box<Report>> {
        let mut began = first;
        let mut pause = SPAWN_PAUSE_MIN;
        loop {
            let fault = match self.start(invocation, began) {
                Ok(started) => return Ok(started),
                Err(fault) => fault,
            };
            let left = self.spawn_patience.saturating_sub(first.elapsed());
            if !fault.passing || left.is_zero() {
                return Err(Box::new(Report::not_started(fault, first)));
            }
            if pause == SPAWN_PAUSE_MIN {
                log::warn!("{}; it is tried again for up to {:?}", fault.message, self.spawn_patience);
            }
            invocation.note_lasting();
            // Whether it was woken or not: the request tells. An error would mean no pause, so it ends the trying.
            if platform::wait_readable([Some(invocation.interrupt.wake_fd())], pause.min(left)).is_err() {
                return Err(Box::new(Report::not_started(fault, first)));
            }
            if let Some(reason) = invocation.interrupt.requested() {
                return Err(Box::new(Report::interrupted_before(reason, invocation, first)));
            }
            pause = (pause * 2).min(SPAWN_PAUSE_MAX);
            began = Instant::now();
        }
    }

    fn start(&mut self, invocation: &Invocation<'_>, began: Instant) -> Result<Started, SpawnFault> {
        let context_path = self.context_path(invocation)?;
        failpoint::hit(Point::BeforeSpawn);
        self.started += 1;
        let node_id = self.base.node_id();
        self.tag = node_id.map(|id| format!("{EXECUTION_VARIABLE}={id}/{}/{}", self.slot, self.started));
        let (child, reader) = self.spawn(invocation, context_path.as_deref())?;
        failpoint::hit(Point::AfterSpawn);
        Ok(Started { child, reader, context_path, began })
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
            Err(e) => {
                let parent = self.contexts.parent().display();
                let message = format!("failed to make a directory for context files in {parent}: {e}");
                Err(if platform::may_heal(&e) {
                    SpawnFault::passing(message, &e)
                } else {
                    let message = format!("{message}; make it writable, or name another with TMPDIR");
                    SpawnFault { message, fatal: false, passing: false }
                })
            }
        }
    }

    fn spawn(
        &self,
        invocation: &Invocation<'_>,
        context_path: Option<&Path>,
    ) -> Result<(Child, PipeReader), SpawnFault> {
        let Some(name) = invocation.argv.first() else {
            return Err(SpawnFault::fatal("the command is empty".to_owned()));
        };
        let directory = invocation.working_directory.as_deref();
        let path = self.base.path_with(&invocation.environment);
        let program: Cow<'_, Path> = program::find(name, path, directory)?;

        // The node's tag is the base's: a command that carried another could outlive its node.
        let is_own = |name: &str| name != NODE_VARIABLE && name != EXECUTION_VARIABLE;
        let own = invocation.environment.iter().filter(|(name, _)| is_own(name));
        let own = own.map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
        let context = context_path.map(|path| (OsStr::new("PROCESS_CONTEXT_FILE"), path.as_os_str()));
        let tag = self.tag.as_deref().and_then(|tag| tag.split_once('='));
        let tag = tag.map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
        let variables: Vec<_> = own.chain(context).chain(tag).collect();
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
