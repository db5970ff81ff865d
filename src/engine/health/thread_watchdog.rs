//! Whether the threads that the node depends on still move: what feeds the service manager's watchdog.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::Backend;

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

/// What each of the core threads does.
#[derive(Default)]
pub(crate) struct ThreadWatchdog {
    activities: Mutex<[Activity; CoreThread::ALL.len()]>,
}

/// What a thread does, and since when.
#[derive(Clone, Default)]
enum Activity {
    /// It waits for something to do.
    #[default]
    Resting,
    Working(Instant),
    /// It waits for the database: for an answer of this session, if it is known.
    Querying(Instant, Option<Backend>),
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
    /// The value is complete between any two calls.
    fn lock(&self) -> MutexGuard<'_, [Activity; CoreThread::ALL.len()]> {
        self.activities.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It waits for something to do.
    pub(crate) fn rests(&self, thread: CoreThread) {
        self.lock()[thread as usize] = Activity::Resting;
    }

    /// It begins something new.
    pub(crate) fn works(&self, thread: CoreThread) {
        self.lock()[thread as usize] = Activity::Working(Instant::now());
    }

    /// It begins to wait for the database.
    pub(crate) fn queries(&self, thread: CoreThread, session: Option<Backend>) {
        self.lock()[thread as usize] = Activity::Querying(Instant::now(), session);
    }

    /// The first thread that has done one thing for longer than `own_max`, or waited for one answer of the database for
    /// longer than `database_max`.
    pub(crate) fn stalled(&self, own_max: Duration, database_max: Duration) -> Option<StalledThread> {
        let activities = self.lock();
        CoreThread::ALL.into_iter().find_map(|thread| {
            let (since, limit, in_database) = match &activities[thread as usize] {
                Activity::Resting => return None,
                Activity::Working(since) => (since, own_max, false),
                Activity::Querying(since, _) => (since, database_max, true),
            };
            let time = since.elapsed();
            (time > limit).then(|| StalledThread { thread: thread.as_str(), in_database, time })
        })
    }

    /// The threads that have waited for one answer for longer than `limit`, since when, and of which session.
    pub(crate) fn unanswered(&self, limit: Duration) -> Vec<(CoreThread, Instant, Backend)> {
        let activities = self.lock();
        let unanswered = |thread: CoreThread| match &activities[thread as usize] {
            Activity::Querying(since, Some(session)) if since.elapsed() > limit => {
                Some((thread, *since, session.clone()))
            }
            _ => None,
        };
        CoreThread::ALL.into_iter().filter_map(unanswered).collect()
    }

    /// Whether the thread still waits for the answer that it began to wait for then.
    pub(crate) fn is_unanswered(&self, thread: CoreThread, since: Instant) -> bool {
        matches!(self.lock()[thread as usize], Activity::Querying(began, _) if began == since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_rests_is_not_stalled_and_one_that_does_one_thing_for_long_is() {
        let watchdog = ThreadWatchdog::default();
        let (none, long) = (Duration::ZERO, Duration::from_secs(3600));
        assert_eq!(watchdog.stalled(none, none), None);
        watchdog.works(CoreThread::Recorder);
        let stalled = watchdog.stalled(none, long).expect("a stalled thread");
        assert_eq!((stalled.thread, stalled.in_database), ("recorder", false));
        assert_eq!(watchdog.stalled(long, none), None);
        watchdog.rests(CoreThread::Recorder);
        watchdog.queries(CoreThread::Heartbeat, None);
        let stalled = watchdog.stalled(long, none).expect("a stalled thread");
        assert_eq!(stalled.to_string(), "thread keeper waits for the database since 0 s");
        assert_eq!(watchdog.stalled(none, long), None);
        assert!(watchdog.unanswered(none).is_empty(), "its session is not known");
    }
}
