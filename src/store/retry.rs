//! Having finished processes go again, by the schema's own functions.

use postgres::Row;
use postgres::types::ToSql;
use serde::Serialize;

use super::connection::Lockable;
use super::row::{get, status_of, word};
use super::{Sql, Store, StoreError};
use crate::model::input::ProcessInputData;
use crate::model::lifecycle::ProcessStatus;

const RETRY: Sql = Sql::new(
    "retry processes",
    "SELECT process_id, outcome, status, detail FROM retry_processes($1, $2, $3, $4)",
);
const PLAN_RETRY: Sql = Sql::new(
    "plan a retry",
    "SELECT id AS process_id, outcome, status, detail FROM plan_retries($1, $2, $3, $4)",
);
const RETRY_ONE: Sql = Sql::new("retry a process", "SELECT retry_process($1, $2, $3, $4) AS task");

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
        /// The task named comes behind one that has not completed, and nobody has said that this is to be skipped.
        WouldSkip = "WOULD_SKIP",
        /// Its tasks need variables that its input lacks.
        MissingInput = "MISSING_INPUT",
        /// There is no such process.
        NotFound = "NOT_FOUND",
        /// Somebody else's transaction has locked it; nothing has changed.
        Locked = "LOCKED",
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
    /// Why it does not: the variables that are missing, the tasks that there are, the task that would be skipped.
    #[serde(skip)]
    pub detail: Option<String>,
    /// Whose transaction has locked it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked_by: Option<String>,
}

/// How a process goes again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetryOptions {
    /// The task, by name or number (1 is the first), from which on everything is run again; `None` is the one that failed
    /// or was cancelled. What this task and those behind it have passed on is forgotten.
    pub from_task: Option<String>,
    /// Whether tasks before it that have not completed are skipped; without it that is refused.
    pub skip: bool,
    /// What is put on top of its input: single values replace, `config` and `metadata` are merged.
    pub changes: Option<ProcessInputData>,
}

impl Store {
    /// Has finished processes go again, all in one transaction; what can't is told and stays as it is. What comes back
    /// has the order of the ids, each once. Name no more than [`BULK_MAX`](super::cancel::BULK_MAX). One that somebody
    /// else's transaction has locked for seconds stays as it is, and is told with who that is.
    ///
    /// # Errors
    /// When the changes are not an input, or the database fails; nothing is retried then.
    pub fn retry_processes(
        &mut self,
        process_ids: &[String],
        options: &RetryOptions,
    ) -> Result<Vec<RetriedProcess>, StoreError> {
        self.on_each_lockable(
            RETRY.action,
            process_ids,
            |store, ids| store.retry(&RETRY, ids, options),
            |it: &RetriedProcess| &it.process_id,
            |process_id, holder| RetriedProcess {
                process_id: process_id.to_owned(),
                outcome: RetryOutcome::Locked,
                status: None,
                from_task: None,
                detail: None,
                locked_by: Some(holder),
            },
        )
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
        self.query(sql, &[&process_ids, &options.from_task, &changes, &options.skip])?
            .iter()
            .map(read_retried)
            .collect()
    }

    /// Has one finished process go again; gives the name of the task it goes on from.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such process or task, when it has not ended or nothing of it has failed,
    /// when a task would be skipped or a variable is missing, [`StoreError::Locked`] when somebody has locked it; otherwise
    /// when the database fails.
    pub fn retry_process(&mut self, process_id: &str, options: &RetryOptions) -> Result<String, StoreError> {
        let changes = options.changes.as_ref().map(ProcessInputData::to_value);
        let what = "a retried process";
        self.while_lockable(RETRY_ONE.action, Lockable::Process(process_id), |store| {
            let params: [&(dyn ToSql + Sync); 4] = [&process_id, &options.from_task, &changes, &options.skip];
            get(&store.query_one(&RETRY_ONE, &params, what)?, "task", what)
        })
    }
}

fn read_retried(row: &Row) -> Result<RetriedProcess, StoreError> {
    let process_id: String = get(row, "process_id", "a process")?;
    let what = format!("process {process_id:?}");
    let outcome = word(row, "outcome", &what, RetryOutcome::parse)?;
    let detail: Option<String> = get(row, "detail", &what)?;
    let (from_task, detail) = if outcome == RetryOutcome::Retried { (detail, None) } else { (None, detail) };
    Ok(RetriedProcess {
        outcome,
        status: status_of(row, &what)?,
        from_task,
        detail,
        locked_by: None,
        process_id,
    })
}
