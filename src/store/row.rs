//! Reading columns by name, with errors that name the row.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use jiff::Timestamp;
use postgres::Row;
use postgres::types::FromSql;
use serde::Serialize;
use serde_json::{Map, Value};

use super::error::StoreError;
use crate::model::lifecycle::ProcessStatus;

/// The rows of a list. Those that can't be read are told apart, so that one does not hide the others.
///
/// It is a `Vec` of the readable ones to everybody who does not ask for the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// Those that can be read.
    pub rows: Vec<T>,
    /// What is wrong with each of the others: a sentence that names the row.
    pub unreadable: Vec<String>,
}

impl<T> Listed<T> {
    /// The rows, if all of them can be read.
    ///
    /// # Errors
    /// What is wrong with the first that can't.
    pub fn whole(self) -> Result<Vec<T>, StoreError> {
        match self.unreadable.into_iter().next() {
            None => Ok(self.rows),
            Some(first) => Err(StoreError::UnreadableRow(first)),
        }
    }
}

impl<T: Serialize> Listed<T> {
    /// The document of the list: its rows under `key` and, if there are any, what is wrong with the others under
    /// `unreadable`.
    ///
    /// # Errors
    /// When a row can't be written as JSON.
    pub fn to_document(&self, key: &str) -> Result<Value, serde_json::Error> {
        let mut document = Map::new();
        document.insert(key.to_owned(), serde_json::to_value(&self.rows)?);
        if !self.unreadable.is_empty() {
            document.insert("unreadable".to_owned(), self.unreadable.clone().into());
        }
        Ok(Value::Object(document))
    }
}

impl<T> Deref for Listed<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.rows
    }
}

impl<T> DerefMut for Listed<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.rows
    }
}

impl<T> IntoIterator for Listed<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

/// Reads every row; the failures become part of the list.
pub(super) fn listed<T>(rows: &[Row], read: impl Fn(&Row) -> Result<T, StoreError>) -> Listed<T> {
    let mut listed = Listed { rows: Vec::with_capacity(rows.len()), unreadable: Vec::new() };
    for row in rows {
        match read(row) {
            Ok(row) => listed.rows.push(row),
            Err(error) => listed.unreadable.push(problem_of(&error)),
        }
    }
    listed
}

/// What is wrong with a row, as a sentence that names it.
pub(super) fn problem_of(error: &StoreError) -> String {
    match error {
        StoreError::Unreadable { row, problem } => format!("{row}: {problem}"),
        other => other.to_string(),
    }
}

/// A column's value; a column that can't be read makes the row unreadable, not the program panic.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str, what: &str) -> Result<T, StoreError> {
    row.try_get(column).map_err(|cause| unreadable(what, format!("column {column}: {}", root_cause(&cause))))
}

/// The same for counts and indexes, which the tables hold signed.
pub(super) fn count(row: &Row, column: &str, what: &str) -> Result<u32, StoreError> {
    let value: i32 = get(row, column, what)?;
    u32::try_from(value).map_err(|_| unreadable(what, format!("column {column} is {value}")))
}

/// The same for times: PostgreSQL's `infinity` and far years are no time we could show.
pub(super) fn time(row: &Row, column: &str, what: &str) -> Result<Timestamp, StoreError> {
    get(row, column, what)
}

/// The database's clock may have been set back: a time before now is none.
pub(super) fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value.max(0.0)).unwrap_or(Duration::MAX)
}

/// The same for words of the lifecycle.
pub(super) fn word<T>(
    row: &Row,
    column: &str,
    what: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, StoreError> {
    let text: &str = get(row, column, what)?;
    parse(text).ok_or_else(|| unreadable(what, format!("column {column} is {text:?}")))
}

/// The same for a process's status that may be missing.
pub(super) fn status_of(row: &Row, what: &str) -> Result<Option<ProcessStatus>, StoreError> {
    match get::<Option<&str>>(row, "status", what)? {
        None => Ok(None),
        Some(_) => word(row, "status", what, ProcessStatus::parse).map(Some),
    }
}

/// The same for JSON objects.
pub(super) fn object(row: &Row, column: &str, what: &str) -> Result<Map<String, Value>, StoreError> {
    match get(row, column, what)? {
        Value::Object(map) => Ok(map),
        other => Err(unreadable(what, format!("column {column} is {other}, not an object"))),
    }
}

pub(super) fn unreadable(what: &str, problem: impl Into<String>) -> StoreError {
    StoreError::Unreadable { row: what.to_owned(), problem: problem.into() }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    last.to_string()
}
