//! The JSON documents of lists, and of what a running command shows.

use serde::Serialize;
use serde_json::{Value, json};

use crate::command::tail_text;
use crate::store::live::LiveExecution;

#[derive(Serialize)]
pub(super) struct ProcessPage<T> {
    pub processes: Vec<T>,
    pub next: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Tasks<T: Serialize> {
    pub tasks: Rows<T>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Executions<T: Serialize> {
    pub executions: Rows<T>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

/// Rows whose `output` was not asked for have no such key: null would say that there was no output.
pub(super) struct Rows<T> {
    pub rows: Vec<T>,
    pub output: bool,
}

impl<T: Serialize> Serialize for Rows<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.output {
            return self.rows.serialize(serializer);
        }
        let mut rows = serde_json::to_value(&self.rows).map_err(serde::ser::Error::custom)?;
        for row in rows.as_array_mut().into_iter().flatten() {
            if let Value::Object(row) = row {
                row.shift_remove("output");
            }
        }
        rows.serialize(serializer)
    }
}

/// What a running command shows, its output as text.
pub(super) fn live(it: &LiveExecution) -> Value {
    json!({
        "task_index": it.task_index,
        "attempt": it.attempt,
        "node": it.node,
        "started_at": it.started_at,
        "updated_at": it.updated_at,
        "printed_at": it.printed_at,
        "output_bytes": it.output_bytes,
        "output": tail_text(&it.tail, it.output_bytes > it.tail.len() as u64),
        "cpu_ms": it.cpu_ms,
        "memory_bytes": it.memory_bytes,
    })
}
