//! The claims this node holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::claims::Claim;

/// Every claim between its commit and its end. Touched once for each claim and once for each end of one, never
/// for a task that is handed on.
#[derive(Default)]
pub(crate) struct HeldClaims {
    held: Mutex<HashMap<Arc<str>, Held>>,
    changed: Condvar,
    /// Starts of a higher priority than this wake the node even while it has no room, as the database knows. A node begins
    /// with the priority that processes have by default.
    notify_above: AtomicI32,
}

#[derive(Clone, Copy)]
struct Held {
    version: i64,
    priority: i32,
}

impl HeldClaims {
    /// A panic while the lock is held ends the node; what others read until then is still whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, claim: &Claim) {
        let held = Held { version: claim.version, priority: claim.priority };
        self.lock().insert(Arc::clone(&claim.process_id), held);
    }

    /// The claim of this version has ended or was released; its executor is free. The process may have been
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

    /// For the heartbeat: the lowest priority that is held, or was last.
    pub(crate) fn notify_above(&self) -> i32 {
        if let Some(lowest) = self.lowest_priority() {
            self.notify_above.store(lowest, Ordering::Relaxed);
        }
        self.notify_above.load(Ordering::Relaxed)
    }

    /// Whether the database is to know, before the next heartbeat, that this is held.
    pub(crate) fn lower_notify_above(&self, priority: i32) -> bool {
        self.notify_above.fetch_min(priority, Ordering::Relaxed) > priority
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
