//! Pausing and resuming process types, by the schema's own functions.

use jiff::Timestamp;
use postgres::types::ToSql;

use super::connection::Lockable;
use super::row::get;
use super::{Sql, Store, StoreError};

const PAUSE: Sql = Sql::new("pause a process type", "SELECT pause_process_type($1, $2) AS is_changed");
const RESUME: Sql = Sql::new("resume a process type", "SELECT resume_process_type($1) AS is_changed");
const PAUSE_OF: Sql = Sql::new(
    "see whether a process type is paused",
    "SELECT paused_at, pause_reason FROM process_types WHERE name = $1 AND paused",
);
const PAUSED_OF: Sql = Sql::new(
    "see which processes are held back",
    "SELECT DISTINCT k.name FROM processes p JOIN process_types k ON k.name = p.process_type \
     WHERE p.process_id = ANY($1) AND k.paused ORDER BY k.name",
);
const PAUSED: Sql =
    Sql::new("see which process types are paused", "SELECT name FROM process_types WHERE paused");
const PAUSED_LIMITS: Sql = Sql::new("see which limits are paused", "SELECT name FROM limits WHERE is_paused");

/// Why processes of a type are held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Since when, where that is known.
    pub since: Option<Timestamp>,
    /// Why, where somebody has said it.
    pub reason: Option<String>,
}

impl Store {
    /// Holds the processes of a type back; `false` when it was paused already, and time and reason are kept.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the type is unknown, [`StoreError::Locked`] when somebody has locked it; otherwise when
    /// the database fails.
    pub fn pause_process_type(&mut self, name: &str, reason: Option<&str>) -> Result<bool, StoreError> {
        self.set_paused(&PAUSE, name, &[&name, &reason])
    }

    /// Lets the processes of a type go on; `false` when it was not paused.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the type is unknown, [`StoreError::Locked`] when somebody has locked it; otherwise when
    /// the database fails.
    pub fn resume_process_type(&mut self, name: &str) -> Result<bool, StoreError> {
        self.set_paused(&RESUME, name, &[&name])
    }

    fn set_paused(
        &mut self,
        sql: &Sql,
        name: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<bool, StoreError> {
        self.while_lockable(sql.action, Lockable::Type(name), |store| {
            get(&store.query_one(sql, params, "a process type")?, "is_changed", "a process type")
        })
    }

    /// The pause of one process type; `None` while it is not paused.
    ///
    /// # Errors
    /// When the database fails.
    pub fn pause_of(&mut self, name: &str) -> Result<Option<Pause>, StoreError> {
        let what = "a process type";
        let read = |row: &postgres::Row| {
            Ok(Pause { since: get(row, "paused_at", what)?, reason: get(row, "pause_reason", what)? })
        };
        self.query_opt(&PAUSE_OF, &[&name])?.as_ref().map(read).transpose()
    }

    /// Those types of these processes that are paused.
    ///
    /// # Errors
    /// When the database fails.
    pub fn paused_types_of(&mut self, process_ids: &[String]) -> Result<Vec<String>, StoreError> {
        self.query_column(&PAUSED_OF, &[&process_ids], "name", "a process type")
    }

    /// The process types that are paused.
    pub fn paused_types(&mut self) -> Result<Vec<String>, StoreError> {
        self.query_column(&PAUSED, &[], "name", "a process type")
    }

    /// The limits that are paused.
    ///
    /// # Errors
    /// When the database fails.
    pub fn paused_limits(&mut self) -> Result<Vec<String>, StoreError> {
        self.query_column(&PAUSED_LIMITS, &[], "name", "a limit")
    }
}
