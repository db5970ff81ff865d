//! What each executor runs, so that another thread can end its command.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::runner::Work;
use crate::command::{Interrupt, Live, LiveView, Reason};
use crate::store::live::LiveOutput;

/// How often it is looked whether commands that were killed have ended.
const IDLE_LOOK: Duration = Duration::from_millis(5);

/// One slot for each executor.
pub(crate) struct Slots(Vec<Slot>);

pub(crate) struct Slot {
    pub(crate) interrupt: Interrupt,
    pub(crate) live: Live,
    running: Mutex<Option<Running>>,
}

/// An execution by its process, task index and attempt.
pub(crate) type Execution = (String, u32, u32);

/// What an executor runs.
struct Running {
    execution: Execution,
    version: i64,
    began: Instant,
    /// It was seen that the command may begin.
    has_begun: bool,
}

impl Slots {
    pub(crate) fn new(executors: usize) -> io::Result<Self> {
        let slot =
            |_| Ok(Slot { interrupt: Interrupt::new()?, live: Live::default(), running: Mutex::new(None) });
        (0..executors).map(slot).collect::<io::Result<_>>().map(Self)
    }

    pub(crate) fn slot(&self, executor: usize) -> &Slot {
        &self.0[executor]
    }

    /// All slots with their executors, from the executor `first` on.
    pub(crate) fn from(&self, first: usize) -> impl Iterator<Item = (usize, &Slot)> {
        let count = self.0.len();
        (first..first + count).map(move |at| (at % count, &self.0[at % count]))
    }

    /// How many commands run.
    pub(crate) fn busy(&self) -> usize {
        self.0.iter().filter(|slot| slot.lock().is_some()).count()
    }

    /// The claims under which commands run, by process and version.
    pub(crate) fn running(&self) -> Vec<(Arc<str>, i64)> {
        let claim = |slot: &Slot| slot.lock().as_ref().map(|it| (it.execution.0.as_str().into(), it.version));
        self.0.iter().filter_map(claim).collect()
    }

    /// Whether a command of this process runs in another slot than this one.
    pub(crate) fn is_beside(&self, own: &Slot, work: &Work) -> bool {
        let is_of_process = |it: &Running| it.has_begun && *it.execution.0 == *work.claim.process_id;
        self.0
            .iter()
            .filter(|slot| !std::ptr::eq(*slot, own))
            .any(|slot| slot.lock().as_ref().is_some_and(is_of_process))
    }

    /// Waits until no command runs, `time` at the most.
    pub(crate) fn wait_until_idle(&self, time: Duration) {
        let until = Instant::now() + time;
        while self.busy() > 0 && Instant::now() < until {
            std::thread::park_timeout(IDLE_LOOK);
        }
    }

    /// Ends every command that runs now, and returns how many there were.
    pub(crate) fn interrupt_all(&self, reason: Reason) -> usize {
        self.0.iter().filter(|slot| slot.interrupt_if(reason, |_| true)).count()
    }

    /// Ends the command that runs under this claim, if one does.
    pub(crate) fn interrupt_claim(&self, process_id: &str, version: i64, reason: Reason) -> bool {
        let is_target = |it: &Running| it.execution.0 == process_id && it.version == version;
        self.0.iter().any(|slot| slot.interrupt_if(reason, is_target))
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this executor's command can be interrupted, until the guard is dropped, be it by a panic.
    pub(crate) fn occupy(&self, work: &Work) -> Occupied<'_> {
        let Work { claim, task, .. } = work;
        let execution = (claim.process_id.to_string(), task.index, task.attempt);
        *self.lock() =
            Some(Running { execution, version: claim.version, began: Instant::now(), has_begun: false });
        Occupied(self)
    }

    /// The command that it is occupied with begins.
    pub(crate) fn note_begun(&self) {
        self.lock().iter_mut().for_each(|it| it.has_begun = true);
    }

    /// Which execution it runs and how much that has printed, if it has run for `at_least`.
    pub(crate) fn glimpse(&self, at_least: Duration) -> Option<(Execution, u64)> {
        let running = self.lock();
        let running = running.as_ref().filter(|it| it.began.elapsed() >= at_least)?;
        Some((running.execution.clone(), self.live.output_bytes()?))
    }

    /// What this execution's command shows, if it still runs.
    pub(crate) fn view(&self, of: &Execution) -> Option<LiveOutput> {
        let running = self.lock();
        let running = running.as_ref().filter(|it| it.execution == *of)?;
        let LiveView { output_bytes, tail, silent, cpu, memory_bytes } = self.live.view()?;
        let ((process_id, task_index, attempt), age) = (running.execution.clone(), running.began.elapsed());
        Some(LiveOutput {
            process_id,
            task_index,
            attempt,
            age,
            output_bytes,
            tail,
            silent,
            cpu,
            memory_bytes,
        })
    }

    fn interrupt_if(&self, reason: Reason, is_target: impl Fn(&Running) -> bool) -> bool {
        let running = self.lock();
        let is_hit = running.as_ref().is_some_and(is_target);
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
        let mut running = self.0.lock();
        *running = None;
        self.0.interrupt.clear();
    }
}
