//! Which executor runs what, so that a command can be ended from another thread.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::runner::Work;
use crate::command::{Interrupt, Live, LiveView, Reason};
use crate::store::live::LiveOutput;

/// One place for each executor.
pub(crate) struct Running {
    places: Vec<Place>,
}

pub(crate) struct Place {
    interrupt: Interrupt,
    live: Live,
    work: Mutex<Option<Held>>,
}

/// An execution by its process, task index and attempt.
pub(crate) type Execution = (String, u32, u32);

/// What an executor is at.
struct Held {
    process_id: Arc<str>,
    version: i64,
    task_index: u32,
    attempt: u32,
    began: Instant,
}

impl Running {
    pub(crate) fn new(executors: usize) -> io::Result<Self> {
        let places = (0..executors)
            .map(|_| {
                Ok(Place { interrupt: Interrupt::new()?, live: Live::default(), work: Mutex::new(None) })
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { places })
    }

    pub(crate) fn place(&self, executor: usize) -> &Place {
        &self.places[executor]
    }

    /// Whether no command runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.places.iter().all(|place| place.lock().is_none())
    }

    /// The executions that have run for `at_least` and how much they have printed, by executor, from the executor
    /// `first` on, all the way round.
    pub(crate) fn glimpses(
        &self,
        first: usize,
        at_least: Duration,
    ) -> impl Iterator<Item = (usize, Execution, u64)> {
        let count = self.places.len();
        (0..count).map(move |at| (first + at) % count).filter_map(move |executor| {
            let (execution, output_bytes) = self.places[executor].glimpse(at_least)?;
            Some((executor, execution, output_bytes))
        })
    }

    /// What this execution's command shows, if the executor still runs it.
    pub(crate) fn view(&self, executor: usize, of: &Execution) -> Option<LiveOutput> {
        self.places[executor].view(of)
    }

    /// Ends every command that runs now, and says how many there were.
    pub(crate) fn interrupt_all(&self, reason: Reason) -> usize {
        self.places.iter().filter(|place| place.interrupt_if(reason, |_| true)).count()
    }

    /// Ends the command that runs under this claim, if one does.
    pub(crate) fn interrupt_claim(&self, process_id: &str, version: i64, reason: Reason) -> bool {
        self.places.iter().any(|place| {
            place.interrupt_if(reason, |held| *held.process_id == *process_id && held.version == version)
        })
    }
}

impl Held {
    fn execution(&self) -> Execution {
        (self.process_id.to_string(), self.task_index, self.attempt)
    }
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    /// From now on this executor's command can be interrupted.
    pub(crate) fn begin(&self, work: &Work) {
        *self.lock() = Some(Held {
            process_id: Arc::clone(&work.claim.process_id),
            version: work.claim.version,
            task_index: work.task.index,
            attempt: work.task.attempt,
            began: Instant::now(),
        });
    }

    /// Which execution it is at and how much that has printed, if it has run for `at_least`.
    fn glimpse(&self, at_least: Duration) -> Option<(Execution, u64)> {
        let held = self.lock();
        let held = held.as_ref().filter(|held| held.began.elapsed() >= at_least)?;
        Some((held.execution(), self.live.output_bytes()?))
    }

    /// What this execution's command shows, if it still runs.
    fn view(&self, of: &Execution) -> Option<LiveOutput> {
        let held = self.lock();
        let held = held.as_ref().filter(|held| held.execution() == *of)?;
        let LiveView { output_bytes, tail, cpu, memory_bytes } = self.live.view()?;
        let (process_id, task_index, attempt) = held.execution();
        let age = held.began.elapsed();
        Some(LiveOutput { process_id, task_index, attempt, age, output_bytes, tail, cpu, memory_bytes })
    }

    /// No interrupt that was meant for this command reaches the next one: both are under the lock.
    pub(crate) fn end(&self) {
        let mut work = self.lock();
        *work = None;
        self.interrupt.clear();
    }

    fn interrupt_if(&self, reason: Reason, is_meant: impl Fn(&Held) -> bool) -> bool {
        let work = self.lock();
        let is_hit = work.as_ref().is_some_and(is_meant);
        if is_hit {
            self.interrupt.request(reason);
        }
        is_hit
    }
}
