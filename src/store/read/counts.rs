//! Counts of processes and of the queue, exact at one moment, that don't scan the history.

use std::collections::BTreeMap;

use postgres::Row;

use crate::model::lifecycle::ProcessStatus;
use crate::store::row::get;
use crate::store::{Sql, Store, StoreError};

const ENDED: Sql = Sql::new("count the processes", include_str!("../../../sql/read/count_ended.sql"));
const BEGUN: Sql = Sql::new("count what has begun", include_str!("../../../sql/read/count_begun.sql"));
const QUEUE: Sql = Sql::new("count what waits", include_str!("../../../sql/read/count_queue.sql"));
const SETTLED_LOCK: Sql =
    Sql::new("see what is counted", include_str!("../../../sql/control/settled_lock.sql"));
const SETTLE: Sql = Sql::new("count what has ended", include_str!("../../../sql/control/settle.sql"));
const SETTLED_SUMS: Sql =
    Sql::new("sum what is counted", include_str!("../../../sql/control/settled_sums.sql"));

/// Ends that are counted in one transaction, which whoever deletes finished processes may have to wait for: 100 ms.
const SETTLED_AT_ONCE: i64 = 100_000;

/// All statements see the same moment; and what ended lately is found by its index, whatever the statistics say.
const ONE_MOMENT: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET LOCAL enable_seqscan = off; \
    SET LOCAL enable_bitmapscan = off";
/// The queue is counted as a whole.
const WHOLE: &str = "SET LOCAL enable_seqscan = on";

/// Counts everything again.
const ANEW: &str = "UPDATE settled SET until = '-infinity'; DELETE FROM settled_counts";

const WHAT: &str = "the counts";

/// How many processes there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// By type and status.
    pub by_type: BTreeMap<(String, ProcessStatus), i64>,
    /// Those in a status that is none, by what stands there.
    pub unreadable: BTreeMap<String, i64>,
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
    /// Of those that wait, the ones that a limit holds back.
    pub waiting_for_limits: i64,
    /// Seconds the longest-waiting due process has waited.
    pub oldest_due_age_seconds: Option<f64>,
}

/// What there is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counted {
    /// Of processes.
    pub processes: Tally,
    /// In the queue, by process type.
    pub queue: BTreeMap<String, QueueOfType>,
}

impl Store {
    /// Counts all processes and the queue at one moment: what ended before the last settling by a few sums, what ended since
    /// and the queue row by row.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub fn counts(&mut self) -> Result<Counted, StoreError> {
        let [ended, started, queue] = self.in_transaction("count the processes", |store| {
            store.set_local(ONE_MOMENT)?;
            let (ended, started) = (store.query(&ENDED, &[])?, store.query(&BEGUN, &[])?);
            store.set_local(WHOLE)?;
            Ok([ended, started, store.query(&QUEUE, &[])?])
        })?;
        let mut counted = Counted::default();
        let mut begun: BTreeMap<String, i64> = BTreeMap::new();
        for row in ended {
            add(&mut counted.processes, &row, &get::<String>(&row, "process_type", WHAT)?)?;
        }
        for row in started {
            let process_type: String = get(&row, "process_type", WHAT)?;
            add(&mut counted.processes, &row, &process_type)?;
            *begun.entry(process_type).or_default() += get::<i64>(&row, "how_many", WHAT)?;
        }
        for row in queue {
            counted.queue.insert(get(&row, "process_type", WHAT)?, read_queue(&row)?);
        }
        for (process_type, queue) in &counted.queue {
            let all = queue.waiting + queue.picked;
            let waits = all - begun.get(process_type).copied().unwrap_or(0);
            if waits > 0 {
                let key = (process_type.clone(), ProcessStatus::NotStarted);
                *counted.processes.by_type.entry(key).or_default() += waits;
            }
        }
        Ok(counted)
    }

    /// How many processes have ended in `status`.
    ///
    /// # Errors
    /// As [`Store::counts`].
    pub fn count_finished(
        &mut self,
        status: ProcessStatus,
        process_type: Option<&str>,
    ) -> Result<i64, StoreError> {
        let mut ended = Tally::default();
        for row in self.walking("count finished processes", |store| store.query(&ENDED, &[]))? {
            add(&mut ended, &row, &get::<String>(&row, "process_type", WHAT)?)?;
        }
        let is_counted =
            |it: &(String, ProcessStatus)| it.1 == status && process_type.is_none_or(|name| it.0 == name);
        Ok(ended.by_type.iter().filter(|it| is_counted(it.0)).map(|it| it.1).sum())
    }

    /// Counts, once and for all, some of the processes that ended more than a minute ago; whether there are more. Nothing is done
    /// while somebody else is at it, or has been within the last `pause_s` seconds.
    ///
    /// # Errors
    /// When the database fails; nothing is counted then.
    pub fn settle(&mut self, pause_s: f64) -> Result<bool, StoreError> {
        self.walking("count what has ended", |store| {
            let Some(row) = store.query_opt(&SETTLED_LOCK, &[&pause_s])? else { return Ok(false) };
            if get(&row, "is_ahead", WHAT)? {
                store.set_local(ANEW)?;
            }
            let writers_began: String = get(&row, "writers_began", WHAT)?;
            let row = store.query_one(&SETTLE, &[&SETTLED_AT_ONCE, &writers_began], WHAT)?;
            store.execute(&SETTLED_SUMS, &[])?;
            get(&row, "has_more", WHAT)
        })
    }
}

fn read_queue(row: &Row) -> Result<QueueOfType, StoreError> {
    let (how_many, picked): (i64, i64) = (get(row, "how_many", WHAT)?, get(row, "picked", WHAT)?);
    Ok(QueueOfType {
        waiting: how_many - picked,
        due: get(row, "due", WHAT)?,
        waiting_retry: get(row, "waiting_retry", WHAT)?,
        picked,
        waiting_for_limits: get(row, "waiting_for_limits", WHAT)?,
        oldest_due_age_seconds: get(row, "oldest_due_age", WHAT)?,
    })
}

fn add(tally: &mut Tally, row: &Row, process_type: &str) -> Result<(), StoreError> {
    let how_many: i64 = get(row, "how_many", WHAT)?;
    let status: String = get(row, "status", WHAT)?;
    match ProcessStatus::parse(&status) {
        Some(status) => *tally.by_type.entry((process_type.to_owned(), status)).or_default() += how_many,
        None => *tally.unreadable.entry(status).or_default() += how_many,
    }
    Ok(())
}
