//! Why a bench could not be done.

use std::io;
use std::time::Duration;

use crate::engine::StartError;
use crate::store::StoreError;

/// A run that records nothing for this long has failed.
pub const STALL: Duration = Duration::from_secs(60);

/// Why a bench could not be done.
#[derive(Debug)]
pub enum BenchError {
    /// The database.
    Store(StoreError),
    /// The node.
    Start(StartError),
    /// A command could not be run.
    Command(String),
    /// The system does not tell what is asked, or a node of our own does not do what it should.
    System(String),
    /// Nothing was recorded for a minute.
    Stalled {
        /// Executions recorded by then.
        recorded: u64,
        /// Executions expected.
        expected: u64,
    },
    /// What is recorded is not what was started.
    Wrong(String),
}

impl BenchError {
    /// `what` completes the phrase "failed to …".
    pub fn system(what: &str, cause: &io::Error) -> Self {
        Self::System(format!("failed to {what}: {cause}"))
    }
}

impl std::fmt::Display for BenchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => write!(f, "failed to {error}"),
            Self::Start(error) => write!(f, "failed to {error}"),
            Self::Command(problem) | Self::System(problem) => f.write_str(problem),
            Self::Stalled { recorded, expected } => write!(
                f,
                "nothing was recorded for {} s: {recorded} of {expected} executions are; do the commands end?",
                STALL.as_secs()
            ),
            Self::Wrong(problem) => {
                write!(f, "the record is wrong: {problem}; run it again with --keep and look at the schema")
            }
        }
    }
}

impl std::error::Error for BenchError {}

impl From<StoreError> for BenchError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<StartError> for BenchError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}
