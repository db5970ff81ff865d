//! Whether the database answers: what the threads that claim and record hear from it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::thread_watchdog::CoreThread;
use crate::platform::time_since_boot;

/// Each thread for itself: one whose connection is refused says nothing of those that have theirs.
#[derive(Default)]
pub(crate) struct Answers {
    poller: OfThread,
    recorder: OfThread,
}

/// Times are milliseconds since boot; 0 is never.
#[derive(Default)]
struct OfThread {
    /// Since when the database has answered without a failure.
    since_ms: AtomicU64,
    last_ms: AtomicU64,
}

impl Answers {
    /// The database has answered a thread, or could not be reached by it. The heartbeat's own session does not count.
    pub(crate) fn note(&self, thread: CoreThread, is_answer: bool) {
        match thread {
            CoreThread::Poller => self.poller.note(is_answer),
            CoreThread::Recorder => self.recorder.note(is_answer),
            CoreThread::Heartbeat => {}
        }
    }

    /// For how long the database has answered one of them without a failure; `None` when it has answered none within
    /// `recent`. A thread that has nothing to ask for gets no answer: one counts for a while.
    pub(crate) fn lasting(&self, recent: Duration) -> Option<Duration> {
        self.poller.lasting(recent).max(self.recorder.lasting(recent))
    }
}

impl OfThread {
    fn note(&self, is_answer: bool) {
        let now = u64::try_from(time_since_boot().as_millis()).unwrap_or(u64::MAX);
        if !is_answer {
            self.since_ms.store(0, Ordering::SeqCst);
            return;
        }
        self.last_ms.store(now, Ordering::SeqCst);
        if self.since_ms.load(Ordering::SeqCst) == 0 {
            self.since_ms.store(now, Ordering::SeqCst);
        }
    }

    fn lasting(&self, recent: Duration) -> Option<Duration> {
        let now = time_since_boot();
        let age = |of: &AtomicU64| now.saturating_sub(Duration::from_millis(of.load(Ordering::SeqCst)));
        let is_answering = self.since_ms.load(Ordering::SeqCst) != 0 && age(&self.last_ms) <= recent;
        is_answering.then(|| age(&self.since_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_last_from_the_first_after_a_failure_while_there_are_any() {
        let (answers, hour) = (Answers::default(), Duration::from_secs(3600));
        let note = |is_answer| answers.note(CoreThread::Poller, is_answer);
        assert_eq!(answers.lasting(hour), None, "none yet");
        note(true);
        std::thread::park_timeout(Duration::from_millis(20));
        note(true);
        let lasting = answers.lasting(hour).unwrap();
        assert!(lasting >= Duration::from_millis(18));
        answers.note(CoreThread::Recorder, false);
        answers.note(CoreThread::Heartbeat, false);
        assert!(answers.lasting(hour) >= Some(lasting), "others have failed");
        std::thread::park_timeout(Duration::from_millis(20));
        assert_eq!(answers.lasting(Duration::from_millis(5)), None, "none for long");
        note(false);
        assert_eq!(answers.lasting(hour), None);
        note(true);
        assert!(answers.lasting(hour).unwrap() < Duration::from_secs(10));
    }
}
