//! What each executor runs, so that another thread can end its command.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::runner::Work;
use crate::command::{Interrupt, Live, LiveView, Reason};
use crate::store::live::LiveOutput;

/// One slot for each executor.
pub(crate) struct Slots {
    slots: Vec<Slot>,
}

pub(crate) struct Slot {
    interrupt: Interrupt,
    live: Live,
    work: Mutex<Option<Held>>,
}

/// An execution by its process, task index and attempt.
pub(crate) type Execution = (String, u32, u32);

/// What an executor runs.
struct Held {
    process_id: Arc<str>,
    version: i64,
    task_index: u32,
    attempt: u32,
    began: Instant,
}

impl Slots {
    pub(crate) fn new(executors: usize) -> io::Result<Self> {
        let slots = (0..executors)
            .map(|_| Ok(Slot { interrupt: Interrupt::new()?, live: Live::default(), work: Mutex::new(None) }))
            .collect::<io::Result<_>>()?;
        Ok(Self { slots })
    }

    pub(crate) fn slot(&self, executor: usize) -> &Slot {
        &self.slots[executor]
    }

    /// How many commands run.
    pub(crate) fn busy(&self) -> usize {
        self.slots.iter().filter(|slot| slot.lock().is_some()).count()
    }

    /// The executions that have run for `at_least` and how much they have printed, by executor, all of them, from the
    /// executor `first` on.
    pub(crate) fn glimpses(
        &self,
        first: usize,
        at_least: Duration,
    ) -> impl Iterator<Item = (usize, Execution, u64)> {
        let count = self.slots.len();
        (0..count).map(move |at| (first + at) % count).filter_map(move |executor| {
            let (execution, output_bytes) = self.slots[executor].glimpse(at_least)?;
            Some((executor, execution, output_bytes))
        })
    }

    /// What this execution's command shows, if the executor still runs it.
    pub(crate) fn view(&self, executor: usize, of: &Execution) -> Option<LiveOutput> {
        self.slots[executor].view(of)
    }

    /// Ends every command that runs now, and returns how many there were.
    pub(crate) fn interrupt_all(&self, reason: Reason) -> usize {
        self.slots.iter().filter(|slot| slot.interrupt_if(reason, |_| true)).count()
    }

    /// Ends the command that runs under this claim, if one does.
    pub(crate) fn interrupt_claim(&self, process_id: &str, version: i64, reason: Reason) -> bool {
        self.slots.iter().any(|slot| {
            slot.interrupt_if(reason, |held| *held.process_id == *process_id && held.version == version)
        })
    }
}

impl Held {
    fn execution(&self) -> Execution {
        (self.process_id.to_string(), self.task_index, self.attempt)
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    /// From now on this executor's command can be interrupted, until the guard is dropped, be it by a panic.
    pub(crate) fn occupy(&self, work: &Work) -> Occupied<'_> {
        *self.lock() = Some(Held {
            process_id: Arc::clone(&work.claim.process_id),
            version: work.claim.version,
            task_index: work.task.index,
            attempt: work.task.attempt,
            began: Instant::now(),
        });
        Occupied(self)
    }

    /// Which execution it runs and how much that has printed, if it has run for `at_least`.
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

    fn interrupt_if(&self, reason: Reason, is_target: impl Fn(&Held) -> bool) -> bool {
        let work = self.lock();
        let is_hit = work.as_ref().is_some_and(is_target);
        if is_hit {
            self.interrupt.request(reason);
        }
        is_hit
    }
}

/// A slot while a command runs in it.
pub(crate) struct Occupied<'a>(&'a Slot);

impl Drop for Occupied<'_> {
    /// An interrupt for this command never reaches the next one: both are under the lock.
    fn drop(&mut self) {
        let mut work = self.0.lock();
        *work = None;
        self.0.interrupt.clear();
    }
}
