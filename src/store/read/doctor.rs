//! What the server says of itself, for `doctor`.

use postgres::Row;

use crate::store::row::get;
use crate::store::{Sql, Store, StoreError};

const EXAMINE: Sql = Sql::new("examine the server", include_str!("../../../sql/schema/doctor.sql"));

const HISTORY: Sql =
    Sql::new("see how much lies in the tables", include_str!("../../../sql/control/forget/history.sql"));

const MOVEMENT: Sql =
    Sql::new("see whether the queue moves", include_str!("../../../sql/schema/movement.sql"));

/// A struct whose fields are the columns of one row.
macro_rules! columns {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $kind:ty,)+ }) => {
        $(#[$meta])*
        pub struct $name { $(pub $field: $kind,)+ }

        impl $name {
            fn read(row: &Row, what: &str) -> Result<Self, StoreError> {
                Ok(Self { $($field: get(row, stringify!($field), what)?,)+ })
            }
        }
    };
}

columns! {
    /// The server's state and settings as far as they matter to us. Ages are in seconds.
    #[derive(Debug, Clone, PartialEq)]
    #[expect(missing_docs, reason = "the columns of sql/schema/doctor.sql, named after PostgreSQL's own words")]
    Examination {
        server_version: String,
        version_number: i32,
        is_standby: bool,
        is_read_only: bool,
        encoding: String,
        fires_triggers: bool,
        row_secured: Option<String>,
        fsync: bool,
        full_page_writes: bool,
        synchronous_commit: String,
        autovacuum: bool,
        statement_timeout: String,
        lock_timeout: String,
        connections_max: i32,
        connections: i64,
        is_local: bool,
        is_encrypted: bool,
        user_name: String,
        is_superuser: bool,
        oldest_s: Option<f64>,
        oldest_pid: Option<i32>,
        oldest_what: Option<String>,
        oldest_prepared_s: Option<f64>,
        slot_age: Option<i64>,
        queue_live: Option<i64>,
        queue_dead: Option<i64>,
        queue_vacuum_s: Option<f64>,
        table_locks: i64,
        has_tables: bool,
        missing_rights: Option<String>,
    }
}

columns! {
    /// Whether the queue moves.
    #[derive(Debug, Clone, PartialEq)]
    #[expect(missing_docs, reason = "the columns of sql/schema/movement.sql")]
    Movement {
        moved_s: Option<f64>,
        oldest: Option<String>,
    }
}

columns! {
    /// How much lies there, and how much of it is old.
    #[derive(Debug, Clone, Copy, PartialEq)]
    #[expect(missing_docs, reason = "the columns of sql/control/forget/history.sql")]
    History {
        bytes: i64,
        processes: f64,
        old: i64,
    }
}

impl Store {
    /// Sees how much lies in the tables; `old` are processes that ended longer ago than `age`, up to a million.
    pub fn history(&mut self, age: std::time::Duration) -> Result<History, StoreError> {
        let row = self.query_one(&HISTORY, &[&age.as_secs_f64()], "the history")?;
        History::read(&row, "the history")
    }

    /// Looks whether the queue moves.
    pub fn movement(&mut self) -> Result<Movement, StoreError> {
        Movement::read(&self.query_one(&MOVEMENT, &[], "the queue")?, "the queue")
    }

    /// Asks the server how it is.
    pub fn examine(&mut self) -> Result<Examination, StoreError> {
        let (schema, what) = (self.schema().to_owned(), "the server's state");
        Examination::read(&self.query_one(&EXAMINE, &[&schema], what)?, what)
    }
}
