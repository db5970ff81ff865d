//! Counts of processes and of the queue that don't scan the history at every look.

use std::collections::BTreeMap;

use jiff::Timestamp;
use postgres::Row;

use crate::model::lifecycle::ProcessStatus;
use crate::store::row::{get, time};
use crate::store::{Sql, Store, StoreError};

/// A minute: a transaction that writes an end keeps the time at which it began, and none of ours takes so long.
const SETTLED: Sql = Sql::new(
    "read the time",
    "SELECT greatest($1::timestamptz, now() - interval '1 minute') AS settled_until",
);
const HISTORY: Sql = Sql::new("count the history", include_str!("../../../sql/read/count_history.sql"));
const RECENT: Sql = Sql::new("count the processes", include_str!("../../../sql/read/count_recent.sql"));
const QUEUE: Sql = Sql::new("read the queue", include_str!("../../../sql/read/queue_by_type.sql"));

/// How many processes there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// By type and status.
    pub by_type: BTreeMap<(String, ProcessStatus), i64>,
    /// Those in a status that is none, by what stands there.
    pub unreadable: BTreeMap<String, i64>,
}

/// The processes that ended before a time, counted: it only changes when old ones are pruned or retried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// All that ended earlier are in it.
    pub until: Timestamp,
    /// How many.
    pub finished: Tally,
}

/// The queue of one process type.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueOfType {
    /// Unfinished processes that nobody has claimed, due or not.
    pub waiting: i64,
    /// Of those, the ones that could run now.
    pub due: i64,
    /// Of those that wait, the ones whose task has failed and will be tried again.
    pub waiting_retry: i64,
    /// Processes that a node has claimed.
    pub picked: i64,
    /// Seconds the longest-waiting due process has waited.
    pub oldest_due_age_seconds: Option<f64>,
}

impl Store {
    /// Counts all finished processes but those of the last minute; a scan of all.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub fn count_history(&mut self) -> Result<History, StoreError> {
        let until = self.settled_until(None)?;
        let mut finished = Tally::default();
        for row in self.query(&HISTORY, &[&until])? {
            add(&mut finished, &row)?;
        }
        Ok(History { until, finished })
    }

    /// Counts all processes at one moment, those of `history` by what it says; and gives the history as it is
    /// settled by now.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub fn count_since(&mut self, mut history: History) -> Result<(Tally, History), StoreError> {
        let settled_until = self.settled_until(Some(history.until))?;
        let rows = self.query(&RECENT, &[&history.until, &settled_until])?;
        let (settles, others): (Vec<&Row>, Vec<&Row>) =
            rows.iter().partition(|row| row.try_get::<_, &str>("part").is_ok_and(|part| part == "SETTLES"));
        settles.into_iter().try_for_each(|row| add(&mut history.finished, row))?;
        history.until = settled_until;
        let mut all = history.finished.clone();
        others.into_iter().try_for_each(|row| add(&mut all, row))?;
        Ok((all, history))
    }

    /// The queue by process type.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub fn queue_by_type(&mut self) -> Result<BTreeMap<String, QueueOfType>, StoreError> {
        const WHAT: &str = "the queue";
        let read = |row: &Row| {
            let queue = QueueOfType {
                waiting: get(row, "waiting", WHAT)?,
                due: get(row, "due", WHAT)?,
                waiting_retry: get(row, "waiting_retry", WHAT)?,
                picked: get(row, "picked", WHAT)?,
                oldest_due_age_seconds: get(row, "oldest_due_age", WHAT)?,
            };
            Ok((get(row, "process_type", WHAT)?, queue))
        };
        self.query(&QUEUE, &[])?.iter().map(read).collect()
    }

    fn settled_until(&mut self, at_least: Option<Timestamp>) -> Result<Timestamp, StoreError> {
        time(&self.query_one(&SETTLED, &[&at_least], "the time")?, "settled_until", "the time")
    }
}

fn add(tally: &mut Tally, row: &Row) -> Result<(), StoreError> {
    const WHAT: &str = "the counts";
    let how_many: i64 = get(row, "how_many", WHAT)?;
    let status: String = get(row, "status", WHAT)?;
    match ProcessStatus::parse(&status) {
        Some(status) => {
            *tally.by_type.entry((get(row, "process_type", WHAT)?, status)).or_default() += how_many
        }
        None => *tally.unreadable.entry(status).or_default() += how_many,
    }
    Ok(())
}
