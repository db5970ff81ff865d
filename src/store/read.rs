//! What the faces and the library's users read.

use std::collections::BTreeMap;
use std::error::Error;

use jiff::Timestamp;
use postgres::Row;
use postgres::types::{FromSql, Json, Type};

use super::row::{count, get, listed, object, time, word};
use super::{Sql, Store, StoreError};
use crate::model::lifecycle::{Outcome, ProcessStatus, TaskStatus};
use crate::model::records::{ProcessData, StatusCounts, TaskData, TaskExecution};

const PROCESS: Sql = Sql::new("read a process", include_str!("../../sql/process.sql"));
const LIST: Sql = Sql::new("list processes", include_str!("../../sql/list_processes.sql"));
const TASKS: Sql = Sql::new("read the tasks of a process", include_str!("../../sql/process_tasks.sql"));
const EXECUTIONS: Sql =
    Sql::new("read the executions of a process", include_str!("../../sql/process_executions.sql"));
const STATUSES: Sql =
    Sql::new("count the processes", "SELECT status, count(*) AS how_many FROM processes GROUP BY status");
const QUEUE: Sql = Sql::new("read the queue", include_str!("../../sql/queue.sql"));
const NOW: Sql = Sql::new("ask for the time", "SELECT clock_timestamp() AS now");
const RUNNING_NODES_MAX: u32 = 1000;

/// Most processes on one page.
pub const PAGE_MAX: u32 = 1000;

pub use super::row::Listed;

/// Which processes a list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFilter {
    /// Only those in this status.
    pub status: Option<ProcessStatus>,
    /// Only those of this type.
    pub process_type: Option<String>,
    /// Only those after this place, which the page before gave as `next`.
    pub after: Option<Cursor>,
    /// At most this many; no more than [`PAGE_MAX`] are given.
    pub limit: u32,
}

impl Default for ProcessFilter {
    fn default() -> Self {
        Self { status: None, process_type: None, after: None, limit: 100 }
    }
}

/// A place in the list of processes, newest first. As text it is opaque: pass on what a page gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    created_at: DatabaseTime,
    process_id: String,
}

/// A `timestamptz` as it is on the wire, microseconds since 2000: a page may end with a row whose time is beyond what
/// we can show, and the next has to begin there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DatabaseTime(i64);

impl<'a> FromSql<'a> for DatabaseTime {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        i64::from_sql(&Type::INT8, raw).map(Self)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TIMESTAMPTZ
    }
}

impl Cursor {
    /// Reads the text of its `Display`; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (micros, process_id) = text.split_once('.')?;
        Some(Self { created_at: DatabaseTime(micros.parse().ok()?), process_id: process_id.to_owned() })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.created_at.0, self.process_id)
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Newest first.
    pub processes: Vec<ProcessData>,
    /// What is wrong with each of the page's rows that can't be read: a sentence that names the process.
    pub unreadable: Vec<String>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Cursor>,
}

impl Store {
    /// The time by the database's clock, which all recorded times are of; that of this machine may be wrong.
    ///
    /// # Errors
    /// When the database fails.
    pub fn now(&mut self) -> Result<Timestamp, StoreError> {
        let row = self.query_opt(&NOW, &[])?;
        row.map_or_else(
            || Err(super::row::unreadable("the time", "no row")),
            |row| get(&row, "now", "the time"),
        )
    }

    /// One process.
    ///
    /// # Errors
    /// When the database fails or the row can't be read.
    pub fn process(&mut self, process_id: &str) -> Result<Option<ProcessData>, StoreError> {
        self.query_opt(&PROCESS, &[&process_id])?.as_ref().map(read_process).transpose()
    }

    /// A page of processes, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn processes(&mut self, filter: &ProcessFilter) -> Result<Page, StoreError> {
        let limit = filter.limit.clamp(1, PAGE_MAX);
        let status = filter.status.map(ProcessStatus::as_str);
        let after_time = filter.after.as_ref().map(|it| it.created_at.0);
        let after_id = filter.after.as_ref().map(|it| it.process_id.as_str());
        let rows = self.query(
            &LIST,
            &[&status, &filter.process_type, &after_time, &after_id, &(i64::from(limit) + 1)],
        )?;
        let page = &rows[..rows.len().min(limit as usize)];
        let has_more = rows.len() > page.len();
        let next = page.last().filter(|_| has_more).map(read_cursor).transpose()?;
        let Listed { rows: processes, unreadable } = listed(page, read_process);
        Ok(Page { processes, unreadable, next })
    }

    /// The tasks of a process in their order; empty when there is no such process.
    ///
    /// # Errors
    /// When the database fails.
    pub fn tasks(&mut self, process_id: &str) -> Result<Listed<TaskData>, StoreError> {
        Ok(listed(&self.query(&TASKS, &[&process_id, &true])?, read_task_data))
    }

    /// The same with every `output` left unread, which may be a megabyte for each task.
    ///
    /// # Errors
    /// When the database fails.
    pub fn tasks_without_output(&mut self, process_id: &str) -> Result<Listed<TaskData>, StoreError> {
        Ok(listed(&self.query(&TASKS, &[&process_id, &false])?, read_task_data))
    }

    /// The executions of a process, by task and attempt.
    ///
    /// # Errors
    /// When the database fails.
    pub fn executions(&mut self, process_id: &str) -> Result<Listed<TaskExecution>, StoreError> {
        Ok(listed(&self.query(&EXECUTIONS, &[&process_id, &true])?, read_execution))
    }

    /// The same with every `output` left unread, which may be a megabyte for each execution.
    ///
    /// # Errors
    /// When the database fails.
    pub fn executions_without_output(
        &mut self,
        process_id: &str,
    ) -> Result<Listed<TaskExecution>, StoreError> {
        Ok(listed(&self.query(&EXECUTIONS, &[&process_id, &false])?, read_execution))
    }

    /// Counts by status, the queue, and the nodes that run.
    ///
    /// # Errors
    /// When the database fails.
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
        let rows = self.query(&QUEUE, &[])?;
        let row = rows.first().ok_or_else(|| super::row::unreadable("the queue", "no row"))?;
        let nodes = self.running_nodes(RUNNING_NODES_MAX)?;
        unreadable.extend(nodes.unreadable);
        Ok(StatusCounts {
            processes,
            queue_depth: get(row, "waiting", "the queue")?,
            due: get(row, "due", "the queue")?,
            oldest_due_age_seconds: get(row, "oldest_due_age", "the queue")?,
            picked: get(row, "picked", "the queue")?,
            nodes: nodes.rows,
            unreadable,
        })
    }
}

