//! What the tables hold, as the faces and the library's users read it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::lifecycle::{Outcome, ProcessStatus, TaskStatus};
use super::liveness::is_silent;

/// One run of a process type with its input.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProcessData {
    /// Such as `data-processing-pipeline-42`, or the caller's own.
    pub process_id: String,
    /// The process type it was started from.
    pub process_type: String,
    /// Where it is in its lifecycle.
    pub status: ProcessStatus,
    /// Index of the task that runs or comes next; `total_tasks` when all are done.
    pub current_task_index: u32,
    /// How many tasks it has.
    pub total_tasks: u32,
    /// How many of them a retry has passed over: they are SKIPPED.
    pub skipped_tasks: u32,
    /// Higher runs first.
    pub priority: i32,
    /// When its first task was claimed.
    pub started_at: Option<Timestamp>,
    /// When it reached a final status.
    pub completed_at: Option<Timestamp>,
    /// Why it failed.
    pub error_message: Option<String>,
    /// What it was started with; null, and not in the JSON document, where it was not asked for.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub input_data: Value,
    /// What its tasks passed on, an object; null as the input is.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub process_context: Value,
    /// When it was started.
    pub created_at: Timestamp,
    /// When its row last changed.
    pub updated_at: Timestamp,
    /// When it is due; `None` once it is in a final status.
    pub execution_time: Option<Timestamp>,
    /// The node that has claimed it.
    pub picked_by: Option<String>,
    /// The limit that holds it back, with the key's value behind a `=`; see `limits show`.
    pub waits_for_limit: Option<String>,
}

/// One command of a process.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskData {
    /// The process id, a colon and the task's index.
    pub task_id: String,
    /// The process it belongs to.
    pub process_id: String,
    /// Its place in the process, from 0.
    pub task_index: u32,
    /// Unique within the process.
    pub name: String,
    /// The command before its variables are substituted.
    pub command: String,
    /// Whether `sh -c` runs it.
    pub shell: bool,
    /// Where it runs; `None` is the orchestrator's own directory.
    pub working_directory: Option<String>,
    /// Minutes until it is ended.
    pub timeout_minutes: f64,
    /// Attempts after the first.
    pub max_retries: u32,
    /// Retries spent.
    pub retry_count: u32,
    /// Executions begun, crashed and interrupted ones included.
    pub attempt: u32,
    /// Where it is in its lifecycle.
    pub status: TaskStatus,
    /// When its latest execution was begun.
    pub started_at: Option<Timestamp>,
    /// When it reached a final status.
    pub completed_at: Option<Timestamp>,
    /// Why its latest execution failed.
    pub error_message: Option<String>,
    /// The latest execution's exit code; `None` when a signal ended it.
    pub exit_code: Option<i32>,
    /// The latest execution's output.
    pub output: Option<String>,
    /// Extra environment, before substitution.
    pub environment: BTreeMap<String, String>,
    /// When the process was started.
    pub created_at: Timestamp,
    /// When the row last changed.
    pub updated_at: Timestamp,
}

/// One attempt to run a task's command: a row of the audit trail.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskExecution {
    /// The process.
    pub process_id: String,
    /// The task's place in it.
    pub task_index: u32,
    /// The task's name.
    pub task_name: String,
    /// 1 for the task's first execution.
    pub attempt: u32,
    /// The node that ran it.
    pub node: String,
    /// The command as it was run, variables substituted, each argument quoted where it needs to be.
    pub command: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The command's exit code; `None` when a signal ended it or nothing was run.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When it began, by the database's clock.
    pub started_at: Timestamp,
    /// When it ended, by the database's clock.
    pub completed_at: Timestamp,
    /// Wall-clock milliseconds.
    pub duration_ms: f64,
    /// Processor milliseconds of the command and the children it waited for; `None` where unknown.
    pub cpu_ms: Option<f64>,
    /// Peak resident memory in bytes; `None` where unknown.
    pub peak_memory_bytes: Option<i64>,
    /// Standard output and error in the order written, head and tail.
    pub output: Option<String>,
    /// Bytes the command wrote, kept or not.
    pub output_bytes: i64,
    /// Why it failed.
    pub error_message: Option<String>,
}

/// A registered process type as the database knows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProcessTypeData {
    /// Its name.
    pub name: String,
    /// Its document, as files hold it; null, and not in the JSON document, where it was left out for its size.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub definition: Value,
    /// What input must supply, such as `input_file` or `config.batch_size`.
    pub required_input: Vec<String>,
    /// Whether its processes are held back.
    pub paused: bool,
    /// Since when, where that is known.
    pub paused_at: Option<Timestamp>,
    /// Why, where somebody has said it.
    pub pause_reason: Option<String>,
    /// How many of its processes may run at once.
    pub max_concurrent: Option<i32>,
    /// When it was first registered.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// How many definitions it has had, this one included.
    pub version: i32,
    /// Who has registered this one; `None`: before that was kept.
    pub registered_by: Option<String>,
}

/// A running orchestrator as the database knows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeData {
    /// Identified anew at every start.
    pub node_id: String,
    /// The name the operator gave it.
    pub name: String,
    /// The host it runs on.
    pub host: String,
    /// Its process id on that host.
    pub pid: i32,
    /// The version of its binary.
    pub version: String,
    /// How many commands it runs at once.
    pub executors: i32,
    /// `RUNNING`, `STOPPING`, `STOPPED` or `DEAD`.
    pub state: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last renewed its lease.
    pub last_heartbeat: Timestamp,
    /// How often it does.
    pub heartbeat_seconds: f64,
    /// After which time without that it counts as silent, and as dead once its session is gone.
    pub dead_after_seconds: f64,
}

impl NodeData {
    /// Whether it is silent at `now`, a time of the database's clock, by what its own row says.
    pub fn is_silent(&self, now: Timestamp) -> bool {
        is_silent(now.duration_since(self.last_heartbeat).as_secs_f64(), self.dead_after_seconds)
    }
}

/// What `/status` answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatusCounts {
    /// Processes by status; every status is named, also at 0.
    pub processes: BTreeMap<ProcessStatus, i64>,
    /// Unfinished processes that wait: due or not yet due.
    pub queue_depth: i64,
    /// Of those, the ones that could run now.
    pub due: i64,
    /// Seconds the longest-waiting due process has waited; `None` when none is due.
    pub oldest_due_age_seconds: Option<f64>,
    /// Processes that a node has claimed.
    pub picked: i64,
    /// Of those that wait, the ones that a limit holds back.
    pub waiting_for_limits: i64,
    /// The nodes that run now.
    pub nodes: Vec<NodeData>,
    /// What is wrong with rows that could not be counted: sentences that name them. Left out when all could.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}
