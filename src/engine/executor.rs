//! An executor runs one command at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, bounded, select};

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

/// The poller's and the recorder's ends of [`Jobs`]. Each of the two holds all of them: executors find the channels open
/// for as long as one of them may hand something on.
pub(super) struct JobSenders<T = Work> {
    pub(super) urgent: Sender<T>,
    pub(super) claimed: Sender<T>,
    pub(super) next: Sender<T>,
}

impl<T> Clone for JobSenders<T> {
    fn clone(&self) -> Self {
        Self { urgent: self.urgent.clone(), claimed: self.claimed.clone(), next: self.next.clone() }
    }
}

impl<T> JobSenders<T> {
    /// How many tasks wait for an executor's turn.
    pub(super) fn waiting(&self) -> usize {
        self.urgent.len() + self.claimed.len() + self.next.len()
    }
}

/// Where an executor's work comes from.
pub(super) struct Jobs<T = Work> {
    /// Of processes that were claimed while others of a lower priority are here.
    urgent: Receiver<T>,
    /// Of other processes that were claimed.
    claimed: Receiver<T>,
    /// Of processes that go on.
    next: Receiver<T>,
}

impl<T> Clone for Jobs<T> {
    fn clone(&self) -> Self {
        Self { urgent: self.urgent.clone(), claimed: self.claimed.clone(), next: self.next.clone() }
    }
}

/// The channels between those who hand tasks on and the executors, each with room for `max` tasks.
pub(super) fn jobs<T>(max: usize) -> (JobSenders<T>, Jobs<T>) {
    let ((urgent, take_urgent), (claimed, take_claimed), (next, take_next)) =
        (bounded(max), bounded(max), bounded(max));
    let jobs = Jobs { urgent: take_urgent, claimed: take_claimed, next: take_next };
    (JobSenders { urgent, claimed, next }, jobs)
}

impl<T> Jobs<T> {
    /// The next work; `None` once `quit` is closed. An executor goes on with what has begun (`is_next_first`) and begins
    /// what is new in turns, or one of the two might wait for as long as there is any of the other.
    fn take(&self, is_next_first: bool, quit: &Receiver<()>) -> Option<T> {
        let order = if is_next_first {
            [&self.next, &self.urgent, &self.claimed]
        } else {
            [&self.urgent, &self.claimed, &self.next]
        };
        order.into_iter().find_map(|channel| channel.try_recv().ok()).or_else(|| {
            select! {
                recv(self.urgent) -> work => work.ok(),
                recv(self.claimed) -> work => work.ok(),
                recv(self.next) -> work => work.ok(),
                recv(quit) -> _ => None,
            }
        })
    }

    fn waiting(&self) -> usize {
        self.urgent.len() + self.claimed.len() + self.next.len()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_and_what_is_new_are_taken_in_turns_the_urgent_first() {
        let (senders, jobs) = jobs(9);
        let (_keep, quit) = bounded(0);
        for n in 0..3 {
            senders.next.send(("next", n)).unwrap();
            senders.claimed.send(("claimed", n)).unwrap();
        }
        senders.urgent.send(("urgent", 0)).unwrap();
        assert_eq!((senders.waiting(), jobs.waiting()), (7, 7));
        let taken: Vec<_> = (0..7).map(|n| jobs.take(n % 2 == 1, &quit).unwrap()).collect();
        let expected = ["urgent", "next", "claimed", "next", "claimed", "next", "claimed"];
        assert_eq!(taken.iter().map(|it| it.0).collect::<Vec<_>>(), expected);
        assert_eq!(taken.iter().map(|it| it.1).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn what_is_handed_on_is_taken_after_the_poller_has_ended() {
        let (recorder, jobs) = jobs(1);
        let (keep, quit) = bounded(0);
        let poller = recorder.clone();
        poller.claimed.send("claimed").unwrap();
        drop(poller);
        assert_eq!(jobs.take(false, &quit), Some("claimed"));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| jobs.take(false, &quit));
            recorder.next.send("a result was recorded").unwrap();
            assert_eq!(waits.join().unwrap(), Some("a result was recorded"));
            let waits = scope.spawn(|| jobs.take(false, &quit));
            drop(keep);
            assert_eq!(waits.join().unwrap(), None);
        });
    }
}
