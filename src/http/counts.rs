//! Counts for all who poll, without a scan of the history at every poll.
//!
//! What ended more than a minute ago is counted once and then only added to; each count adds what ended since and what
//! is unfinished. It is exact but for finished processes that are pruned or retried, which the next full count takes
//! in: that one is made in the background when the last is old.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::readers::Readers;
use super::store_problem::READ_MS_MAX;
use crate::model::lifecycle::ProcessStatus;
use crate::model::records::{NodeData, StatusCounts};
use crate::store::counts::{History, QueueOfType, Tally};
use crate::store::{Store, StoreError};

/// Between two counts of the whole history, at the least.
const RECOUNT_MS_MIN: u64 = 60_000;
/// And at least this many times what one takes: a hundredth of one processor.
const RECOUNT_FACTOR: u32 = 100;
/// Such a count may take so long: a minute is a history of some hundred million.
const RECOUNT_STATEMENT_MS_MAX: u64 = 60_000;
/// Nodes that are shown and counted.
const RUNNING_NODES_MAX: u32 = 1000;

/// What was counted, all of it within a second or so.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    /// When.
    pub as_of: Timestamp,
    /// When the whole history was counted last.
    pub history_counted_at: Timestamp,
    pub processes: Tally,
    pub queue: BTreeMap<String, QueueOfType>,
    pub nodes: Vec<NodeData>,
    /// What is wrong with rows that can't be counted or shown.
    pub unreadable: Vec<String>,
}

/// Keeps the settled part of the history.
#[derive(Default)]
pub(super) struct Counter {
    base: Mutex<Option<Base>>,
    is_counting: AtomicBool,
}

#[derive(Clone)]
struct Base {
    history: History,
    counted_at: Timestamp,
    counted: Instant,
    took: Duration,
}

impl Base {
    fn is_old(&self) -> bool {
        self.counted.elapsed() > (self.took * RECOUNT_FACTOR).max(Duration::from_millis(RECOUNT_MS_MIN))
    }
}

impl Counter {
    /// Counts; `None` while somebody else counts the history for the first time.
    pub fn count(&self, store: &mut Store) -> Result<Option<Counts>, StoreError> {
        if self.lock().is_none() {
            self.recount(store)?;
        }
        let Some(base) = self.lock().clone() else { return Ok(None) };
        let (processes, history) = store.count_since(base.history)?;
        if let Some(kept) = &mut *self.lock()
            && kept.counted == base.counted
            && kept.history.until < history.until
        {
            kept.history = history;
        }
        // By the database's clock, as all that is counted and shown is: ours may be wrong.
        let as_of = store.now()?;
        let nodes = store.running_nodes(RUNNING_NODES_MAX)?;
        let no_status = |(status, count): (&String, &i64)| format!("processes in status {status:?}: {count}");
        let unreadable = processes.unreadable.iter().map(no_status).chain(nodes.unreadable).collect();
        Ok(Some(Counts {
            as_of,
            history_counted_at: base.counted_at,
            processes,
            queue: store.queue_by_type()?,
            nodes: nodes.rows,
            unreadable,
        }))
    }

    /// Has the history counted anew in the background when that was last done long ago.
    pub fn refresh(self: &Arc<Self>, readers: &Readers) {
        if self.lock().as_ref().is_some_and(Base::is_old) && !self.is_counting.load(Ordering::Acquire) {
            let this = Arc::clone(self);
            readers.tell(move |store| this.recount(store));
        }
    }

    /// Counts the history unless somebody is at it.
    fn recount(&self, store: &mut Store) -> Result<(), StoreError> {
        if self.is_counting.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let _turn = Turn(&self.is_counting);
        let (counted, counted_at) = (Instant::now(), store.now()?);
        store.set_statement_timeout(Duration::from_millis(RECOUNT_STATEMENT_MS_MAX))?;
        let history = store.count_history();
        // After a failure too, or the connection would keep it; the failure is what is told.
        let restored = store.set_statement_timeout(Duration::from_millis(READ_MS_MAX));
        let history = history?;
        restored?;
        *self.lock() = Some(Base { history, counted_at, counted, took: counted.elapsed() });
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Base>> {
        // Set in one assignment: never half done.
        self.base.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to count the history, given back also upon an error or a panic.
struct Turn<'a>(&'a AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Counts {
    /// The same by status alone, as `/status` tells it.
    pub fn by_status(&self) -> StatusCounts {
        let mut processes: BTreeMap<ProcessStatus, i64> =
            ProcessStatus::ALL.iter().map(|&status| (status, 0)).collect();
        for ((_, status), how_many) in &self.processes.by_type {
            *processes.entry(*status).or_default() += how_many;
        }
        let sum = |of: fn(&QueueOfType) -> i64| self.queue.values().map(of).sum();
        let oldest = self.queue.values().filter_map(|it| it.oldest_due_age_seconds).reduce(f64::max);
        StatusCounts {
            processes,
            queue_depth: sum(|it| it.waiting),
            due: sum(|it| it.due),
            oldest_due_age_seconds: oldest,
            picked: sum(|it| it.picked),
            nodes: self.nodes.clone(),
            unreadable: self.unreadable.clone(),
        }
    }
}
