//! Writing beside others' locks: what is locked is left out, and all else is written, in one transaction.
//!
//! The engine's statements wait for a lock, but not for long. One that has waited in vain is made anew this way, so that
//! a row which somebody has locked, for whatever reason and however long, delays its own process alone.

use std::collections::HashSet;

use super::{Sql, Store, StoreError};

const LOCK_FREE: Sql = Sql::new("lock what is free", include_str!("../../../sql/queue/lock_free.sql"));
/// Somebody's lock on a whole table keeps everybody waiting: it has to be told from one on a row. In the order in which
/// record.sql locks them. What is waited for when the rows are ours is an entry of an index that somebody has written and
/// not committed, and nobody sees it beforehand: the time for it is what the others of the batch wait for.
const LOCK_TABLES: &str = "LOCK TABLE scheduled_tasks, ONLY executions, ONLY outputs, open_tasks, processes IN ROW EXCLUSIVE MODE NOWAIT; \
                           SET LOCAL lock_timeout = '50ms'";

/// The rows of one process that are to be written: its own, the one in the queue, and tasks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) process_id: &'a str,
    /// Places of the first and the last task.
    pub(super) tasks: (i32, i32),
}

impl<'a> Rows<'a> {
    pub(super) const fn of_process(process_id: &'a str) -> Self {
        Self { process_id, tasks: (0, i32::MAX) }
    }
}

/// What was written beside others' locks.
#[derive(Debug)]
pub enum Beside<T> {
    /// All but what belongs to these processes, of which somebody has locked a row.
    Done {
        /// What came of the others.
        done: T,
        /// The processes that were left out.
        locked: HashSet<String>,
    },
    /// Nothing: somebody's lock that is on no row that is there is in the way of one of them. It can be told which by
    /// trying fewer.
    Locked(StoreError),
    /// Nothing: somebody has locked a whole table.
    TableLocked(StoreError),
}

impl<T> Beside<T> {
    /// What came of a statement that waits for locks as long as all do.
    pub(crate) fn waited(result: Result<T, StoreError>) -> Result<Self, StoreError> {
        match result {
            Ok(done) => Ok(Self::Done { done, locked: HashSet::new() }),
            Err(error) if error.is_lock_conflict() => Ok(Self::Locked(error)),
            Err(error) => Err(error),
        }
    }

    /// A locked table as the failure that it is to those who can do nothing beside it.
    pub(crate) fn unless_table(self) -> Result<Self, StoreError> {
        match self {
            Self::TableLocked(error) => Err(error),
            other => Ok(other),
        }
    }
}

impl Store {
    /// Has `work` write for the processes that nobody has locked a row of, whose ids it gets; all in one transaction.
    pub(super) fn beside_locks<T>(
        &mut self,
        rows: &[Rows<'_>],
        work: impl FnOnce(&mut Self, &[&str]) -> Result<T, StoreError>,
    ) -> Result<Beside<T>, StoreError> {
        self.with_tables(|store| {
            let ids: Vec<&str> = rows.iter().map(|it| it.process_id).collect();
            let first: Vec<i32> = rows.iter().map(|it| it.tasks.0).collect();
            let last: Vec<i32> = rows.iter().map(|it| it.tasks.1).collect();
            let locked = store.query_column(&LOCK_FREE, &[&ids, &first, &last], "process_id", "a lock")?;
            let locked: HashSet<String> = locked.into_iter().collect();
            let free: Vec<&str> = ids.into_iter().filter(|id| !locked.contains(*id)).collect();
            Ok((work(store, &free)?, locked))
        })
    }

    /// Does `work` in one transaction, unless a whole table is locked.
    pub(super) fn with_tables<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(T, HashSet<String>), StoreError>,
    ) -> Result<Beside<T>, StoreError> {
        let mut has_tables = false;
        let result = self.in_transaction("write beside others' locks", |store| {
            store
                .connection
                .batch_execute(LOCK_TABLES)
                .map_err(|source| StoreError::database("lock the tables", source))?;
            has_tables = true;
            work(store)
        });
        match result {
            Ok((done, locked)) => Ok(Beside::Done { done, locked }),
            Err(error) if !error.is_lock_conflict() => Err(error),
            Err(error) if has_tables => Ok(Beside::Locked(error)),
            Err(error) => Ok(Beside::TableLocked(error)),
        }
    }
}
