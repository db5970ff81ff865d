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
use crate::store::claims::Claim;
use crate::store::promote::Released;

/// When the command of a cancelled process did not run, because the process is between two tasks or waits for an
/// executor, we look again this soon.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long a look lets go of what is held: the heartbeat is of the same thread.
const RELEASE_MAX: Duration = Duration::from_millis(500);

/// The requests as the node's threads see them.
pub(crate) struct Requests {
    pub(crate) holdings: Arc<Holdings>,
    pub(crate) paused: Paused,
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

/// The types and limits whose processes stop before their next task.
pub(crate) struct Paused {
    heeds_pauses: bool,
    /// Whether anything is paused: usually the recorder needs to read only this for a result.
    is_any: AtomicBool,
    names: Mutex<Names>,
}

#[derive(Default)]
struct Names {
    types: HashSet<String>,
    limits: HashSet<String>,
}

impl Paused {
    pub(crate) fn new(heeds_pauses: bool) -> Self {
        Self { heeds_pauses, is_any: AtomicBool::new(false), names: Mutex::default() }
    }

    /// Whether the process of this claim stops before its next task.
    pub(crate) fn stops(&self, claim: &Claim) -> bool {
        if !self.is_any.load(Ordering::Relaxed) {
            return false;
        }
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut limits = claim.limits.iter().flat_map(|it| it.iter());
        names.types.contains(&*claim.process_type) || limits.any(|it| names.limits.contains(limit_of(it)))
    }

    /// Returns whether something was paused before and no longer is.
    fn set(&self, types: Vec<String>, limits: Vec<String>) -> bool {
        let types = if self.heeds_pauses { types.into_iter().collect() } else { HashSet::new() };
        let names = Names { types, limits: limits.into_iter().collect() };
        let is_any = !names.types.is_empty() || !names.limits.is_empty();
        let mut paused = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let is_any_resumed = !paused.types.is_subset(&names.types) || !paused.limits.is_subset(&names.limits);
        *paused = names;
        self.is_any.store(is_any, Ordering::Relaxed);
        is_any_resumed
    }
}

/// The limit's name in an entry, which has the value of its key behind it.
fn limit_of(entry: &str) -> &str {
    entry.split('=').next().unwrap_or(entry)
}

impl Requests {
    /// Ends the commands of cancelled processes, learns what is paused, and ends cancelled processes that nobody holds:
    /// five short queries, of which three read an index that is almost always empty.
    pub(crate) fn look(&self, session: &mut Session) -> Result<Seen, StoreError> {
        let (cancelled, types, limits) = session.query(|store| {
            let cancelled = store.cancel_requests(&self.holdings.node_id)?;
            Ok((cancelled, store.paused_types()?, store.paused_limits()?))
        })?;
        if self.paused.set(types, limits) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::run::runner::sample::work;

    #[test]
    fn a_process_stops_where_its_type_or_one_of_its_limits_is_paused() {
        let plain = (*work(0).claim).clone();
        let limits = Some(["gpu".to_owned(), "type:p:config.customer=a=b".to_owned()].into());
        let bound = Claim { limits, ..plain.clone() };
        let stopped = |types: &[&str], limits: &[&str]| {
            let paused = Paused::new(true);
            let names = |of: &[&str]| of.iter().map(|&name| name.to_owned()).collect();
            paused.set(names(types), names(limits));
            [paused.stops(&plain), paused.stops(&bound)]
        };
        assert_eq!(stopped(&[], &[]), [false, false]);
        assert_eq!(stopped(&["p"], &[]), [true, true]);
        assert_eq!(stopped(&[], &["type:p:config.customer"]), [false, true]);
        assert_eq!(stopped(&["q"], &["batch:gpu", "type:p"]), [false, false]);
        let heedless = Paused::new(false);
        heedless.set(vec!["p".to_owned()], vec!["gpu".to_owned()]);
        assert_eq!(
            [heedless.stops(&plain), heedless.stops(&bound)],
            [false, true],
            "a limit is no pause of a type"
        );
        assert!(heedless.set(Vec::new(), Vec::new()), "something goes on");
    }
}
