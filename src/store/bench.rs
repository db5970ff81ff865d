//! What `bench` asks of the server beside the engine's own verbs: what a run has cost, whether all of it is recorded,
//! and a schema that has been in use for years.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use postgres::SimpleQueryMessage;
use serde::Serialize;
use serde_json::Value;

use super::membership::NodeIdentity;
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
         coalesce(sum(n_tup_ins) FILTER (WHERE starts_with(relname, 'tasks_')), 0)::bigint AS tasks, \
         coalesce(sum(n_tup_ins) FILTER (WHERE starts_with(relname, 'executions_')), 0)::bigint AS executions \
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

const BYTES: Sql = Sql::new(
    "see what lies on the disk",
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint AS tables, \
         pg_database_size(current_database()) AS database \
     FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'",
);

/// From the first task's begin to the commit that ended the last process, or to the last command's end.
const SPAN: Sql = Sql::new(
    "read how long the processes took",
    "SELECT extract(epoch FROM greatest(max(e.completed_at), max(p.completed_at)) - min(e.started_at))::float8 AS seconds \
     FROM task_executions e JOIN processes p USING (process_id) WHERE p.process_type = $1",
);
const IS_QUEUE_EMPTY: Sql = Sql::new(
    "see whether anything is unfinished",
    "SELECT NOT EXISTS (SELECT FROM scheduled_tasks) AS is_empty",
);
/// As others call it, one process at a time.
const START_ONE: Sql = Sql::new(
    "start a process",
    "SELECT start_process($1, start_at => now() + $2::float8 * interval '1 second') AS process_id",
);
/// The type as it is registered, with limits.
const LIMIT_TYPE: Sql =
    Sql::new("give a process type limits", "UPDATE process_types SET concurrency = $2 WHERE name = $1");
const HOLD_FRONT: Sql = Sql::new("hold what limits block", "SELECT hold_blocked($1) AS held");
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Past {
    /// Processes that have ended.
    pub finished: u32,
    /// Processes that are due in the days to come.
    pub waiting: u32,
    /// Priorities that these have, as many above 0 as below.
    pub priorities: u32,
    /// Processes that are due and whose type is paused.
    pub held: u32,
    /// Processes that are due, of the type that is measured; they are started, not filled in.
    pub ready: u32,
}

impl Past {
    /// All of it so many times as large.
    pub fn scaled(self, factor: f64) -> Self {
        let scaled = |number: u32| (f64::from(number) * factor).round() as u32;
        Self {
            finished: scaled(self.finished),
            waiting: scaled(self.waiting),
            priorities: scaled(self.priorities).max(1),
            held: scaled(self.held),
            ready: scaled(self.ready),
        }
    }
}

/// What lies on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bytes {
    /// Of all tables of the schema, with their indexes and long values.
    pub tables: i64,
    /// Of the whole database.
    pub database: i64,
}

/// A node that there is not, in whose name claims are made to see what they cost.
pub(crate) const PROBE: &str = "bench-probe";

/// A statement by which a node takes from the queue or looks at it.
pub(crate) struct Look {
    /// For people.
    pub(crate) name: &'static str,
    text: &'static str,
    /// The types of its parameters and their values, as SQL text.
    types: &'static str,
    values: &'static str,
}

/// The looks whose cost must not depend on what else waits, a claim first. The processes that are ready have priority 0.
pub(crate) fn looks() -> [Look; 3] {
    [
        Look {
            name: "claim of 256",
            text: include_str!("../../sql/queue/claim.sql"),
            types: "text, bigint, int[], int[], float8[], text[], bigint",
            values: "'bench-probe', 256, '{-2147483648}', '{2147483647}', '{NULL}', '{}', 256",
        },
        Look {
            name: "promotion with nothing due, and the next due time",
            text: include_str!("../../sql/queue/promote.sql"),
            types: "float8, bigint",
            values: "NULL, 2000",
        },
        Look {
            name: "look for a higher priority",
            text: include_str!("../../sql/queue/waiting_priorities.sql"),
            types: "bigint, int[], int[], float8[]",
            values: "256, '{1}', '{2147483647}', '{NULL}'",
        },
    ]
}

