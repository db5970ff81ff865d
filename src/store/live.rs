//! What running commands show of themselves, for whoever looks from elsewhere.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::row::{count, get, time};
use super::{Sql, Store, StoreError};
use crate::command::tail_text;

const SHOW: Sql =
    Sql::new("show the output of running commands", include_str!("../../sql/read/live_show.sql"));
const HIDE: Sql = Sql::new(
    "forget the output of commands that have ended",
    "DELETE FROM live_output WHERE process_id IN (SELECT l.process_id FROM live_output l WHERE l.node_id = $1 \
     AND NOT (l.process_id, l.task_index, l.attempt) IN (SELECT * FROM unnest($2::text[], $3::int[], $4::int[])) \
     FOR UPDATE SKIP LOCKED)",
);
const SWEEP: Sql = Sql::new(
    "forget the output that dead nodes were showing",
    "DELETE FROM live_output WHERE process_id IN (SELECT l.process_id FROM live_output l WHERE NOT EXISTS \
     (SELECT FROM nodes n WHERE n.node_id = l.node_id AND n.state IN ('RUNNING', 'STOPPING')) FOR UPDATE SKIP LOCKED)",
);
const READ: Sql =
    Sql::new("read the output of a running command", include_str!("../../sql/read/live_output.sql"));

/// What a node shows of a command that it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveOutput {
    /// Whose task it is.
    pub process_id: String,
    /// Its place in the process.
    pub task_index: u32,
    /// Which execution of the task.
    pub attempt: u32,
    /// How long it has run.
    pub age: Duration,
    /// Bytes printed so far.
    pub output_bytes: u64,
    /// The last of them.
    pub tail: Vec<u8>,
    /// How long it has printed nothing.
    pub silent: Duration,
    /// CPU time so far.
    pub cpu: Option<Duration>,
    /// The largest resident size so far, in bytes.
    pub memory_bytes: Option<u64>,
}

/// The same, as somebody else reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveExecution {
    /// Its place in the process.
    pub task_index: u32,
    /// The task's name.
    pub task_name: String,
    /// Which execution of the task.
    pub attempt: u32,
    /// The node that runs it.
    pub node: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When its node said this.
    pub updated_at: Timestamp,
    /// When it printed last, or began; `None` where a node of an earlier release runs it.
    pub printed_at: Option<Timestamp>,
    /// Bytes printed until then.
    pub output_bytes: u64,
    /// The last of them.
    pub tail: Vec<u8>,
    /// CPU time until then, in milliseconds.
    pub cpu_ms: Option<f64>,
    /// The largest resident size until then.
    pub memory_bytes: Option<u64>,
}

impl LiveExecution {
    /// For programs, its output as text.
    pub fn to_value(&self) -> Value {
        json!({
            "task_index": self.task_index,
            "task_name": self.task_name,
            "attempt": self.attempt,
            "node": self.node,
            "started_at": self.started_at,
            "updated_at": self.updated_at,
            "printed_at": self.printed_at,
            "output_bytes": self.output_bytes,
            "output": tail_text(&self.tail, self.output_bytes > self.tail.len() as u64),
            "cpu_ms": self.cpu_ms,
            "memory_bytes": self.memory_bytes,
        })
    }
}

impl Store {
    /// Shows what these commands of `node` have printed; one row each, replaced every time.
    pub fn show_live(&mut self, node: &str, live: &[LiveOutput]) -> Result<(), StoreError> {
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let int = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        self.execute(
            &SHOW,
            &[
                &node,
                &live.iter().map(|it| &*it.process_id).collect::<Vec<_>>(),
                &live.iter().map(|it| int(it.task_index)).collect::<Vec<_>>(),
                &live.iter().map(|it| int(it.attempt)).collect::<Vec<_>>(),
                &live.iter().map(|it| millis(it.age)).collect::<Vec<_>>(),
                &live.iter().map(|it| signed(it.output_bytes)).collect::<Vec<_>>(),
                &live.iter().map(|it| &*it.tail).collect::<Vec<_>>(),
                &live.iter().map(|it| it.cpu.map(millis)).collect::<Vec<_>>(),
                &live.iter().map(|it| it.memory_bytes.map(signed)).collect::<Vec<_>>(),
                &live.iter().map(|it| millis(it.silent)).collect::<Vec<_>>(),
            ],
        )
        .map(drop)
    }

    /// Forgets what `node` has shown of all other executions than these: process, task and attempt.
    pub fn hide_live_except(&mut self, node: &str, running: &[(String, u32, u32)]) -> Result<(), StoreError> {
        let processes: Vec<&str> = running.iter().map(|it| &*it.0).collect();
        let int = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let tasks: Vec<i32> = running.iter().map(|it| int(it.1)).collect();
        let attempts: Vec<i32> = running.iter().map(|it| int(it.2)).collect();
        self.execute(&HIDE, &[&node, &processes, &tasks, &attempts]).map(drop)
    }

    /// Forgets what nodes have shown that no longer live.
    pub fn sweep_live(&mut self) -> Result<(), StoreError> {
        self.execute(&SWEEP, &[]).map(drop)
    }

    /// What the running command of a process shows; nothing if none runs, or none for long enough.
    ///
    /// # Errors
    /// When the database fails or the row can't be read.
    pub fn live(&mut self, process_id: &str) -> Result<Option<LiveExecution>, StoreError> {
        let rows = self.query(&READ, &[&process_id])?;
        let what = format!("the live output of process \"{process_id}\"");
        let read = |row: &postgres::Row| {
            let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
            Ok(LiveExecution {
                task_index: count(row, "task_index", &what)?,
                task_name: get(row, "task_name", &what)?,
                attempt: count(row, "attempt", &what)?,
                node: get(row, "node_id", &what)?,
                started_at: time(row, "started_at", &what)?,
                updated_at: time(row, "updated_at", &what)?,
                printed_at: get(row, "printed_at", &what)?,
                output_bytes: unsigned(get(row, "output_bytes", &what)?),
                tail: get(row, "tail", &what)?,
                cpu_ms: get(row, "cpu_ms", &what)?,
                memory_bytes: get::<Option<i64>>(row, "memory_bytes", &what)?.map(unsigned),
            })
        };
        rows.first().map(read).transpose()
    }
}
