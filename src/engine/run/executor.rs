//! An executor runs one command at a time.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::job_queue::JobQueue;
use super::output_room::OutputRoom;
use super::permits::{RunPermit, RunPermits};
use super::runner::{RunReport, Runner, Work};
use super::slots::Slot;
use crate::command::Lasting;
use crate::engine::claim::held::Epoch;
use crate::engine::health::node_health::Health;
use crate::engine::holdings::Holdings;
use crate::engine::membership::lease::Lease;
use crate::engine::shutdown::Shutdown;
use crate::failpoint::{self, Point};
use crate::model::lease::{BeginView, may_begin};
use crate::platform::time_since_boot;

/// What an executor says of the work it was given.
pub(crate) enum Done {
    /// The command ran, or could not be started.
    Ran(Box<(Work, RunReport)>),
    /// The node drains, its lease has expired or the claim was revoked: the command was not begun.
    NotBegun(Box<Work>),
    /// A claim, of a version, that the database knows as ours and nobody here has heard of: it is to be given back.
    Unheard(Arc<str>, i64),
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
    pub(crate) room: Arc<OutputRoom>,
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
                if self.permits.below_low_watermark(self.jobs.waiting()) {
                    self.jobs.flush_now.notify();
                }
                let result = match self.execute(slot, &mut *runner, &work, &permit) {
                    Some(report) => {
                        if work.is_of_last_task() {
                            self.holdings.claims.note_finishing(&work.claim.process_id, work.claim.version);
                        }
                        self.room.take(report.kept_bytes());
                        Done::Ran(Box::new((work, report)))
                    }
                    None => Done::NotBegun(Box::new(work)),
                };
                if self.done.send(result).is_err() {
                    return;
                }
            }
        }
    }

    /// `None`: the command was not begun.
    fn execute(
        &self,
        slot: &Slot,
        runner: &mut dyn Runner,
        work: &Work,
        permit: &RunPermit<'_>,
    ) -> Option<RunReport> {
        // First: a stop, a fence or a declaration that comes from here on either is seen below or ends the command. One that
        // began unseen would run beside its successor.
        let _occupied = slot.occupy(work);
        failpoint::hit(Point::BeforeBegin);
        let view = BeginView {
            is_draining: self.shutdown.is_draining(),
            is_lease_expired: self.lease.is_expired(),
            // A command of a claim of before may take its time to die.
            is_claim_current: self.holdings.claims.is_current(&work.claim)
                && !(self.holdings.claims.epoch() != Epoch::default()
                    && self.holdings.slots.is_beside(slot, work)),
        };
        if !may_begin(view) {
            return None;
        }
        slot.note_begun();
        permit.begin_work();
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
        Some(report)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crossbeam_channel::bounded;

    use super::super::runner::sample::work;
    use super::*;
    use crate::command::{Interrupt, Live, Reason, Report};
    use crate::engine::NodeConfig;
    use crate::engine::shutdown::Phase;

    /// Does something while its command runs, and keeps with what that is to be ended.
    struct Asked<'a>(&'a (dyn Fn() + Sync), Option<Reason>);

    impl Runner for Asked<'_> {
        fn run(&mut self, _: &Work, interrupt: &Interrupt, _: &Live, _: Lasting<'_>) -> RunReport {
            (self.0)();
            self.1 = interrupt.requested();
            RunReport { command: None, ended: Instant::now(), report: Report::succeeded() }
        }
    }

    fn executor() -> Executor {
        let config = NodeConfig { lease: Duration::from_secs(300), ..NodeConfig::default() };
        let holdings = Arc::new(Holdings::new("node", 1).unwrap());
        let shutdown = Arc::new(Shutdown::new(Arc::clone(&holdings)));
        Executor {
            permits: Arc::new(RunPermits::new(1)),
            lease: Arc::new(Lease::new(config.lease, config.dead_after, Arc::default())),
            health: Arc::new(Health::new("node", &config, Arc::clone(&shutdown))),
            jobs: JobQueue::new(1),
            done: bounded(1).0,
            room: Arc::default(),
            holdings,
            shutdown,
        }
    }

    /// What comes of a claimed task before which, and while which, something happens: whether it was begun, and what its
    /// command was told.
    fn run(before: &dyn Fn(&Executor), meanwhile: &(dyn Fn(&Executor) + Sync)) -> Option<Option<Reason>> {
        let (executor, (_keep, quit)) = (executor(), bounded(0));
        let (work, claims) = (work(0), &executor.holdings.claims);
        claims.insert(&work.claim, claims.epoch());
        before(&executor);
        let permit = executor.permits.take(&quit).unwrap();
        let happens = || meanwhile(&executor);
        let mut runner = Asked(&happens, None);
        let report = executor.execute(executor.holdings.slots.slot(0), &mut runner, &work, &permit);
        report.map(|_| runner.1)
    }

    #[test]
    fn a_node_that_stops_or_whose_lease_has_expired_or_whose_claim_is_gone_begins_no_command() {
        assert_eq!(run(&|_| (), &|_| ()), Some(None));
        assert_eq!(run(&|it| it.shutdown.advance_to(Phase::Draining), &|_| ()), None);
        assert_eq!(run(&|it| it.lease.declared_dead(), &|_| ()), None);
        assert_eq!(run(&|it| it.holdings.claims.revoke_all(), &|_| ()), None);
        assert_eq!(
            run(&|it| it.holdings.claims.remove(&work(0).claim.process_id, work(0).claim.version), &|_| ()),
            None
        );
    }

    #[test]
    fn a_stop_or_a_fence_after_the_look_ends_the_command() {
        assert_eq!(run(&|_| (), &|it| it.shutdown.interrupt()), Some(Some(Reason::Stop)));
        let fence = |it: &Executor| assert_eq!(it.holdings.slots.interrupt_all(Reason::Fenced), 1);
        assert_eq!(run(&|_| (), &fence), Some(Some(Reason::Fenced)));
    }
}
