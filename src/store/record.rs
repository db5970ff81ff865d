//! Recording the results of executions, a batch in one transaction.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use postgres::types::Json;
use serde_json::{Map, Value};

use super::claims::{ClaimedBatch, ClaimedTask, read_task};
use super::locks::{Beside, Rows};
use super::row::{get, unreadable};
use super::{Sql, Store, StoreError};
use crate::model::lifecycle::{ClaimMove, Outcome, Transition};

const RECORD: Sql = Sql::new("record results", include_str!("../../sql/queue/record.sql"));
/// Where outputs go that are longer than [`INLINE_BYTES_MAX`].
const COPY: Sql = Sql::new(
    "record long outputs",
    "COPY outputs (era, process_id, task_index, attempt, output) FROM STDIN (FORMAT binary)",
);
/// The same for a session that a pooler lends: statements that COPY would need have names, which may be taken there.
const INSERT: Sql = Sql::new(
    "record a long output",
    "INSERT INTO outputs (era, process_id, task_index, attempt, output) VALUES ($1, $2, $3, $4, $5)",
);
/// What `free_slots_of` has noted in this transaction.
const LET_GO: Sql = Sql::new(
    "see what limits have let go",
    "SELECT unnest(string_to_array(nullif(current_setting('process_orchestrator.let_go', true), ''), E'\\x01')) AS process_id",
);
const RECORDED: Sql =
    Sql::new("see which results were recorded", include_str!("../../sql/queue/recorded.sql"));

/// Outputs of up to so many bytes lie in the row of their execution (`sql/migrations/0016_eras.sql`): nearly all are, and
/// cost no statement of their own.
const INLINE_BYTES_MAX: usize = 1024;
/// What a copy waits for. It is waited for here: a copy that fails before it has begun leaves a connection that the client
/// library can't use any more, and a lock that somebody has would look like a connection lost, again and again.
const COPY_LOCK: &str = "LOCK TABLE ONLY outputs IN ROW EXCLUSIVE MODE";
/// Bytes of one message of a copy. The client library keeps a buffer as large as the largest message that it has sent.
const COPY_BYTES: usize = 64 * 1024;
/// What a copy in binary begins with: a signature, flags, an extension of no bytes.
const COPY_HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// And what it ends with, in place of a row's number of fields.
const COPY_END: i16 = -1;

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

    /// The output, if it does not fit into the execution's row.
    fn long_output(&self) -> Option<&str> {
        self.execution.output.as_deref().filter(|it| it.len() > INLINE_BYTES_MAX)
    }

    /// The rows that its record writes.
    fn rows(&self) -> Rows<'_> {
        let first = signed(self.task_index);
        let last = first.saturating_add((self.transition.claim == ClaimMove::Keep).into());
        Rows { process_id: &self.process_id, tasks: (first, last) }
    }
}

/// The results that are durable now, by process: each with what goes on since then, or why its row can't be read.
pub type Recorded = HashMap<String, Result<Next, StoreError>>;

/// What comes after a result that was recorded.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant)] // one for each result, and most are tasks
pub enum Next {
    /// This task is in progress, under the kept claim.
    Task(ClaimedTask),
    /// Nothing is in progress.
    Nothing,
    /// A claim that was to be kept was given back: the next task needs slots of limits that it has to be admitted for.
    GivenBack,
}

impl Store {
    /// Records a batch: all results whose claims are still `node`'s, and none of the others. A result that is not
    /// among the returned ones was not written, because its claim has been taken.
    ///
    /// # Errors
    /// When the database fails or refuses a value; nothing of the batch is written then, unless the connection
    /// was lost at the commit: ask [`Store::recorded`] before trying again.
    pub fn record(&mut self, node: &str, results: &[TaskResult]) -> Result<Recorded, StoreError> {
        match results.iter().any(|it| it.long_output().is_some()) {
            true => self.in_transaction(RECORD.action, |store| store.record_all(node, results.iter())),
            false => self.record_all(node, results.iter()),
        }
    }

    /// The same, and claims in the same transaction what limits have let go in it, but for what `limit` leaves: one commit
    /// in place of two between the end of a process and the begin of the next one. Beside them stands how many were let go.
    ///
    /// # Errors
    /// As [`Store::record`]; what is claimed may be what has failed.
    pub fn record_and_claim(
        &mut self,
        node: &str,
        results: &[TaskResult],
        limit: usize,
    ) -> Result<(Recorded, ClaimedBatch, usize), StoreError> {
        self.in_transaction(RECORD.action, |store| {
            let recorded = store.record_all(node, results.iter())?;
            let let_go: Vec<String> = store.query_column(&LET_GO, &[], "process_id", "a limit")?;
            let ids: Vec<&str> = let_go.iter().take(limit).map(String::as_str).collect();
            let claimed = match ids.is_empty() {
                true => ClaimedBatch::default(),
                false => store.claim_these(node, &ids, true)?,
            };
            Ok((recorded, claimed, let_go.len()))
        })
    }

