//! What operators ask of processes and process types that are there: cancel, retry, pause, resume.
//!
//! The schema's functions do it, so that a program in any language can, inside its own transaction.

use jiff::Timestamp;
use postgres::Row;
use serde::Serialize;

use super::row::{get, unreadable, word};
use super::{Refusal, RefusalReason, Sql, Store, StoreError};
use crate::model::input::ProcessInputData;
use crate::model::lifecycle::ProcessStatus;

const CANCEL: Sql = Sql::new(
    "cancel processes",
    "SELECT process_id, outcome, status, picked_by FROM cancel_processes($1, $2, $3)",
);
const CANCEL_REQUESTS: Sql =
    Sql::new("see which processes are to be cancelled", include_str!("../../sql/cancel_requests.sql"));
const END_CANCELLED: Sql =
    Sql::new("end cancelled processes", "SELECT process_id FROM end_cancelled_processes() AS e (process_id)");
const RETRY: Sql = Sql::new(
    "retry processes",
    "SELECT process_id, outcome, status, detail FROM retry_processes($1, $2, $3)",
);
const PLAN_RETRY: Sql = Sql::new(
    "plan a retry",
    "SELECT id AS process_id, outcome, status, detail FROM plan_retries($1, $2, $3)",
);
const RETRY_ONE: Sql = Sql::new("retry a process", "SELECT retry_process($1, $2, $3) AS task");
const PAUSE: Sql = Sql::new("pause a process type", "SELECT pause_process_type($1, $2) AS is_changed");
const RESUME: Sql = Sql::new("resume a process type", "SELECT resume_process_type($1) AS is_changed");
const PAUSED: Sql =
    Sql::new("see which process types are paused", "SELECT name FROM process_types WHERE paused");
const UNFINISHED_IDS: Sql =
    Sql::new("look for unfinished processes", include_str!("../../sql/unfinished_ids.sql"));
const FINISHED_IDS: Sql = Sql::new("look for finished processes", include_str!("../../sql/finished_ids.sql"));

/// Most processes that one call of [`Store::cancel_processes`] or [`Store::retry_processes`] should name: the rows stay
/// locked for a moment, and a node that wants one of them waits for all.
pub const BULK_MAX: usize = 500;
/// A conflict of locks with a node that gives many claims back is tried again this often.
const CONFLICTS_MAX: u32 = 3;

crate::model::lifecycle::words! {
    /// What cancelling did.
    CancelOutcome {
        /// No node held it: it has ended.
        Cancelled = "CANCELLED",
        /// The node that runs it has been told and ends its command.
        Requested = "REQUESTED",
        /// It had ended before; nothing has changed.
        Finished = "FINISHED",
        /// There is no such process.
        NotFound = "NOT_FOUND",
    }
}

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

/// One process that was to be cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CancelledProcess {
    /// Its id.
    pub process_id: String,
    /// What was done.
    pub outcome: CancelOutcome,
    /// Its status now; `None` if there is no such process.
    pub status: Option<ProcessStatus>,
    /// The node that has to end it.
    pub node: Option<String>,
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
    /// The task it goes on from; or the variables that are missing; or the tasks that there are.
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

/// Why and by whom a process is cancelled; both become part of its error message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CancelReason<'a> {
    /// The reason.
    pub reason: Option<&'a str>,
    /// Who wants it.
    pub by: Option<&'a str>,
}

/// Which processes a bulk operation is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BulkFilter {
    /// Only those of this type.
    pub process_type: Option<String>,
    /// Only those in this status.
    pub status: Option<ProcessStatus>,
}

/// A place among finished processes: when the last one was created, and its id.
pub type FinishedPlace = (Timestamp, String);

