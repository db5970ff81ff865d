//! Places in lists of processes.

use std::error::Error;

use bytes::BytesMut;
use jiff::Timestamp;
use postgres::Row;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::store::StoreError;
use crate::store::row::get;

/// A place in the list of processes, newest first. As text it is opaque: pass on what a page gave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(super) created_at: DatabaseTime,
    pub(super) process_id: String,
}

/// A `timestamptz` as it is on the wire, microseconds since 2000 or an infinity: a page may end with a row whose time
/// is beyond what we can show, and the next has to begin there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DatabaseTime(i64);

impl<'a> FromSql<'a> for DatabaseTime {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        i64::from_sql(&Type::INT8, raw).map(Self)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TIMESTAMPTZ
    }
}

impl ToSql for DatabaseTime {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.to_sql(&Type::INT8, out)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl Cursor {
    /// Reads the text of its `Display`; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (micros, process_id) = text.split_once('.')?;
        Some(Self { created_at: DatabaseTime(micros.parse().ok()?), process_id: process_id.to_owned() })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.created_at.0, self.process_id)
    }
}

/// Microseconds from 1970 to 2000.
const EPOCH_US: i64 = 946_684_800_000_000;

impl Cursor {
    /// Behind the oldest of all.
    pub(super) const fn oldest() -> Self {
        Self { created_at: DatabaseTime(i64::MIN), process_id: String::new() }
    }

    /// Before the newest of all: there is no character behind this one.
    pub(super) fn newest() -> Self {
        Self { created_at: DatabaseTime(i64::MAX), process_id: char::MAX.to_string() }
    }

    /// Before all that were created before `time`, and no others but of the same microsecond.
    pub(super) fn at(time: Timestamp) -> Self {
        let micros = time.as_microsecond().saturating_add(1).saturating_sub(EPOCH_US);
        Self { created_at: DatabaseTime(micros), process_id: String::new() }
    }

    /// Reads `created_at` and `process_id`.
    pub(super) fn of(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            created_at: get(row, "created_at", "a process")?,
            process_id: get(row, "process_id", "a process")?,
        })
    }
}
