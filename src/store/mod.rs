//! The tables: a list of verbs, one function each, and the only place with SQL.
//!
//! | file | verbs |
//! |---|---|
//! | `migrate` | bring the schema to this binary's version |
//! | `types` | register process types and read them |
//! | `start` | start processes |
//! | `claims` | claim due processes, give claims back, see what waits |
//! | `record` | record the results of executions |
//! | `nodes` | register a node, renew it, end it |
//! | `control` | cancel, retry, pause and resume |
//! | `explain` | why a process runs, waits, or has ended |
//! | `prune` | delete finished processes |
//! | `progress` | watch processes as they go |
//! | `counts` | count processes and the queue without a scan of the history |
//! | `list` | pages of processes, by filters |
//! | `read` | what else the faces show |
//! | `doctor` | what the server says of itself |

pub mod claims;
pub mod control;
pub mod counts;
pub mod doctor;
pub mod error;
pub mod explain;
mod list;
pub mod migrate;
pub mod nodes;
pub mod progress;
pub mod prune;
pub mod read;
pub mod record;
mod row;
pub mod start;
pub mod types;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use postgres::types::ToSql;
use postgres::{Row, SimpleQueryMessage, Statement};

use crate::database::{Connection, ConnectionSource};
pub use error::{Refusal, RefusalReason, StoreError};

/// The schema that holds the tables; its name is also the channel of wake-ups.
pub const DEFAULT_SCHEMA: &str = "process_orchestrator";

/// A statement: its text from `sql/`, and what it does, for messages.
pub(crate) struct Sql {
    action: &'static str,
    text: &'static str,
}

impl Sql {
    /// `action` completes the phrase "failed to …".
    pub(crate) const fn new(action: &'static str, text: &'static str) -> Self {
        Self { action, text }
    }
}

/// The server's side of a connection: its process and when that began, which tells it from a later one of the
/// same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    pid: i32,
    /// Seconds since 1970, as the server wrote them.
    began: String,
}

const END_BACKEND: Sql = Sql::new(
    "end a lost session",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE pid = $1 AND extract(epoch FROM backend_start)::text = $2",
);

/// How long [`Store::end_backend`] waits for a backend to be gone.
const BACKEND_END_MAX: Duration = Duration::from_secs(5);

/// Takes back what [`Store`] sets on a session that goes back to a pool, which is not ours.
const RESTORE: &str = "RESET search_path; RESET plan_cache_mode; RESET enable_seqscan; RESET enable_bitmapscan; \
    RESET enable_hashjoin; RESET enable_mergejoin; RESET jit; RESET statement_timeout; RESET lock_timeout; \
    RESET tcp_keepalives_idle; RESET tcp_user_timeout; RESET idle_in_transaction_session_timeout; \
    SELECT pg_advisory_unlock_all()";

/// One connection with its prepared statements; every verb is a method of it.
pub struct Store {
    connection: Connection,
    backend: Option<Backend>,
    is_pooled: bool,
    schema: String,
    prepared: HashMap<&'static str, Statement>,
}

impl Store {
    /// Connects as `role`, which shows in the database as part of the application name.
    ///
    /// # Errors
    /// When no connection can be had.
    pub fn open(source: &dyn ConnectionSource, role: &str, schema: &str) -> Result<Self, StoreError> {
        // Lists have conditions that fold away only when their parameters are planned as constants. And none of them
        // runs long enough for its compilation to pay.
        Self::connect(source, role, schema, "SET plan_cache_mode = force_custom_plan; SET jit = off")
    }

    /// Connects for the engine's own statements, which run thousands of times a second.
    ///
    /// They are joins by key on tables that grow under them: a plan made while these were small must not scan
    /// them once they are large. And planning them takes longer than running them: one generic plan each.
    ///
    /// # Errors
    /// When no connection can be had.
    pub(crate) fn open_hot(
        source: &dyn ConnectionSource,
        role: &str,
        schema: &str,
    ) -> Result<Self, StoreError> {
        let settings = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
                        SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";
        Self::connect(source, role, schema, settings)
    }

