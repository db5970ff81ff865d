//! Whether the threads that the node depends on still move: what feeds the service manager's watchdog.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A thread without which the node is useless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CoreThread {
    Poller,
    Recorder,
    Heartbeat,
}

impl CoreThread {
    pub(crate) const ALL: [Self; 3] = [Self::Poller, Self::Recorder, Self::Heartbeat];

    /// Its name in the log, on its connections and in metrics; `keeper` is what dashboards know the heartbeat as.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Poller => "poller",
            Self::Recorder => "recorder",
            Self::Heartbeat => "keeper",
        }
    }
}

/// What each of the core threads does, and since when.
pub(crate) struct ThreadWatchdog {
    began: Instant,
    /// For each thread: 0 while it waits for something to do, else twice the milliseconds since `began`, plus 2, and
    /// plus 1 if it waits for the database.
    since: [AtomicU64; 3],
}

/// A core thread that has not moved for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StalledThread {
    /// The thread's name.
    pub thread: &'static str,
    /// Whether it waits for the database's answer.
    pub in_database: bool,
    /// For how long.
    pub time: Duration,
}

impl std::fmt::Display for StalledThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { thread, in_database, time } = self;
        let at = if *in_database { "waits for the database" } else { "does not move" };
        write!(f, "thread {thread} {at} since {} s", time.as_secs())
    }
}

impl ThreadWatchdog {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), since: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// It waits for something to do.
    pub(crate) fn rests(&self, thread: CoreThread) {
        self.since[thread as usize].store(0, Ordering::Relaxed);
    }

    /// It begins something new.
    pub(crate) fn works(&self, thread: CoreThread) {
        self.since[thread as usize].store(self.stamp(), Ordering::Relaxed);
    }

    /// It waits for the database.
    pub(crate) fn queries(&self, thread: CoreThread) {
        self.since[thread as usize].store(self.stamp() | 1, Ordering::Relaxed);
    }

    fn stamp(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).map_or(u64::MAX - 1, |millis| (millis + 1) << 1)
    }

    /// The first thread that has done one thing for longer than `own_max`, or waited for one answer of the database for
    /// longer than `database_max`.
    pub(crate) fn stalled(&self, own_max: Duration, database_max: Duration) -> Option<StalledThread> {
        let now = self.stamp() >> 1;
        CoreThread::ALL.into_iter().find_map(|thread| {
            let since = self.since[thread as usize].load(Ordering::Relaxed);
            let in_database = since & 1 == 1;
            let time = Duration::from_millis(now.saturating_sub(since >> 1));
            let limit = if in_database { database_max } else { own_max };
            (since != 0 && time > limit).then(|| StalledThread { thread: thread.as_str(), in_database, time })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_rests_is_not_stalled_and_one_that_does_one_thing_for_long_is() {
        let watchdog = ThreadWatchdog::new();
        let (none, long) = (Duration::ZERO, Duration::from_secs(3600));
        let wait = || while watchdog.stamp() <= 4 {};
        assert_eq!(watchdog.stalled(none, none), None);
        watchdog.works(CoreThread::Recorder);
        wait();
        let stall = watchdog.stalled(none, long).expect("a stall");
        assert_eq!((stall.thread, stall.in_database), ("recorder", false));
        assert_eq!(watchdog.stalled(long, none), None);
        watchdog.rests(CoreThread::Recorder);
        watchdog.queries(CoreThread::Heartbeat);
        std::thread::sleep(Duration::from_millis(3));
        let stall = watchdog.stalled(long, none).expect("a stall");
        assert_eq!(stall.to_string(), "thread keeper waits for the database since 0 s");
        assert_eq!(watchdog.stalled(none, long), None);
    }
}
