//! To whom processes yield after their task: to due ones of a higher priority, to types that have had no turn yet, and to
//! another node's free executors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::store::claims::Claim;

/// The priorities of due processes that wait while every executor is taken, highest first: the poller writes them, and
/// the recorder releases a claim for each.
#[derive(Default)]
pub(crate) struct PreemptionRequests {
    descending: Mutex<Vec<i32>>,
    /// Whose processes yield to another type.
    from_type: Mutex<Option<Yielding>>,
    /// How many of those that wait for an executor here are to go where there is room.
    to_room_elsewhere: AtomicUsize,
}

/// A type that takes more than its share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Yielding {
    pub(crate) process_type: Arc<str>,
    /// Only processes of no higher priority yield.
    pub(crate) up_to: i32,
    pub(crate) how_many: usize,
}

impl PreemptionRequests {
    pub(crate) fn set(&self, descending: Vec<i32>) {
        *self.descending.lock().unwrap_or_else(PoisonError::into_inner) = descending;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.descending.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// `None`: there is no type to yield to.
    pub(crate) fn set_from_type(&self, from_type: Option<Yielding>) {
        *self.from_type.lock().unwrap_or_else(PoisonError::into_inner) = from_type;
    }

    /// Whether a waiting process takes the place of the one that is claimed so; each does so once.
    pub(crate) fn preempts(&self, claim: &Claim) -> bool {
        let mut waiting = self.descending.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.first().is_some_and(|&first| first > claim.priority) {
            waiting.remove(0);
            return true;
        }
        drop(waiting);
        let mut from_type = self.from_type.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(yielding) = from_type.as_mut().filter(|it| {
            it.process_type == claim.process_type && claim.priority <= it.up_to && it.how_many > 0
        }) else {
            return false;
        };
        yielding.how_many -= 1;
        true
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
    use crate::engine::run::runner::sample::work;

    fn of(process_type: &str, priority: i32) -> Claim {
        Claim { process_type: process_type.into(), priority, ..(*work(0).claim).clone() }
    }

    #[test]
    fn each_that_waits_preempts_one_of_a_lower_priority() {
        let requests = PreemptionRequests::default();
        let preempts = |priority| requests.preempts(&of("t", priority));
        assert!(requests.is_empty() && !preempts(-1), "nothing waits");
        requests.set(vec![5, 3]);
        assert!(!requests.is_empty() && !preempts(5), "of the same priority");
        assert!(preempts(4) && !preempts(4), "once, and the next has no precedence");
        assert!(preempts(2) && !preempts(2) && requests.is_empty());
    }

    #[test]
    fn processes_of_a_type_with_many_yield_to_a_type_with_none() {
        let requests = PreemptionRequests::default();
        let many = Yielding { process_type: "many".into(), up_to: 3, how_many: 2 };
        requests.set_from_type(Some(many.clone()));
        assert!(!requests.preempts(&of("few", 3)) && !requests.preempts(&of("many", 4)));
        assert!(requests.preempts(&of("many", 3)) && requests.preempts(&of("many", -3)));
        assert!(!requests.preempts(&of("many", 3)), "no more than were asked for");
        requests.set_from_type(Some(many));
        requests.set_from_type(None);
        assert!(!requests.preempts(&of("many", 3)));
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
