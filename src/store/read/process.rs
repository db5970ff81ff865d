//! What the faces and the library's users read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use postgres::Row;
use serde_json::Value;

use super::values::ProcessText;
use crate::model::lifecycle::ProcessStatus;
use crate::model::records::{ProcessData, StatusCounts};
use crate::store::row::{count, get, time, word};
use crate::store::{Sql, Store, StoreError};

const PROCESS: Sql = Sql::new("read a process", include_str!("../../../sql/read/process.sql"));
const VERSION: Sql = Sql::new(
    "see whether a process has changed",
    include_str!("../../../sql/read/values/process_version.sql"),
);
const STATUSES: Sql =
    Sql::new("count the processes", "SELECT status, count(*) AS how_many FROM processes GROUP BY status");
const QUEUE: Sql = Sql::new("read the queue", include_str!("../../../sql/read/queue.sql"));
const NOW: Sql = Sql::new("ask for the time", "SELECT clock_timestamp() AS now");
const RUNNING_NODES_MAX: u32 = 1000;

impl Store {
    /// The time by the database's clock, which all recorded times are of; that of this machine may be wrong.
    pub fn now(&mut self) -> Result<Timestamp, StoreError> {
        get(&self.query_one(&NOW, &[], "the time")?, "now", "the time")
    }

    /// One process, whole.
    ///
    /// # Errors
    /// When the database fails or the row can't be read.
    pub fn process(&mut self, process_id: &str) -> Result<Option<ProcessData>, StoreError> {
        let found = self.process_text(process_id, u32::MAX)?;
        found.map(ProcessText::parsed).transpose()
    }

    /// One process with its input and context as texts; a value of more bytes than `value_bytes_max` is left out.
    ///
    /// # Errors
    /// When the database fails or the row can't be read.
    pub fn process_text(
        &mut self,
        process_id: &str,
        value_bytes_max: u32,
    ) -> Result<Option<ProcessText>, StoreError> {
        let row = self.query_opt(&PROCESS, &[&process_id, &i64::from(value_bytes_max)])?;
        let Some(row) = row else { return Ok(None) };
        let process = read_process(&row)?;
        let what = format!("process \"{process_id}\"");
        let input = get(&row, "input_text", &what)?;
        Ok(Some(ProcessText { process, input, context: get(&row, "context_text", &what)? }))
    }

    /// A text that changes when the process does; with `tasks` or `executions`, when these do. Nothing large is read for it.
    /// `None` when there is no such process.
    ///
    /// # Errors
    /// When the database fails.
    pub fn process_version(
        &mut self,
        process_id: &str,
        tasks: bool,
        executions: bool,
    ) -> Result<Option<String>, StoreError> {
        let row = self.query_opt(&VERSION, &[&process_id, &tasks, &executions])?;
        row.map(|row| get(&row, "version", "a process")).transpose()
    }

    /// Counts by status, the queue, and the nodes that run.
    pub fn status(&mut self) -> Result<StatusCounts, StoreError> {
        let mut processes: BTreeMap<ProcessStatus, i64> =
            ProcessStatus::ALL.iter().map(|&status| (status, 0)).collect();
        let mut unreadable = Vec::new();
        for row in self.query(&STATUSES, &[])? {
            let (status, how_many): (String, i64) =
                (get(&row, "status", "the counts")?, get(&row, "how_many", "the counts")?);
            match ProcessStatus::parse(&status) {
                Some(status) => drop(processes.insert(status, how_many)),
                None => unreadable.push(format!("processes in status {status:?}: {how_many}")),
            }
        }
        let row = self.query_one(&QUEUE, &[], "the queue")?;
        let nodes = self.running_nodes(RUNNING_NODES_MAX)?;
        unreadable.extend(nodes.unreadable);
        Ok(StatusCounts {
            processes,
            queue_depth: get(&row, "waiting", "the queue")?,
            due: get(&row, "due", "the queue")?,
            oldest_due_age_seconds: get(&row, "oldest_due_age", "the queue")?,
            picked: get(&row, "picked", "the queue")?,
            waiting_for_limits: get(&row, "waiting_for_limits", "the queue")?,
            nodes: nodes.rows,
            unreadable,
        })
    }
}

/// Without its values, which are read as texts.
pub(in crate::store) fn read_process(row: &Row) -> Result<ProcessData, StoreError> {
    let process_id: String = get(row, "process_id", "a process")?;
    let what = format!("process \"{process_id}\"");
    Ok(ProcessData {
        process_type: get(row, "process_type", &what)?,
        status: word(row, "status", &what, ProcessStatus::parse)?,
        current_task_index: count(row, "current_task_index", &what)?,
        total_tasks: count(row, "total_tasks", &what)?,
        skipped_tasks: count(row, "skipped_tasks", &what)?,
        priority: get(row, "priority", &what)?,
        started_at: get(row, "started_at", &what)?,
        completed_at: get(row, "completed_at", &what)?,
        error_message: get(row, "error_message", &what)?,
        input_data: Value::Null,
        process_context: Value::Null,
        created_at: time(row, "created_at", &what)?,
        updated_at: time(row, "updated_at", &what)?,
        execution_time: get(row, "execution_time", &what)?,
        picked_by: get(row, "picked_by", &what)?,
        waits_for_limit: get(row, "waits_for_limit", &what)?,
        process_id,
    })
}
