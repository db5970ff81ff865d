//! A process type: a named template of tasks.

use std::collections::BTreeMap;

use super::limits::definition::{Concurrency, Holds};
use super::retry::RetryPolicy;
use super::schedule::definition::Schedule;

/// Bytes of a command's output that are kept when a task says nothing (1 MiB).
pub const DEFAULT_MAX_OUTPUT_BYTES: u64 = 1024 * 1024;
/// Minutes a task may run when it says nothing.
pub const DEFAULT_TIMEOUT_MINUTES: f64 = 60.0;
/// Retries after the first attempt when a task says nothing.
pub const DEFAULT_MAX_RETRIES: u32 = 3;

/// A named template: an ordered list of task definitions.
///
/// ```
/// use process_orchestrator::ProcessType;
///
/// let pipeline = ProcessType::new("nightly", "Fetch, then report")
///     .add_task("fetch", "fetch-orders --to ${output_dir}/orders.json", "/data", 30.0, 2)
///     .add_task("report", "report ${output_dir}/orders.json", "/data", 10.0, 0);
/// assert_eq!(pipeline.tasks.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessType {
    /// Unique name; it begins every generated process id.
    pub name: String,
    /// What it is for, in a sentence.
    pub description: String,
    /// How many of its processes, or of their commands, run at once; empty: as many as executors are free.
    pub concurrency: Vec<Concurrency>,
    /// The tasks in the order in which they run.
    pub tasks: Vec<TaskDefinition>,
    /// When processes of it are started; registered, changed and removed with it.
    pub schedules: Vec<Schedule>,
}

/// One command of a process type, with its settings.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskDefinition {
    /// Unique within the process type.
    pub name: String,
    /// A string split by shell-word rules (or, with `shell`, a script). An array in a
    /// document is kept as the string that splits into just those words.
    pub command: String,
    /// Run `command` by a shell; variables reach it as environment values.
    pub shell: bool,
    /// The shell's program and the arguments that come before the script, such as `bash -eu -c`; empty: `sh -c`.
    pub shell_command: Vec<String>,
    /// Variables may stand in code that the command hands to an interpreter: whoever gives their values is trusted.
    pub unsafe_interpolation: bool,
    /// Where the command runs; `None` is the orchestrator's own directory.
    pub working_directory: Option<String>,
    /// Minutes until the command is ended; fractions are allowed.
    pub timeout_minutes: f64,
    /// Attempts after the first one.
    pub max_retries: u32,
    /// Extra environment of the command; values may hold variables.
    pub environment: BTreeMap<String, String>,
    /// How long to wait between attempts, and which exit codes end them.
    pub retry: RetryPolicy,
    /// What becomes of the task when the node that ran it has died.
    pub on_crash: OnCrash,
    /// Bytes of output that are kept, as head and tail.
    pub max_output_bytes: u64,
    /// What becomes of the processes that the command has left running when it succeeds.
    pub leftovers: Leftovers,
    /// The groups of which the command holds a slot while it runs.
    pub concurrency: Vec<Concurrency>,
}

/// What becomes of the processes that a command has left running when it succeeds. After a failure they are ended always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leftovers {
    /// They live on: a task may start a server.
    #[default]
    Keep,
    /// They are ended before the task counts as completed.
    Kill,
}

impl Leftovers {
    /// The word used in documents and in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Kill => "kill",
        }
    }

    /// Reads the word used in documents and in the table.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Keep, Self::Kill].into_iter().find(|it| it.as_str() == word)
    }
}

/// What becomes of a task whose node has died while the command ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnCrash {
    /// Run it again; no retry is spent.
    #[default]
    Rerun,
    /// Fail it: the command must not run twice.
    Fail,
}

impl OnCrash {
    /// The word used in documents and in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rerun => "rerun",
            Self::Fail => "fail",
        }
    }

    /// Reads the word used in documents and in the table.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Rerun, Self::Fail].into_iter().find(|it| it.as_str() == word)
    }
}

impl ProcessType {
    /// A process type without tasks yet; validity is checked when it is registered.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            concurrency: Vec::new(),
            tasks: Vec::new(),
            schedules: Vec::new(),
        }
    }

    /// Appends a task with default settings beyond the ones given; `timeout_minutes` may be a fraction,
    /// and an empty `working_directory` is the orchestrator's own.
    #[must_use]
    pub fn add_task(
        self,
        name: impl Into<String>,
        command: impl Into<String>,
        working_directory: impl Into<String>,
        timeout_minutes: f64,
        max_retries: u32,
    ) -> Self {
        self.add(TaskDefinition {
            working_directory: Some(working_directory.into()).filter(|it| !it.is_empty()),
            timeout_minutes,
            max_retries,
            ..TaskDefinition::new(name, command)
        })
    }

    /// Appends a task with all its settings.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "the builder's verb, as in `add_task`; nothing is summed"
    )]
    pub fn add(mut self, task: TaskDefinition) -> Self {
        self.tasks.push(task);
        self
    }

    /// Adds a limit of its processes.
    #[must_use]
    pub fn limit(mut self, limit: Concurrency) -> Self {
        self.concurrency.push(limit);
        self
    }
}

impl TaskDefinition {
    /// A task with default settings.
    pub fn new(name: impl Into<String>, command: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            command: command.into(),
            shell: false,
            shell_command: Vec::new(),
            unsafe_interpolation: false,
            working_directory: None,
            timeout_minutes: DEFAULT_TIMEOUT_MINUTES,
            max_retries: DEFAULT_MAX_RETRIES,
            environment: BTreeMap::new(),
            retry: RetryPolicy::default(),
            on_crash: OnCrash::default(),
            max_output_bytes: DEFAULT_MAX_OUTPUT_BYTES,
            leftovers: Leftovers::default(),
            concurrency: Vec::new(),
        }
    }

    /// Adds a group of which the command holds a slot while it runs.
    #[must_use]
    pub fn limit(mut self, limit: Concurrency) -> Self {
        self.concurrency.push(Concurrency { holds: Holds::Task, ..limit });
        self
    }
}
