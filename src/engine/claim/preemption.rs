//! To whom processes yield after their task: to due ones of a higher priority, and to another node's free executors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The priorities of due processes that wait while every executor is taken, highest first: the poller writes them, and
/// the recorder releases a claim for each.
#[derive(Default)]
pub(crate) struct PreemptionRequests {
    descending: Mutex<Vec<i32>>,
    /// How many of those that wait for an executor here are to go where there is room.
    to_room_elsewhere: AtomicUsize,
}

impl PreemptionRequests {
    pub(crate) fn set(&self, descending: Vec<i32>) {
        *self.descending.lock().unwrap_or_else(PoisonError::into_inner) = descending;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.descending.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whether a waiting process preempts one of `priority`; each does so once.
    pub(crate) fn preempts(&self, priority: i32) -> bool {
        let mut waiting = self.descending.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.first() {
            Some(&first) if first > priority => {
                waiting.remove(0);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn set_for_room_elsewhere(&self, how_many: usize) {
        self.to_room_elsewhere.store(how_many, Ordering::Relaxed);
    }

    /// Whether a process that would wait here for an executor is to go elsewhere; as many do as were asked for.
    pub(crate) fn sends_elsewhere(&self) -> bool {
        let one_less = |count: usize| count.checked_sub(1);
        self.to_room_elsewhere.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_that_waits_preempts_one_of_a_lower_priority() {
        let requests = PreemptionRequests::default();
        assert!(requests.is_empty() && !requests.preempts(-1), "nothing waits");
        requests.set(vec![5, 3]);
        assert!(!requests.is_empty() && !requests.preempts(5), "of the same priority");
        assert!(requests.preempts(4) && !requests.preempts(4), "once, and the next has no precedence");
        assert!(requests.preempts(2) && !requests.preempts(2) && requests.is_empty());
    }

    #[test]
    fn as_many_are_sent_elsewhere_as_were_asked_for() {
        let requests = PreemptionRequests::default();
        assert!(!requests.sends_elsewhere());
        requests.set_for_room_elsewhere(2);
        assert_eq!([(); 3].map(|()| requests.sends_elsewhere()), [true, true, false]);
        requests.set_for_room_elsewhere(2);
        requests.set_for_room_elsewhere(0);
        assert!(!requests.sends_elsewhere(), "the room is taken");
    }
}