/// The pages that a statement has read, from the shared buffers or into them, by the lines of its EXPLAIN (ANALYZE,
/// BUFFERS). The first node's line counts what all those below it have read; planning is told apart.
pub(crate) fn buffers(plan: &[String]) -> u64 {
    let mut lines = plan.iter().map(|line| line.trim()).take_while(|line| !line.starts_with("Planning"));
    let Some(line) = lines.find(|line| line.starts_with("Buffers:")) else { return 0 };
    let shared = line.split(',').next().unwrap_or_default();
    let numbers = shared.split(' ').filter_map(|word| {
        let (what, number) = word.split_once('=')?;
        number.parse::<u64>().ok().filter(|_| ["hit", "read"].contains(&what))
    });
    numbers.sum()
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
    /// Claims are made for nodes whose row says that they live: so does the probe's.
    pub(crate) fn register_probe(&mut self) -> Result<(), StoreError> {
        self.register_again(&NodeIdentity {
            node_id: PROBE.to_owned(),
            name: PROBE.to_owned(),
            host: "bench".to_owned(),
            pid: 0,
            executors: 1,
            lease: Duration::from_secs(1_000_000),
            heartbeat: Duration::from_secs(1_000_000),
            dead_after: Duration::from_secs(1_000_000),
            place: None,
            lock_key: 0,
        })
        .map(drop)
    }

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

    /// Seconds from the begin of the first task of the type to the end of its last process.
    ///
    /// # Errors
    /// When the database fails, or nothing of the type has run.
    pub fn span_seconds(&mut self, process_type: &str) -> Result<f64, StoreError> {
        let row = self.query_opt(&SPAN, &[&process_type])?.ok_or_else(|| unreadable("a time", "no row"))?;
        get(&row, "seconds", "the time that the processes took")
    }

    /// Whether no process waits or runs.
    ///
    /// # Errors
    /// When the database fails.
    pub fn is_queue_empty(&mut self) -> Result<bool, StoreError> {
        let row = self.query_opt(&IS_QUEUE_EMPTY, &[])?.ok_or_else(|| unreadable("the queue", "no row"))?;
        get(&row, "is_empty", "the queue")
    }

    /// Starts one process, due at once or after `wait`.
    ///
    /// # Errors
    /// When the database fails or refuses the start.
    pub fn start_one(&mut self, process_type: &str, wait: Option<Duration>) -> Result<(), StoreError> {
        let seconds = wait.map(|it| it.as_secs_f64());
        self.query(&START_ONE, &[&process_type, &seconds]).map(drop)
    }

    /// Has a process be due only now, behind what waits.
    ///
    /// # Errors
    /// When the database fails.
    pub fn postpone(&mut self, process_id: &str) -> Result<(), StoreError> {
        self.execute(&POSTPONE, &[&process_id]).map(drop)
    }

    /// Gives a type limits, in the form of its row: `[{"name", "max", "holds"}]`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn limit_type(&mut self, process_type: &str, concurrency: &Value) -> Result<(), StoreError> {
        self.execute(&LIMIT_TYPE, &[&process_type, concurrency]).map(drop)
    }

    /// Holds what limits block, at most `limit` of what is at the front of the queue; gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub fn hold_front(&mut self, limit: u32) -> Result<i64, StoreError> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        get(&self.query_one(&HOLD_FRONT, &[&limit], "the queue")?, "held", "the queue")
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

    /// Fills the schema with processes of one task each, as the program leaves them, but not with the ready ones; then vacuums it, so that this does
    /// not fall into what is measured.
    ///
    /// # Errors
    /// When the database fails.
    pub fn fill(&mut self, past: Past) -> Result<(), StoreError> {
        // A script takes no parameters; numbers need no quoting.
        let numbers = [
            ("{finished}", past.finished),
            ("{waiting}", past.waiting),
            ("{priorities}", past.priorities),
            ("{held}", past.held),
        ];
        let script = numbers.iter().fold(
            include_str!("../../sql/schema/bench_history.sql").to_owned(),
            |script, (place, number)| script.replace(place, &number.to_string()),
        );
        self.run_script("fill the schema", &script)?;
        for table in ["processes", "all_tasks", "executions", "scheduled_tasks"] {
            self.run_script("vacuum the schema", &format!("VACUUM (ANALYZE) {table}"))?;
        }
        Ok(())
    }

    /// Fills the schema with finished processes of three tasks, spread over the last 60 days, and vacuums it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn fill_forgettable(&mut self, finished: u32) -> Result<(), StoreError> {
        let script = include_str!("../../sql/schema/bench_forget.sql");
        self.run_script("fill the schema", &script.replace("{finished}", &finished.to_string()))?;
        for table in ["processes", "all_tasks", "executions", "outputs"] {
            self.run_script("vacuum the schema", &format!("VACUUM (ANALYZE) {table}"))?;
        }
        Ok(())
    }

    /// What lies on the disk, as the server counts it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn bytes_on_disk(&mut self) -> Result<Bytes, StoreError> {
        let row = self.query_one(&BYTES, &[], "sizes")?;
        Ok(Bytes { tables: get(&row, "tables", "sizes")?, database: get(&row, "database", "sizes")? })
    }

    /// Begins a transaction with a snapshot, which lasts until this connection ends.
    ///
    /// # Errors
    /// When the database fails.
    pub fn hold_snapshot(&mut self) -> Result<(), StoreError> {
        self.run_script("hold a snapshot", HOLD)
    }

    /// The lines of EXPLAIN (ANALYZE, BUFFERS) of a look, as the engine's connections plan it; nothing of what it does
    /// stays. For a connection of [`Store::open_hot`].
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) fn explain_look(&mut self, look: &Look) -> Result<Vec<String>, StoreError> {
        let Look { text, types, values, .. } = look;
        // A text may end with a comment: what follows it begins a line.
        let script = format!(
            "BEGIN; PREPARE bench_look ({types}) AS {text}\n; EXPLAIN (ANALYZE, BUFFERS) EXECUTE bench_look({values}); \
             DEALLOCATE bench_look; ROLLBACK"
        );
        let failed = |source| StoreError::database("explain a look at the queue", source);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_those_of_the_first_node() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let plan = "Append  (cost=1..2 rows=3 width=4) (actual time=1..2 rows=3 loops=1)\n  Buffers: shared hit=120 read=3 \
                    dirtied=7 written=1, local hit=9\n  ->  CTE Scan on due\n        Buffers: shared hit=100\nPlanning:\n  \
                    Buffers: shared hit=50";
        assert_eq!(buffers(&lines(plan)), 123);
        assert_eq!(buffers(&lines("Result\nPlanning:\n  Buffers: shared hit=50")), 0);
    }

    #[test]
    fn a_past_is_scaled_as_a_whole_and_keeps_a_priority() {
        let past = Past { finished: 100, waiting: 50, priorities: 3, held: 10, ready: 0 };
        let expected = Past { finished: 10, waiting: 5, priorities: 1, held: 1, ready: 0 };
        assert_eq!(past.scaled(0.1), expected);
    }
}
