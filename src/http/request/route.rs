//! What a request asks for.

use crate::store::read::{ExecutionFilter, ProcessFilter};

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
        output: bool,
    },
    Executions {
        id: String,
        filter: ExecutionFilter,
    },
    Live {
        id: String,
    },
    ProcessTypes,
    Nodes,
    Metrics,
    OpenApi,
    Livez,
    Readyz,
    /// These change something: only with the token.
    Write(Write),
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
}
