//! One process as a line of JSON, its long values piece by piece.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::records::{ProcessData, TaskData, TaskExecution};
use crate::store::forget::whole::Whole;
use crate::store::read::{ExecutionFilter, LongValue, OutputOf, PageSize, Part};
use crate::store::{Store, StoreError};

/// Tasks or executions that are read at once of a process that is too large to be read whole.
const PAGE: PageSize =
    PageSize { rows: 200, bytes: 1024 * 1024, output_chars: 1024 * 1024, ..PageSize::WHOLE_ROWS };
/// Bytes of a value that is read with its process; a larger one is read in pieces.
const VALUE_BYTES_MAX: u32 = 1024 * 1024;

/// Why a line could not be written.
#[derive(Debug)]
pub enum Broken {
    /// The file failed.
    File(io::Error),
    /// The database did, or the process can't be read.
    Store(StoreError),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<serde_json::Error> for Broken {
    fn from(error: serde_json::Error) -> Self {
        Self::File(error.into())
    }
}

/// Writes a process that is in memory.
pub fn whole(out: &mut impl Write, process: Whole) -> Result<(), Broken> {
    let Whole { text, tasks, executions } = process;
    head(out, &text.process, [&text.input, &text.context], |_, _| Ok(false))?;
    list(out, "tasks", |out, is_first| rows(out, is_first, tasks, |it| &mut it.output, |_, _, _| Ok(())))?;
    list(out, "executions", |out, is_first| {
        rows(out, is_first, executions, |it| &mut it.output, |_, _, _| Ok(()))
    })?;
    Ok(out.write_all(b"}\n")?)
}

/// Reads a process of any size and writes it meanwhile. What could not be read of it, in sentences; `None` if the process
/// is gone.
pub fn in_pieces(
    out: &mut impl Write,
    store: &mut Store,
    process_id: &str,
) -> Result<Option<Vec<String>>, Broken> {
    let Some(text) = store.process_text(process_id, VALUE_BYTES_MAX)? else { return Ok(None) };
    head(out, &text.process, [&text.input, &text.context], |out, value| {
        store.value_in_pieces(process_id, value, &mut |piece| {
            Ok::<(), Broken>(out.write_all(piece.as_bytes())?)
        })
    })?;
    let mut unreadable = Vec::new();
    list(out, "tasks", |out, is_first| {
        let mut after = None;
        loop {
            let page = store.tasks_page(process_id, None, true, after, PAGE)?;
            let of = |it: &TaskData| OutputOf::Task(it.task_index, it.attempt);
            rows(
                out,
                is_first,
                page.rows,
                |it| &mut it.output,
                |out, row, from| rest(out, store, process_id, of(row), from),
            )?;
            unreadable.extend(page.unreadable);
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    })?;
    list(out, "executions", |out, is_first| {
        let mut after = None;
        loop {
            let page = store.executions_page(process_id, ExecutionFilter::default(), after, PAGE)?;
            let of = |it: &TaskExecution| OutputOf::Execution(it.task_index, it.attempt);
            rows(
                out,
                is_first,
                page.rows,
                |it| &mut it.output,
                |out, row, from| rest(out, store, process_id, of(row), from),
            )?;
            unreadable.extend(page.unreadable);
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    })?;
    if !unreadable.is_empty() {
        out.write_all(b",\"unreadable\":")?;
        serde_json::to_writer(&mut *out, &unreadable)?;
    }
    out.write_all(b"}\n")?;
    Ok(Some(unreadable))
}

/// The process's keys and values, those that are missing by `long`, which says whether there is one.
fn head<W: Write>(
    out: &mut W,
    process: &ProcessData,
    [input, context]: [&Option<String>; 2],
    mut long: impl FnMut(&mut W, LongValue) -> Result<bool, Broken>,
) -> Result<(), Broken> {
    let mut begin = "{";
    for (key, value) in fields(process)? {
        // Where they stand in every other document.
        if key == "created_at" {
            let values =
                [("input_data", input, LongValue::Input), ("process_context", context, LongValue::Context)];
            for (name, text, which) in values {
                write!(out, ",\"{name}\":")?;
                let is_there = match text {
                    Some(text) => out.write_all(text.as_bytes()).map(|()| true)?,
                    None => long(out, which)?,
                };
                if !is_there {
                    out.write_all(b"null")?;
                }
            }
        }
        out.write_all(begin.as_bytes())?;
        entry(out, &key, &value)?;
        begin = ",";
    }
    Ok(())
}

fn list<W: Write>(
    out: &mut W,
    key: &str,
    write: impl FnOnce(&mut W, &mut bool) -> Result<(), Broken>,
) -> Result<(), Broken> {
    write!(out, ",\"{key}\":[")?;
    write(out, &mut true)?;
    Ok(out.write_all(b"]")?)
}

/// Rows of a list; `rest` writes what follows of an output from a character on.
fn rows<W: Write, T: Serialize>(
    out: &mut W,
    is_first: &mut bool,
    parts: Vec<Part<T>>,
    output_of: impl Fn(&mut T) -> &mut Option<String>,
    mut rest: impl FnMut(&mut W, &T, u32) -> Result<(), Broken>,
) -> Result<(), Broken> {
    for Part { mut row, output_next, output_deleted } in parts {
        if !std::mem::take(is_first) {
            out.write_all(b",")?;
        }
        let output = output_of(&mut row).take();
        let mut begin = "{";
        for (key, value) in fields(&row)? {
            out.write_all(begin.as_bytes())?;
            begin = ",";
            match &output {
                Some(output) if key == "output" => {
                    out.write_all(b"\"output\":\"")?;
                    piece(out, output)?;
                    output_next.map_or(Ok(()), |from| rest(out, &row, from))?;
                    out.write_all(b"\"")?;
                }
                _ => entry(out, &key, &value)?,
            }
        }
        out.write_all(if output_deleted { b",\"output_deleted\":true}" } else { b"}" })?;
    }
    Ok(())
}

fn rest(
    out: &mut impl Write,
    store: &mut Store,
    process_id: &str,
    of: OutputOf,
    from: u32,
) -> Result<(), Broken> {
    store.output_in_pieces(process_id, of, from, &mut |text| piece(out, text))
}

/// A piece of a text that has begun.
fn piece(out: &mut impl Write, text: &str) -> Result<(), Broken> {
    let quoted = serde_json::to_string(text)?;
    Ok(out.write_all(&quoted.as_bytes()[1..quoted.len() - 1])?)
}

fn entry(out: &mut impl Write, key: &str, value: &Value) -> Result<(), Broken> {
    serde_json::to_writer(&mut *out, key)?;
    out.write_all(b":")?;
    Ok(serde_json::to_writer(out, value)?)
}

fn fields(row: &impl Serialize) -> Result<Map<String, Value>, Broken> {
    match serde_json::to_value(row)? {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}
