//! What `bench` asks of the server beside the engine's own verbs: what a run has cost, whether all of it is recorded,
//! and a schema that has been in use for years.

use std::collections::BTreeMap;
use std::time::SystemTime;

use postgres::SimpleQueryMessage;

use super::row::{get, unreadable};
use super::{Sql, Store, StoreError, quote_identifier};

/// As a number, to be subtracted; bytes.
const WAL: Sql = Sql::new(
    "read the position of the log",
    "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 AS bytes",
);
const WRITES: Sql = Sql::new(
    "read how many rows were written",
    "SELECT coalesce(sum(n_tup_ins), 0)::bigint AS inserted, coalesce(sum(n_tup_upd), 0)::bigint AS updated, \
         coalesce(sum(n_tup_del), 0)::bigint AS deleted, coalesce(sum(n_tup_hot_upd), 0)::bigint AS hot, \
         coalesce(sum(n_tup_ins) FILTER (WHERE relname = 'tasks'), 0)::bigint AS tasks, \
         coalesce(sum(n_tup_ins) FILTER (WHERE relname = 'task_executions'), 0)::bigint AS executions \
     FROM pg_stat_user_tables WHERE schemaname = current_schema()",
);
/// The key of an execution is process, task, attempt: as many first attempts as tasks are one for each.
const RECORDED: Sql = Sql::new(
    "count what was recorded",
    "SELECT count(*) AS executions, count(*) FILTER (WHERE e.attempt = 1) AS first_attempts, \
         count(*) FILTER (WHERE e.outcome <> 'SUCCEEDED') AS not_succeeded, \
         (SELECT count(*) FROM processes p WHERE p.process_type = $1 AND p.status <> 'COMPLETED') AS unfinished \
     FROM task_executions e JOIN processes p USING (process_id) WHERE p.process_type = $1",
);
const GAPS: Sql = Sql::new(
    "read the gaps between tasks",
    "SELECT gap_ms FROM (SELECT extract(epoch FROM started_at - lag(completed_at) OVER ( \
         PARTITION BY process_id ORDER BY task_index, attempt))::float8 * 1000 AS gap_ms FROM task_executions) AS gaps \
     WHERE gap_ms IS NOT NULL",
);
const DURATIONS: Sql = Sql::new(
    "read how long commands took",
    "SELECT e.duration_ms FROM task_executions e JOIN processes p USING (process_id) WHERE p.process_type = $1",
);
const FIRST_BEGUN: Sql = Sql::new(
    "see when a process's first command began",
    "SELECT min(started_at) AS begun FROM task_executions WHERE process_id = $1",
);
const SESSIONS: Sql = Sql::new(
    "see who is connected",
    "SELECT application_name AS name, count(*) AS number FROM pg_stat_activity \
     WHERE datname = current_database() AND application_name LIKE '%' || $1 || '%' GROUP BY 1",
);
const SCHEMAS: Sql = Sql::new(
    "look for what earlier benches have left",
    "SELECT nspname::text AS name, obj_description(oid, 'pg_namespace') AS remark FROM pg_namespace \
     WHERE starts_with(nspname::text, $1)",
);

const POSTPONE: Sql = Sql::new(
    "postpone a process",
    "UPDATE scheduled_tasks SET execution_time = clock_timestamp() WHERE task_instance = $1",
);
/// A snapshot as old as the transaction: nothing that ends after it can be vacuumed while it is open.
const HOLD: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL idle_in_transaction_session_timeout = 0; \
    SELECT count(*) FROM nodes";

/// Rows written in the schema since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Writes {
    /// Inserted.
    pub inserted: i64,
    /// Updated.
    pub updated: i64,
    /// Deleted.
    pub deleted: i64,
    /// Of the updated, those that touched no index.
    pub hot: i64,
    /// Of the inserted, those of `tasks`.
    pub tasks: i64,
    /// Of the inserted, those of `task_executions`.
    pub executions: i64,
}

/// What is recorded of the processes of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedOfType {
    /// Executions.
    pub executions: i64,
    /// Of those the first of their task.
    pub first_attempts: i64,
    /// Of those the ones that did not succeed.
    pub not_succeeded: i64,
    /// Processes that are not COMPLETED.
    pub unfinished: i64,
}

/// What lies in a schema that has been in use for years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// Processes that have ended.
    pub finished: u32,
    /// Processes that are due tomorrow.
    pub waiting: u32,
    /// Processes that are due and whose type is paused.
    pub held: u32,
}

/// A schema that an earlier bench has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its name.
    pub name: String,
    /// What [`Store::remark`] has put there.
    pub remark: Option<String>,
}

impl Store {
    /// The id of the server's process of this session, on the server's machine; `None` where it is not shown.
    pub fn backend_pid(&self) -> Option<u32> {
        self.backend.as_ref().and_then(|backend| u32::try_from(backend.pid).ok())
    }

    /// Bytes of write-ahead log since the server's first day.
    ///
    /// # Errors
    /// When the database fails.
    pub fn wal_bytes(&mut self) -> Result<f64, StoreError> {
        let row = self.query_opt(&WAL, &[])?.ok_or_else(|| unreadable("the log's position", "no row"))?;
        get(&row, "bytes", "the log's position")
    }

    /// What sessions have written; a session tells of it a moment later, at the latest when it ends.
    ///
    /// # Errors
    /// When the database fails.
    pub fn writes(&mut self) -> Result<Writes, StoreError> {
        let what = "the statistics";
        let row = self.query_opt(&WRITES, &[])?.ok_or_else(|| unreadable(what, "no row"))?;
        Ok(Writes {
            inserted: get(&row, "inserted", what)?,
            updated: get(&row, "updated", what)?,
            deleted: get(&row, "deleted", what)?,
            hot: get(&row, "hot", what)?,
            tasks: get(&row, "tasks", what)?,
            executions: get(&row, "executions", what)?,
        })
    }

