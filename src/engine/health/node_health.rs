//! A node's own state, for its status endpoint.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::metrics::Measures;
use super::thread_watchdog::{Pulses, Stall};
use crate::engine::config::NodeConfig;

/// A poll that is older than this many poll intervals means that the database does not answer.
const READY_INTERVALS_MAX: u32 = 5;

/// A node's own state, for its status endpoint: numbers only, no lock is taken to read them.
pub struct Vitals {
    node_id: String,
    node_name: String,
    executors: usize,
    poll_interval: Duration,
    began: Instant,
    pub(crate) pulses: Pulses,
    lease: Duration,
    /// Milliseconds from `began` to the last time the poller reached the database, plus 1; 0 is never.
    last_poll: AtomicU64,
    pub(crate) is_stopping: AtomicU8,
    pub(crate) busy: AtomicUsize,
    pub(crate) executions: AtomicU64,
    pub(crate) stale_results: AtomicU64,
    pub(crate) database_errors: AtomicU64,
    pub(crate) measures: Measures,
}

impl Vitals {
    pub(crate) fn new(node_id: &str, config: &NodeConfig) -> Self {
        Self {
            node_id: node_id.to_owned(),
            node_name: config.name.clone(),
            executors: config.executors,
            poll_interval: config.poll_interval,
            began: Instant::now(),
            pulses: Pulses::new(),
            lease: config.lease,
            last_poll: AtomicU64::new(0),
            is_stopping: AtomicU8::new(0),
            busy: AtomicUsize::new(0),
            executions: AtomicU64::new(0),
            stale_results: AtomicU64::new(0),
            database_errors: AtomicU64::new(0),
            measures: Measures::new(),
        }
    }

    pub(crate) fn polled(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last_poll.store(millis + 1, Ordering::Relaxed);
    }

    /// The node's id, new at every start.
    pub fn node_id(&self) -> &str {
        &self.node_id
    }

    /// The name the operator gave it.
    pub fn node_name(&self) -> &str {
        &self.node_name
    }

    /// How many commands it can run at once.
    pub fn executors(&self) -> usize {
        self.executors
    }

    /// How many commands it runs.
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// Executions recorded since it started.
    pub fn executions(&self) -> u64 {
        self.executions.load(Ordering::Relaxed)
    }

    /// Results that were not written because their claim had been taken.
    pub fn stale_results(&self) -> u64 {
        self.stale_results.load(Ordering::Relaxed)
    }

    /// Times the database failed a thread of the engine.
    pub fn database_errors(&self) -> u64 {
        self.database_errors.load(Ordering::Relaxed)
    }

    /// What it has measured of itself.
    pub fn measures(&self) -> &Measures {
        &self.measures
    }

    /// A thread the node depends on that has been at one thing for longer than `longest`. An answer of the
    /// database is waited for until the node would end its commands for want of a heartbeat: starting it anew
    /// does not help the database, and costs what runs.
    pub fn stall(&self, longest: Duration) -> Option<Stall> {
        self.pulses.stall(longest, self.lease * 2 / 3)
    }

    /// Whether it claims and reaches the database.
    pub fn is_ready(&self) -> bool {
        self.problem().is_none()
    }

    /// Why it is not ready, as a sentence.
    pub fn problem(&self) -> Option<String> {
        if self.is_stopping.load(Ordering::Relaxed) > 0 {
            return Some("the node is stopping".to_owned());
        }
        let last = self.last_poll.load(Ordering::Relaxed);
        if last == 0 {
            return Some("the node has not reached the database yet".to_owned());
        }
        let age = self.began.elapsed().saturating_sub(Duration::from_millis(last));
        let limit = (self.poll_interval * READY_INTERVALS_MAX).max(Duration::from_secs(5));
        (age > limit).then(|| format!("the node has not reached the database for {} s", age.as_secs()))
    }
}
