//! Due processes of a higher priority to which others yield.

use std::sync::{Mutex, PoisonError};

/// The priorities of due processes that wait while every executor is taken, highest first: the poller writes them, and
/// the recorder releases a claim for each.
#[derive(Default)]
pub(crate) struct PreemptionRequests {
    descending: Mutex<Vec<i32>>,
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
}
