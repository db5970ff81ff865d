//! Whether the database answers: what the threads that claim and record hear from it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::platform::time_since_boot;

/// Times are milliseconds since boot; 0 is never.
#[derive(Default)]
pub(crate) struct Answers {
    /// Since when it has answered without a failure.
    since_ms: AtomicU64,
    last_ms: AtomicU64,
}

impl Answers {
    /// The database has answered, or could not be reached.
    pub(crate) fn note(&self, is_answer: bool) {
        let now = millis(time_since_boot());
        if !is_answer {
            self.since_ms.store(0, Ordering::SeqCst);
            return;
        }
        self.last_ms.store(now, Ordering::SeqCst);
        // The first after a failure; it does not matter which of two is.
        _ = self.since_ms.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// For how long it has answered without a failure; `None` when it has not within `recent`. A thread that has nothing
    /// to ask for gets no answer: one counts for a while.
    pub(crate) fn lasting(&self, recent: Duration) -> Option<Duration> {
        let now = time_since_boot();
        let age = |of: &AtomicU64| now.saturating_sub(Duration::from_millis(of.load(Ordering::SeqCst)));
        let is_answering = self.since_ms.load(Ordering::SeqCst) != 0 && age(&self.last_ms) <= recent;
        is_answering.then(|| age(&self.since_ms))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_last_from_the_first_after_a_failure_while_there_are_any() {
        let (answers, hour) = (Answers::default(), Duration::from_secs(3600));
        assert_eq!(answers.lasting(hour), None, "none yet");
        answers.note(true);
        std::thread::park_timeout(Duration::from_millis(20));
        answers.note(true);
        assert!(answers.lasting(hour).unwrap() >= Duration::from_millis(18));
        std::thread::park_timeout(Duration::from_millis(20));
        assert_eq!(answers.lasting(Duration::from_millis(5)), None, "none for long");
        answers.note(false);
        assert_eq!(answers.lasting(hour), None);
        answers.note(true);
        assert!(answers.lasting(hour).unwrap() < Duration::from_secs(10));
    }
}
