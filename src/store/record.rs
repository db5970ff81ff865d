//! Recording the results of executions, a batch in one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use postgres::types::Json;
use serde_json::{Map, Value};

use super::claims::{ClaimedTask, read_task};
use super::locks::{Beside, Rows};
use super::row::get;
use super::{Sql, Store, StoreError};
use crate::model::lifecycle::{ClaimMove, Outcome, Transition};

const RECORD: Sql = Sql::new("record results", include_str!("../../sql/queue/record.sql"));
const RECORDED: Sql =
    Sql::new("see which results were recorded", include_str!("../../sql/queue/recorded.sql"));

/// How one execution ended: a row of the audit trail in the making.
#[derive(Debug, Clone)]
pub struct ExecutionResult {
    /// The command as it was run.
    pub command: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When it ended, by this node's monotonic clock.
    pub ended: Instant,
    /// How long it took.
    pub duration: Duration,
    /// Processor time, where known.
    pub cpu: Option<Duration>,
    /// Peak resident memory, where known.
    pub peak_memory_bytes: Option<u64>,
    /// Head and tail of what it wrote.
    pub output: Option<String>,
    /// How much it wrote.
    pub output_bytes: u64,
    /// Why it failed.
    pub error_message: Option<String>,
}

/// A result with everything that it moves.
#[derive(Debug, Clone)]
pub struct TaskResult {
    /// The process.
    pub process_id: Arc<str>,
    /// The version of the claim it was run under.
    pub version: i64,
    /// The task's place.
    pub task_index: u32,
    /// The execution's number.
    pub attempt: u32,
    /// What was decided.
    pub transition: Transition,
    /// How long a released process waits.
    pub wait: Duration,
    /// The audit trail's part.
    pub execution: ExecutionResult,
    /// Why the process failed, when it did.
    pub process_error: Option<String>,
    /// What the command passes on to later tasks.
    pub context: Option<Map<String, Value>>,
}

impl TaskResult {
    /// Bytes of output that it keeps in memory.
    pub(crate) fn output_bytes(&self) -> usize {
        self.execution.output.as_ref().map_or(0, String::len)
    }

    /// The rows that its record writes.
    fn rows(&self) -> Rows<'_> {
        let first = signed(self.task_index);
        let last = first.saturating_add((self.transition.claim == ClaimMove::Keep).into());
        Rows { process_id: &self.process_id, tasks: (first, last) }
    }
}

/// The results that are durable now, by process: each with the task that is in progress since then under the kept
/// claim, if there is one, or why its row can't be read.
pub type Recorded = HashMap<String, Result<Option<ClaimedTask>, StoreError>>;

impl Store {
    /// Records a batch: all results whose claims are still `node`'s, and none of the others. A result that is not
    /// among the returned ones was not written, because its claim has been taken.
    ///
    /// # Errors
    /// When the database fails or refuses a value; nothing of the batch is written then, unless the connection
    /// was lost at the commit: ask [`Store::recorded`] before trying again.
    pub fn record(&mut self, node: &str, results: &[TaskResult]) -> Result<Recorded, StoreError> {
        self.record_all(node, results.iter())
    }

    fn record_all<'a>(
        &mut self,
        node: &str,
        results: impl Iterator<Item = &'a TaskResult>,
    ) -> Result<Recorded, StoreError> {
        let now = Instant::now();
        let column = Columns::of_all(results);
        let rows = self.query(
            &RECORD,
            &[
                &node,
                &column.of(|it| &*it.process_id),
                &column.of(|it| it.version),
                &column.of(|it| signed(it.task_index)),
                &column.of(|it| signed(it.attempt)),
                &column.of(|it| it.transition.task.as_str()),
                &column.of(|it| signed(it.transition.retry_count)),
                &column.of(|it| it.transition.process.as_str()),
                &column.of(|it| it.transition.advance),
                &column.of(|it| claim_word(it.transition.claim)),
                &column.of(|it| millis(it.wait)),
                &column.of(|it| it.execution.outcome.as_str()),
                &column.of(|it| it.execution.exit_code),
                &column.of(|it| it.execution.signal),
                &column.of(|it| millis(now.saturating_duration_since(it.execution.ended))),
                &column.of(|it| millis(it.execution.duration)),
                &column.of(|it| it.execution.cpu.map(millis)),
                &column.of(|it| it.execution.peak_memory_bytes.map(signed_bytes)),
                &column.of(|it| it.execution.output.as_deref()),
                &column.of(|it| signed_bytes(it.execution.output_bytes)),
                &column.of(|it| it.execution.error_message.as_deref()),
                &column.of(|it| it.process_error.as_deref()),
                &column.of(|it| it.execution.command.as_deref()),
                &column.of(|it| it.context.as_ref().map(Json)),
            ],
        )?;
        read_recorded(&rows)
    }

    /// The same beside others' locks: results of processes of which somebody has locked a row are left out, and nobody is
    /// waited for.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn record_beside_locks(
        &mut self,
        node: &str,
        results: &[TaskResult],
    ) -> Result<Beside<Recorded>, StoreError> {
        let rows: Vec<Rows<'_>> = results.iter().map(TaskResult::rows).collect();
        self.beside_locks(&rows, |store, free| {
            let free: HashSet<&str> = free.iter().copied().collect();
            store.record_all(node, results.iter().filter(|it| free.contains(&*it.process_id)))
        })
    }

    /// Which of these results are in the audit trail already: to be asked after a connection was lost while they
    /// were recorded.
    ///
    /// # Errors
    /// When the database fails.
    pub fn recorded(&mut self, node: &str, results: &[TaskResult]) -> Result<Recorded, StoreError> {
        let column = Columns::of_all(results.iter());
        let rows = self.query(
            &RECORDED,
            &[
                &node,
                &column.of(|it| &*it.process_id),
                &column.of(|it| it.version),
                &column.of(|it| signed(it.task_index)),
                &column.of(|it| signed(it.attempt)),
            ],
        )?;
        read_recorded(&rows)
    }
}

/// A process has one row, and where a task of it begins, a row with that task, alone or beside the other.
fn read_recorded(rows: &[postgres::Row]) -> Result<Recorded, StoreError> {
    let mut recorded = Recorded::with_capacity(rows.len());
    for row in rows {
        let process_id: &str = get(row, "process_id", "a recorded result")?;
        match read_task(row, "the next task") {
            Ok(None) => drop(recorded.entry(process_id.to_owned()).or_insert(Ok(None))),
            task => drop(recorded.insert(process_id.to_owned(), task)),
        }
    }
    Ok(recorded)
}

/// The batch seen by columns, as `unnest` takes it.
struct Columns<'a> {
    results: Vec<&'a TaskResult>,
}

impl<'a> Columns<'a> {
    /// By id, the order in which cancelling locks too: of two transactions that hold many rows neither waits for the
    /// other. Sorting the largest batch takes far less than its transaction.
    fn of_all(results: impl Iterator<Item = &'a TaskResult>) -> Self {
        let mut results: Vec<&TaskResult> = results.collect();
        results.sort_unstable_by(|one, other| one.process_id.cmp(&other.process_id));
        Self { results }
    }

    fn of<T>(&self, value: impl Fn(&'a TaskResult) -> T) -> Vec<T> {
        self.results.iter().map(|it| value(it)).collect()
    }
}

/// Counts and indexes are bounded far below 2³¹ by validation.
fn signed(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn signed_bytes(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

const fn claim_word(claim: ClaimMove) -> &'static str {
    match claim {
        ClaimMove::Keep => "KEEP",
        ClaimMove::Release(_) => "RELEASE",
        ClaimMove::End => "END",
    }
}
