//! Reading columns by name, with errors that name the row.

use jiff::Timestamp;
use postgres::Row;
use postgres::types::FromSql;
use serde_json::{Map, Value};

use super::StoreError;

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
