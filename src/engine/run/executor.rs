//! An executor runs one command at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender};

use super::job_queue::Jobs;
use super::permits::Turn;
use super::runner::{RunReport, Runner, Runners, Work};
use super::slots::Place;
use crate::command::{Lasting, Reason};
use crate::engine::shared::Shared;
use crate::engine::shutdown::Phase;
use crate::platform::time_since_boot;

/// What an executor says of the work it was given.
pub(crate) enum Done {
    /// The command was run, or could not be started.
    Ran(Box<(Work, RunReport)>),
    /// The node drains or has lost its lease: it was not begun.
    NotBegun(Box<Work>),
}

/// Runs what comes until `quit` is closed.
pub(crate) fn run(
    index: usize,
    shared: &Arc<Shared>,
    runners: &Arc<dyn Runners>,
    jobs: &Jobs,
    done: &Sender<Done>,
    quit: &Receiver<()>,
) {
    let (mut runner, mut is_next_first) = (runners.runner(index), false);
    while let Some(turn) = shared.turns.take(quit) {
        while turn.is_held() {
            let Some(work) = jobs.take(is_next_first, quit) else { return };
            is_next_first = !is_next_first;
            turn.note_begun();
            if shared.turns.run_out(jobs.waiting()) {
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
