//! What a request asks for.

use crate::store::batches::{BatchFilter, JoblogPlace};
use crate::store::read::ProcessFilter;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) enum Route {
    Index,
    Status,
    Processes(Box<ProcessFilter>),
    Process {
        id: String,
    },
    Tasks {
        id: String,
        part: TrailPart,
    },
    Executions {
        id: String,
        part: TrailPart,
    },
    Live {
        id: String,
    },
    ProcessTypes {
        after: Option<String>,
    },
    Nodes,
    Limits {
        after: Option<String>,
    },
    Limit {
        name: String,
    },
    Batches(BatchFilter),
    Batch {
        name: String,
    },
    Joblog {
        name: String,
        after: JoblogPlace,
        limit: u32,
    },
    Schedules {
        after: Option<String>,
    },
    Schedule {
        name: String,
    },
    Metrics,
    OpenApi,
    Livez,
    Readyz,
    /// These change something: only with the token.
    Write(Write),
}

/// Which part of the tasks or executions of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::http) struct TrailPart {
    /// The index of a task.
    pub task: Option<u32>,
    /// One attempt of it.
    pub attempt: Option<u32>,
    /// Whether outputs are wanted, where that was said.
    pub output: Option<bool>,
    /// From which character of the output on.
    pub offset: Option<u32>,
    /// Task and attempt of the last one of the page before.
    pub after: Option<(u32, u32)>,
    /// Rows at the most, where that was said.
    pub limit: Option<u32>,
}

/// What may be done with a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum ScheduleVerb {
    Pause,
    Resume,
    RunNow,
    Remove,
}

/// A call that changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) enum Write {
    /// Starts a process.
    Start,
    /// Ends one.
    Cancel { id: String },
    /// Has a finished one go again.
    Retry { id: String },
    /// Starts the processes of a batch.
    StartBatch,
    /// Holds a batch back.
    PauseBatch { name: String },
    /// Lets one go on.
    ResumeBatch { name: String },
    /// Ends one.
    CancelBatch { name: String },
    /// Has what of it failed go again.
    RetryBatch { name: String },
    /// Adds a schedule.
    AddSchedule,
    /// Does something with one.
    Schedule { name: String, verb: ScheduleVerb },
    /// Changes the max of a limit.
    SetLimit { name: String },
}
