//! The claims this node holds, and with them the room for more: a claim takes one executor until it ends.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::claims::Claim;

/// Every claim between its commit and its end. Touched once for each claim and once for each end of one, never
/// for a task that is handed on.
pub(crate) struct HeldClaims {
    executors: usize,
    held: Mutex<HashMap<Arc<str>, Held>>,
    changed: Condvar,
}

#[derive(Clone, Copy)]
struct Held {
    version: i64,
    priority: i32,
}

impl HeldClaims {
    pub(crate) fn new(executors: usize) -> Self {
        Self { executors, held: Mutex::new(HashMap::new()), changed: Condvar::new() }
    }

    /// A panic while the lock is held ends the node; what others read until then is still whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more claims have an executor.
    pub(crate) fn free(&self) -> usize {
        self.executors.saturating_sub(self.lock().len())
    }

    pub(crate) fn insert(&self, claim: &Claim) {
        let held = Held { version: claim.version, priority: claim.priority };
        self.lock().insert(Arc::clone(&claim.process_id), held);
    }

    /// The claim of this version has ended or was given back; its executor is free. The process may have been
    /// claimed anew before we heard of the end: that claim stays.
    pub(crate) fn remove(&self, process_id: &str, version: i64) {
        let mut held = self.lock();
        if held.get(process_id).is_some_and(|claim| claim.version == version) {
            held.remove(process_id);
        }
        self.changed.notify_all();
    }

    pub(crate) fn version_of(&self, process_id: &str) -> Option<i64> {
        self.lock().get(process_id).map(|held| held.version)
    }

    pub(crate) fn lowest_priority(&self) -> Option<i32> {
        self.lock().values().map(|held| held.priority).min()
    }

    pub(crate) fn snapshot(&self) -> Vec<(Arc<str>, i64)> {
        self.lock().iter().map(|(id, held)| (Arc::clone(id), held.version)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Waits until no claim is held; `false` when `timeout` came first.
    pub(crate) fn wait_until_none(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut held = self.lock();
        while !held.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            held = self.changed.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
