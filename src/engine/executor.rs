//! An executor runs one command at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, select};

use super::runner::{RunReport, Runner, Runners, Work};
use super::running::Place;
use super::shared::{Phase, Shared};
use super::turns::Turn;
use crate::command::{Lasting, Reason};
use crate::platform::time_since_boot;

/// What an executor says of the work it was given.
pub(super) enum Done {
    /// The command was run, or could not be started.
    Ran(Box<(Work, RunReport)>),
    /// The node drains or has lost its lease: it was not begun.
    NotBegun(Box<Work>),
}

/// The other ends of [`Jobs`]: the poller's, which claims, and the recorder's, which hands on.
#[derive(Clone)]
pub(super) struct JobSenders {
    pub(super) claimed: Sender<Work>,
    pub(super) next: Sender<Work>,
}

impl JobSenders {
    /// How many tasks wait for an executor's turn.
    pub(super) fn waiting(&self) -> usize {
        self.claimed.len() + self.next.len()
    }
}

/// Where an executor's work comes from. What has just been claimed goes first: it has waited longest, and may be of a
/// higher priority than what goes on.
#[derive(Clone)]
pub(super) struct Jobs<T = Work> {
    pub(super) claimed: Receiver<T>,
    pub(super) next: Receiver<T>,
}

impl<T> Jobs<T> {
    /// The next work; `None` once `quit` is closed.
    fn take(&self, quit: &Receiver<()>) -> Option<T> {
        let ready = self.claimed.try_recv().or_else(|_| self.next.try_recv());
        ready.ok().or_else(|| {
            select! {
                // A poller that has ended claims no more; what the recorder hands on has still to be taken.
                recv(self.claimed) -> work => work.ok().or_else(|| self.take_next(quit)),
                recv(self.next) -> work => work.ok(),
                recv(quit) -> _ => None,
            }
        })
    }

    fn take_next(&self, quit: &Receiver<()>) -> Option<T> {
        select! {
            recv(self.next) -> work => work.ok(),
            recv(quit) -> _ => None,
        }
    }
}

/// Runs what comes until `quit` is closed.
pub(super) fn run(
    index: usize,
    shared: &Arc<Shared>,
    runners: &Arc<dyn Runners>,
    jobs: &Jobs,
    done: &Sender<Done>,
    quit: &Receiver<()>,
) {
    let mut runner = runners.runner(index);
    while let Some(turn) = shared.turns.take(quit) {
        while turn.is_held() {
            let Some(work) = jobs.take(quit) else { return };
            if shared.turns.run_out(jobs.next.len() + jobs.claimed.len()) {
                shared.hurry.tell();
            }
            let result = if shared.is_draining() || shared.lease.is_void() {
                Done::NotBegun(Box::new(work))
            } else {
                let report = execute(index, shared, &mut *runner, &work, &turn);
                Done::Ran(Box::new((work, report)))
            };
            if done.send(result).is_err() {
                return;
            }
        }
    }
}

fn execute(
    index: usize,
    shared: &Shared,
    runner: &mut dyn Runner,
    work: &Work,
    turn: &Turn<'_>,
) -> RunReport {
    let place = shared.running.place(index);
    let _occupied = Occupied::new(place, shared, work);
    turn.begin_work();
    if shared.phase() >= Phase::Interrupting {
        // Interrupting goes through the places after it has raised the phase: one of the two sees the other.
        place.interrupt().request(Reason::Stop);
    }
    if shared.lease.is_void() {
        // So does whoever declares the lease void; a command that had begun unseen would go on beside its successor.
        place.interrupt().request(Reason::Fenced);
    }
    let began = time_since_boot();
    let mut report = runner.run(work, place.interrupt(), place.live(), Lasting(&|| turn.pass_on()));
    turn.end_work();
    if report.report.was_killed_by_others() && shared.lease.was_void_since(began) {
        // By the guard, while this node was frozen or knew no better.
        report.report.blame_fence();
    }
    let measures = &shared.vitals.measures;
    measures.execution_seconds.note_time(report.report.duration);
    if let Some(due) = work.due {
        measures.start_latency_seconds.note_time(report.report.began.saturating_duration_since(due));
    }
    report
}

/// A place from the beginning of a command to its end, also when that is a panic: nobody shall wait for it then.
struct Occupied<'a> {
    place: &'a Place,
    shared: &'a Shared,
}

impl<'a> Occupied<'a> {
    fn new(place: &'a Place, shared: &'a Shared, work: &Work) -> Self {
        shared.vitals.busy.fetch_add(1, Ordering::Relaxed);
        place.begin(work);
        Self { place, shared }
    }
}

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        self.place.end();
        self.shared.vitals.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    #[test]
    fn what_is_handed_on_is_taken_after_the_poller_has_ended() {
        let ((claim, claimed), (hand_on, next), (keep, quit)) = (bounded(1), bounded(1), bounded(0));
        let jobs = Jobs { claimed, next };
        hand_on.send("next").unwrap();
        claim.send("claimed").unwrap();
        assert_eq!(jobs.take(&quit), Some("claimed"));
        drop(claim);
        assert_eq!(jobs.take(&quit), Some("next"));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| jobs.take(&quit));
            hand_on.send("a result was recorded").unwrap();
            assert_eq!(waits.join().unwrap(), Some("a result was recorded"));
            let waits = scope.spawn(|| jobs.take(&quit));
            drop(keep);
            assert_eq!(waits.join().unwrap(), None);
        });
    }
}
