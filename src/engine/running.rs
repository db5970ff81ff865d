//! Which executor runs what, so that a command can be ended from another thread.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::command::{Interrupt, Reason};

/// One place for each executor.
pub(super) struct Running {
    places: Vec<Place>,
}

pub(super) struct Place {
    interrupt: Interrupt,
    work: Mutex<Option<(Arc<str>, i64)>>,
}

impl Running {
    pub(super) fn new(executors: usize) -> io::Result<Self> {
        let places = (0..executors)
            .map(|_| Ok(Place { interrupt: Interrupt::new()?, work: Mutex::new(None) }))
            .collect::<io::Result<_>>()?;
        Ok(Self { places })
    }

    pub(super) fn place(&self, executor: usize) -> &Place {
        &self.places[executor]
    }

    /// Whether no command runs.
    pub(super) fn is_idle(&self) -> bool {
        self.places.iter().all(|place| place.lock().is_none())
    }

    /// Ends every command that runs now, and says how many there were.
    pub(super) fn interrupt_all(&self, reason: Reason) -> usize {
        self.places.iter().filter(|place| place.interrupt_if(reason, |_| true)).count()
    }

    /// Ends the command that runs under this claim, if one does.
    pub(super) fn interrupt_claim(&self, process_id: &str, version: i64, reason: Reason) -> bool {
        self.places
            .iter()
            .any(|place| place.interrupt_if(reason, |work| *work.0 == *process_id && work.1 == version))
    }
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, Option<(Arc<str>, i64)>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// From now on this executor's command can be interrupted.
    pub(super) fn begin(&self, process_id: &Arc<str>, version: i64) {
        *self.lock() = Some((Arc::clone(process_id), version));
    }

    /// No interrupt that was meant for this command reaches the next one: both are under the lock.
    pub(super) fn end(&self) {
        let mut work = self.lock();
        *work = None;
        self.interrupt.clear();
    }

    fn interrupt_if(&self, reason: Reason, is_meant: impl Fn(&(Arc<str>, i64)) -> bool) -> bool {
        let work = self.lock();
        let is_hit = work.as_ref().is_some_and(is_meant);
        if is_hit {
            self.interrupt.request(reason);
        }
        is_hit
    }
}
