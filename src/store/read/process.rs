//! What the faces and the library's users read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use postgres::Row;
use postgres::types::Json;

use crate::model::lifecycle::{Outcome, ProcessStatus, TaskStatus};
use crate::model::records::{ProcessData, StatusCounts, TaskData, TaskExecution};
use crate::store::row::{Listed, count, get, listed, object, time, word};
use crate::store::{Sql, Store, StoreError};

const PROCESS: Sql = Sql::new("read a process", include_str!("../../../sql/read/process.sql"));
const TASKS: Sql =
    Sql::new("read the tasks of a process", include_str!("../../../sql/read/process_tasks.sql"));
const EXECUTIONS: Sql =
    Sql::new("read the executions of a process", include_str!("../../../sql/read/process_executions.sql"));
const STATUSES: Sql =
    Sql::new("count the processes", "SELECT status, count(*) AS how_many FROM processes GROUP BY status");
const QUEUE: Sql = Sql::new("read the queue", include_str!("../../../sql/read/queue.sql"));
const NOW: Sql = Sql::new("ask for the time", "SELECT clock_timestamp() AS now");
const RUNNING_NODES_MAX: u32 = 1000;

/// Which executions of a process are wanted, and how much of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutionFilter {
    /// Only those of the task at this index.
    pub task_index: Option<u32>,
    /// Only those that are this attempt of their task; 1 is the first.
    pub attempt: Option<u32>,
    /// Whether their output is read, which may be a megabyte for each.
    pub output: bool,
}

impl Default for ExecutionFilter {
    /// All of them, whole.
    fn default() -> Self {
        Self { task_index: None, attempt: None, output: true }
    }
}

impl Store {
    /// The time by the database's clock, which all recorded times are of; that of this machine may be wrong.
    pub fn now(&mut self) -> Result<Timestamp, StoreError> {
        get(&self.query_one(&NOW, &[], "the time")?, "now", "the time")
    }

    /// One process.
    ///
    /// # Errors
    /// When the database fails or the row can't be read.
    pub fn process(&mut self, process_id: &str) -> Result<Option<ProcessData>, StoreError> {
        self.query_opt(&PROCESS, &[&process_id])?.as_ref().map(read_process).transpose()
    }

    /// The tasks of a process in their order; empty when there is no such process.
    pub fn tasks(&mut self, process_id: &str) -> Result<Listed<TaskData>, StoreError> {
        Ok(listed(&self.query(&TASKS, &[&process_id, &true])?, read_task_data))
    }

    /// The same with every `output` left unread, which may be a megabyte for each task.
    pub fn tasks_without_output(&mut self, process_id: &str) -> Result<Listed<TaskData>, StoreError> {
        Ok(listed(&self.query(&TASKS, &[&process_id, &false])?, read_task_data))
    }

    /// The executions of a process, by task and attempt.
    pub fn executions(&mut self, process_id: &str) -> Result<Listed<TaskExecution>, StoreError> {
        self.executions_like(process_id, ExecutionFilter::default())
    }

    /// Those that the filter leaves.
    pub fn executions_like(
        &mut self,
        process_id: &str,
        filter: ExecutionFilter,
    ) -> Result<Listed<TaskExecution>, StoreError> {
        // The columns are int4: what is beyond matches nothing, as it should.
        let int = |value: Option<u32>| value.map(|it| i32::try_from(it).unwrap_or(i32::MAX));
        let (task, attempt) = (int(filter.task_index), int(filter.attempt));
        let rows = self.query(&EXECUTIONS, &[&process_id, &filter.output, &task, &attempt])?;
        Ok(listed(&rows, read_execution))
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
            nodes: nodes.rows,
            unreadable,
        })
    }
}

pub(super) fn read_process(row: &Row) -> Result<ProcessData, StoreError> {
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
