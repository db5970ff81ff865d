//! What operators ask of a node that runs: to end the commands of cancelled processes, and to stop the processes of
//! paused types before their next task. The heartbeat looks for it each time, and at once when the listener hears of it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::info;

use crate::command::Reason;
use crate::engine::holdings::Holdings;
use crate::engine::session::Session;
use crate::engine::signal::Signal;
use crate::store::StoreError;
use crate::store::promote::Released;

/// When the command of a cancelled process did not run, because the process is between two tasks or waits for an
/// executor, we look again this soon.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long a look lets go of what is held: the heartbeat is of the same thread.
const RELEASE_MAX: Duration = Duration::from_millis(500);

/// The requests as the node's threads see them.
pub(crate) struct Requests {
    pub(crate) holdings: Arc<Holdings>,
    pub(crate) paused: PausedTypes,
    /// Gets a message when there may be a request.
    pub(crate) signal: Signal,
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing is left to do.
    Nothing,
    /// A command that has to be ended has not begun yet, or more is to be let go.
    MoreToCome,
}

/// The types whose processes stop before their next task.
pub(crate) struct PausedTypes {
    heeds_pauses: bool,
    /// Whether any type is paused: usually the recorder needs to read only this for a result.
    is_any: AtomicBool,
    types: Mutex<HashSet<String>>,
}

impl PausedTypes {
    pub(crate) fn new(heeds_pauses: bool) -> Self {
        Self { heeds_pauses, is_any: AtomicBool::new(false), types: Mutex::default() }
    }

    pub(crate) fn contains(&self, process_type: &str) -> bool {
        self.is_any.load(Ordering::Relaxed)
            && self.types.lock().unwrap_or_else(PoisonError::into_inner).contains(process_type)
    }

    /// Returns whether a type was paused before and no longer is.
    fn set(&self, types: Vec<String>) -> bool {
        let types: HashSet<String> =
            if self.heeds_pauses { types.into_iter().collect() } else { HashSet::new() };
        let is_any = !types.is_empty();
        let mut paused = self.types.lock().unwrap_or_else(PoisonError::into_inner);
        let is_any_resumed = !paused.is_subset(&types);
        *paused = types;
        self.is_any.store(is_any, Ordering::Relaxed);
        is_any_resumed
    }
}

impl Requests {
    /// Ends the commands of cancelled processes, learns what is paused, and ends cancelled processes that nobody holds:
    /// four short queries, of which three read an index that is almost always empty.
    pub(crate) fn look(&self, session: &mut Session) -> Result<Seen, StoreError> {
        let (cancelled, paused) = session
            .query(|store| Ok((store.cancel_requests(&self.holdings.node_id)?, store.paused_types()?)))?;
        if self.paused.set(paused) {
            self.holdings.wakeups.request_full_scan();
        }
        let mut seen = self.release_held(session)?;
        for (process_id, version) in cancelled {
            let is_running = self.holdings.slots.interrupt_claim(&process_id, version, Reason::Cancel);
            // The sweep takes care of a claim that we do not know.
            if !is_running && self.holdings.claims.is_running(&process_id, version) {
                seen = Seen::MoreToCome;
            }
        }
        // Last: somebody may have locked their rows, which must not keep us from the others.
        for process_id in session.query(|store| store.end_cancelled())? {
            info!("process cancelled process_id={process_id:?}: nobody held it");
        }
        Ok(seen)
    }

    /// Lets go of what was held for pauses that are over. Where that is much, others get their turn in between.
    fn release_held(&self, session: &mut Session) -> Result<Seen, StoreError> {
        let began = Instant::now();
        loop {
            let released = session.query(|store| store.release_held())?;
            if released != Released::Nothing {
                self.holdings.wakeups.request_full_scan();
            }
            match released {
                Released::Nothing | Released::All => return Ok(Seen::Nothing),
                Released::Some if began.elapsed() >= RELEASE_MAX => return Ok(Seen::MoreToCome),
                Released::Some => {}
            }
        }
    }
}
