//! Run permits: how many executors look for work or begin commands at the same time, however many there are.
//!
//! An executor whose command has run for a while passes its permit on. Commands that wait (for a network, a disk, another
//! program) thus hold nobody up, and all executors can run such commands at once. Short commands need the processors:
//! more of them at a time end no sooner, and each would cost waking a thread. So the other executors stay asleep, their
//! tasks wait in the channel, and the recorder sees there that it has time. (Go's scheduler passes its processors on in
//! the same way when a thread blocks.)

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, select};

/// For each processor: one executor whose command runs and one that is about to begin, or waits for a pipe. With four,
/// commands and the database hindered each other (0.84 of the bare loop instead of 0.89).
const PERMITS_PER_PROCESSOR: usize = 2;

pub(crate) struct RunPermits {
    returned: Sender<()>,
    available: Receiver<()>,
    processors: usize,
    low_watermark: AtomicUsize,
    /// Permits whose holders run a command.
    at_work: AtomicUsize,
    /// How many tasks the executors have taken so far.
    begun: AtomicUsize,
    /// How many commands have ended so far.
    ended: AtomicUsize,
    /// Permits made in place of stuck ones; as many are not passed on when they come back.
    compensation: AtomicUsize,
    /// With them there is a permit for each executor.
    compensation_max: usize,
}

impl RunPermits {
    pub(crate) fn new(executors: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self::of(executors, executors.min(processors * PERMITS_PER_PROCESSOR), processors)
    }

    fn of(executors: usize, count: usize, processors: usize) -> Self {
        let (returned, available) = bounded(executors.max(count));
        let permits = Self {
            returned,
            available,
            processors,
            low_watermark: AtomicUsize::new(0),
            at_work: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            compensation: AtomicUsize::new(0),
            compensation_max: executors.saturating_sub(count),
        };
        (0..count).for_each(|_| permits.pass_on());
        permits
    }

    /// The channel has room for every permit.
    fn pass_on(&self) {
        let _ = self.returned.try_send(());
    }

    /// A permit comes back: it is passed on unless a compensation permit took its place.
    fn give_back(&self) {
        let one_less = |count: usize| count.checked_sub(1);
        if self.compensation.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_err() {
            self.pass_on();
        }
    }

    /// How many tasks the executors have taken so far.
    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// How many commands have ended so far.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// So many tasks run while a transaction of the recorder brings more.
    pub(crate) fn set_low_watermark(&self, tasks: usize) {
        self.low_watermark.store(tasks, Ordering::Relaxed);
    }

    /// No task was taken for long while some wait: the permits' holders are stuck before their commands run, in a file
    /// system that does not answer for example. As many executors as there are processors begin in their place.
    pub(crate) fn compensate(&self) {
        for _ in 0..self.processors {
            if self.compensation.load(Ordering::Relaxed) < self.compensation_max {
                self.compensation.fetch_add(1, Ordering::Relaxed);
                self.pass_on();
            }
        }
    }

    /// Whether every processor has a short command to run: one more would end no sooner.
    pub(crate) fn cpu_saturated(&self) -> bool {
        self.at_work.load(Ordering::Relaxed) >= self.processors
    }

    /// Whether so few tasks wait for a permit that they will run before a transaction brings more.
    pub(crate) fn below_low_watermark(&self, waiting: usize) -> bool {
        waiting <= self.low_watermark.load(Ordering::Relaxed)
    }

    /// Waits for a permit; `None` once `quit` is closed.
    pub(crate) fn take(&self, quit: &Receiver<()>) -> Option<RunPermit<'_>> {
        select! {
            recv(self.available) -> _ => Some(RunPermit { permits: self, is_held: Cell::new(true), is_at_work: Cell::new(false) }),
            recv(quit) -> _ => None,
        }
    }
}

/// One executor's permit; passed on when it is dropped, also by a panic.
pub(crate) struct RunPermit<'a> {
    permits: &'a RunPermits,
    is_held: Cell<bool>,
    is_at_work: Cell<bool>,
}

impl RunPermit<'_> {
    /// Its holder has taken a task.
    pub(crate) fn note_begun(&self) {
        self.permits.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// The command has ended.
    pub(crate) fn note_ended(&self) {
        self.permits.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Its holder begins a command.
    pub(crate) fn begin_work(&self) {
        self.is_at_work.set(true);
        self.permits.at_work.fetch_add(1, Ordering::Relaxed);
    }

    /// The command has ended, or takes long.
    pub(crate) fn end_work(&self) {
        if self.is_at_work.replace(false) {
            self.permits.at_work.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn pass_on(&self) {
        self.end_work();
        if self.is_held.replace(false) {
            self.permits.give_back();
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.is_held.get()
    }
}

impl Drop for RunPermit<'_> {
    fn drop(&mut self) {
        self.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_comes_back_once() {
        let permits = RunPermits::of(1, 1, 1);
        let (_keep, quit) = bounded(0);
        let permit = permits.take(&quit).unwrap();
        assert!(permits.available.is_empty() && permit.is_held() && !permits.cpu_saturated());
        permit.begin_work();
        assert!(permits.cpu_saturated());
        permit.end_work();
        assert!(!permits.cpu_saturated());
        permit.begin_work();
        permit.pass_on();
        permit.pass_on();
        assert!(
            !permit.is_held() && !permits.cpu_saturated(),
            "a command that lasts needs no processor to itself"
        );
        assert_eq!(permits.available.len(), 1);
        drop(permit);
        assert_eq!(permits.available.len(), 1);
        drop(permits.take(&quit));
        assert_eq!(permits.available.len(), 1, "a panic drops it as well");
    }

    #[test]
    fn compensation_permits_stand_in_for_stuck_ones_and_go_when_these_come_back() {
        let permits = RunPermits::of(9, 2, 1);
        let (_keep, quit) = bounded(0);
        let stuck = [permits.take(&quit).unwrap(), permits.take(&quit).unwrap()];
        assert_eq!((permits.available.len(), permits.begun()), (0, 0));
        permits.compensate();
        let extra = permits.take(&quit).unwrap();
        extra.note_begun();
        assert_eq!((permits.available.len(), permits.begun()), (0, 1));
        drop(stuck);
        assert_eq!(permits.available.len(), 1, "one of two took the compensation permit's place");
        drop(extra);
        assert_eq!(permits.available.len(), 2);
        (0..99).for_each(|_| permits.compensate());
        assert_eq!(permits.available.len(), 9, "one for each executor");
    }

    #[test]
    fn nobody_waits_for_a_permit_once_the_node_quits() {
        let permits = RunPermits::of(1, 0, 1);
        let (keep, quit) = bounded(0);
        drop(keep);
        assert!(permits.take(&quit).is_none());
    }
}
