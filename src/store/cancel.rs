//! Cancelling processes, by the schema's own functions.

use postgres::Row;
use serde::Serialize;

use super::locks::{Beside, Rows};
use super::row::{get, status_of, word};
use super::{Refusal, RefusalReason, Sql, Store, StoreError};
use crate::model::lifecycle::ProcessStatus;

const CANCEL: Sql = Sql::new(
    "cancel processes",
    "SELECT process_id, outcome, status, picked_by FROM cancel_processes($1, $2, $3)",
);
const CANCEL_REQUESTS: Sql = Sql::new(
    "see which processes are to be cancelled",
    include_str!("../../sql/control/cancel_requests.sql"),
);
const CANCELLED_IDS: Sql = Sql::new(
    "look for cancelled processes",
    "SELECT task_instance FROM scheduled_tasks WHERE cancel_requested_at IS NOT NULL AND picked IS NOT TRUE LIMIT 500",
);
const END_CANCELLED: Sql = Sql::new(
    "end cancelled processes",
    "SELECT process_id FROM end_cancelled_processes($1) AS e (process_id)",
);
/// Most processes that one call of [`Store::cancel_processes`] or [`Store::retry_processes`] should name: the rows stay
/// locked for a moment, and a node that wants one of them waits for all.
pub const BULK_MAX: usize = 500;

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
        /// Somebody else's transaction has locked it; nothing has changed.
        Locked = "LOCKED",
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
    /// Whose transaction has locked it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked_by: Option<String>,
}

/// Why and by whom a process is cancelled; both become part of its error message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CancelReason<'a> {
    /// The reason.
    pub reason: Option<&'a str>,
    /// Who wants it.
    pub by: Option<&'a str>,
}

impl Store {
    /// Cancels processes, all in one transaction: at once where no node holds them, otherwise their nodes are told.
    /// What comes back has the order of the ids, each once. Name no more than [`BULK_MAX`]. One that somebody else's
    /// transaction has locked for seconds stays as it is, and is told with who that is; the others are not kept by it.
    ///
    /// # Errors
    /// When the database fails; nothing is cancelled then.
    pub fn cancel_processes(
        &mut self,
        process_ids: &[String],
        why: CancelReason<'_>,
    ) -> Result<Vec<CancelledProcess>, StoreError> {
        self.on_each_lockable(
            CANCEL.action,
            process_ids,
            |store, ids| {
                store.query(&CANCEL, &[&ids, &why.reason, &why.by])?.iter().map(read_cancelled).collect()
            },
            |it: &CancelledProcess| &it.process_id,
            |process_id, holder| CancelledProcess {
                process_id: process_id.to_owned(),
                outcome: CancelOutcome::Locked,
                status: None,
                node: None,
                locked_by: Some(holder),
            },
        )
    }

    /// Cancels one process.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such process, [`StoreError::Locked`] when somebody has locked it; otherwise
    /// when the database fails.
    pub fn cancel_process(
        &mut self,
        process_id: &str,
        why: CancelReason<'_>,
    ) -> Result<CancelledProcess, StoreError> {
        let told = self.cancel_processes(&[process_id.to_owned()], why)?.into_iter().next();
        if let Some(CancelledProcess { locked_by: Some(holder), .. }) = told {
            return Err(StoreError::Locked { what: format!("process {process_id:?}"), holder });
        }
        told.filter(|it| it.outcome != CancelOutcome::NotFound).ok_or_else(|| {
            StoreError::Refused(Refusal {
                reason: RefusalReason::UnknownProcess,
                message: format!("no process has the id {process_id:?}"),
                remedy: "look for it in the list of processes".to_owned(),
            })
        })
    }

    /// The claims of `node` whose processes are to be cancelled, with their versions.
    pub fn cancel_requests(&mut self, node: &str) -> Result<Vec<(String, i64)>, StoreError> {
        self.query(&CANCEL_REQUESTS, &[&node])?
            .iter()
            .map(|row| Ok((get(row, "task_instance", "a claim")?, get(row, "version", "a claim")?)))
            .collect()
    }

    /// Ends the cancelled processes that no node holds any more, some hundreds at the most, but for those of which
    /// somebody has locked a row; gives their ids.
    pub fn end_cancelled(&mut self) -> Result<Vec<String>, StoreError> {
        let ids: Vec<String> = self.query_column(&CANCELLED_IDS, &[], "task_instance", "a process")?;
        if ids.is_empty() {
            return Ok(ids);
        }
        let rows: Vec<Rows<'_>> = ids.iter().map(|id| Rows::of_process(id)).collect();
        let beside = self.beside_locks(&rows, |store, free| {
            store.query_column(&END_CANCELLED, &[&free], "process_id", "a process")
        })?;
        match beside {
            Beside::Done { done, .. } => Ok(done),
            Beside::Locked(error) | Beside::TableLocked(error) => Err(error),
        }
    }
}

fn read_cancelled(row: &Row) -> Result<CancelledProcess, StoreError> {
    let process_id: String = get(row, "process_id", "a process")?;
    let what = format!("process {process_id:?}");
    Ok(CancelledProcess {
        outcome: word(row, "outcome", &what, CancelOutcome::parse)?,
        status: status_of(row, &what)?,
        node: get(row, "picked_by", &what)?,
        locked_by: None,
        process_id,
    })
}
