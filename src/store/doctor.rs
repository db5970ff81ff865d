//! What the server says of itself, for `doctor`.

use super::row::get;
use super::{Sql, Store, StoreError};

const EXAMINE: Sql = Sql::new("examine the server", include_str!("../../sql/doctor.sql"));

/// The server's state and settings as far as they matter to us. Ages are in seconds.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the columns of sql/doctor.sql, named after PostgreSQL's own words")]
pub struct Examination {
    pub server_version: String,
    pub version_number: i32,
    pub is_standby: bool,
    pub is_read_only: bool,
    pub fsync: bool,
    pub full_page_writes: bool,
    pub synchronous_commit: String,
    pub autovacuum: bool,
    pub statement_timeout: String,
    pub lock_timeout: String,
    pub connections_max: i32,
    pub connections: i64,
    pub is_local: bool,
    pub is_encrypted: bool,
    pub user_name: String,
    pub is_superuser: bool,
    pub oldest_s: Option<f64>,
    pub oldest_pid: Option<i32>,
    pub oldest_what: Option<String>,
    pub oldest_prepared_s: Option<f64>,
    pub slot_age: Option<i64>,
    pub queue_live: Option<i64>,
    pub queue_dead: Option<i64>,
    pub queue_vacuum_s: Option<f64>,
    pub table_locks: i64,
    pub missing_rights: Option<String>,
}

impl Store {
    /// Asks the server how it is.
    ///
    /// # Errors
    /// When the database fails.
    pub fn examine(&mut self) -> Result<Examination, StoreError> {
        let schema = self.schema().to_owned();
        let rows = self.query(&EXAMINE, &[&schema])?;
        let what = "the server's state";
        let row = rows.first().ok_or_else(|| super::row::unreadable(what, "no row came"))?;
        Ok(Examination {
            server_version: get(row, "server_version", what)?,
            version_number: get(row, "version_number", what)?,
            is_standby: get(row, "is_standby", what)?,
            is_read_only: get(row, "is_read_only", what)?,
            fsync: get(row, "fsync", what)?,
            full_page_writes: get(row, "full_page_writes", what)?,
            synchronous_commit: get(row, "synchronous_commit", what)?,
            autovacuum: get(row, "autovacuum", what)?,
            statement_timeout: get(row, "statement_timeout", what)?,
            lock_timeout: get(row, "lock_timeout", what)?,
            connections_max: get(row, "connections_max", what)?,
            connections: get(row, "connections", what)?,
            is_local: get(row, "is_local", what)?,
            is_encrypted: get(row, "is_encrypted", what)?,
            user_name: get(row, "user_name", what)?,
            is_superuser: get(row, "is_superuser", what)?,
            oldest_s: get(row, "oldest_s", what)?,
            oldest_pid: get(row, "oldest_pid", what)?,
            oldest_what: get(row, "oldest_what", what)?,
            oldest_prepared_s: get(row, "oldest_prepared_s", what)?,
            slot_age: get(row, "slot_age", what)?,
            queue_live: get(row, "queue_live", what)?,
            queue_dead: get(row, "queue_dead", what)?,
            queue_vacuum_s: get(row, "queue_vacuum_s", what)?,
            table_locks: get(row, "table_locks", what)?,
            missing_rights: get(row, "missing_rights", what)?,
        })
    }
}