    fn connect(
        source: &dyn ConnectionSource,
        role: &str,
        schema: &str,
        settings: &str,
    ) -> Result<Self, StoreError> {
        let mut connection = source.connect(role)?;
        // A pool's connection may have served a reader before, who set a timeout.
        let answers = connection
            .simple_query(&format!(
                "RESET statement_timeout; SET search_path = {}; {settings}; \
                 SELECT pid, extract(epoch FROM backend_start) FROM pg_stat_activity WHERE pid = pg_backend_pid()",
                quote_identifier(schema)
            ))
            .map_err(|source| StoreError::database("prepare a connection", source))?;
        let backend = answers.iter().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => {
                Some(Backend { pid: row.get(0)?.parse().ok()?, began: row.get(1)?.to_owned() })
            }
            _ => None,
        });
        let (schema, is_pooled) = (schema.to_owned(), source.is_pooled());
        Ok(Self { connection, backend, is_pooled, schema, prepared: HashMap::new() })
    }

    /// The server's side of this connection; `None` where the server does not show it.
    pub(crate) fn backend(&self) -> Option<Backend> {
        self.backend.clone()
    }

    /// Makes sure that the server's side of an earlier connection has ended, and with it whatever statement it was
    /// at: only then is it settled what that did.
    ///
    /// # Errors
    /// When the database fails, or the backend is still there after a few seconds.
    pub(crate) fn end_backend(&mut self, lost: &Backend) -> Result<(), StoreError> {
        let deadline = Instant::now() + BACKEND_END_MAX;
        while self.query_opt(&END_BACKEND, &[&lost.pid, &lost.began])?.is_some() {
            if Instant::now() >= deadline {
                return Err(StoreError::BackendStays { pid: lost.pid });
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Has the server end every later statement of this connection that takes longer; in whole milliseconds.
    ///
    /// # Errors
    /// When the database fails.
    pub fn set_statement_timeout(&mut self, timeout: Duration) -> Result<(), StoreError> {
        // SET takes no parameters; a number needs no quoting.
        self.connection
            .batch_execute(&format!("SET statement_timeout = {}", timeout.as_millis()))
            .map_err(|source| StoreError::database("set the statement timeout", source))
    }

    /// Asks the server for a sign of life, before something that can't be asked twice.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(crate) fn ping(&mut self) -> Result<(), StoreError> {
        self.connection.batch_execute("").map_err(|source| StoreError::database("reach the server", source))
    }

    /// The schema it works in.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Whether the connection is known to be lost.
    pub fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// Does `work` in one transaction.
    fn in_transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let failed = |source| StoreError::database("run a transaction", source);
        self.connection.batch_execute("BEGIN").map_err(failed)?;
        match work(self) {
            Ok(done) => {
                self.connection.batch_execute("COMMIT").map_err(failed)?;
                Ok(done)
            }
            Err(error) => {
                // The first error is the one to tell; a connection that can't roll back is lost anyway.
                if let Err(also) = self.connection.batch_execute("ROLLBACK") {
                    log::debug!("a transaction was not rolled back: {also}");
                }
                Err(error)
            }
        }
    }

    fn prepare(&mut self, sql: &Sql) -> Result<Statement, StoreError> {
        match self.prepared.entry(sql.text) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(place) => {
                let statement = self
                    .connection
                    .prepare(sql.text)
                    .map_err(|source| StoreError::database(sql.action, source))?;
                Ok(place.insert(statement).clone())
            }
        }
    }

    fn query(&mut self, sql: &Sql, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        let statement = self.prepare(sql)?;
        self.connection.query(&statement, params).map_err(|source| StoreError::database(sql.action, source))
    }

    fn query_opt(&mut self, sql: &Sql, params: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, StoreError> {
        Ok(self.query(sql, params)?.into_iter().next())
    }

    fn execute(&mut self, sql: &Sql, params: &[&(dyn ToSql + Sync)]) -> Result<u64, StoreError> {
        let statement = self.prepare(sql)?;
        self.connection.execute(&statement, params).map_err(|source| StoreError::database(sql.action, source))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // A connection of our own ends here; one of a pool goes back to its owner as it came.
        if self.is_pooled
            && !self.connection.is_closed()
            && let Err(error) = self.connection.batch_execute(RESTORE)
        {
            log::debug!("a pool's connection goes back with our settings: {error}");
        }
    }
}

/// Quotes a name for use in SQL text.
pub(crate) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
