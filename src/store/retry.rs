//! Having finished processes go again, by the schema's own functions.

use jiff::Timestamp;
use postgres::Row;
use serde::Serialize;

use super::row::{get, status_of, word};
use super::{Sql, Store, StoreError};
use crate::model::input::ProcessInputData;
use crate::model::lifecycle::ProcessStatus;

const RETRY: Sql = Sql::new(
    "retry processes",
    "SELECT process_id, outcome, status, detail FROM retry_processes($1, $2, $3)",
);
const PLAN_RETRY: Sql = Sql::new(
    "plan a retry",
    "SELECT id AS process_id, outcome, status, detail FROM plan_retries($1, $2, $3)",
);
const RETRY_ONE: Sql = Sql::new("retry a process", "SELECT retry_process($1, $2, $3) AS task");
const FINISHED_IDS: Sql =
    Sql::new("look for finished processes", include_str!("../../sql/control/finished_ids.sql"));
const COUNT_FINISHED: Sql =
    Sql::new("count finished processes", include_str!("../../sql/control/count_finished.sql"));

crate::model::lifecycle::words! {
    /// What a retry did, or would do.
    RetryOutcome {
        /// It is due again.
        Retried = "RETRIED",
        /// It runs or waits already; it can be cancelled first.
        Unfinished = "UNFINISHED",
        /// Nothing of it has failed; a task to go again from has to be named.
        Completed = "COMPLETED",
        /// It has no task of that name.
        NoSuchTask = "NO_SUCH_TASK",
        /// Its tasks need variables that its input lacks.
        MissingInput = "MISSING_INPUT",
        /// There is no such process.
        NotFound = "NOT_FOUND",
    }
}

/// One process that was to be retried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetriedProcess {
    /// Its id.
    pub process_id: String,
    /// What was done.
    pub outcome: RetryOutcome,
    /// Its status now; `None` if there is no such process.
    pub status: Option<ProcessStatus>,
    /// The task it goes on from, if it goes again.
    pub from_task: Option<String>,
    /// Why it does not: the variables that are missing, or the tasks that there are.
    #[serde(skip)]
    pub detail: Option<String>,
}

/// How a process goes again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetryOptions {
    /// The task, by name or index, from which on everything is run again; `None` is the one that failed or was
    /// cancelled.
    pub from_task: Option<String>,
    /// What is put on top of its input: single values replace, `config` and `metadata` are merged.
    pub changes: Option<ProcessInputData>,
}

/// A place among finished processes: when the last one was created, and its id.
pub type FinishedPlace = (Timestamp, String);

impl Store {
    /// Has finished processes go again, all in one transaction; what can't is told and stays as it is. What comes back
    /// has the order of the ids, each once. Name no more than [`BULK_MAX`](super::cancel::BULK_MAX).
    ///
    /// # Errors
    /// When the changes are not an input, or the database fails; nothing is retried then.
    pub fn retry_processes(
        &mut self,
        process_ids: &[String],
        options: &RetryOptions,
    ) -> Result<Vec<RetriedProcess>, StoreError> {
        self.retry(&RETRY, process_ids, options)
    }

    /// What [`Store::retry_processes`] would do.
    pub fn plan_retries(
        &mut self,
        process_ids: &[String],
        options: &RetryOptions,
    ) -> Result<Vec<RetriedProcess>, StoreError> {
        self.retry(&PLAN_RETRY, process_ids, options)
    }

    fn retry(
        &mut self,
        sql: &Sql,
        process_ids: &[String],
        options: &RetryOptions,
    ) -> Result<Vec<RetriedProcess>, StoreError> {
        let changes = options.changes.as_ref().map(ProcessInputData::to_value);
        self.query(sql, &[&process_ids, &options.from_task, &changes])?.iter().map(read_retried).collect()
    }

    /// Has one finished process go again; gives the name of the task it goes on from.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such process or task, when it has not ended or nothing of it has failed,
    /// or when a variable is missing; otherwise when the database fails.
    pub fn retry_process(&mut self, process_id: &str, options: &RetryOptions) -> Result<String, StoreError> {
        let changes = options.changes.as_ref().map(ProcessInputData::to_value);
        let what = "a retried process";
        get(&self.query_one(&RETRY_ONE, &[&process_id, &options.from_task, &changes], what)?, "task", what)
    }

    /// Processes that ended in `status` no later than `until`, the oldest first, after a place among them.
    pub fn finished_ids(
        &mut self,
        status: ProcessStatus,
        process_type: Option<&str>,
        after: Option<&FinishedPlace>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<FinishedPlace>, StoreError> {
        let (time, id) = (after.map(|it| it.0), after.map(|it| it.1.as_str()));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.query(&FINISHED_IDS, &[&status.as_str(), &process_type, &time, &id, &until, &limit])?
            .iter()
            .map(|row| Ok((get(row, "created_at", "a process")?, get(row, "process_id", "a process")?)))
            .collect()
    }

    /// How many [`finished_ids`](Self::finished_ids) there are.
    pub fn count_finished(
        &mut self,
        status: ProcessStatus,
        process_type: Option<&str>,
    ) -> Result<i64, StoreError> {
        let row = self.query_one(&COUNT_FINISHED, &[&status.as_str(), &process_type], "the processes")?;
        get(&row, "how_many", "the processes")
    }
}

fn read_retried(row: &Row) -> Result<RetriedProcess, StoreError> {
    let process_id: String = get(row, "process_id", "a process")?;
    let what = format!("process {process_id:?}");
    let outcome = word(row, "outcome", &what, RetryOutcome::parse)?;
    let detail: Option<String> = get(row, "detail", &what)?;
    let (from_task, detail) = if outcome == RetryOutcome::Retried { (detail, None) } else { (None, detail) };
    Ok(RetriedProcess { outcome, status: status_of(row, &what)?, from_task, detail, process_id })
}
