//! Which executions are asked for, and how they are read.

use clap::Args;

use crate::cli::error::CliError;
use crate::cli::options::bulk::not_found;
use crate::cli::options::global::GlobalOptions;
use crate::model::lifecycle::ProcessStatus;
use crate::model::records::{TaskData, TaskExecution};
use crate::store::live::LiveExecution;
use crate::store::read::{ExecutionFilter, PageSize};
use crate::store::{RefusalReason, Store, StoreError};

/// Which executions.
#[derive(Debug, Args)]
pub struct Options {
    /// The process's id
    #[arg(value_name = "ID")]
    pub process_id: String,
    /// Only this task, by its name or its number (1 is the first)
    pub task: Option<String>,
    /// Only this attempt of each task; 1 is the first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub attempt: Option<u32>,
    /// Go on with what is written from now on, until the process (or the task) has ended; nodes show it every two
    /// seconds
    #[arg(short, long, conflicts_with = "json")]
    pub follow: bool,
    /// Print the output as it is stored, with its escape sequences and carriage returns
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// Print one JSON document: {"process_id": id, "executions": [...], "live": the end of what the running one wrote, or
    /// null}
    #[arg(long)]
    pub json: bool,
}

/// Rows of which only headings are shown: no more of a text than a screenful.
pub(super) const HEADINGS: PageSize = PageSize { text_bytes: 8 * 1024, ..PageSize::WHOLE_ROWS };

/// The executions that are asked for.
pub(super) struct Wanted<'o> {
    pub process_id: &'o str,
    pub task_index: Option<u32>,
    pub attempt: Option<u32>,
    pub raw: bool,
    /// The process's status when it was looked for.
    pub status: ProcessStatus,
    /// Whether any command of these was begun.
    pub has_begun: bool,
    /// Of all tasks.
    names: Vec<String>,
}

impl<'o> Wanted<'o> {
    pub fn find(store: &mut Store, options: &'o Options, global: &GlobalOptions) -> Result<Self, CliError> {
        let process_id = &options.process_id;
        let process = store.process_row(process_id)?.ok_or_else(|| not_found(process_id, global))?;
        let mut tasks = Vec::new();
        let mut after = None;
        loop {
            let page = store.tasks_page(process_id, None, false, after, HEADINGS)?;
            tasks.extend(page.rows.into_iter().map(|it| it.row));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let wanted = options.task.as_ref();
        let task_index = wanted.map(|task| find_task(&tasks, task, process_id)).transpose()?;
        // Who follows may wait for an attempt that comes.
        let may_come = options.follow && !process.status.is_final();
        if let Some(attempt) = options.attempt.filter(|_| !may_come) {
            let asked = |it: &&TaskData| task_index.is_none_or(|index| it.task_index == index);
            check_attempt(tasks.iter().filter(asked), attempt, process_id, task_index.is_some())?;
        }
        let has_begun =
            tasks.iter().any(|it| it.attempt > 0 && task_index.is_none_or(|index| it.task_index == index));
        let names = tasks.into_iter().map(|task| task.name).collect();
        Ok(Self {
            status: process.status,
            has_begun,
            process_id,
            task_index,
            attempt: options.attempt,
            raw: options.raw,
            names,
        })
    }

    /// The executions that are asked for.
    pub fn filter(&self, output: bool) -> ExecutionFilter {
        ExecutionFilter { task_index: self.task_index, attempt: self.attempt, output }
    }

    pub fn holds(&self, task_index: u32, attempt: u32) -> bool {
        self.task_index.is_none_or(|it| it == task_index) && self.attempt.is_none_or(|it| it == attempt)
    }

    pub fn name(&self, task_index: u32) -> &str {
        self.names.get(task_index as usize).map_or("", String::as_str)
    }

    /// What the running command shows, if it is one of these.
    pub fn live(&self, store: &mut Store) -> Result<Option<LiveExecution>, StoreError> {
        Ok(store.live(self.process_id)?.filter(|live| self.holds(live.task_index, live.attempt)))
    }
}

/// The same execution with its output: read one by one, because each may have megabytes.
pub(super) fn with_output(store: &mut Store, execution: &TaskExecution) -> Result<TaskExecution, StoreError> {
    let (task_index, attempt) = (Some(execution.task_index), Some(execution.attempt));
    let read = store
        .executions_like(&execution.process_id, ExecutionFilter { task_index, attempt, output: true })?
        .whole()?;
    // If somebody has deleted it in between, what is known of it is told all the same.
    Ok(read.into_iter().next().unwrap_or_else(|| execution.clone()))
}

/// A task by its name or, if none is named so, by its number from 1.
fn find_task(tasks: &[TaskData], wanted: &str, process_id: &str) -> Result<u32, CliError> {
    let by_name = tasks.iter().find(|task| task.name == wanted);
    let by_number = || {
        let number: u32 = wanted.parse().ok()?;
        tasks.iter().find(|task| task.task_index + 1 == number)
    };
    by_name.or_else(by_number).map(|task| task.task_index).ok_or_else(|| {
        let names: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
        CliError::not_found(
            RefusalReason::UnknownTask,
            format!("process {process_id:?} has no task {wanted:?}; it has {}", names.join(", ")),
        )
    })
}

/// Fails unless one of these tasks has had so many attempts.
fn check_attempt<'t>(
    tasks: impl Iterator<Item = &'t TaskData>,
    attempt: u32,
    process_id: &str,
    is_one: bool,
) -> Result<(), CliError> {
    let most = tasks.max_by_key(|it| it.attempt);
    let Some(task) = most.filter(|it| it.attempt < attempt) else { return Ok(()) };
    let name = &task.name;
    let of = if is_one { format!("of task {name}") } else { "of any task".to_owned() };
    let last = match task.attempt {
        0 => "none has begun yet".to_owned(),
        last => format!("the last one of task {name} is {last}"),
    };
    Err(CliError::NotFound(format!("process {process_id:?} has no attempt {attempt} {of}; {last}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_task_is_answered_with_those_there_are() {
        let error = find_task(&[], "x", "p-1").expect_err("no tasks");
        assert_eq!(error.exit_code(), 3);
        assert!(error.lines()[0].starts_with("process \"p-1\" has no task \"x\""), "{error}");
    }
}
