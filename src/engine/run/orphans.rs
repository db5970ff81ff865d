//! What a command that we ended has left in other sessions and groups, where the signals to its own group did not reach.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{debug, warn};

use crate::engine::guard;
use crate::model::lifecycle::Outcome;

/// Kills the orphaned descendants of ended commands. A look through all processes takes milliseconds; commands that end
/// together, as at a stop, share one.
#[derive(Debug, Default)]
pub(crate) struct OrphanedDescendants {
    waiting: Mutex<HashSet<String>>,
    sweeping: Mutex<()>,
}

/// Whether we ended the command, so that nothing of it is to go on. One that ends by itself may leave a daemon.
pub(crate) const fn was_ended(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::TimedOut | Outcome::Cancelled | Outcome::Interrupted)
}

impl OrphanedDescendants {
    /// Kills every process that has `tag` in its environment, and returns when it is gone, or does not go.
    pub(crate) fn kill(&self, tag: &str) {
        if !guard::IS_AVAILABLE {
            return;
        }
        lock(&self.waiting).insert(tag.to_owned());
        let _turn = lock(&self.sweeping);
        let tags: Vec<String> = {
            let mut waiting = lock(&self.waiting);
            if !waiting.contains(tag) {
                return; // the thread that looked while we waited has looked for ours too
            }
            waiting.drain().collect()
        };
        match guard::kill_tagged(&tags) {
            Ok(swept) if swept.left > 0 => {
                warn!(
                    "processes of ended commands are still there killed={} left={}",
                    swept.killed, swept.left
                );
            }
            Ok(swept) => debug!("processes that ended commands had left were killed: {}", swept.killed),
            Err(error) => warn!("processes of ended commands may still run: failed to {error}"),
        }
    }
}

/// What these hold is complete at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
