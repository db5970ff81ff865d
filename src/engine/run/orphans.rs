//! What a command that was ended has left in other sessions and groups: the signals to its own group did not reach it.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{debug, warn};

use crate::engine::guard;
use crate::model::lifecycle::Outcome;

/// Ends what ended commands have left. A look through all processes takes milliseconds; commands that end together,
/// as at a stop, share one.
#[derive(Debug, Default)]
pub(crate) struct Escapees {
    waiting: Mutex<HashSet<String>>,
    sweeping: Mutex<()>,
}

/// Whether we ended the command, so that nothing of it is to go on. One that ends by itself may leave a daemon.
pub(crate) const fn was_ended(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::TimedOut | Outcome::Cancelled | Outcome::Interrupted)
}

impl Escapees {
    /// Kills whatever carries the entry `mark` in its environment, and returns when it is gone, or does not go.
    pub(crate) fn end(&self, mark: &str) {
        if !guard::IS_AVAILABLE {
            return;
        }
        lock(&self.waiting).insert(mark.to_owned());
        let _turn = lock(&self.sweeping);
        let marks: Vec<String> = {
            let mut waiting = lock(&self.waiting);
            if !waiting.contains(mark) {
                return; // somebody who looked while we waited has looked for ours too
            }
            waiting.drain().collect()
        };
        match guard::kill_carriers_of(&marks) {
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

/// Nothing that these hold is ever half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
