//! Pausing and resuming process types, by the schema's own functions.

use super::row::get;
use super::{Sql, Store, StoreError};

const PAUSE: Sql = Sql::new("pause a process type", "SELECT pause_process_type($1, $2) AS is_changed");
const RESUME: Sql = Sql::new("resume a process type", "SELECT resume_process_type($1) AS is_changed");
const PAUSED: Sql =
    Sql::new("see which process types are paused", "SELECT name FROM process_types WHERE paused");

impl Store {
    /// Holds the processes of a type back; `false` when it was paused already, and time and reason are kept.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the type is unknown; otherwise when the database fails.
    pub fn pause_process_type(&mut self, name: &str, reason: Option<&str>) -> Result<bool, StoreError> {
        get(&self.query_one(&PAUSE, &[&name, &reason], "a process type")?, "is_changed", "a process type")
    }

    /// Lets the processes of a type go on; `false` when it was not paused.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the type is unknown; otherwise when the database fails.
    pub fn resume_process_type(&mut self, name: &str) -> Result<bool, StoreError> {
        get(&self.query_one(&RESUME, &[&name], "a process type")?, "is_changed", "a process type")
    }

    /// The process types that are paused.
    pub fn paused_types(&mut self) -> Result<Vec<String>, StoreError> {
        self.query_column(&PAUSED, &[], "name", "a process type")
    }
}