impl Store {
    /// Cancels processes, all in one transaction: at once where no node holds them, otherwise their nodes are told.
    /// What comes back has the order of the ids, each once. Name no more than [`BULK_MAX`].
    ///
    /// # Errors
    /// When the database fails; nothing is cancelled then.
    pub fn cancel_processes(
        &mut self,
        process_ids: &[String],
        why: CancelReason<'_>,
    ) -> Result<Vec<CancelledProcess>, StoreError> {
        let mut conflicts = 0;
        loop {
            match self.query(&CANCEL, &[&process_ids, &why.reason, &why.by]) {
                Ok(rows) => return rows.iter().map(read_cancelled).collect(),
                Err(error) if error.leaves_connection_whole() && conflicts < CONFLICTS_MAX => conflicts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Cancels one process.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such process; otherwise when the database fails.
    pub fn cancel_process(
        &mut self,
        process_id: &str,
        why: CancelReason<'_>,
    ) -> Result<CancelledProcess, StoreError> {
        let told = self.cancel_processes(&[process_id.to_owned()], why)?.into_iter().next();
        told.filter(|it| it.outcome != CancelOutcome::NotFound).ok_or_else(|| {
            StoreError::Refused(Refusal {
                reason: RefusalReason::UnknownProcess,
                message: format!("no process has the id {process_id:?}"),
                remedy: "look for it in the list of processes".to_owned(),
            })
        })
    }

    /// The claims of `node` whose processes are to be cancelled, with their versions.
    ///
    /// # Errors
    /// When the database fails.
    pub fn cancel_requests(&mut self, node: &str) -> Result<Vec<(String, i64)>, StoreError> {
        self.query(&CANCEL_REQUESTS, &[&node])?
            .iter()
            .map(|row| Ok((get(row, "task_instance", "a claim")?, get(row, "version", "a claim")?)))
            .collect()
    }

    /// Ends the cancelled processes that no node holds any more, some hundreds at the most; gives their ids.
    ///
    /// # Errors
    /// When the database fails.
    pub fn end_cancelled(&mut self) -> Result<Vec<String>, StoreError> {
        self.query(&END_CANCELLED, &[])?.iter().map(|row| get(row, "process_id", "a process")).collect()
    }

    /// Has finished processes go again, all in one transaction; what can't is told and stays as it is. What comes back
    /// has the order of the ids, each once. Name no more than [`BULK_MAX`].
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
    ///
    /// # Errors
    /// When the database fails.
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
        let row = self.query_opt(&RETRY_ONE, &[&process_id, &options.from_task, &changes])?;
        row.map_or_else(
            || Err(unreadable("a retried process", "no row")),
            |row| get(&row, "task", "a retried process"),
        )
    }

    /// Holds the processes of a type back; `false` when it was paused already, and time and reason are kept.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the type is unknown; otherwise when the database fails.
    pub fn pause_process_type(&mut self, name: &str, reason: Option<&str>) -> Result<bool, StoreError> {
        let row = self.query_opt(&PAUSE, &[&name, &reason])?;
        row.map_or(Ok(false), |row| get(&row, "is_changed", "a process type"))
    }

    /// Lets the processes of a type go on; `false` when it was not paused.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the type is unknown; otherwise when the database fails.
    pub fn resume_process_type(&mut self, name: &str) -> Result<bool, StoreError> {
        let row = self.query_opt(&RESUME, &[&name])?;
        row.map_or(Ok(false), |row| get(&row, "is_changed", "a process type"))
    }

    /// The process types that are paused.
    ///
    /// # Errors
    /// When the database fails.
    pub fn paused_types(&mut self) -> Result<Vec<String>, StoreError> {
        self.query(&PAUSED, &[])?.iter().map(|row| get(row, "name", "a process type")).collect()
    }

    /// Unfinished processes that are not being cancelled already, in the order of their ids after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn unfinished_ids(
        &mut self,
        filter: &BulkFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let status = filter.status.map(ProcessStatus::as_str);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.query(&UNFINISHED_IDS, &[&filter.process_type, &status, &after, &limit])?
            .iter()
            .map(|row| get(row, "task_instance", "a process"))
            .collect()
    }

    /// Processes that ended in `status` no later than `until`, the oldest first, after a place among them.
    ///
    /// # Errors
    /// When the database fails.
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
}

fn read_cancelled(row: &Row) -> Result<CancelledProcess, StoreError> {
    let process_id: String = get(row, "process_id", "a process")?;
    let what = format!("process {process_id:?}");
    Ok(CancelledProcess {
        outcome: word(row, "outcome", &what, CancelOutcome::parse)?,
        status: status_of(row, &what)?,
        node: get(row, "picked_by", &what)?,
        process_id,
    })
}

fn read_retried(row: &Row) -> Result<RetriedProcess, StoreError> {
    let process_id: String = get(row, "process_id", "a process")?;
    let what = format!("process {process_id:?}");
    Ok(RetriedProcess {
        outcome: word(row, "outcome", &what, RetryOutcome::parse)?,
        status: status_of(row, &what)?,
        detail: get(row, "detail", &what)?,
        process_id,
    })
}

fn status_of(row: &Row, what: &str) -> Result<Option<ProcessStatus>, StoreError> {
    match get::<Option<&str>>(row, "status", what)? {
        None => Ok(None),
        Some(_) => word(row, "status", what, ProcessStatus::parse).map(Some),
    }
}
