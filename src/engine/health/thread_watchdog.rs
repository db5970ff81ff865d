//! Whether the threads that everything depends on still move: what a watchdog is fed by.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A thread without which the node is no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CoreThread {
    Poller,
    Recorder,
    Keeper,
}

impl CoreThread {
    pub(crate) const ALL: [Self; 3] = [Self::Poller, Self::Recorder, Self::Keeper];

    /// Its name, which its connections carry too.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Poller => "poller",
            Self::Recorder => "recorder",
            Self::Keeper => "keeper",
        }
    }
}

/// What each of the core threads is at, and since when.
pub(crate) struct Pulses {
    began: Instant,
    /// By thread: 0 while it waits for something to do, else twice the milliseconds since `began`, plus 2, and
    /// plus 1 if it waits for the database.
    since: [AtomicU64; 3],
}

/// A core thread that has been at one thing for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// The thread's name.
    pub thread: &'static str,
    /// Whether it waits for the database's answer.
    pub in_database: bool,
    /// For how long.
    pub time: Duration,
}

impl std::fmt::Display for Stall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { thread, in_database, time } = self;
        let at = if *in_database { "waits for the database" } else { "does not move" };
        write!(f, "thread {thread} {at} since {} s", time.as_secs())
    }
}

impl Pulses {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), since: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// It waits for something to do.
    pub(crate) fn rests(&self, thread: CoreThread) {
        self.since[thread as usize].store(0, Ordering::Relaxed);
    }

    /// It is at something new.
    pub(crate) fn works(&self, thread: CoreThread) {
        self.since[thread as usize].store(self.stamp(), Ordering::Relaxed);
    }

    /// It asks the database.
    pub(crate) fn asks(&self, thread: CoreThread) {
        self.since[thread as usize].store(self.stamp() | 1, Ordering::Relaxed);
    }

    fn stamp(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).map_or(u64::MAX - 1, |millis| (millis + 1) << 1)
    }

    /// The first thread that has been at one thing for longer than `own_max`, or waited for one answer of the
    /// database for longer than `database_max`.
    pub(crate) fn stall(&self, own_max: Duration, database_max: Duration) -> Option<Stall> {
        let now = self.stamp() >> 1;
        CoreThread::ALL.into_iter().find_map(|thread| {
            let since = self.since[thread as usize].load(Ordering::Relaxed);
            let in_database = since & 1 == 1;
            let time = Duration::from_millis(now.saturating_sub(since >> 1));
            let limit = if in_database { database_max } else { own_max };
            (since != 0 && time > limit).then(|| Stall { thread: thread.as_str(), in_database, time })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_rests_does_not_stall_and_who_is_at_one_thing_does() {
        let pulses = Pulses::new();
        let (none, long) = (Duration::ZERO, Duration::from_secs(3600));
        let wait = || while pulses.stamp() <= 4 {};
        assert_eq!(pulses.stall(none, none), None);
        pulses.works(CoreThread::Recorder);
        wait();
        let stall = pulses.stall(none, long).expect("a stall");
        assert_eq!((stall.thread, stall.in_database), ("recorder", false));
        assert_eq!(pulses.stall(long, none), None);
        pulses.rests(CoreThread::Recorder);
        pulses.asks(CoreThread::Keeper);
        std::thread::sleep(Duration::from_millis(3));
        let stall = pulses.stall(long, none).expect("a stall");
        assert_eq!(stall.to_string(), "thread keeper waits for the database since 0 s");
        assert_eq!(pulses.stall(none, long), None);
    }
}
