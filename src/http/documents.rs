//! The JSON documents of processes, tasks and executions.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::Problem;
use super::request::query::encode_segment;
use crate::model::records::{ProcessData, ProcessTypeData, TaskData, TaskExecution};
use crate::store::read::{Include, Part, ProcessText, TextPage, TrailPage};
use crate::store::types::TypePage;

/// A process whose values are passed on as the database wrote them.
#[derive(Serialize)]
pub(super) struct Process {
    #[serde(flatten)]
    row: ProcessData,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process_context: Option<Box<RawValue>>,
    /// Names of values that are larger than an answer may be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<&'static str>,
}

impl Process {
    pub fn new(text: ProcessText, wanted: Include) -> Result<Self, String> {
        let ProcessText { process: row, input, context } = text;
        let left_out = [("input_data", wanted.input, &input), ("process_context", wanted.context, &context)];
        let left_out = left_out.into_iter().filter(|it| it.1 && it.2.is_none()).map(|it| it.0).collect();
        let what = format!("process \"{}\"", row.process_id);
        let input_data = raw(input, &what, "input_data")?;
        Ok(Self { row, input_data, process_context: raw(context, &what, "process_context")?, left_out })
    }
}

/// JSON as it is; what no JSON parser would read makes the row unreadable.
fn raw(text: Option<String>, what: &str, column: &str) -> Result<Option<Box<RawValue>>, String> {
    let raw = text.map(RawValue::from_string).transpose();
    raw.map_err(|cause| format!("{what}: column {column}: {cause}"))
}

#[derive(Serialize)]
pub(super) struct ProcessPage {
    processes: Vec<Process>,
    next: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
}

impl ProcessPage {
    pub fn new(page: TextPage, wanted: Include) -> Self {
        let TextPage { processes: texts, mut unreadable, next } = page;
        let processes = sorted_out(texts, &mut unreadable, |text| Process::new(text, wanted));
        Self { processes, next: next.map(|it| it.to_string()), unreadable }
    }
}

#[derive(Serialize)]
pub(super) struct ProcessType {
    #[serde(flatten)]
    row: ProcessTypeData,
    definition: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<&'static str>,
}

#[derive(Serialize)]
pub(super) struct TypeList {
    process_types: Vec<ProcessType>,
    next: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
}

impl TypeList {
    pub fn new(page: TypePage) -> Self {
        let TypePage { types, mut unreadable, next } = page;
        let process_types = sorted_out(types, &mut unreadable, |(row, definition)| {
            let left_out = if definition.is_none() { vec!["definition"] } else { Vec::new() };
            let definition = raw(definition, &format!("process type \"{}\"", row.name), "definition")?;
            Ok(ProcessType { row, definition, left_out })
        });
        Self { process_types, next, unreadable }
    }
}

fn sorted_out<T, U>(
    rows: Vec<T>,
    unreadable: &mut Vec<String>,
    read: impl Fn(T) -> Result<U, String>,
) -> Vec<U> {
    let read = |row| read(row).map_err(|problem| unreadable.push(problem)).ok();
    rows.into_iter().filter_map(read).collect()
}

/// A row of a process's trail: what it printed is shown, or where that can be had.
pub(super) trait TrailRow: Serialize {
    /// The query that asks for its output; `None` where there is none.
    fn output_query(&self) -> Option<String>;
    fn process_id(&self) -> &str;
}

impl TrailRow for TaskData {
    fn output_query(&self) -> Option<String> {
        (self.attempt > 0).then(|| format!("tasks?task={}", self.task_index))
    }

    fn process_id(&self) -> &str {
        &self.process_id
    }
}

impl TrailRow for TaskExecution {
    fn output_query(&self) -> Option<String> {
        let (task, attempt) = (self.task_index, self.attempt);
        (self.output_bytes > 0).then(|| format!("executions?task={task}&attempt={attempt}"))
    }

    fn process_id(&self) -> &str {
        &self.process_id
    }
}

/// The document of a page of tasks or executions under `key`. Rows whose output was not asked for have no such key (null
/// would say that there was none) but the path that has it.
pub(super) fn trail<T: TrailRow>(page: TrailPage<T>, key: &str, output: bool) -> Result<Vec<u8>, Problem> {
    let failed = |cause| Problem::new(500, "internal_error", format!("failed to write the answer: {cause}"));
    let mut body = format!("{{\"{key}\":[").into_bytes();
    for (place, row) in page.rows.into_iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        if output {
            serde_json::to_writer(&mut body, &row).map_err(failed)?;
        } else {
            serde_json::to_writer(&mut body, &without_output(&row).map_err(failed)?).map_err(failed)?;
        }
    }
    let next = page.next.map(|(task, attempt)| format!("{task}.{attempt}"));
    body.extend_from_slice(b"],\"next\":");
    serde_json::to_writer(&mut body, &next).map_err(failed)?;
    if !page.unreadable.is_empty() {
        body.extend_from_slice(b",\"unreadable\":");
        serde_json::to_writer(&mut body, &page.unreadable).map_err(failed)?;
    }
    body.push(b'}');
    Ok(body)
}

fn without_output<T: TrailRow>(part: &Part<T>) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(&part.row)?;
    if let Value::Object(row) = &mut value {
        row.shift_remove("output");
        if let Some(query) = part.row.output_query().filter(|_| !part.output_deleted) {
            let path = format!("/processes/{}/{query}", encode_segment(part.row.process_id()));
            row.insert("output_path".to_owned(), path.into());
        }
        if part.output_deleted {
            row.insert("output_deleted".to_owned(), true.into());
        }
    }
    Ok(value)
}
