//! The tasks of a process and their executions, whole or in pages that are bounded in bytes.

use std::collections::BTreeMap;

use postgres::Row;
use postgres::types::Json;
use serde::Serialize;

use crate::model::lifecycle::{Outcome, TaskStatus};
use crate::model::records::{TaskData, TaskExecution};
use crate::store::row::{Listed, count, get, problem_of, time, word};
use crate::store::{Sql, Store, StoreError};

const TASKS: Sql =
    Sql::new("read the tasks of a process", include_str!("../../../sql/read/process_tasks.sql"));
const EXECUTIONS: Sql =
    Sql::new("read the executions of a process", include_str!("../../../sql/read/process_executions.sql"));

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

/// How much one page of tasks or executions holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize {
    /// Rows at the most.
    pub rows: u32,
    /// The page ends after so many bytes of commands, errors, environments and outputs; its last row may go beyond.
    pub bytes: u32,
    /// Bytes of a command or an error, of a longer one the begin is given.
    pub text_bytes: u32,
    /// From which character of an output on.
    pub output_from: u32,
    /// And how many of them.
    pub output_chars: u32,
}

impl PageSize {
    /// Whole rows, some megabytes of them: for who reads on until the end.
    pub const WHOLE_ROWS: Self = Self {
        rows: 1000,
        bytes: 4 * 1024 * 1024,
        text_bytes: i32::MAX as u32,
        output_from: 0,
        output_chars: OUTPUT_CHARS_MAX,
    };
}

/// More than an output has; twice as many would be beyond what PostgreSQL 12 can count.
const OUTPUT_CHARS_MAX: u32 = 1 << 30;

/// A row with what a page holds of its output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part<T> {
    /// The row.
    #[serde(flatten)]
    pub row: T,
    /// The character that the rest of its output begins with, when this is not all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_next: Option<u32>,
    /// Whether it had an output that is deleted by now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub output_deleted: bool,
}

/// One page of tasks or executions.
#[derive(Debug, Clone, PartialEq)]
pub struct TrailPage<T> {
    /// Those that can be read.
    pub rows: Vec<Part<T>>,
    /// What is wrong with each of the others.
    pub unreadable: Vec<String>,
    /// Task and attempt of the page's last row, if there are more: where the next one begins.
    pub next: Option<(u32, u32)>,
}

impl Store {
    /// The tasks of a process in their order, whole; empty when there is no such process.
    pub fn tasks(&mut self, process_id: &str) -> Result<Listed<TaskData>, StoreError> {
        all(|after| self.tasks_page(process_id, None, true, after, PageSize::WHOLE_ROWS))
    }

    /// The same with every `output` left unread, which may be a megabyte for each task.
    pub fn tasks_without_output(&mut self, process_id: &str) -> Result<Listed<TaskData>, StoreError> {
        all(|after| self.tasks_page(process_id, None, false, after, PageSize::WHOLE_ROWS))
    }

    /// The executions of a process, by task and attempt, whole.
    pub fn executions(&mut self, process_id: &str) -> Result<Listed<TaskExecution>, StoreError> {
        self.executions_like(process_id, ExecutionFilter::default())
    }

    /// Those that the filter leaves, whole.
    pub fn executions_like(
        &mut self,
        process_id: &str,
        filter: ExecutionFilter,
    ) -> Result<Listed<TaskExecution>, StoreError> {
        all(|after| self.executions_page(process_id, filter, after, PageSize::WHOLE_ROWS))
    }

    /// One page of the tasks of a process, or only the task at an index; after the place that the page before gave.
    ///
    /// # Errors
    /// When the database fails.
    pub fn tasks_page(
        &mut self,
        process_id: &str,
        task_index: Option<u32>,
        output: bool,
        after: Option<(u32, u32)>,
        size: PageSize,
    ) -> Result<TrailPage<TaskData>, StoreError> {
        let (task, after) = (int(task_index), int(after.map(|it| it.0)));
        let (rows, bytes, text_bytes) = size.limits();
        let (from, chars) = size.output();
        let params: [&(dyn postgres::types::ToSql + Sync); 9] =
            [&process_id, &output, &task, &after, &rows, &bytes, &from, &chars, &text_bytes];
        let rows = self.query(&TASKS, &params)?;
        Ok(page_of(&rows, size, read_task_data, |task| &mut task.output))
    }

