//! An executor runs one command at a time.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::job_queue::JobQueue;
use super::permits::{RunPermit, RunPermits};
use super::runner::{RunReport, Runner, Work};
use super::slots::Slot;
use crate::command::{Lasting, Reason};
use crate::engine::health::node_health::Health;
use crate::engine::holdings::Holdings;
use crate::engine::membership::lease::Lease;
use crate::engine::shutdown::{Phase, Shutdown};
use crate::failpoint::{self, Point};
use crate::platform::time_since_boot;

/// What an executor says of the work it was given.
pub(crate) enum Done {
    /// The command ran, or could not be started.
    Ran(Box<(Work, RunReport)>),
    /// The node drains or its lease has expired: the command was not begun.
    NotBegun(Box<Work>),
}

#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) permits: Arc<RunPermits>,
    pub(crate) holdings: Arc<Holdings>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) health: Arc<Health>,
    pub(crate) jobs: JobQueue,
    pub(crate) done: Sender<Done>,
}

impl Executor {
    /// Runs, in this slot, what comes until `quit` is closed.
    pub(crate) fn run(&self, slot: usize, mut runner: Box<dyn Runner>, quit: &Receiver<()>) {
        let slot = self.holdings.slots.slot(slot);
        let mut is_next_first = false;
        while let Some(permit) = self.permits.take(quit) {
            while permit.is_held() {
                let Some(work) = self.jobs.take(is_next_first, quit) else { return };
                is_next_first = !is_next_first;
                permit.note_begun();
                failpoint::hit(Point::BeforeBegin);
                if self.permits.below_low_watermark(self.jobs.waiting()) {
                    self.jobs.flush_now.notify();
                }
                let result = if self.shutdown.is_draining() || self.lease.is_expired() {
                    Done::NotBegun(Box::new(work))
                } else {
                    let report = self.execute(slot, &mut *runner, &work, &permit);
                    if work.is_of_last_task() {
                        self.holdings.claims.note_finishing(&work.claim);
                    }
                    Done::Ran(Box::new((work, report)))
                };
                if self.done.send(result).is_err() {
                    return;
                }
            }
        }
    }

    fn execute(
        &self,
        slot: &Slot,
        runner: &mut dyn Runner,
        work: &Work,
        permit: &RunPermit<'_>,
    ) -> RunReport {
        let _occupied = slot.occupy(work);
        permit.begin_work();
        if self.shutdown.phase() >= Phase::Interrupting {
            // A stop raises the phase first and interrupts the slots then: one of the two sees the other.
            slot.interrupt.request(Reason::Stop);
        }
        if self.lease.is_expired() {
            // The same holds for a fence; a command that began unseen would run beside its successor.
            slot.interrupt.request(Reason::Fenced);
        }
        let began = time_since_boot();
        let mut report = runner.run(work, &slot.interrupt, &slot.live, Lasting(&|| permit.pass_on()));
        permit.end_work();
        permit.note_ended();
        if report.report.was_killed_by_others() && self.lease.was_expired_since(began) {
            // The guard killed it while this node was frozen or knew no better.
            report.report.mark_fenced();
        }
        let metrics = &self.health.metrics;
        metrics.execution_seconds.note_time(report.report.duration);
        if let Some(due) = work.due {
            metrics.start_latency_seconds.note_time(report.report.began.saturating_duration_since(due));
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crossbeam_channel::bounded;

    use super::super::runner::sample::work;
    use super::*;
    use crate::command::{Interrupt, Live, Report};
    use crate::engine::NodeConfig;

    /// Keeps with what its command was to be ended.
    struct Asked(Option<Reason>);

    impl Runner for Asked {
        fn run(&mut self, _: &Work, interrupt: &Interrupt, _: &Live, _: Lasting<'_>) -> RunReport {
            self.0 = interrupt.requested();
            RunReport { command: None, ended: Instant::now(), report: Report::succeeded() }
        }
    }

    fn executor() -> (Executor, Receiver<Done>) {
        let config = NodeConfig { lease: Duration::from_secs(300), ..NodeConfig::default() };
        let holdings = Arc::new(Holdings::new("node", 1).unwrap());
        let shutdown = Arc::new(Shutdown::new(Arc::clone(&holdings)));
        let (done, results) = bounded(1);
        let executor = Executor {
            permits: Arc::new(RunPermits::new(1)),
            lease: Arc::new(Lease::new(config.lease)),
            health: Arc::new(Health::new("node", &config, Arc::clone(&shutdown))),
            jobs: JobQueue::new(1),
            done,
            holdings,
            shutdown,
        };
        (executor, results)
    }

    /// What a command is told that begins after the executor's first look and after `event`.
    fn told_after(event: impl Fn(&Executor)) -> Option<Reason> {
        let (executor, _results) = executor();
        let (_keep, quit) = bounded(0);
        let permit = executor.permits.take(&quit).unwrap();
        event(&executor);
        let mut asked = Asked(None);
        executor.execute(executor.holdings.slots.slot(0), &mut asked, &work(0), &permit);
        asked.0
    }

    /// What comes of a task that is taken after `event`.
    fn taken_after(event: impl Fn(&Executor)) -> Done {
        let ((executor, results), (keep, quit)) = (executor(), bounded(0));
        event(&executor);
        executor.jobs.next.send(work(0)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| executor.run(0, Box::new(Asked(None)), &quit));
            let done = results.recv().unwrap();
            drop(keep);
            done
        })
    }

    #[test]
    fn a_node_that_drains_or_whose_lease_has_expired_begins_no_command() {
        assert!(matches!(taken_after(|_| ()), Done::Ran(_)));
        let is_draining = |executor: &Executor| executor.shutdown.advance_to(Phase::Draining);
        assert!(matches!(taken_after(is_draining), Done::NotBegun(_)));
        assert!(matches!(taken_after(|executor| executor.lease.declared_dead()), Done::NotBegun(_)));
    }

    /// Neither hits a slot in which no command runs yet.
    #[test]
    fn a_stop_or_a_fence_between_the_look_and_the_command_ends_the_command() {
        assert_eq!(told_after(|_| ()), None);
        assert_eq!(told_after(|executor| executor.shutdown.interrupt()), Some(Reason::Stop));
        assert_eq!(told_after(|executor| executor.lease.declared_dead()), Some(Reason::Fenced));
    }
}
