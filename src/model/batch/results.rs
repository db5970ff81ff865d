//! A batch's results as rows: what became of each process, beside what it worked on and what it passed on.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

/// Columns that every row has.
const FIXED: [&str; 7] =
    ["process_id", "status", "started_at", "completed_at", "runtime_s", "exit_code", "error_message"];

/// What became of one process.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResultRow {
    /// The process.
    pub process_id: String,
    /// Where it is.
    pub status: String,
    /// When its first task was claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// Seconds between.
    pub runtime_s: Option<f64>,
    /// Of its last command.
    pub exit_code: Option<i32>,
    /// Why it failed.
    pub error_message: Option<String>,
    /// What it was started with.
    pub input: Value,
    /// What its tasks have passed on.
    pub context: Value,
}

/// The columns of a table of results, of which a first reading has told the names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    input: BTreeSet<String>,
    context: BTreeSet<String>,
}

impl Columns {
    /// Of these keys of inputs (such as `config.size`) and contexts.
    pub fn new(input: impl IntoIterator<Item = String>, context: impl IntoIterator<Item = String>) -> Self {
        Self { input: input.into_iter().collect(), context: context.into_iter().collect() }
    }

    /// The heading line, without its end.
    pub fn header(&self) -> String {
        let fixed = FIXED.iter().map(|it| (*it).to_owned());
        let input = self.input.iter().map(|it| format!("input.{it}"));
        let context = self.context.iter().map(|it| format!("context.{it}"));
        let names: Vec<String> = fixed.chain(input).chain(context).map(|it| quoted(&it)).collect();
        names.join(",")
    }

    /// The line of a row, without its end.
    pub fn line(&self, row: &ResultRow) -> String {
        let time = |it: Option<Timestamp>| it.map(|it| it.to_string()).unwrap_or_default();
        let fixed = [
            row.process_id.clone(),
            row.status.clone(),
            time(row.started_at),
            time(row.completed_at),
            row.runtime_s.map(|it| format!("{it:.3}")).unwrap_or_default(),
            row.exit_code.map(|it| it.to_string()).unwrap_or_default(),
            row.error_message.clone().unwrap_or_default(),
        ];
        let input = self.input.iter().map(|key| text(value_of(&row.input, key)));
        let context = self.context.iter().map(|key| text(row.context.get(key)));
        let cells: Vec<String> =
            fixed.into_iter().chain(input).chain(context).map(|it| quoted(&it)).collect();
        cells.join(",")
    }
}

/// The value of a key such as `input_file` or `config.size`.
fn value_of<'v>(input: &'v Value, key: &str) -> Option<&'v Value> {
    match key.split_once('.') {
        Some((part @ ("config" | "metadata"), key)) => input.get(part)?.get(key),
        _ => input.get(key),
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// As RFC 4180 has it: quoted where a comma, a quote or the end of a line is in it.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

/// The keys of an input, `config` and `metadata` unfolded.
pub fn input_keys(input: &Value) -> Vec<String> {
    let none = Map::new();
    let mut keys = Vec::new();
    for (key, value) in input.as_object().unwrap_or(&none) {
        match (key.as_str(), value.as_object()) {
            ("config" | "metadata", Some(pairs)) => keys.extend(pairs.keys().map(|it| format!("{key}.{it}"))),
            _ => keys.push(key.clone()),
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_a_column_for_each_key() {
        let input = json!({ "input_file": "a,b", "config": { "size": 3 } });
        let row = ResultRow {
            process_id: "p".to_owned(),
            status: "FAILED".to_owned(),
            started_at: None,
            completed_at: None,
            runtime_s: Some(1.25),
            exit_code: Some(2),
            error_message: Some("said \"no\"\n".to_owned()),
            input: input.clone(),
            context: json!({ "rows": "17" }),
        };
        let keys: BTreeSet<String> = input_keys(&input).into_iter().collect();
        assert_eq!(keys.iter().collect::<Vec<_>>(), ["config.size", "input_file"]);
        let columns = Columns::new(input_keys(&input), ["other".to_owned(), "rows".to_owned()]);
        assert_eq!(
            columns.header(),
            "process_id,status,started_at,completed_at,runtime_s,exit_code,error_message,\
             input.config.size,input.input_file,context.other,context.rows"
        );
        assert_eq!(columns.line(&row), "p,FAILED,,,1.250,2,\"said \"\"no\"\"\n\",3,\"a,b\",,17");
    }
}
