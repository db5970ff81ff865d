//! Counts for all who poll.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::lifecycle::ProcessStatus;
use crate::model::limits::usage::LimitUsage;
use crate::model::records::{NodeData, StatusCounts};
use crate::store::batches::BatchTally;
use crate::store::counts::{Counted, QueueOfType, Tally};
use crate::store::limits::usage::LimitFilter;
use crate::store::schedules::ScheduleSummary;
use crate::store::{Store, StoreError};

/// Nodes that are shown and counted.
const RUNNING_NODES_MAX: u32 = 1000;

/// What was counted, all of it within a second or so.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    /// When.
    pub as_of: Timestamp,
    pub processes: Tally,
    pub queue: BTreeMap<String, QueueOfType>,
    pub nodes: Vec<NodeData>,
    /// How many batches are in each state, and how many processes of those that have not ended are in each status.
    pub batches: BatchTally,
    /// Of groups and process types.
    pub limits: Vec<LimitUsage>,
    pub schedules: ScheduleSummary,
    /// What is wrong with rows that can't be counted or shown.
    pub unreadable: Vec<String>,
}

impl Counts {
    /// Counts.
    pub fn read(store: &mut Store) -> Result<Self, StoreError> {
        let Counted { processes, queue } = store.counts()?;
        // By the database's clock, as all that is counted and shown is: ours may be wrong.
        let as_of = store.now()?;
        let nodes = store.running_nodes(RUNNING_NODES_MAX)?;
        let batches = store.batch_tally()?;
        let limits = store.limits(LimitFilter::default())?;
        let schedules = store.schedule_summary()?;
        let no_status = |(status, count): (&String, &i64)| format!("processes in status {status:?}: {count}");
        let unreadable = processes
            .unreadable
            .iter()
            .map(no_status)
            .chain(nodes.unreadable)
            .chain(limits.unreadable)
            .collect();
        // Batches and schedules come and go: they have counts of their own.
        let limits = limits
            .rows
            .into_iter()
            .filter(|it| it.process_type.is_some() || !it.name.contains(':'))
            .collect();
        Ok(Self { as_of, processes, queue, nodes: nodes.rows, batches, limits, schedules, unreadable })
    }

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
            waiting_for_limits: sum(|it| it.waiting_for_limits),
            nodes: self.nodes.clone(),
            unreadable: self.unreadable.clone(),
        }
    }
}