fn read_cursor(row: &Row) -> Result<Cursor, StoreError> {
    Ok(Cursor {
        created_at: get(row, "created_at", "a process")?,
        process_id: get(row, "process_id", "a process")?,
    })
}

fn read_process(row: &Row) -> Result<ProcessData, StoreError> {
    let process_id: String = get(row, "process_id", "a process")?;
    let what = format!("process \"{process_id}\"");
    Ok(ProcessData {
        process_type: get(row, "process_type", &what)?,
        status: word(row, "status", &what, ProcessStatus::parse)?,
        current_task_index: count(row, "current_task_index", &what)?,
        total_tasks: count(row, "total_tasks", &what)?,
        priority: get(row, "priority", &what)?,
        started_at: get(row, "started_at", &what)?,
        completed_at: get(row, "completed_at", &what)?,
        error_message: get(row, "error_message", &what)?,
        input_data: get(row, "input_data", &what)?,
        process_context: object(row, "process_context", &what)?,
        created_at: time(row, "created_at", &what)?,
        updated_at: time(row, "updated_at", &what)?,
        execution_time: get(row, "execution_time", &what)?,
        picked_by: get(row, "picked_by", &what)?,
        process_id,
    })
}

fn read_task_data(row: &Row) -> Result<TaskData, StoreError> {
    let task_id: String = get(row, "task_id", "a task")?;
    let what = format!("task \"{task_id}\"");
    let environment: Option<Json<BTreeMap<String, String>>> = get(row, "environment", &what)?;
    Ok(TaskData {
        process_id: get(row, "process_id", &what)?,
        task_index: count(row, "task_index", &what)?,
        name: get(row, "name", &what)?,
        command: get(row, "command", &what)?,
        shell: get(row, "shell", &what)?,
        working_directory: get(row, "working_directory", &what)?,
        timeout_minutes: get(row, "timeout_minutes", &what)?,
        max_retries: count(row, "max_retries", &what)?,
        retry_count: count(row, "retry_count", &what)?,
        attempt: count(row, "attempt", &what)?,
        status: word(row, "status", &what, TaskStatus::parse)?,
        started_at: get(row, "started_at", &what)?,
        completed_at: get(row, "completed_at", &what)?,
        error_message: get(row, "error_message", &what)?,
        exit_code: get(row, "exit_code", &what)?,
        output: get(row, "output", &what)?,
        environment: environment.map_or_else(BTreeMap::new, |it| it.0),
        created_at: time(row, "created_at", &what)?,
        updated_at: time(row, "updated_at", &what)?,
        task_id,
    })
}

fn read_execution(row: &Row) -> Result<TaskExecution, StoreError> {
    let process_id: String = get(row, "process_id", "an execution")?;
    let what = format!("an execution of process \"{process_id}\"");
    Ok(TaskExecution {
        task_index: count(row, "task_index", &what)?,
        task_name: get::<Option<String>>(row, "task_name", &what)?.unwrap_or_default(),
        attempt: count(row, "attempt", &what)?,
        node: get(row, "node_id", &what)?,
        command: get(row, "command", &what)?,
        outcome: word(row, "outcome", &what, Outcome::parse)?,
        exit_code: get(row, "exit_code", &what)?,
        signal: get(row, "signal", &what)?,
        started_at: time(row, "started_at", &what)?,
        completed_at: time(row, "completed_at", &what)?,
        duration_ms: get(row, "duration_ms", &what)?,
        cpu_ms: get(row, "cpu_ms", &what)?,
        peak_memory_bytes: get(row, "peak_memory_bytes", &what)?,
        output: get(row, "output", &what)?,
        output_bytes: get(row, "output_bytes", &what)?,
        error_message: get(row, "error_message", &what)?,
        process_id,
    })
}