    /// Where there are long outputs, a transaction is open.
    fn record_all<'a>(
        &mut self,
        node: &str,
        results: impl Iterator<Item = &'a TaskResult>,
    ) -> Result<Recorded, StoreError> {
        let now = Instant::now();
        let column = Columns::of_all(results);
        let is_short = |it: &&str| it.len() <= INLINE_BYTES_MAX;
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
                &column.of(|it| it.execution.output.as_deref().filter(is_short)),
                &column.of(|it| signed_bytes(it.execution.output_bytes)),
                &column.of(|it| it.execution.error_message.as_deref()),
                &column.of(|it| it.process_error.as_deref()),
                &column.of(|it| it.execution.command.as_deref()),
                &column.of(|it| it.context.as_ref().map(Json)),
            ],
        )?;
        self.write_outputs(&long_outputs(&column.results, &rows)?)?;
        read_recorded(&rows)
    }

    /// Writes outputs of executions that were recorded in this transaction.
    fn write_outputs(&mut self, outputs: &[LongOutput<'_>]) -> Result<(), StoreError> {
        if outputs.is_empty() {
            return Ok(());
        }
        if self.borrowed.is_some() {
            return outputs.iter().try_for_each(|it| {
                let (index, attempt) = (signed(it.result.task_index), signed(it.result.attempt));
                self.execute(&INSERT, &[&it.era, &&*it.result.process_id, &index, &attempt, &it.text])
                    .map(drop)
            });
        }
        let copy = self.prepare(&COPY)?;
        let failed = |source| StoreError::database(COPY.action, source);
        self.connection.batch_execute(COPY_LOCK).map_err(failed)?;
        let mut copying = self.connection.copy_in(&copy).map_err(failed)?;
        write_copy(&mut copying, outputs).map_err(copy_error)?;
        copying.finish().map_err(failed)?;
        Ok(())
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

/// An output that is written by itself.
struct LongOutput<'a> {
    era: i32,
    result: &'a TaskResult,
    text: &'a str,
}

/// Those of the results that are ours, by the rows that say so.
fn long_outputs<'a>(
    results: &[&'a TaskResult],
    rows: &[postgres::Row],
) -> Result<Vec<LongOutput<'a>>, StoreError> {
    let long: Vec<_> = results.iter().filter_map(|it| Some((*it, it.long_output()?))).collect();
    if long.is_empty() {
        return Ok(Vec::new());
    }
    let mut eras: HashMap<&str, i32> = HashMap::with_capacity(rows.len());
    for row in rows {
        if let Some(era) = get(row, "era", "a recorded result")? {
            eras.insert(get(row, "process_id", "a recorded result")?, era);
        }
    }
    let of_ours = |(result, text): (&'a TaskResult, &'a str)| {
        Some(LongOutput { era: *eras.get(&*result.process_id)?, result, text })
    };
    Ok(long.into_iter().filter_map(of_ours).collect())
}

/// A row is the number of its fields, and each field its length and its value; numbers are big-endian.
fn write_copy(to: &mut impl Write, outputs: &[LongOutput<'_>]) -> io::Result<()> {
    let length = |bytes: usize| i32::try_from(bytes).map(i32::to_be_bytes).map_err(io::Error::other);
    to.write_all(COPY_HEAD)?;
    let mut row = Vec::new();
    for LongOutput { era, result, text } in outputs {
        let number = |number: i32| [4i32.to_be_bytes(), number.to_be_bytes()].concat();
        row.clear();
        row.extend(5i16.to_be_bytes());
        row.extend(number(*era));
        row.extend(length(result.process_id.len())?);
        row.extend(result.process_id.as_bytes());
        row.extend(number(signed(result.task_index)));
        row.extend(number(signed(result.attempt)));
        row.extend(length(text.len())?);
        to.write_all(&row)?;
        text.as_bytes().chunks(COPY_BYTES).try_for_each(|piece| to.write_all(piece))?;
    }
    to.write_all(&COPY_END.to_be_bytes())
}

/// The client library passes its own failures on as the system's.
fn copy_error(error: io::Error) -> StoreError {
    match error.downcast::<postgres::Error>() {
        Ok(source) => StoreError::database(COPY.action, source),
        Err(error) => unreadable("a long output", error.to_string()),
    }
}

/// A process has one row, and where a task of it begins, a row with that task, alone or beside the other.
fn read_recorded(rows: &[postgres::Row]) -> Result<Recorded, StoreError> {
    let mut recorded = Recorded::with_capacity(rows.len());
    for row in rows {
        let process_id: &str = get(row, "process_id", "a recorded result")?;
        match read_task(row, "the next task") {
            Ok(None) => {
                let is_given_back = get(row, "is_given_back", "a recorded result")?;
                let next = if is_given_back { Next::GivenBack } else { Next::Nothing };
                recorded.entry(process_id.to_owned()).or_insert(Ok(next));
            }
            Ok(Some(task)) => drop(recorded.insert(process_id.to_owned(), Ok(Next::Task(task)))),
            Err(error) => drop(recorded.insert(process_id.to_owned(), Err(error))),
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
