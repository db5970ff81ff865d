//! `logs`: what the executions of a process wrote.

use clap::Args;
use serde_json::json;

use super::error::CliError;
use super::global::GlobalOptions;
use super::session::{Need, Session};
use super::show::not_found;
use super::terminal::{Face, message, print, print_json, tell_unreadable};
use super::text;
use crate::model::records::{TaskData, TaskExecution};
use std::time::Duration;

/// Which executions.
#[derive(Debug, Args)]
pub struct Options {
    /// The process's id
    #[arg(value_name = "ID")]
    pub process_id: String,
    /// Only this task, by its name or its index
    pub task: Option<String>,
    /// Only this attempt of each task; 1 is the first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub attempt: Option<u32>,
    /// Print one JSON document: {"process_id": id, "executions": [...]}
    #[arg(long)]
    pub json: bool,
}

/// Prints the output of executions to standard output, with a heading for each on standard error.
///
/// # Errors
/// When there is no such process or task, or the database fails.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let id = &options.process_id;
    store.process(id)?.ok_or_else(|| not_found(id, global))?;
    let task_index = match &options.task {
        Some(task) => Some(find_task(&store.tasks(id)?, task, id)?),
        None => None,
    };
    let mut executions = store.executions(id)?;
    executions.retain(|it| {
        task_index.is_none_or(|index| it.task_index == index)
            && options.attempt.is_none_or(|attempt| it.attempt == attempt)
    });
    if options.json {
        let mut document = json!({ "process_id": id, "executions": executions.rows });
        if !executions.unreadable.is_empty() {
            document["unreadable"] = executions.unreadable.into();
        }
        return print_json(&document);
    }
    tell_unreadable(&executions.unreadable);
    if executions.is_empty() && executions.unreadable.is_empty() {
        message("no such execution has ended yet");
    }
    executions.iter().try_for_each(|execution| print_one(execution, Face::stdout()))
}

fn print_one(execution: &TaskExecution, face: Face) -> Result<(), CliError> {
    message(heading(execution));
    let output = execution.output.as_deref().unwrap_or_default();
    print(face.lines(output).as_bytes())?;
    // The next heading or prompt begins its own line; what goes into a pipe stays as it was written.
    if face.is_terminal && !output.is_empty() && !output.ends_with('\n') {
        print("\n")?;
    }
    Ok(())
}

fn heading(execution: &TaskExecution) -> String {
    let time = Duration::try_from_secs_f64(execution.duration_ms / 1000.0).unwrap_or_default();
    let time = text::duration(time);
    let name = text::escape(&execution.task_name);
    let mut line = format!("==> {name}, attempt {}: {} after {time}", execution.attempt, execution.outcome);
    match (&execution.error_message, execution.output_bytes) {
        (Some(error), _) => line.push_str(&format!("; {}", text::escape(error))),
        (None, 0) => line.push_str("; no output"),
        (None, _) => {}
    }
    line
}

/// A task by its name or, if none is named so, by its index.
fn find_task(tasks: &[TaskData], wanted: &str, process_id: &str) -> Result<u32, CliError> {
    let by_name = tasks.iter().find(|task| task.name == wanted);
    let by_index =
        || wanted.parse().ok().and_then(|index: u32| tasks.iter().find(|task| task.task_index == index));
    by_name.or_else(by_index).map(|task| task.task_index).ok_or_else(|| {
        let names: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
        CliError::NotFound(format!(
            "process {process_id:?} has no task {wanted:?}; it has {}",
            names.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lifecycle::Outcome;
    use jiff::Timestamp;

    fn execution() -> TaskExecution {
        let at = Timestamp::from_second(1_000_000_000).expect("a time");
        TaskExecution {
            process_id: "p-1".to_owned(),
            task_index: 0,
            task_name: "load".to_owned(),
            attempt: 2,
            node: "n".to_owned(),
            command: None,
            outcome: Outcome::Failed,
            exit_code: Some(3),
            signal: None,
            started_at: at,
            completed_at: at,
            duration_ms: 840.0,
            cpu_ms: None,
            peak_memory_bytes: None,
            output: None,
            output_bytes: 0,
            error_message: Some("exit code 3".to_owned()),
        }
    }

    #[test]
    fn a_heading_says_whose_output_follows() {
        assert_eq!(heading(&execution()), "==> load, attempt 2: FAILED after 0.8 s; exit code 3");
        let silent = TaskExecution { outcome: Outcome::Succeeded, error_message: None, ..execution() };
        assert_eq!(heading(&silent), "==> load, attempt 2: SUCCEEDED after 0.8 s; no output");
    }

    #[test]
    fn an_unknown_task_is_answered_with_those_there_are() {
        let error = find_task(&[], "x", "p-1").expect_err("no tasks");
        assert_eq!(error.exit_code(), 3);
        assert!(error.lines()[0].starts_with("process \"p-1\" has no task \"x\""), "{error}");
    }
}
