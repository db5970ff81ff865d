//! Processes, tasks and executions as JSON, their long values piece by piece.

use serde::Serialize;
use serde_json::{Map, Value};

use super::json::JsonWriter;
use crate::cli::error::CliError;
use crate::model::records::{ProcessData, TaskData, TaskExecution};
use crate::store::Store;
use crate::store::read::{Include, LongValue, OutputOf, PageSize, Part};

/// Tasks or executions that are read at once.
pub const PAGE: PageSize =
    PageSize { rows: 200, bytes: 1024 * 1024, output_chars: 1024 * 1024, ..PageSize::WHOLE_ROWS };
/// Bytes of a value that is read with its process; a larger one is read in pieces.
pub const VALUE_BYTES_MAX: u32 = 1024 * 1024;

/// The keys of a process, its values among them if they are asked for: those that were read, and the others as they are
/// read now.
///
/// # Errors
/// When standard output can't be written, or a value can't be read.
pub fn process_keys(
    json: &mut JsonWriter,
    store: &mut Store,
    process: &ProcessData,
    values: [Option<&str>; 2],
    include: Include,
) -> Result<(), CliError> {
    for (key, value) in fields(process)? {
        // Where they always stood.
        if key == "created_at" {
            let asked = [
                ("input_data", include.input, values[0], LongValue::Input),
                ("process_context", include.context, values[1], LongValue::Context),
            ];
            for (key, _, text, long) in asked.into_iter().filter(|it| it.1) {
                json.key(key)?;
                json.document(|take: &mut dyn FnMut(&str) -> Result<(), CliError>| match text {
                    Some(text) => take(text).map(|()| true),
                    None => store.value_in_pieces(&process.process_id, long, take),
                })?;
            }
        }
        json.entry(&key, &value)?;
    }
    Ok(())
}

/// A task.
///
/// # Errors
/// As [`process_keys`].
pub fn task(json: &mut JsonWriter, store: &mut Store, task: Part<TaskData>) -> Result<(), CliError> {
    let Part { row: mut it, output_next, output_deleted } = task;
    let output = it.output.take();
    let of = OutputOf::Task(it.task_index, it.attempt);
    with_output(
        json,
        store,
        &it.process_id,
        &it,
        (output, output_deleted),
        output_next.map(|next| (of, next)),
    )
}

/// An execution.
///
/// # Errors
/// As [`process_keys`].
pub fn execution(
    json: &mut JsonWriter,
    store: &mut Store,
    execution: Part<TaskExecution>,
) -> Result<(), CliError> {
    let Part { row: mut it, output_next, output_deleted } = execution;
    let output = it.output.take();
    let of = OutputOf::Execution(it.task_index, it.attempt);
    with_output(
        json,
        store,
        &it.process_id,
        &it,
        (output, output_deleted),
        output_next.map(|next| (of, next)),
    )
}

fn with_output(
    json: &mut JsonWriter,
    store: &mut Store,
    process_id: &str,
    row: &impl Serialize,
    (output, is_deleted): (Option<String>, bool),
    rest: Option<(OutputOf, u32)>,
) -> Result<(), CliError> {
    json.object()?;
    for (key, value) in fields(row)? {
        if key != "output" {
            json.entry(&key, &value)?;
            continue;
        }
        json.key(&key)?;
        json.text(|take: &mut dyn FnMut(&str) -> Result<(), CliError>| {
            let Some(output) = &output else { return Ok(false) };
            take(output)?;
            rest.map_or(Ok(()), |(of, from)| store.output_in_pieces(process_id, of, from, take))?;
            Ok(true)
        })?;
    }
    if is_deleted {
        json.entry("output_deleted", &true)?;
    }
    json.end()
}

/// The keys of a row with their values.
///
/// # Errors
/// When it can't be written as JSON.
pub fn fields(row: &impl Serialize) -> Result<Map<String, Value>, CliError> {
    match serde_json::to_value(row) {
        Ok(Value::Object(fields)) => Ok(fields),
        other => Err(CliError::Failed(format!("failed to write JSON: {other:?} is no object"))),
    }
}
