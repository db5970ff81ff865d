//! Finished processes with all that is recorded of them, many at a time, as the archive writes them.

use std::collections::HashMap;

use postgres::Row;

use crate::model::records::{TaskData, TaskExecution};
use crate::store::read::{Part, ProcessText, read_execution, read_process, read_task_data};
use crate::store::row::{get, problem_of};
use crate::store::{Sql, Store, StoreError};

const LOOK: Sql =
    Sql::new("look at finished processes", include_str!("../../../sql/control/forget/look.sql"));
const PROCESSES: Sql =
    Sql::new("read finished processes", include_str!("../../../sql/control/forget/processes.sql"));
const TASKS: Sql =
    Sql::new("read the tasks of processes", include_str!("../../../sql/control/forget/tasks.sql"));
const EXECUTIONS: Sql =
    Sql::new("read the executions of processes", include_str!("../../../sql/control/forget/executions.sql"));

/// A process as it was at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub process_id: String,
    /// A number that changes when anything of its record does.
    pub version: i64,
}

/// What a look at a process has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Which, and as what.
    pub seen: Seen,
    /// Whether it has ended.
    pub has_ended: bool,
    /// Bytes that its record takes up as text, about.
    pub bytes: u64,
}

/// A process with its tasks and executions.
#[derive(Debug, Clone, PartialEq)]
pub struct Whole {
    /// The process with both its values.
    pub text: ProcessText,
    /// In their order.
    pub tasks: Vec<Part<TaskData>>,
    /// By task and attempt.
    pub executions: Vec<Part<TaskExecution>>,
}

impl Store {
    /// Looks at those of these processes that are there.
    ///
    /// # Errors
    /// When the database fails.
    pub fn look_at_processes(&mut self, ids: &[String]) -> Result<Vec<Looked>, StoreError> {
        let what = "a finished process";
        let read = |row: &Row| {
            Ok(Looked {
                seen: Seen { process_id: get(row, "process_id", what)?, version: get(row, "version", what)? },
                has_ended: get(row, "has_ended", what)?,
                bytes: u64::try_from(get::<i64>(row, "bytes", what)?).unwrap_or(0),
            })
        };
        self.query(&LOOK, &[&ids])?.iter().map(read).collect()
    }

    /// Reads those of these finished processes that are there, all in memory; of one that can't be read what is wrong with
    /// it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn whole_processes(&mut self, ids: &[String]) -> Result<Vec<Result<Whole, String>>, StoreError> {
        let mut tasks = grouped(&self.query(&TASKS, &[&ids])?, read_task_data)?;
        let mut executions = grouped(&self.query(&EXECUTIONS, &[&ids])?, read_execution)?;
        let rows = self.query(&PROCESSES, &[&ids])?;
        let read = |row: &Row| {
            let process = read_process(row)?;
            let what = format!("process \"{}\"", process.process_id);
            let (input, context) = (get(row, "input_text", &what)?, get(row, "context_text", &what)?);
            let tasks = tasks.remove(&process.process_id).unwrap_or(Ok(Vec::new()))?;
            let executions = executions.remove(&process.process_id).unwrap_or(Ok(Vec::new()))?;
            Ok(Whole { text: ProcessText { process, input, context }, tasks, executions })
        };
        let whole = rows.iter().map(read).map(|it| it.map_err(|error| problem_of(&error)));
        Ok(whole.collect())
    }
}

/// The rows of each process, or what is wrong with the first of them that can't be read.
type Grouped<T> = HashMap<String, Result<Vec<Part<T>>, StoreError>>;

fn grouped<T>(rows: &[Row], read: impl Fn(&Row) -> Result<T, StoreError>) -> Result<Grouped<T>, StoreError> {
    let mut grouped = Grouped::new();
    for row in rows {
        let process_id: String = get(row, "process_id", "a finished process")?;
        let group = grouped.entry(process_id).or_insert(Ok(Vec::new()));
        let Ok(parts) = group else { continue };
        match (read(row), get(row, "output_deleted", "an output")) {
            (Ok(row), Ok(output_deleted)) => parts.push(Part { row, output_next: None, output_deleted }),
            (Err(error), _) | (_, Err(error)) => *group = Err(error),
        }
    }
    Ok(grouped)
}
