//! Joblog and results of a batch, in pages: of a hundred thousand processes some hundred are in memory.

use jiff::Timestamp;

use crate::model::batch::joblog::JoblogLine;
use crate::model::batch::results::{Columns, ResultRow};
use crate::store::row::get;
use crate::store::{Sql, Store, StoreError};

const JOBLOG: Sql = Sql::new("read the joblog of a batch", include_str!("../../../sql/batches/joblog.sql"));
const RESULTS: Sql =
    Sql::new("read the results of a batch", include_str!("../../../sql/batches/results.sql"));
const KEYS: Sql =
    Sql::new("read the results of a batch", include_str!("../../../sql/batches/result_keys.sql"));

/// Columns of a table of results that are made at the most: every process might have keys of its own.
pub const KEYS_MAX: usize = 1_000;

/// Behind which line of a joblog a page begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoblogPlace {
    /// The number of that line.
    pub seq: u64,
    /// When that process ended; `None`: from the first.
    pub ended_at: Option<Timestamp>,
    /// That process.
    pub process_id: String,
}

impl std::fmt::Display for JoblogPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = self.ended_at.map_or(0, Timestamp::as_microsecond);
        write!(f, "{}.{micros}.{}", self.seq, self.process_id)
    }
}

impl JoblogPlace {
    /// Reads the text of its `Display`; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let seq = parts.next()?.parse().ok()?;
        let ended_at = Timestamp::from_microsecond(parts.next()?.parse().ok()?).ok()?;
        Some(Self { seq, ended_at: Some(ended_at), process_id: parts.next()?.to_owned() })
    }
}

impl Store {
    /// The processes of a batch that have ended, in the order of their ends, and where the next page begins; `None`: this is the
    /// last one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn batch_joblog(
        &mut self,
        name: &str,
        after: &JoblogPlace,
        limit: u32,
    ) -> Result<(Vec<JoblogLine>, Option<JoblogPlace>), StoreError> {
        const WHAT: &str = "a line of a joblog";
        let rows = self.query(&JOBLOG, &[&name, &after.ended_at, &after.process_id, &i64::from(limit)])?;
        let mut place = after.clone();
        let mut lines = Vec::with_capacity(rows.len());
        for row in &rows {
            place = JoblogPlace {
                seq: place.seq + 1,
                ended_at: get(row, "completed_at", WHAT)?,
                process_id: get(row, "process_id", WHAT)?,
            };
            let status: String = get(row, "status", WHAT)?;
            let without = if status == "COMPLETED" { 0 } else { -1 };
            lines.push(JoblogLine {
                seq: place.seq,
                process_id: place.process_id.clone(),
                host: get::<Option<String>>(row, "host", WHAT)?.unwrap_or_else(|| ":".to_owned()),
                started_at: get(row, "started_at", WHAT)?,
                runtime_s: get(row, "runtime_s", WHAT)?,
                send: 0,
                receive: get::<Option<i64>>(row, "output_bytes", WHAT)?.unwrap_or_default().unsigned_abs(),
                exitval: get::<Option<i32>>(row, "exit_code", WHAT)?.unwrap_or(without),
                signal: get::<Option<i32>>(row, "signal", WHAT)?.unwrap_or_default(),
                command: get::<Option<String>>(row, "command", WHAT)?.unwrap_or_default(),
                status,
            });
        }
        let is_last = rows.len() < limit as usize;
        Ok((lines, (!is_last).then_some(place)))
    }

    /// What became of the processes of a batch, in the order of their ids behind `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn batch_results(
        &mut self,
        name: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ResultRow>, StoreError> {
        const WHAT: &str = "a result";
        let rows = self.query(&RESULTS, &[&name, &after, &i64::from(limit)])?;
        let read = |row: &postgres::Row| {
            Ok(ResultRow {
                process_id: get(row, "process_id", WHAT)?,
                status: get(row, "status", WHAT)?,
                started_at: get(row, "started_at", WHAT)?,
                completed_at: get(row, "completed_at", WHAT)?,
                runtime_s: get(row, "runtime_s", WHAT)?,
                exit_code: get(row, "exit_code", WHAT)?,
                error_message: get(row, "error_message", WHAT)?,
                input: get(row, "input_data", WHAT)?,
                context: get(row, "process_context", WHAT)?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// The columns that a table of the results has; `None` if there are more than a table can have.
    ///
    /// # Errors
    /// When the database fails.
    pub fn batch_result_columns(&mut self, name: &str) -> Result<Option<Columns>, StoreError> {
        let rows = self.query(&KEYS, &[&name, &(KEYS_MAX as i64 + 1)])?;
        if rows.len() > KEYS_MAX {
            return Ok(None);
        }
        let (mut input, mut context) = (Vec::new(), Vec::new());
        for row in &rows {
            let key: String = get(row, "key", "a result")?;
            if get(row, "is_context", "a result")? { context.push(key) } else { input.push(key) }
        }
        Ok(Some(Columns::new(input, context)))
    }
}
