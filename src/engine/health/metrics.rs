//! What a node measures of itself, for `/metrics`: only numbers, written by the threads that work and read by those
//! that answer requests, without a lock. A count costs a few nanoseconds, the work that it counts a hundred thousand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::thread_watchdog::CoreThread;
use crate::model::lifecycle::Outcome;

/// Seconds; from a bare spawn to the longest batch jobs.
const EXECUTION_BOUNDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
    7200.0,
];
/// Seconds; an idle node spawns within 2 ms, a queue may wait for hours.
const LATENCY_BOUNDS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 3600.0];
/// Seconds of a transaction.
const TRANSACTION_BOUNDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Rows of a batch; the largest are 256 claims and 512 results.
const BATCH_BOUNDS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// The threads of the engine for which failed queries are counted.
pub const ROLES: [&str; 4] = ["poller", "recorder", "keeper", "other"];

/// All outcomes that an execution can have.
pub const OUTCOMES: [Outcome; 7] = [
    Outcome::Succeeded,
    Outcome::Failed,
    Outcome::TimedOut,
    Outcome::SpawnFailed,
    Outcome::Cancelled,
    Outcome::Interrupted,
    Outcome::Lost,
];

/// How often values were seen, by size.
pub struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what is larger than all.
    buckets: Vec<AtomicU64>,
    sum_millionths: AtomicU64,
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// Upper bounds, rising, each with how many values were at most that.
    pub buckets: Vec<(f64, u64)>,
    /// All values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, buckets, sum_millionths: AtomicU64::new(0) }
    }

    /// Notes a value, which is not negative.
    pub(crate) fn note(&self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[place].fetch_add(1, Ordering::Relaxed); // one more bucket than bounds
        self.sum_millionths.fetch_add((value * 1e6) as u64, Ordering::Relaxed);
    }

    pub(crate) fn note_time(&self, time: Duration) {
        self.note(time.as_secs_f64());
    }

    /// What was seen so far.
    pub fn distribution(&self) -> Distribution {
        let mut count = 0;
        let mut at_most = |bucket: &AtomicU64| {
            count += bucket.load(Ordering::Relaxed);
            count
        };
        let counts: Vec<u64> = self.buckets.iter().map(&mut at_most).collect();
        let buckets = self.bounds.iter().copied().zip(counts).collect();
        Distribution { buckets, count, sum: self.sum_millionths.load(Ordering::Relaxed) as f64 / 1e6 }
    }
}

/// The metrics of one node since its start.
pub struct Metrics {
    began: Instant,
    /// Seconds from a command's spawn to its end.
    pub execution_seconds: Histogram,
    /// Seconds from the moment a process was due to the spawn of the first command under its claim.
    pub start_latency_seconds: Histogram,
    /// Seconds that claiming took.
    pub claim_seconds: Histogram,
    /// Processes claimed at once; claims that found none are not in it.
    pub claim_batch: Histogram,
    /// Seconds that recording a batch of results took, its commit included.
    pub record_seconds: Histogram,
    /// Results recorded at once.
    pub record_batch: Histogram,
    outcomes: [AtomicU64; OUTCOMES.len()],
    errors: [AtomicU64; ROLES.len()],
    taken_over: AtomicU64,
    /// Processes that wait for somebody's lock, of each thread.
    locked: [AtomicU64; CoreThread::ALL.len()],
    /// Milliseconds from `began` to the last heartbeat, plus 1; 0 is never.
    last_heartbeat: AtomicU64,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            execution_seconds: Histogram::new(EXECUTION_BOUNDS),
            start_latency_seconds: Histogram::new(LATENCY_BOUNDS),
            claim_seconds: Histogram::new(TRANSACTION_BOUNDS),
            claim_batch: Histogram::new(BATCH_BOUNDS),
            record_seconds: Histogram::new(TRANSACTION_BOUNDS),
            record_batch: Histogram::new(BATCH_BOUNDS),
            outcomes: Default::default(),
            errors: Default::default(),
            taken_over: AtomicU64::new(0),
            locked: Default::default(),
            last_heartbeat: AtomicU64::new(0),
        }
    }

    pub(crate) fn note_execution(&self, outcome: Outcome) {
        if let Some(place) = OUTCOMES.iter().position(|it| *it == outcome) {
            self.outcomes[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn note_database_error(&self, role: &str) {
        let place = ROLES.iter().position(|it| *it == role).unwrap_or(ROLES.len() - 1);
        self.errors[place].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_takeover(&self, processes: usize) {
        self.taken_over.fetch_add(processes as u64, Ordering::Relaxed);
    }

    pub(crate) fn note_locked(&self, thread: CoreThread, processes: usize) {
        self.locked[thread as usize].store(processes as u64, Ordering::Relaxed);
    }

    pub(crate) fn note_heartbeat(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last_heartbeat.store(millis + 1, Ordering::Relaxed);
    }

    /// Executions recorded, by outcome.
    pub fn outcomes(&self) -> impl Iterator<Item = (Outcome, u64)> {
        OUTCOMES.into_iter().zip(self.outcomes.iter().map(|it| it.load(Ordering::Relaxed)))
    }

    /// Queries of the engine's threads that failed, by the thread's role.
    pub fn database_errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ROLES.into_iter().zip(self.errors.iter().map(|it| it.load(Ordering::Relaxed)))
    }

    /// Processes taken over from dead nodes.
    pub fn taken_over(&self) -> u64 {
        self.taken_over.load(Ordering::Relaxed)
    }

    /// Processes that somebody's lock keeps this node from going on with.
    pub fn locked_processes(&self) -> u64 {
        self.locked.iter().map(|it| it.load(Ordering::Relaxed)).sum()
    }

    /// The time since the node last renewed its lease; `None` when it never has.
    pub fn heartbeat_age(&self) -> Option<Duration> {
        let last = self.last_heartbeat.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.began.elapsed().saturating_sub(Duration::from_millis(last)))
    }

    /// The time since the node started.
    pub fn uptime(&self) -> Duration {
        self.began.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_for_its_own_bound_and_all_above() {
        let histogram = Histogram::new(&[1.0, 2.0, 4.0]);
        for value in [0.5, 1.0, 1.5, 4.0, 5.0] {
            histogram.note(value);
        }
        let expected = Distribution { buckets: vec![(1.0, 2), (2.0, 3), (4.0, 4)], count: 5, sum: 12.0 };
        assert_eq!(histogram.distribution(), expected);
    }

    #[test]
    fn bounds_rise() {
        for bounds in [EXECUTION_BOUNDS, LATENCY_BOUNDS, TRANSACTION_BOUNDS, BATCH_BOUNDS] {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
    }

    #[test]
    fn counts_go_where_they_belong() {
        let metrics = Metrics::new();
        metrics.note_execution(Outcome::TimedOut);
        metrics.note_database_error("keeper");
        metrics.note_database_error("somebody");
        assert_eq!(metrics.outcomes().filter(|it| it.1 > 0).collect::<Vec<_>>(), [(Outcome::TimedOut, 1)]);
        let errors: Vec<_> = metrics.database_errors().filter(|it| it.1 > 0).collect();
        assert_eq!(errors, [("keeper", 1), ("other", 1)]);
        assert_eq!(metrics.heartbeat_age(), None);
        metrics.note_heartbeat();
        assert!(metrics.heartbeat_age().is_some_and(|age| age < Duration::from_secs(60)));
    }
}
