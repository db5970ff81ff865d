//! Watching processes as they go: less than the whole rows, which hold up to megabytes of output.

use jiff::Timestamp;
use postgres::Row;

use crate::model::lifecycle::{ProcessStatus, TaskStatus};
use crate::store::row::{count, get, time, word};
use crate::store::{Sql, Store, StoreError};

const TASKS: Sql =
    Sql::new("watch the tasks of a process", include_str!("../../../sql/read/task_progress.sql"));
const ENDED: Sql = Sql::new(
    "see which processes have ended",
    "SELECT process_id, status, error_message FROM processes \
     WHERE process_id = ANY($1) AND status IN ('COMPLETED', 'FAILED', 'CANCELLED')",
);

/// Where a task is, without its output.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskProgress {
    /// Unique within the process.
    pub name: String,
    /// Where it is in its lifecycle.
    pub status: TaskStatus,
    /// Executions begun.
    pub attempt: u32,
    /// Retries spent.
    pub retry_count: u32,
    /// Attempts after the first.
    pub max_retries: u32,
    /// When its latest execution was begun.
    pub started_at: Option<Timestamp>,
    /// When it reached a final status.
    pub completed_at: Option<Timestamp>,
    /// Why its latest execution failed.
    pub error_message: Option<String>,
    /// The database's time when this was read.
    pub now: Timestamp,
}

/// A process that has reached a final status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedProcess {
    /// Its id.
    pub process_id: String,
    /// How it ended.
    pub status: ProcessStatus,
    /// Why it failed.
    pub error_message: Option<String>,
}

impl Store {
    /// The tasks of a process in their order; empty when there is no such process.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub fn task_progress(&mut self, process_id: &str) -> Result<Vec<TaskProgress>, StoreError> {
        self.query(&TASKS, &[&process_id])?.iter().map(|row| read_progress(row, process_id)).collect()
    }

    /// Those of `process_ids` that have ended, in no order.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub fn ended(&mut self, process_ids: &[String]) -> Result<Vec<EndedProcess>, StoreError> {
        self.query(&ENDED, &[&process_ids])?
            .iter()
            .map(|row| {
                let process_id: String = get(row, "process_id", "a process")?;
                let what = format!("process \"{process_id}\"");
                Ok(EndedProcess {
                    status: word(row, "status", &what, ProcessStatus::parse)?,
                    error_message: get(row, "error_message", &what)?,
                    process_id,
                })
            })
            .collect()
    }
}

fn read_progress(row: &Row, process_id: &str) -> Result<TaskProgress, StoreError> {
    let what = format!("a task of process \"{process_id}\"");
    Ok(TaskProgress {
        name: get(row, "name", &what)?,
        status: word(row, "status", &what, TaskStatus::parse)?,
        attempt: count(row, "attempt", &what)?,
        retry_count: count(row, "retry_count", &what)?,
        max_retries: count(row, "max_retries", &what)?,
        started_at: get(row, "started_at", &what)?,
        completed_at: get(row, "completed_at", &what)?,
        error_message: get(row, "error_message", &what)?,
        now: time(row, "now", &what)?,
    })
}
