//! What operators ask of a node that runs: to end the commands of cancelled processes, and to go no further with the
//! processes of paused types. The keeper looks for it at every heartbeat, and at once when the listener hears of it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use log::info;

use crate::command::Reason;
use crate::engine::session::Link;
use crate::engine::shared::Shared;
use crate::store::StoreError;

/// A cancelled process whose command was not there to be ended, because it is between two tasks or waits for an
/// executor, is looked at again this soon.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The requests as the node's threads see them.
pub(crate) struct Control {
    heeds_pauses: bool,
    /// Whether any type is paused: what the recorder looks at for each result, usually all it looks at.
    is_any_paused: AtomicBool,
    paused: Mutex<HashSet<String>>,
    wake: Sender<()>,
    woken: Receiver<()>,
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing that is left to be done.
    Nothing,
    /// A command that has to be ended has not begun yet.
    MoreToCome,
}

impl Control {
    pub(crate) fn new(heeds_pauses: bool) -> Self {
        // One wake-up: a second one before the keeper has looked says nothing new.
        let (wake, woken) = bounded(1);
        Self {
            heeds_pauses,
            is_any_paused: AtomicBool::new(false),
            paused: Mutex::new(HashSet::new()),
            wake,
            woken,
        }
    }

    pub(crate) fn wake(&self) {
        match self.wake.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }

    /// Gets a message when there may be something to look for.
    pub(crate) fn woken(&self) -> &Receiver<()> {
        &self.woken
    }

    /// Whether a process of this type is to stop before its next task.
    pub(crate) fn is_paused(&self, process_type: &str) -> bool {
        self.is_any_paused.load(Ordering::Relaxed)
            && self.paused.lock().unwrap_or_else(PoisonError::into_inner).contains(process_type)
    }

    /// Gives whether a type is no longer paused that was before.
    fn set_paused(&self, types: Vec<String>) -> bool {
        let types: HashSet<String> =
            if self.heeds_pauses { types.into_iter().collect() } else { HashSet::new() };
        let is_any = !types.is_empty();
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        let is_any_resumed = !paused.is_subset(&types);
        *paused = types;
        self.is_any_paused.store(is_any, Ordering::Relaxed);
        is_any_resumed
    }
}

/// Ends the commands of cancelled processes, learns what is paused, and ends cancelled processes that nobody holds:
/// three short queries, of which the first and the last look into an index that is empty but for moments.
pub(crate) fn look(shared: &Shared, link: &mut Link) -> Result<Seen, StoreError> {
    let (requests, paused) =
        link.look(|store| Ok((store.cancel_requests(&shared.node_id)?, store.paused_types()?)))?;
    if shared.control.set_paused(paused) {
        shared.wake_poller_for_old();
    }
    let mut seen = Seen::Nothing;
    for (process_id, version) in requests {
        let is_running = shared.running.interrupt_claim(&process_id, version, Reason::Cancel);
        // One that we do not know is for the keeper's sweep.
        if !is_running && shared.claims.version_of(&process_id) == Some(version) {
            seen = Seen::MoreToCome;
        }
    }
    // Last: somebody may have locked their rows, which must not keep us from the others.
    for process_id in link.look(|store| store.end_cancelled())? {
        info!("process cancelled process_id={process_id:?}: nobody held it");
    }
    Ok(seen)
}