    /// One page of the executions that the filter leaves, after the place that the page before gave.
    ///
    /// # Errors
    /// When the database fails.
    pub fn executions_page(
        &mut self,
        process_id: &str,
        filter: ExecutionFilter,
        after: Option<(u32, u32)>,
        size: PageSize,
    ) -> Result<TrailPage<TaskExecution>, StoreError> {
        let (task, attempt) = (int(filter.task_index), int(filter.attempt));
        let (after_task, after_attempt) = (int(after.map(|it| it.0)), int(after.map(|it| it.1)));
        let (rows, bytes, text_bytes) = size.limits();
        let (from, chars) = size.output();
        let params: [&(dyn postgres::types::ToSql + Sync); 11] = [
            &process_id,
            &filter.output,
            &task,
            &attempt,
            &after_task,
            &after_attempt,
            &rows,
            &bytes,
            &from,
            &chars,
            &text_bytes,
        ];
        let rows = self.query(&EXECUTIONS, &params)?;
        Ok(page_of(&rows, size, read_execution, |execution| &mut execution.output))
    }
}

impl PageSize {
    /// One row more than are wanted shows that there are more.
    fn limits(self) -> (i64, i64, i64) {
        (i64::from(self.rows) + 1, self.bytes.into(), self.text_bytes.into())
    }

    /// One character more shows that there are more.
    fn output(self) -> (i32, i32) {
        let signed = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        (signed(self.output_from).saturating_add(1), signed(self.output_chars.min(OUTPUT_CHARS_MAX)) + 1)
    }
}

/// The columns are int4: what is beyond matches nothing, as it should.
fn int(value: Option<u32>) -> Option<i32> {
    value.map(|it| i32::try_from(it).unwrap_or(i32::MAX))
}

/// Reads page after page.
fn all<T>(
    mut read: impl FnMut(Option<(u32, u32)>) -> Result<TrailPage<T>, StoreError>,
) -> Result<Listed<T>, StoreError> {
    let mut listed = Listed { rows: Vec::new(), unreadable: Vec::new() };
    let mut after = None;
    loop {
        let page = read(after)?;
        listed.rows.extend(page.rows.into_iter().map(|it| it.row));
        listed.unreadable.extend(page.unreadable);
        match page.next {
            None => return Ok(listed),
            next => after = next,
        }
    }
}

type Place = (u32, u32);

fn page_of<T>(
    rows: &[Row],
    size: PageSize,
    read: impl Fn(&Row) -> Result<T, StoreError>,
    output: impl Fn(&mut T) -> &mut Option<String>,
) -> TrailPage<T> {
    let wanted = size.rows as usize;
    // All that the page could hold, whether it fits or not.
    let found: i64 = rows.first().and_then(|row| row.try_get("found").ok()).unwrap_or(0);
    let given = rows.len().min(wanted);
    let mut page = TrailPage { rows: Vec::with_capacity(given), unreadable: Vec::new(), next: None };
    for row in &rows[..given] {
        match (read(row), get(row, "output_deleted", "an output")) {
            (Ok(mut row), Ok(output_deleted)) => {
                let output_next = output(&mut row).as_mut().and_then(|text| cut_output(text, size));
                page.rows.push(Part { row, output_next, output_deleted });
            }
            (Err(error), _) | (_, Err(error)) => page.unreadable.push(problem_of(&error)),
        }
    }
    if usize::try_from(found).is_ok_and(|found| found > given) {
        page.next = rows[..given].last().map(place_of);
    }
    page
}

/// Where a row stands, whatever else is wrong with it.
fn place_of(row: &Row) -> Place {
    let column = |name| row.try_get::<_, i32>(name).ok().and_then(|it| u32::try_from(it).ok()).unwrap_or(0);
    (column("task_index"), column("attempt"))
}

/// Takes the character away that is one too many, and says where it stands in the whole output.
fn cut_output(text: &mut String, size: PageSize) -> Option<u32> {
    let (end, _) = text.char_indices().nth(size.output_chars as usize)?;
    text.truncate(end);
    Some(size.output_from.saturating_add(size.output_chars))
}

pub(in crate::store) fn read_task_data(row: &Row) -> Result<TaskData, StoreError> {
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

pub(in crate::store) fn read_execution(row: &Row) -> Result<TaskExecution, StoreError> {
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
