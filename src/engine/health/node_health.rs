//! A node's own state, for its status endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::answers::Answers;
use super::metrics::Metrics;
use super::thread_watchdog::{StalledThread, ThreadWatchdog};
use crate::engine::config::NodeConfig;
use crate::engine::shutdown::{Phase, Shutdown};

/// If the last poll was more than this many poll intervals ago, the database does not answer.
const READY_INTERVALS_MAX: u32 = 5;

/// A node's own state, for its status endpoint: cheap to read.
pub struct Health {
    node_id: String,
    node_name: String,
    executors: usize,
    poll_interval: Duration,
    began: Instant,
    pub(crate) watchdog: ThreadWatchdog,
    pub(crate) answers: Arc<Answers>,
    lease: Duration,
    /// Milliseconds from `began` to the last time the poller reached the database, plus 1; 0 is never.
    last_poll: AtomicU64,
    shutdown: Arc<Shutdown>,
    pub(crate) stale_results: AtomicU64,
    pub(crate) metrics: Metrics,
}

impl Health {
    pub(in crate::engine) fn new(node_id: &str, config: &NodeConfig, shutdown: Arc<Shutdown>) -> Self {
        Self {
            node_id: node_id.to_owned(),
            node_name: config.name.clone(),
            executors: config.executors,
            poll_interval: config.poll_interval,
            began: Instant::now(),
            watchdog: ThreadWatchdog::default(),
            answers: Arc::default(),
            lease: config.lease,
            last_poll: AtomicU64::new(0),
            shutdown,
            stale_results: AtomicU64::new(0),
            metrics: Metrics::new(),
        }
    }

    /// The poller has reached the database.
    pub(crate) fn note_poll(&self) {
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
        self.shutdown.running()
    }

    /// Executions recorded since it started.
    pub fn executions(&self) -> u64 {
        self.metrics.outcomes().map(|it| it.1).sum()
    }

    /// Results that were not written because their claim had been taken.
    pub fn stale_results(&self) -> u64 {
        self.stale_results.load(Ordering::Relaxed)
    }

    /// Queries of the engine's threads that failed.
    pub fn database_errors(&self) -> u64 {
        self.metrics.database_errors().map(|it| it.1).sum()
    }

    /// What it has measured of itself.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// A thread the node depends on that has not moved for longer than `longest`. For an answer of the database it
    /// may wait until the node would end its commands because it missed its heartbeats: a restart does not help the
    /// database, and loses what runs.
    pub fn stalled_thread(&self, longest: Duration) -> Option<StalledThread> {
        self.watchdog.stalled(longest, self.lease * 2 / 3)
    }

    /// Whether it has looked at the queue.
    pub fn has_looked(&self) -> bool {
        self.last_poll.load(Ordering::Relaxed) != 0
    }

    /// Whether it claims and reaches the database.
    pub fn is_ready(&self) -> bool {
        self.problem().is_none()
    }

    /// Why it is not ready, as a sentence.
    pub fn problem(&self) -> Option<String> {
        if self.shutdown.phase() > Phase::Running {
            return Some("the node is stopping".to_owned());
        }
        let last = self.last_poll.load(Ordering::Relaxed);
        if !self.has_looked() {
            return Some("the node has not reached the database yet".to_owned());
        }
        let age = self.began.elapsed().saturating_sub(Duration::from_millis(last));
        let limit = (self.poll_interval * READY_INTERVALS_MAX).max(Duration::from_secs(5));
        (age > limit).then(|| format!("the node has not reached the database for {} s", age.as_secs()))
    }
}
