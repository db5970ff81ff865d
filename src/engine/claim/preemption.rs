//! Due processes of a higher priority for which others give way.

use std::sync::{Mutex, PoisonError};

/// The priorities of due processes that wait while every executor is taken, highest first: written by the poller,
/// used up by the recorder, which gives one claim back for each.
#[derive(Default)]
pub(crate) struct WaitingPriorities {
    descending: Mutex<Vec<i32>>,
}

impl WaitingPriorities {
    pub(crate) fn set(&self, descending: Vec<i32>) {
        *self.descending.lock().unwrap_or_else(PoisonError::into_inner) = descending;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.descending.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whether a process of `priority` has to give way; each waiting one is answered for once.
    pub(crate) fn takes_precedence_over(&self, priority: i32) -> bool {
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