    /// What is recorded of the processes of a type; a scan of all.
    ///
    /// # Errors
    /// When the database fails.
    pub fn recorded_of(&mut self, process_type: &str) -> Result<RecordedOfType, StoreError> {
        let what = "the count of executions";
        let row = self.query_opt(&RECORDED, &[&process_type])?.ok_or_else(|| unreadable(what, "no row"))?;
        Ok(RecordedOfType {
            executions: get(&row, "executions", what)?,
            first_attempts: get(&row, "first_attempts", what)?,
            not_succeeded: get(&row, "not_succeeded", what)?,
            unfinished: get(&row, "unfinished", what)?,
        })
    }

    /// Milliseconds from the end of each task to the spawn of the next of its process.
    ///
    /// # Errors
    /// When the database fails.
    pub fn gaps_ms(&mut self) -> Result<Vec<f64>, StoreError> {
        self.query(&GAPS, &[])?.iter().map(|row| get(row, "gap_ms", "an execution")).collect()
    }

    /// Milliseconds that each command of the type's processes took.
    ///
    /// # Errors
    /// When the database fails.
    pub fn durations_ms(&mut self, process_type: &str) -> Result<Vec<f64>, StoreError> {
        self.query(&DURATIONS, &[&process_type])?
            .iter()
            .map(|row| get(row, "duration_ms", "an execution"))
            .collect()
    }

    /// When the first command of a process began, once that is recorded.
    ///
    /// # Errors
    /// When the database fails.
    pub fn first_begun(&mut self, process_id: &str) -> Result<Option<SystemTime>, StoreError> {
        let row = self.query_opt(&FIRST_BEGUN, &[&process_id])?;
        row.map_or(Ok(None), |row| get(&row, "begun", "an execution"))
    }

    /// Has a process be due only now, behind what waits.
    ///
    /// # Errors
    /// When the database fails.
    pub fn postpone(&mut self, process_id: &str) -> Result<(), StoreError> {
        self.execute(&POSTPONE, &[&process_id]).map(drop)
    }

    /// Sessions of this database whose name holds `part`, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub fn sessions_named(&mut self, part: &str) -> Result<BTreeMap<String, i64>, StoreError> {
        let what = "a session";
        self.query(&SESSIONS, &[&part])?
            .iter()
            .map(|row| Ok((get(row, "name", what)?, get(row, "number", what)?)))
            .collect()
    }

    /// Schemas whose name begins with `prefix`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn schemas_named(&mut self, prefix: &str) -> Result<Vec<Leftover>, StoreError> {
        let what = "a schema";
        self.query(&SCHEMAS, &[&prefix])?
            .iter()
            .map(|row| Ok(Leftover { name: get(row, "name", what)?, remark: get(row, "remark", what)? }))
            .collect()
    }

    /// Makes `remark` the schema's comment.
    ///
    /// # Errors
    /// When the database fails.
    pub fn remark(&mut self, remark: &str) -> Result<(), StoreError> {
        let text = remark.replace('\'', "''");
        let comment = format!("COMMENT ON SCHEMA {} IS '{text}'", quote_identifier(&self.schema));
        self.run_script("comment on the schema", &comment)
    }

    /// Fills the schema with processes of one task each, as the program leaves them, then vacuums it, so that this does
    /// not fall into what is measured.
    ///
    /// # Errors
    /// When the database fails.
    pub fn fill(&mut self, past: Past) -> Result<(), StoreError> {
        let Past { finished, waiting, held } = past;
        // A script takes no parameters; numbers need no quoting.
        let script = include_str!("../../sql/bench_history.sql")
            .replace("{finished}", &finished.to_string())
            .replace("{waiting}", &waiting.to_string())
            .replace("{held}", &held.to_string());
        self.run_script("fill the schema", &script)?;
        for table in ["processes", "tasks", "task_executions", "scheduled_tasks"] {
            self.run_script("vacuum the schema", &format!("VACUUM (ANALYZE) {table}"))?;
        }
        Ok(())
    }

    /// Begins a transaction with a snapshot, which lasts until this connection ends.
    ///
    /// # Errors
    /// When the database fails.
    pub fn hold_snapshot(&mut self) -> Result<(), StoreError> {
        self.run_script("hold a snapshot", HOLD)
    }

    /// The lines of EXPLAIN (ANALYZE, BUFFERS) of a claim of `limit` processes, as the engine's connections plan it;
    /// nothing stays claimed. For a connection of [`Store::open_hot`].
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) fn explain_claim(&mut self, limit: usize) -> Result<Vec<String>, StoreError> {
        let script = format!(
            "BEGIN; PREPARE bench_claim (text, bigint, int[], float8[], int) AS {claim}; EXPLAIN (ANALYZE, BUFFERS) EXECUTE bench_claim('bench', {limit}, '{{}}', '{{}}', NULL); \
             DEALLOCATE bench_claim; ROLLBACK",
            claim = include_str!("../../sql/claim.sql"),
        );
        let failed = |source| StoreError::database("explain the claim", source);
        let answers = self.connection.simple_query(&script).map_err(failed)?;
        let line = |answer: &SimpleQueryMessage| match answer {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        };
        Ok(answers.iter().filter_map(line).collect())
    }

    fn run_script(&mut self, action: &'static str, script: &str) -> Result<(), StoreError> {
        self.connection.batch_execute(script).map_err(|source| StoreError::database(action, source))
    }
}
